-module(crema_login_options_tests).

-include_lib("eunit/include/eunit.hrl").

-import(crema_ct_options, [wrong/2, text/2]).

-define(PRODUCER, #{bootstrap_servers => <<"h:1">>}).
-define(CONSUMER, #{
    bootstrap_servers => <<"h:1">>, group => <<"g">>, topics => [<<"t">>], handler => fun(_) -> ok end
}).
-define(READER, #{bootstrap_servers => <<"h:1">>, topic => <<"t">>}).

unset_credentials_test() ->
    %% What os:getenv/1 returns without the variable is no password and no user.
    [
        ?assertEqual({Name, [{kafka, Name}]}, {
            Name, wrong(producer, ?PRODUCER#{kafka => #{Name => false}})
        })
     || Name <- [<<"sasl.username">>, <<"sasl.password">>, <<"ssl.key.pem">>]
    ],
    ?assertMatch(
        {ok, _},
        crema_options:parse(producer, ?PRODUCER#{kafka => #{'socket.keepalive.enable' => false}})
    ).

mechanisms_test() ->
    %% A mechanism that librdkafka does not know by that spelling, and none where one is meant.
    Sasl = fun(Protocol, More) ->
        ?PRODUCER#{kafka => More#{'security.protocol' => Protocol}}
    end,
    [
        begin
            Text = text(producer, Sasl(sasl_ssl, #{Key => Given})),
            Said = <<Key/binary, " is to be written ", Right/binary, ".">>,
            ?assertNotEqual({Given, nomatch}, {Given, binary:match(Text, Said)})
        end
     || {Key, Given, Right} <- [
            {<<"sasl.mechanism">>, plain, <<"PLAIN">>},
            {<<"sasl.mechanisms">>, "SCRAM-SHA512", <<"SCRAM-SHA-512">>},
            {<<"sasl.mechanism">>, "scram_sha_256", <<"SCRAM-SHA-256">>}
        ]
    ],
    [
        ?assertMatch(
            {match, _},
            re:run(
                text(Scope, maps:merge(Options, Sasl('SASL_PLAINTEXT', #{'sasl.username' => u}))),
                "sasl.mechanism is not given"
            )
        )
     || {Scope, Options} <- [{producer, #{}}, {consumer, ?CONSUMER}, {reader, ?READER}]
    ],
    [
        ?assertMatch({ok, _}, crema_options:parse(producer, Options))
     || Options <- [
            Sasl(sasl_ssl, #{'sasl.username' => u, 'sasl.mechanism' => 'PLAIN'}),
            Sasl(sasl_ssl, #{'sasl.username' => u, 'sasl.mechanism' => <<255>>}),
            Sasl(sasl_ssl, #{'sasl.username' => u, 'sasl.mechanism' => fun() -> 'PLAIN' end}),
            Sasl(sasl_ssl, #{'sasl.kerberos.principal' => p}),
            (Sasl(sasl_ssl, #{'sasl.username' => u}))#{oauth_token => fun() -> {error, none} end},
            Sasl(sasl_ssl, #{'plugin.library.paths' => p}),
            Sasl(fun() -> sasl_ssl end, #{'sasl.username' => u}),
            Sasl(sasl_ssl, #{'sasl.mechanism' => 'OAUTHBEARER', 'sasl.oauthbearer.method' => <<255>>,
                'enable.sasl.oauthbearer.unsecure.jwt' => true}),
            Sasl(ssl, #{'sasl.username' => u, 'sasl.mechanism' => plain})
        ]
    ].
