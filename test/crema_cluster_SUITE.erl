%% What is ordered of the embedded cluster, and the hook that gives one to a suite.
-module(crema_cluster_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, end_per_testcase/2]).
-export([hooked/1, hook_fails/1, slow/1, down_and_up/1, rebalanced/1, evicted/1, wrong/1]).
-export([handle_message/2, handle_assigned/2, handle_revoked/2, handle_lost/2]).

suite() -> [{timetrap, {seconds, 60}}, {ct_hooks, [{crema_cth, [{topics, #{"hooked" => 3}}]}]}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            hooked, hook_fails, slow, down_and_up, rebalanced, evicted, wrong
        ]}
    ].

end_per_testcase(_, _Config) -> crema_ct:cleanup().

%% A cluster of the case's own, so that what is ordered meets no other.
cluster(Options) ->
    {ok, Cluster} = crema_cluster:start_link(Options),
    {Cluster, [{bootstrap, crema_cluster:bootstrap_servers(Cluster)}]}.

hooked(Config) ->
    %% The hook has started a cluster, and says where it is.
    Brokers = proplists:get_value(bootstrap_servers, Config),
    P = crema_ct:producer([{bootstrap, Brokers}]),
    ?assertEqual({ok, 3}, crema:partition_count(P, "hooked")),
    Cluster = proplists:get_value(crema_cluster, Config),
    ?assertEqual(Brokers, crema_cluster:bootstrap_servers(Cluster)).

hook_fails(_Config) ->
    %% Wrong options fail the suite with what is wrong.
    process_flag(trap_exit, true),
    {ok, State} = crema_cth:init(crema_cth, [{brokers, none}]),
    {Failed, Left} = crema_cth:pre_init_per_suite(some_SUITE, [], State),
    ?assertMatch({fail, {bad_options, _}}, Failed),
    ?assertMatch({ok, _}, crema_cth:post_end_per_suite(some_SUITE, [], ok, Left)).

slow(_Config) ->
    %% Brokers are slow until it is said otherwise: all of them, or one.
    {Cluster, Config} = cluster(#{topics => #{"t" => 1}}),
    P = crema_ct:producer(Config),
    Produce = fun() -> crema_ct:timed(fun() -> {ok, _} = crema:produce(P, #{topic => t}) end) end,
    _ = Produce(),
    ok = crema_cluster:slow(Cluster, 500),
    {First, _} = Produce(),
    {Second, _} = Produce(),
    ?assert(First >= 500 andalso Second >= 500),
    ok = crema_cluster:slow(Cluster, 1, 0),
    _ = Produce(),
    {{Third, _}, _} = crema_ct_onlookers:timed(Produce),
    ?assert(Third < 500, Third).

down_and_up(_Config) ->
    %% Nothing is delivered while brokers are down, and what they held is there when
    %% they are up again.
    {Cluster, Config} = cluster(#{topics => #{"t" => 1}}),
    P = crema_ct:producer(Config, #{kafka => #{'reconnect.backoff.max.ms' => 100}}),
    {ok, #{offset := 0}} = crema:produce(P, #{topic => t}),
    ok = crema_cluster:down(Cluster),
    {error, {timeout, #{ref := Ref}}} = crema:produce(P, #{topic => t}, #{timeout => 300}),
    ok = crema_cluster:up(Cluster, 1),
    ?assertMatch({ok, #{offset := 1}}, crema:await(Ref, 20000)).

%% As a handler: what becomes of it.
handle_message(Message, To) -> tell(message, Message, To), {ack, To}.
handle_assigned(_, To) -> tell(assigned, To).
handle_revoked(_, To) -> tell(revoked, To).
handle_lost(_, To) -> tell(lost, To).

tell(What, To) -> To ! {told, What}, {ok, To}.
tell(What, #{value := Value}, To) -> To ! {told, {What, Value}}.

told() -> receive {told, What} -> What after 30000 -> error(nothing_told) end.

member(Config) ->
    P = crema_ct:producer(Config),
    {ok, _} = crema:produce(P, #{topic => t, value => <<"first">>}),
    C = crema_ct:started(
        crema_consumer:start_link(#{
            bootstrap_servers => proplists:get_value(bootstrap, Config),
            group => g,
            topics => [t],
            handler => {?MODULE, self()},
            kafka => #{
                'session.timeout.ms' => 3000,
                'heartbeat.interval.ms' => 100,
                'partition.assignment.strategy' => range
            }
        })
    ),
    assigned = told(),
    {message, <<"first">>} = told(),
    {P, C}.

rebalanced(_Config) ->
    %% A rebalance to order: the partition is given up and assigned anew, and nothing
    %% comes twice of what was committed.
    {Cluster, Config} = cluster(#{topics => #{"t" => 1}}),
    {P, _} = member(Config),
    ok = crema_cluster:rebalance(Cluster),
    ?assertEqual([revoked, assigned], [told(), told()]),
    {ok, _} = crema:produce(P, #{topic => t, value => <<"second">>}),
    ?assertEqual({message, <<"second">>}, told()).

evicted(_Config) ->
    %% A member that is put out has lost its partition, and joins anew.
    {Cluster, Config} = cluster(#{topics => #{"t" => 1}}),
    {P, _} = member(Config),
    ok = crema_cluster:evict(Cluster),
    ?assertEqual([lost, assigned], [told(), told()]),
    {ok, _} = crema:produce(P, #{topic => t, value => <<"second">>}),
    ?assert(lists:member({message, <<"second">>}, [told(), told()])).

wrong(_Config) ->
    %% What is no broker or no time is refused, and the cluster goes on.
    {Cluster, _} = cluster(#{brokers => 2}),
    ok = crema_cluster:slow(Cluster, 2, 0),
    [
        ?assertError(badarg, Wrong())
     || Wrong <- [
            fun() -> crema_cluster:slow(Cluster, 3, 10) end,
            fun() -> crema_cluster:slow(Cluster, -1) end,
            fun() -> crema_cluster:slow(Cluster, 60001) end,
            fun() -> crema_cluster:down(Cluster, 0) end
        ]
    ].
