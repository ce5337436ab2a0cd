%% @private The packed formats of producing: the description is in
%% c_src/core/commands.h, the other half in c_src/core/produce_decode.c,
%% produce_plain.c and delivery.c.
-module(crema_packet).

-include("crema_commands.hrl").

-export([produce/7, plain/2, unheard/1, via/3, via_variant/2, in_transaction/2, to_reporter/1, variant/1]).
-export([topic/1, bytes/1, header_pairs/1]).
-export([reports/1, tagged_reports/1, listed_reports/1]).

-export_type([message/0, mode/0, via/0, report/0, fault/0]).

%% A message to produce. Text is iodata; for the topic an atom will do as well.
%% A header in a map may have a list of values, and then comes so many times. The
%% timestamp is in milliseconds, or a DateTime of Elixir's.
-type message() :: #{
    topic := iodata() | atom(),
    value => iodata() | undefined | nil,
    key => iodata() | undefined | nil,
    partition => integer() | crema_partitioner:choice(),
    partition_key => iodata() | undefined | nil,
    headers => [{iodata(), iodata() | undefined | nil}] | map(),
    timestamp => non_neg_integer() | map(),
    label => term()
}.
%% Messages with what goes by reference apart.
-type packed() :: {iodata(), Behind :: [binary()]}.
-type mode() :: none | keep | wait | send.
-type via() :: binary().
-type report() ::
    {Code :: integer(), Status :: byte(), Partition :: integer(), Offset :: integer(),
        Timestamp :: integer()}.
-type fault() :: {Index :: non_neg_integer(), Field :: atom(), Reason :: iolist()}.

%% Values of this size and more are handed over by reference: below it a copy
%% costs less than keeping a binary alive until its report.
-define(BY_REFERENCE, 16384).

-define(IS_SMALL(Value, Max),
    is_binary(Value), byte_size(Value) < ?BY_REFERENCE, byte_size(Value) =< Max
).
-define(IS_PLAIN(Topic, Value, Max),
    is_binary(Topic), byte_size(Topic) > 0, byte_size(Topic) =< ?MAX_TOPIC, ?IS_SMALL(Value, Max)
).
%% Kafka's limit.
-define(MAX_TOPIC, 249).
-define(TOPIC_NAME, "must be a name of 1 to 249 bytes (letters, digits, dots, dashes and underscores)").

