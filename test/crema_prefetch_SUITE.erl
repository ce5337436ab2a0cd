%% The one limit for what is fetched: partitions whose handlers take nothing are
%% shut, the others go on, and nothing is lost or comes twice by it.
-module(crema_prefetch_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    stuck_and_healthy/1, revoked_while_shut/1, stopped_while_shut/1, crash_while_shut/1,
    large_messages/1, too_many_partitions/1, quiet/1
]).

-define(LIMIT, 8388608).
-define(PARTITIONS, 10).
%% Of each partition: more than twice its share.
-define(MESSAGES, 120).
-define(SIZE, 10000).
%% The embedded cluster keeps 5 MB of a partition.

suite() -> [{timetrap, {seconds, 90}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            stuck_and_healthy, revoked_while_shut, stopped_while_shut, crash_while_shut,
            large_messages, too_many_partitions, quiet
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

stuck_and_healthy(Config) ->
    %% While nine of ten handlers are stuck their partitions are shut within the
    %% limit, and the tenth is handled to its end. When they go on each gets
    %% all of its messages once and in order.
    Topic = filled(Config, ?PARTITIONS, ?MESSAGES, ?SIZE),
    Gate = gate(),
    C = consumer(Config, Topic, Gate, fun(P) -> P < 9 end, #{}),
    Workers = stuck(9),
    ?assertEqual(lists:seq(0, ?MESSAGES - 1), of_partition(9, handled(?MESSAGES))),
    true = crema_ct:await(fun() -> shut(C) =:= lists:seq(0, 8) orelse {shut, shut(C)} end),
    #{prefetch := ?LIMIT, prefetch_bytes := Bytes, prefetch_shut := 9} = crema:info(C),
    ?assert(Bytes > ?LIMIT div 4, Bytes),
    ?assert(Bytes =< ?LIMIT div 2 + ?PARTITIONS * ?SIZE, Bytes),
    ok = open(Gate, Workers),
    Rest = handled(9 * ?MESSAGES),
    [?assertEqual(lists:seq(0, ?MESSAGES - 1), of_partition(P, Rest)) || P <- lists:seq(0, 8)],
    true = crema_ct_consume:all_acknowledged(C),
    true = crema_ct:await(fun() -> shut(C) =:= [] orelse {shut, shut(C)} end),
    nothing_more().

quiet(Config) ->
    %% Partitions that have handled all they got keep none of it alive.
    Topic = filled(Config, 2, 4, 50000),
    Options = #{bootstrap_servers => crema_ct:bootstrap(Config), topics => [Topic]},
    Self = self(),
    Handler = fun(_) -> Self ! {by, self()}, ok end,
    [
        {ok, _} = crema_consumer:start_link(Options#{
            group => crema_ct:unique(<<"group">>), handler => Handler, concurrency => Concurrency
        })
     || Concurrency <- [1, {any, 2}]
    ],
    Workers = lists:usort([receive {by, Pid} -> Pid end || _ <- lists:seq(1, 16)]),
    Held = fun(Pid) ->
        {links, Links} = process_info(Pid, links),
        [Ref || P <- [Pid | Links], is_pid(P), Ref <- element(2, process_info(P, binary))]
    end,
    true = crema_ct:await(fun() ->
        Refs = lists:flatmap(Held, Workers),
        Refs =:= [] orelse {held, Refs}
    end).

revoked_while_shut(Config) ->
    %% Partitions that are shut go to another member when it joins, and are
    %% fetched again by the first when the other leaves: librdkafka remembers
    %% that they were paused.
    Topic = filled(Config, ?PARTITIONS, ?MESSAGES, ?SIZE),
    Gate = gate(),
    Group = crema_ct:unique(<<"group">>),
    All = fun(_) -> true end,
    Options = #{group => Group, drain_timeout => 50},
    First = consumer(Config, Topic, Gate, All, Options),
    Workers = stuck(?PARTITIONS),
    true = crema_ct:await(fun() -> length(shut(First)) =:= ?PARTITIONS end),
    Second = consumer(Config, Topic, Gate, All, Options),
    true = crema_ct:await(fun() -> length(shut(Second)) =:= ?PARTITIONS div 2 end),
    true = crema_ct:await(fun() -> length(shut(First)) =:= ?PARTITIONS div 2 end),
    ok = crema_consumer:stop(Second),
    true = crema_ct:await(fun() -> length(shut(First)) =:= ?PARTITIONS end),
    ok = open(Gate, Workers),
    Handled = handled(?PARTITIONS * ?MESSAGES),
    [
        ?assertEqual(lists:seq(0, ?MESSAGES - 1), of_partition(P, Handled))
     || P <- lists:seq(0, ?PARTITIONS - 1)
    ],
    true = crema_ct_consume:all_acknowledged(First),
    nothing_more().

stopped_while_shut(Config) ->
    %% A consumer stops in time with partitions that are shut; the next member
    %% goes on where it was.
    Topic = filled(Config, 2, ?MESSAGES, ?SIZE * 4),
    Gate = gate(),
    Options = #{group => crema_ct:unique(<<"group">>), drain_timeout => 50},
    Self = self(),
    Some = fun(#{partition := P, offset := O}, State) ->
        Self ! {handled, P, O},
        _ = O =:= 60 andalso wait(P, Gate, Self),
        {ack, State}
    end,
    C = crema_ct:consumer(Config, Topic, #{handle => Some, to => Self}, limited(Options)),
    _ = stuck(2),
    true = crema_ct:await(fun() -> length(shut(C)) =:= 2 end),
    {Time, ok} = crema_ct:timed(fun() -> crema_consumer:stop(C) end),
    ?assert(Time < 5000, Time),
    ok = open(Gate, []),
    ?assertEqual(lists:seq(0, 60), handled_until(0, 60)),
    ?assertEqual(lists:seq(0, 60), handled_until(1, 60)),
    Second = consumer(Config, Topic, Gate, fun(_) -> true end, Options),
    [
        begin
            [First | _] = Rest = handled_until(P, ?MESSAGES - 1),
            ?assert(First =< 60, First),
            ?assertEqual(lists:seq(First, ?MESSAGES - 1), Rest)
        end
     || P <- [0, 1]
    ],
    true = crema_ct_consume:all_acknowledged(Second),
    nothing_more().

crash_while_shut(Config) ->
    %% A worker that is killed while its partition is shut is started again, gets
    %% first what was delivered, and then the rest, once.
    Topic = filled(Config, 2, 2 * ?MESSAGES, ?SIZE * 2),
    Gate = gate(),
    C = consumer(Config, Topic, Gate, fun(P) -> P =:= 0 end, crema_ct_consume:quick()),
    [{0, Worker}] = stuck(1),
    true = crema_ct:await(fun() -> shut(C) =:= [0] end),
    atomics:put(Gate, 1, 1),
    exit(Worker, kill),
    Handled = handled(4 * ?MESSAGES),
    [
        ?assertEqual(lists:seq(0, 2 * ?MESSAGES - 1), of_partition(P, Handled))
     || P <- [0, 1]
    ],
    true = crema_ct_consume:all_acknowledged(C),
    nothing_more().

large_messages(Config) ->
    %% Messages that are larger than a partition's share come all the same, one
    %% at a time.
    Topic = filled(Config, ?PARTITIONS, 4, 900000),
    C = consumer(Config, Topic, gate(), fun(_) -> false end, #{}),
    Handled = handled(?PARTITIONS * 4),
    [
        ?assertEqual([0, 1, 2, 3], of_partition(P, Handled))
     || P <- lists:seq(0, ?PARTITIONS - 1)
    ],
    true = crema_ct_consume:all_acknowledged(C).

too_many_partitions(Config) ->
    %% An event tells when more partitions are assigned than there is room for a
    %% fetch of each.
    Topic = crema_ct:topic(Config, 3),
    Event = [crema, consumer, prefetch_short],
    Group = crema_ct:unique(<<"group">>),
    Self = self(),
    ok = crema_events:attach(
        {?MODULE, Group},
        Event,
        fun(_, Measured, #{group := Of} = Metadata, _) ->
            Of =:= Group andalso (Self ! {short, Measured, Metadata})
        end,
        none
    ),
    Kafka = #{'max.partition.fetch.bytes' => ?LIMIT div 2},
    _ = consumer(Config, Topic, gate(), fun(_) -> false end, #{group => Group, kafka => Kafka}),
    receive
        {short, Measured, Metadata} ->
            ?assertMatch(#{count := 3, room := 2}, Measured),
            ok = crema_ct_consume:event_is_as_told(Event, Measured, Metadata)
    after 20000 -> error(no_event)
    end,
    crema_events:detach({?MODULE, Group}).

%% Messages of that size, as many in each partition.
filled(Config, Partitions, Messages, Size) ->
    Topic = crema_ct:topic(Config, Partitions),
    Producer = crema_ct:producer(Config),
    Value = binary:copy(<<"v">>, Size),
    [
        begin
            {ok, Results} = crema:produce_many(Producer, [
                #{topic => Topic, partition => P, value => Value}
             || _ <- lists:seq(1, Messages)
            ]),
            ?assertEqual([], [Error || {error, Error} <- Results])
        end
     || P <- lists:seq(0, Partitions - 1)
    ],
    ok = crema_producer:stop(Producer),
    Topic.

%% A consumer whose handlers of some partitions wait at each message until the
%% gate is open. It tells of the places of messages only.
consumer(Config, Topic, Gate, Waits, Options) ->
    Self = self(),
    Handle = fun(#{partition := P, offset := O}, State) ->
        _ = Waits(P) andalso wait(P, Gate, Self),
        Self ! {handled, P, O},
        {ack, State}
    end,
    crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, limited(Options)).

limited(Options) ->
    Options#{prefetch => ?LIMIT}.

gate() ->
    atomics:new(1, []).

wait(Partition, Gate, Self) ->
    case atomics:get(Gate, 1) of
        1 ->
            ok;
        0 ->
            Self ! {stuck, Partition, self()},
            receive
                go -> ok
            end
    end.

open(Gate, Workers) ->
    atomics:put(Gate, 1, 1),
    lists:foreach(fun({_, Worker}) -> Worker ! go end, Workers).

stuck(0) ->
    [];
stuck(Count) ->
    receive
        {stuck, Partition, Worker} -> [{Partition, Worker} | stuck(Count - 1)]
    after 30000 -> error({not_stuck, Count, crema_ct:state_of_clients()})
    end.

shut(Consumer) ->
    Partitions = crema_ct_consume:partitions(Consumer),
    lists:sort([P || #{partition := P, fetching := false} <- Partitions]).

handled(0) ->
    [];
handled(Count) ->
    receive
        %% It looked at the gate before that was opened.
        {stuck, _, Worker} -> Worker ! go, handled(Count);
        {handled, P, O} -> [{P, O} | handled(Count - 1)]
    after 30000 -> error({missing_messages, Count, crema_ct:state_of_clients()})
    end.

%% Of one partition.
handled_until(P, Last) ->
    receive
        {handled, P, Last} -> [Last];
        {handled, P, O} -> [O | handled_until(P, Last)]
    after 30000 -> error({missing_messages, P, crema_ct:state_of_clients()})
    end.

of_partition(Partition, Handled) ->
    [Offset || {P, Offset} <- Handled, P =:= Partition].

nothing_more() ->
    receive
        {handled, P, O} -> error({unexpected, P, O})
    after 50 -> ok
    end.
