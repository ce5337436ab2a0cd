%% @doc librdkafka's statistics, as the event `[crema, client, statistics]' and
%% `crema:statistics/1' have them: what changed since the ones before, and the
%% metrics that users of StatsD and Datadog expect.
%%
%% Statistics are maps with binaries as keys: the fields are those of
%% librdkafka's STATISTICS.md. Everything here is a function of its arguments.
-module(crema_statistics).

-export([decorate/3, totals/1, metrics/1]).

-export_type([statistics/0, deltas/0, metric/0]).

-type statistics() :: #{binary() => number() | binary() | boolean() | list() | statistics()}.

-type deltas() :: metrics | all | [Field :: binary()].
%% Which numbers {@link decorate/3} decorates: those that {@link metrics/1} needs,
%% all, or those in fields of these names, wherever they are.

-type metric() ::
    {counter | histogram | gauge, Name :: binary(), number(), Tags :: [{binary(), binary()}]}.

%% @private Adds to each number what has become of it since the statistics before:
%% beside `<<"tx">>' stand `<<"tx_d">>', by how much it changed, and `<<"tx_fd">>',
%% for how many milliseconds it has been what it is. Both are 0 when it is seen
%% for the first time.
%%
%% `Previous' is the decorated map of the statistics before, or `none'.
-spec decorate(statistics(), Previous :: statistics() | none, deltas()) -> statistics().
decorate(Current, none, Deltas) ->
    node(Current, #{}, 0, names(Deltas));
decorate(Current, Previous, Deltas) ->
    node(Current, Previous, millis(Current) - millis(Previous), names(Deltas)).

-spec names(deltas()) -> all | [{binary(), binary(), binary()}].
names(all) -> all;
names(metrics) -> names([<<"tx">>, <<"txretries">>, <<"txerrs">>, <<"rxerrs">>]);
names(Fields) -> [with_suffixes(Field) || Field <- Fields].

-spec with_suffixes(binary()) -> {binary(), binary(), binary()}.
with_suffixes(Field) ->
    {Field, <<Field/binary, "_d">>, <<Field/binary, "_fd">>}.

%% When they were gathered, by librdkafka's clock.
-spec millis(statistics()) -> integer().
millis(Statistics) ->
    maps:get(<<"ts">>, Statistics, 0) div 1000.

-spec node(statistics(), statistics(), integer(), all | [{binary(), binary(), binary()}]) ->
    statistics().
node(Current, Previous, Elapsed, Names) ->
    Inner = maps:map(
        fun
            (Key, Node) when is_map(Node) -> node(Node, inner(Key, Previous), Elapsed, Names);
            (_Key, Value) -> Value
        end,
        Current
    ),
    Numbers =
        case Names of
            all -> [with_suffixes(Key) || {Key, Value} <- maps:to_list(Current), is_number(Value)];
            _ -> [Name || {Key, _, _} = Name <- Names, is_number(maps:get(Key, Current, none))]
        end,
    Added = lists:append([number(Name, Current, Previous, Elapsed) || Name <- Numbers]),
    maps:merge(Inner, maps:from_list(Added)).

-spec inner(binary(), statistics()) -> statistics().
inner(Key, Previous) ->
    case Previous of
        #{Key := Node} when is_map(Node) -> Node;
        _ -> #{}
    end.

-spec number({binary(), binary(), binary()}, statistics(), statistics(), integer()) ->
    [{binary(), number()}].
number({Key, KeyD, KeyFd}, Current, Previous, Elapsed) ->
    #{Key := Value} = Current,
    {Change, Frozen} =
        case Previous of
            #{Key := Value} -> {0, maps:get(KeyFd, Previous, 0) + Elapsed};
            #{Key := Other} when is_number(Other) -> {Value - Other, 0};
            _ -> {0, 0}
        end,
    [{KeyD, Change}, {KeyFd, Frozen}].

%% @private The client's totals, which are the measurements of the event.
-spec totals(statistics()) -> #{atom() => integer()}.
totals(Statistics) ->
    maps:from_list([
        {Name, maps:get(Field, Statistics)}
     || {Name, Field} <- [
            {replyq, <<"replyq">>},
            {msg_cnt, <<"msg_cnt">>},
            {msg_size, <<"msg_size">>},
            {tx, <<"tx">>},
            {tx_bytes, <<"tx_bytes">>},
            {rx, <<"rx">>},
            {rx_bytes, <<"rx_bytes">>},
            {txmsgs, <<"txmsgs">>},
            {txmsg_bytes, <<"txmsg_bytes">>},
            {rxmsgs, <<"rxmsgs">>},
            {rxmsg_bytes, <<"rxmsg_bytes">>}
        ],
        is_map_key(Field, Statistics)
    ]).

%% @doc The metrics of decorated statistics, under the names that WaterDrop gives
%% them: for the client `calls' (requests sent since the last) and `queue.size'
%% (messages); for each broker, with the tag `broker', `deliver.attempts' (retries),
%% `deliver.errors' and `receive.errors' since the last, and `queue.latency.avg',
%% `.p95', `.p99' and `network.latency.avg', `.p95', `.p99' in microseconds. Put the
%% namespace before the names that your metrics have. What the statistics lack is
%% left out; so are the addresses a client begins with, before it knows its brokers.
-spec metrics(statistics()) -> [metric()].
metrics(Statistics) ->
    Client = [
        {counter, <<"calls">>, [<<"tx_d">>]},
        {histogram, <<"queue.size">>, [<<"msg_cnt">>]}
    ],
    values(Client, Statistics, []) ++
        lists:append([
            values(broker_metrics(), Broker, [{<<"broker">>, Name}])
         || #{<<"nodeid">> := Id, <<"nodename">> := Name} = Broker <-
                maps:values(inner(<<"brokers">>, Statistics)),
            Id >= 0,
            %% The coordinator is there a second time, under its own name.
            maps:get(<<"source">>, Broker, none) =/= <<"logical">>
        ]).

-spec broker_metrics() -> [{counter | gauge, binary(), [binary()]}].
broker_metrics() ->
    [
        {counter, <<"deliver.attempts">>, [<<"txretries_d">>]},
        {counter, <<"deliver.errors">>, [<<"txerrs_d">>]},
        {counter, <<"receive.errors">>, [<<"rxerrs_d">>]}
    ] ++
        [
            {gauge, <<Name/binary, ".latency.", Part/binary>>, [Window, Part]}
         || {Name, Window} <- [{<<"queue">>, <<"outbuf_latency">>}, {<<"network">>, <<"rtt">>}],
            Part <- [<<"avg">>, <<"p95">>, <<"p99">>]
        ].

-spec values([{counter | histogram | gauge, binary(), [binary()]}], statistics(), Tags) ->
    [metric()]
when
    Tags :: [{binary(), binary()}].
values(Metrics, Node, Tags) ->
    [
        {Type, Name, Value, Tags}
     || {Type, Name, Path} <- Metrics, Value <- [at(Path, Node)], is_number(Value)
    ].

-spec at([binary()], term()) -> term().
at([], Value) ->
    Value;
at([Key | Path], Node) ->
    case Node of
        #{Key := Value} -> at(Path, Value);
        _ -> none
    end.
