%% How calls are reported beyond a single wait: many references at once, looking
%% without waiting, tombstones, and what was never sent.
-module(crema_reports_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    await_many/1, await_many_by_deadline/1, await_many_after_the_end/1,
    completed/1, completed_after_the_end/1, verdicts_of_helpers/1, deadlines/1,
    tombstones/1, tombstones_of_many/1, tombstones_that_are_none/1, never_sent/1
]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        await_many, await_many_by_deadline, await_many_after_the_end,
        completed, completed_after_the_end, verdicts_of_helpers, deadlines,
        tombstones, tombstones_of_many, tombstones_that_are_none, never_sent
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

%% ---- references ----------------------------------------------------------------

await_many(Config) ->
    %% Each reference has its results in its place, whatever calls and producers
    %% they are of.
    One = crema_ct:producer(Config),
    Two = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Message = fun(Label) -> #{topic => Topic, partition => 0, label => Label} end,
    {ok, A} = crema:produce_async(One, Message(a)),
    {ok, B} = crema:produce_many_async(Two, [Message(b), (Message(c))#{partition => 9}]),
    {ok, C} = crema:produce_async(Two, (Message(d))#{partition => 7}),
    ?assertMatch(
        [
            {ok, #{label := a}},
            {ok, [{ok, #{label := b}}, {error, {unknown_partition, #{label := c}}}]},
            {error, {unknown_partition, #{label := d}}},
            {error, {unknown_reference, _}}
        ],
        crema:await_many([A, B, C, A], 10000)
    ),
    ?assertEqual([], crema:await_many([], 0)),
    ?assertError(badarg, crema:await_many([A], -1)),
    ?assertError(badarg, crema:await_many([a], 0)),
    ?assertError(badarg, crema:await_many(A, 0)),
    crema_ct:quiet().

await_many_by_deadline(Config) ->
    %% There is one deadline for all, however many they are; what has come by then
    %% is there, and what has not can be awaited again.
    Dead = crema_ct:unreachable(#{}),
    P = crema_ct:producer(Config),
    Refs = [ref(crema:produce_async(Dead, #{topic => t, label => N})) || N <- lists:seq(1, 5000)],
    {ok, Good} = crema:produce_async(P, #{topic => t}),
    ok = crema:flush(P, 10000),
    {Time, Results} = crema_ct:timed(fun() -> crema:await_many(Refs ++ [Good], 300) end),
    %% With one for each it would take minutes.
    ?assert(Time >= 300 andalso Time < 30000, Time),
    ?assertEqual(#{timeout => 5000, ok => 1}, crema_ct:results(Results)),
    ?assertEqual(Refs, [Ref || {error, {timeout, #{ref := Ref}}} <- Results]),
    ok = crema:purge(Dead),
    Final = crema:await_many(Refs, 10000),
    ?assertEqual(#{purge_queue => 5000}, crema_ct:results(Final)),
    ?assertEqual(lists:seq(1, 5000), [N || {error, {_, #{label := N}}} <- Final]),
    crema_ct:quiet().

await_many_after_the_end(_Config) ->
    %% What a producer left when it ended is there, and what it forgot is waited
    %% for once at most.
    P = crema_ct:unreachable(#{max_unclaimed => 3}),
    Refs = [ref(crema:produce_async(P, #{topic => t})) || _ <- lists:seq(1, 50)],
    ok = crema_producer:stop(P, 0),
    {Time, Results} = crema_ct:timed(fun() -> crema:await_many(Refs, infinity) end),
    ?assertEqual(#{purge_queue => 3, closed => 47}, crema_ct:results(Results)),
    ?assert(Time < 8000, Time).

completed(Config) ->
    %% A look tells whether the reports have come, and leaves them there.
    Dead = crema_ct:unreachable(#{}),
    {ok, Ref} = crema:produce_many_async(Dead, [#{topic => t}, #{topic => t}]),
    ?assertNot(crema:completed(Ref)),
    ok = crema:purge(Dead),
    ok = crema:flush(Dead, 10000),
    ?assert(crema:completed(Ref)),
    ?assert(crema:completed(Ref)),
    ?assertMatch(#{unclaimed_reports := 2}, crema:info(Dead)),
    ?assertMatch({ok, [_, _]}, crema:await(Ref, 0)),
    %% Whoever asks in a loop shall not ask for ever.
    ?assert(crema:completed(Ref)),
    ?assertError(badarg, crema:completed(something)),
    P = crema_ct:producer(Config),
    {ok, Sent} = crema:produce_async(P, #{topic => t}),
    crema_ct:await(fun() -> crema:completed(Sent) end),
    ?assertMatch({ok, _}, crema:await(Sent, 0)).

completed_after_the_end(_Config) ->
    %% The same when the producer has ended, with its reports left or forgotten.
    P = crema_ct:unreachable(#{max_unclaimed => 1}),
    {ok, Forgotten} = crema:produce_async(P, #{topic => t}),
    {ok, Left} = crema:produce_async(P, #{topic => t}),
    ok = crema_producer:stop(P, 0),
    crema_ct:await(fun() -> crema:completed(Left) end),
    crema_ct:await(fun() -> crema:completed(Forgotten) end),
    ?assertMatch({error, {purge_queue, _}}, crema:await(Left, 0)),
    ?assertMatch({error, {closed, _}}, crema:await(Forgotten, 0)).

verdicts_of_helpers(Config) ->
    %% References of a buffer and of a topic handle are as good as others.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 1),
    ok = crema:buffer(P, #{topic => Topic, label => a}),
    {ok, Buffered} = crema:flush_buffer_async(P),
    {ok, Handle} = crema:topic(P, Topic, #{serializer => json}),
    {ok, Pushed} = crema:push(Handle, #{value => [1], label => b}),
    {ok, Plain} = crema:produce_async(P, #{topic => Topic, label => c}),
    crema_ct:await(fun() -> lists:all(fun crema:completed/1, [Buffered, Pushed, Plain]) end),
    ?assertMatch(
        [{ok, [{ok, #{label := a}}]}, {ok, #{label := b}}, {ok, #{label := c}}],
        crema:await_many([Buffered, Pushed, Plain], 1000)
    ).

deadlines(_Config) ->
    %% No call waits beyond its deadline, with nobody at the other end and with
    %% the queue full.
    P = crema_ct:unreachable(#{max_queue_messages => 3}),
    Message = #{topic => t, key => <<"k">>},
    Large = Message#{value => binary:copy(<<"x">>, 20000)},
    {ok, Ref} = crema:produce_async(P, Message),
    {ok, Other} = crema:produce_async(P, Message),
    Fill = crema:produce(P, Message, #{timeout => 0}),
    ?assertMatch({error, {timeout, _}}, Fill),
    Wait = #{timeout => 200, full_timeout => 200},
    Back = Wait#{report => fun(_) -> ok end},
    Calls = [
        {timeout, fun() -> crema:await(Ref, 200) end},
        {timeout, fun() -> hd(crema:await_many([Ref, Other], 200)) end},
        {queue_full, fun() -> crema:produce(P, Message, Wait) end},
        {queue_full, fun() -> crema:produce(P, Large, Wait) end},
        {queue_full, fun() -> crema:produce_many(P, [Message, Large], Wait) end},
        {queue_full, fun() -> crema:produce_async(P, Message, Wait) end},
        {queue_full, fun() -> crema:produce_async(P, Large, Back) end},
        {queue_full, fun() -> crema:produce_many_async(P, [Message, Message], Back) end},
        {queue_full, fun() -> crema:tombstone(P, t, <<"k">>, Wait) end},
        {queue_full, fun() -> crema:tombstone_async(P, t, <<"k">>, Back) end},
        {queue_full, fun() -> crema:tombstone_many(P, [Message], Wait) end}
    ],
    [?assertEqual(Expected, ended_in_time(Call)) || {Expected, Call} <- Calls],
    crema_ct:quiet().

ended_in_time(Call) ->
    {{Own, Time}, {error, {Code, _}}} = crema_ct_onlookers:timed(Call),
    ?assert(Time >= 200 andalso Own =< 300, {Code, Own, Time}),
    Code.

%% ---- tombstones ----------------------------------------------------------------

tombstones(Config) ->
    %% A tombstone is a message with a key and a null value; its options are those
    %% of the message and of the call.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 2),
    {ok, Alone} = crema:tombstone(P, Topic, <<"one">>),
    ?assertMatch(#{topic := Topic, offset := 0}, Alone),
    Options = #{
        partition => 1, headers => [{"h", "v"}], label => mine, timestamp => 1234567890123,
        timeout => 10000
    },
    {ok, Report} = crema:tombstone(P, binary_to_list(Topic), ["t", $w | <<"o">>], Options),
    ?assertMatch(#{topic := Topic, partition := 1, label := mine}, Report),
    {ok, Ref} = crema:tombstone_async(P, Topic, <<"three">>),
    ?assertMatch({ok, #{topic := Topic}}, crema:await(Ref, 10000)),
    ok = crema:tombstone_async(P, Topic, <<"four">>, #{report => message, tag => 4}),
    ?assertMatch([{4, {ok, _}}], crema_ct:reports(1)),
    _ = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    Handled = [Message || {_, Message} <- crema_ct:handled(4)],
    ?assertEqual([undefined], lists:usort([Value || #{value := Value} <- Handled])),
    ?assertEqual(
        [<<"four">>, <<"one">>, <<"three">>, <<"two">>],
        lists:sort([Key || #{key := Key} <- Handled])
    ),
    ?assertMatch(
        [#{partition := 1, headers := [{<<"h">>, <<"v">>}], timestamp := 1234567890123}],
        [Message || #{key := <<"two">>} = Message <- Handled]
    ).

tombstones_of_many(Config) ->
    %% Many tombstones of many topics go in one call.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Tombstones = [
        #{topic => T, key => integer_to_binary(N), partition => 0, label => N}
     || {T, N} <- [{Topic, 1}, {by_atom, 2}, {Topic, 3}]
    ],
    {ok, Results} = crema:tombstone_many(P, Tombstones),
    ?assertEqual([1, 2, 3], [Label || {ok, #{label := Label}} <- Results]),
    {ok, _} = crema:tombstone_many(P, [#{topic => Topic, key => <<"4">>, value => nil}], #{}),
    {ok, Ref} = crema:tombstone_many_async(P, [#{topic => Topic, key => <<"5">>}]),
    ?assertMatch({ok, [{ok, _}]}, crema:await(Ref, 10000)),
    ok = crema:tombstone_many_async(P, [#{topic => Topic, key => <<"6">>}], #{report => none}),
    _ = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    ?assertEqual(
        [{<<"1">>, undefined}, {<<"3">>, undefined}, {<<"4">>, undefined}, {<<"5">>, undefined},
            {<<"6">>, undefined}],
        [{Key, Value} || {_, #{key := Key, value := Value}} <- crema_ct:handled(5)]
    ).

tombstones_that_are_none(Config) ->
    %% Without a key, or with a value, nothing is sent.
    P = crema_ct:producer(Config),
    [
        ?assertMatch({error, {bad_message, #{field := key}}}, crema:tombstone(P, t, Key))
     || Key <- [undefined, nil, <<>>, "", [[], <<>>], 17, [$\x{20AC}]]
    ],
    ?assertMatch({error, {bad_message, #{field := topic}}}, crema:tombstone(P, <<>>, <<"k">>)),
    ?assertMatch(
        {error, {bad_call, #{field := value}}}, crema:tombstone(P, t, <<"k">>, #{value => <<>>})
    ),
    ?assertMatch({error, {bad_call, _}}, crema:tombstone_async(P, t, <<"k">>, #{what => 1})),
    ?assertError(badarg, crema:tombstone(P, t, <<"k">>, none)),
    Good = #{topic => t, key => <<"k">>},
    [
        ?assertMatch(
            {error, {bad_message, #{field := Field, index := 1}}},
            crema:tombstone_many(P, [Good, Bad, Good])
        )
     || {Field, Bad} <- [
            {value, Good#{value => <<>>}}, {key, #{topic => t}}, {key, Good#{key => <<>>}},
            {message, none}, {topic, maps:remove(topic, Good)}, {what, Good#{what => 1}}
        ]
    ],
    [
        ?assertMatch(
            {error, {bad_message, #{field := messages}}}, crema:tombstone_many_async(P, None)
        )
     || None <- [[], none, #{}, [Good | none]]
    ],
    ?assertMatch(#{accepted := 0}, crema:info(P)).

never_sent(Config) ->
    %% Of the messages of one call each says what became of it: delivered, refused
    %% before it was sent, or given up.
    P = crema_ct:producer(Config, #{kafka => #{'message.max.bytes' => 20000}}),
    Topic = crema_ct:topic(Config, 1),
    {ok, _} = crema:produce(P, #{topic => Topic}),
    {ok, [First, Second, Third, Last]} = crema:produce_many(P, [
        #{topic => Topic, partition => 0},
        #{topic => Topic, partition => 5},
        #{topic => Topic, partition => 0, value => binary:copy(<<"x">>, 30000)},
        #{topic => Topic, partition => 0, headers => [{h, <<>>}]}
    ]),
    ?assertMatch({{ok, #{offset := 1}}, {ok, #{offset := 2}}}, {First, Last}),
    ?assertMatch({error, {unknown_partition, #{status := not_persisted, sent := false}}}, Second),
    ?assertMatch({error, {msg_size_too_large, #{status := not_persisted, sent := false}}}, Third),
    Dead = crema_ct:unreachable(#{}),
    {ok, Ref} = crema:produce_async(Dead, #{topic => t}),
    ok = crema:purge(Dead),
    {error, {purge_queue, Details}} = crema:await(Ref, 10000),
    ?assertMatch(#{status := not_persisted}, Details),
    ?assertNot(is_map_key(sent, Details)).

ref({ok, Ref}) -> Ref.
