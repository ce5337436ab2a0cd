%% Consume, transform, produce on real brokers: a reader with read_committed (kcat's
%% isolation.level) finds what came of each message exactly once, whatever happens.
-module(crema_exactly_once_kafka_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([failing_handlers/1, killed/1, poison/1, joining/1, zombie/1]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [failing_handlers, killed, poison, joining, zombie].

init_per_suite(Config) -> crema_ct:start(Config, crema_ct_kafka:bootstrap()).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

-define(COUNT, 1200).

%% A topic of four partitions that holds numbers, and one for their copies.
topics(Config) ->
    Source = crema_ct:topic(Config, 4),
    [
        ok = crema_ct:fill(Config, Source, P, [N || N <- lists:seq(1, ?COUNT), N rem 4 =:= P])
     || P <- lists:seq(0, 3)
    ],
    {Source, crema_ct:topic(Config, 4)}.

copier(Config, Source, Handler, Options) ->
    Id = crema_ct:unique(<<"copier">>),
    Given = #{
        bootstrap_servers => crema_ct:bootstrap(Config),
        group => crema_ct:unique(<<"group">>),
        topics => [Source],
        handler => Handler,
        commit => exactly_once,
        transactional_id => Id,
        backoff => {10, 100},
        batch_messages => 20,
        kafka => #{'heartbeat.interval.ms' => 200}
    },
    crema_ct:started(crema_consumer:start_link(maps:merge(Given, Options))).

%% The handler that copies.
copy(To) ->
    fun(#{value := Value}) -> {produce, [#{topic => To, value => Value}]} end.

%% What readers find, when it is all there.
copied(Config, To) ->
    Numbers = fun() -> lists:sort(values(Config, To)) end,
    crema_ct:await(fun() -> length(Numbers()) >= ?COUNT orelse few end, 60000),
    ?assertEqual(lists:seq(1, ?COUNT), Numbers()).

values(Config, Topic) ->
    Log = crema_ct_kafka:log(proplists:get_value(priv_dir, Config), Topic),
    [binary_to_integer(Value) || {_, Entries} <- Log, {_, Value} <- Entries].

%% A process of a consumer, by its name in the supervisor.
part(Consumer, Id) ->
    {Id, Pid, _, _} = lists:keyfind(Id, 1, supervisor:which_children(Consumer)),
    Pid.

aborted(Source) ->
    crema_ct_consume:listen(Source, [crema, consumer, transaction_aborted]).

failing_handlers(Config) ->
    %% Handlers that raise and that return errors abort nothing.
    {Source, To} = topics(Config),
    Aborted = aborted(Source),
    Fails = crema_ct_consume:once([<<"7">>, <<"500">>, <<"1001">>]),
    Returns = crema_ct_consume:once([<<"8">>, <<"600">>, <<"1002">>]),
    Copy = copy(To),
    Handler = fun(#{value := Value} = Message) ->
        false = Fails(Value),
        case Returns(Value) of
            true -> {error, planned};
            false -> Copy(Message)
        end
    end,
    _ = copier(Config, Source, Handler, #{}),
    copied(Config, To),
    receive
        {Aborted, _, Metadata} -> error({aborted, Metadata})
    after 0 -> ok
    end.

killed(Config) ->
    %% A worker, the producer, who has the transactions, or the member is killed, in
    %% the middle: nothing is missing, nothing there twice.
    {Source, To} = topics(Config),
    C = copier(Config, Source, slowly(To), #{transaction_interval => 20}),
    Kill = fun(Pid) -> exit(Pid, kill) end,
    [
        begin
            Before = length(values(Config, To)),
            Kill(Which()),
            crema_ct:await(
                fun() ->
                    Now = length(values(Config, To)),
                    Now > Before orelse Now =:= ?COUNT
                end,
                30000
            )
        end
     || Which <- [
            fun() -> worker(C) end,
            fun() -> part(C, producer) end,
            fun() -> part(C, exactly_once) end,
            fun() -> part(C, group) end
        ]
    ],
    copied(Config, To).

worker(Consumer) ->
    crema_ct:await(fun() ->
        case supervisor:which_children(part(Consumer, workers)) of
            [{_, Pid, _, _} | _] -> {ok, Pid};
            [] -> none
        end
    end).

%% Long enough for what comes in between.
slowly(To) ->
    Copy = copy(To),
    fun(Message) ->
        receive
        after 5 -> Copy(Message)
        end
    end.

poison(Config) ->
    %% A message that cannot be delivered aborts the transaction. The others go on,
    %% and its handler's next try is its own.
    {Source, To} = topics(Config),
    Aborted = aborted(Source),
    Bad = atomics:new(1, []),
    Copy = copy(To),
    Handler = fun(#{value := Value} = Message) ->
        {produce, [Good]} = Copy(Message),
        case Value =:= <<"401">> andalso atomics:get(Bad, 1) =:= 0 of
            true -> {produce, [Good#{partition => 99}]};
            false -> {produce, [Good]}
        end
    end,
    C = copier(Config, Source, Handler, #{}),
    Error = crema_ct_consume:listen(Source, [crema, consumer, handler_error]),
    {Measured, Metadata} = crema_ct_consume:heard(Aborted),
    ?assertMatch(#{code := inconsistent}, Metadata),
    crema_ct_consume:event_is_as_told(
        [crema, consumer, transaction_aborted], Measured, Metadata
    ),
    {_, Failed} = crema_ct_consume:heard(Error),
    ?assertMatch(#{offset := 100, partition := 1, reason := {unknown_partition, _}}, Failed),
    %% All but what follows it in its partition.
    Others = ?COUNT - (?COUNT div 4 - 100),
    crema_ct:await(fun() -> length(values(Config, To)) =:= Others orelse few end, 60000),
    ok = atomics:put(Bad, 1, 1),
    copied(Config, To),
    ok = crema_consumer:stop(C).

joining(Config) ->
    %% A revocation waits for the commit: a second member goes on exactly where the
    %% first has stopped, and so do those that one leaves behind.
    {Source, To} = topics(Config),
    Group = #{group => crema_ct:unique(<<"group">>)},
    First = copier(Config, Source, slowly(To), Group),
    crema_ct:await(fun() -> length(values(Config, To)) > 0 end, 30000),
    Second = copier(Config, Source, slowly(To), Group),
    crema_ct:await(fun() -> length(assigned(Second)) =:= 2 orelse few end, 30000),
    ok = crema_consumer:stop(First),
    copied(Config, To).

assigned(Consumer) ->
    maps:get(assigned, crema:status(Consumer), []).

zombie(Config) ->
    %% A member whose transaction is held up loses its partitions to another. What it
    %% had gathered is refused when it goes on.
    {Source, To} = topics(Config),
    Group = #{group => crema_ct:unique(<<"group">>), drain_timeout => 500},
    First = copier(Config, Source, slowly(To), Group#{transaction_interval => 3000}),
    crema_ct:await(fun() -> length(assigned(First)) =:= 4 end, 30000),
    Started = crema_ct_consume:listen(Source, [crema, consumer, transaction_aborted]),
    crema_ct:await(fun() -> gathers(part(First, exactly_once)) end),
    ok = sys:suspend(part(First, exactly_once)),
    Second = copier(Config, Source, slowly(To), Group),
    crema_ct:await(fun() -> length(assigned(Second)) =:= 2 orelse few end, 30000),
    crema_ct:await(fun() -> length(values(Config, To)) > 0 end, 30000),
    ok = sys:resume(part(First, exactly_once)),
    {_, #{code := Code}} = crema_ct_consume:heard(Started),
    %% The last one when the brokers have timed out its transaction meanwhile.
    ?assert(lists:member(Code, [illegal_generation, unknown_member_id, fenced]), Code),
    copied(Config, To).

%% Something of each of its partitions.
gathers(Pid) ->
    {member, Data} = sys:get_state(Pid),
    case lists:keyfind(gathering, 1, [T || T <- tuple_to_list(Data), is_tuple(T)]) of
        false -> none;
        Gathering -> length(crema_gathering:slots(Gathering)) =:= 4
    end.
