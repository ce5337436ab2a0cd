%% A producer's client comes and goes under one process: at the first use, by
%% request, when nobody uses it. Callers do not notice, but for the time it takes.
-module(crema_connect_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    connects_at_first_use/1, every_use_connects/1, what_needs_no_client/1, cannot_connect/1,
    disconnects/1, busy/1, reports_outlive_disconnect/1, disconnects_under_load/1,
    waiters_keep_it/1, idle/1, used_is_not_idle/1, stops_in_every_state/1, stops_itself/1,
    forced_stop/1, still_exiting/1, queue_size/1, ready_leaves_nothing/1
]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        connects_at_first_use, every_use_connects, what_needs_no_client, cannot_connect,
        disconnects, busy, reports_outlive_disconnect, disconnects_under_load, waiters_keep_it,
        idle, used_is_not_idle, stops_in_every_state, stops_itself, forced_stop,
        still_exiting, queue_size, ready_leaves_nothing
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) ->
    ok = crema_ct_life:untold(),
    crema_ct:cleanup().

connects_at_first_use(Config) ->
    %% With connect => use there is no client of librdkafka's before the first
    %% message, which is then delivered like any other.
    P = crema_ct:producer(Config, #{connect => use}),
    ?assertMatch(#{state := idle, connected := false, fatal := false}, crema:status(P)),
    ?assertEqual(none, crema_ct_life:port(P)),
    ?assertMatch({ok, _}, crema_ct_life:produced(P)),
    ?assertMatch(#{state := connected, connected := true}, connected(P)),
    ?assert(is_port(crema_ct_life:port(P))),
    ?assertMatch({ok, _}, crema_ct_life:produced(P)).

every_use_connects(Config) ->
    %% Whatever the first use is.
    Message = #{topic => t, value => <<"v">>},
    Large = Message#{value => binary:copy(<<"x">>, 100000)},
    Uses = [
        fun(P) -> {ok, Ref} = crema:produce_async(P, Message), crema:await(Ref, 10000) end,
        fun(P) -> {ok, Ref} = crema:produce_async(P, Large), crema:await(Ref, 10000) end,
        fun(P) -> crema:produce(P, Large) end,
        fun(P) -> crema:produce(P, Message, #{on_full => error}) end,
        fun(P) -> {ok, [Result]} = crema:produce_many(P, [Message]), Result end,
        fun(P) ->
            ok = crema:produce_async(P, Message, #{report => message}),
            [{0, Result}] = crema_ct:reports(1),
            Result
        end,
        fun(P) -> {crema:await_ready(P, 10000), ready} end
    ],
    [
        begin
            P = crema_ct:producer(Config, #{connect => use}),
            ?assertMatch({ok, _}, Use(P)),
            ?assert(is_port(crema_ct_life:port(P)))
        end
     || Use <- Uses
    ],
    crema_ct:quiet().

what_needs_no_client(Config) ->
    %% Nothing is outstanding where there is no client: flush and purge are done,
    %% and info has the counts that it always has.
    Idle = crema_ct:producer(Config, #{connect => use}),
    Other = crema_ct:producer(Config),
    Gone = crema_ct:producer(Config),
    {ok, _} = crema_ct_life:produced(Gone),
    ok = crema:disconnect(Gone),
    [
        begin
            ?assertEqual(ok, crema:flush(P, 1000)),
            ?assertEqual(ok, crema:purge(P)),
            ?assertEqual(ok, crema:disconnect(P)),
            ?assertEqual(none, crema_ct_life:port(P))
        end
     || P <- [Idle, Gone]
    ],
    Keys = fun(P) -> lists:sort(maps:keys(maps:remove(last_error, crema:info(P)))) end,
    ?assertEqual(Keys(Other), Keys(Idle)).

cannot_connect(Config) ->
    %% What librdkafka refuses is told to the one who uses the producer first,
    %% and to the next.
    P = crema_ct:producer(Config, #{connect => use, kafka => #{'compression.codec' => none_such}}),
    [?assertMatch({error, {bad_options, _}}, crema_ct_life:produced(P)) || _ <- [1, 2]],
    [
        ?assertError(badarg, crema:await_ready(P, Timeout), Timeout)
     || Timeout <- [#{timeout => 5}, -1, 1.5, soon]
    ],
    ?assertMatch({error, {bad_options, _}}, crema:await_ready(P, 1000)),
    ?assertMatch(#{state := idle}, crema:status(P)).

disconnects(Config) ->
    %% A producer that is disconnected has no client; processes that remember the
    %% one before go on with the next. Events tell of both, and how long it took.
    crema_ct_life:told([[crema, producer, disconnecting], [crema, producer, disconnected]]),
    P = crema_ct:producer(Config),
    {ok, _} = crema_ct_life:produced(P),
    Port = crema_ct_life:port(P),
    ok = crema:disconnect(P),
    ?assertMatch(#{state := disconnected, connected := false}, crema:status(P)),
    ?assertEqual({none, undefined}, {crema_ct_life:port(P), erlang:port_info(Port)}),
    #{client := P, reason := request} = crema_ct_life:event([crema, producer, disconnecting]),
    #{duration := Duration, reason := request} = crema_ct_life:event([crema, producer, disconnected]),
    ?assert(Duration >= 0),
    ?assertMatch({ok, _}, crema_ct_life:produced(P)),
    ?assertMatch({ok, _}, crema_ct_life:produced(P)),
    ?assertMatch(#{state := connected}, connected(P)).

busy(_Config) ->
    %% Outstanding messages keep a producer connected: nothing happens to them.
    P = crema_ct:unreachable(#{}),
    ok = crema:produce_async(P, #{topic => t}, #{report => message}),
    ?assertMatch({error, {busy, #{message := _}}}, crema:disconnect(P)),
    ?assertMatch(#{queue_messages := 1, state := connecting}, crema:info(P)),
    ok = crema:purge(P),
    [{0, {error, {purge_queue, _}}}] = crema_ct:reports(1),
    ?assertEqual(ok, crema:disconnect(P)).

waiters_keep_it(_Config) ->
    %% So do callers that wait for a place.
    P = crema_ct:unreachable(#{max_queue_messages => 1}),
    ok = crema:produce_async(P, #{topic => t}, #{report => none}),
    Caller = spawn(fun() -> crema:produce(P, #{topic => t}) end),
    crema_ct:await(fun() -> maps:get(waiting_callers, crema:info(P)) =:= 1 end),
    {error, {busy, #{message := Text}}} = crema:disconnect(P),
    ?assertNotEqual(nomatch, string:find(Text, "wait")),
    exit(Caller, kill).

reports_outlive_disconnect(Config) ->
    %% A report that nobody had awaited can be awaited after the disconnect.
    P = crema_ct:producer(Config),
    {ok, Ref} = crema:produce_async(P, #{topic => t}),
    ok = crema:flush(P, 10000),
    ok = crema:disconnect(P),
    ?assertMatch({ok, #{offset := _}}, crema:await(Ref, 5000)).

disconnects_under_load(Config) ->
    %% However often a producer is disconnected, no message is lost or refused:
    %% it is accepted before, which refuses the disconnect, or by the next client.
    P = crema_ct:producer(Config),
    Large = binary:copy(<<"x">>, 20000),
    Times = counters:new(1, []),
    Disconnecter = spawn_link(fun() -> disconnect_for_ever(P, Times) end),
    Callers = [
        fun() -> produce_until_disconnected(P, Value, Times, 3) end
     || Value <- [<<"v">>, <<"w">>, Large]
    ],
    Results = lists:append(crema_ct:spawned(Callers)),
    true = unlink(Disconnecter),
    true = exit(Disconnecter, kill),
    ?assertEqual(#{ok => 3 * 3 * 30}, crema_ct:results(Results)).

disconnect_for_ever(P, Times) ->
    case crema:disconnect(P) of
        ok -> counters:add(Times, 1, 1);
        {error, {busy, _}} -> ok
    end,
    disconnect_for_ever(P, Times).

%% Again and again some messages, and a pause unless there was a disconnect
%% meanwhile: when all callers pause there will be one.
produce_until_disconnected(_P, _Value, _Times, 0) ->
    [];
produce_until_disconnected(P, Value, Times, Rounds) ->
    Before = counters:get(Times, 1),
    Results = [
        crema:produce(P, #{topic => t, value => Value})
     || _ <- lists:seq(1, 30)
    ],
    crema_ct:await(fun() -> counters:get(Times, 1) > Before end),
    Results ++ produce_until_disconnected(P, Value, Times, Rounds - 1).

idle(Config) ->
    %% After idle_disconnect without a message the producer disconnects by itself,
    %% and the next message connects it again.
    crema_ct_life:told([[crema, producer, disconnecting]]),
    P = idling(Config, 200),
    {ok, _} = crema_ct_life:produced(P),
    #{reason := idle} = crema_ct_life:event([crema, producer, disconnecting]),
    crema_ct:await(fun() -> maps:get(state, crema:status(P)) =:= disconnected end),
    {ok, _} = crema_ct_life:produced(P),
    #{reason := idle} = crema_ct_life:event([crema, producer, disconnecting]).

used_is_not_idle(_Config) ->
    %% Outstanding messages keep it connected, however long they take.
    crema_ct_life:told([[crema, producer, disconnecting]]),
    P = idling([{bootstrap, <<"127.0.0.1:1">>}], 500),
    ok = crema:produce_async(P, #{topic => t}, #{report => message}),
    receive
        {event, _, _} -> error(disconnected)
    after 2000 -> ok
    end,
    ok = crema:purge(P),
    [{0, {error, _}}] = crema_ct:reports(1),
    #{reason := idle} = crema_ct_life:event([crema, producer, disconnecting]).

%% The least that the options allow is half a minute.
idling(Config, Time) ->
    {ok, Options} = crema_options:parse(producer, #{
        bootstrap_servers => crema_ct:bootstrap(Config), idle_disconnect => 30000
    }),
    Short = Options#{idle_disconnect := Time},
    crema_ct:started(gen_server:start_link(crema_producer_server, Short, [])).

stops_in_every_state(Config) ->
    %% A producer stops without a client, too; who waits for one is told.
    Idle = crema_ct:producer(Config, #{connect => use}),
    Disconnected = crema_ct:producer(Config),
    ok = crema:disconnect(Disconnected),
    Reloading = crema_ct_life:reloading(Config, {30000, 30000}),
    {Caller, Monitor} = spawn_monitor(fun() -> exit(crema_ct_life:produced(Reloading)) end),
    crema_ct:await(fun() -> is_waiting(Caller) end),
    crema_ct_life:told([[crema, producer, closing], [crema, producer, closed]]),
    [
        begin
            {Time, ok} = crema_ct:timed(fun() -> crema_producer:stop(P) end),
            ?assert(Time < 2000, Time),
            #{client := P} = crema_ct_life:event([crema, producer, closing]),
            #{client := P, duration := _} = crema_ct_life:event([crema, producer, closed]),
            ?assertMatch({error, {closed, _}}, crema_ct_life:produced(P)),
            ?assertMatch({error, {closed, _}}, crema:disconnect(P)),
            ?assertMatch({error, {closed, _}}, crema:queue_size(P)),
            ?assertEqual(ok, crema_producer:stop(P))
        end
     || P <- [Idle, Disconnected, Reloading]
    ],
    receive
        {'DOWN', Monitor, _, _, Reason} -> ?assertMatch({error, {closed, _}}, Reason)
    end.

is_waiting(Pid) ->
    erlang:process_info(Pid, current_function) =:= {current_function, {gen, do_call, 4}}.

stops_itself(Config) ->
    %% An event handler runs in the producer's process: its stop returns, and the
    %% producer ends afterwards.
    Self = self(),
    ok = crema_events:attach(
        crema_ct_life, [crema, client, connected],
        fun(_, _, #{client := P}, _) -> Self ! {stopped, P, crema_producer:stop(P)} end, none
    ),
    P = crema_ct:producer(Config),
    Monitor = erlang:monitor(process, P),
    receive
        {stopped, P, Answer} -> ?assertEqual(ok, Answer)
    end,
    ?assertEqual(normal, crema_ct_life:ended(P, Monitor)).

forced_stop(_Config) ->
    %% A stop with no time purges at once, and reports all the same.
    P = crema_ct:unreachable(#{flush_timeout => 60000}),
    ok = crema:produce_many_async(P, crema_ct_life:messages(1000), #{report => message}),
    {Time, ok} = crema_ct:timed(fun() -> crema_producer:stop(P, 0) end),
    ?assert(Time < 5000, Time),
    ?assertEqual(1000, length(crema_ct:reports(1000))),
    %% Also while it stops by another's wish, who lets it flush.
    Other = crema_ct:unreachable(#{flush_timeout => 60000}),
    ok = crema:produce_many_async(Other, crema_ct_life:messages(1000), #{report => message}),
    {Patient, Monitor} = spawn_monitor(fun() -> ok = crema_producer:stop(Other) end),
    crema_ct:await(fun() -> maps:get(state, crema:status(Other)) =:= stopping end),
    {Again, ok} = crema_ct:timed(fun() -> crema_producer:stop(Other, 0) end),
    ?assert(Again < 5000, Again),
    ?assertEqual(1000, length(crema_ct:reports(1000))),
    ?assertEqual(normal, crema_ct_life:ended(Patient, Monitor)).

still_exiting(_Config) ->
    %% A producer that has ended is closed, also for whoever has no time to wait while
    %% the emulator puts it away.
    Self = self(),
    Codes = [
        begin
            {P, Monitor} = spawn_monitor(fun() ->
                ok = crema_registry:register(producer, none, #{}, #{}),
                Self ! registered,
                receive
                    exit -> ok
                end
            end),
            receive
                registered -> P ! exit
            end,
            receive
                {'DOWN', Monitor, _, _, normal} -> ok
            end,
            {error, {Code, _}} = crema_producer:client(P, produce, 0),
            Code
        end
     || _ <- lists:seq(1, 20000)
    ],
    ?assertEqual([closed], lists:usort(Codes)).

queue_size(Config) ->
    %% The queue's size counts messages, and nothing else that librdkafka queues.
    P = crema_ct:unreachable(#{kafka => #{'statistics.interval.ms' => 10}}),
    ok = crema:produce_many_async(P, crema_ct_life:messages(17), #{report => none}),
    ?assertEqual(17, crema:queue_size(P)),
    ok = crema:purge(P),
    crema_ct:await(fun() -> crema:queue_size(P) =:= 0 end),
    ?assertMatch({error, {not_found, _}}, crema:queue_size(no_such_producer)),
    ?assertMatch({error, {not_found, _}}, crema:queue_size(proplists:get_value(cluster, Config))).

connected(P) ->
    ok = crema:await_ready(P, 10000),
    crema:status(P).

ready_leaves_nothing(_Config) ->
    %% An event that happens while the wait ends may still run the wait's handler
    %% afterwards. The caller gets no message of it.
    P = crema_ct:unreachable(#{}),
    Self = self(),
    Waiter = spawn_link(fun() ->
        Self ! {waited, crema:await_ready(P, 1000)},
        receive {look, From} -> From ! process_info(self(), messages) end
    end),
    Tell = crema_ct:await(fun handler_of_wait/0),
    receive {waited, Answer} -> ?assertMatch({error, {timeout, _}}, Answer) end,
    _ = Tell([crema, client, connected], #{}, #{}, none),
    Waiter ! {look, Self},
    ?assertMatch({messages, []}, receive Found -> Found after 5000 -> nothing end),
    ok = crema_producer:stop(P).

handler_of_wait() ->
    case [Fun || #{id := {crema_ready, _}, function := Fun} <- crema_events:list_handlers()] of
        [Fun | _] -> {ok, Fun};
        [] -> none
    end.
