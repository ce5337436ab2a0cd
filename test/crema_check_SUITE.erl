%% Diagnosis: each fault of a connection has a code and a sentence of its own.
-module(crema_check_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include("../src/port/crema_commands.hrl").

-import(crema_ct_check, [fails/4, step/2]).

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([good_connections/1, write/1, options/1, unknown_host/1, refused/1, firewalled/1]).
-export([silent/1, other_service/1, tls_against_plain/1, plain_against_tls/1, untrusted/1]).
-export([wrong_host/1, unchecked/1, client_certificate/1, bad_authority/1, advertised/1, stopped/1]).
-export([deadline/1, secrets/1, killed_caller/1, text/1, command_line/1, script/1]).
-export([one_way_of_reading/1, child_spec/1]).

-define(ALL, 5000).

suite() -> [{timetrap, {seconds, 60}}].

all() -> [{group, faults}, good_connections, write, options, secrets, killed_caller, text,
    command_line, script, one_way_of_reading].

groups() ->
    [
        {faults, [parallel], [
            unknown_host, refused, firewalled, silent, other_service, tls_against_plain,
            plain_against_tls, untrusted, wrong_host, unchecked, client_certificate, bad_authority,
            advertised, stopped, deadline
        ]}
    ].

init_per_suite(Config) ->
    Tls = filename:join(proplists:get_value(priv_dir, Config), "tls"),
    ok = filelib:ensure_dir(filename:join(Tls, "x")),
    [ok = authority(Tls, Name) || Name <- ["ca", "other"]],
    ok = certificate(Tls, "localhost"),
    {ok, _} = application:ensure_all_started(ssl),
    [{tls, Tls} | crema_ct:start(Config)].

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) ->
    crema_ct:quiet(),
    crema_ct:cleanup().

