-module(crema_explain_tests).

-include_lib("eunit/include/eunit.hrl").

-export([handle_message/2]).

handle_message(_Message, State) -> {ack, State}.

every_source_test_() ->
    %% Each value is told with where it comes from, properties under librdkafka's names.
    {setup,
        fun() ->
            true = os:putenv("E_BOOTSTRAP_SERVERS", "a:1"),
            true = os:putenv("E_CONF_FETCH_WAIT_MAX_MS", "7"),
            true = os:putenv("E_PREFIX", "amber."),
            application:set_env(crema, consumer, [{group, shop}])
        end,
        fun(_) ->
            [os:unsetenv(Name) || Name <- ["E_BOOTSTRAP_SERVERS", "E_CONF_FETCH_WAIT_MAX_MS", "E_PREFIX"]],
            application:unset_env(crema, consumer)
        end,
        fun() ->
            Options = #{
                env => {prefix, "E"}, topics => [t], handler => {?MODULE, s3cret},
                kafka => #{
                    'sasl.password' => "s3cret", 'session.timeout.ms' => 6000,
                    'sasl.oauthbearer.token.endpoint.url' => "https://me:s3cret@a/"
                }
            },
            {ok, Told} = crema:explain_config({consumer, Options}),
            #{kind := consumer, options := Own, kafka := Kafka, text := Text} = Told,
            #{warnings := [<<"sasl.oauthbearer.token.endpoint.url, sasl.password: not", _/binary>>]} = Told,
            [
                ?assertEqual({Name, [{Value, Source}]}, {Name, found(Name, Own ++ Kafka)})
             || {Name, Value, Source} <- [
                    {topics, [<<"amber.t">>], option},
                    {group, <<"amber.shop">>, {application, consumer}},
                    {prefix, <<"amber.">>, {env, <<"E_PREFIX">>}},
                    {bootstrap_servers, <<"a:1">>, {env, <<"E_BOOTSTRAP_SERVERS">>}},
                    {handler, ?MODULE, option},
                    {max_in_flight, 10000, default},
                    {<<"bootstrap.servers">>, <<"a:1">>, {from, bootstrap_servers}},
                    {<<"group.id">>, <<"amber.shop">>, {from, group}},
                    {<<"fetch.wait.max.ms">>, <<"7">>, {env, <<"E_CONF_FETCH_WAIT_MAX_MS">>}},
                    {<<"session.timeout.ms">>, <<"6000">>, option},
                    {<<"sasl.password">>, <<"[redacted]">>, option},
                    {<<"enable.partition.eof">>, <<"true">>, crema}
                ]
            ],
            [
                ?assertMatch({Line, {_, _}}, {Line, binary:match(Text, Line)})
             || Line <- [
                    <<"\n  group = amber.shop  (consumer in crema's application environment)\n">>,
                    <<"\n  fetch.wait.max.ms = 7  (the variable E_CONF_FETCH_WAIT_MAX_MS)\n">>,
                    <<"\n  max_in_flight = 10000  (crema's default)\n">>,
                    <<"\n  enable.partition.eof = true  (set by crema)\n">>
                ]
            ],
            ?assertEqual(nomatch, string:find(lists:flatten(io_lib:format("~0p", [Told])), "s3cret")),
            ?assertEqual({ok, Told}, crema:explain_config(crema_consumer:child_spec(Options)))
        end}.

kinds_test() ->
    %% Producers and readers as well; what cannot start is explained by its faults.
    ?assertMatch({ok, #{kind := producer}}, crema:explain_config({producer, [{bootstrap_servers, "a:1"}]})),
    ?assertMatch(
        {ok, #{kind := reader}},
        crema:explain_config({reader, #{bootstrap_servers => "me@a:1", topic => t}})
    ),
    ?assertMatch({error, {bad_options, _}}, crema:explain_config({producer, []})),
    ?assertError(badarg, crema:explain_config(#{})),
    ?assertError(badarg, crema:explain_config({pool, []})).

unprintable_test() ->
    %% Whatever bytes a value has, the text is text; nobody's name is in an address.
    {ok, #{text := Text}} = crema:explain_config({producer, #{
        bootstrap_servers => "me@a:1",
        kafka => #{
            'client.id' => <<255, 254>>,
            'client.rack' => "räck",
            "ssl.ca.pem" => binary:copy(<<"x\n">>, 500)
        }
    }}),
    ?assertEqual(Text, unicode:characters_to_binary(unicode:characters_to_list(Text))),
    ?assertMatch({_, _}, binary:match(Text, <<"bootstrap_servers = a:1 "/utf8>>)),
    ?assertMatch({_, _}, binary:match(Text, <<"client.rack = räck "/utf8>>)),
    ?assertEqual(nomatch, binary:match(Text, <<"x\nx">>)).

found(Name, Rows) ->
    [{Value, Source} || #{option := Option, value := Value, source := Source} <- Rows, Option =:= Name].
