%% @private Batches of consumed messages, unpacked: the description is in
%% c_src/core/commands.h, the other half in c_src/core/batch.c.
-module(crema_record_batch).

-include("crema_commands.hrl").

-export([messages/4, form/1, count/1]).

%% A message takes less time so.
-compile({inline, [message/8, given/3, null/1, timestamp/1, timestamp_type/1]}).

-export_type([form/0]).

%% Who acknowledges the messages of a batch, if it is not a reader's.
-type source() :: {Group :: pid(), Slot :: integer()} | none.
-type place() :: {Topic :: binary(), Partition :: integer(), form()}.
-type form() :: undefined | nil | {struct, undefined | nil}.

%% @doc What stands for null in messages, and whether they are structs of Elixir's
%% `Crema.Message', as the options of a consumer or reader have it.
-spec form(map()) -> form().
form(#{message := struct, null := Null}) -> {struct, Null};
form(#{message := map, null := Null}) -> Null.

%% @doc The messages of a batch, as the handler gets them. Messages whose bit is set in
%% the mask are left out: they are acknowledged. Those of a reader, whose source
%% is `none', have no token.
-spec messages(binary(), Mask :: binary(), source(), place()) -> [map()].
messages(<<_Count:32, Packed/binary>>, <<>>, Source, Place) ->
    decode(Packed, Source, Place);
messages(<<_Count:32, Packed/binary>>, Mask, Source, Place) ->
    unmasked(decode(Packed, Source, Place), Mask, 0).

-spec unmasked([map()], binary(), non_neg_integer()) -> [map()].
unmasked([Message | Rest], Mask, Index) ->
    case binary:at(Mask, Index div 8) band (1 bsl (Index rem 8)) of
        0 -> [Message | unmasked(Rest, Mask, Index + 1)];
        _ -> unmasked(Rest, Mask, Index + 1)
    end;
unmasked([], _Mask, _Index) ->
    [].

%% First those without headers and key, as many are. The emulator reads numbers without
%% a sign, at whole bytes, in a few instructions, and calls a function for others.
-spec decode(binary(), source(), place()) -> [map()].
decode(<<Flags, Offset:64, Timestamp:64, KeySize:32, ValueSize:32, Value:ValueSize/binary,
    Rest/binary>>, Source, {_, _, Form} = Place) when
    Flags band (?MESSAGE_KEY bor ?MESSAGE_VALUE bor ?MESSAGE_HEADERS) =:= ?MESSAGE_VALUE,
    KeySize =:= 0
->
    Message = message(Offset, null(Form), Value, [], Timestamp, Flags, Source, Place),
    [Message | decode(Rest, Source, Place)];
decode(<<Flags, Offset:64, Timestamp:64, KeySize:32, ValueSize:32, Key:KeySize/binary,
    Value:ValueSize/binary, Behind/binary>>, Source, {_, _, Form} = Place) ->
    {Headers, Rest} = decode_headers(Flags band ?MESSAGE_HEADERS, Behind, null(Form)),
    GivenKey = given(Flags band ?MESSAGE_KEY, Key, null(Form)),
    GivenValue = given(Flags band ?MESSAGE_VALUE, Value, null(Form)),
    Message = message(Offset, GivenKey, GivenValue, Headers, Timestamp, Flags, Source, Place),
    [Message | decode(Rest, Source, Place)];
decode(<<>>, _Source, _Place) ->
    [].

-define(FIELDS,
    topic => Topic,
    partition => Partition,
    offset => Offset,
    key => Key,
    value => Value,
    headers => Headers,
    timestamp => timestamp(Timestamp),
    timestamp_type => timestamp_type((Flags bsr 4) band 3)
).
-define(STRUCT, '__struct__' => 'Elixir.Crema.Message').

%% A map for each form, for a key that is added to one later would cost as much as all else.
-spec message(
    non_neg_integer(), Bytes, Bytes, list(), non_neg_integer(), byte(), source(), place()
) -> map() when Bytes :: binary() | undefined | nil.
message(Offset, Key, Value, Headers, Timestamp, Flags, {Consumer, Slot}, {Topic, Partition, Null}) when
    is_atom(Null)
->
    #{?FIELDS, token => {crema_token, Consumer, Slot, Offset}};
message(Offset, Key, Value, Headers, Timestamp, Flags, {Consumer, Slot}, {Topic, Partition, _}) ->
    #{?STRUCT, ?FIELDS, token => {crema_token, Consumer, Slot, Offset}};
message(Offset, Key, Value, Headers, Timestamp, Flags, none, {Topic, Partition, Null}) when
    is_atom(Null)
->
    #{?FIELDS};
message(Offset, Key, Value, Headers, Timestamp, Flags, none, {Topic, Partition, _}) ->
    #{?STRUCT, ?FIELDS, token => nil}.

%% It has a sign, but few have used it. The bound is small: for a bignum a function is called.
-spec timestamp(non_neg_integer()) -> integer().
timestamp(Small) when Small =< (1 bsl 59) - 1 ->
    Small;
timestamp(Unsigned) ->
    <<Signed:64/signed>> = <<Unsigned:64>>,
    Signed.

-spec decode_headers(non_neg_integer(), binary(), undefined | nil) ->
    {[{binary(), binary() | undefined | nil}], binary()}.
decode_headers(0, Rest, _Null) ->
    {[], Rest};
decode_headers(_, <<Count:16, Rest/binary>>, Null) ->
    decode_headers(Count, Rest, Null, []).

-spec decode_headers(non_neg_integer(), binary(), undefined | nil, [{binary(), term()}]) ->
    {[{binary(), binary() | undefined | nil}], binary()}.
decode_headers(0, Rest, _Null, Acc) ->
    {lists:reverse(Acc), Rest};
decode_headers(Count, <<Size:16, Name:Size/binary, -1:32/signed, Rest/binary>>, Null, Acc) ->
    decode_headers(Count - 1, Rest, Null, [{Name, Null} | Acc]);
decode_headers(
    Count, <<Size:16, Name:Size/binary, ValueSize:32, Value:ValueSize/binary, Rest/binary>>, Null, Acc
) ->
    decode_headers(Count - 1, Rest, Null, [{Name, Value} | Acc]).

-spec null(form()) -> undefined | nil.
null({struct, Null}) -> Null;
null(Null) -> Null.

-spec given(non_neg_integer(), binary(), undefined | nil) -> binary() | undefined | nil.
given(0, _Bytes, Null) -> Null;
given(_, Bytes, _Null) -> Bytes.

-spec timestamp_type(0..3) -> undefined | create | append.
timestamp_type(1) -> create;
timestamp_type(2) -> append;
timestamp_type(_) -> undefined.

%% @doc How many messages a batch holds.
-spec count(binary()) -> non_neg_integer().
count(<<Count:32, _/binary>>) ->
    Count.
