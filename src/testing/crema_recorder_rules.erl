%% @private What recording producers need not be told by brokers, and librdkafka
%% would judge of each message: its partition, and whether it is refused.
-module(crema_recorder_rules).

-include("../port/crema_commands.hrl").

-export([new/1, variant/3, count/2, refusal/2, place/3, fault/2, payload/1, entries/3, purged/1]).

-export_type([rules/0]).

-define(PARTITIONS, 4).
%% Of librdkafka.
-define(UNKNOWN_PARTITION, -190).
-define(PURGE_QUEUE, -152).
-define(MSG_SIZE_TOO_LARGE, 10).
-define(NO_OFFSET, -1001).
%% What it allows for the lengths and numbers around a message's own bytes.
-define(MESSAGE_OVERHEAD, 36).

-record(rules, {
    partitions :: #{binary() => pos_integer()},
    partitioner :: binary(),
    %% of topics' configurations
    variants = #{} :: #{pos_integer() => binary()},
    max_bytes :: integer(),
    %% of the queue
    most :: {Messages :: pos_integer(), Bytes :: pos_integer()}
}).
-opaque rules() :: #rules{}.
-type message() :: crema_recorded_call:message() | skipped.

%% @doc Of a producer's parsed options.
-spec new(map()) -> rules().
new(#{record := Record, kafka := Kafka} = Options) ->
    #rules{
        partitions =
            case Record of
                true -> #{};
                _ -> Record
            end,
        partitioner =
            case crema_partitioner:of_client(Options) of
                {librdkafka, Name} -> atom_to_binary(Name);
                %% Messages come with their partitions.
                _ -> <<"consistent_random">>
            end,
        max_bytes = crema_properties:integer(<<"message.max.bytes">>, Kafka, 1000000),
        most = {maps:get(max_queue_messages, Options), maps:get(max_queue_bytes, Options)}
    }.

%% @doc The properties of a configuration of topics that librdkafka has accepted.
-spec variant(non_neg_integer(), [{binary(), binary()}], rules()) -> rules().
variant(Variant, Properties, #rules{variants = Variants} = Rules) ->
    case lists:keyfind(<<"partitioner">>, 1, Properties) of
        {_, Name} -> Rules#rules{variants = Variants#{Variant => Name}};
        false -> Rules
    end.

%% @doc The message with its partition.
-spec place(message(), Variant :: non_neg_integer(), rules()) -> message().
place(skipped, _Variant, _Rules) ->
    skipped;
place(#{topic := Topic, partition := Choice, key := Key} = Message, Variant, Rules) ->
    Partitioner = maps:get(Variant, Rules#rules.variants, Rules#rules.partitioner),
    Count = count(Topic, Rules),
    Message#{partition := crema_recorded_call:place(Choice, Key, Partitioner, Count)}.

%% @doc How many partitions a topic has.
-spec count(binary(), rules()) -> pos_integer().
count(Topic, #rules{partitions = Partitions}) ->
    maps:get(Topic, Partitions, ?PARTITIONS).

%% @doc Of a call that would never have a place in the queue. Other calls have one: the
%% queue is never full.
-spec refusal([message()], rules()) -> none | crema_error:error().
refusal(Messages, #rules{most = {Most, MostBytes}}) ->
    Bytes = lists:sum([payload(Message) || Message <- Messages]),
    case length(Messages) > Most orelse Bytes > MostBytes of
        true ->
            Text = io_lib:format(
                "~b messages of ~b bytes in one call exceed the whole queue "
                "(max_queue_messages ~b, max_queue_bytes ~b)",
                [length(Messages), Bytes, Most, MostBytes]
            ),
            crema_error:make(batch_too_large, Text, #{});
        false ->
            none
    end.

%% @doc What librdkafka refuses a message of, and its status.
-spec fault(message(), rules()) -> none | {integer(), byte()}.
fault(skipped, _Rules) ->
    {?REPORT_SKIPPED, ?STATUS_NOT_SENT};
fault(#{topic := Topic, partition := Partition} = Message, Rules) ->
    #rules{partitions = Partitions, max_bytes = Max} = Rules,
    case {wire_size(Message) > Max, Partitions} of
        {true, _} -> {?MSG_SIZE_TOO_LARGE, ?STATUS_NOT_SENT};
        {false, #{Topic := Count}} when Partition >= Count -> {?UNKNOWN_PARTITION, ?STATUS_NOT_SENT};
        {false, _} -> none
    end.

-spec wire_size(crema_recorded_call:message()) -> pos_integer().
wire_size(#{headers := Headers} = Message) ->
    Texts = [text(Text) || {Name, Value} <- Headers, Text <- [Name, Value]],
    ?MESSAGE_OVERHEAD + payload(Message) +
        lists:sum([byte_size(Text) + length_size(2 * byte_size(Text)) || Text <- Texts]).

-spec text(binary() | undefined) -> binary().
text(undefined) -> <<>>;
text(Text) -> Text.

%% Of seven bits each.
-spec length_size(non_neg_integer()) -> pos_integer().
length_size(Number) when Number < 128 -> 1;
length_size(Number) -> 1 + length_size(Number bsr 7).

-spec payload(message()) -> non_neg_integer().
payload(skipped) ->
    0;
payload(#{key := Key, value := Value}) ->
    lists:sum([byte_size(Bytes) || Bytes <- [Key, Value], is_binary(Bytes)]).

%% @doc What is reported of messages, with the verdicts on those without a fault.
-spec entries([message()], [crema_recordings:verdict()], rules()) -> [crema_recorded_call:entry()].
entries([Message | Rest], Verdicts, Rules) ->
    case {fault(Message, Rules), Verdicts} of
        {none, [{_, ok, Offset} | Others]} ->
            #{partition := Partition, timestamp := Timestamp} = Message,
            Entry = {0, ?STATUS_PERSISTED, Partition, Offset, Timestamp},
            [Entry | entries(Rest, Others, Rules)];
        {none, [{_, {Number, Status}, _} | Others]} ->
            [failed(Number, Status, Message) | entries(Rest, Others, Rules)];
        {{Number, Status}, _} ->
            [failed(Number, Status, Message) | entries(Rest, Verdicts, Rules)]
    end;
entries([], [], _Rules) ->
    [].

-spec failed(integer(), byte(), message()) -> crema_recorded_call:entry().
failed(Number, Status, skipped) -> {Number, Status, -1, ?NO_OFFSET, -1};
failed(Number, Status, #{partition := Partition}) -> {Number, Status, Partition, ?NO_OFFSET, -1}.

%% @doc What is reported of a message that a purge comes before.
-spec purged(crema_recorded_call:entry()) -> crema_recorded_call:entry().
purged({0, _, Partition, _, _}) ->
    {?PURGE_QUEUE, ?STATUS_NOT_PERSISTED, Partition, ?NO_OFFSET, -1};
purged(Entry) ->
    Entry.
