%% Diagnosis of peers that are hostile, broken or at odds with the settings: what is
%% said is what librdkafka would meet, and whatever they send it comes to an end.
-module(crema_check_peers_SUITE).

-include_lib("stdlib/include/assert.hrl").

-import(crema_ct_check, [fails/4]).

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([any_bytes/1, any_host/1, endless_tls/1, unfinished/1, closed_at_once/1]).
-export([nothing_in_common/1, closed_after_tls/1, slow_cluster/1, patient_fetch/1]).
-export([address_of_ipv6/1, dead_address/1, expired_above/1, name_for_address/1]).
-export([authorities_together/1, keystore/1]).

suite() -> [{timetrap, {seconds, 60}}].

all() -> [{group, all}, dead_address].

groups() ->
    [
        {all, [parallel], [
            any_bytes, any_host, endless_tls, unfinished, closed_at_once, closed_after_tls,
            nothing_in_common, slow_cluster, patient_fetch, address_of_ipv6, expired_above,
            name_for_address, authorities_together, keystore
        ]}
    ].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(ssl),
    [{authority, crema_ct_peer:authority("ca")} | crema_ct:start(Config)].

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:quiet().

any_bytes(_Config) ->
    %% What a peer says is shown as text, without commands to a terminal.
    Broker = broker(fun(Tag) -> <<Tag:32, 33:16, 2:32, 1:16, 255, 7:16, "\e[2JABC">> end),
    {error, {sasl_expected, #{steps := Steps}}} = crema:check(#{bootstrap_servers => Broker}),
    Text = unicode:characters_to_binary(crema_check:format(Steps)),
    ?assertMatch({_, _}, binary:match(Text, <<"?[2JABC">>)),
    ?assertEqual(nomatch, binary:match(Text, <<"\e">>)).

any_host(_Config) ->
    %% A host's name may have bytes that are no text.
    {error, {Code, #{message := Message}}} = crema:check(#{
        bootstrap_servers => <<"nosuch", 255, ".invalid:9092">>
    }),
    ?assertEqual(unknown_host, Code),
    ?assert(is_list(unicode:characters_to_list(Message))).

endless_tls(_Config) ->
    %% A peer that sends for ever what TLS says to pass over, faster than it is read.
    Requests = binary:copy(<<22, 3, 3, 16000:16, 0:(16000 * 8)>>, 50),
    Server = crema_ct_peer:start(fun(Socket) -> flood(Socket, Requests) end),
    <<"127.0.0.1:", Port/binary>> = Server,
    Security = crema_check_security:read([{<<"security.protocol">>, <<"ssl">>}]),
    Facts = crema_check_tls:ask(
        {127, 0, 0, 1}, binary_to_integer(Port), <<"localhost">>, Security, [],
        crema_deadline:in(300)
    ),
    ?assertEqual({failed, timed_out}, lists:keyfind(failed, 1, Facts)).

unfinished(_Config) ->
    %% A server that is still being looked at when the time is over has failed.
    [_, Number] = binary:split(crema_ct_peer:silent(), <<":">>),
    Server = {<<"127.0.0.1">>, binary_to_integer(Number)},
    [Steps] = crema_ct:spawned([fun() -> looked_at(Server) end]),
    ?assertMatch([#{step := kafka, status := failed, code := no_answer} | _], Steps).

looked_at(Server) ->
    Properties = [{<<"bootstrap.servers">>, <<"127.0.0.1:1">>}, {<<"log.queue">>, <<"true">>}],
    {ok, Port, _} = crema_client:open(producer, Properties, []),
    Later = crema_deadline:in(20000),
    Steps = crema_check_cluster:steps([Server], #{
        kind => producer,
        port => Port,
        options => #{topics => []},
        write => false,
        security => crema_check_security:read(Properties),
        deadline => crema_deadline:in(0),
        times => #{connect => Later, answer => Later}
    }),
    ok = crema_client:close(Port, crema_deadline:in(10000)),
    Steps.

closed_at_once(_Config) ->
    %% A balancer without anybody behind it takes a connection and resets it.
    Server = crema_ct_peer:start(fun(Socket) ->
        ok = inet:setopts(Socket, [{linger, {true, 0}}]),
        gen_tcp:close(Socket)
    end),
    fails(kafka, no_kafka, "was closed in place of an answer", #{bootstrap_servers => Server}).

closed_after_tls(Config) ->
    %% A peer that says nothing after TLS is not said to be of something else.
    Server = crema_ct_peer:tls(localhost(Config), fun ssl:close/1),
    fails(kafka, no_kafka, "was closed in place of an answer", ssl(Server, Config, #{})).

nothing_in_common(_Config) ->
    %% A broker that ends TLS before anything is agreed on has not seen who the client is.
    Server = crema_ct_peer:start(fun(Socket) ->
        _ = gen_tcp:recv(Socket, 0),
        _ = gen_tcp:send(Socket, <<21, 3, 3, 2:16, 2, 40>>),
        gen_tcp:recv(Socket, 0)
    end),
    fails(tls, tls_failed, "other versions or ciphers", #{
        bootstrap_servers => Server, kafka => #{'security.protocol' => ssl}
    }).

slow_cluster(_Config) ->
    %% A broker that answers who it is, and then too late: its port and protocol are
    %% not to blame.
    Broker = broker(fun(Tag) -> <<Tag:32, 34:16, 0:32>> end),
    fails(brokers, timed_out, "did not describe itself", #{
        bootstrap_servers => Broker, deadline => 5000
    }).

patient_fetch(Config) ->
    %% However long the options let brokers wait for messages, the check does not.
    Topic = crema_ct:topic(Config, 1),
    Given = #{
        bootstrap_servers => crema_ct:bootstrap(Config),
        topic => Topic,
        kafka => #{'fetch.wait.max.ms' => 20000}
    },
    ?assertMatch({ok, _}, crema:check(Given)).

address_of_ipv6(_Config) ->
    %% One without brackets and port is read as librdkafka reads it.
    {error, {_, #{steps := Steps}}} = crema:check(#{bootstrap_servers => <<"::1">>}),
    [Found] = [Addresses || #{step := names, details := #{addresses := Addresses}} <- Steps],
    ?assertEqual([{0, 0, 0, 0, 0, 0, 0, 1}], Found).

dead_address(_Config) ->
    %% Of a name with two addresses the one that swallows what is sent is told of.
    <<"127.0.0.1:", Port/binary>> = crema_ct_peer:silent(),
    {ok, Listening} = gen_tcp:listen(binary_to_integer(Port), [{backlog, 0}, {ip, {127, 0, 0, 3}}]),
    Filled = crema_ct_peer:fill({127, 0, 0, 3}, binary_to_integer(Port)),
    Lookup = inet_db:res_option(lookup),
    ok = inet_db:set_lookup([file, native]),
    [ok = inet_db:add_host({127, 0, 0, Last}, ["two.test"]) || Last <- [1, 3]],
    {error, {no_answer, #{steps := Steps}}} = crema:check(#{
        bootstrap_servers => <<"two.test:", Port/binary>>
    }),
    [ok = inet_db:del_host({127, 0, 0, Last}) || Last <- [1, 3]],
    ok = inet_db:set_lookup(Lookup),
    [ok = gen_tcp:close(Socket) || Socket <- [Listening | Filled]],
    [#{status := warning, message := Message}] = [S || #{step := tcp} = S <- Steps],
    ?assertNotEqual(nomatch, string:find(Message, "127.0.0.3 does not answer at all")).

expired_above(Config) ->
    %% Of a certificate that has expired it is said whether it is the server's own.
    Between = [{validity, {{2020, 1, 1}, {2021, 1, 1}}}],
    Chain = #{names => [{dNSName, "localhost"}], between => Between},
    Server = crema_ct_peer:tls(chain(Config, Chain), fun ssl:close/1),
    fails(tls, tls_expired, "a certificate above that of", ssl(Server, Config, #{})).

name_for_address(Config) ->
    %% An address is looked for among the addresses of a certificate, not its names.
    Chain = chain(Config, #{names => [{dNSName, "127.0.0.1"}]}),
    <<"localhost:", Port/binary>> = crema_ct_peer:tls(Chain, fun ssl:close/1),
    Server = <<"127.0.0.1:", Port/binary>>,
    fails(tls, tls_host_mismatch, "not of 127.0.0.1", ssl(Server, Config, #{})).

authorities_together(Config) ->
    %% Those of ssl.ca.location and of ssl.ca.pem are trusted both; the first also in
    %% the form that OpenSSL calls a trusted certificate.
    Server = crema_ct_peer:tls(localhost(Config), fun ssl:close/1),
    {_, Pem} = proplists:get_value(authority, Config),
    {_, Other} = crema_ct_peer:authority("other"),
    File = file(Config, "ca.pem", Pem),
    Trusted = filename:join(proplists:get_value(priv_dir, Config), "trusted.pem"),
    openssl(["x509 -trustout -in ", File, " -out ", Trusted]),
    [
        fails(kafka, no_kafka, "was closed", ssl(Server, Config, #{
            'ssl.ca.location' => Location, 'ssl.ca.pem' => Other
        }))
     || Location <- [File, Trusted]
    ].

keystore(Config) ->
    %% What a keystore has above the client's certificate is shown to the server where
    %% librdkafka does so (2.8.0), and else is not.
    Chain = chain(Config, #{names => [{dNSName, "client"}], between => []}),
    Server = crema_ct_peer:tls(
        [{verify, verify_peer}, {fail_if_no_peer_cert, true} | only_root(Config)], fun ssl:close/1
    ),
    Kafka = #{
        'ssl.keystore.location' => pkcs12(Config, Chain), 'ssl.keystore.password' => <<"secret">>
    },
    {ok, Runtime} = crema_anchor:runtime(),
    case proplists:get_value(librdkafka_number, Runtime) >= 16#020800ff of
        true -> fails(kafka, no_kafka, "was closed", ssl(Server, Config, Kafka));
        false -> fails(tls, tls_client_refused, "unknown ca", ssl(Server, Config, Kafka))
    end.

%% A server that knows no certificate but its own and the authority's.
only_root(Config) ->
    {#{cert := Root}, _} = proplists:get_value(authority, Config),
    lists:keystore(cacerts, 1, localhost(Config), {cacerts, [Root]}).

pkcs12(Config, Chain) ->
    {Type, Key} = proplists:get_value(key, Chain),
    {#{cert := Root}, _} = proplists:get_value(authority, Config),
    Certificates = [
        proplists:get_value(cert, Chain)
        | lists:delete(Root, lists:uniq(proplists:get_value(cacerts, Chain)))
    ],
    Entries = [{Type, Key, not_encrypted} | [{'Certificate', C, not_encrypted} || C <- Certificates]],
    Pem = file(Config, "client.pem", public_key:pem_encode(Entries)),
    Store = filename:join(proplists:get_value(priv_dir, Config), "client.p12"),
    openssl(["pkcs12 -export -passout pass:secret -in ", Pem, " -out ", Store]),
    Store.

%% A broker that says which versions it speaks, and answers the second request so.
broker(Second) ->
    crema_ct_peer:start(fun(Socket) ->
        _ = answer(Socket, fun(Tag) -> <<Tag:32, 0:16, 1:32, 18:16, 0:16, 3:16>> end),
        _ = answer(Socket, Second),
        gen_tcp:recv(Socket, 0)
    end).

%% Only what the check asks is known, and not what librdkafka does.
answer(Socket, Answer) ->
    framed(Socket, fun
        (<<Api:16, Version:16, Tag:32, _/binary>>) when {Api, Version} =:= {18, 0}; Api =:= 17 ->
            Frame = Answer(Tag),
            gen_tcp:send(Socket, [<<(byte_size(Frame)):32>>, Frame]);
        (_) ->
            ok
    end).

framed(Socket, Fun) ->
    case gen_tcp:recv(Socket, 4) of
        {ok, <<Size:32>>} ->
            {ok, Frame} = gen_tcp:recv(Socket, Size),
            Fun(Frame);
        {error, _} ->
            ok
    end.

flood(Socket, Bytes) ->
    case gen_tcp:send(Socket, Bytes) of
        ok -> flood(Socket, Bytes);
        {error, _} -> ok
    end.

localhost(Config) ->
    chain(Config, #{names => [{dNSName, "localhost"}]}).

chain(Config, Chain) ->
    crema_ct_peer:chain(proplists:get_value(authority, Config), Chain).

ssl(Server, Config, More) ->
    {_, Pem} = proplists:get_value(authority, Config),
    Kafka = #{'security.protocol' => ssl, 'ssl.ca.pem' => Pem},
    #{bootstrap_servers => Server, kafka => maps:merge(Kafka, More)}.

file(Config, Name, Bytes) ->
    File = filename:join(proplists:get_value(priv_dir, Config), Name),
    ok = file:write_file(File, Bytes),
    File.

openssl(Words) ->
    ?assertEqual("", os:cmd(lists:flatten(["openssl ", Words, " 2>&1"]))).
