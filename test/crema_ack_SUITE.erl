%% Acknowledgement by others than the handler: tokens, many at once, those that
%% fail, those whose process dies, and how much may be in flight.
-module(crema_ack_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    many_at_once/1, refused/1, no_tokens/1, in_flight/1, waited_for/1, failed/1, failed_batch/1,
    failed_again_and_again/1, failed_of_a_key/1, failed_and_acknowledged/1, process_dies/1,
    handed_on/1, many_processes/1, too_late/1, in_time/1
]).

-import(crema_ct_consume, [
    filled/2, quick/0, number/1, partition/2, all_acknowledged/1, listen/2, heard/1
]).

suite() -> [{timetrap, {seconds, 90}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            many_at_once, refused, no_tokens, in_flight, waited_for, failed, failed_batch,
            failed_again_and_again, failed_of_a_key, failed_and_acknowledged, process_dies,
            handed_on, many_processes, too_late, in_time
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

%% A consumer that acknowledges nothing, and tells this process of each message.
later(Config, Topic, Options) ->
    Handle = crema_ct_consume:telling(self(), noack),
    crema_ct:consumer(Config, Topic, #{to => self(), handle => Handle}, Options).

messages(Count) ->
    [Message || {_, Message} <- crema_ct:handled(Count)].

unacknowledged(Consumer) ->
    lists:sum([N || #{unacknowledged := N} <- crema_ct_consume:partitions(Consumer)]).

many_at_once(Config) ->
    %% A list of messages and tokens, of several partitions and in any order, is
    %% acknowledged by one call; a second time is no error.
    Topic = crema_ct:topic(Config, 3),
    [crema_ct:fill(Config, Topic, P, lists:seq(1, 50)) || P <- [0, 1, 2]],
    C = later(Config, Topic, #{}),
    Messages = messages(150),
    {Some, [Kept | Others]} = lists:split(70, lists:reverse(Messages)),
    ?assertEqual(ok, crema:ack([Token || #{token := Token} <- Some] ++ Others)),
    ?assertEqual(1, unacknowledged(C)),
    ?assertEqual(ok, crema:ack(Messages, 100)),
    true = all_acknowledged(C),
    ?assertEqual([ok, ok], [crema:ack(Kept), crema:ack([])]).

refused(Config) ->
    %% Of a list those are told that were refused, each with its reason; the others
    %% are acknowledged.
    Topic = filled(Config, 4),
    C = later(Config, Topic, #{}),
    Gone = later(Config, Topic, #{}),
    All = messages(8),
    ok = crema_consumer:stop(Gone),
    {error, {not_acknowledged, #{failed := Failed, message := Text}}} = crema:ack(All),
    ?assertMatch({match, _}, re:run(Text, "^4 of 8 tokens: ")),
    ?assertEqual([stale_assignment], lists:usort([Code || {_, {Code, _}} <- Failed])),
    Tokens = [Token || #{token := Token} <- All],
    ?assertEqual(4, length([T || {T, _} <- Failed, lists:member(T, Tokens)])),
    true = all_acknowledged(C),
    {Stale, _} = hd(Failed),
    ?assertMatch({error, {stale_assignment, _}}, crema:ack(Stale)),
    ?assertMatch({error, {stale_assignment, _}}, crema:nack(Stale)),
    ?assertMatch({error, {not_acknowledged, _}}, crema:nack([Stale], why)),
    ?assertEqual(ok, crema:delegate(Stale, self())),
    %% Nor does one hurt whose consumer's pid is somebody else's by now.
    [
        begin
            Old = {crema_token, Pid, 1, 1},
            ?assertMatch({error, {stale_assignment, _}}, crema:ack(Old)),
            ?assertMatch({error, {stale_assignment, _}}, crema:nack(Old)),
            ?assertEqual(ok, crema:delegate(Old, self()))
        end
     || Pid <- [crema_ct:producer(Config), self()]
    ],
    receive
        {'$gen_cast', _} = Cast -> error({stray_message, Cast})
    after 0 -> ok
    end.

no_tokens(_Config) ->
    %% What is no token is the programmer's mistake.
    [
        ?assertError(badarg, Call(Bad))
     || Call <- [
            fun crema:ack/1, fun crema:nack/1, fun(Bad) -> crema:delegate(Bad, self()) end
        ],
        Bad <- [nothing, #{}, [nothing], {crema_token, self(), 1, last}, {crema_token, 1, 1, 1}]
    ],
    Token = {crema_token, self(), 1, 1},
    ?assertError(badarg, crema:delegate(Token, nobody)),
    ?assertError(badarg, crema:ack(Token, soon)),
    ?assertMatch(#{1 := <<"neither a message", _/binary>>}, wrong(fun() -> crema:ack(nothing) end)),
    ?assertEqual(#{2 => <<"no pid">>}, wrong(fun() -> crema:delegate(Token, nobody) end)).

%% What a shell says of the arguments.
wrong(Fun) ->
    try Fun() of
        Result -> error({returned, Result})
    catch
        error:badarg:Stack -> crema_error:format_error(badarg, Stack)
    end.

in_flight(Config) ->
    %% No more messages of a partition are handled than may be in flight; each that
    %% is acknowledged, from wherever, makes room for the next.
    Topic = crema_ct:topic(Config, 2),
    [crema_ct:fill(Config, Topic, P, lists:seq(1, 20)) || P <- [0, 1]],
    C = later(Config, Topic, #{max_in_flight => 5}),
    First = messages(10),
    ?assertEqual(
        [{P, N} || P <- [0, 1], N <- lists:seq(1, 5)],
        lists:sort([{P, number(M)} || #{partition := P} = M <- First])
    ),
    crema_ct:none_handled(50),
    ?assertMatch(#{unacknowledged := 5, state := max_in_flight}, partition(C, 0)),
    [One] = [M || #{partition := 0, offset := 2} = M <- First],
    ok = crema:ack(One),
    ?assertMatch([#{partition := 0, value := <<"6">>}], messages(1)),
    crema_ct:none_handled(50),
    ok = crema:ack([M || #{partition := 1} = M <- First]),
    ?assertEqual(
        [{1, N} || N <- lists:seq(6, 10)], [{P, number(M)} || #{partition := P} = M <- messages(5)]
    ).

waited_for(Config) ->
    %% What the window of a partition waits for can be seen: its first message, and
    %% since when.
    Topic = filled(Config, 3),
    C = later(Config, Topic, #{}),
    [One, Two, Three] = messages(3),
    crema_ct:await(fun() -> maps:get(waiting_for, partition(C, 0)) >= 20 end),
    ok = crema:ack([One, Three]),
    ?assertMatch(
        #{acknowledged := 1, unacknowledged := 1, stored := 1, state := ready}, partition(C, 0)
    ),
    ok = crema:ack(Two),
    ?assertMatch(
        #{acknowledged := 3, unacknowledged := 0, stored := 3, waiting_for := 0}, partition(C, 0)
    ).

failed(Config) ->
    %% A message that is declared failed comes again, with the reason in the event of
    %% a handler's error, and no other does. It can still be acknowledged.
    Topic = filled(Config, 10),
    Failed = listen(Topic, [crema, consumer, handler_error]),
    C = later(Config, Topic, quick()),
    All = messages(10),
    ok = crema:nack(lists:nth(4, All), {not_saved, 4}),
    ?assertMatch({#{attempt := 1}, #{offset := 3, reason := {not_saved, 4}}}, heard(Failed)),
    [Again] = messages(1),
    ?assertEqual(lists:nth(4, All), Again),
    ok = crema:nack([lists:nth(N, All) || N <- [9, 2, 3]]),
    ?assertEqual([2, 3, 9], [number(M) || M <- messages(3)]),
    ?assertEqual([nack, nack, nack], [R || _ <- [1, 2, 3], {_, #{reason := R}} <- [heard(Failed)]]),
    crema_ct:none_handled(50),
    ok = crema:ack(All),
    true = all_acknowledged(C).

failed_batch(Config) ->
    %% A handler of batches gets what has failed as a batch of its own.
    Topic = filled(Config, 10),
    Handle = fun(Messages, #{to := To} = State) ->
        To ! {batch, self(), Messages},
        {noack, State}
    end,
    Handler = {crema_ct_batch_handler, #{to => self(), handle => Handle}},
    Options = (quick())#{handler => Handler, batch_age => 50, batch_messages => 10},
    C = crema_ct:consumer(Config, Topic, none, Options),
    All = lists:append(crema_ct_consume:batches(10)),
    Some = [lists:nth(N, All) || N <- [2, 3, 7]],
    ok = crema:nack(Some),
    ?assertEqual(Some, lists:append(crema_ct_consume:batches(3))),
    ok = crema:ack(All),
    true = all_acknowledged(C).

failed_again_and_again(Config) ->
    %% Each time that a message fails counts, also if its handler takes it well each
    %% time, and others are handled meanwhile.
    Topic = filled(Config, 1),
    Failed = listen(Topic, [crema, consumer, handler_error]),
    _ = later(Config, Topic, quick()),
    [Message] = messages(1),
    ok = crema:nack(Message),
    ?assertEqual([Message], messages(1)),
    ok = crema_ct:fill(Config, Topic, 0, [2]),
    [Other] = messages(1),
    ok = crema:nack(Message),
    ?assertEqual([Message], messages(1)),
    ok = crema:nack(Other),
    ?assertEqual([Other], messages(1)),
    Times = [{Offset, N} || _ <- [1, 2, 3], {#{attempt := N}, #{offset := Offset}} <- [heard(Failed)]],
    ?assertEqual([{0, 1}, {0, 2}, {1, 1}], Times).

failed_of_a_key(Config) ->
    %% With several workers for a partition the message that failed comes again to
    %% the one that has its key.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config),
    Keys = [<<"a">>, <<"b">>, <<"c">>, <<"d">>],
    {ok, _} = crema:produce_many(P, [
        #{topic => Topic, partition => 0, key => Key, value => <<"1">>}
     || Key <- Keys
    ]),
    Failed = listen(Topic, [crema, consumer, handler_error]),
    C = later(Config, Topic, (quick())#{concurrency => {key, 2}}),
    All = crema_ct:handled(4),
    [{Worker, Message}] = [{W, M} || {W, #{key := <<"c">>} = M} <- All],
    ok = crema:nack(Message, late),
    ?assertEqual([{Worker, Message}], crema_ct:handled(1)),
    ?assertMatch({#{attempt := 1}, #{offset := 2, reason := late}}, heard(Failed)),
    ok = crema:ack([M || {_, M} <- All]),
    true = all_acknowledged(C).

failed_and_acknowledged(Config) ->
    %% What is acknowledged does not come again, whatever is declared.
    Topic = filled(Config, 5),
    C = later(Config, Topic, quick()),
    All = messages(5),
    ok = crema:ack(tl(All)),
    ok = crema:nack(All),
    ?assertEqual([hd(All)], messages(1)),
    crema_ct:none_handled(50),
    ok = crema:ack(hd(All)),
    true = all_acknowledged(C).

%% ---- processes ---------------------------------------------------------------------

holder() ->
    spawn(fun() ->
        receive
            {ends, Reason} -> exit(Reason)
        end
    end).

process_dies(Config) ->
    %% A message that was left to a process comes again when that dies; not what it
    %% has acknowledged before. One that is dead already is as one that dies.
    Topic = filled(Config, 6),
    Failed = listen(Topic, [crema, consumer, handler_error]),
    C = later(Config, Topic, quick()),
    All = [_, Two, Three | _] = messages(6),
    Holder = holder(),
    ok = crema:delegate(Three, Holder),
    ok = crema:delegate([Two, lists:last(All)], Holder),
    ok = crema:ack(Two),
    crema_ct:none_handled(50),
    Holder ! {ends, lost_interest},
    ?assertEqual([Three, lists:last(All)], messages(2)),
    ?assertMatch({_, #{reason := {delegate_down, lost_interest}}}, heard(Failed)),
    _ = heard(Failed),
    ok = crema:delegate(hd(All), Holder),
    ?assertEqual([hd(All)], messages(1)),
    ?assertMatch({_, #{reason := {delegate_down, noproc}}}, heard(Failed)),
    ok = crema:ack(All),
    true = all_acknowledged(C).

handed_on(Config) ->
    %% A message that is handed on from one process to another is the last one's.
    Topic = filled(Config, 1),
    _ = later(Config, Topic, quick()),
    [Message] = messages(1),
    [One, Two] = [holder(), holder()],
    ok = crema:delegate(Message, One),
    ok = crema:delegate(Message, Two),
    One ! {ends, normal},
    crema_ct:none_handled(50),
    Two ! {ends, normal},
    ?assertEqual([Message], messages(1)).

many_processes(Config) ->
    %% Processes that have acknowledged what they had are not looked after for ever.
    Count = 3000,
    Topic = filled(Config, Count),
    C = later(Config, Topic, #{}),
    {ok, consumer, _, _, Group} = crema_registry:lookup(C),
    Holders = [
        begin
            Holder = holder(),
            ok = crema:delegate(Message, Holder),
            ok = crema:ack(Message),
            Holder
        end
     || Message <- messages(Count)
    ],
    {monitors, Monitors} = erlang:process_info(Group, monitors),
    ?assert(length(Monitors) < 1100, length(Monitors)),
    [Holder ! {ends, normal} || Holder <- Holders],
    true = all_acknowledged(C),
    crema_ct:none_handled(20).

%% ---- time ---------------------------------------------------------------------------

too_late(Config) ->
    %% What is not acknowledged within ack_timeout has failed and comes again, as
    %% often as it takes; other messages do not.
    Topic = filled(Config, 6),
    Failed = listen(Topic, [crema, consumer, handler_error]),
    C = later(Config, Topic, (quick())#{ack_timeout => 1000}),
    Began = crema_ct:now_ms(),
    All = messages(6),
    Kept = lists:nth(3, All),
    ok = crema:ack(lists:delete(Kept, All)),
    ?assertEqual([Kept], messages(1)),
    ?assert(crema_ct:now_ms() - Began >= 1000),
    ?assertEqual([Kept], messages(1)),
    ?assertMatch({#{attempt := 1}, #{offset := 2, reason := ack_timeout}}, heard(Failed)),
    ?assertMatch({#{attempt := 2}, #{offset := 2}}, heard(Failed)),
    ok = crema:ack(Kept),
    true = all_acknowledged(C).

in_time(Config) ->
    %% With several workers no message comes again that its handler is still at.
    Topic = filled(Config, 24),
    Test = self(),
    Handle = fun(Message, State) ->
        Test ! {handled, self(), Message},
        case number(Message) of
            N when N rem 4 =:= 0 ->
                receive after 2000 -> {ack, State} end;
            _ ->
                Test ! {ack, Message},
                {noack, State}
        end
    end,
    Options = (quick())#{ack_timeout => 1000, concurrency => {any, 3}},
    C = crema_ct:consumer(Config, Topic, #{to => self(), handle => Handle}, Options),
    acknowledge(18),
    Numbers = [number(M) || M <- messages(24)],
    ?assertEqual(lists:seq(1, 24), lists:usort(Numbers)),
    true = all_acknowledged(C),
    ?assertEqual([], [N || N <- Numbers -- lists:usort(Numbers), N rem 4 =:= 0]).

acknowledge(0) ->
    ok;
acknowledge(Left) ->
    receive
        {ack, Message} ->
            ok = crema:ack(Message),
            acknowledge(Left - 1)
    after 20000 -> error({missing, Left})
    end.
