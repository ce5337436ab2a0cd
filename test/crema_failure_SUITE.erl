%% What follows a failure: policies and budgets.
%%
%% The cases run side by side, for the first member of a group waits three
%% seconds.
-module(crema_failure_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    skip/1, skip_after_crashes/1, attempts_survive_the_process/1, by_class/1, stop/1,
    fatal/1, fatal_crash/1, pause/1, several_workers/1, budget_stops/1, budget_pauses/1
]).

-import(crema_ct_consume, [
    filled/2, quick/0, values/1, number/1, all_acknowledged/1, listen/2, heard/1,
    event_is_as_told/3
]).
-import(crema_ct_failure, [failing/2, returning/1, started/4, policy/2]).

suite() -> [{timetrap, {seconds, 90}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            skip, skip_after_crashes, attempts_survive_the_process, by_class, stop, fatal,
            fatal_crash, pause, several_workers, budget_stops, budget_pauses
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

skip(Config) ->
    %% A message that fails is tried so often again, then acknowledged; the others
    %% are handled once, in order, by the same process.
    Topic = filled(Config, 6),
    Failed = listen(Topic, [crema, consumer, handler_error]),
    C = started(Config, Topic, failing([2, 5], returning(no)), #{failures => policy(2, skip)}),
    Handled = crema_ct:handled(10),
    ?assertEqual([1, 2, 2, 2, 3, 4, 5, 5, 5, 6], values(Handled)),
    ?assertMatch([_], lists:usort([W || {W, _} <- Handled])),
    Told = [heard(Failed) || _ <- lists:seq(1, 6)],
    ?assertEqual(
        [{1, retry}, {2, retry}, {3, skip}, {1, retry}, {2, retry}, {3, skip}],
        [{N, Action} || {#{attempt := N}, #{action := Action}} <- Told]
    ),
    {Measured, Metadata} = hd(Told),
    event_is_as_told([crema, consumer, handler_error], Measured, Metadata),
    true = all_acknowledged(C).

skip_after_crashes(Config) ->
    %% So it is with crashes, of batches as well: their attempts are counted though
    %% each ends the process.
    Topic = filled(Config, 5),
    Self = self(),
    Handle = fun(Messages, State) ->
        Self ! {batch, self(), Messages},
        [number(M) =:= 1 andalso error(planned) || M <- Messages],
        {ack, State}
    end,
    C = crema_ct:consumer(Config, Topic, none, (quick())#{
        handler => {crema_ct_batch_handler, #{handle => Handle}},
        batch_messages => 2,
        failures => [{crash, policy(1, skip)}]
    }),
    Numbers = [[number(M) || M <- Batch] || Batch <- crema_ct_consume:batches(7)],
    ?assertMatch([[1, 2], [1, 2] | _], Numbers),
    ?assertEqual([3, 4, 5], lists:append(tl(tl(Numbers)))),
    true = all_acknowledged(C).

attempts_survive_the_process(Config) ->
    %% However a handler's process ends, by a crash or by being killed, the
    %% message's attempts are counted on, and mixed with errors it returned.
    Topic = filled(Config, 3),
    Count = counters:new(1, []),
    Fail = fun(State) ->
        ok = counters:add(Count, 1, 1),
        case counters:get(Count, 1) of
            1 -> error(planned);
            2 -> exit(self(), kill);
            3 -> {error, planned, State};
            4 -> exit(planned)
        end
    end,
    C = started(Config, Topic, failing([2], Fail), #{failures => policy(3, skip)}),
    %% What was handled before the kill, and could not be told, comes again.
    Handled = values(crema_ct:handled(6)),
    Rest = lists:takewhile(fun(N) -> N =/= 3 end, lists:dropwhile(fun(N) -> N =:= 1 end, Handled)),
    ?assertEqual([2, 2, 2, 2], [N || N <- Rest, N =/= 1]),
    true = all_acknowledged(C),
    ?assertEqual(4, counters:get(Count, 1)).

by_class(Config) ->
    %% Policies go by kind and by tag of the reason; what has none is tried for ever.
    Topic = filled(Config, 4),
    Self = self(),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        case number(Message) of
            1 -> {error, {invalid, Message}, State};
            2 -> error({badarg, Message});
            3 -> {error, busy, State};
            4 -> {ack, State}
        end
    end,
    _ = started(Config, Topic, Handle, #{
        failures => [{invalid, policy(0, skip)}, {crash, policy(1, skip)}]
    }),
    Handled = values(crema_ct:handled(13)),
    ?assertEqual([1, 2, 2], lists:sublist(Handled, 3)),
    ?assertEqual(lists:duplicate(10, 3), lists:nthtail(3, Handled)).

stop(Config) ->
    %% `stop' ends the consumer for good, and says why; the message is the next
    %% member's.
    Topic = filled(Config, 3),
    Fatal = listen(any, [crema, client, fatal]),
    C = started(Config, Topic, failing([2], returning(broken)), #{failures => policy(0, stop)}),
    Monitor = erlang:monitor(process, C),
    ?assertEqual([1, 2], values(crema_ct:handled(2))),
    receive
        {'DOWN', Monitor, _, _, Reason} -> ?assertEqual(shutdown, Reason)
    after 15000 -> error(not_stopped)
    end,
    {_, #{code := handler_failed}} = of_client(C, Fatal),
    crema_ct:none_handled(20).

fatal(Config) ->
    %% A fatal function stops the consumer whatever the policy says.
    Topic = filled(Config, 3),
    Self = self(),
    IsFatal = fun(#{reason := Reason} = Failure) ->
        Self ! {asked, Failure},
        Reason =:= fatal
    end,
    Handle = fun(Message, State) ->
        case number(Message) of
            1 -> {error, harmless, State};
            2 -> {error, fatal, State}
        end
    end,
    C = started(Config, Topic, Handle, #{failures => policy(0, skip), fatal => IsFatal}),
    Monitor = erlang:monitor(process, C),
    receive
        {'DOWN', Monitor, _, _, Reason} -> ?assertEqual(shutdown, Reason)
    after 15000 -> error(not_stopped)
    end,
    Asked = [receive {asked, F} -> F after 0 -> error(not_asked) end || _ <- [1, 2]],
    ?assertMatch(
        [#{kind := returned, offset := 0, attempts := 1, topic := Topic}, #{offset := 1}], Asked
    ).

fatal_crash(Config) ->
    %% It is asked of crashes, and of a process that was killed, too.
    Hows = [fun(_) -> error(fatal) end, fun(_) -> exit(self(), kill) end],
    Cs = [
        begin
            Topic = filled(Config, 1),
            Is = fun(#{kind := Kind, class := _}) -> Kind =:= crash end,
            C = started(Config, Topic, failing([1], How), #{fatal => Is}),
            erlang:monitor(process, C)
        end
     || How <- Hows
    ],
    [
        receive
            {'DOWN', Monitor, _, _, Reason} -> ?assertEqual(shutdown, Reason)
        after 15000 -> error(not_stopped)
        end
     || Monitor <- Cs
    ],
    ?assertEqual([1, 1], values(crema_ct:handled(2))),
    crema_ct:none_handled(20).

pause(Config) ->
    %% `pause' pauses the partition; the others go on, and status tells.
    Topic = crema_ct:topic(Config, 2),
    [crema_ct:fill(Config, Topic, P, [1, 2, 3]) || P <- [0, 1]],
    Self = self(),
    Fails = counters:new(1, []),
    ok = counters:put(Fails, 1, 1),
    Handle = fun(#{partition := P, offset := Offset} = Message, State) ->
        case {P, Offset, counters:get(Fails, 1)} of
            {0, 1, 1} -> {error, no, State};
            _ -> Self ! {handled, self(), Message}, {ack, State}
        end
    end,
    C = started(Config, Topic, Handle, #{failures => policy(1, pause)}),
    ?assertEqual([1, 1, 2, 3], lists:sort(values(crema_ct:handled(4)))),
    crema_ct:await(fun() -> maps:get(paused, crema:status(C)) =:= [{Topic, 0}] end),
    crema_ct:fill(Config, Topic, 1, [4]),
    ?assertEqual([4], values(crema_ct:handled(1))),
    crema_ct:none_handled(20),
    %% Resumed it goes on at that message.
    ok = counters:put(Fails, 1, 0),
    ok = crema:resume(C, {Topic, 0}),
    ?assertEqual([2, 3], values(crema_ct:handled(2))),
    crema_ct:await(fun() -> maps:get(paused, crema:status(C)) =:= [] end),
    true = all_acknowledged(C).

several_workers(Config) ->
    %% So are the policies of a partition with several workers: each message's attempts
    %% are counted, whichever of them it crashes, and is killed in for its time.
    [Topic, Dead] = [crema_ct:topic(Config, 1) || _ <- [1, 2]],
    ok = crema_ct:fill(Config, Topic, 0, lists:seq(1, 40)),
    Self = self(),
    Handle = fun(Message, State) ->
        case number(Message) of
            7 -> error(planned);
            12 -> receive never_comes -> ok end;
            23 -> {error, planned, State};
            31 -> error(planned);
            N -> Self ! {good, N}, {ack, State}
        end
    end,
    C = started(Config, Topic, Handle, #{
        concurrency => {any, 4},
        handler_timeout => 500,
        failures => #{retries => 2, then => dead_letter},
        dead_letter => #{topic => Dead}
    }),
    _ = crema_ct:consumer(Config, Dead, #{to => self()}, #{}),
    Letters = [M || {_, M} <- crema_ct:handled(4)],
    ?assertEqual([7, 12, 23, 31], lists:sort([number(M) || M <- Letters])),
    [{ok, #{attempts := 3}} = crema_dead_letter:origin(M) || M <- Letters, number(M) =/= 23],
    [receive {good, N} -> ok after 10000 -> error(N) end || N <- lists:seq(1, 40) -- [7, 12, 23, 31]],
    true = all_acknowledged(C).

budget_stops(Config) ->
    %% A handler whose init/2 crashes without end is not started for ever.
    Topic = filled(Config, 1),
    Exhausted = listen(Topic, [crema, consumer, restarts_exhausted]),
    Crashed = listen(Topic, [crema, consumer, handler_crashed]),
    C = crema_ct:consumer(Config, Topic, #{init => fun(_, _) -> error(planned) end}, (quick())#{
        max_restarts => {3, 60000, stop}
    }),
    Monitor = erlang:monitor(process, C),
    {Measured, #{action := stop} = Metadata} = heard(Exhausted),
    event_is_as_told([crema, consumer, restarts_exhausted], Measured, Metadata),
    Actions = [maps:get(action, element(2, heard(Crashed))) || _ <- lists:seq(1, 4)],
    ?assertEqual([retry, retry, retry, stop], Actions),
    receive
        {'DOWN', Monitor, _, _, shutdown} -> ok
    after 15000 -> error(not_stopped)
    end.

budget_pauses(Config) ->
    %% Or its partition rests, and the others go on.
    Topic = crema_ct:topic(Config, 2),
    [crema_ct:fill(Config, Topic, P, [1, 2]) || P <- [0, 1]],
    Self = self(),
    Handle = fun
        (#{partition := 0}, _) -> error(planned);
        (Message, State) -> Self ! {handled, self(), Message}, {ack, State}
    end,
    C = started(Config, Topic, Handle, #{max_restarts => {2, 60000, pause}}),
    ?assertEqual([1, 2], values(crema_ct:handled(2))),
    crema_ct:await(fun() -> maps:get(paused, crema:status(C)) =:= [{Topic, 0}] end),
    crema_ct:fill(Config, Topic, 1, [3]),
    ?assertEqual([3], values(crema_ct:handled(1))).

of_client(Consumer, Heard) ->
    {ok, {_, #{code := _}} = Event} = {ok, heard(Heard)},
    case Event of
        {_, #{code := handler_failed}} -> Event;
        _ -> of_client(Consumer, Heard)
    end.
