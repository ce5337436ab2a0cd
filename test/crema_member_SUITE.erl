%% The life of a member of a group: start, status, names, supervision, stop.
-module(crema_member_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    ready_and_status/1, no_broker/1, wrong_options/1, names/1, supervised/1,
    stop_by_its_parent/1, stop_again/1, stop_at_once/1, stop_between/1, stop_beside_a_crash/1, stop_renewed/1
]).
-export([init/1]).

-import(crema_ct_consume, [filled/2, values/1, partitions/1, all_acknowledged/1, listen/2, heard/1]).

suite() -> [{timetrap, {seconds, 90}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            ready_and_status, no_broker, wrong_options, names, supervised,
            stop_by_its_parent, stop_again, stop_at_once, stop_between, stop_beside_a_crash,
            stop_renewed
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

ready_and_status(Config) ->
    %% A consumer is ready once it has joined; its status and what it has can be
    %% asked for at any time, by pid and by name.
    Topic = filled(Config, 7),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{name => ready_consumer}),
    ?assertMatch(#{joined := false, assigned := [], kind := consumer}, crema:status(C)),
    ?assertMatch({error, {timeout, _}}, crema:await_ready(C, 0)),
    ?assertEqual(ok, crema:await_ready(ready_consumer, 20000)),
    ?assertMatch(
        #{joined := true, connected := true, fatal := false, assigned := [{Topic, 0}]},
        crema:status(ready_consumer)
    ),
    _ = crema_ct:handled(7),
    true = all_acknowledged(C),
    ?assertMatch(#{rebalances := 1, slots := 1, partitions := [_]}, crema:info(ready_consumer)),
    ?assertMatch(
        [#{topic := Topic, partition := 0, delivered := 7, stored := 7, handler := true}],
        partitions(C)
    ).

no_broker(_Config) ->
    %% Without a broker a consumer starts, is not ready, and says why; it stops at
    %% once.
    C = crema_ct:consumer([{bootstrap, <<"127.0.0.1:1">>}], <<"t">>, #{to => self()}, #{}),
    {error, {timeout, #{message := Text}}} = crema:await_ready(C, 500),
    ?assertMatch({match, _}, re:run(Text, "bootstrap_servers")),
    ?assertMatch(#{connected := false, joined := false}, crema:status(C)),
    {Time, ok} = crema_ct:timed(fun() -> crema_consumer:stop(C) end),
    ?assert(Time < 3000, Time).

wrong_options(_Config) ->
    %% All that is wrong with a consumer's options is told at once.
    {error, {bad_options, #{faults := Faults}}} = crema_consumer:start_link(#{
        topics => [], handler => no_such_module, group => <<>>, drain_timeout => -1
    }),
    ?assertEqual(
        [bootstrap_servers, drain_timeout, group, handler, topics],
        lists:sort([Option || #{option := Option} <- Faults])
    ),
    Kafka = #{'fetch.min.bytesx' => 1, 'session.timeout.ms' => soon},
    process_flag(trap_exit, true),
    {error, {bad_options, #{faults := Two}}} = crema_consumer:start_link(#{
        bootstrap_servers => "h:1", topics => t, group => g, handler => crema_ct_plain_handler,
        kafka => Kafka
    }),
    ?assertEqual(
        [<<"fetch.min.bytesx">>, <<"session.timeout.ms">>], lists:sort([O || #{option := O} <- Two])
    ).

names(Config) ->
    %% A consumer is found by every kind of name, and a name is used once.
    Names = [
        {consumer_name, consumer_name},
        {{global, consumer_name}, {global, consumer_name}},
        {{via, global, {consumer, name}}, {via, global, {consumer, name}}}
    ],
    [
        begin
            C = crema_ct:consumer(Config, <<"t">>, #{to => self()}, #{name => Given}),
            ?assertMatch(#{kind := consumer}, crema:status(Used)),
            ?assertMatch({error, {already_started, C}}, crema_consumer:start_link(#{
                name => Given, bootstrap_servers => "h:1", group => g, topics => t,
                handler => crema_ct_plain_handler
            })),
            ?assertEqual(ok, crema_consumer:stop(Used)),
            ?assertEqual(#{connected => false, running => false}, crema:status(Used))
        end
     || {Given, Used} <- Names
    ].

supervised(Config) ->
    %% A consumer under a user's supervisor is a child supervisor: it is started
    %% again when it dies, and its shutdown commits.
    Topic = filled(Config, 5),
    Options = #{
        name => supervised_consumer,
        bootstrap_servers => crema_ct:bootstrap(Config),
        group => crema_ct:unique(<<"group">>),
        topics => [Topic],
        handler => {crema_ct_handler, #{to => self()}},
        kafka => #{'session.timeout.ms' => 3000, 'heartbeat.interval.ms' => 300}
    },
    Spec = crema_consumer:child_spec(Options),
    ok = supervisor:check_childspecs([Spec]),
    ?assertMatch(#{type := supervisor, shutdown := infinity}, Spec),
    {ok, Supervisor} = supervisor:start_link(?MODULE, [Spec]),
    ?assertEqual([1, 2, 3, 4, 5], values(crema_ct:handled(5))),
    First = whereis(supervised_consumer),
    true = unlink(Supervisor),
    Monitor = erlang:monitor(process, Supervisor),
    exit(Supervisor, shutdown),
    receive
        {'DOWN', Monitor, _, _, _} -> ok
    after 15000 -> error(no_shutdown)
    end,
    ?assertNot(is_process_alive(First)),
    _ = crema_ct:consumer(Config, Topic, #{to => self()}, Options),
    ok = crema_ct:fill(Config, Topic, 0, [6]),
    ?assertEqual([6], values(crema_ct:handled(1))).

init(Children) ->
    {ok, {#{strategy => one_for_one}, Children}}.

stop_by_its_parent(Config) ->
    %% Who has started a consumer can stop it, and lives on.
    Starter = fun() ->
        {ok, C} = crema_consumer:start_link(#{
            bootstrap_servers => crema_ct:bootstrap(Config),
            group => crema_ct:unique(<<"group">>),
            topics => [<<"t">>],
            handler => {crema_ct_plain_handler, self()}
        }),
        crema_consumer:stop(C)
    end,
    {Pid, Monitor} = spawn_monitor(Starter),
    receive
        {'DOWN', Monitor, _, Pid, Reason} -> ?assertEqual(normal, Reason)
    after 15000 -> error(not_stopped)
    end.

stop_again(Config) ->
    %% A stop is safe from several processes at once, and of what has stopped.
    C = crema_ct:consumer(Config, <<"t">>, #{to => self()}, #{}),
    Stop = fun() -> crema_consumer:stop(C) end,
    ?assertEqual(lists:duplicate(5, ok), crema_ct:spawned(lists:duplicate(5, Stop))),
    ?assertEqual([ok, ok], [crema_consumer:stop(Any) || Any <- [C, no_such_name]]),
    ?assertNot(is_process_alive(C)).

stop_between(Config) ->
    %% A consumer whose member has died is stopped, not only the member that is no more.
    C = crema_ct:consumer(Config, crema_ct:topic(Config, 1), #{to => self()}, #{}),
    {ok, _, _, _, Member} = crema_registry:lookup(C),
    ok = sys:suspend(C),
    exit(Member, kill),
    crema_ct:await(fun() -> crema_registry:lookup(C) =:= not_started end),
    {Stopping, Monitor} = spawn_monitor(fun() -> ok = crema_consumer:stop(C) end),
    %% It waits for an answer.
    crema_ct:await(fun() ->
        {message_queue_len, Length} = process_info(C, message_queue_len),
        not is_process_alive(Stopping) orelse Length > 0
    end),
    ok = sys:resume(C),
    receive
        {'DOWN', Monitor, process, Stopping, Reason} -> ?assertEqual(normal, Reason)
    after 10000 -> error(not_stopped)
    end,
    ?assertNot(is_process_alive(C)).

stop_beside_a_crash(Config) ->
    %% A consumer that was told to stop does so, also when its supervisor is just about to
    %% start all of it again.
    Self = self(),
    Handle = fun(_, State) ->
        Self ! {handling, self()},
        receive
            never -> {ack, State}
        end
    end,
    C = crema_ct:consumer(Config, filled(Config, 1), #{to => self(), handle => Handle}, #{}),
    Worker =
        receive
            {handling, Pid} -> Pid
        after 20000 -> error(nothing_handled)
        end,
    {_, Workers, _, _} = lists:keyfind(workers, 1, supervisor:which_children(C)),
    {Stopping, Monitor} = spawn_monitor(fun() -> ok = crema_consumer:stop(C) end),
    %% The member waits for it.
    crema_ct:await(fun() -> process_info(Worker, message_queue_len) =/= {message_queue_len, 0} end),
    exit(Workers, kill),
    receive
        {'DOWN', Monitor, process, Stopping, Reason} -> ?assertEqual(normal, Reason)
    after 10000 -> error(not_stopped)
    end,
    ?assertNot(is_process_alive(C)).

stop_at_once(Config) ->
    %% A consumer can be stopped in any state of its life, at once.
    Topic = filled(Config, 100),
    [
        begin
            C = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
            Wait(C),
            {Time, ok} = crema_ct:timed(fun() -> crema_consumer:stop(C, 5000) end),
            ?assert(Time < 4000, Time)
        end
     || Wait <- [
            fun(_) -> ok end,
            fun(C) -> crema:await_ready(C, 50) end,
            fun(C) -> crema_ct:await(fun() -> maps:get(connected, crema:status(C)) end) end,
            fun(C) -> crema:await_ready(C, 20000) end,
            fun(C) -> is_assigned(C) end,
            fun(_) -> crema_ct:handled(1) end
        ]
    ].

is_assigned(Consumer) ->
    crema_ct:await(fun() -> maps:get(assigned, crema:status(Consumer), []) =/= [] end).

stop_renewed(Config) ->
    %% That a partition is given back is told once, also when the consumer is stopped between
    %% two clients: the old one is gone, and the new one has no partitions yet.
    Topic = filled(Config, 1),
    Revoked = listen(Topic, [crema, consumer, revoked]),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    _ = crema_ct:handled(1),
    ok = crema_renewal:renew(C),
    ok = crema_consumer:stop(C, 5000),
    {#{count := 1}, _} = heard(Revoked),
    receive
        {Revoked, _, Again} -> error({told_again, Again})
    after 100 -> ok
    end.
