%% Options from several sources: which goes before which, what errors say, and what is
%% kept for the next start. crema_broken_env_tests has what is wrong in variables.
-module(crema_settings_tests).

-include_lib("eunit/include/eunit.hrl").

-export([handle_message/2]).

handle_message(_Message, State) -> {ack, State}.

order_test_() ->
    %% An option that is given goes before the environment, that before the application
    %% environment of the kind, that before the one of all clients, that before defaults;
    %% properties one by one, whatever they are called.
    with(
        #{"K_BOOTSTRAP_SERVERS" => "env:1", "K_CONF_LINGER_MS" => "2", "K_CONF_RETRIES" => "2"},
        [
            {producer, [
                {env, {prefix, "K"}},
                {max_queue_messages, 3},
                {kafka, [{'linger.ms', 3}, {retries, 3}, {'batch.size', 3}]}
            ]},
            {client, #{
                max_queue_messages => 4,
                bootstrap_servers => "all:1",
                kafka => #{"batch.size" => 4, "delivery.timeout.ms" => 44, 'client.id' => me}
            }}
        ],
        fun() ->
            {ok, Parsed} = crema_settings:parse(producer, #{
                kafka => #{"message.send.max.retries" => 1}
            }),
            ?assertMatch(
                #{
                    bootstrap_servers := <<"env:1">>,
                    max_queue_messages := 3,
                    full_timeout := 10000,
                    kafka := #{
                        <<"message.send.max.retries">> := <<"1">>,
                        <<"linger.ms">> := <<"2">>,
                        <<"batch.size">> := <<"3">>,
                        <<"delivery.timeout.ms">> := <<"44">>,
                        <<"client.id">> := <<"me">>
                    } = Kafka,
                    sources := #{
                        {kafka, <<"retries">>} := option,
                        {kafka, <<"linger.ms">>} := {env, <<"K_CONF_LINGER_MS">>},
                        {kafka, <<"batch.size">>} := {application, producer},
                        {kafka, <<"message.timeout.ms">>} := {application, client},
                        bootstrap_servers := {env, <<"K_BOOTSTRAP_SERVERS">>}
                    } = Sources
                } when map_size(Kafka) =:= 5 andalso not is_map_key(full_timeout, Sources),
                Parsed
            )
        end
    ).

