%% Handlers: what they get, and what their answers and crashes lead to.
%%
%% The cases run side by side, for the first member of a group waits three
%% seconds.
-module(crema_consumer_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    messages/1, without_init/1, batches/1, init_has_the_place/1, crash/1,
    crash_of_one_partition/1, exits_and_throws/1, bad_return/1, crash_in_init/1,
    error_in_place/1, error_of_batch/1, crashes_are_told/1, errors_are_told/1,
    stuck_handler/1, large_messages/1, several_topics/1
]).

-import(crema_ct_consume, [
    filled/2, quick/0, values/1, number/1, once/1, partitions/1, all_acknowledged/1,
    listen/2, heard/1, event_is_as_told/3
]).

suite() -> [{timetrap, {seconds, 90}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            messages, without_init, batches, init_has_the_place, crash,
            crash_of_one_partition, exits_and_throws, bad_return, crash_in_init,
            error_in_place, error_of_batch, crashes_are_told, errors_are_told,
            stuck_handler, large_messages, several_topics
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

messages(Config) ->
    %% Each partition has a process of its own, which gets the partition's
    %% messages in order, with all that there is to know about them.
    Topic = crema_ct:topic(Config, 4),
    [crema_ct:fill(Config, Topic, P, lists:seq(1, 100)) || P <- lists:seq(0, 3)],
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    Handled = crema_ct:handled(400),
    [
        begin
            Of = [{W, M} || {W, #{partition := N} = M} <- Handled, N =:= P],
            ?assertEqual(lists:seq(0, 99), [O || {_, #{offset := O}} <- Of]),
            ?assertEqual(lists:seq(1, 100), values(Of)),
            ?assertMatch([_], lists:usort([W || {W, _} <- Of]))
        end
     || P <- lists:seq(0, 3)
    ],
    ?assertEqual(4, length(lists:usort([W || {W, _} <- Handled]))),
    {_, Message} = hd(Handled),
    ?assertEqual(
        [headers, key, offset, partition, timestamp, timestamp_type, token, topic, value],
        lists:sort(maps:keys(Message))
    ),
    ?assertMatch(#{topic := Topic, key := undefined, headers := []}, Message),
    true = all_acknowledged(C),
    ?assertEqual(4, length(partitions(C))).

without_init(Config) ->
    %% A handler without init/2 has its arguments as its state.
    Topic = filled(Config, 3),
    _ = crema_ct:consumer(Config, Topic, none, #{handler => {crema_ct_plain_handler, self()}}),
    ?assertEqual([1, 2, 3], values(crema_ct:handled(3))).

batches(Config) ->
    %% A handler of batches gets them in order, none larger than was asked for,
    %% and its answer is for all of a batch.
    Topic = filled(Config, 1000),
    C = crema_ct:consumer(Config, Topic, none, #{
        handler => {crema_ct_batch_handler, #{to => self()}}, batch_messages => 70
    }),
    Batches = crema_ct_consume:batches(1000),
    ?assertEqual(lists:seq(1, 1000), [number(M) || Batch <- Batches, M <- Batch]),
    ?assert(lists:all(fun(Batch) -> length(Batch) =< 70 end, Batches)),
    ?assert(length(Batches) < 500, length(Batches)),
    true = all_acknowledged(C).

init_has_the_place(Config) ->
    %% init/2 learns for which partition of which consumer it is called, and runs
    %% in the process that handles the messages.
    Topic = filled(Config, 1),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    [{Worker, #{value := <<"1">>}}] = crema_ct:handled(1),
    receive
        {started, Worker, Info} ->
            ?assertMatch(#{topic := Topic, partition := 0, consumer := C}, Info)
    after 0 -> error(not_started)
    end.

crash(Config) ->
    %% After a crash come the message at which it was and those behind it, in
    %% order; none that was acknowledged comes again.
    Topic = filled(Config, 200),
    Self = self(),
    Once = once([50, 51, 120]),
    Handle = fun(Message, State) ->
        Number = number(Message),
        Once(Number) andalso error({planned, Number}),
        Self ! {handled, self(), Message},
        {ack, State}
    end,
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, quick()),
    Handled = crema_ct:handled(200),
    ?assertEqual(lists:seq(1, 200), values(Handled)),
    ?assertEqual(4, length(lists:usort([W || {W, _} <- Handled]))),
    true = all_acknowledged(C),
    crema_ct:none_handled(50).

crash_of_one_partition(Config) ->
    %% A handler that crashes again and again does not disturb the other
    %% partitions, nor does the member leave its group.
    Topic = crema_ct:topic(Config, 2),
    [crema_ct:fill(Config, Topic, P, lists:seq(1, 50)) || P <- [0, 1]],
    Self = self(),
    Handle = fun
        (#{partition := 0}, _) ->
            Self ! {crashing, self()},
            error(planned);
        (Message, State) ->
            Self ! {handled, self(), Message},
            {ack, State}
    end,
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, quick()),
    Handled = crema_ct:handled(50),
    ?assertMatch([_], lists:usort([W || {W, _} <- Handled])),
    [receive {crashing, _} -> ok after 10000 -> error(no_restart) end || _ <- lists:seq(1, 5)],
    crema_ct:fill(Config, Topic, 1, [51]),
    ?assertEqual([51], values(crema_ct:handled(1))),
    ?assertMatch(#{rebalances := 1, assigned := [{Topic, 0}, {Topic, 1}]}, crema:info(C)).

exits_and_throws(Config) ->
    %% However a handler ends, by exit, throw, kill or normally, or by a process it
    %% is linked to, it is started again.
    Topic = filled(Config, 7),
    Self = self(),
    Once = once([1, 2, 3, 4, 5, 6]),
    Handle = fun(Message, State) ->
        Number = number(Message),
        case Once(Number) andalso Number of
            false -> ok;
            1 -> exit(planned);
            2 -> throw(planned);
            3 -> exit(self(), kill);
            4 -> exit(normal);
            5 -> exit(shutdown);
            6 -> linked_that_ends({shutdown, closed})
        end,
        Self ! {handled, self(), Message},
        {ack, State}
    end,
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, quick()),
    Seen = handled_up_to(7),
    ?assertEqual([1, 2, 3, 4, 5, 6, 7], lists:usort(Seen)),
    %% Only those that were killed could not tell what they had acknowledged.
    ?assertEqual([], [N || N <- Seen -- [1, 2, 3, 4, 5, 6, 7], N > 2, N =/= 5]),
    true = all_acknowledged(C).

linked_that_ends(Reason) ->
    _ = spawn_link(fun() -> exit(Reason) end),
    receive
        nothing_comes -> ok
    end.

handled_up_to(Last) ->
    case values(crema_ct:handled(1)) of
        [Last] -> [Last];
        [Number] -> [Number | handled_up_to(Last)]
    end.

bad_return(Config) ->
    %% What is no answer is a crash that names the handler and what it returned.
    Topic = filled(Config, 2),
    Once = once([1]),
    Handle = fun(Message, #{to := To} = State) ->
        case Once(number(Message)) of
            true -> an_odd_answer;
            false -> To ! {handled, self(), Message}, {ack, State}
        end
    end,
    Reasons = listen(Topic, [crema, consumer, handler_crashed]),
    _ = crema_ct:consumer(Config, Topic, #{handle => Handle, to => self()}, quick()),
    ?assertEqual([1, 2], values(crema_ct:handled(2))),
    ?assertMatch(
        {_, #{reason := {bad_return, {crema_ct_handler, handle_message, an_odd_answer}}}},
        heard(Reasons)
    ).

crash_in_init(Config) ->
    %% A handler whose init/2 crashes or answers oddly is started again, with
    %% growing waits; nothing is lost and the others go on.
    Topic = crema_ct:topic(Config, 2),
    [crema_ct:fill(Config, Topic, P, [1]) || P <- [0, 1]],
    Once = once([1, 2, 3]),
    Count = counters:new(1, []),
    Init = fun
        (#{partition := 0}, Args) ->
            ok = counters:add(Count, 1, 1),
            case counters:get(Count, 1) of
                1 -> error(planned);
                2 -> nonsense;
                N -> Once(N) andalso exit(planned), {ok, Args}
            end;
        (_, Args) ->
            {ok, Args}
    end,
    Crashed = listen(Topic, [crema, consumer, handler_crashed]),
    _ = crema_ct:consumer(Config, Topic, #{init => Init, to => self()}, #{backoff => {20, 10000}}),
    ?assertEqual([0, 1], lists:sort([P || {_, #{partition := P}} <- crema_ct:handled(2)])),
    Delays = [element(1, heard(Crashed)) || _ <- [1, 2, 3]],
    ?assertMatch(
        [#{attempt := 1}, #{attempt := 2}, #{attempt := 3, delay := D}] when D >= 40, Delays
    ).

error_in_place(Config) ->
    %% A message whose handling failed comes again after a wait and before any
    %% other, in the same process with its state.
    Topic = filled(Config, 20),
    Self = self(),
    Handle = fun(Message, #{tries := Tries} = State) ->
        Self ! {handled, self(), Message},
        case number(Message) of
            N when N rem 7 =:= 0, Tries < 2 -> {error, not_yet, State#{tries := Tries + 1}};
            _ -> {ack, State#{tries := 0}}
        end
    end,
    Args = #{handle => Handle, init => fun(_, A) -> {ok, A} end, tries => 0},
    C = crema_ct:consumer(Config, Topic, Args, quick()),
    Handled = crema_ct:handled(24),
    ?assertEqual(lists:sort(lists:seq(1, 20) ++ [7, 7, 14, 14]), values(Handled)),
    ?assertMatch([_], lists:usort([W || {W, _} <- Handled])),
    true = all_acknowledged(C).

error_of_batch(Config) ->
    %% A batch whose handling failed comes again as a whole, before any other.
    Topic = filled(Config, 100),
    Self = self(),
    Once = once([1]),
    Handle = fun(Messages, State) ->
        Self ! {batch, self(), Messages},
        case Once(1) of
            true -> {error, not_yet, State};
            false -> {ack, State}
        end
    end,
    C = crema_ct:consumer(
        Config, Topic, none, (quick())#{handler => {crema_ct_batch_handler, #{handle => Handle}}}
    ),
    [First | Rest] = crema_ct_consume:batches(200),
    ?assertEqual(First, hd(Rest)),
    ?assertEqual(lists:seq(1, 100), [number(M) || Batch <- Rest, M <- Batch]),
    true = all_acknowledged(C).

crashes_are_told(Config) ->
    %% A crash is an event that names the place, the reason and the next attempt,
    %% in the form that the table of events says.
    Topic = filled(Config, 1),
    Crashed = listen(Topic, [crema, consumer, handler_crashed]),
    Handle = fun(_, _) -> error({planned, here}) end,
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => self()}, quick()),
    {Measured, Metadata} = heard(Crashed),
    ?assertMatch(
        #{
            client := C, partition := 0, class := error, reason := {planned, here},
            stacktrace := [_ | _]
        },
        Metadata
    ),
    event_is_as_told([crema, consumer, handler_crashed], Measured, Metadata).

errors_are_told(Config) ->
    %% So is an error that a handler returned.
    Topic = filled(Config, 1),
    Failed = listen(Topic, [crema, consumer, handler_error]),
    Handle = fun(_, State) -> {error, not_today, State} end,
    _ = crema_ct:consumer(Config, Topic, #{handle => Handle, to => self()}, quick()),
    {#{attempt := 1}, _} = heard(Failed),
    {#{attempt := 2} = Measured, #{reason := not_today, offset := 0} = Metadata} = heard(Failed),
    event_is_as_told([crema, consumer, handler_error], Measured, Metadata).

stuck_handler(Config) ->
    %% Behind a handler that does not come to an end no more waits than was asked
    %% for, and the other partitions go on.
    Topic = crema_ct:topic(Config, 2),
    [crema_ct:fill(Config, Topic, P, lists:seq(1, 5000)) || P <- [0, 1]],
    Self = self(),
    Handle = fun
        (#{partition := 0}, _) ->
            Self ! {stuck, self()},
            receive
                never -> ok
            end;
        (Message, State) ->
            Self ! {handled, self(), Message},
            {ack, State}
    end,
    Options = #{batch_messages => 10, drain_timeout => 100},
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, Options),
    ?assertEqual(lists:seq(1, 5000), values(crema_ct:handled(5000))),
    Worker =
        receive
            {stuck, Pid} -> Pid
        after 10000 -> error(not_stuck)
        end,
    [Stuck] = [S || #{partition := 0} = S <- partitions(C)],
    ?assertMatch(#{stored := 0, unacknowledged := N} when N =< 40, Stuck),
    {message_queue_len, Queue} = erlang:process_info(Worker, message_queue_len),
    ?assert(Queue =< 40, Queue).

large_messages(Config) ->
    %% A message larger than a batch may be comes in a batch of its own.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config),
    Values = [binary:copy(<<N>>, 100000 * N) || N <- lists:seq(1, 6)],
    {ok, _} = crema:produce_many(P, [#{topic => Topic, value => V, partition => 0} || V <- Values]),
    Batch = {crema_ct_batch_handler, #{to => self()}},
    C = crema_ct:consumer(Config, Topic, none, #{handler => Batch, batch_bytes => 150000}),
    Batches = crema_ct_consume:batches(6),
    ?assertEqual(Values, [V || Messages <- Batches, #{value := V} <- Messages]),
    ?assertEqual(6, length(Batches)),
    true = all_acknowledged(C).

several_topics(Config) ->
    %% A member subscribes to several topics, and to those that match a pattern.
    Prefix = crema_ct:unique(<<"pattern">>),
    Topics = [filled(Config, 3), filled(Config, 3)],
    ok = crema_ct:create_topic(Config, <<Prefix/binary, "-x">>, 1),
    ok = crema_ct:fill(Config, <<Prefix/binary, "-x">>, 0, [1, 2, 3]),
    Given = #{topics => [<<"^", Prefix/binary, "-.*">> | Topics]},
    C = crema_ct:consumer(Config, none, #{to => self()}, Given),
    Handled = crema_ct:handled(9),
    ?assertEqual(3, length(lists:usort([T || {_, #{topic := T}} <- Handled]))),
    ?assertEqual([1, 1, 1, 2, 2, 2, 3, 3, 3], lists:sort(values(Handled))),
    ?assertMatch(#{assigned := [_, _, _]}, crema:status(C)).
