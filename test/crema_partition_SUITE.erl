%% Who chooses a message's partition, and how many there are to choose from, on
%% the embedded cluster.
-module(crema_partition_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    client_partitioner/1, variants/1, transactions/1, null_keys_of_librdkafka/1,
    partition_key/1, by_topic/1, by_call/1,
    round_robin/1, functions/1, bad_functions/1, explicit/1, null_key_of_md5/1, wrong_keys/1,
    counts/1, no_count_in_time/1, one_question_for_all/1, counts_are_refreshed/1,
    doubt/1, counts_end_with_their_client/1, without_client/1
]).
-export([last/5, age/3]).

-define(PARTITIONS, 7).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        client_partitioner, variants, transactions, null_keys_of_librdkafka,
        partition_key, by_topic, by_call,
        round_robin, functions, bad_functions, explicit, null_key_of_md5, wrong_keys,
        counts, no_count_in_time, one_question_for_all, counts_are_refreshed,
        doubt, counts_end_with_their_client, without_client
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

keys() -> [integer_to_binary(N) || N <- lists:seq(1, 100)].

%% Where messages went, in order.
partitions(P, Messages, Options) ->
    {ok, Results} = crema:produce_many(P, Messages, Options),
    [Partition || {ok, #{partition := Partition}} <- Results].

crc32(Key) -> erlang:crc32(Key) rem ?PARTITIONS.

md5(Key) -> lists:sum(binary_to_list(erlang:md5(Key))) rem ?PARTITIONS.

client_partitioner(Config) ->
    %% A producer's partitioner, librdkafka's or crema's, chooses by the key.
    Topic = crema_ct:topic(Config, ?PARTITIONS),
    Messages = [#{topic => Topic, key => Key} || Key <- keys()],
    Of = fun(Options) -> partitions(crema_ct:producer(Config, Options), Messages, #{}) end,
    Crc = [crc32(Key) || Key <- keys()],
    ?assertEqual(Crc, Of(#{})),
    ?assertEqual(Crc, Of(#{partitioner => consistent})),
    ?assertEqual([md5(Key) || Key <- keys()], Of(#{partitioner => md5})),
    %% librdkafka's own, and what crema has of it by partition_key
    [
        begin
            ByKey = Of(#{partitioner => Name}),
            ?assertEqual(ByKey, Of(#{kafka => #{partitioner => Name}})),
            Hashed = [#{topic => Topic, partition_key => Key} || Key <- keys()],
            P = crema_ct:producer(Config, #{partitioner => Name}),
            ?assertEqual(ByKey, partitions(P, Hashed, #{})),
            ?assertNotEqual(Crc, ByKey)
        end
     || Name <- [murmur2, murmur2_random, fnv1a, fnv1a_random]
    ],
    Random = Of(#{partitioner => random}),
    ?assertEqual(lists:seq(0, ?PARTITIONS - 1), lists:usort(Random)).

variants(Config) ->
    %% A variant's partitioner goes before the producer's, also where crema hashes;
    %% to ask for a number by a variant is to use the topic by it.
    [One, Two] = [crema_ct:topic(Config, ?PARTITIONS) || _ <- [1, 2]],
    P = crema_ct:producer(Config, #{partitioner => md5, topic_partitioners => #{One => random}}),
    {ok, V} = crema:variant(P, #{topic_config => #{partitioner => consistent}}),
    Crc = [crc32(Key) || Key <- keys()],
    ?assertEqual({ok, ?PARTITIONS}, crema:partition_count(V, One)),
    ?assertEqual(Crc, partitions(V, [#{topic => One, partition_key => Key} || Key <- keys()], #{})),
    ?assertEqual(Crc, partitions(V, [#{topic => One, key => Key} || Key <- keys()], #{})),
    ?assertEqual(Crc, partitions(V, [#{topic => Two, key => Key} || Key <- keys()], #{})),
    %% one without a partitioner has the producer's
    {ok, W} = crema:variant(P, #{topic_config => #{'message.timeout.ms' => 60000}}),
    Three = crema_ct:topic(Config, ?PARTITIONS),
    Md5 = [md5(Key) || Key <- keys()],
    ?assertEqual(Md5, partitions(W, [#{topic => Three, key => Key} || Key <- keys()], #{})).

transactions(Config) ->
    %% In a transaction messages are prepared as elsewhere, and before a plain call
    %% begins one of its own: a call that is refused needs none.
    Topic = crema_ct:topic(Config, ?PARTITIONS),
    Id = fun() -> #{'transactional.id' => crema_ct:unique(<<"id">>)} end,
    P = crema_ct:producer(Config, #{
        kafka => Id(),
        middleware => [
            fun
                (#{key := <<"out">>}) -> skip;
                (Message) -> {ok, Message}
            end
        ]
    }),
    By = [#{topic => Topic, partition_key => Key} || Key <- keys()],
    Crc = [crc32(Key) || Key <- keys()],
    ?assertEqual(Crc, partitions(P, By, #{})),
    ?assertEqual(Crc, partitions(crema_ct:producer(Config, #{kafka => Id()}), By, #{})),
    ?assertEqual({ok, Crc}, crema:transaction(P, fun(T) -> partitions(T, By, #{}) end)),
    Md5 = [md5(Key) || Key <- keys()],
    Within = fun(T) ->
        {ok, ?PARTITIONS} = crema:partition_count(T, Topic),
        partitions(T, By, #{partitioner => md5})
    end,
    ?assertEqual({ok, Md5}, crema:transaction(P, Within)),
    ?assertEqual({ok, skipped}, crema:produce(P, #{topic => Topic, key => <<"out">>})),
    {error, {bad_message, _}} = crema:produce(P, #{topic => Topic}, #{partitioner => md5}).

null_keys_of_librdkafka(Config) ->
    %% Without a key: one partition by `consistent', and by consistent_random one
    %% for a while, with the next in time.
    Topic = crema_ct:topic(Config, ?PARTITIONS),
    Messages = [#{topic => Topic} || _ <- keys()],
    Consistent = crema_ct:producer(Config, #{partitioner => consistent}),
    ?assertEqual([crc32(<<>>)], lists:usort(partitions(Consistent, Messages, #{}))),
    Sticky = #{kafka => #{'sticky.partitioning.linger.ms' => 600000}},
    Staying = crema_ct:producer(Config, Sticky),
    %% only once it is connected to the partition's leader
    _ = partitions(Staying, Messages, #{}),
    ?assertMatch([_], lists:usort(partitions(Staying, Messages, #{}))),
    Loose = #{kafka => #{'sticky.partitioning.linger.ms' => 0}},
    All = lists:usort(partitions(crema_ct:producer(Config, Loose), Messages, #{})),
    ?assertMatch([_, _ | _], All).

partition_key(Config) ->
    %% A partition key stands for the key in every strategy's eyes, and is not
    %% sent; null is none, empty is one.
    Topic = crema_ct:topic(Config, ?PARTITIONS),
    P = crema_ct:producer(Config, #{partitioner => consistent}),
    To = self(),
    C = crema_ct:consumer(Config, Topic, #{to => To}, #{}),
    Given = [{<<"a">>, "a"}, {<<"b">>, <<"a">>}, {undefined, <<>>}, {<<"c">>, nil}, {<<"d">>, "x"}],
    Messages = [#{topic => Topic, key => K, partition_key => By} || {K, By} <- Given],
    ?assertEqual(
        [crc32(By) || By <- [<<"a">>, <<"a">>, <<>>, <<"c">>, <<"x">>]], partitions(P, Messages, #{})
    ),
    Keys = [Key || {_, #{key := Key}} <- crema_ct:handled(length(Given))],
    ?assertEqual(lists:sort([K || {K, _} <- Given]), lists:sort(Keys)),
    ok = crema_consumer:stop(C),
    %% alone, and without waiting; md5 and functions take it as well
    One = #{topic => Topic, key => <<"k">>, partition_key => <<"a">>, value => <<"v">>},
    {ok, Ref} = crema:produce_async(P, One),
    Partition = crc32(<<"a">>),
    ?assertMatch({ok, #{partition := Partition}}, crema:await(Ref)),
    ?assertEqual([md5(<<"a">>)], partitions(P, [One], #{partitioner => md5})),
    Fun = fun(_, _, <<"a">>, <<"v">>) -> 3 end,
    ?assertEqual([3], partitions(P, [One], #{partitioner => Fun})),
    %% of none, librdkafka's default leaves it to chance
    Default = crema_ct:producer(Config),
    Empty = [#{topic => Topic, key => K, partition_key => <<>>} || K <- keys()],
    ?assertMatch([_, _ | _], lists:usort(partitions(Default, Empty, #{}))).

by_topic(Config) ->
    %% Topics may have partitioners of their own, in one call too.
    [One, Two, Three] = [crema_ct:topic(Config, ?PARTITIONS) || _ <- [1, 2, 3]],
    P = crema_ct:producer(Config, #{
        partitioner => md5, topic_partitioners => #{One => consistent, Two => round_robin}
    }),
    Messages = [#{topic => Topic, key => Key} || Key <- keys(), Topic <- [One, Two, Three]],
    Expected = [
        P1
     || {N, Key} <- lists:zip(lists:seq(0, 99), keys()),
        P1 <- [crc32(Key), N rem ?PARTITIONS, md5(Key)]
    ],
    ?assertEqual(Expected, partitions(P, Messages, #{})).

by_call(Config) ->
    %% A call may have a partitioner of its own, before those of the topic and of
    %% the producer; the next call has it no more.
    Topic = crema_ct:topic(Config, ?PARTITIONS),
    P = crema_ct:producer(Config, #{topic_partitioners => #{Topic => md5}}),
    Message = #{topic => Topic, key => <<"some key">>},
    Crc = crc32(<<"some key">>),
    Md5 = md5(<<"some key">>),
    true = Crc =/= Md5,
    ?assertMatch({ok, #{partition := Crc}}, crema:produce(P, Message, #{partitioner => consistent})),
    {ok, Ref} = crema:produce_async(P, Message, #{partitioner => "consistent_random"}),
    ?assertMatch({ok, #{partition := Crc}}, crema:await(Ref)),
    ?assertMatch({ok, #{partition := Md5}}, crema:produce(P, Message)),
    Bad = crema:produce(P, Message, #{partitioner => murmur3}),
    ?assertMatch({error, {bad_call, #{field := partitioner}}}, Bad).

round_robin(Config) ->
    %% Round robin begins at 0, topic by topic, and is shared by all who use the
    %% producer; another producer has its own.
    [One, Two] = [crema_ct:topic(Config, ?PARTITIONS) || _ <- [1, 2]],
    P = crema_ct:producer(Config, #{partitioner => round_robin}),
    Of = fun(Producer, Topic) ->
        {ok, #{partition := Partition}} = crema:produce(Producer, #{topic => Topic, key => "k"}),
        Partition
    end,
    ?assertEqual([0, 1, 2], [Of(P, One) || _ <- [1, 2, 3]]),
    ?assertEqual([0, 1], [Of(P, Two) || _ <- [1, 2]]),
    Each = 10 * ?PARTITIONS,
    All = crema_ct:spawned([fun() -> [Of(P, One) || _ <- lists:seq(1, Each)] end || _ <- [1, 2, 3]]),
    Counts = lists:foldl(
        fun(N, Acc) -> maps:update_with(N, fun(C) -> C + 1 end, 1, Acc) end, #{}, lists:append(All)
    ),
    ?assertEqual(maps:from_list([{N, 30} || N <- lists:seq(0, ?PARTITIONS - 1)]), Counts),
    ?assertEqual(3, Of(P, One)),
    ?assertEqual(0, Of(crema_ct:producer(Config, #{partitioner => round_robin}), One)).

last(_Topic, Count, _Key, _Value, To) ->
    To ! {called, self()},
    Count - 1.

functions(Config) ->
    %% A function, or {M, F, A}, is called in the process that produces, once for
    %% each message.
    Topic = crema_ct:topic(Config, ?PARTITIONS),
    P = crema_ct:producer(Config, #{partitioner => {?MODULE, last, [self()]}}),
    ?assertMatch({ok, #{partition := 6}}, crema:produce(P, #{topic => Topic})),
    ok = crema:produce_async(P, #{topic => Topic}, #{report => none}),
    Self = self(),
    [
        receive
            {called, By} -> ?assertEqual(Self, By)
        after 1000 -> error(not_called)
        end
     || _ <- [1, 2]
    ],
    crema_ct:quiet().

bad_functions(Config) ->
    %% A function that fails, or names no partition, fails the call, of which
    %% nothing is sent.
    Topic = crema_ct:topic(Config, ?PARTITIONS),
    P = crema_ct:producer(Config),
    Second = fun
        (_, _, <<"bad">>, _) -> 7;
        (_, _, <<"worse">>, _) -> error(oops);
        (_, _, _, _) -> 0
    end,
    [
        begin
            Messages = [#{topic => Topic, key => Key} || Key <- [<<"good">>, Bad]],
            {error, {bad_partitioner, Details}} =
                crema:produce_many(P, Messages, #{partitioner => Second}),
            ?assertMatch(#{index := 1, topic := Topic}, Details)
        end
     || Bad <- [<<"bad">>, <<"worse">>]
    ],
    ?assertMatch(#{accepted := 0}, crema:info(P)).

explicit(Config) ->
    %% A message's own partition goes before everything; -1 is none.
    Topic = crema_ct:topic(Config, ?PARTITIONS),
    P = crema_ct:producer(Config, #{partitioner => round_robin}),
    Messages = [
        #{topic => Topic, partition => 5, partition_key => <<"a">>, key => <<"b">>},
        #{topic => Topic, partition => -1},
        #{topic => Topic, partition => 4},
        #{topic => Topic, partition => -1, partition_key => <<"a">>}
    ],
    ?assertEqual([5, 0, 4, 1], partitions(P, Messages, #{})),
    ?assertMatch([5, _, 4, _], partitions(P, Messages, #{partitioner => random})).

null_key_of_md5(Config) ->
    %% Kaffe's md5 has no answer to a null key: the call is refused.
    P = crema_ct:producer(Config, #{partitioner => md5}),
    Topic = crema_ct:topic(Config, ?PARTITIONS),
    {error, {bad_message, Details}} =
        crema:produce_many(P, [#{topic => Topic, key => <<>>}, #{topic => Topic}]),
    ?assertMatch(#{index := 1, field := key}, Details),
    ?assertMatch(#{accepted := 0}, crema:info(P)).

wrong_keys(Config) ->
    %% What is wrong in a message is told as ever where somebody chooses.
    Topic = crema_ct:topic(Config, ?PARTITIONS),
    P = crema_ct:producer(Config),
    Md5 = crema_ct:producer(Config, #{partitioner => md5}),
    [
        begin
            {error, {bad_message, #{field := Is}}} = crema:produce(Producer, Message),
            ?assertEqual({Field, Message}, {Is, Message})
        end
     || Producer <- [P, Md5],
        {Field, Message} <- [
            {partition_key, #{topic => Topic, partition_key => 17}},
            {partition_key, #{topic => Topic, partition => 1, partition_key => a}},
            {key, #{topic => Topic, partition_key => "a", key => a}},
            {partition, #{topic => Topic, partition_key => "a", partition => -2}},
            {topic, #{topic => 17, partition_key => "a"}},
            {topic, #{partition_key => "a"}},
            {message, [{partition_key, "a"}]}
        ]
    ],
    ?assertMatch({error, {bad_message, #{field := key}}}, crema:produce(Md5, #{topic => Topic, key => 1})),
    [
        ?assertMatch({error, {bad_message, _}}, crema:produce_many(Md5, Messages))
     || Messages <- [[], [#{topic => Topic, key => "a"} | x]]
    ].

%% ---- how many partitions ----------------------------------------------------------

counts(Config) ->
    %% The number of a topic's partitions, in every form of a name.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 3),
    ?assertEqual({ok, 3}, crema:partition_count(P, Topic)),
    ?assertEqual({ok, 3}, crema:partition_count(P, binary_to_list(Topic))),
    ?assertError(badarg, crema:partition_count(P, 17)),
    ?assertMatch({error, {not_found, _}}, crema:partition_count(no_such_name, Topic)).

no_count_in_time(_Config) ->
    %% Without a broker nobody waits longer than the call may, and nothing is sent.
    P = crema_ct:unreachable(#{partitioner => round_robin, full_timeout => 300}),
    Calls = [
        fun() -> crema:partition_count(P, t) end,
        fun() -> crema:produce(P, #{topic => t}) end,
        fun() -> crema:produce(P, #{topic => t}, #{full_timeout => 60000, timeout => 300}) end,
        fun() -> crema:produce_async(P, #{topic => t}, #{report => none}) end
    ],
    [
        begin
            {Time, Answer} = crema_ct:timed(Call),
            ?assertMatch({error, {timed_out, #{topic := <<"t">>}}}, Answer),
            ?assert(Time >= 290, Time),
            ?assert(Time < 5000, Time)
        end
     || Call <- Calls
    ],
    ?assertMatch(#{accepted := 0}, crema:info(P)),
    crema_ct:quiet().

one_question_for_all(Config) ->
    %% Many who want to know at once get one answer.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 5),
    Asked = requests(P, fun() ->
        All = crema_ct:spawned([fun() -> crema:partition_count(P, Topic) end || _ <- lists:seq(1, 50)]),
        ?assertEqual([{ok, 5}], lists:usort(All))
    end),
    ?assertEqual(1, Asked).

%% How many questions the asker puts to a producer's port meanwhile.
requests(P, During) ->
    {ok, producer, Port, _, _} = crema_registry:lookup(P),
    Asker = whereis(crema_partitions),
    1 = erlang:trace(Asker, true, [call]),
    1 = erlang:trace_pattern({crema_port, ask_async, 3}, true, [global]),
    try
        During(),
        %% Once it answers this, all before is done.
        _ = sys:get_state(Asker),
        asked(Asker, Port)
    after
        _ = erlang:trace_pattern({crema_port, ask_async, 3}, false, [global]),
        _ = erlang:trace(Asker, false, [call])
    end.

asked(Asker, Port) ->
    Ref = erlang:trace_delivered(Asker),
    receive
        {trace_delivered, Asker, Ref} -> ok
    end,
    count_asked(Asker, Port, 0).

count_asked(Asker, Port, Count) ->
    receive
        {trace, Asker, call, {crema_port, ask_async, [Port | _]}} -> count_asked(Asker, Port, Count + 1);
        {trace, Asker, call, _} -> count_asked(Asker, Port, Count)
    after 0 -> Count
    end.

counts_are_refreshed(Config) ->
    %% A number of half a minute ago is used, and asked for once more, once.
    P = crema_ct:producer(Config, #{partitioner => md5}),
    Topic = crema_ct:topic(Config, 5),
    {ok, 5} = crema:partition_count(P, Topic),
    ?assertEqual(0, requests(P, fun() -> {ok, 5} = crema:partition_count(P, Topic) end)),
    %% As if it had been more, and long ago: a topic does not shrink.
    age(P, Topic, 6),
    Asked = requests(P, fun() ->
        ?assertEqual([{ok, 6}], lists:usort([crema:partition_count(P, Topic) || _ <- lists:seq(1, 50)]))
    end),
    ?assertEqual(1, Asked),
    settled(P),
    ?assertEqual({ok, 6}, crema:partition_count(P, Topic)),
    %% And as if it had been less.
    age(P, Topic, 4),
    ?assertEqual({ok, 4}, crema:partition_count(P, Topic)),
    crema_ct:await(fun() -> crema:partition_count(P, Topic) =:= {ok, 5} end).

%% As if that had been the number, half a minute ago.
age(P, Topic, Count) ->
    {ok, producer, Port, _, _} = crema_registry:lookup(P),
    Long = erlang:monotonic_time(millisecond) - 30000,
    true = ets:update_element(crema_partitions, {Topic, Port}, [{2, Count}, {3, Long}]),
    aged.

%% Nothing of that port is being asked for.
settled(P) ->
    {ok, producer, Port, _, _} = crema_registry:lookup(P),
    crema_ct:await(fun() ->
        Asked = element(2, sys:get_state(crema_partitions)),
        [] =:= [Key || {{_, Asks} = Key, _} <- maps:values(Asked), Asks =:= Port]
    end).

doubt(Config) ->
    %% Where librdkafka finds a partition missing the number is asked for anew,
    %% and may fall: the topic was made anew.
    P = crema_ct:producer(Config),
    [
        begin
            Topic = crema_ct:topic(Config, 3),
            {ok, 3} = crema:partition_count(P, Topic),
            {ok, producer, Port, _, _} = crema_registry:lookup(P),
            true = ets:update_element(crema_partitions, {Topic, Port}, {2, 9}),
            %% fresh, and so believed
            Last = fun(_, Count, _, _) -> Count - 1 end,
            ok = Miss(P, #{topic => Topic}, Last),
            crema_ct:await(fun() -> crema:partition_count(P, Topic) =:= {ok, 3} end),
            ?assertMatch({ok, #{partition := 2}}, crema:produce(P, #{topic => Topic}, #{partitioner => Last}))
        end
     || Miss <- [
            fun(Producer, Message, Last) ->
                {error, {unknown_partition, #{partition := 8}}} =
                    crema:produce(Producer, Message, #{partitioner => Last}),
                ok
            end,
            fun(Producer, Message, Last) ->
                ok = crema:produce_async(Producer, Message, #{report => message, partitioner => Last}),
                [{0, {error, {unknown_partition, _}}}] = crema_ct:reports(1),
                ok
            end
        ]
    ].

counts_end_with_their_client(Config) ->
    %% What is known for a client is forgotten when it ends, and an asker that is
    %% started again knows the clients of the one before.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 3),
    {ok, 3} = crema:partition_count(P, Topic),
    Asker = whereis(crema_partitions),
    Monitor = erlang:monitor(process, Asker),
    exit(Asker, kill),
    receive
        {'DOWN', Monitor, _, _, _} -> ok
    end,
    crema_ct:await(fun() -> is_pid(whereis(crema_partitions)) end),
    {ok, producer, Port, _, _} = crema_registry:lookup(P),
    ?assertMatch([_], ets:lookup(crema_partitions, {Topic, Port})),
    ok = crema_producer:stop(P),
    crema_ct:await(fun() -> ets:lookup(crema_partitions, {Topic, Port}) =:= [] end),
    ?assertMatch({error, {closed, _}}, crema:partition_count(P, Topic)).

without_client(Config) ->
    %% A producer that has no client at the time makes one for who has to know a
    %% number; middleware is not called again for that.
    Topic = crema_ct:topic(Config, 3),
    Self = self(),
    Seen = fun(Message) ->
        Self ! seen,
        {ok, Message}
    end,
    P = crema_ct:producer(Config, #{
        connect => use, partitioner => round_robin, middleware => [Seen]
    }),
    Uses = [
        fun() -> {ok, #{partition := 0}} = crema:produce(P, #{topic => Topic}) end,
        fun() -> {ok, 3} = crema:partition_count(P, Topic) end,
        fun() ->
            {ok, Ref} = crema:produce_async(P, #{topic => Topic, partition_key => "a"}),
            {ok, #{partition := 0}} = crema:await(Ref)
        end
    ],
    [
        begin
            ?assertNotMatch(#{connected := true}, crema:status(P)),
            Use(),
            ok = crema:disconnect(P)
        end
     || Use <- Uses
    ],
    [
        receive
            seen -> ok
        after 0 -> error(not_seen)
        end
     || _ <- [1, 2]
    ],
    crema_ct:quiet().
