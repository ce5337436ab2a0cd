%% How a producer's life ends: flush, purge, stop, supervisors, kills. Whatever
%% was accepted is reported.
-module(crema_stop_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    flush/1, flush_in_vain/1, flush_of_what_was_before/1, purge/1,
    stop_flushes/1, stop_reports_all/1, stop_keeps_reports/1, stop_keeps_its_deadline/1,
    stop_by_many/1, use_after_stop/1, refuses_those_who_wait/1, readiness_ends/1,
    supervised/1, fatal/1, fenced/1, names/1, child_spec/1,
    owner_killed/1, owner_killed_with_callers/1, port_closed/1, parent_died/1, callers_killed/1
]).
-export([init/1]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        flush, flush_in_vain, flush_of_what_was_before, purge,
        stop_flushes, stop_reports_all, stop_keeps_reports, stop_keeps_its_deadline,
        stop_by_many, use_after_stop, refuses_those_who_wait, readiness_ends,
        supervised, fatal, fenced, names, child_spec,
        owner_killed, owner_killed_with_callers, port_closed, parent_died, callers_killed
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

flush(Config) ->
    %% A flush sends what lingers, at once, and returns when all is reported.
    P = lingering(Config),
    ok = crema:produce_many_async(P, messages(100), #{report => message}),
    {Time, ok} = crema_ct:timed(fun() -> crema:flush(P, 20000) end),
    ?assert(Time < 5000, Time),
    %% they are in the mailbox already
    ?assertEqual(100, length([Tag || {Tag, {ok, _}} <- crema_ct:reports(100)])),
    {Again, ok} = crema_ct:timed(fun() -> crema:flush(P, 20000) end),
    ?assert(Again < 1000, Again).

flush_in_vain(_Config) ->
    %% A flush that cannot succeed ends with its deadline, several at once each
    %% with its own, and leaves nothing behind.
    P = crema_ct:unreachable(#{}),
    ok = crema:produce_async(P, #{topic => t}, #{report => none}),
    Flush = fun(Timeout) -> fun() -> crema_ct:timed(fun() -> crema:flush(P, Timeout) end) end end,
    Results = crema_ct:spawned([Flush(T) || T <- [0, 100, 400]]),
    [
        begin
            ?assertMatch({error, {timeout, _}}, Result),
            ?assert(Time >= Timeout andalso Time < Timeout + 1000, {Timeout, Time})
        end
     || {Timeout, {Time, Result}} <- lists:zip([0, 100, 400], Results)
    ],
    crema_ct:quiet().

flush_of_what_was_before(Config) ->
    %% A flush waits for what was accepted before it, not for what comes after.
    P = crema_ct:producer(Config),
    Self = self(),
    Stream = spawn_link(fun() -> stream(P, Self) end),
    receive
        {Stream, running} -> ok
    end,
    ?assertEqual(ok, crema:flush(P, 10000)),
    true = unlink(Stream),
    exit(Stream, kill).

stream(P, Told) ->
    ok = crema:produce_many_async(P, messages(100), #{report => none}),
    Told ! {self(), running},
    stream(P, self()).

purge(_Config) ->
    %% A purge reports every message, as not in the log.
    P = crema_ct:unreachable(#{}),
    ok = crema:produce_many_async(P, messages(1000), #{report => message}),
    {ok, Ref} = crema:produce_async(P, #{topic => t}),
    ok = crema:purge(P),
    Reports = crema_ct:reports(1000),
    ?assertEqual(lists:seq(0, 999), lists:sort([Tag || {Tag, _} <- Reports])),
    ?assertEqual(#{purge_queue => 1000}, crema_ct:results([Result || {_, Result} <- Reports])),
    ?assertMatch({error, {purge_queue, #{status := not_persisted}}}, crema:await(Ref, 5000)).

stop_flushes(Config) ->
    %% A stop sends what lingers before it ends.
    P = lingering(Config),
    ok = crema:produce_many_async(P, messages(1000), #{report => message}),
    {Time, ok} = crema_ct:timed(fun() -> crema_producer:stop(P) end),
    ?assert(Time < 5000, Time),
    ?assertEqual(1000, length([Tag || {Tag, {ok, _}} <- crema_ct:reports(1000)])),
    %% Also one that has all the time there is.
    Patient = lingering(Config),
    ok = crema:produce_many_async(Patient, messages(10), #{report => message}),
    ok = crema_producer:stop(Patient, infinity),
    ?assertEqual(10, length([Tag || {Tag, {ok, _}} <- crema_ct:reports(10)])).

stop_reports_all(_Config) ->
    %% What a stop could not deliver until its deadline is reported all the same,
    %% however it is to be reported.
    P = crema_ct:unreachable(#{}),
    Callers = [
        fun() -> crema:produce(P, #{topic => t}) end,
        fun() ->
            {ok, Results} = crema:produce_many(P, messages(10)),
            lists:last(Results)
        end,
        fun() ->
            {ok, Ref} = crema:produce_async(P, #{topic => t}),
            crema:await(Ref, 30000)
        end,
        fun() ->
            ok = crema:produce_async(P, #{topic => t}, #{report => message, tag => 5}),
            [{5, Result}] = crema_ct:reports(1),
            Result
        end
    ],
    Stop = fun() ->
        crema_ct:await(fun() -> maps:get(accepted, crema:info(P)) =:= 13 end),
        crema_producer:stop(P, 100)
    end,
    [ok | Results] = crema_ct:spawned([Stop | Callers]),
    ?assertEqual(#{purge_queue => 4}, crema_ct:results(Results)),
    [?assertMatch({error, {_, #{status := not_persisted}}}, Result) || Result <- Results].

stop_keeps_reports(Config) ->
    %% A report that nobody had awaited when the producer stopped can be awaited
    %% afterwards: it is the message's only one.
    P = crema_ct:producer(Config),
    {ok, Delivered} = crema:produce_async(P, #{topic => t}),
    ok = crema_producer:stop(P),
    ?assertMatch({ok, #{offset := _}}, crema:await(Delivered, 5000)),
    U = crema_ct:unreachable(#{}),
    {ok, Purged} = crema:produce_many_async(U, messages(2)),
    ok = crema_producer:stop(U, 100),
    ?assertMatch(
        {ok, [{error, {purge_queue, _}}, {error, {purge_queue, _}}]}, crema:await(Purged, 5000)
    ).

stop_keeps_its_deadline(_Config) ->
    %% The deadline of a stop is the flush_timeout, or the one it is given.
    One = crema_ct:unreachable(#{flush_timeout => 300}),
    Two = crema_ct:unreachable(#{}),
    [ok = crema:produce_async(P, #{topic => t}, #{report => none}) || P <- [One, Two]],
    {First, ok} = crema_ct:timed(fun() -> crema_producer:stop(One) end),
    {Second, ok} = crema_ct:timed(fun() -> crema_producer:stop(Two, 100) end),
    %% The default is 10 s.
    ?assert(First >= 300 andalso First < 5000, First),
    ?assert(Second >= 100 andalso Second < 5000, Second),
    {Empty, ok} = crema_ct:timed(fun() -> crema_producer:stop(crema_ct:unreachable(#{})) end),
    ?assert(Empty < 5000, Empty).

stop_by_many(_Config) ->
    %% A stop is safe from several processes at once, and of what has stopped.
    P = crema_ct:unreachable(#{}),
    ok = crema:produce_async(P, #{topic => t}, #{report => none}),
    Stop = fun() -> crema_producer:stop(P, 100) end,
    ?assertEqual(lists:duplicate(8, ok), crema_ct:spawned(lists:duplicate(8, Stop))),
    ?assertNot(is_process_alive(P)),
    Stopped = [P, no_such_name, {global, no_such_name}],
    ?assertEqual([ok, ok, ok], [crema_producer:stop(Any) || Any <- Stopped]).

use_after_stop(_Config) ->
    %% Every call on a producer that has stopped says so, also before its row has gone.
    P = crema_ct:unreachable(#{}),
    ok = sys:suspend(crema_registry),
    try
        stopped(P)
    after
        ok = sys:resume(crema_registry)
    end.

stopped(P) ->
    ok = crema_producer:stop(P),
    Calls = [
        fun() -> crema:produce(P, #{topic => t}) end,
        fun() -> crema:produce_async(P, #{topic => t}) end,
        fun() -> crema:produce_many(P, messages(2)) end,
        fun() -> crema:produce_async(P, #{topic => t}, #{report => none}) end,
        fun() -> crema:flush(P, 1000) end,
        fun() -> crema:purge(P) end,
        fun() -> crema:transaction(P, fun(_) -> error(begun) end) end,
        fun() -> crema:await_ready(P, 1000) end
    ],
    ?assertEqual(#{closed => length(Calls)}, crema_ct:results([Call() || Call <- Calls])),
    ?assertEqual(#{connected => false, running => false}, crema:status(P)).

readiness_ends(_Config) ->
    %% Who waits for a client to be ready is told when it ends instead.
    P = crema_ct:unreachable(#{}),
    {Pid, Monitor} = spawn_monitor(fun() -> exit(crema:await_ready(P, infinity)) end),
    crema_ct:await(
        fun() ->
            erlang:process_info(Pid, [current_function, status]) =:=
                [{current_function, {crema_ready, wait, 3}}, {status, waiting}]
        end,
        5000
    ),
    ok = crema_producer:stop(P, 100),
    receive
        {'DOWN', Monitor, process, Pid, Reason} -> ?assertMatch({error, {closed, _}}, Reason)
    after 5000 -> error(still_waiting)
    end.

refuses_those_who_wait(_Config) ->
    %% Callers that wait for a place when the producer stops are told that nothing
    %% of theirs was accepted.
    P = crema_ct:unreachable(#{max_queue_messages => 1}),
    ok = crema:produce_async(P, #{topic => t}, #{report => none}),
    Large = #{topic => t, value => binary:copy(<<"x">>, 100000)},
    Callers = [
        fun() -> crema:produce(P, #{topic => t}) end,
        fun() -> crema:produce_async(P, #{topic => t}) end,
        fun() -> crema:produce_async(P, Large, #{report => none}) end,
        fun() -> crema:produce(P, Large) end
    ],
    Stop = fun() ->
        crema_ct:await(fun() -> maps:get(waiting_callers, crema:info(P)) =:= 4 end),
        crema_producer:stop(P, 100)
    end,
    [ok | Results] = crema_ct:spawned([Stop | Callers]),
    ?assertEqual(#{closed => 4}, crema_ct:results(Results)).

supervised(Config) ->
    %% A supervisor's shutdown flushes like a stop; a producer that is killed is
    %% started again, and its name leads to the new one.
    {ok, Supervisor} = supervisor:start_link(?MODULE, [
        crema_producer:child_spec(#{
            name => supervised_producer,
            bootstrap_servers => crema_ct:bootstrap(Config),
            kafka => #{'linger.ms' => 100000}
        })
    ]),
    First = whereis(supervised_producer),
    exit(First, kill),
    crema_ct:await(fun() ->
        is_pid(whereis(supervised_producer)) andalso whereis(supervised_producer) =/= First andalso
            crema:await_ready(supervised_producer, 1000) =:= ok
    end),
    ok = crema:produce_many_async(supervised_producer, messages(10), #{report => message}),
    true = unlink(Supervisor),
    Monitor = erlang:monitor(process, Supervisor),
    exit(Supervisor, shutdown),
    ?assertEqual(10, length([Tag || {Tag, {ok, _}} <- crema_ct:reports(10)])),
    receive
        {'DOWN', Monitor, _, _, Reason} -> ?assertEqual(shutdown, Reason)
    after 10000 -> error(no_shutdown)
    end.

init(Children) ->
    {ok, {#{strategy => one_for_one}, Children}}.

names(Config) ->
    %% A producer is found by every kind of name, and a name is used once.
    Names = [
        {local_name, local_name},
        {{local, other_name}, other_name},
        {{global, {a, term}}, {global, {a, term}}},
        {{via, global, via_name}, {via, global, via_name}}
    ],
    [
        begin
            P = crema_ct:producer(Config, #{name => Given}),
            ?assertMatch({ok, _}, crema:produce(Used, #{topic => t})),
            {error, {already_started, P}} = crema_producer:start_link(#{
                name => Given, bootstrap_servers => <<"h:1">>
            }),
            ?assertMatch(#{kind := producer}, crema:status(Used)),
            ?assertEqual(ok, crema_producer:stop(Used)),
            ?assertMatch({error, {not_found, _}}, crema:produce(Used, #{topic => t}))
        end
     || {Given, Used} <- Names
    ].

fatal(_Config) ->
    %% A producer that met a fatal error is started again by its supervisor.
    {Supervisor, P} = has_met(<<"_FATAL">>),
    crema_ct:await(fun() ->
        case supervisor:which_children(Supervisor) of
            [{_, New, _, _}] when is_pid(New), New =/= P -> true;
            Other -> Other
        end
    end),
    exit(Supervisor, shutdown).

fenced(_Config) ->
    %% One that was fenced is not: it would fence the other in turn.
    {Supervisor, _} = has_met(<<"_FENCED">>),
    %% The supervisor may hear of the end after this process did; were it to start
    %% a new one, it would do so in the same step.
    crema_ct:await(fun() ->
        case supervisor:which_children(Supervisor) of
            [{_, undefined, _, _}] -> true;
            Other -> Other
        end
    end),
    exit(Supervisor, shutdown).

%% A producer that has ended of such an error, and its supervisor.
has_met(Name) ->
    process_flag(trap_exit, true),
    Spec = crema_producer:child_spec(#{bootstrap_servers => <<"127.0.0.1:1">>}),
    {ok, Supervisor} = supervisor:start_link(?MODULE, [Spec]),
    [{_, P, _, _}] = supervisor:which_children(Supervisor),
    {ok, producer, Port, _, _} = crema_registry:lookup(P),
    Monitor = erlang:monitor(process, P),
    P ! {crema_event, Port, term_to_binary({error, {Name, <<"planned">>, true, false, false}})},
    receive
        {'DOWN', Monitor, _, _, _} -> {Supervisor, P}
    after 5000 -> error(goes_on)
    end.

child_spec(_Config) ->
    %% The specification's shutdown leaves time for the flush, and its id is the
    %% name, so that several producers fit under one supervisor.
    Options = #{bootstrap_servers => "h:1", flush_timeout => 7000},
    #{id := Id, shutdown := Shutdown, type := Type} = crema_producer:child_spec(Options),
    ?assertEqual({crema_producer, worker}, {Id, Type}),
    ?assert(Shutdown > 7000 andalso Shutdown < 15000),
    #{id := One} = crema_producer:child_spec(Options#{name => one}),
    #{id := Two} = crema_producer:child_spec(Options#{name => two}),
    ?assert(One =/= Two),
    ok = supervisor:check_childspecs([crema_producer:child_spec(Options)]).

owner_killed(_Config) ->
    %% A producer's process that is killed takes no report with it: the driver
    %% reports what is left.
    P = crema_ct:unreachable(#{}),
    ok = crema:produce_many_async(P, messages(1000), #{report => message}),
    exit(P, kill),
    Reports = crema_ct:reports(1000),
    ?assertEqual(lists:seq(0, 999), lists:sort([Tag || {Tag, _} <- Reports])),
    ?assertEqual(#{purge_queue => 1000}, crema_ct:results([Result || {_, Result} <- Reports])),
    crema_ct:await(fun() -> crema:status(P) =:= #{connected => false, running => false} end).

owner_killed_with_callers(_Config) ->
    %% Callers that wait for reports when the producer's process is killed get
    %% them, and do not wait for their deadlines.
    P = crema_ct:unreachable(#{max_queue_messages => 20}),
    Kill = fun() ->
        crema_ct:await(fun() ->
            #{accepted := Accepted, waiting_callers := Waiting} = crema:info(P),
            Accepted =:= 20 andalso Waiting =:= 10
        end),
        exit(P, kill)
    end,
    Callers = lists:duplicate(30, fun() -> crema:produce(P, #{topic => t}) end),
    {Time, [true | Results]} = crema_ct:timed(fun() -> crema_ct:spawned([Kill | Callers]) end),
    ?assertEqual(#{purge_queue => 20, closed => 10}, crema_ct:results(Results)),
    ?assert(Time < 5000, Time).

port_closed(_Config) ->
    %% The same for the port; its process ends then, for its supervisor to act.
    P = crema_ct:unreachable(#{}),
    Monitor = erlang:monitor(process, P),
    ok = crema:produce_many_async(P, messages(100), #{report => message}),
    {ok, producer, Port, _, _} = crema_registry:lookup(P),
    exit(Port, kill),
    ?assertEqual(#{purge_queue => 100}, crema_ct:results([R || {_, R} <- crema_ct:reports(100)])),
    receive
        {'DOWN', Monitor, _, _, Reason} -> ?assertMatch({port_closed, _}, Reason)
    after 5000 -> error(still_alive)
    end.

parent_died(_Config) ->
    %% A producer does not outlive the process it was started by.
    Self = self(),
    Parent = spawn(fun() ->
        Options = #{bootstrap_servers => "127.0.0.1:1", flush_timeout => 0},
        {ok, P} = crema_producer:start_link(Options),
        ok = crema:produce_async(P, #{topic => t}, #{report => none}),
        Self ! {started, P},
        exit(boom)
    end),
    P = receive {started, Started} -> Started end,
    crema_ct:await(fun() -> not is_process_alive(P) andalso not is_process_alive(Parent) end).

callers_killed(Config) ->
    %% Callers that die leave nothing behind in the producer, and what they have
    %% sent is delivered.
    P = crema_ct:producer(Config, #{kafka => #{'linger.ms' => 100}}),
    Caller = fun() ->
        {ok, _} = crema:produce_async(P, #{topic => t}),
        ok = crema:produce_async(P, #{topic => t}, #{report => message}),
        crema:produce(P, #{topic => t})
    end,
    Callers = [spawn(Caller) || _ <- lists:seq(1, 50)],
    crema_ct:await(fun() -> maps:get(accepted, crema:info(P)) =:= 150 end),
    [exit(Pid, kill) || Pid <- Callers],
    ok = crema:flush(P, 10000),
    ?assertMatch(
        #{reported := 150, queue_messages := 0, unclaimed_reports := 0},
        crema_ct:await(fun() ->
            Info = crema:info(P),
            maps:get(unclaimed_reports, Info) =:= 0 andalso {ok, Info}
        end)
    ).

%% Sends nothing before it is told to.
lingering(Config) ->
    crema_ct:producer(Config, #{kafka => #{'linger.ms' => 100000}}).

messages(Count) ->
    [#{topic => t, value => integer_to_binary(N)} || N <- lists:seq(1, Count)].
