%% The options of pools.
-module(crema_pool_options_tests).

-include_lib("eunit/include/eunit.hrl").

-define(LEAST, #{bootstrap_servers => "h", size => 2}).

wrong_options_test() ->
    %% What is wrong with a pool, or with one of its producers, is told.
    ?assertEqual([producer, size], wrong(#{size => 0, producer => none})),
    ?assertEqual([request_timeout, sise], wrong(#{sise => 1, request_timeout => -1})),
    ?assertEqual([flush_timeout], wrong(#{producer => fun(I) -> [{flush_timeout, 5 - 5 * I}] end})),
    ?assertEqual([{element, 1}], wrong_in([<<"x">>])),
    ?assertEqual([bootstrap_servers], wrong_in(#{size => 2})),
    None = fun(_) -> x end,
    ?assertMatch(
        {error, {bad_options, #{field := producer}}},
        crema_pool:start_link(?LEAST#{producer => None})
    ).

wrong(Options) ->
    wrong_in(maps:merge(?LEAST, Options)).

wrong_in(Options) ->
    {error, {bad_options, #{faults := Faults}}} = crema_pool:start_link(Options),
    lists:sort([Option || #{option := Option} <- Faults]).

transactional_ids_test() ->
    %% Producers with a transactional.id have one each.
    Kafka = #{'transactional.id' => "id"},
    Hidden = [{"transactional.id", fun() -> "id" end}],
    ?assertEqual([<<"id-1">>, <<"id-2">>], ids(#{kafka => Kafka})),
    ?assertEqual([<<"id-1">>, <<"id-2">>], ids(#{kafka => Hidden})),
    Own = fun(Index) -> #{kafka => #{'transactional.id' => [<<"own">>, $0 + Index]}} end,
    ?assertEqual([<<"own1">>, <<"own2">>], ids(#{kafka => Kafka, producer => Own})),
    Others = fun(_) -> #{flush_timeout => 5} end,
    ?assertEqual([<<"id-1">>, <<"id-2">>], ids(#{kafka => Kafka, producer => Others})),
    Crashing = [{"transactional.id", fun() -> error(oops) end}],
    ?assertMatch({error, {bad_options, _}}, crema_pool_options:parse(?LEAST#{kafka => Crashing})).

ids(Options) ->
    {ok, #{producer := Member}} = crema_pool_options:parse(maps:merge(?LEAST, Options)),
    [maps:get(<<"transactional.id">>, maps:get(kafka, Member(Index))) || Index <- [1, 2]].

functions_test() ->
    %% A member's options may come from a function that is named.
    Own = {maps, get, [#{1 => #{flush_timeout => 7}, 2 => []}]},
    {ok, #{producer := Member}} = crema_pool_options:parse(?LEAST#{producer => Own}),
    ?assertMatch([#{flush_timeout := 7}, #{flush_timeout := 10000}], [Member(1), Member(2)]).

secrets_test() ->
    %% Neither a child specification nor what is wrong with it shows a secret.
    Options = ?LEAST#{kafka => #{'sasl.password' => "hunter2"}},
    Shown = [
        crema_pool:child_spec(Options),
        crema_pool:child_spec(Options#{size => none}),
        crema_pool_options:parse(Options),
        crema_pool_options:parse(Options#{size => none})
    ],
    ?assertEqual(nomatch, re:run(io_lib:format("~p", [Shown]), "hunter2")).
