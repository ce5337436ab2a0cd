-module(crema_prefix_tests).

-include_lib("eunit/include/eunit.hrl").

-export([handle_message/2]).

handle_message(_Message, State) -> {ack, State}.

names_test() ->
    %% The prefix is added once, in patterns behind their beginning.
    [
        ?assertEqual(Name, crema_prefix:add(<<"amber-1.">>, Given))
     || {Given, Name} <- [
            {<<"orders">>, <<"amber-1.orders">>},
            {<<"amber-1.orders">>, <<"amber-1.orders">>},
            {<<"^orders-.*">>, <<"^amber-1\\.orders-.*">>},
            {<<"^amber-1\\.o">>, <<"^amber-1\\.o">>},
            {<<"^amber-1.o">>, <<"^amber-1.o">>},
            {<<"^a|^b">>, <<"^amber-1\\.a|^amber-1\\.b">>},
            {<<"^a|b">>, <<"^amber-1\\.a|^amber-1\\.b">>},
            {<<"^amber-1.a|^b">>, <<"^amber-1.a|^amber-1\\.b">>},
            {<<"^(a|b)c|^d">>, <<"^amber-1\\.((a|b)c|d)">>},
            {<<"^amber-1\\.(a|b)">>, <<"^amber-1\\.(a|b)">>}
        ]
    ],
    ?assertEqual(<<"orders">>, crema_prefix:add(undefined, <<"orders">>)).

strip_test() ->
    %% Of what a handler is given only the topic changes.
    ?assertEqual(
        [#{topic => <<"t">>, offset => 1}, #{topic => <<"other">>}],
        crema_prefix:strip(<<"p.">>, [#{topic => <<"p.t">>, offset => 1}, #{topic => <<"other">>}])
    ),
    ?assertEqual(#{topic => <<"p.t">>}, crema_prefix:strip(undefined, #{topic => <<"p.t">>})).

options_test() ->
    %% Every option that names a topic or a group.
    {ok, Consumer} = crema_options:parse(consumer, consumer(#{
        prefix => "p.",
        topics => [t, "p.t", "^x"],
        retry_topics => [{r, 10}],
        dead_letter => d
    })),
    ?assertMatch(
        #{
            group := <<"p.g">>,
            topics := [<<"p.t">>, <<"^p\\.x">>],
            retry_topics := [{<<"p.r">>, 10}],
            dead_letter := #{topic := <<"p.d">>}
        },
        crema_prefix:names(Consumer)
    ),
    {ok, Reader} = crema_options:parse(reader, #{
        bootstrap_servers => "a:1", prefix => p, topic => t, partitions => [0, {t, 1}],
        from => #{{t, 1} => 5, 0 => 7}
    }),
    ?assertMatch(
        #{
            topic := <<"pt">>,
            partitions := [0, {<<"pt">>, 1}],
            from := #{{<<"pt">>, 1} := 5, 0 := 7},
            to := 'end'
        },
        crema_prefix:names(Reader)
    ),
    {ok, Producer} = crema_options:parse(producer, #{
        bootstrap_servers => "a:1", prefix => p, topic_partitioners => #{t => md5}
    }),
    ?assertMatch(
        #{prefix := <<"p">>, prepare := true, topic_partitioners := #{<<"pt">> := md5}},
        crema_prepare:settings(Producer)
    ),
    {ok, None} = crema_options:parse(consumer, consumer(#{})),
    ?assertEqual(None, crema_prefix:names(None)).

rules_test() ->
    %% What would be one topic with the prefix, and what cannot be a name.
    [
        ?assertEqual([Option], crema_ct_options:wrong(consumer, consumer(Options)))
     || {Option, Options} <- [
            {dead_letter, #{prefix => "p.", topics => [t], dead_letter => "p.t"}},
            {prefix, #{prefix => "p/"}},
            {prefix, #{prefix => ""}},
            {strip_prefix, #{strip_prefix => yes}},
            {strip_prefix, #{strip_prefix => true, commit => transaction}}
        ]
    ].

requests_test() ->
    %% Calls about partitions and topics of a consumer.
    [
        ?assertEqual(Named, crema_prefix:request(<<"p.">>, Request))
     || {Request, Named} <- [
            {{seek, [{<<"t">>, 1}], {offset, 5}}, {seek, [{<<"p.t">>, 1}], {offset, 5}}},
            {{pause, all, true}, {pause, all, true}},
            {{commit, [{<<"p.t">>, 0}]}, {commit, [{<<"p.t">>, 0}]}},
            {{subscribe, {add, [<<"t">>]}}, {subscribe, {add, [<<"p.t">>]}}},
            {lag, lag}
        ]
    ],
    ?assertEqual({commit, [{<<"t">>, 0}]}, crema_prefix:request(undefined, {commit, [{<<"t">>, 0}]})).

asked_for_test() ->
    %% By asking, without any client.
    true = os:putenv("P_T_PREFIX", "p."),
    ?assertEqual(<<"p.t">>, crema_env:prefixed({prefix, "P_T"}, t)),
    ?assertEqual(<<"p.t">>, crema_env:prefixed({heroku, "P_T_URL"}, "p.t")),
    true = os:unsetenv("P_T_PREFIX"),
    ?assertEqual(<<"t">>, crema_env:prefixed({prefix, "P_T"}, t)),
    ?assertError(badarg, crema_env:prefixed(none, t)),
    ?assertError(badarg, crema_env:prefixed(heroku, undefined)).

consumer(Options) ->
    maps:merge(
        #{bootstrap_servers => "a:1", group => g, topics => [t], handler => ?MODULE}, Options
    ).
