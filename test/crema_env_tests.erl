-module(crema_env_tests).

-include_lib("eunit/include/eunit.hrl").

names_of_the_option_test() ->
    %% Heroku's own name, an add-on's, and a prefix; a variable's name for its prefix.
    [
        ?assertEqual(Read, crema_env:check(Given))
     || {Given, Read} <- [
            {heroku, {ok, {heroku, <<"KAFKA">>}}},
            {{heroku, "HEROKU_KAFKA_AMBER"}, {ok, {heroku, <<"HEROKU_KAFKA_AMBER">>}}},
            {{heroku, <<"HEROKU_KAFKA_AMBER_URL">>}, {ok, {heroku, <<"HEROKU_KAFKA_AMBER">>}}},
            {{prefix, 'KAFKA_'}, {ok, {prefix, <<"KAFKA">>}}},
            {{prefix, ""}, error},
            {{prefix, "A B"}, error},
            {{prefix, "A\n"}, error},
            {{prefix, undefined}, error},
            {{prefix, false}, error},
            {true, error},
            {"KAFKA", error}
        ]
    ].

heroku_test() ->
    %% Everything that Heroku sets, with the variable of each; the host's name is not
    %% looked at where there is an authority of the cluster's own.
    {Layer, [], []} = heroku(#{
        <<"KAFKA_URL">> => <<"kafka+ssl://a:9096,kafka+ssl://b:9096">>,
        <<"KAFKA_TRUSTED_CERT">> => <<"ca">>,
        <<"KAFKA_CLIENT_CERT">> => <<"cert">>,
        <<"KAFKA_CLIENT_CERT_KEY">> => <<"key">>,
        <<"KAFKA_CLIENT_CERT_KEY_PASSPHRASE">> => <<"word">>,
        <<"KAFKA_PREFIX">> => <<"amber-1.">>,
        <<"KAFKA_OTHER">> => <<"x">>
    }),
    ?assertEqual(
        #{
            bootstrap_servers => {<<"KAFKA_URL">>, <<"a:9096,b:9096">>},
            {kafka, <<"security.protocol">>} => {<<"KAFKA_URL">>, <<"ssl">>},
            {kafka, <<"ssl.ca.pem">>} => {<<"KAFKA_TRUSTED_CERT">>, <<"ca">>},
            {kafka, <<"ssl.endpoint.identification.algorithm">>} =>
                {<<"KAFKA_TRUSTED_CERT">>, <<"none">>},
            {kafka, <<"ssl.certificate.pem">>} => {<<"KAFKA_CLIENT_CERT">>, <<"cert">>},
            {kafka, <<"ssl.key.pem">>} => {<<"KAFKA_CLIENT_CERT_KEY">>, <<"key">>},
            {kafka, <<"ssl.key.password">>} => {<<"KAFKA_CLIENT_CERT_KEY_PASSPHRASE">>, <<"word">>},
            prefix => {<<"KAFKA_PREFIX">>, <<"amber-1.">>}
        },
        Layer
    ).

heroku_without_authority_test() ->
    %% Without an authority of its own the host's name counts.
    {Layer, [], []} = heroku(#{<<"KAFKA_URL">> => <<"kafka+ssl://a:9096">>}),
    ?assertNot(is_map_key({kafka, <<"ssl.endpoint.identification.algorithm">>}, Layer)).

heroku_by_an_addons_name_test() ->
    %% An add-on under another name has its own variables.
    {Layer, [], []} = crema_env:read({heroku, <<"HEROKU_KAFKA_AMBER">>}, #{
        <<"KAFKA_URL">> => <<"kafka://a:1">>, <<"HEROKU_KAFKA_AMBER_URL">> => <<"kafka://b:2">>
    }, []),
    ?assertEqual({<<"HEROKU_KAFKA_AMBER_URL">>, <<"b:2">>}, maps:get(bootstrap_servers, Layer)).

