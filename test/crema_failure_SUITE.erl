%% What follows a failure: policies, dead letters, retry topics and budgets.
%%
%% The cases run side by side, for the first member of a group waits three
%% seconds.
-module(crema_failure_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    skip/1, skip_after_crashes/1, attempts_survive_the_process/1, by_class/1, stop/1, fatal/1,
    fatal_crash/1, pause/1, explicit_dead_letter/1, several_workers/1, exactly_once/1,
    dead_letters/1, dead_letters_of_crashes/1, dead_letter_batch/1,
    dead_letter_holds/1, retry_topics/1, retry_topics_begin_early/1, budget_stops/1, budget_pauses/1
]).

-import(crema_ct_consume, [
    filled/2, quick/0, values/1, number/1, all_acknowledged/1, listen/2, heard/1,
    event_is_as_told/3
]).

suite() -> [{timetrap, {seconds, 90}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            skip, skip_after_crashes, attempts_survive_the_process, by_class, stop, fatal,
            fatal_crash, pause, explicit_dead_letter, several_workers, exactly_once, dead_letters,
            dead_letters_of_crashes, dead_letter_batch,
            dead_letter_holds, retry_topics, retry_topics_begin_early, budget_stops, budget_pauses
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

%% A handler that tells of each message before it fails with those numbers.
failing(Numbers, How) ->
    Self = self(),
    fun(Message, State) ->
        Self ! {handled, self(), Message},
        case lists:member(number(Message), Numbers) of
            true -> How(State);
            false -> {ack, State}
        end
    end.

returning(Reason) -> fun(State) -> {error, Reason, State} end.

started(Config, Topic, Handle, Options) ->
    Given = maps:merge(quick(), Options),
    crema_ct:consumer(Config, Topic, #{handle => Handle, to => self()}, Given).

policy(Retries, Then) -> #{retries => Retries, then => Then}.

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

of_client(Consumer, Heard) ->
    {ok, {_, #{code := _}} = Event} = {ok, heard(Heard)},
    case Event of
        {_, #{code := handler_failed}} -> Event;
        _ -> of_client(Consumer, Heard)
    end.

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

explicit_dead_letter(Config) ->
    %% A handler may ask for a dead letter itself; without a topic for them that is
    %% a crash.
    [Topic, Other, Dead] = [crema_ct:topic(Config, 1) || _ <- [1, 2, 3]],
    [crema_ct:fill(Config, T, 0, [1, 2]) || T <- [Topic, Other]],
    Self = self(),
    Handle = fun(Message, State) ->
        case number(Message) of
            1 -> {dead_letter, {unreadable, Message}, State};
            2 -> Self ! {handled, self(), Message}, {ack, State}
        end
    end,
    Crashed = listen(Other, [crema, consumer, handler_crashed]),
    C = started(Config, Topic, Handle, #{dead_letter => #{topic => Dead}}),
    _ = started(Config, Other, Handle, #{}),
    _ = crema_ct:consumer(Config, Dead, #{to => self()}, #{}),
    {_, #{reason := {bad_return, no_dead_letter}}} = heard(Crashed),
    Handled = [M || {_, M} <- crema_ct:handled(2)],
    [Letter] = [M || #{topic := T} = M <- Handled, T =:= Dead],
    ?assertMatch(
        {ok, #{offset := 0, reason := <<"returned unreadable">>}}, crema_dead_letter:origin(Letter)
    ),
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

exactly_once(Config) ->
    %% With commit => exactly_once dead letters and retries are part of its
    %% transactions, with the offsets of what failed.
    [Topic, Soon, Dead] = [crema_ct:topic(Config, 1) || _ <- [1, 2, 3]],
    ok = crema_ct:fill(Config, Topic, 0, [1, 2, 3]),
    Committed = listen(Topic, [crema, consumer, transaction_committed]),
    C = started(Config, Topic, failing([2], returning(no)), #{
        commit => exactly_once,
        transactional_id => crema_ct:unique(<<"exactly">>),
        failures => policy(1, retry_topic),
        retry_topics => [{Soon, 50}],
        dead_letter => #{topic => Dead}
    }),
    _ = crema_ct:consumer(Config, Dead, #{to => self()}, #{
        kafka => #{'isolation.level' => read_committed}
    }),
    Handled = [{number(M), T} || {_, #{topic := T} = M} <- crema_ct:handled(6, 40000)],
    {There, Elsewhere} = lists:partition(fun({_, T}) -> T =:= Topic end, Handled),
    ?assertEqual([1, 2, 2, 3], [N || {N, _} <- There]),
    ?assertEqual([{2, Soon}, {2, Dead}], Elsewhere),
    {#{count := Sent}, _} = heard(Committed),
    ?assert(Sent >= 1),
    true = all_acknowledged(C).

dead_letters(Config) ->
    %% A dead letter keeps key, value and headers and tells where it comes from; a
    %% producer of the consumer's own sends it before it is acknowledged.
    [Topic, Dead] = [crema_ct:topic(Config, 1) || _ <- [1, 2]],
    P = crema_ct:producer(Config),
    Message = #{topic => Topic, partition => 0, key => <<"k">>, headers => [{<<"h">>, <<"x">>}]},
    {ok, _} = crema:produce(P, Message#{value => <<"1">>}),
    {ok, _} = crema:produce(P, Message#{value => undefined, key => undefined, headers => []}),
    Sent = listen(Topic, [crema, consumer, sent_on]),
    Fail = fun(_, State) -> {error, {secret, "data"}, State} end,
    C = started(Config, Topic, Fail, #{
        failures => policy(1, dead_letter), dead_letter => #{topic => Dead}, group => <<"of-", Topic/binary>>
    }),
    _ = crema_ct:consumer(Config, Dead, #{to => self()}, #{}),
    [{_, First}, {_, Second}] = crema_ct:handled(2),
    ?assertMatch(#{key := <<"k">>, value := <<"1">>, headers := [{<<"h">>, <<"x">>} | _]}, First),
    ?assertMatch(#{key := undefined, value := undefined}, Second),
    Group = <<"of-", Topic/binary>>,
    {ok, Origin} = crema_dead_letter:origin(First),
    ?assertMatch(
        #{
            topic := Topic, partition := 0, offset := 0, group := Group, attempts := 2,
            failure := <<"returned">>, reason := <<"returned secret">>
        },
        Origin
    ),
    ?assertMatch({ok, #{offset := 1}}, crema_dead_letter:origin(Second)),
    {Measured, #{to := Dead, action := dead_letter} = Metadata} = heard(Sent),
    event_is_as_told([crema, consumer, sent_on], Measured, Metadata),
    true = all_acknowledged(C).

dead_letters_of_crashes(Config) ->
    %% So is it with a handler that crashes, or kills its process, at a message; a
    %% user's producer sends them.
    [Topic, Dead] = [crema_ct:topic(Config, 1) || _ <- [1, 2]],
    ok = crema_ct:fill(Config, Topic, 0, lists:seq(1, 4)),
    P = crema_ct:producer(Config),
    Self = self(),
    Handle = fun(Message, State) ->
        case number(Message) of
            1 -> error({badmatch, Message});
            2 -> exit(self(), kill);
            _ -> Self ! {good, number(Message)}, {ack, State}
        end
    end,
    C = started(Config, Topic, Handle, #{
        failures => [{default, policy(0, dead_letter)}],
        dead_letter => #{topic => Dead, producer => P}
    }),
    _ = crema_ct:consumer(Config, Dead, #{to => self()}, #{}),
    Handled = [M || {_, M} <- crema_ct:handled(2)],
    [{ok, First}, {ok, Second}] = [crema_dead_letter:origin(M) || M <- Handled],
    ?assertMatch(
        #{offset := 0, failure := <<"crash">>, reason := <<"crash error badmatch in ", _/binary>>},
        First
    ),
    ?assertMatch(#{offset := 1, failure := <<"crash">>, reason := <<"crash exit killed">>}, Second),
    [receive {good, N} -> ok after 10000 -> error(N) end || N <- [3, 4]],
    true = all_acknowledged(C).

dead_letter_batch(Config) ->
    %% Of a batch that fails all messages are sent, and only those.
    [Topic, Dead] = [crema_ct:topic(Config, 1) || _ <- [1, 2]],
    ok = crema_ct:fill(Config, Topic, 0, lists:seq(1, 25)),
    Handle = fun([#{offset := First} | _], State) ->
        case First of
            10 -> {error, no, State};
            _ -> {ack, State}
        end
    end,
    C = crema_ct:consumer(Config, Topic, none, (quick())#{
        handler => {crema_ct_batch_handler, #{handle => Handle}},
        batch_messages => 10,
        failures => policy(0, dead_letter),
        dead_letter => #{topic => Dead}
    }),
    _ = crema_ct:consumer(Config, Dead, #{to => self()}, #{}),
    Numbers = values(crema_ct:handled(1)),
    true = all_acknowledged(C),
    ?assertEqual([11], Numbers),
    Rest = values(crema_ct_consume:handled_so_far()),
    ?assertEqual(lists:seq(12, 12 + length(Rest) - 1), Rest).

dead_letter_holds(Config) ->
    %% While a dead letter cannot be delivered the partition holds and nothing is
    %% acknowledged; it is sent again until it is.
    [Topic, Dead] = [crema_ct:topic(Config, 1) || _ <- [1, 2]],
    ok = crema_ct:fill(Config, Topic, 0, [1, 2]),
    Name = binary_to_atom(crema_ct:unique(<<"late_producer">>)),
    NotSent = listen(Topic, [crema, consumer, sending_on_failed]),
    C = started(Config, Topic, failing([1], returning(no)), #{
        failures => policy(0, dead_letter), dead_letter => #{topic => Dead, producer => Name}
    }),
    {#{attempt := 1}, #{to := Dead, code := not_found}} = heard(NotSent),
    {#{attempt := 2} = Measured, Metadata} = heard(NotSent),
    event_is_as_told([crema, consumer, sending_on_failed], Measured, Metadata),
    ?assertEqual([1], values(crema_ct:handled(1))),
    crema_ct:none_handled(20),
    ?assertMatch(#{stored := 0}, crema_ct_consume:partition(C, 0)),
    _ = crema_ct:producer(Config, #{name => Name}),
    ?assertEqual([2], values(crema_ct:handled(1))),
    true = all_acknowledged(C).

retry_topics(Config) ->
    %% A message that fails comes again through each retry topic, when it is due
    %% there, and then is a dead letter. Meanwhile its partition goes on.
    [Topic, One, Two, Dead] = [crema_ct:topic(Config, 1) || _ <- [1, 2, 3, 4]],
    ok = crema_ct:fill(Config, Topic, 0, lists:seq(1, 5)),
    C = started(Config, Topic, failing([2], returning(later)), #{
        failures => policy(1, retry_topic),
        retry_topics => [{One, 300}, {Two, 600}],
        dead_letter => #{topic => Dead}
    }),
    _ = crema_ct:consumer(Config, Dead, #{to => self()}, #{}),
    Handled = [M || {_, M} <- crema_ct:handled(9)],
    Numbers = [{number(M), T} || #{topic := T} = M <- Handled],
    ?assertEqual(
        [{1, Topic}, {2, Topic}, {2, Topic}, {3, Topic}, {4, Topic}, {5, Topic}],
        [N || {_, T} = N <- Numbers, T =:= Topic]
    ),
    ?assertEqual([{2, One}, {2, Two}, {2, Dead}], [N || {_, T} = N <- Numbers, T =/= Topic]),
    [InOne, InTwo, InDead] = [M || #{topic := T} = M <- Handled, T =/= Topic],
    {ok, #{attempts := 2}} = crema_dead_letter:origin(InOne),
    {ok, #{attempts := 3, time := Second}} = crema_dead_letter:origin(InTwo),
    {ok, Last} = crema_dead_letter:origin(InDead),
    ?assertMatch(#{attempts := 4, topic := Topic, partition := 0, offset := 1}, Last),
    %% It was sent on from the second when it had been handled there: not before it
    %% was due.
    #{time := Third} = Last,
    ?assert(Third - Second >= 600, Third - Second),
    true = all_acknowledged(C).

retry_topics_begin_early(Config) ->
    %% What was sent to a retry topic before a member got it is handled, wherever
    %% the consumer starts otherwise.
    [Topic, Soon, Dead] = [crema_ct:topic(Config, 1) || _ <- [1, 2, 3]],
    [crema_ct:fill(Config, T, 0, [1]) || T <- [Topic, Soon]],
    C = crema_ct:consumer(Config, Topic, #{to => self()}, (quick())#{
        start => latest, retry_topics => [{Soon, 10}], dead_letter => #{topic => Dead}
    }),
    ?assertMatch([{_, #{topic := Soon}}], crema_ct:handled(1)),
    true = all_acknowledged(C),
    ok = crema_ct:fill(Config, Topic, 0, [2]),
    ?assertEqual([2], values(crema_ct:handled(1))).

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