given_undefined_is_given_test_() ->
    %% The environment can be turned off for one client.
    with(#{"KAFKA_URL" => "kafka://env:1"}, [{client, [{env, heroku}]}], fun() ->
        ?assertMatch({ok, #{bootstrap_servers := <<"env:1">>}}, crema_settings:parse(producer, [])),
        ?assertMatch(
            {error, {bad_options, #{faults := [#{option := bootstrap_servers}]}}},
            crema_settings:parse(producer, #{env => undefined})
        )
    end).

brokers_by_any_name_test_() ->
    %% Brokers among the properties are those of the option: they lie below it, and are
    %% told once.
    with(#{"K_CONF_METADATA_BROKER_LIST" => "conf:1"}, [], fun() ->
        Parse = fun(Options) -> crema_settings:parse(producer, Options#{env => {prefix, "K"}}) end,
        ?assertMatch(
            {ok, #{
                bootstrap_servers := <<"conf:1">>,
                sources := #{bootstrap_servers := {env, <<"K_CONF_METADATA_BROKER_LIST">>}}
            }},
            Parse(#{})
        ),
        [
            ?assertMatch({ok, #{bootstrap_servers := <<"a:1">>}}, Parse(Given))
         || Given <- [
                #{bootstrap_servers => "a:1"}, #{kafka => #{"bootstrap.servers" => "a:1"}},
                #{kafka => #{"metadata.broker.list" => "a:1"}}
            ]
        ],
        true = os:putenv("K_BOOTSTRAP_SERVERS", "b:1"),
        ?assertEqual([{env, <<"K_CONF_METADATA_BROKER_LIST">>}], wrong(Parse(#{}))),
        true = os:unsetenv("K_BOOTSTRAP_SERVERS")
    end).

other_kinds_test_() ->
    %% What is meant for other clients is left out, from variables as well; a name that
    %% no client knows is wrong.
    Variables = #{
        "K_BOOTSTRAP_SERVERS" => "a:1", "K_GROUP" => "g", "K_TOPICS" => "one, two\n"
    },
    Client = [{env, {prefix, "K"}}, {handler, ?MODULE}, {max_queue_messages, 5}],
    with(Variables, [{client, Client}], fun() ->
        {ok, Producer} = crema_settings:parse(producer, []),
        ?assertMatch(#{max_queue_messages := 5}, Producer),
        ?assertNot(is_map_key(group, Producer)),
        ?assertMatch(
            {ok, #{group := <<"g">>, topics := [<<"one">>, <<"two">>]}},
            crema_settings:parse(consumer, [])
        ),
        ?assertMatch({ok, #{}}, crema_settings:parse(reader, [{topic, t}])),
        ok = application:set_env(crema, client, [{max_queue_mesages, 1} | Client]),
        ?assertEqual(
            [{application, client, max_queue_mesages}], wrong(crema_settings:parse(producer, []))
        )
    end).

faults_of_the_application_environment_test_() ->
    %% They name the layer, and read well.
    with(#{}, [{client, nonsense}, {producer, [{max_queue_messages, 0}, {kafka, [{log_cb, x}]}]}], fun() ->
        {error, {bad_options, #{message := Text, faults := Faults}}} =
            crema_settings:parse(producer, #{bootstrap_servers => "a:1"}),
        ?assertEqual(
            lists:sort([
                {application, client},
                {application, producer, max_queue_messages},
                {application, producer, {kafka, <<"log_cb">>}}
            ]),
            lists:sort([Option || #{option := Option} <- Faults])
        ),
        ?assertMatch(
            {_, _},
            binary:match(Text, <<"kafka property log_cb (producer in crema's application environment)">>)
        )
    end).

unreadable_layers_test_() ->
    %% What cannot be read is told of also where something better is given.
    with(
        #{"K_BOOTSTRAP_SERVERS" => "a:1", "K_CONF_LINGER_MS" => "1"},
        [{client, [{kafka, nonsense}, {"flush_timeout", 1}]}, {producer, [{kafka, ["linger.ms"]}, "x"]}],
        fun() ->
            ?assertEqual(
                lists:sort([
                    {application, producer},
                    {application, client, kafka},
                    {application, producer, kafka},
                    {application, client, "flush_timeout"}
                ]),
                lists:sort(wrong(crema_settings:parse(producer, #{env => {prefix, "K"}, kafka => []})))
            )
        end
    ).

certificates_go_together_test_() ->
    %% A given certificate has its own key; a given authority turns the check of host
    %% names on again, which only Heroku's own made needless.
    with(heroku(), [], fun() ->
        {ok, #{kafka := All}} = crema_settings:parse(producer, [{env, heroku}]),
        ?assertMatch(#{<<"ssl.endpoint.identification.algorithm">> := <<"none">>}, All),
        Kafka = fun(Given) ->
            {ok, #{kafka := Kafka}} = crema_settings:parse(producer, #{env => heroku, kafka => Given}),
            [Name || <<"ssl.", Name/binary>> <- lists:sort(maps:keys(Kafka))]
        end,
        ?assertEqual(
            [<<"ca.location">>, <<"certificate.pem">>, <<"key.pem">>],
            Kafka(#{"ssl.ca.location" => "/ca"})
        ),
        ?assertEqual(
            [<<"ca.pem">>, <<"endpoint.identification.algorithm">>, <<"keystore.location">>],
            Kafka(#{"ssl.keystore.location" => "/store"})
        ),
        ?assertMatch(
            {ok, #{kafka := #{<<"ssl.endpoint.identification.algorithm">> := <<"https">>}}},
            crema_settings:parse(producer, #{
                env => heroku, kafka => #{"ssl.endpoint.identification.algorithm" => https}
            })
        )
    end).

brokers_given_beside_heroku_test_() ->
    %% Other brokers may be given; those of the environment are not missed then.
    with(#{}, [], fun() ->
        ?assertMatch(
            {ok, #{bootstrap_servers := <<"a:1">>}},
            crema_settings:parse(producer, [{env, heroku}, {bootstrap_servers, "a:1"}])
        ),
        ?assertMatch(
            {ok, #{bootstrap_servers := <<"a:1">>}},
            crema_settings:parse(producer, [{env, heroku}, {kafka, [{"metadata.broker.list", "a:1"}]}])
        )
    end).

specification_test_() ->
    %% It has what was given, in its parsed form, and nothing of the environment, which
    %% each start reads; nor has it a secret.
    with(heroku(), [{producer, [{flush_timeout, 70000}, {name, shop}]}], fun() ->
        Options = #{env => heroku, kafka => #{'sasl.password' => "s3cret", 'linger.ms' => 5}},
        #{id := shop, shutdown := 72000, start := {_, _, [Given]}} =
            crema_producer:child_spec(Options),
        ?assertMatch(
            #{env := {heroku, <<"KAFKA">>}, kafka := #{<<"linger.ms">> := <<"5">>}} when
                map_size(Given) =:= 2,
            Given
        ),
        ?assertEqual(nomatch, string:find(io_lib:format("~0p", [Given]), "s3cret")),
        {ok, Parsed} = crema_settings:parse(producer, Given),
        {ok, Same} = crema_settings:parse(producer, Options),
        ?assertEqual(revealed(Same), revealed(Parsed)),
        os:unsetenv("KAFKA_URL"),
        #{id := mine, start := {_, _, [Later]}} = crema_producer:child_spec(Options#{name => mine}),
        ?assertEqual(nomatch, string:find(io_lib:format("~0p", [Later]), "s3cret")),
        os:putenv("KAFKA_URL", "kafka+ssl://later:1"),
        {ok, Found} = crema_settings:parse(producer, Later),
        ?assertMatch(#{bootstrap_servers := <<"later:1">>}, Found),
        ?assertMatch(#{<<"sasl.password">> := <<"s3cret">>}, revealed(Found))
    end).

pool_test_() ->
    %% Its members read the environment at each start; the name is not for them.
    with(#{"KAFKA_URL" => "kafka://env:1"}, [{producer, [{env, heroku}, {name, shop}]}], fun() ->
        {ok, #{producer := Member}} = crema_pool_options:parse(#{
            kafka => #{'transactional.id' => till}
        }),
        ?assertMatch(#{bootstrap_servers := <<"env:1">>, name := undefined}, Member(1)),
        ?assertEqual(
            #{name => undefined, kafka => #{<<"transactional.id">> => <<"till-1">>}},
            crema_settings:given(Member(1))
        )
    end).

own_producers_have_no_env_test() ->
    %% Producers that a consumer has for itself reach its own brokers.
    Consumer = #{bootstrap_servers => "a:1", group => g, topics => [t], handler => ?MODULE},
    [
        ?assertEqual([Option], wrong(crema_settings:parse(consumer, maps:merge(Consumer, More))))
     || {Option, More} <- [
            {dead_letter, #{dead_letter => #{topic => d, producer => [{env, heroku}]}}},
            {producer, #{producer => [{env, heroku}], commit => exactly_once, transactional_id => x}}
        ]
    ].

wrong_env_test() ->
    %% What is no environment is told of like any other option.
    ?assertEqual(
        [env], wrong(crema_settings:parse(producer, #{env => kafka, bootstrap_servers => "a:1"}))
    ),
    ?assertEqual([options], wrong(crema_settings:parse(producer, none))).

names_of_librdkafka_test() ->
    %% What librdkafka refuses is told with the variable of that property.
    Sources = #{
        {kafka, <<"linger.ms">>} => {env, <<"K_CONF_LINGER_MS">>},
        {kafka, <<"ssl.ca.pem">>} => {env, <<"K_SSL_CA_PEM">>},
        {kafka, <<"acks">>} => option
    },
    Named = fun(Code, Message, Details) ->
        crema_settings:named({error, {Code, Details#{message => Message}}}, #{sources => Sources})
    end,
    ?assertEqual(
        {error, {bad_options, #{
            message => <<"refused. The variable K_CONF_LINGER_MS sets linger.ms.">>,
            faults => [
                #{option => {env, <<"K_CONF_LINGER_MS">>}, reason => <<"bad">>},
                #{option => <<"acks">>, reason => <<"bad">>}
            ]
        }}},
        Named(bad_options, <<"refused.">>, #{
            faults => [
                #{option => <<"queue.buffering.max.ms">>, reason => <<"bad">>},
                #{option => <<"acks">>, reason => <<"bad">>}
            ]
        })
    ),
    ?assertEqual(
        {error, {invalid_arg, #{
            message => <<"ssl.ca.pem: no PEM. The variable K_SSL_CA_PEM sets ssl.ca.pem.">>
        }}},
        Named(invalid_arg, <<"ssl.ca.pem: no PEM.">>, #{})
    ),
    ?assertEqual({ok, port, <<>>}, crema_settings:named({ok, port, <<>>}, #{sources => Sources})).

%% ---- helpers ----------------------------------------------------------------------

heroku() ->
    #{
        "KAFKA_URL" => "kafka+ssl://env:1",
        "KAFKA_TRUSTED_CERT" => "ca",
        "KAFKA_CLIENT_CERT" => "certificate",
        "KAFKA_CLIENT_CERT_KEY" => "key"
    }.

with(Variables, Application, Test) ->
    {setup,
        fun() ->
            maps:foreach(fun os:putenv/2, Variables),
            [ok = application:set_env(crema, Layer, Options) || {Layer, Options} <- Application]
        end,
        fun(_) ->
            [os:unsetenv(Name) || Name <- maps:keys(Variables)],
            [ok = application:unset_env(crema, Layer) || {Layer, _} <- Application]
        end,
        Test}.

wrong({error, {bad_options, #{faults := Faults}}}) ->
    [Option || #{option := Option} <- Faults].

revealed(#{kafka := Kafka}) ->
    maps:map(fun(_, Value) -> element(2, crema_secret:reveal(Value)) end, Kafka).
