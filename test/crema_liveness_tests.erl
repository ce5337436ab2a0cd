%% What a cell tells of a handler.
-module(crema_liveness_tests).

-include_lib("eunit/include/eunit.hrl").

now_us() -> erlang:monotonic_time(microsecond).

given(First, Last) -> #{offset => First, last => Last}.

who_is_watched_does_not_tell_test() ->
    %% A worker tells when it begins after a rest, and not while there is a timer.
    Cell = crema_liveness:new(),
    ?assert(tells(Cell)),
    ?assertNot(tells(Cell)),
    ok = crema_liveness:idle(Cell),
    ?assertNot(tells(Cell)),
    ok = crema_liveness:idle(Cell),
    ?assertEqual(idle, crema_liveness:check(Cell, 1000)),
    ?assert(tells(Cell)).

tells(Cell) ->
    ok = crema_liveness:begins(Cell, self(), 1),
    receive
        {crema_busy, 1, Pid, Cell} when Pid =:= self() -> true
    after 0 -> false
    end.

overdue_test() ->
    %% So long after the call the handler is overdue; before, the time to look again
    %% is the end of its time, whenever it is asked.
    Cell = crema_liveness:new(),
    true = tells(Cell),
    Now = now_us(),
    ok = crema_liveness:at(Cell, 7, Now),
    {again, At} = crema_liveness:check(Cell, 60000),
    ?assert(At * 1000 >= Now + 60000000),
    ?assert(At * 1000 =< Now + 60002000),
    ok = crema_liveness:at(Cell, 8, Now - 1000),
    ?assertEqual(overdue, crema_liveness:check(Cell, 1)),
    ?assertEqual({given(8, 8), 0}, crema_liveness:message(Cell)).

message_test() ->
    %% The message is known while the handler has it, with its failures.
    Cell = crema_liveness:new(),
    ?assertEqual({given(none, none), 0}, crema_liveness:message(Cell)),
    true = tells(Cell),
    ?assertEqual({given(none, none), 0}, crema_liveness:message(Cell)),
    ok = crema_liveness:at(Cell, 0, now_us()),
    ?assertEqual({given(0, 0), 0}, crema_liveness:message(Cell)),
    ok = crema_liveness:tried(Cell, 0, 3),
    ?assertEqual({given(0, 0), 3}, crema_liveness:message(Cell)),
    ok = crema_liveness:at(Cell, 1, now_us()),
    ?assertEqual({given(1, 1), 0}, crema_liveness:message(Cell)),
    ok = crema_liveness:idle(Cell),
    ?assertEqual({given(none, none), 0}, crema_liveness:message(Cell)).

batch_test() ->
    %% Of a batch the last message is known, too; also of one that comes again, which is of
    %% lower offsets.
    Cell = crema_liveness:new(),
    ok = crema_liveness:at_batch(Cell, {10, 19}, now_us()),
    ?assertEqual({given(10, 19), 0}, crema_liveness:message(Cell)),
    ok = crema_liveness:tried(Cell, 4, 2),
    ok = crema_liveness:at_batch(Cell, {4, 7}, now_us()),
    ?assertEqual({given(4, 7), 2}, crema_liveness:message(Cell)),
    done = crema_liveness:beside(Cell, self(), 1, fun() -> done end),
    ?assertEqual({given(4, 7), 2}, crema_liveness:message(Cell)).
