%% Every way to connect, on real brokers: what works carries ten thousand messages
%% there and back, and what cannot work is told as what it is. docs/connections.md has
%% the table of the latter.
-module(crema_security_kafka_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    plain/1, tls/1, tls_client_certificate/1, sasl_plain/1, scram_sha_256/1, scram_sha_512/1,
    sasl_tls_plain/1, sasl_tls_scram_sha_512/1, oauthbearer/1, heroku/1
]).
-export([wrong_configurations/1, restarted_broker/1]).

-define(MESSAGES, 10000).
-define(CHUNK, 1000).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [{group, side_by_side}, restarted_broker].

groups() ->
    [
        {side_by_side, [parallel], [
            plain, tls, tls_client_certificate, sasl_plain, scram_sha_256, scram_sha_512,
            sasl_tls_plain, sasl_tls_scram_sha_512, oauthbearer, heroku, wrong_configurations
        ]}
    ].

init_per_suite(Config) ->
    crema_ct_lines:open(crema_ct:start(Config, crema_ct_kafka:bootstrap())).

end_per_suite(Config) ->
    ok = crema_ct_lines:close(Config),
    crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

%% ---- the cells ----------------------------------------------------------------------

plain(Config) ->
    %% Without any security.
    carries(Config, ?FUNCTION_NAME, "PLAINTEXT", #{}).

tls(Config) ->
    %% Over TLS, with the brokers' certificate verified, and their name.
    carries(Config, ?FUNCTION_NAME, "TLS", tls()).

tls_client_certificate(Config) ->
    %% The same where brokers want a client's certificate.
    carries(Config, ?FUNCTION_NAME, "MTLS", (tls())#{
        'ssl.certificate.location' => env("CLIENT_CERT"), 'ssl.key.location' => env("CLIENT_KEY")
    }).

sasl_plain(Config) ->
    %% User and password.
    carries(Config, ?FUNCTION_NAME, "SASL", sasl("PLAIN")).

scram_sha_256(Config) ->
    %% User and password, neither of which is sent.
    carries(Config, ?FUNCTION_NAME, "SASL", sasl("SCRAM-SHA-256")).

scram_sha_512(Config) ->
    %% The same with the longer hash.
    carries(Config, ?FUNCTION_NAME, "SASL", sasl("SCRAM-SHA-512")).

sasl_tls_plain(Config) ->
    %% User and password over TLS.
    carries(Config, ?FUNCTION_NAME, "SASLTLS", over_tls(sasl("PLAIN"))).

sasl_tls_scram_sha_512(Config) ->
    %% SCRAM over TLS.
    carries(Config, ?FUNCTION_NAME, "SASLTLS", over_tls(sasl("SCRAM-SHA-512"))).

oauthbearer(Config) ->
    %% Tokens, here unsecured ones.
    carries(Config, ?FUNCTION_NAME, "OAUTH", #{
        'security.protocol' => sasl_plaintext,
        'sasl.mechanism' => <<"OAUTHBEARER">>,
        'enable.sasl.oauthbearer.unsecure.jwt' => true,
        'sasl.oauthbearer.config' => <<"principal=alice">>
    }).

heroku(Config) ->
    %% Brokers as Heroku has them, whose certificates are for other hosts: with the
    %% authority verified, and without the hosts' names.
    carries(Config, ?FUNCTION_NAME, "HEROKU", heroku()).

carries(Config, Cell, Listener, Kafka) ->
    Options = #{bootstrap_servers => env(Listener), kafka => Kafka, name => Cell},
    case crema_ct_cells:left_out(Cell) of
        none ->
            crema_ct_cells:timed(Cell, "works", fun() -> works(Config, Options) end);
        {Limit, Why} ->
            ct:pal("~s cannot work here: ~ts", [Cell, Why]),
            crema_ct_cells:timed(Cell, "explained", fun() -> explained(Limit, Options) end)
    end.