%% @doc The argument of PRODUCE. All messages are checked. The values that are
%% to go by reference come apart, in order. `Max' is the size of a value, at most.
%% What crema_prepare leaves out of a call is only reported.
-spec produce(
    mode(), refuse | wait, via(), Call :: non_neg_integer(), Tag :: binary(), Max :: pos_integer(),
    [message() | skipped]
) -> {ok, iodata(), Behind :: [binary()]} | {error, fault() | unprepared}.
produce(Mode, Policy, Via, Call, Tag, Max, Messages) ->
    Start =
        <<(mode(Mode)), (policy(Policy, Via)), Call:64, Via/binary, (byte_size(Tag)):16, Tag/binary,
            (count_of(Messages)):32>>,
    try packed(Messages, Start, Max) of
        {Packed, Behind} -> {ok, Packed, Behind}
    catch
        throw:{fault, Field, Reason, Index} -> {error, {Index, Field, Reason}};
        throw:unprepared -> {error, unprepared}
    end.

%% @doc One plain message; `none' when it is not plain. It is the most frequent call: it is
%% not worth a binary that can grow.
-spec plain(message(), Max :: pos_integer()) -> iodata() | none.
plain(#{topic := Topic, value := Value} = Message, Max) when
    ?IS_PLAIN(Topic, Value, Max), map_size(Message) =:= 2
->
    Flags = ?MESSAGE_VALUE bor ?MESSAGE_TOPIC,
    [<<Flags, (byte_size(Topic)):16, Topic/binary, (byte_size(Value)):32>> | Value];
plain(#{topic := Topic, value := Value, key := Key} = Message, Max) when
    ?IS_PLAIN(Topic, Value, Max), is_binary(Key), map_size(Message) =:= 3
->
    Flags = ?MESSAGE_KEY bor ?MESSAGE_VALUE bor ?MESSAGE_TOPIC,
    Named = <<Flags, (byte_size(Topic)):16, Topic/binary, (byte_size(Key)):32>>,
    [Named, Key, <<(byte_size(Value)):32>> | Value];
plain(_Message, _Max) ->
    none.

%% @doc The argument of PRODUCE for one, of which nobody hears.
-spec unheard(Plain :: iodata()) -> iodata().
unheard(Plain) ->
    [<<?MODE_NONE, ?POLICY_REFUSE, 0:64, 0:16, 1:32>> | Plain].

%% What is no list of messages is found to be none when it is packed.
-spec count_of(term()) -> non_neg_integer().
count_of(Messages) when length(Messages) > 0 -> length(Messages);
count_of(_) -> 0.

-spec packed([message() | skipped], Start :: binary(), Max :: pos_integer()) -> packed().
packed([Message] = Messages, Start, Max) ->
    case plain(Message, Max) of
        none -> pack(Messages, none, Max, 0, Start, []);
        Body -> {[Start | Body], []}
    end;
packed(Messages, Start, Max) ->
    pack(Messages, none, Max, 0, Start, []).

%% Plain messages to the topic of the one before come first, as many are: they take half the
%% time of others. An atom is another's name: before the first message Last is one.
-spec pack(
    [message() | skipped], Last :: binary() | none, Max :: pos_integer(), Index, binary(), [binary()]
) -> packed() when Index :: non_neg_integer().
pack([#{topic := Topic, value := Value} = Message | Rest], Topic, Max, Index, Acc, Behind) when
    is_binary(Topic), ?IS_SMALL(Value, Max), map_size(Message) =:= 2
->
    Next = <<Acc/binary, ?MESSAGE_VALUE, (byte_size(Value)):32, Value/binary>>,
    pack(Rest, Topic, Max, Index + 1, Next, Behind);
pack([#{topic := Topic, value := Value, key := Key} = Message | Rest], Topic, Max, Index, Acc, Behind) when
    is_binary(Topic), is_binary(Key), ?IS_SMALL(Value, Max), map_size(Message) =:= 3
->
    Next =
        <<Acc/binary, (?MESSAGE_KEY bor ?MESSAGE_VALUE), (byte_size(Key)):32, Key/binary,
            (byte_size(Value)):32, Value/binary>>,
    pack(Rest, Topic, Max, Index + 1, Next, Behind);
pack([#{topic := Topic} = Message | Rest], Topic, Max, Index, Acc, Behind) when is_binary(Topic) ->
    pack_body(Message, 0, <<>>, Rest, Topic, Max, Index, Acc, Behind);
pack([#{topic := Given} = Message | Rest], Last, Max, Index, Acc, Behind) ->
    case topic(Given) of
        error -> fault(topic, ?TOPIC_NAME, Index);
        Last -> pack([Message#{topic := Last} | Rest], Last, Max, Index, Acc, Behind);
        Topic -> pack_named(Message#{topic := Topic}, Rest, Topic, Max, Index, Acc, Behind)
    end;
pack([], _Topic, _Max, Count, Acc, Behind) when Count > 0 ->
    {Acc, lists:reverse(Behind)};
pack([skipped | Rest], Topic, Max, Index, Acc, Behind) ->
    pack(Rest, Topic, Max, Index + 1, <<Acc/binary, ?MESSAGE_PARTITION, ?PARTITION_SKIP:32>>, Behind);
pack([Message | _], _Topic, _Max, Index, _Acc, _Behind) when
    is_map_key(<<"topic">>, Message); is_map_key("topic", Message)
->
    fault(topic, "is missing: the fields of a message are atoms, not text", Index);
pack([Message | _], _Topic, _Max, Index, _Acc, _Behind) when is_map(Message) ->
    fault(topic, "is missing", Index);
pack([_ | _], _Topic, _Max, Index, _Acc, _Behind) ->
    fault(message, "must be a map with a topic", Index);
pack(_, _Topic, _Max, Index, _Acc, _Behind) ->
    fault(messages, "must be a list of one message or more", Index).

-spec pack_named(
    message(), [message() | skipped], Topic :: binary(), Max :: pos_integer(), Index, binary(), [binary()]
) -> packed() when Index :: non_neg_integer().
pack_named(#{value := Value} = Message, Rest, Topic, Max, Index, Acc, Behind) when
    ?IS_SMALL(Value, Max), map_size(Message) =:= 2
->
    Next =
        <<Acc/binary, (?MESSAGE_TOPIC bor ?MESSAGE_VALUE), (byte_size(Topic)):16, Topic/binary,
            (byte_size(Value)):32, Value/binary>>,
    pack(Rest, Topic, Max, Index + 1, Next, Behind);
pack_named(#{value := Value, key := Key} = Message, Rest, Topic, Max, Index, Acc, Behind) when
    is_binary(Key), ?IS_SMALL(Value, Max), map_size(Message) =:= 3
->
    Flags = ?MESSAGE_TOPIC bor ?MESSAGE_KEY bor ?MESSAGE_VALUE,
    Next =
        <<Acc/binary, Flags, (byte_size(Topic)):16, Topic/binary, (byte_size(Key)):32, Key/binary,
            (byte_size(Value)):32, Value/binary>>,
    pack(Rest, Topic, Max, Index + 1, Next, Behind);
pack_named(Message, Rest, Topic, Max, Index, Acc, Behind) ->
    Named = <<(byte_size(Topic)):16, Topic/binary>>,
    pack_body(Message, ?MESSAGE_TOPIC, Named, Rest, Topic, Max, Index, Acc, Behind).

-spec pack_body(
    message(), byte(), Named :: binary(), [message() | skipped], Topic :: binary(),
    Max :: pos_integer(), Index :: non_neg_integer(), binary(), [binary()]
) -> packed().
pack_body(Message, Flags, Named, Rest, Topic, Max, Index, Acc, Behind) ->
    ok = known(Message, Index),
    {PlaceFlag, Place} = place(maps:get(partition, Message, -1), Index),
    {TimeFlag, Time} = timestamp(maps:get(timestamp, Message, 0), Index),
    {KeyFlag, Key} = sized(key, maps:get(key, Message, undefined), ?MESSAGE_KEY, Index),
    {ValueFlag, Value, More} = value(maps:get(value, Message, undefined), Max, Index),
    {HeaderFlag, Headers} = headers(maps:get(headers, Message, []), Index),
    F = Flags bor PlaceFlag bor TimeFlag bor KeyFlag bor ValueFlag bor HeaderFlag,
    Next =
        <<Acc/binary, F, Named/binary, Place/binary, Time/binary, Key/binary, Value/binary,
            Headers/binary>>,
    pack(Rest, Topic, Max, Index + 1, Next, More ++ Behind).

%% What a partition key needs is done by crema_prepare, which takes it away.
-spec known(message(), non_neg_integer()) -> ok.
known(Message, _Index) when is_map_key(partition_key, Message) ->
    throw(unprepared);
known(Message, Index) ->
    Known = [topic, value, key, partition, headers, timestamp, label],
    case maps:keys(maps:without(Known, Message)) of
        [] -> ok;
        [Field | _] when is_atom(Field) -> fault(Field, "is not a field of a message", Index);
        _ -> fault(message, "has a field that is not an atom", Index)
    end.

%% @doc The bytes of a topic's name.
-spec topic(term()) -> binary() | error.
topic(Topic) when is_atom(Topic), Topic =/= undefined, Topic =/= nil ->
    topic(atom_to_binary(Topic));
topic(Given) ->
    case bytes(Given) of
        Topic when is_binary(Topic), byte_size(Topic) > 0, byte_size(Topic) =< ?MAX_TOPIC -> Topic;
        _ -> error
    end.

-spec place(term(), non_neg_integer()) -> {byte(), binary()}.
place(-1, _) ->
    {0, <<>>};
place(Partition, _) when is_integer(Partition), Partition >= 0, Partition < 1 bsl 31 ->
    {?MESSAGE_PARTITION, <<Partition:32>>};
place({hash, Hash, Count, Key}, _) when
    is_integer(Hash), is_integer(Count), is_binary(Key)
->
    {?MESSAGE_HASH, <<Hash, Count:32, (byte_size(Key)):32, Key/binary>>};
place(_, Index) ->
    fault(partition, "must be a number from 0 on, or -1 for the partitioner's choice", Index).

-spec timestamp(term(), non_neg_integer()) -> {byte(), binary()}.
timestamp(0, _) ->
    {0, <<>>};
timestamp(Time, _) when is_integer(Time), Time > 0, Time < 1 bsl 63 ->
    {?MESSAGE_TIMESTAMP, <<Time:64>>};
%% Elixir's module is there when its structs are.
timestamp(#{'__struct__' := 'Elixir.DateTime' = Module} = Time, Index) ->
    timestamp(Module:to_unix(Time, millisecond), Index);
timestamp(_, Index) ->
    fault(timestamp, "must be milliseconds since 1970", Index).

-spec sized(atom(), term(), byte(), non_neg_integer()) -> {byte(), binary()}.
sized(_Field, Null, _Flag, _Index) when Null =:= undefined; Null =:= nil ->
    {0, <<>>};
sized(Field, Given, Flag, Index) ->
    case bytes(Given) of
        error -> fault(Field, no_iodata(Given), Index);
        Bytes -> {Flag, <<(byte_size(Bytes)):32, Bytes/binary>>}
    end.

-spec no_iodata(term()) -> string().
no_iodata(Given) ->
    case is_list(Given) andalso io_lib:char_list(Given) of
        true -> "has characters above 255: make bytes of it, with unicode:characters_to_binary/1";
        false -> "must be iodata, or undefined (nil) for null"
    end.

-spec value(term(), pos_integer(), non_neg_integer()) -> {byte(), binary(), [binary()]}.
value(Given, Max, Index) when Given =/= undefined, Given =/= nil ->
    case bytes(Given) of
        error ->
            fault(value, no_iodata(Given), Index);
        Value when byte_size(Value) > Max ->
            Format = "has ~b bytes, and the option max_payload_size allows ~b",
            fault(value, io_lib:format(Format, [byte_size(Value), Max]), Index);
        Value when byte_size(Value) >= ?BY_REFERENCE ->
            {?MESSAGE_VALUE_BEHIND, <<(byte_size(Value)):32>>, [Value]};
        Value ->
            {?MESSAGE_VALUE, <<(byte_size(Value)):32, Value/binary>>, []}
    end;
value(_Null, _Max, _Index) ->
    {0, <<>>, []}.

-spec headers(term(), non_neg_integer()) -> {byte(), binary()}.
headers([], _Index) ->
    {0, <<>>};
headers(Headers, Index) when is_map(Headers) ->
    headers(header_pairs(Headers), Index);
headers(Headers, Index) when is_list(Headers), length(Headers) < 1 bsl 16 ->
    Packed = <<<<(header(Header, Index))/binary>> || Header <- Headers>>,
    {?MESSAGE_HEADERS, <<(length(Headers)):16, Packed/binary>>};
headers(_, Index) ->
    fault(headers, "must be a map or a list of {Name, Value}", Index).

%% @doc Those of a map, as the list that they stand for.
-spec header_pairs(map()) -> [{term(), term()}].
header_pairs(Headers) ->
    [{Name, Value} || {Name, Values} <- maps:to_list(Headers), Value <- values(Values)].

%% In a map several values are a list of them; text begins with a character.
-spec values(term()) -> [term()].
values([First | _] = Values) when not is_integer(First), length(Values) > 0 -> Values;
values(Value) -> [Value].

-spec header(term(), non_neg_integer()) -> binary().
header({Name, Value}, Index) ->
    case {header_name(Name), Value} of
        {Bytes, Null} when is_binary(Bytes), Null =:= undefined orelse Null =:= nil ->
            <<(byte_size(Bytes)):16, Bytes/binary, -1:32>>;
        {Bytes, _} when is_binary(Bytes) ->
            case bytes(Value) of
                error ->
                    fault(headers, ["have a value (of ", Bytes, ") that ", no_iodata(Value)], Index);
                Packed ->
                    <<(byte_size(Bytes)):16, Bytes/binary, (byte_size(Packed)):32, Packed/binary>>
            end;
        _ ->
            fault(headers, "have a name that is not text of at most 65535 bytes without a zero byte", Index)
    end;
header(_, Index) ->
    fault(headers, "must be pairs of name and value", Index).

%% With a zero byte librdkafka would send it, and read it back cut short.
-spec header_name(term()) -> binary() | error.
header_name(Name) when is_atom(Name) ->
    header_name(atom_to_binary(Name));
header_name(Name) ->
    Bytes = bytes(Name),
    Fits = is_binary(Bytes) andalso byte_size(Bytes) < 1 bsl 16,
    case Fits andalso binary:match(Bytes, <<0>>) of
        nomatch -> Bytes;
        _ -> error
    end.

%% @doc Iodata as one binary.
-spec bytes(term()) -> binary() | error.
bytes(Bytes) when is_binary(Bytes) ->
    Bytes;
bytes(Bytes) ->
    try
        iolist_to_binary(Bytes)
    catch
        error:badarg -> error
    end.

-spec fault(atom(), iolist(), non_neg_integer()) -> no_return().
fault(Field, Reason, Index) ->
    throw({fault, Field, Reason, Index}).

-spec mode(mode()) -> byte().
mode(none) -> ?MODE_NONE;
mode(keep) -> ?MODE_KEEP;
mode(wait) -> ?MODE_WAIT;
mode(send) -> ?MODE_SEND.

-spec policy(refuse | wait, via()) -> byte().
policy(refuse, <<>>) -> ?POLICY_REFUSE;
policy(wait, <<>>) -> ?POLICY_WAIT;
policy(Policy, _Via) -> policy(Policy, <<>>) bor ?POLICY_VIA.

%% @doc What a call carries beside its messages: who hears of it, the epoch of
%% its transaction, the variant of its topics' configuration; 0 is none of it.
-spec via(To :: non_neg_integer(), Epoch :: non_neg_integer(), Variant :: non_neg_integer()) ->
    via().
via(0, 0, 0) -> <<>>;
via(To, Epoch, Variant) -> <<To:64, Epoch:32, Variant:32>>.

%% @doc The same, but for the topics' configuration.
-spec via_variant(via(), Variant :: non_neg_integer()) -> via().
via_variant(<<>>, Variant) -> via(0, 0, Variant);
via_variant(<<To:64, Epoch:32, _:32>>, Variant) -> via(To, Epoch, Variant).

-spec variant(via()) -> non_neg_integer().
variant(<<>>) -> 0;
variant(<<_To:64, _Epoch:32, Variant:32>>) -> Variant.

%% @doc The same within a transaction.
-spec in_transaction(via(), Epoch :: pos_integer()) -> via().
in_transaction(<<>>, Epoch) -> via(0, Epoch, 0);
in_transaction(<<To:64, _:32, Variant:32>>, Epoch) -> via(To, Epoch, Variant).

%% @doc The same, but that the client's reporter hears of it.
-spec to_reporter(via()) -> via().
to_reporter(<<>>) -> via(?TO_REPORTER, 0, 0);
to_reporter(<<_:64, Rest/binary>>) -> <<?TO_REPORTER:64, Rest/binary>>.

-define(REPORT,
    Code:16/signed, Status, Partition:32/signed, Offset:64/signed, Timestamp:64/signed
).

%% @doc The reports of a call, in the order of its messages.
-spec reports(binary()) -> [report()].
reports(Packed) ->
    [{Code, Status, Partition, Offset, Timestamp} || <<?REPORT>> <= Packed].

%% @doc Reports that were sent, each with its message's tag.
-spec tagged_reports(binary()) -> [{Tag :: non_neg_integer(), report()}].
tagged_reports(Packed) ->
    [{Tag, {Code, Status, Partition, Offset, Timestamp}} || <<Tag:64, ?REPORT>> <= Packed].

%% @doc The reports of an event of reports (c_src/core/tally.h).
-spec listed_reports(binary()) -> [
    {Code :: integer(), Status :: byte(), Topic :: binary(), Partition :: integer(),
        Offset :: integer()}
].
listed_reports(Packed) ->
    listed(Packed, <<>>).

-spec listed(binary(), binary()) -> [{integer(), byte(), binary(), integer(), integer()}].
listed(<<Code:16/signed, Status, Partition:32/signed, Offset:64/signed, Size:16,
    Given:Size/binary, Rest/binary>>, Last) ->
    Topic =
        case Given of
            <<>> -> Last;
            _ -> binary:copy(Given)
        end,
    [{Code, Status, Topic, Partition, Offset} | listed(Rest, Topic)];
listed(<<>>, _Last) ->
    [].