urls_test() ->
    %% Lists, spaces, line ends, slashes, IPv6, letters of either case.
    [
        ?assertEqual({ok, Security, Servers}, crema_url:parse(Url))
     || {Url, Security, Servers} <- [
            {<<"kafka://a:1">>, plain, <<"a:1">>},
            {<<" kafka+ssl://a:1/ , kafka+ssl://b.c:2//,">>, tls, <<"a:1,b.c:2">>},
            {<<"KAFKA+SSL://A:1\n">>, tls, <<"A:1">>},
            {<<"kafka+ssl://[2001:db8::1]:9096,kafka+ssl://[::1]:9097">>, tls,
                <<"[2001:db8::1]:9096,[::1]:9097">>},
            {<<"a:1 b:2">>, none, <<"a:1,b:2">>},
            {<<"kafka://a">>, plain, <<"a">>},
            {<<"kafka://a:1,b:2">>, plain, <<"a:1,b:2">>}
        ]
    ].

broken_urls_test() ->
    %% Each fault is told, and nothing of what may be a password.
    [
        begin
            {error, Reason} = crema_url:parse(Url),
            ?assertMatch({_, Part} when is_tuple(Part), {Url, binary:match(Reason, Says)}),
            ?assertEqual(nomatch, binary:match(Reason, <<"hunter2">>))
        end
     || {Url, Says} <- [
            {<<" ,, ">>, <<"no broker">>},
            {<<"http://a:1">>, <<"scheme">>},
            {<<"kafka://">>, <<"no host:port">>},
            {<<"kafka://:9092">>, <<"no host:port">>},
            {<<"kafka://a:99999">>, <<"no host:port">>},
            {<<"kafka://a:x">>, <<"no host:port">>},
            {<<"kafka://me:hunter2@a:1">>, <<"user's name">>},
            {<<"kafka://a:1,kafka+ssl://b:1">>, <<"mixes">>},
            {<<"a:1,kafka+ssl://b:1">>, <<"mixes">>},
            {<<"kafka://a:1/path">>, <<"no host:port">>},
            {<<"kafka://a:1?x=hunter2">>, <<"no host:port">>}
        ]
    ].

