%% TLS with brokers: of whom clients ask for what, and whom they refuse. The broker
%% is a listener of OTP's, which knows TLS and nothing of Kafka.
-module(crema_tls_SUITE).

-include_lib("stdlib/include/assert.hrl").

-import(crema_ct_certificates, [identity/2, identity/3, pem/1, key/1]).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    client_is_known/1, whole_chain/1, chain_is_not_trusted/1, other_authority/1, other_name/1,
    not_verified/1, ciphers/1, wrong_ciphers/1
]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        client_is_known, whole_chain, chain_is_not_trusted, other_authority, other_name,
        not_verified, ciphers, wrong_ciphers
    ].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(ssl),
    Ca = identity(<<"ca">>, self),
    Clients = identity(<<"clients">>, self),
    Middle = identity(<<"middle">>, Clients),
    Made = #{
        ca => Ca,
        clients => Clients,
        middle => Middle,
        broker => identity(<<"broker">>, Ca, #{hosts => ["localhost"]}),
        elsewhere => identity(<<"broker">>, Ca, #{hosts => ["b1.example.com", "b2.example.com"]}),
        false_broker => identity(<<"broker">>, Middle, #{hosts => ["localhost"]}),
        me => identity(<<"me">>, Clients, #{hosts => []}),
        below => identity(<<"below">>, Middle, #{hosts => []})
    },
    [{made, Made} | crema_ct:start(Config, none)].

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) ->
    ok = crema_ct_life:untold(),
    crema_ct:cleanup().

client_is_known(Config) ->
    %% A client's certificate and key, and the trusted authority, are used as they are
    %% given; without a certificate the broker refuses.
    #{me := #{certificate := Mine} = Me} = proplists:get_value(made, Config),
    {Broker, Port} = broker(broker, [], Config),
    ?assertMatch({ok, Mine, _}, trial(Broker, Port, own([Me]), Config)),
    ?assertMatch({error, _}, trial(Broker, Port, #{}, Config)).

whole_chain(Config) ->
    %% All that stands between the client and the authority that the broker knows is sent
    %% to it, also by a librdkafka that sends the first of ssl.certificate.pem only.
    #{below := Below, middle := Middle, clients := Clients} = proplists:get_value(made, Config),
    #{certificate := Mine} = Below,
    {Broker, Port} = broker(broker, [], Config),
    [
        ?assertMatch({ok, Mine, _}, trial(Broker, Port, own(Chain), Config))
     || Chain <- [[Below, Middle], [Below, Middle, Clients]]
    ],
    ?assertMatch({error, _}, trial(Broker, Port, own([Below]), Config)).

chain_is_not_trusted(Config) ->
    %% Whoever has signed the client's certificate may not sign a broker's for that,
    %% nor may who has signed theirs, though all are sent.
    #{below := Below, middle := Middle, clients := Clients} = proplists:get_value(made, Config),
    {Broker, Port} = broker(false_broker, [Middle, Clients], Config),
    crema_ct_life:told([[crema, client, error]]),
    Text = refusal(Broker, Port, own([Below, Middle, Clients]), Config),
    ?assertMatch({match, _}, re:run(Text, "authority that is not trusted")).

other_authority(Config) ->
    %% A broker whose certificate comes from another authority is refused, with the
    %% host-name check and without it, and the event says that this is why.
    #{clients := Clients, me := Me} = proplists:get_value(made, Config),
    {Broker, Port} = broker(broker, [], Config),
    crema_ct_life:told([[crema, client, error]]),
    [
        begin
            Kafka = (own([Me]))#{
                'ssl.ca.pem' => pem([Clients]),
                'ssl.endpoint.identification.algorithm' => Check
            },
            Text = refusal(Broker, Port, Kafka, Config),
            ?assertMatch({match, _}, re:run(Text, "authority that is not trusted: CN = ca"), Text)
        end
     || Check <- [https, none]
    ].

other_name(Config) ->
    %% One that has another name is refused, and the event says so; unless names are
    %% not looked at.
    #{me := #{certificate := Mine} = Me} = proplists:get_value(made, Config),
    {Broker, Port} = broker(elsewhere, [], Config),
    crema_ct_life:told([[crema, client, error]]),
    Text = refusal(Broker, Port, own([Me]), Config),
    Wanted = "not for the name localhost, but for b1.example.com, b2.example.com",
    ?assertMatch({match, _}, re:run(Text, Wanted), Text),
    Nameless = (own([Me]))#{'ssl.endpoint.identification.algorithm' => none},
    ?assertMatch({ok, Mine, _}, trial(Broker, Port, Nameless, Config)).

not_verified(Config) ->
    %% Verification is off only where it is said.
    #{me := #{certificate := Mine} = Me} = proplists:get_value(made, Config),
    {Broker, Port} = broker(elsewhere, [], Config),
    Anybody = (own([Me]))#{'enable.ssl.certificate.verification' => false},
    ?assertMatch({ok, Mine, _}, trial(Broker, Port, Anybody, Config)).

ciphers(Config) ->
    %% Which ciphers and curves are used is as librdkafka is told.
    #{me := #{certificate := Mine} = Me} = proplists:get_value(made, Config),
    {Broker, Port} = broker(broker, [{versions, ['tlsv1.2']}], Config),
    [
        begin
            Kafka = (own([Me]))#{'ssl.cipher.suites' => Name},
            {ok, Mine, About} = trial(Broker, Port, Kafka, Config),
            ?assertEqual(
                ssl:str_to_suite(Name), proplists:get_value(selected_cipher_suite, About)
            )
        end
     || Name <- ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"]
    ].

wrong_ciphers(Config) ->
    %% What OpenSSL does not know is refused at the start, by its name.
    process_flag(trap_exit, true),
    [
        begin
            {error, {_, #{message := Text}}} = crema_producer:start_link(options(1, #{
                Property => "NO-SUCH-THING"
            }, Config)),
            ?assertMatch({_, _}, binary:match(Text, atom_to_binary(Property)))
        end
     || Property <- ['ssl.cipher.suites', 'ssl.curves.list', 'ssl.sigalgs.list']
    ].

%% ---- a client and its broker ------------------------------------------------------------

own([First | _] = Chain) ->
    #{'ssl.certificate.pem' => pem(Chain), 'ssl.key.pem' => key(First)}.

%% What the broker makes of a client, which stops then: it comes only once.
trial(Broker, Port, Kafka, Config) ->
    {Met, _} = trial(Broker, Port, Kafka, fun() -> none end, Config),
    Met.

%% What a client says that refuses the broker.
refusal(Broker, Port, Kafka, Config) ->
    {Met, Text} = trial(Broker, Port, Kafka, fun refusal/0, Config),
    ?assertMatch({error, _}, Met),
    Text.

trial(Broker, Port, Kafka, Then, Config) ->
    P = crema_ct:started(crema_producer:start_link(options(Port, Kafka, Config))),
    Met = met(Broker),
    Said = Then(),
    ok = crema_producer:stop(P, 0),
    {Met, Said}.

options(Port, Kafka, Config) ->
    #{ca := Ca} = proplists:get_value(made, Config),
    Common = #{
        'security.protocol' => ssl,
        'ssl.ca.pem' => pem([Ca]),
        %% No second attempt gets into the way.
        'reconnect.backoff.ms' => 10000,
        'reconnect.backoff.max.ms' => 10000,
        'broker.address.family' => v4
    },
    #{
        bootstrap_servers => "localhost:" ++ integer_to_list(Port),
        kafka => maps:merge(Common, Kafka)
    }.

refusal() ->
    case crema_ct_life:event([crema, client, error]) of
        #{code := ssl, message := Text} -> Text;
        #{code := all_brokers_down} -> refusal()
    end.

%% One that asks for the certificates of clients, and tells of each that comes.
broker(Who, Options, Config) when Options =:= []; is_tuple(hd(Options)) ->
    listening(Who, [], Options, Config);
broker(Who, Chain, Config) ->
    listening(Who, Chain, [], Config).

listening(Who, Chain, Options, Config) ->
    #{Who := #{certificate := Certificate, key := Key}, clients := Clients} =
        proplists:get_value(made, Config),
    Self = self(),
    Broker = spawn_link(fun() ->
        {ok, Socket} = ssl:listen(0, [
            {ip, {127, 0, 0, 1}},
            {reuseaddr, true},
            {cert, [Certificate | [Der || #{certificate := Der} <- Chain]]},
            {key, {element(1, Key), public_key:der_encode(element(1, Key), Key)}},
            {cacerts, [maps:get(certificate, Clients)]},
            {verify, verify_peer},
            {fail_if_no_peer_cert, true},
            {log_level, none},
            {active, false}
            | Options
        ]),
        {ok, {_, Port}} = ssl:sockname(Socket),
        Self ! {self(), Port},
        accept(Socket, Self)
    end),
    receive
        {Broker, Port} -> {Broker, Port}
    end.

accept(Socket, Test) ->
    {ok, Accepted} = ssl:transport_accept(Socket),
    Test ! {self(), handshake(Accepted)},
    accept(Socket, Test).

handshake(Accepted) ->
    case ssl:handshake(Accepted, 10000) of
        {ok, Connected} ->
            %% With TLS 1.3 a client has yet to refuse when the broker is content.
            case ssl:recv(Connected, 1, 10000) of
                {ok, _} ->
                    {ok, Peer} = ssl:peercert(Connected),
                    {ok, About} = ssl:connection_information(Connected),
                    {ok, Peer, About};
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

met(Broker) ->
    receive
        {Broker, Met} -> Met
    after 20000 -> error(nobody_came)
    end.
