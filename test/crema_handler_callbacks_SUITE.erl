%% Handlers: when which of their callbacks is called.
-module(crema_handler_callbacks_SUITE).

-include_lib("stdlib/include/assert.hrl").

%% For suites on real brokers.
-export([callbacks/4, called/0]).
-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    life/1, other_messages/1, stop_by_a_callback/1, crash_in_a_callback/1, last_crash/1,
    stuck_at_the_end/1, lost/1, lost_by_a_stuck_one/1, partition_errors/1
]).

-import(crema_ct_consume, [
    filled/2, quick/0, number/1, once/1, all_acknowledged/1, listen/2, heard/1,
    event_is_as_told/3
]).

%% Kafka's number for the request.
-define(HEARTBEAT, 12).

suite() -> [{timetrap, {seconds, 90}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            life, other_messages, stop_by_a_callback, crash_in_a_callback, last_crash,
            stuck_at_the_end, lost, lost_by_a_stuck_one, partition_errors
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

callbacks(Config, Topic, Functions, Options) ->
    Handler = {crema_ct_callback_handler, Functions#{to => self()}},
    crema_ct:consumer(Config, Topic, none, Options#{handler => Handler}).

%% The next call, of whichever callback.
called() ->
    receive
        {called, Worker, Callback, Argument} -> {Worker, Callback, Argument}
    after 20000 -> error({not_called, crema_ct:state_of_clients()})
    end.

calls(Count) ->
    [Callback || _ <- lists:seq(1, Count), {_, Callback, _} <- [called()]].

life(Config) ->
    %% The first call is init/2, then the handler is told of the assignment, once;
    %% after a crash comes init/2 alone. At a stop it is told that the partition goes,
    %% and then to end.
    Topic = filled(Config, 2),
    Once = once([2]),
    Handle = fun(Message, State) ->
        Once(number(Message)) andalso error(planned),
        {ack, State}
    end,
    C = callbacks(Config, Topic, #{handle_message => Handle}, quick()),
    {Worker, init, #{topic := Topic, partition := 0, consumer := C} = Info} = called(),
    ?assertEqual({Worker, handle_assigned, Info}, called()),
    ?assertEqual([handle_message, handle_message], calls(2)),
    ?assertEqual({Worker, terminate, {crash, error, planned}}, called()),
    {Next, init, Info} = called(),
    ?assertNotEqual(Worker, Next),
    ?assertEqual([handle_message], calls(1)),
    true = all_acknowledged(C),
    ok = crema_consumer:stop(C),
    ?assertEqual({Next, handle_revoked, Info}, called()),
    ?assertEqual({Next, terminate, stopped}, called()).

other_messages(Config) ->
    %% Whatever else comes to the process is the handler's, in between its messages,
    %% also while it waits.
    Topic = filled(Config, 1),
    Told = fun(Message, State) -> {ok, State#{seen => Message}} end,
    Handle = fun
        (_, #{seen := {stop_waiting, _}} = State) -> {ack, State};
        (_, State) -> {retry, 20, State}
    end,
    C = callbacks(Config, Topic, #{handle_info => Told, handle_message => Handle}, #{}),
    {Worker, init, _} = called(),
    [handle_assigned, handle_message] = calls(2),
    Worker ! {stop_waiting, 1},
    Worker ! {crema_go_on, make_ref()},
    Worker ! {crema_due, make_ref()},
    true = all_acknowledged(C),
    ?assertEqual([{stop_waiting, 1}], [Message || {_, handle_info, Message} <- calls()]).

%% All calls that were made.
calls() ->
    receive
        {called, Worker, Callback, Argument} -> [{Worker, Callback, Argument} | calls()]
    after 0 -> []
    end.

stop_by_a_callback(Config) ->
    %% Callbacks may stop the consumer too.
    Topic = filled(Config, 1),
    Stop = fun(please, State) -> {stop, asked, State} end,
    C = callbacks(Config, Topic, #{handle_info => Stop}, #{}),
    Monitor = erlang:monitor(process, C),
    {Worker, init, _} = called(),
    [handle_assigned, handle_message] = calls(2),
    Worker ! please,
    ?assertEqual([handle_info, handle_revoked, terminate], calls(3)),
    receive
        {'DOWN', Monitor, _, _, Reason} -> ?assertEqual(shutdown, Reason)
    after 15000 -> error(not_stopped)
    end.

crash_in_a_callback(Config) ->
    %% A callback that crashes, or answers oddly, is a crash of the handler, and what
    %% was acknowledged before is not handled again.
    Topic = filled(Config, 1),
    Crashed = listen(Topic, [crema, consumer, handler_crashed]),
    Info = fun(Message, _) -> Message() end,
    C = callbacks(Config, Topic, #{handle_info => Info}, quick()),
    {Worker, init, _} = called(),
    [handle_assigned, handle_message] = calls(2),
    Worker ! fun() -> exit(planned) end,
    ?assertMatch({_, #{class := exit, reason := planned}}, heard(Crashed)),
    [handle_info, terminate] = calls(2),
    {Next, init, _} = called(),
    Next ! fun() -> odd end,
    ?assertMatch(
        {_, #{reason := {bad_return, {crema_ct_callback_handler, handle_info, odd}}}},
        heard(Crashed)
    ),
    true = all_acknowledged(C),
    ?assertEqual([handle_info, terminate, init], calls(3)).

last_crash(Config) ->
    %% A crash of the last callbacks is told, and changes nothing of the end.
    Topic = filled(Config, 1),
    Crashed = listen(Topic, [crema, consumer, callback_crashed]),
    Crash = fun(_, _) -> error(planned) end,
    C = callbacks(Config, Topic, #{handle_revoked => Crash, terminate => Crash}, #{}),
    [init, handle_assigned, handle_message] = calls(3),
    true = all_acknowledged(C),
    ok = crema_consumer:stop(C),
    [handle_revoked, terminate] = calls(2),
    {Measured, Metadata} = heard(Crashed),
    ?assertMatch(#{callback := handle_revoked, reason := planned}, Metadata),
    event_is_as_told([crema, consumer, callback_crashed], Measured, Metadata),
    ?assertMatch({_, #{callback := terminate, class := error}}, heard(Crashed)).

stuck_at_the_end(Config) ->
    %% A last call that does not come back is given drain_timeout, and the stop goes
    %% on without it.
    Topic = filled(Config, 1),
    Stuck = fun(_, _) -> receive never -> ok end end,
    C = callbacks(Config, Topic, #{terminate => Stuck}, #{drain_timeout => 200}),
    {Worker, init, _} = called(),
    [handle_assigned, handle_message] = calls(2),
    true = all_acknowledged(C),
    {Time, ok} = crema_ct:timed(fun() -> crema_consumer:stop(C) end),
    ?assert(Time >= 200 andalso Time < 6000, Time),
    ?assertNot(is_process_alive(Worker)).

lost(Config) ->
    %% A handler whose partition is lost is told so, and then to end; it does not
    %% hear of a revocation. Its next worker is told of the new assignment.
    {Config1, Cluster} = own_cluster(Config),
    Topic = filled(Config1, 1),
    _ = callbacks(Config1, Topic, #{}, #{}),
    [init, handle_assigned, handle_message] = calls(3),
    ok = crema_cluster:fail(Cluster, ?HEARTBEAT, [unknown_member_id]),
    ?assertMatch({_, handle_lost, #{topic := Topic}}, called()),
    ?assertMatch({_, terminate, lost}, called()),
    ?assertEqual([init, handle_assigned], calls(2)),
    ok = crema_cluster:stop(Cluster).

lost_by_a_stuck_one(Config) ->
    %% A handler that is busy when its partition is lost does not hold up the answer;
    %% it is killed after drain_timeout, and then the next one starts.
    {Config1, Cluster} = own_cluster(Config),
    Topic = filled(Config1, 1),
    Lost = listen(Topic, [crema, consumer, lost]),
    Once = once([1]),
    Handle = fun(Message, State) ->
        Once(number(Message)) andalso receive never -> ok end,
        {ack, State}
    end,
    _ = callbacks(Config1, Topic, #{handle_message => Handle}, #{drain_timeout => 1500}),
    {Worker, init, _} = called(),
    [handle_assigned, handle_message] = calls(2),
    ok = crema_cluster:fail(Cluster, ?HEARTBEAT, [unknown_member_id]),
    _ = heard(Lost),
    ?assert(is_process_alive(Worker)),
    ?assertEqual([init, handle_assigned, handle_message], calls(3)),
    ?assertNot(is_process_alive(Worker)),
    ok = crema_cluster:stop(Cluster).

%% Faults are a whole cluster's.
own_cluster(Config) ->
    {ok, Cluster} = crema_cluster:start_link(),
    Bootstrap = {bootstrap, crema_cluster:bootstrap_servers(Cluster)},
    {[{cluster, Cluster} | lists:keyreplace(bootstrap, 1, Config, Bootstrap)], Cluster}.

partition_errors(Config) ->
    %% An error of a partition reaches its handler once, however often it comes.
    {Config1, Cluster} = own_cluster(Config),
    Topic = filled(Config1, 1),
    C = callbacks(Config1, Topic, #{}, #{}),
    [init, handle_assigned, handle_message] = calls(3),
    true = all_acknowledged(C),
    ok = crema_cluster:fail(Cluster, fetch, lists:duplicate(5, unknown)),
    {_, handle_error, {unknown, Details}} = called(),
    ?assertMatch(#{topic := Topic, partition := 0, message := _}, Details),
    ok = crema_ct:fill(Config1, Topic, 0, [2]),
    ?assertEqual([handle_message], calls(1)),
    ok = crema_cluster:stop(Cluster).
