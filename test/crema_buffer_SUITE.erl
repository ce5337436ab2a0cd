%% The buffer of a producer: when it is flushed, what becomes of its messages
%% when that cannot be, and its end.
-module(crema_buffer_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_testcase/2, end_per_testcase/2]).
-export([
    until_flushed/1, checked_when_flushed/1, back_in_front/1, all_or_none/1, asynchronous/1,
    limit_of_messages/1, limit_of_bytes/1, limit_of_age/1, report_function/1,
    full_waits/1, full_refuses/1, full_keeps_deadline/1, purged/1,
    handles_and_producers/1, stop_flushes/1, stop_of_idle/1, stop_loses_aloud/1, killed_producer/1,
    killed_buffer/1, no_producer/1, many_callers/1
]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        until_flushed, checked_when_flushed, back_in_front, all_or_none, asynchronous,
        limit_of_messages, limit_of_bytes, limit_of_age, report_function,
        full_waits, full_refuses, full_keeps_deadline, purged,
        handles_and_producers, stop_flushes, stop_of_idle, stop_loses_aloud, killed_producer,
        killed_buffer, no_producer, many_callers
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

init_per_testcase(_, Config) ->
    Test = self(),
    Tell = fun([crema, buffer, Event], Measurements, Metadata, _) ->
        ?assertEqual(
            ok, crema_event_table:check([crema, buffer, Event], Measurements, Metadata)
        ),
        Test ! {Event, maps:merge(Measurements, Metadata)}
    end,
    Names = [[crema, buffer, Event] || Event <- [purged, flushed, refused, lost]],
    ok = crema_events:attach(?MODULE, Names, Tell, none),
    Config.

end_per_testcase(_, _Config) ->
    crema_ct:cleanup(),
    crema_events:detach(?MODULE).

until_flushed(Config) ->
    %% Nothing is sent before the flush, which returns a result for each message
    %% in the order in which they were buffered. There is no process before.
    {P, Topic} = start(Config, #{}),
    ?assertEqual(undefined, crema_helper:find(P, buffer)),
    ?assertEqual(0, crema:buffer_size(P)),
    ok = crema:buffer(P, message(Topic, 0)),
    ok = crema:buffer_many(P, [message(Topic, N) || N <- lists:seq(1, 9)]),
    ?assertEqual(10, crema:buffer_size(P)),
    ?assertMatch(#{accepted := 0}, crema:info(P)),
    {ok, Results} = crema:flush_buffer(P),
    ?assertEqual([{N, N} || N <- lists:seq(0, 9)], offsets(Results)),
    ?assertEqual(0, crema:buffer_size(P)),
    ?assertEqual({ok, []}, crema:flush_buffer(P)),
    ?assertMatch(#{cause := call, count := 10, failed := 0, client := P}, event(P, flushed)),
    quiet(P).

checked_when_flushed(Config) ->
    %% Any message is buffered. A bad one is found by the flush, which names it;
    %% everything is in the buffer again, and nothing was sent.
    {P, Topic} = start(Config, #{}),
    ok = crema:buffer_many(P, [message(Topic, 0), #{value => no_topic}, message(Topic, 1)]),
    {error, {bad_message, #{index := 1, dispatched := []}}} = crema:flush_buffer(P),
    ?assertEqual(3, crema:buffer_size(P)),
    ?assertMatch(#{code := bad_message, count := 3}, event(P, refused)),
    ?assertMatch(#{accepted := 0}, crema:info(P)),
    ?assertEqual({ok, 3}, crema:purge_buffer(P)),
    ?assertMatch(#{count := 3}, event(P, purged)),
    quiet(P).

back_in_front(_Config) ->
    %% What the queue did not take comes first again, before what was buffered
    %% later: one by one, whatever the number of tries.
    P = crema_ct:unreachable(#{max_queue_messages => 4, on_full => error}),
    {ok, Other} = crema:produce_async(P, #{topic => t}),
    ok = crema:buffer_many(P, [message(<<"t">>, N) || N <- [0, 1, 2, 3]]),
    {error, {queue_full, #{dispatched := []}}} = crema:flush_buffer(P),
    ?assertEqual(4, crema:buffer_size(P)),
    {error, {queue_full, _}} = crema:flush_buffer(P),
    ok = crema:purge(P),
    {error, {purge_queue, _}} = crema:await(Other),
    {ok, Ref} = crema:flush_buffer_async(P),
    crema_ct:await(fun() -> maps:get(accepted, crema:info(P)) =:= 5 end),
    ok = crema:buffer(P, message(<<"t">>, 4)),
    {error, {queue_full, _}} = crema:flush_buffer(P),
    ok = crema:purge(P),
    {ok, Results} = crema:await(Ref),
    ?assertEqual([0, 1, 2, 3], [Label || {error, {purge_queue, #{label := Label}}} <- Results]),
    ?assertEqual(1, crema:buffer_size(P)).

all_or_none(Config) ->
    %% Messages of one call are buffered together or not at all; more than the
    %% whole buffer takes never are.
    {P, Topic} = start(Config, #{buffer_messages => 5, buffer_bytes => 100000}),
    Six = [message(Topic, N) || N <- lists:seq(1, 6)],
    ?assertMatch({error, {batch_too_large, _}}, crema:buffer_many(P, Six)),
    Large = #{topic => Topic, value => binary:copy(<<"x">>, 100001)},
    ?assertMatch({error, {batch_too_large, _}}, crema:buffer(P, Large)),
    ok = crema:buffer_many(P, []),
    ?assertEqual(0, crema:buffer_size(P)),
    quiet(P).

asynchronous(_Config) ->
    %% The outcome of an asynchronous flush is awaited like a report: a time-out
    %% is not final, and only the caller may.
    P = crema_ct:unreachable(#{kafka => #{'message.timeout.ms' => 1000}}),
    ok = crema:buffer(P, message(<<"t">>, 0)),
    {ok, Ref} = crema:flush_buffer_async(P),
    {error, {timeout, #{ref := Ref}}} = crema:await(Ref, 10),
    Other = fun() -> crema:await(Ref, 10) end,
    ?assertMatch([{error, {unknown_reference, _}}], crema_ct:spawned([Other])),
    ?assertMatch({ok, [{error, {msg_timed_out, #{label := 0}}}]}, crema:await(Ref)),
    ?assertMatch({error, {unknown_reference, _}}, crema:await(Ref)),
    ok = crema:buffer(P, message(<<"t">>, 1)),
    {error, {timeout, #{ref := Late}}} = crema:flush_buffer(P, 10),
    ?assertMatch({ok, [{error, {msg_timed_out, #{label := 1}}}]}, crema:await(Late)),
    ?assertMatch([#{failed := 1}, #{failed := 1}], [event(P, flushed), event(P, flushed)]),
    quiet(P).

limit_of_messages(Config) ->
    %% The buffer flushes itself with the message that reaches the number.
    {P, Topic} = start(Config, #{buffer_messages => 3}),
    ok = crema:buffer_many(P, [message(Topic, 0), message(Topic, 1)]),
    ?assertEqual(2, crema:buffer_size(P)),
    ok = crema:buffer(P, message(Topic, 2)),
    ?assertMatch(#{cause := limit, count := 3, failed := 0}, event(P, flushed)),
    ?assertEqual(0, crema:buffer_size(P)),
    quiet(P).

limit_of_bytes(Config) ->
    %% Or with the one that reaches the size.
    {P, Topic} = start(Config, #{buffer_bytes => 10000}),
    Message = #{topic => Topic, partition => 0, value => binary:copy(<<"x">>, 4000)},
    ok = crema:buffer_many(P, [Message, Message]),
    ?assertEqual(2, crema:buffer_size(P)),
    ok = crema:buffer(P, Message),
    ?assertMatch(#{cause := limit, count := 2, failed := 0}, event(P, flushed)),
    ?assertEqual(1, crema:buffer_size(P)),
    quiet(P).

limit_of_age(Config) ->
    %% Or when the first message is of that age; the next one's begins anew.
    {P, Topic} = start(Config, #{buffer_age => 100}),
    [
        begin
            Start = crema_ct:now_ms(),
            ok = crema:buffer(P, message(Topic, N)),
            ?assertMatch(#{cause := age, count := 1}, event(P, flushed)),
            ?assert(crema_ct:now_ms() - Start >= 100)
        end
     || N <- [0, 1]
    ],
    %% A flush in between leaves no timer.
    ok = crema:buffer(P, message(Topic, 2)),
    {ok, [_]} = crema:flush_buffer(P),
    ?assertMatch(#{cause := call}, event(P, flushed)),
    ok = crema:buffer(P, message(Topic, 3)),
    ?assertMatch(#{cause := age}, event(P, flushed)),
    quiet(P).

report_function(_Config) ->
    %% What the buffer flushes by itself is reported to a function, refusals too;
    %% one that crashes does no harm.
    Test = self(),
    P = crema_ct:unreachable(#{
        kafka => #{'message.timeout.ms' => 500},
        buffer_messages => 1,
        max_queue_messages => 1,
        on_full => error,
        buffer_report => fun(Outcome) ->
            Test ! {outcome, Outcome},
            error(on_purpose)
        end
    }),
    ok = crema:buffer(P, message(<<"t">>, 0)),
    crema_ct:await(fun() -> maps:get(accepted, crema:info(P)) =:= 1 end),
    ok = crema:buffer(P, message(<<"t">>, 1)),
    ?assertMatch({error, {queue_full, #{dispatched := []}}}, outcome()),
    ?assertMatch({ok, [{error, {msg_timed_out, #{label := 0}}}]}, outcome()),
    {ok, [_]} = crema:flush_buffer(P),
    ?assertMatch(#{code := queue_full}, event(P, refused)),
    ?assertMatch([#{cause := limit}, #{cause := call}], [event(P, flushed), event(P, flushed)]),
    quiet(P).

full_waits(_Config) ->
    %% While a full buffer waits for the queue, callers wait, and get in in turn
    %% when it has been taken.
    P = crema_ct:unreachable(#{max_queue_messages => 2, buffer_messages => 2}),
    {ok, _} = crema:produce_async(P, #{topic => t}),
    ok = crema:buffer_many(P, [message(<<"t">>, 0), message(<<"t">>, 1)]),
    crema_ct:await(fun() -> maps:get(waiting_callers, crema:info(P)) =:= 1 end),
    ok = crema:buffer_many(P, [message(<<"t">>, 2), message(<<"t">>, 3)]),
    Waiting = [caller(fun() -> crema:buffer(P, message(<<"t">>, N)) end) || N <- [4, 5]],
    crema_ct:await(fun() -> waiting_here(P) =:= 2 end),
    ok = crema:purge(P),
    ?assertEqual([ok, ok], [answer(Pid) || Pid <- Waiting]),
    crema_ct:await(fun() -> maps:get(waiting_callers, crema:info(P)) =:= 1 end),
    ok = crema:purge(P),
    ?assertMatch(#{count := 2, failed := 2}, event(P, flushed)),
    crema_producer:stop(P, 0).

full_refuses(_Config) ->
    %% A full buffer that cannot be flushed refuses, at once where calls do not
    %% wait, and says why. It never holds more than twice its limit.
    P = crema_ct:unreachable(#{max_queue_messages => 1, buffer_messages => 1, on_full => error}),
    {ok, _} = crema:produce_async(P, #{topic => t}),
    [
        begin
            ok = crema:buffer(P, message(<<"t">>, N)),
            ?assertMatch(#{code := queue_full, count := N}, event(P, refused))
        end
     || N <- [1, 2]
    ],
    {error, {buffer_full, #{message := Text}}} = crema:buffer(P, message(<<"t">>, 3)),
    ?assertMatch({match, _}, re:run(Text, "queue_full")),
    ?assertEqual(2, crema:buffer_size(P)),
    ?assertEqual({ok, 2}, crema:purge_buffer(P)),
    crema_producer:stop(P, 0).

full_keeps_deadline(_Config) ->
    %% However many wait, none does for longer than full_timeout.
    P = crema_ct:unreachable(#{
        max_queue_messages => 1, buffer_messages => 1, full_timeout => 300
    }),
    {ok, _} = crema:produce_async(P, #{topic => t}),
    ok = crema:buffer(P, message(<<"t">>, 0)),
    Call = fun() -> crema_ct:timed(fun() -> crema:buffer(P, message(<<"t">>, 1)) end) end,
    Answers = crema_ct:spawned(lists:duplicate(20, Call)),
    ?assertEqual(#{buffer_full => 19, ok => 1}, crema_ct:results(
        [case Answer of ok -> {ok, 1}; _ -> Answer end || {_, Answer} <- Answers]
    )),
    ?assert(lists:max([Time || {Time, _} <- Answers]) < 2000),
    crema_producer:stop(P, 0).

purged(Config) ->
    %% A purge drops what is there; the producer's own messages stay.
    {P, Topic} = start(Config, #{buffer_age => 1000}),
    Test = self(),
    Added = fun(_, Measured, #{client := Client}, _) -> Test ! {added, Client, Measured} end,
    ok = crema_events:attach(added, [crema, buffer, added], Added, none),
    ok = crema:buffer_many(P, [message(Topic, N) || N <- [0, 1, 2]]),
    ?assertEqual({ok, 3}, crema:purge_buffer(P)),
    ?assertEqual({ok, 0}, crema:purge_buffer(P)),
    ?assertMatch([#{count := 3}, #{count := 0}], [event(P, purged), event(P, purged)]),
    ok = crema:buffer(P, message(Topic, 3)),
    ok = crema_events:detach(added),
    receive {added, P, Many} -> ?assertEqual(#{count => 3, size => 3}, Many) end,
    receive {added, P, One} -> ?assertEqual(#{count => 1, size => 1}, One) end,
    ?assertMatch(#{cause := age, count := 1}, event(P, flushed)),
    quiet(P).

handles_and_producers(Config) ->
    %% A buffer takes messages for a producer and its topic handles alike, and
    %% sends them in order. A handle's chain is run by the flush; where it
    %% refuses, what came before is sent and the rest stays.
    {P, Topic} = start(Config, #{}),
    {ok, Handle} = crema:topic(P, Topic, #{serializer => json}),
    ok = crema:buffer(P, message(Topic, 0)),
    ok = crema:buffer(Handle, #{value => [1], partition => 0, label => 1}),
    ok = crema:buffer(Handle, #{value => [2], partition => 0, label => 2}),
    ok = crema:buffer(P, message(Topic, 3)),
    ?assertEqual(4, crema:buffer_size(Handle)),
    {ok, Results} = crema:flush_buffer(Handle),
    ?assertEqual([{N, N} || N <- [0, 1, 2, 3]], offsets(Results)),
    ok = crema:buffer(P, message(Topic, 4)),
    ok = crema:buffer(Handle, #{value => {no, json}, partition => 0}),
    ok = crema:buffer(P, message(Topic, 5)),
    {error, {bad_message, #{dispatched := Sent}}} = crema:flush_buffer(P),
    ?assertEqual([{4, 4}], offsets(Sent)),
    ?assertEqual(2, crema:buffer_size(P)),
    %% What raises does so where the messages are handed over, and harms no one.
    {ok, Raising} = crema:topic(P, Topic, #{validator => fun(_, _) -> error(on_purpose) end}),
    {ok, 2} = crema:purge_buffer(P),
    ok = crema:buffer(Raising, #{value => <<"x">>}),
    ?assertMatch({error, {callback_failed, #{reason := on_purpose}}}, crema:flush_buffer(P)),
    ?assertEqual(1, crema:buffer_size(P)).

stop_flushes(Config) ->
    %% A producer that is stopped sends its buffer first, and an outcome that was
    %% asked for can be awaited afterwards.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config),
    ok = crema:buffer(P, message(Topic, 0)),
    {ok, Ref} = crema:flush_buffer_async(P),
    ok = crema:buffer_many(P, [message(Topic, 1), message(Topic, 2)]),
    ok = crema_producer:stop(P),
    Events = lists:sort([event(P, flushed), event(P, flushed)]),
    ?assertMatch([#{cause := call, count := 1}, #{cause := stop, count := 2, failed := 0}], Events),
    ?assertMatch({ok, [{ok, #{offset := 0}}]}, crema:await(Ref, 5000)),
    ?assertMatch({error, _}, crema:buffer(P, message(Topic, 3))),
    quiet(P).

stop_of_idle(Config) ->
    %% So does one that nobody has used but for its buffer or a batch.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config, #{connect => use}),
    ok = crema:buffer(P, message(Topic, 0)),
    ok = crema_producer:stop(P),
    ?assertMatch(#{cause := stop, count := 1, failed := 0}, event(P, flushed)),
    Q = crema_ct:producer(Config, #{connect => use}),
    {ok, Handle} = crema:topic(Q, Topic, #{batch => {fixed, 10}}),
    {ok, Ref} = crema:push(Handle, #{value => <<>>}),
    ok = crema_producer:stop(Q),
    ?assertMatch({ok, #{offset := 1}}, crema:await(Ref, 5000)).

stop_loses_aloud(Config) ->
    %% What a stop cannot send by its deadline is told of.
    P = crema_ct:unreachable(#{max_queue_messages => 2}),
    {ok, _} = crema:produce_async(P, #{topic => t}),
    ok = crema:buffer_many(P, [message(<<"t">>, 0), message(<<"t">>, 1)]),
    {Time, ok} = crema_ct:timed(fun() -> crema_producer:stop(P, 300) end),
    ?assert(Time < 3000),
    ?assertMatch(#{count := 2, client := P, reason := closed}, event(P, lost)),
    ?assertMatch(#{count := 2}, event(P, refused)),
    quiet(P),
    %% So is what no flush could send, and why.
    {Q, Topic} = start(Config, #{}),
    ok = crema:buffer_many(Q, [message(Topic, 0), #{value => <<"no topic">>}]),
    ok = crema_producer:stop(Q),
    ?assertMatch(#{count := 2, client := Q, reason := bad_message}, event(Q, lost)).

killed_producer(_Config) ->
    %% When the producer is killed a flush under way gets its outcome, and what
    %% was in the buffer is told of.
    P = crema_ct:unreachable(#{}),
    ok = crema:buffer(P, message(<<"t">>, 0)),
    {ok, Ref} = crema:flush_buffer_async(P),
    crema_ct:await(fun() -> maps:get(accepted, crema:info(P)) =:= 1 end),
    ok = crema:buffer(P, message(<<"t">>, 1)),
    exit(P, kill),
    ?assertMatch({ok, [{error, {purge_queue, #{label := 0}}}]}, crema:await(Ref, 10000)),
    ?assertMatch(#{count := 1, client := P}, event(P, lost)).

killed_buffer(Config) ->
    %% When the buffer's process is killed the loss is told of, with its number;
    %% the producer lives, and the next who buffers has a new one.
    {P, Topic} = start(Config, #{name => ?FUNCTION_NAME}),
    ok = crema:buffer_many(P, [message(Topic, 0), message(Topic, 1)]),
    exit(crema_helper:find(P, buffer), kill),
    ?assertMatch(#{count := 2, client := P, name := ?FUNCTION_NAME, reason := killed}, event(P, lost)),
    crema_ct:await(fun() -> crema_helper:find(P, buffer) =:= undefined end),
    ok = crema:buffer(?FUNCTION_NAME, message(Topic, 2)),
    {ok, Results} = crema:flush_buffer(P),
    ?assertEqual([{2, 0}], offsets(Results)).

no_producer(_Config) ->
    %% Without a producer there is nothing to buffer in.
    ?assertMatch({error, {not_found, _}}, crema:buffer(nobody, #{topic => t})),
    ?assertMatch({error, {not_found, _}}, crema:flush_buffer(nobody)),
    ?assertEqual(0, crema:buffer_size(nobody)),
    P = crema_ct:unreachable(#{}),
    ok = crema:buffer(P, #{topic => t}),
    {ok, 1} = crema:purge_buffer(P),
    ok = crema_producer:stop(P),
    ?assertMatch({error, {closed, _}}, crema:buffer(P, #{topic => t})).

many_callers(Config) ->
    %% Sixteen processes fill a small buffer that flushes itself: nothing is lost
    %% or sent twice, and each process's messages are in its order.
    Topic = crema_ct:topic(Config, 1),
    Test = self(),
    P = crema_ct:producer(Config, #{
        buffer_messages => 50, buffer_report => fun(Outcome) -> Test ! {outcome, Outcome} end
    }),
    Caller = fun(Name) ->
        [ok = crema:buffer(P, message(Topic, {Name, N})) || N <- lists:seq(1, 500)]
    end,
    _ = crema_ct:spawned([fun() -> Caller(Name) end || Name <- lists:seq(1, 16)]),
    {ok, Last} = crema:flush_buffer(P),
    Results = Last ++ outcomes(8000 - length(Last)),
    ?assertEqual(#{ok => 8000}, crema_ct:results(Results)),
    Sent = lists:keysort(1, [{O, L} || {ok, #{offset := O, label := L}} <- Results]),
    ?assertEqual(lists:seq(0, 7999), [O || {O, _} <- Sent]),
    [
        ?assertEqual(lists:seq(1, 500), [N || {_, {Of, N}} <- Sent, Of =:= Name])
     || Name <- lists:seq(1, 16)
    ].

%% ---- helpers -------------------------------------------------------------------

start(Config, Options) ->
    {crema_ct:producer(Config, Options), crema_ct:topic(Config, 1)}.

message(Topic, N) ->
    #{topic => Topic, partition => 0, value => term_to_binary(N), label => N}.

offsets(Results) ->
    [{Label, Offset} || {ok, #{label := Label, offset := Offset}} <- Results].

event(P, Name) ->
    receive
        {Name, #{client := P} = Fields} -> Fields
    after 15000 -> error({no_event, Name})
    end.

%% No message is left, but for events of clients of cases before.
quiet(P) ->
    receive
        {Name, #{client := Other}} when Other =/= P, is_atom(Name) -> quiet(P);
        Message -> error({stray_message, Message})
    after 0 -> ok
    end.

outcome() ->
    receive
        {outcome, Outcome} -> Outcome
    after 15000 -> error(no_outcome)
    end.

outcomes(0) ->
    [];
outcomes(Left) when Left > 0 ->
    {ok, Results} = outcome(),
    Results ++ outcomes(Left - length(Results)).

caller(Fun) ->
    Test = self(),
    Pid = spawn_link(fun() -> Test ! {self(), Fun()} end),
    Pid.

answer(Pid) ->
    receive
        {Pid, Answer} -> Answer
    after 15000 -> error({no_answer, Pid})
    end.

%% Callers that wait for a place in the buffer.
waiting_here(P) ->
    length(element(13, sys:get_state(crema_helper:find(P, buffer)))).
