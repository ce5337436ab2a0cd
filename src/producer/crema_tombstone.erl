%% @private Messages without a value, which tell that their key is gone.
-module(crema_tombstone).

-export([one/3, many/1]).

%% Options of a tombstone that are its message's; the others are the call's.
-define(FIELDS, [partition, partition_key, headers, timestamp, label]).

%% @doc The call that produces it, and the options of that call.
-spec one(Topic :: iodata() | atom(), Key :: iodata(), map()) ->
    {ok, {one, [crema_packet:message()]}, crema_call:options()} | crema_error:error().
one(Topic, Key, Options) when is_map(Options) ->
    Message = (maps:with(?FIELDS, Options))#{topic => Topic, key => Key},
    case fault(Message) of
        none -> {ok, {one, [Message#{value => undefined}]}, maps:without(?FIELDS, Options)};
        {Field, Reason} -> crema_produce:bad_message(one, {0, Field, Reason})
    end;
one(_Topic, _Key, _Options) ->
    erlang:error(badarg).

%% @doc Messages, all of them with a key and none with a value.
-spec many([crema_packet:message()]) ->
    {ok, {many, [crema_packet:message()]}} | crema_error:error().
many(Messages) ->
    try lists:foldl(fun check/2, {0, []}, Messages) of
        {_, Checked} -> {ok, {many, lists:reverse(Checked)}}
    catch
        throw:{fault, Index, Field, Reason} ->
            crema_produce:bad_message(many, {Index, Field, Reason});
        %% No list: the call tells.
        error:_ ->
            {ok, {many, Messages}}
    end.

-spec check(term(), {non_neg_integer(), [map()]}) -> {pos_integer(), [map()]}.
check(Message, {Index, Checked}) ->
    case fault(Message) of
        none -> {Index + 1, [Message#{value => undefined} | Checked]};
        {Field, Reason} -> throw({fault, Index, Field, Reason})
    end.

-spec fault(term()) -> none | {atom(), string()}.
fault(Message) when not is_map(Message) ->
    {message, "must be a map with a topic and a key"};
fault(#{value := Value}) when Value =/= undefined, Value =/= nil ->
    {value, "of a tombstone is null: leave it out"};
fault(#{key := Key}) when Key =/= undefined, Key =/= nil ->
    try iolist_size(Key) of
        0 -> {key, "of a tombstone must not be empty"};
        _ -> none
    catch
        %% The call tells what is wrong with it.
        error:badarg -> none
    end;
fault(_) ->
    {key, "of a tombstone is required"}.
