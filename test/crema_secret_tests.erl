-module(crema_secret_tests).

-include_lib("eunit/include/eunit.hrl").

-define(PRODUCER, #{bootstrap_servers => <<"h:1">>}).

secrets_never_show_test() ->
    %% A planted secret shows in no result, right or wrong, however it is printed.
    Secret = <<"hunter2">>,
    Kafkas = [
        #{'sasl.password' => Secret},
        [{"ssl.key.pem", Secret}, {'sasl.oauthbearer.client.secret', binary_to_list(Secret)}],
        #{'sasl.password' => fun() -> Secret end},
        #{'sasl.password' => {Secret}},
        [{'sasl.password', Secret, extra}],
        [{password, Secret} | Secret],
        Secret,
        #{sasl => {plain, me, Secret}},
        #{'sasl.username' => {me, Secret}},
        #{'ssl.key' => Secret, 'sasl.psw' => [Secret]},
        #{'ssl.key.location' => <<"-----BEGIN PRIVATE KEY-----\n", Secret/binary>>},
        #{'https.proxy' => <<"http://me:", Secret/binary, "@proxy">>},
        #{'sasl.oauthbearer.token.endpoint.url' => <<"https://h/?client_secret=", Secret/binary>>}
    ],
    Results =
        [crema_options:parse(producer, ?PRODUCER#{kafka => Kafka}) || Kafka <- Kafkas] ++
            [
                crema_options:parse(producer, #{
                    pasword => Secret, 'sasl.password' => Secret, full_timeout => {token, Secret},
                    bootstrap_servers => <<"SASL://me:", Secret/binary, "@h:x">>
                }),
                crema_options:parse(consumer, #{
                    handler => {m, Secret, x}, backoff => [{secret, Secret}]
                })
            ],
    [
        ?assertEqual(nomatch, binary:match(iolist_to_binary(io_lib:format(Form, [Result])), Secret))
     || Result <- Results, Form <- ["~p", "~w", "~0tp"]
    ].

hidden_options_test() ->
    %% In the specification of a child options that are wrong show nothing at all, for a secret may be
    %% anywhere in them; they are read at the start. Nor do arguments in a wrong place.
    Secret = "hunter2",
    Wrong = [
        Secret, [Secret], [{a, 1} | Secret], {password, Secret},
        ?PRODUCER#{sasl => {plain, "me", Secret}},
        ?PRODUCER#{auth => Secret, kafka => "sasl.password=" ++ Secret},
        #{bootstrap_servers => ["me:" ++ Secret ++ "@h:1:2"]}
    ],
    Calls =
        [fun Module:child_spec/1 || Module <- [crema_producer, crema_consumer, crema_pool]] ++
            [
                fun crema:explain_config/1,
                fun(Given) -> crema:fold(fun(_, Acc) -> Acc end, 0, Given) end,
                fun(Given) -> crema_renewal:renew(Given, #{}, 0) end,
                fun(Given) -> crema_renewal:renew(self(), Given, infinity) end,
                fun crema_renewal:renew/1,
                fun(Given) -> crema_sasl:set_credentials(Given, #{username => me, password => x}) end
            ],
    [
        ?assertEqual(nomatch, string:find(io_lib:format("~p", [catch Call(Given)]), Secret), Call)
     || Call <- Calls, Given <- Wrong
    ],
    #{start := {_, _, [Hidden]}} = crema_producer:child_spec(#{pasword => Secret}),
    ?assertEqual(
        crema_options:parse(producer, #{pasword => Secret}), crema_options:parse(producer, Hidden)
    ).

secrets_reach_the_driver_test() ->
    %% A wrapped secret is a function that gives the value back when packed.
    [
        begin
            List = properties(producer, ?PRODUCER#{kafka => #{'sasl.password' => Given}}),
            {_, Wrapped} = lists:keyfind(<<"sasl.password">>, 1, List),
            ?assert(is_function(Wrapped, 0)),
            ?assertEqual({ok, <<"pw">>}, crema_secret:reveal(Wrapped))
        end
     || Given <- [<<"pw">>, "pw", pw, fun() -> <<"pw">> end, fun() -> ["p", $w] end]
    ],
    ?assertEqual({ok, <<"x">>}, crema_secret:reveal(<<"x">>)),
    [
        ?assertEqual({error, crashed}, crema_secret:reveal(fun() -> erlang:Raise(hunter2) end))
     || Raise <- [error, exit, throw]
    ],
    [
        ?assertEqual({error, not_text}, crema_secret:reveal(fun() -> Value end))
     || Value <- [undefined, 1, <<"a", 0>>, {ok, <<"a">>}]
    ],
    %% False is what os:getenv/1 says, and a value of other properties.
    False = fun() -> false end,
    [
        ?assertEqual({error, not_text}, crema_secret:reveal(Name, False))
     || Name <- [<<"sasl.password">>, <<"sasl.username">>, <<"ssl.key.pem">>]
    ],
    ?assertEqual({ok, <<"false">>}, crema_secret:reveal(<<"socket.keepalive.enable">>, False)),
    ?assertEqual({ok, <<"false">>}, crema_secret:reveal(<<"sasl.password">>, <<"false">>)),
    Fun = fun() -> <<"x">> end,
    ?assertEqual(Fun, crema_secret:wrap(Fun)),
    ?assertEqual(<<"x">>, (crema_secret:wrap(<<"x">>))()).

secret_keys_test() ->
    %% Keys that name secrets are known in all forms; others are left alone.
    Secret = [
        "sasl.pasword", "sasl.passwort", "db_pwd",
        'sasl.password', "ssl.key.password", <<"ssl.key.pem">>, <<"SSL_KEY_PEM">>, token,
        'sasl.oauthbearer.client.secret', 'sasl.jaas.config', my_api_key, <<"api-key">>,
        'ssl.keystore.password', 'sasl.oauthbearer.config', 'private_key', 'ssl.certificate.pem',
        "Authorization", 'Proxy-Authorization', sasl, 'ssl.key', 'sasl.kerberos.kinit.cmd',
         <<"set-cookie">>, client_assertion, bearer
    ],
    Open = [
        'ssl.key.location', 'sasl.username', 'client.id', 'ssl.ca.location', <<>>, 1, {password, 1},
        'sasl.oauthbearer.token.endpoint.url', [1 | 2], <<255>>, undefined, #{},
        'ssl.endpoint.identification.algorithm', 'sasl.mechanisms', 'ssl.ca.certificate.stores',
        'sasl.oauthbearer.assertion.claim.aud', sasl_ssl, ssl,
        sasl_authentication_failed,
        topic_authorization_failed, 'sasl.oauthbearer.method', 'enable.sasl.oauthbearer.unsecure.jwt'
    ],
    [?assertEqual({Key, true}, {Key, crema_secret:is_secret(Key)}) || Key <- Secret],
    [?assertEqual({Key, false}, {Key, crema_secret:is_secret(Key)}) || Key <- Open].

redact_test() ->
    %% Values of secret keys are replaced at any depth, all else stays as it is.
    Hidden = <<"[redacted]">>,
    ?assertEqual(
        #{
            a => [
                {password, Hidden}, #{"token" => Hidden, b => {c, [d | e]}}, {token, Hidden, Hidden}
            ]
        },
        crema_secret:redact(#{
            a => [{password, x}, #{"token" => fun() -> y end, b => {c, [d | e]}}, {token, 1, 2}]
        })
    ),
    [?assertEqual(Term, crema_secret:redact(Term)) || Term <- [1, a, <<"b">>, {}, {1}, [], #{}]].

properties(Scope, Options) ->
    {ok, Parsed} = crema_options:parse(Scope, Options),
    crema_properties:kafka_properties(Scope, Parsed).