heroku_without_scheme_test() ->
    %% Addresses alone are secured where there are certificates, as Kaffe has it.
    Url = #{<<"KAFKA_URL">> => <<"a:1">>},
    {Plain, [], []} = heroku(Url),
    {Tls, [], []} = heroku(Url#{<<"KAFKA_TRUSTED_CERT">> => <<"ca">>}),
    ?assertMatch({_, <<"plaintext">>}, maps:get({kafka, <<"security.protocol">>}, Plain)),
    ?assertMatch({_, <<"ssl">>}, maps:get({kafka, <<"security.protocol">>}, Tls)).

heroku_faults_test() ->
    %% What is missing is named by its variable.
    [
        begin
            {_, Faults, _} = heroku(Variables),
            ?assertEqual(Names, [Name || #{option := {env, Name}} <- Faults])
        end
     || {Names, Variables} <- [
            {[<<"KAFKA_URL">>], #{<<"KAFKA_URL">> => <<"kafka://">>}},
            {[<<"KAFKA_URL">>, <<"KAFKA_CLIENT_CERT_KEY">>],
                #{<<"KAFKA_URL">> => <<" ">>, <<"KAFKA_CLIENT_CERT">> => <<"c">>}},
            {[<<"KAFKA_CLIENT_CERT">>],
                #{<<"KAFKA_URL">> => <<"kafka+ssl://a:1">>, <<"KAFKA_CLIENT_CERT_KEY">> => <<"k">>}}
        ]
    ].

unused_certificates_test() ->
    %% Certificates beside kafka:// are not used, and that is told.
    {Layer, [], [Warning]} = heroku(#{
        <<"KAFKA_URL">> => <<"kafka://a:1">>, <<"KAFKA_TRUSTED_CERT">> => <<"ca">>
    }),
    ?assertNot(is_map_key({kafka, <<"ssl.ca.pem">>}, Layer)),
    ?assertMatch({_, _}, binary:match(Warning, <<"KAFKA_TRUSTED_CERT">>)).

prefix_test() ->
    %% Options, properties of security, and any other property by its name.
    {Layer, [], []} = prefixed(#{
        <<"K_BOOTSTRAP_SERVERS">> => <<"a:1">>,
        <<"K_SECURITY_PROTOCOL">> => <<"SASL_SSL">>,
        <<"K_SASL_MECHANISM">> => <<"PLAIN">>,
        <<"K_SASL_PASSWORD">> => <<"word">>,
        <<"K_SSL_CA_PEM">> => <<"ca">>,
        <<"K_CONF_LINGER_MS">> => <<"7">>,
        <<"K_GROUP">> => <<"g">>,
        <<"K_TOPICS">> => <<"a,b">>,
        <<"K_CONF_">> => <<"x">>,
        <<"KA_GROUP">> => <<"x">>
    }),
    ?assertEqual(
        #{
            bootstrap_servers => {<<"K_BOOTSTRAP_SERVERS">>, <<"a:1">>},
            {kafka, <<"security.protocol">>} => {<<"K_SECURITY_PROTOCOL">>, <<"SASL_SSL">>},
            {kafka, <<"sasl.mechanism">>} => {<<"K_SASL_MECHANISM">>, <<"PLAIN">>},
            {kafka, <<"sasl.password">>} => {<<"K_SASL_PASSWORD">>, <<"word">>},
            {kafka, <<"ssl.ca.pem">>} => {<<"K_SSL_CA_PEM">>, <<"ca">>},
            {kafka, <<"linger.ms">>} => {<<"K_CONF_LINGER_MS">>, <<"7">>},
            group => {<<"K_GROUP">>, <<"g">>},
            topics => {<<"K_TOPICS">>, [<<"a">>, <<"b">>]}
        },
        Layer
    ).

prefix_faults_test() ->
    %% One property by two names, also by its alias, and a protocol that is none.
    [
        begin
            {_, Faults, []} = prefixed(Variables),
            ?assertMatch({_, [{env, Name}]}, {Name, [Option || #{option := Option} <- Faults]})
        end
     || {Name, Variables} <- [
            {<<"K_SASL_USERNAME">>,
                #{<<"K_CONF_SASL_USERNAME">> => <<"a">>, <<"K_SASL_USERNAME">> => <<"b">>}},
            {<<"K_CONF_QUEUE_BUFFERING_MAX_MS">>,
                #{<<"K_CONF_LINGER_MS">> => <<"1">>, <<"K_CONF_QUEUE_BUFFERING_MAX_MS">> => <<"1">>}},
            {<<"K_SECURITY_PROTOCOL">>, #{<<"K_SECURITY_PROTOCOL">> => <<"tls">>}},
            {<<"K_SASL_MECHANISM">>, #{<<"K_SASL_MECHANISM">> => <<255>>}}
        ]
    ].

empty_variables_test() ->
    %% A variable without a value is as if it were not set.
    true = os:putenv("CREMA_ENV_TEST", ""),
    true = os:putenv("CREMA_ENV_TEST_2", "zwei"),
    Variables = crema_env:variables(),
    ?assertNot(is_map_key(<<"CREMA_ENV_TEST">>, Variables)),
    ?assertEqual(<<"zwei">>, maps:get(<<"CREMA_ENV_TEST_2">>, Variables)),
    os:unsetenv("CREMA_ENV_TEST"),
    os:unsetenv("CREMA_ENV_TEST_2").

other_locales_test_() ->
    %% Where the locale has no UTF-8, as in many a container, a password is what it is.
    {timeout, 60, fun() ->
        Args = ["+fnl", "-pa" | code:get_path()],
        {ok, Peer, _} = peer:start_link(#{connection => standard_io, args => Args}),
        true = peer:call(Peer, os, putenv, ["CREMA_ENV_TEST", [16#C3, 16#A4]]),
        Variables = peer:call(Peer, crema_env, variables, []),
        ?assertEqual(<<"ä"/utf8>>, maps:get(<<"CREMA_ENV_TEST">>, Variables)),
        ok = peer:stop(Peer)
    end}.

heroku(Variables) -> crema_env:read({heroku, <<"KAFKA">>}, Variables, []).

prefixed(Variables) -> crema_env:read({prefix, <<"K">>}, Variables, []).
