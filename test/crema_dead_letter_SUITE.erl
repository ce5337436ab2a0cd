%% Messages that are sent on because they failed: dead letters and retry topics.
%%
%% The cases run side by side, for the first member of a group waits three
%% seconds.
-module(crema_dead_letter_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    explicit_dead_letter/1, exactly_once/1, own_producer/1, dead_letters/1,
    dead_letters_of_crashes/1, dead_letter_batch/1, dead_letter_holds/1, retry_topics/1,
    retry_topics_begin_early/1, retry_topic_batches/1, not_consumed_as_well/1
]).

-import(crema_ct_consume, [
    quick/0, values/1, number/1, all_acknowledged/1, listen/2, heard/1, event_is_as_told/3
]).
-import(crema_ct_failure, [failing/2, returning/1, started/4, policy/2]).

%% When a message is due that is not due with the others (milliseconds).
-define(LATER, 2000).

suite() -> [{timetrap, {seconds, 90}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            explicit_dead_letter, exactly_once, own_producer, dead_letters,
            dead_letters_of_crashes, dead_letter_batch, dead_letter_holds, retry_topics,
            retry_topics_begin_early, retry_topic_batches, not_consumed_as_well
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

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
    {_, #{reason := {bad_return, dead_letter, _}}} = heard(Crashed),
    Handled = [M || {_, M} <- crema_ct:handled(2)],
    [Letter] = [M || #{topic := T} = M <- Handled, T =:= Dead],
    ?assertMatch(
        {ok, #{offset := 0, reason := <<"returned unreadable">>}}, crema_dead_letter:origin(Letter)
    ),
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

own_producer(Config) ->
    %% A producer of the consumer's own takes messages of any size, and is started
    %% again when it dies, beside a consumer that goes on. What it cannot start with
    %% the consumer's start tells.
    [Topic, Dead] = [crema_ct:topic(Config, 1) || _ <- [1, 2]],
    P = crema_ct:producer(Config, #{
        max_payload_size => 5000000, kafka => #{'message.max.bytes' => 6000000}
    }),
    Large = binary:copy(<<"x">>, 4000000),
    {ok, _} = crema:produce(P, #{topic => Topic, partition => 0, value => Large}),
    Fail = fun(_, State) -> {dead_letter, no, State} end,
    C = started(Config, Topic, Fail, #{dead_letter => #{topic => Dead}}),
    _ = crema_ct:consumer(Config, Dead, #{to => self()}, #{}),
    ?assertMatch([{_, #{value := Large}}], crema_ct:handled(1)),
    First = crema_dead_letter_sup:producer(C),
    exit(First, kill),
    ok = crema_ct:fill(Config, Topic, 0, [2]),
    ?assertEqual([2], values(crema_ct:handled(1))),
    ?assertNotEqual(First, crema_dead_letter_sup:producer(C)),
    ?assertMatch(#{rebalances := 1}, crema:info(C)),
    Wrong = #{topic => Dead, producer => #{kafka => #{'no.such.property' => 1}}},
    process_flag(trap_exit, true),
    ?assertMatch(
        {error, {bad_options, #{message := _}}},
        crema_consumer:start_link(#{
            bootstrap_servers => crema_ct:bootstrap(Config),
            group => <<"g">>,
            topics => [Topic],
            handler => {crema_ct_handler, #{}},
            dead_letter => Wrong
        })
    ).

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

retry_topic_batches(Config) ->
    %% Of a batch of a retry topic fail those messages that the handler had, however it
    %% failed: not those that were not due yet, although they are by then.
    Ways = [
        fun(State) -> {error, no, State} end,
        fun(_) -> error(no) end,
        fun(_) -> exit(self(), kill) end
    ],
    _ = crema_ct:spawned([fun() -> retry_topic_batch(Config, Fail) end || Fail <- Ways]),
    ok.

retry_topic_batch(Config, Fail) ->
    [Topic, Soon, Dead] = [crema_ct:topic(Config, 1) || _ <- [1, 2, 3]],
    Self = self(),
    %% It fails at the first when the last is due.
    Handle = fun(Messages, State) ->
        Self ! {batch, self(), Messages},
        case Messages of
            [#{headers := [{_, Due}], value := <<"1">>} | _] ->
                Late = binary_to_integer(Due) + ?LATER - erlang:system_time(millisecond),
                receive
                after max(0, Late) -> Fail(State)
                end;
            _ ->
                {ack, State}
        end
    end,
    C = crema_ct:consumer(Config, Topic, none, (quick())#{
        handler => {crema_ct_batch_handler, #{handle => Handle}},
        failures => policy(1, dead_letter),
        retry_topics => [{Soon, 60000}],
        dead_letter => #{topic => Dead}
    }),
    _ = crema_ct:consumer(Config, Dead, #{to => self()}, #{}),
    ok = crema:await_ready(C, 30000),
    Now = erlang:system_time(millisecond),
    Produced = [
        #{topic => Soon, value => Value, headers => [{<<"crema-due">>, integer_to_binary(Due)}]}
     || {Value, Due} <- [{<<"1">>, Now}, {<<"2">>, Now}, {<<"3">>, Now + ?LATER}]
    ],
    {ok, _} = crema:produce_many(crema_ct:producer(Config), Produced),
    Given = [[number(M) || M <- Batch] || Batch <- crema_ct_consume:batches(5)],
    ?assertEqual([[1, 2], [1, 2], [3]], Given),
    ?assertEqual([1, 2], values(crema_ct:handled(2))),
    true = all_acknowledged(C),
    ?assertEqual([], crema_ct_consume:handled_so_far()),
    crema_ct:cleanup().

not_consumed_as_well(Config) ->
    %% Where failed messages go cannot be subscribed to as well; and a change that is
    %% refused leaves nothing of it behind, whatever was asked for meanwhile.
    [A, Dead, Retry] = [crema_ct:topic(Config, 1) || _ <- [1, 2, 3]],
    C = crema_ct:consumer(Config, A, #{to => self()}, #{
        dead_letter => #{topic => Dead}, retry_topics => [{Retry, 1000}]
    }),
    Refused = [
        crema_control:add_topics(C, [Dead]),
        crema_control:subscribe(C, [<<"^", Dead/binary>>]),
        crema_control:subscribe(C, [Retry])
    ],
    [?assertMatch({error, {bad_call, _}}, Answer) || Answer <- Refused],
    {ok, _, _, _, Member} = crema_registry:lookup(C),
    Wrong = [
        gen_server:send_request(Member, {subscribe, {add, [Topic]}})
     || Topic <- [<<"^(">>, <<"fine">>]
    ],
    [{reply, {error, _}} = gen_server:wait_response(Id, 20000) || Id <- Wrong],
    ?assertEqual({ok, [A]}, crema_control:subscription(C)),
    ok = crema_control:add_topics(C, [<<"fine">>]),
    ?assertEqual({ok, [A, <<"fine">>]}, crema_control:subscription(C)).