good_connections(Config) ->
    %% A producer, a consumer and a reader whose topics are there have nothing to mend.
    Topic = crema_ct:topic(Config, 3),
    Servers = #{bootstrap_servers => crema_ct:bootstrap(Config)},
    {ok, Producer} = crema:check(Servers#{topics => [Topic]}),
    ?assertMatch(#{status := ok, details := #{partitions := 3}}, step(topics, Producer)),
    ?assertMatch(#{status := ok}, step(brokers, Producer)),
    Group = crema_ct:unique(<<"group">>),
    {ok, Consumer} = crema:check(Servers#{topics => [Topic], group => Group}),
    ?assertMatch(#{status := ok, subject := Topic}, step(read, Consumer)),
    ?assertMatch(#{status := ok, subject := Group}, step(group, Consumer)),
    Pattern = <<"^", Topic/binary, "$">>,
    {ok, Matched} = crema:check(Servers#{topics => Pattern, group => Group}),
    ?assertMatch(#{details := #{topics := [Topic]}}, step(topics, Matched)),
    {ok, Unmatched} = crema:check(Servers#{topics => <<"^nothing-is-named-so">>, group => Group}),
    ?assertMatch(#{status := warning}, step(topics, Unmatched)),
    {ok, Reader} = crema:check([{topic, Topic} | maps:to_list(Servers)]),
    ?assertMatch(#{status := ok, subject := Topic}, step(read, Reader)).

write(Config) ->
    %% With write a message comes into the topic, and else none.
    Topic = crema_ct:topic(Config, 1),
    Given = #{bootstrap_servers => crema_ct:bootstrap(Config), topics => Topic},
    {ok, _} = crema:check(Given),
    {ok, Steps} = crema:check(Given#{write => true, kafka => #{'transactional.id' => Topic}}),
    ?assertMatch(#{status := ok}, step(write, Steps)),
    Count = fun(_, N) -> {ok, N + 1} end,
    Read = #{bootstrap_servers => crema_ct:bootstrap(Config), topic => Topic},
    ?assertMatch({ok, 1}, folded(crema:fold(Read, Count, 0))).

folded({ok, Count, _}) -> {ok, Count};
folded(Other) -> Other.

options(Config) ->
    %% Wrong options are told without a connection, those of the check too.
    Good = #{bootstrap_servers => crema_ct:bootstrap(Config)},
    Wrong = [
        Good#{kafka => #{'securiy.protocol' => ssl}},
        Good#{orderin => strict},
        Good#{group => <<"g">>},
        Good#{kind => server},
        Good#{deadline => 0},
        Good#{write => yes},
        Good#{topics => 7}
    ],
    [
        ?assertMatch({{error, {bad_options, #{steps := [#{step := options}]}}}, _}, {
            crema:check(Given), Given
        })
     || Given <- Wrong
    ],
    %% As the name of a client is no option.
    try crema:check(orders) of
        Result -> error({no_options, Result})
    catch
        error:badarg:Stack ->
            ?assertMatch(
                #{1 := <<"not the options of a client", _/binary>>},
                crema_error:format_error(badarg, Stack)
            )
    end.

unknown_host(_Config) ->
    %% A name that nobody knows.
    fails(names, unknown_host, "nosuchhost.invalid is unknown", #{
        bootstrap_servers => <<"nosuchhost.invalid:9092">>, deadline => ?ALL
    }).

refused(_Config) ->
    %% A host where nothing listens on the port.
    fails(tcp, connection_refused, "refuses the connection", #{
        bootstrap_servers => crema_ct_peer:local(1), deadline => ?ALL
    }).

firewalled(_Config) ->
    %% A port that swallows what is sent to it, as a firewall does: here because
    %% nobody takes its connections, and no more may wait.
    {ok, Listening} = gen_tcp:listen(0, [{backlog, 0}, {ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Listening),
    Filled = crema_ct_peer:fill({127, 0, 0, 1}, Port),
    fails(tcp, firewalled, "does not answer at all", #{
        bootstrap_servers => crema_ct_peer:local(Port), deadline => ?ALL
    }),
    [ok = gen_tcp:close(Socket) || Socket <- [Listening | Filled]].

silent(_Config) ->
    %% A program that takes connections and says nothing, as one that is stopped.
    Silent = crema_ct_peer:silent(),
    fails(kafka, no_answer, "nothing is answered", #{
        bootstrap_servers => Silent, deadline => ?ALL
    }),
    fails(tls, no_answer, "TLS is not answered", #{
        bootstrap_servers => Silent, deadline => ?ALL, kafka => #{'security.protocol' => ssl}
    }).

other_service(_Config) ->
    %% A server of something else.
    Web = crema_ct_peer:start(fun(Socket) ->
        ok = gen_tcp:send(Socket, "HTTP/1.1 400 Bad Request\r\n\r\n")
    end),
    fails(kafka, no_kafka, "a web server (HTTP), and no Kafka broker", #{bootstrap_servers => Web}),
    fails(tls, tls_not_spoken, "no TLS", #{
        bootstrap_servers => Web, kafka => #{'security.protocol' => ssl}
    }).

tls_against_plain(Config) ->
    %% TLS is begun at a broker's plain port.
    fails(tls, tls_not_spoken, "does the port speak it", #{
        bootstrap_servers => crema_ct:bootstrap(Config), kafka => #{'security.protocol' => ssl}
    }).

plain_against_tls(Config) ->
    %% A broker's TLS port is spoken to without.
    Server = tls_server(Config, []),
    fails(tls, tls_expected, "the port speaks TLS", #{bootstrap_servers => Server}).

untrusted(Config) ->
    %% The certificate is of another authority; its summary is there all the same.
    Server = tls_server(Config, []),
    Step = fails(tls, tls_untrusted, "is not trusted", ssl(Server, Config, "other", #{})),
    ?assertMatch(
        #{
            subject := <<"CN = localhost">>,
            issuer := <<"CN = ca">>,
            names := [<<"localhost">>],
            protocol := <<"TLSv1.3">>,
            host_matches := true
        },
        maps:get(details, Step)
    ).

wrong_host(Config) ->
    %% The certificate is of another host.
    Server = tls_server(Config, []),
    Address = binary:replace(Server, <<"localhost">>, <<"127.0.0.1">>),
    fails(tls, tls_host_mismatch, "not of 127.0.0.1", ssl(Address, Config, "ca", #{})).

unchecked(Config) ->
    %% What the options do not ask to be checked does not fail: the server is then
    %% spoken to. Behind it is a broker that is elsewhere, without TLS.
    Server = tls_server(Config, []),
    Address = binary:replace(Server, <<"localhost">>, <<"127.0.0.1">>),
    [
        fails(brokers, advertised_unreachable, "does the port speak it", ssl(Address, Config, CA, More))
     || {CA, More} <- [
            {"ca", #{'ssl.endpoint.identification.algorithm' => none}},
            {"other", #{'enable.ssl.certificate.verification' => false}}
        ]
    ].

client_certificate(Config) ->
    %% The server wants a certificate of the client, by either version of TLS.
    [
        begin
            Wants = [{verify, verify_peer}, {fail_if_no_peer_cert, true}, {versions, [Version]}],
            Server = tls_server(Config, Wants),
            fails(tls, tls_client_refused, "refuses the client", ssl(Server, Config, "ca", #{}))
        end
     || Version <- ['tlsv1.2', 'tlsv1.3']
    ].

bad_authority(Config) ->
    %% Settings that are of no use are told before anybody is spoken to.
    Given = ssl(<<"localhost:1">>, Config, "nothing", #{}),
    {error, {Code, #{steps := [Step | _]}}} = crema:check(Given),
    ?assertNotEqual(ok, Code),
    ?assertMatch(#{step := options, status := failed}, Step).

advertised(Config) ->
    %% The cluster says that its broker is where clients cannot reach it.
    Broker = crema_ct:bootstrap(Config),
    [_, Port] = binary:split(Broker, <<":">>),
    Through = through(Port, <<"127.0.0.1">>, <<"a.invalid">>),
    fails(brokers, advertised_unreachable, "a.invalid is unknown", #{bootstrap_servers => Through}).

stopped(Config) ->
    %% A broker that the cluster names, and that is stopped, is not advertised wrongly.
    %% librdkafka may have turned to it already, and then is told nothing more.
    [_, Port] = binary:split(crema_ct:bootstrap(Config), <<":">>),
    [_, Silent] = binary:split(crema_ct_peer:silent(), <<":">>),
    [From, To] = [binary_to_integer(Number) || Number <- [Port, Silent]],
    Through = through(Port, <<From:32>>, <<To:32>>),
    {error, {Code, #{steps := Steps}}} = crema:check(#{bootstrap_servers => Through}),
    ?assertMatch([#{code := Code}], [S || #{step := brokers, status := failed} = S <- Steps]),
    ?assert(lists:member(Code, [no_answer, timed_out]), Steps).

deadline(_Config) ->
    %% It ends by the deadline that is given.
    Silent = crema_ct_peer:silent(),
    {Time, {error, {Code, _}}} = crema_ct:timed(fun() ->
        crema:check(#{bootstrap_servers => Silent, deadline => 1500})
    end),
    %% A busy machine may not even connect in its part of that.
    ?assert(lists:member(Code, [no_answer, firewalled])),
    ?assert(Time < 3000, Time).

secrets(Config) ->
    %% No password is in what is returned, whatever has failed.
    Marker = <<"m4rk3r-of-a-secret">>,
    [
        begin
            Result = crema:check(#{
                bootstrap_servers => crema_ct:bootstrap(Config),
                kafka => maps:merge(
                    #{
                        'security.protocol' => Protocol,
                        'sasl.mechanism' => 'PLAIN',
                        'sasl.username' => <<"ada">>,
                        'sasl.password' => Marker,
                        'ssl.key.password' => Marker
                    },
                    More
                )
            }),
            ?assertMatch({error, _}, Result),
            Said = io_lib:format("~p~ts", [Result, crema_check:format(Result)]),
            ?assertEqual(nomatch, string:find(Said, Marker))
        end
     || Protocol <- [sasl_plaintext, sasl_ssl],
        More <- [#{}, #{'no.such.property' => 1}]
    ].

killed_caller(_Config) ->
    %% What a caller leaves that is killed ends by itself: end_per_suite waits for it.
    Silent = crema_ct_peer:silent(),
    Ports = length(erlang:ports()),
    Caller = spawn(fun() -> crema:check(#{bootstrap_servers => Silent, deadline => 1000}) end),
    crema_ct:await(fun() -> length(erlang:ports()) > Ports end),
    true = exit(Caller, kill),
    crema_ct:await(fun() -> maps:get(reapers, crema:info()) =:= 0 end).

text(_Config) ->
    %% What is shown to people has each step, and what to do about the one that failed.
    Result = crema:check(#{bootstrap_servers => <<"nosuchhost.invalid">>}),
    Text = unicode:characters_to_list(crema_check:format(Result)),
    [
        ?assertNotEqual(nomatch, string:find(Text, Part))
     || Part <- ["ok       options", "failed   names", "-> Correct the name", "skipped  brokers"]
    ],
    ?assertEqual(nomatch, string:find(Text, "\e[")),
    ?assertNotEqual(nomatch, string:find(crema_check:format(Result, colours), "\e[31m")).

command_line(Config) ->
    %% What a shell gives becomes options, and the verdict an exit status.
    Topic = binary_to_list(crema_ct:topic(Config, 1)),
    Servers = binary_to_list(crema_ct:bootstrap(Config)),
    true = os:putenv("CREMA_CHECK_SECRET", "m4rk3r"),
    ok = application:set_env(crema, check_suite, #{bootstrap_servers => Servers, topics => Topic}),
    Run = fun(Arguments) ->
        {Status, Text} = crema_check_command:run(Arguments, plain),
        {Status, unicode:characters_to_list(Text)}
    end,
    Good = ["-b", Servers, "-t", Topic, "-X", "client.id=check"],
    ?assertMatch({0, _}, Run(Good)),
    ?assertMatch({0, _}, Run(Good ++ ["-g", "g", "--deadline", "4000"])),
    {0, Configured} = Run(["--config", "crema:check_suite", "-t", Topic]),
    ?assertNotEqual(nomatch, string:find(Configured, Topic)),
    true = os:putenv("CHECKED_BOOTSTRAP_SERVERS", Servers),
    {0, Prefixed} = Run(["--env", "CHECKED", "-t", Topic]),
    true = os:unsetenv("CHECKED_BOOTSTRAP_SERVERS"),
    ?assertNotEqual(nomatch, string:find(Prefixed, Servers)),
    ?assertMatch({0, _}, Run(["--module", atom_to_list(?MODULE), "-b", Servers])),
    {1, Refused} = Run(Good ++ [
        "-X", "security.protocol=sasl_plaintext", "-X", "sasl.mechanism=PLAIN",
        "-X", "sasl.username=ada", "-X", "sasl.password=$CREMA_CHECK_SECRET"
    ]),
    ?assertEqual(nomatch, string:find(Refused, "m4rk3r")),
    [
        ?assertMatch({2, _}, Run(Wrong))
     || Wrong <- [
            ["-b"], ["--nonsense"], ["-X", "novalue"], ["-X", "sasl.password=$NO_SUCH_VARIABLE"],
            ["-X", "ssl.ca.pem=@/no/such/file"], ["--module", "no_such_module"],
            ["--module", "lists"], ["--config", "crema"], ["--config", "crema:kernel"],
            ["--deadline", "soon"]
        ]
    ],
    ok = application:unset_env(crema, check_suite).

one_way_of_reading(Config) ->
    %% librdkafka ends the process when a partition that is assigned is read by itself,
    %% or the other way round: whoever comes second is refused.
    Topic = crema_ct:topic(Config, 1),
    Readable = fun(Port) ->
        Ask = fun(Tag) -> {?CMD_READABLE, term_to_binary({Tag, Topic, 0, 5000})} end,
        crema_port:ask(Port, Ask, 10000, none)
    end,
    Assign = fun(Port) ->
        crema_port:command(Port, ?CMD_ASSIGN, term_to_binary([{Topic, 0, 0, infinity}]))
    end,
    Properties = [
        {<<"bootstrap.servers">>, crema_ct:bootstrap(Config)},
        {<<"log.queue">>, <<"true">>},
        {<<"enable.partition.eof">>, <<"true">>}
    ],
    %% What becomes of connections is told to who has opened the client.
    crema_ct:spawned([
        fun() ->
            {ok, Port, _} = crema_client:open(reader, Properties, []),
            ?assertMatch({ok, _}, First(Port)),
            ?assertMatch({error, {wrong_state, _}}, Second(Port)),
            crema_client:close(Port, crema_deadline:in(10000))
        end
     || {First, Second} <- [{Readable, Assign}, {Assign, Readable}]
    ]).

%% As a module with options of its own has it.
child_spec(Options) ->
    #{id => ?MODULE, start => {?MODULE, start_link, [Options]}}.

script(Config) ->
    %% The script has its exit status too, and no colours where there is no terminal.
    Source = proplists:get_value(source, ?MODULE:module_info(compile)),
    Script = filename:join([filename:dirname(Source), "..", "scripts", "check-connection"]),
    Servers = crema_ct:bootstrap(Config),
    Run = fun(Given) -> os:cmd(lists:flatten([Script, " -b ", Given, " 2>&1; echo \"= $?\""])) end,
    Good = Run(binary_to_list(Servers)),
    ?assertMatch({match, _}, re:run(Good, "^ok +kafka.*^= 0$", [multiline, dotall]), Good),
    Bad = Run("nosuchhost.invalid"),
    ?assertMatch({match, _}, re:run(Bad, "^failed +names.*^= 1$", [multiline, dotall]), Bad),
    ?assertEqual(nomatch, string:find(Good ++ Bad, "\e[")).

%% A way to the broker that has something of it called otherwise, in as many bytes.
through(Port, From, To) ->
    crema_ct_peer:start(fun(Socket) ->
        forward(Socket, Port, fun(Bytes) -> binary:replace(Bytes, From, To, [global]) end)
    end).

%% To a broker and back.
forward(Client, Port, Rename) ->
    Number = binary_to_integer(Port),
    {ok, Broker} = gen_tcp:connect({127, 0, 0, 1}, Number, [binary, {active, false}]),
    ok = inet:setopts(Broker, [{active, true}]),
    ok = activate(Client),
    forward_all(Client, Broker, Rename).

activate(Client) when is_port(Client) -> inet:setopts(Client, [{active, true}]);
activate(Client) -> ssl:setopts(Client, [{active, true}]).

say(Client, Bytes) when is_port(Client) -> gen_tcp:send(Client, Bytes);
say(Client, Bytes) -> ssl:send(Client, Bytes).

forward_all(Client, Broker, Rename) ->
    receive
        {Kind, Client, Bytes} when Kind =:= tcp; Kind =:= ssl ->
            _ = gen_tcp:send(Broker, Bytes),
            forward_all(Client, Broker, Rename);
        {tcp, Broker, Bytes} ->
            _ = say(Client, Rename(Bytes)),
            forward_all(Client, Broker, Rename);
        {Closed, _} when Closed =:= tcp_closed; Closed =:= ssl_closed ->
            ok
    end.

ssl(Server, Config, Authority, More) ->
    File = filename:join(proplists:get_value(tls, Config), Authority ++ ".pem"),
    Kafka = #{'security.protocol' => ssl, 'ssl.ca.location' => list_to_binary(File)},
    #{bootstrap_servers => Server, kafka => maps:merge(Kafka, More)}.

authority(Tls, Name) ->
    openssl(Tls, [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=", Name,
        " -keyout ", Name, ".key -out ", Name, ".pem"
    ]).

certificate(Tls, Name) ->
    ok = openssl(Tls, [
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=", Name,
        " -addext subjectAltName=DNS:", Name, " -keyout ", Name, ".key -out ", Name, ".csr"
    ]),
    openssl(Tls, [
        "x509 -req -in ", Name, ".csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2",
        " -copy_extensions copy -out ", Name, ".pem"
    ]).

openssl(Tls, Words) ->
    Command = io_lib:format("cd '~ts' && openssl ~ts >log 2>&1 || cat log", [Tls, Words]),
    ?assertEqual("", os:cmd(lists:flatten(Command))),
    ok.

%% A server of TLS with the broker behind it.
tls_server(Config, More) ->
    Tls = proplists:get_value(tls, Config),
    [_, Port] = binary:split(crema_ct:bootstrap(Config), <<":">>),
    Options = [
        {certfile, filename:join(Tls, "localhost.pem")},
        {keyfile, filename:join(Tls, "localhost.key")},
        {cacertfile, filename:join(Tls, "ca.pem")},
        {mode, binary}, {active, false}
        | More
    ],
    crema_ct_peer:tls(Options, fun(Greeted) ->
        forward(Greeted, Port, fun(Bytes) -> Bytes end)
    end).