works(Config, #{kafka := Kafka} = Options) ->
    Topic = crema_ct:topic(Config, 4),
    P = crema_ct:producer(Config, Options),
    Numbers = lists:seq(1, ?MESSAGES),
    produce(P, Topic, Numbers),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{
        bootstrap_servers => maps:get(bootstrap_servers, Options), kafka => Kafka
    }),
    ?assertEqual(Numbers, lists:sort(crema_ct_consume:values(crema_ct:handled(?MESSAGES)))),
    ?assertMatch(#{connected := true}, crema:status(C)).

produce(_P, _Topic, []) ->
    ok;
produce(P, Topic, Numbers) ->
    {Now, Later} = lists:split(?CHUNK, Numbers),
    {ok, Results} = crema:produce_many(P, [
        #{topic => Topic, value => integer_to_binary(N)}
     || N <- Now
    ]),
    ?assertEqual(#{ok => ?CHUNK}, crema_ct:results(Results)),
    produce(P, Topic, Later).

%% What cannot work is not blamed on the credentials.
explained(Limit, Options) ->
    #{librdkafka := Version, limits := Limits} = crema:info(),
    [#{message := What}] = [L || #{code := Code} = L <- Limits, Code =:= Limit],
    {Text, _} = troubled(Options),
    [
        ?assertNotEqual({nomatch, Text}, {string:find(Text, Said), Text})
     || Said <- [Version, What, <<"With older brokers">>]
    ].

%% ---- what is wrong ------------------------------------------------------------------

wrong_configurations(_Config) ->
    %% Each is told once, by its cause, with what to do about it, in the log, by an
    %% event, in the status, and to who waits.
    Wrong = (sasl("PLAIN"))#{'sasl.password' => <<"no such password">>},
    Plain = env("PLAINTEXT"),
    Table = [
        {refused, <<"127.0.0.1:1">>, #{}},
        {unknown_host, <<"no-such-host.invalid:9092">>, #{}},
        {protocol, env("TLS"), #{}},
        {protocol, env("SASL"), #{}},
        {protocol, Plain, #{'security.protocol' => ssl}},
        {protocol, Plain, sasl("PLAIN")},
        {tls, env("TLS"), #{'security.protocol' => ssl}},
        {tls, env("MTLS"), tls()},
        {authentication, env("SASL"), Wrong},
        {mechanism, env("OAUTH"), sasl("PLAIN")}
    ],
    crema_ct:spawned([
        fun() ->
            Name = binary_to_atom(iolist_to_binary(io_lib:format("wrong ~b", [N]))),
            {Text, Told} = troubled(#{bootstrap_servers => At, kafka => Kafka, name => Name}),
            ?assertMatch({_, #{cause := Cause}}, {Text, Told}),
            ?assertNotEqual(nomatch, string:find(Text, crema_brokers:hint(Cause))),
            crema_ct:cleanup()
        end
     || {N, {Cause, At, Kafka}} <- lists:enumerate(Table)
    ]).

%% The one line in the log of a producer that cannot connect, and the one event.
troubled(#{name := Name} = Options) ->
    P = crema_ct:producer([], Options),
    crema_ct:await(fun() -> crema_ct_lines:events(Name) =/= [] end),
    {error, {timeout, #{message := Waited}}} = crema:await_ready(P, 1000),
    %% What is said of the client's own certificate has its own suite.
    [{warning, Line}] = [
        Said
     || {_, Text} = Said <- crema_ct_lines:lines(Name),
        string:find(Text, "ssl.certificate.location") =:= nomatch
    ],
    [{[crema, client, error], #{message := Told} = Metadata}] = crema_ct_lines:events(Name),
    ?assertMatch(#{last_error := {_, #{message := Told}}, connected := false}, crema:status(P)),
    [?assertNotEqual(nomatch, string:find(Where, Told)) || Where <- [Line, Waited]],
    {Told, Metadata}.

restarted_broker(Config) ->
    %% While a broker is away each client says so once, and once when it is back,
    %% whatever it tries meanwhile. Nothing is told of a broker that nobody misses.
    Topic = crema_ct:topic(Config, 1),
    [P, C, Idle] = [outage_producer, outage_consumer, outage_idle],
    Kafka = #{'reconnect.backoff.max.ms' => 500},
    Producer = crema_ct:producer(Config, #{name => P, kafka => Kafka}),
    Consumer = crema_ct:consumer(Config, Topic, #{to => self()}, #{name => C, kafka => Kafka}),
    Other = crema_ct:producer(Config, #{name => Idle, connect => use}),
    ok = crema:await_ready(Producer, 10000),
    {ok, _} = crema:produce(Producer, #{topic => Topic}),
    _ = crema_ct:handled(1),
    crema_ct_kafka:brokers("stop"),
    Gone = fun(Client) -> not maps:get(connected, crema:status(Client)) end,
    crema_ct:await(fun() -> Gone(Producer) andalso Gone(Consumer) end),
    ok = crema:produce_async(Producer, #{topic => Topic}, #{report => message}),
    crema_ct_kafka:brokers("restart"),
    [{0, {ok, _}}] = crema_ct:reports(1),
    _ = crema_ct:handled(1, 60000),
    Back = fun(Client) -> maps:get(connected, crema:status(Client)) end,
    crema_ct:await(fun() -> Back(Producer) andalso Back(Consumer) end),
    [
        begin
            %% A member that was away for too long may have been put out meanwhile.
            Lines = [
                Said
             || {_, Line} = Said <- crema_ct_lines:lines(Name),
                string:find(Line, "a commit failed") =:= nomatch
            ],
            ?assertMatch([{warning, _}, {notice, _}], Lines),
            ?assertMatch(
                [
                    {[crema, client, connected], #{}},
                    {[crema, client, disconnected], #{cause := refused, broker := _}},
                    {[crema, client, connected], #{}}
                ],
                crema_ct_lines:events(Name)
            )
        end
     || Name <- [P, C]
    ],
    ?assertEqual({[], []}, {crema_ct_lines:lines(Idle), crema_ct_lines:events(Idle)}),
    ?assertMatch(#{state := idle}, crema:status(Other)).

%% ---- configurations -----------------------------------------------------------------

tls() -> #{'security.protocol' => ssl, 'ssl.ca.location' => env("CA")}.

sasl(Mechanism) ->
    #{
        'security.protocol' => sasl_plaintext,
        'sasl.mechanism' => list_to_binary(Mechanism),
        'sasl.username' => env("SASL_USERNAME"),
        'sasl.password' => env("SASL_PASSWORD")
    }.

over_tls(Sasl) -> (maps:merge(Sasl, tls()))#{'security.protocol' => sasl_ssl}.

heroku() ->
    File = fun(Name) -> filename:join(env("HEROKU_DIR"), Name) end,
    #{
        'security.protocol' => ssl,
        'ssl.ca.location' => File("ca.pem"),
        'ssl.certificate.location' => File("client.pem"),
        'ssl.key.location' => File("client.key"),
        'ssl.endpoint.identification.algorithm' => none
    }.

env(Name) -> list_to_binary(crema_ct_kafka:env(Name)).
