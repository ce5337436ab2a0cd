%% Strategies, as far as they need no broker.
-module(crema_partitioner_tests).

-include_lib("eunit/include/eunit.hrl").
-include("../src/port/crema_commands.hrl").

-define(HASHES, [consistent, consistent_random, murmur2, murmur2_random, fnv1a, fnv1a_random]).
-define(LEFT_TO_CHANCE, [consistent_random, murmur2_random, fnv1a_random]).

%% Middleware, and a partitioner.
-export([handle_message/2, pick/5]).

handle_message(Message, _Args) -> {ok, Message}.

pick(<<"t">>, 4, Key, Value, Extra) -> byte_size(Key) + byte_size(Value) + Extra.

choose(Strategy, Count, Key) ->
    choose(Strategy, Count, Key, <<"v">>).

choose(Strategy, Count, Key, Value) ->
    crema_partitioner:choose(Strategy, {none, <<"t">>}, Count, Key, Value).

md5_is_kaffes_test() ->
    %% The sum of the digest's bytes, as Kaffe has it, whatever form the key has.
    ?assertEqual({ok, 17}, choose(md5, 32, <<"key8">>)),
    ?assertEqual({ok, 17}, choose(md5, 32, <<"key12">>)),
    ?assertEqual({ok, 17}, choose(md5, 32, ["key", $1, <<"2">>])),
    Sum = lists:sum(binary_to_list(crypto:hash(md5, <<>>))),
    ?assertEqual({ok, Sum rem 7}, choose(md5, 7, <<>>)).

null_keys_test() ->
    %% A null key is what the strategy says: nothing is hashed, or it is left to
    %% chance, and md5 refuses it, as Kaffe does.
    [
        begin
            ?assertEqual({ok, {hash, Number, 5, <<>>}}, choose(Hash, 5, Null)),
            ?assertEqual({ok, [0, 1, 2, 3, 4]}, seen(Random, Null)),
            ?assertMatch({fault, key, _}, choose(md5, 5, Null))
        end
     || {Hash, Random, Number} <- [
            {consistent, consistent_random, ?HASH_CONSISTENT},
            {murmur2, murmur2_random, ?HASH_MURMUR2},
            {fnv1a, fnv1a_random, ?HASH_FNV1A}
        ],
        Null <- [undefined, nil]
    ].

empty_keys_test() ->
    %% An empty key is hashed, but for consistent_random, to which it is as good
    %% as none: librdkafka has it so.
    [?assertMatch({ok, {hash, _, 5, <<>>}}, choose(H, 5, <<>>)) || H <- ?HASHES -- [consistent_random]],
    ?assertEqual({ok, [0, 1, 2, 3, 4]}, seen(consistent_random, <<>>)).

%% The partitions that come up among many.
seen(Strategy, Key) ->
    {ok, lists:usort([P || _ <- lists:seq(1, 500), {ok, P} <- [choose(Strategy, 5, Key)]])}.

keys_are_hashed_alike_test() ->
    %% With a key a strategy and its *_random form are one.
    [
        ?assertEqual(choose(H, 9, "key"), choose(R, 9, <<"key">>))
     || {H, R} <- lists:zip(?HASHES -- ?LEFT_TO_CHANCE, ?LEFT_TO_CHANCE)
    ],
    %% random looks at no key.
    ?assertEqual({ok, [0, 1, 2, 3, 4]}, seen(random, <<"key">>)).

keys_of_no_text_are_left_test() ->
    %% What is no key is refused by who checks messages.
    [?assertEqual(skip, choose(Strategy, 5, an_atom)) || Strategy <- [md5 | ?HASHES]].

functions_test() ->
    %% A function gets topic, count, key and value as they are; more arguments
    %% come behind. What it returns or raises amiss is told.
    ?assertEqual({ok, 3}, choose(fun(<<"t">>, 4, nil, "v") -> 3 end, 4, nil, "v")),
    ?assertEqual({ok, 3}, choose({?MODULE, pick, [1]}, 4, <<"k">>)),
    [
        begin
            {bad_partitioner, Text} = choose(Bad, 4, <<"k">>),
            ?assertMatch({match, _}, re:run(Text, Part))
        end
     || {Bad, Part} <- [
            {fun(_, Count, _, _) -> Count end, "returned 4, not a number from 0 to 3"},
            {fun(_, _, _, _) -> -1 end, "returned -1"},
            {fun(_, _, _, _) -> undefined end, "returned undefined"},
            {fun(_, _, _, _) -> throw(up) end, "raised throw: up"},
            {fun(_, _, _, _) -> exit(now) end, "raised exit: now"},
            {{?MODULE, none, []}, "raised error: undef"}
        ]
    ].

names_test() ->
    %% A name may be written as an atom or as text; no atoms come of it.
    [
        ?assertEqual({ok, murmur2_random}, crema_partitioner:strategy(Name))
     || Name <- [murmur2_random, "murmur2_random", <<"murmur2_random">>]
    ],
    [
        ?assertEqual(error, crema_partitioner:strategy(Bad))
     || Bad <- [murmur3, undefined, 1, fun() -> 0 end, {m, f}, {m, f, a}, []]
    ].

options_test() ->
    %% A name that librdkafka has becomes its property; another does not. Either
    %% the option or the property is given, not both.
    Property = fun(Options) ->
        {ok, Parsed} = parse(Options),
        {
            proplists:get_value(
                <<"partitioner">>, crema_properties:kafka_properties(producer, Parsed)
            ),
            crema_partitioner:of_client(Parsed)
        }
    end,
    ?assertEqual({undefined, {librdkafka, consistent_random}}, Property(#{})),
    ?assertEqual({<<"fnv1a">>, {librdkafka, fnv1a}}, Property(#{partitioner => "fnv1a"})),
    ?assertEqual({undefined, round_robin}, Property(#{partitioner => round_robin})),
    %% librdkafka's random is not crema's: it stays with a partition for a while
    ?assertEqual({undefined, random}, Property(#{partitioner => random})),
    ?assertEqual(
        {<<"random">>, {librdkafka, random}}, Property(#{kafka => #{partitioner => random}})
    ),
    {error, {bad_options, #{faults := [Fault]}}} =
        parse(#{partitioner => md5, kafka => #{partitioner => murmur2}}),
    ?assertMatch(#{option := {kafka, <<"partitioner">>}}, Fault).

wrong_options_test() ->
    %% What is no partitioner and no middleware is refused at the start.
    Wrong = #{
        partitioner => murmur3, topic_partitioners => #{t => none}, middleware => [no_such_module],
        max_payload_size => 0
    },
    {error, {bad_options, #{faults := Faults}}} = parse(Wrong),
    ?assertEqual(lists:sort(maps:keys(Wrong)), lists:sort([O || #{option := O} <- Faults])),
    {ok, Parsed} = parse(#{
        topic_partitioners => [{t, "md5"}],
        middleware => [
            ?MODULE, {?MODULE, args}, {?MODULE, handle_message, [1]}, fun(M) -> {ok, M} end
        ]
    }),
    ?assertMatch(#{topic_partitioners := #{<<"t">> := md5}, middleware := [_, _, _, _]}, Parsed),
    ?assertEqual({ok, Parsed}, crema_options:parse(producer, Parsed)).

parse(Options) ->
    crema_options:parse(producer, Options#{bootstrap_servers => "h:1"}).
