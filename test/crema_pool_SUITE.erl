%% Pools: several producers under one name, for everybody.
-module(crema_pool_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    every_call/1, spread/1, variants/1, connects_at_use/1, options_of_members/1,
    killed_members/1, dying_member/1, ended_pool/1, stop_flushes/1, stopped_in_time/1, supervised/1,
    failing_start/1, lost_checkout/1
]).
-export([init/1]).

-import(crema_ct_pool, [pool/2, members/1]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        every_call, spread, variants, connects_at_use, options_of_members, killed_members,
        dying_member, ended_pool, stop_flushes, stopped_in_time, supervised, failing_start,
        lost_checkout
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct_pool:cleanup().

every_call(Config) ->
    %% A pool may stand wherever a producer may, by its name or its pid: calls,
    %% and what is for all of its members.
    Pid = pool(Config, #{name => ?FUNCTION_NAME, size => 3}),
    ok = crema:await_ready(Pid, 10000),
    Message = #{topic => crema_ct:topic(Config, 1), partition => 0, value => <<"x">>},
    [
        begin
            ?assertMatch({ok, #{offset := _}}, crema:produce(Pool, Message)),
            {ok, One} = crema:produce_async(Pool, Message),
            ?assertMatch({ok, _}, crema:await(One)),
            ?assertMatch({ok, [{ok, _}, {ok, _}]}, crema:produce_many(Pool, [Message, Message])),
            {ok, Many} = crema:produce_many_async(Pool, [Message, Message]),
            ?assertMatch({ok, [{ok, _}, {ok, _}]}, crema:await(Many)),
            ok = crema:produce_async(Pool, Message, #{report => none}),
            ok = crema:flush(Pool, 10000),
            ?assertEqual(0, crema:queue_size(Pool))
        end
     || Pool <- [Pid, ?FUNCTION_NAME]
    ],
    ?assertMatch(
        #{
            kind := pool,
            connected := true,
            accepted := 14,
            reported := 14,
            queue_messages := 0,
            members := [#{connected := true}, #{connected := true}, #{connected := true}]
        },
        crema:info(Pid)
    ),
    ?assertEqual(#{size => 3, available => 3, waiting => 0, checked_out => 0}, crema_pool:stats(Pid)),
    ok = crema:purge(Pid),
    ok = crema:disconnect(Pid),
    ?assertMatch(#{connected := false, members := [#{state := disconnected} | _]}, crema:status(Pid)),
    ?assertMatch({ok, _}, crema:produce(Pid, Message)),
    crema_ct:quiet().

spread(Config) ->
    %% Callers of one scheduler share a member, those of another have another.
    Pool = pool(Config, #{size => 2}),
    Message = #{topic => crema_ct:topic(Config, 1)},
    Call = fun() -> [{ok, _} = crema:produce(Pool, Message) || _ <- lists:seq(1, 20)] end,
    Callers = [
        spawn_opt(Call, [monitor, {scheduler, 1 + N rem erlang:system_info(schedulers_online)}])
     || N <- lists:seq(1, 8)
    ],
    [
        receive
            {'DOWN', Monitor, _, _, Reason} -> ?assertEqual(normal, Reason)
        end
     || {_, Monitor} <- Callers
    ],
    Each = [maps:get(accepted, crema:info(Member)) || Member <- members(Pool)],
    case erlang:system_info(schedulers_online) of
        1 -> ?assertEqual([0, 160], lists:sort(Each));
        N when N rem 2 =:= 0 -> ?assertEqual([80, 80], Each);
        _ -> ?assertEqual(160, lists:sum(Each))
    end.

variants(Config) ->
    %% A variant of a pool is one of whatever member a call goes to.
    Pool = pool(Config, #{size => 2, ordering => loose, kafka => #{acks => all}}),
    Topic = crema_ct:topic(Config, 1),
    [
        begin
            {ok, V} = crema:variant(Pool, #{client => Client, topic_config => #{acks => 0}}),
            Reports = crema_ct:spawned([
                fun() -> crema:produce(V, #{topic => Topic}) end
             || _ <- lists:seq(1, 8)
            ]),
            ?assertEqual([], [R || {ok, #{offset := Offset}} = R <- Reports, Offset >= 0]),
            ?assertEqual(#{ok => 8}, crema_ct:results(Reports)),
            ok = crema:flush(V, 10000),
            ok = crema:await_ready(V, 10000),
            {ok, {error, {topic_config_conflict, _}}} =
                crema_pool:with(Pool, fun(Member) ->
                    {ok, _} = crema:produce(shared(Member), #{topic => Topic}),
                    crema:produce(Member, #{topic => Topic})
                end)
        end
     || Client <- [shared, own]
    ],
    ?assertMatch({error, {bad_options, _}}, crema:variant(Pool, #{topic_config => #{acks => many}})).

shared(Member) ->
    {ok, V} = crema:variant(Member, #{topic_config => #{acks => 0}}),
    V.

connects_at_use(Config) ->
    %% A member that is not connected is when a call comes to it, and not before.
    Pool = pool(Config, #{size => 3, connect => use}),
    ?assertMatch(#{connected := false, members := [#{state := idle} | _]}, crema:status(Pool)),
    {ok, _} = crema:produce(Pool, #{topic => crema_ct:topic(Config, 1)}),
    States = [State || #{state := State} <- maps:get(members, crema:status(Pool))],
    ?assertEqual(2, length([idle || idle <- States])),
    ok = crema:await_ready(Pool, 10000),
    ?assertMatch(#{members := [#{state := connected}, _, _]}, crema:status(Pool)).

options_of_members(Config) ->
    %% Each producer may have options of its own, over those of all.
    Pool = pool(Config, #{
        size => 2,
        on_full => error,
        producer => fun(Index) -> #{max_queue_messages => Index} end
    }),
    Many = fun(Member, N) -> crema:produce_many(Member, lists:duplicate(N, #{topic => t})) end,
    [One, Two] = members(Pool),
    ?assertMatch({error, {batch_too_large, _}}, Many(One, 2)),
    ?assertMatch({ok, _}, Many(Two, 2)),
    ?assertMatch({error, {batch_too_large, _}}, Many(Two, 3)).

killed_members(Config) ->
    %% Calls go on while members are killed and started again: none is told that
    %% the pool is closed, and what was not accepted by one is by another.
    Pool = pool(Config, #{size => 3}),
    Message = #{topic => crema_ct:topic(Config, 4), value => <<"x">>},
    Stop = counters:new(1, []),
    Caller = fun Call(Results) ->
        case counters:get(Stop, 1) of
            0 -> Call([crema:produce(Pool, Message) | Results]);
            %% The last is behind all that died.
            _ -> crema_ct:results([crema:produce(Pool, Message) | Results])
        end
    end,
    Self = self(),
    Callers = [spawn_link(fun() -> Self ! {self(), Caller([])} end) || _ <- lists:seq(1, 8)],
    [
        begin
            Index = 1 + Round rem 3,
            Member = lists:nth(Index, members(Pool)),
            exit(Member, kill),
            crema_ct:await(fun() ->
                New = lists:nth(Index, members(Pool)),
                New =/= Member andalso crema_registry:lookup(New) =/= not_started
            end),
            %% The rate of restarts is bounded, as in every supervisor.
            crema_ct:await(fun() -> maps:get(available, crema_pool:stats(Pool)) =:= 3 end)
        end
     || Round <- [1, 2, 3]
    ],
    ok = counters:put(Stop, 1, 1),
    Told = [
        receive
            {Pid, Results} -> maps:keys(Results)
        after 30000 -> error(no_results)
        end
     || Pid <- Callers
    ],
    ?assertEqual([], lists:usort(lists:append(Told)) -- [ok, purge_inflight, purge_queue]),
    ?assert(lists:member(ok, lists:append(Told))),
    {ok, _} = crema:produce(Pool, Message).

dying_member(Config) ->
    %% A member that dies after a call has chosen it does not fail the call: what is in
    %% its place by then, or another member, takes it. Here each member that is asked
    %% for its client is killed by that, and another is there before it has ended.
    Pool = pool(Config, #{size => 2}),
    [Member | _] = members(Pool),
    {ok, producer, _, Settings, _} = crema_registry:lookup(Member),
    Producer = crema_ct:producer(Config),
    Mortals = [mortal(Pool, Index, Producer, Settings) || Index <- [1, 2]],
    ?assertEqual(Mortals, members(Pool)),
    {ok, _} = crema:produce(Pool, #{topic => crema_ct:topic(Config, 1), value => <<"x">>}),
    ?assertMatch([_], [Dead || Dead <- Mortals, not is_process_alive(Dead)]).

%% An idle member of a pool as its callers see it, which ends when it is asked anything.
mortal(Pool, Index, Heir, Settings) ->
    Self = self(),
    Pid = spawn_link(fun() ->
        ok = crema_registry:register(producer, none, Settings, #{state => idle}),
        ok = crema_registry:set_member(Pool, Index, self()),
        Self ! {self(), ready},
        receive
            _ -> crema_registry:set_member(Pool, Index, Heir)
        end
    end),
    receive
        {Pid, ready} -> Pid
    end.

ended_pool(Config) ->
    %% A pool that has ended is closed, or nobody's name.
    Pool = pool(Config, #{name => ?FUNCTION_NAME}),
    {ok, _} = crema:produce(Pool, #{topic => t}),
    {ok, _} = crema:produce(?FUNCTION_NAME, #{topic => t}),
    ok = crema_pool:stop(?FUNCTION_NAME),
    ok = crema_pool:stop(?FUNCTION_NAME),
    ?assertMatch({error, {closed, _}}, crema:produce(Pool, #{topic => t})),
    ?assertMatch({error, {not_found, _}}, crema:produce(?FUNCTION_NAME, #{topic => t})),
    ?assertMatch({error, {closed, _}}, crema:flush(Pool, 1000)),
    ?assertMatch({error, {not_found, _}}, crema_pool:checkout(?FUNCTION_NAME)),
    ?assertMatch({error, {closed, _}}, crema_pool:stats(Pool)),
    crema_ct:await(fun() -> crema_registry:pool(Pool) =:= none end),
    ?assertEqual(#{}, crema:info(Pool)),
    ?assertEqual(#{connected => false, running => false}, crema:status(Pool)),
    P = crema_ct:producer(Config),
    ?assertMatch({error, {not_found, _}}, crema_pool:stats(P)).

stop_flushes(Config) ->
    %% A stop flushes all members: what was accepted is delivered.
    Pool = pool(Config, #{size => 3, kafka => #{'linger.ms' => 500}}),
    Topic = crema_ct:topic(Config, 1),
    [
        ok = crema:produce_many_async(Member, lists:duplicate(50, #{topic => Topic}), #{
            report => message
        })
     || Member <- members(Pool)
    ],
    ok = crema_pool:stop(Pool),
    ?assertEqual(#{ok => 150}, crema_ct:results([R || {_, R} <- crema_ct:reports(150)])),
    ?assertNot(is_process_alive(Pool)).

stopped_in_time(_Config) ->
    %% The members' deadlines run side by side; what is then left is reported.
    Pool = pool([], #{bootstrap_servers => <<"127.0.0.1:1">>, size => 3}),
    [
        ok = crema:produce_async(Member, #{topic => t}, #{report => message})
     || Member <- members(Pool)
    ],
    {Time, ok} = crema_ct:timed(fun() -> crema_pool:stop(Pool, 1000) end),
    ?assert(Time >= 1000 andalso Time < 2900, Time),
    ?assertEqual(#{purge_queue => 3}, crema_ct:results([R || {_, R} <- crema_ct:reports(3)])).

supervised(Config) ->
    %% In a supervisor a pool is a child like others: started again when it is
    %% killed, flushed when the supervisor ends, and left alone after a stop.
    Options = #{
        name => ?FUNCTION_NAME, size => 2, bootstrap_servers => crema_ct:bootstrap(Config)
    },
    {Holder, Supervisor} = crema_ct:hold(fun() ->
        {ok, Pid} = supervisor:start_link(?MODULE, [crema_pool:child_spec(Options)]),
        Pid
    end),
    Topic = crema_ct:topic(Config, 1),
    {ok, _} = crema:produce(?FUNCTION_NAME, #{topic => Topic}),
    [{?FUNCTION_NAME, Pool, supervisor, _}] = supervisor:which_children(Supervisor),
    Members = members(Pool),
    exit(Pool, kill),
    crema_ct:await(fun() ->
        New = whereis(?FUNCTION_NAME),
        is_pid(New) andalso New =/= Pool andalso element(1, crema:produce(New, #{topic => Topic})) =:= ok
    end),
    crema_ct:await(fun() -> not lists:any(fun is_process_alive/1, Members) end),
    ?assertMatch({ok, _}, crema:produce(?FUNCTION_NAME, #{topic => Topic})),
    ok = crema_pool:stop(?FUNCTION_NAME),
    ?assertMatch([{?FUNCTION_NAME, undefined, _, _}], supervisor:which_children(Supervisor)),
    {ok, _} = supervisor:restart_child(Supervisor, ?FUNCTION_NAME),
    ok = crema:produce_async(?FUNCTION_NAME, #{topic => Topic}, #{report => message}),
    Monitor = erlang:monitor(process, Supervisor),
    exit(Supervisor, shutdown),
    crema_ct:let_go(Holder),
    receive
        {'DOWN', Monitor, _, _, _} -> ok
    after 20000 -> error(alive)
    end,
    ?assertMatch([{_, {ok, _}}], crema_ct:reports(1)).

init(Children) ->
    {ok, {#{intensity => 5}, Children}}.

failing_start(Config) ->
    %% A pool of which one producer cannot start does not, and leaves none behind.
    process_flag(trap_exit, true),
    Before = length(erlang:ports()),
    Wrong = fun(Index) -> #{kafka => #{'compression.type' => lists:nth(Index, [gzip, wrong])}} end,
    ?assertMatch(
        {error, {bad_options, #{faults := [#{option := <<"compression.type">>}]}}},
        crema_pool:start_link(#{
            bootstrap_servers => crema_ct:bootstrap(Config), size => 2, producer => Wrong
        })
    ),
    crema_ct:await(fun() -> length(erlang:ports()) =< Before end).

lost_checkout(Config) ->
    %% Without the process that gives out members a pool begins anew, as a whole.
    Pool = pool(Config, #{size => 2}),
    {ok, Pool, Checkout, Members} = crema_registry:pool(Pool),
    {ok, _} = crema_pool:checkout(Pool),
    exit(Checkout, kill),
    crema_ct:await(fun() ->
        {ok, Pool, _, Now} = crema_registry:pool(Pool),
        lists:all(fun is_pid/1, tuple_to_list(Now)) andalso Now =/= Members
    end),
    crema_ct:await(fun() -> maps:get(available, crema_pool:stats(Pool)) =:= 2 end),
    ?assertMatch({ok, _}, crema:produce(Pool, #{topic => t})).
