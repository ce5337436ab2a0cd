%% Certificates and keys are looked at before anybody connects: what is wrong is told
%% of the property that it is in, and nothing of a key is in what is told.
-module(crema_certificates_SUITE).

-include_lib("stdlib/include/assert.hrl").

-import(crema_ct_certificates, [identity/2, identity/3, pem/1, key/1, key/3]).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_testcase/2, end_per_testcase/2]).
-export([
    all_faults_at_once/1, faults/1, what_is_right/1, not_looked_at/1, escaped/1, warnings/1,
    shows_no_key/1
]).
-export([init/1, log/2]).

%% Base64 of something, too, so that it fits into a key.
-define(MARKER, "plantedS3cret0815").
-define(MILLIS, 200).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        all_faults_at_once, faults, what_is_right, not_looked_at, escaped, warnings, shows_no_key
    ].

%% Where the clients would connect to somebody listens, who is to hear of nobody.
init_per_suite(Config) ->
    Started = crema_ct:start(Config, none),
    {ok, Socket} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Socket),
    {Holder, ok} = crema_ct:hold(fun() -> ok end),
    ok = gen_tcp:controlling_process(Socket, Holder),
    [{holder, Holder}, {socket, Socket}, {port, Port}, {made, made(Config)} | Started].

end_per_suite(Config) -> crema_ct:stop(Config).

init_per_testcase(_, Config) ->
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, all),
    Log = ets:new(log, [public, duplicate_bag]),
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => all, filter_default => log, log => Log}),
    Events = [Name || #{name := Name} <- crema_event_table:table()],
    Tell = fun(Name, _, Metadata, _) -> ets:insert(Log, {Name, Metadata}) end,
    ok = crema_events:attach(?MODULE, Events, Tell, none),
    [{level, Level}, {log, Log} | Config].

end_per_testcase(_, Config) ->
    crema_ct:cleanup(),
    ok = crema_events:detach(?MODULE),
    ok = logger:remove_handler(?MODULE),
    ok = logger:set_primary_config(level, proplists:get_value(level, Config)).

log(Event, #{log := Log}) ->
    Read = unicode:characters_to_binary(logger_formatter:format(Event, #{})),
    true = ets:insert(Log, {line, Read, Event}).

init(Children) ->
    {ok, {#{intensity => 0}, Children}}.

%% Who there is, and what openssl makes of their keys.
made(Config) ->
    Directory = proplists:get_value(priv_dir, Config),
    Ca = identity(<<"ca">>, self),
    Middle = identity(<<"middle">>, Ca),
    Me = identity(<<"me">>, Ca, #{hosts => []}),
    Pass = " -passout pass:right" ?MARKER,
    Seal = "pkcs8 -topk8 -v2 aes-256-cbc" ++ Pass,
    #{
        ca => Ca,
        me => Me,
        below => identity(<<"below">>, Middle, #{hosts => []}),
        middle => Middle,
        %% As brokers may have a newer one.
        old => identity(<<"middle">>, Ca, #{key => map_get(key, Middle), days => {-10, -1}}),
        rsa => identity(<<"rsa">>, Ca, #{hosts => [], rsa => true}),
        expired => identity(<<"expired">>, Ca, #{hosts => [], days => {-10, -1}}),
        young => identity(<<"young">>, Ca, #{hosts => [], days => {1, 10}}),
        ending => identity(<<"ending">>, Ca, #{hosts => [], days => {-10, 29}}),
        impostor => identity(<<"ca">>, self),
        stranger => identity(<<"stranger">>, self),
        sealed => key(Me, Directory, Seal),
        plain => key(Me, Directory, "pkcs8 -topk8 -nocrypt"),
        traditional => key(Me, Directory, "ec -aes128" ++ Pass),
        public => key(Me, Directory, "ec -pubout"),
        parameters => key(Me, Directory, "ec -param_out"),
        request => key(Me, Directory, "req -new -subj /CN=me -key " ++
            filename:join(Directory, "key") ++ " -config /dev/null"),
        ssh => <<"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n-----END OPENSSH PRIVATE KEY-----\n">>
    }.

%% What is wrong, of which property, and what is said of it.
table(#{ca := Ca, me := Me, middle := Middle, below := Below} = Made, Directory) ->
    #{
        expired := Expired, young := Young, impostor := Impostor, stranger := Stranger,
        sealed := Sealed, public := Public, request := Request
    } = Made,
    CaPem = pem([Ca]),
    Cert = pem([Me]),
    Key = key(Me),
    Missing = filename:join(Directory, "missing.pem"),
    KeyFile = file(Directory, "key.pem", [?MARKER "\n", Key]),
    CertFile = file(Directory, "cert.pem", Cert),
    Der = file(Directory, "cert.der", maps:get(certificate, Me)),
    Given = fun(C, K) -> #{'ssl.certificate.pem' => C, 'ssl.key.pem' => K} end,
    With = fun(C, K, P) -> (Given(C, K))#{'ssl.key.password' => P} end,
    Trust = fun(Pem) -> #{'ssl.ca.pem' => Pem} end,
    [
        %% the authority
        {Trust(<<" \n">>), "ssl.ca.pem", "is empty"},
        {Trust(<<"/etc/ssl/ca.pem">>), "ssl.ca.pem", "Is it the name of a file?"},
        {Trust(<<"not PEM, ", ?MARKER>>), "ssl.ca.pem", "is no PEM"},
        {Trust(base64:encode(CaPem)), "ssl.ca.pem", "is the base64 of PEM"},
        {Trust(Key), "ssl.ca.pem", "holds EC PRIVATE KEY where a certificate"},
        {Trust(one_line(CaPem)), "ssl.ca.pem", "has lost its line ends"},
        {Trust(half(CaPem)), "ssl.ca.pem", "is cut"},
        {Trust(spoilt(CaPem)), "ssl.ca.pem", "is broken at certificate 1"},
        {Trust(<<CaPem/binary, (spoilt(Cert))/binary>>), "ssl.ca.pem", "at certificate 2"},
        {Trust(<<$", CaPem/binary, $">>), "ssl.ca.pem", "has something before -----BEGIN"},
        {Trust(pem([Expired])), "ssl.ca.pem", "has expired on "},
        {Trust(pem([Young])), "ssl.ca.pem", "is not valid before "},
        {Trust(pem([Expired, Young])), "ssl.ca.pem", "has no certificate that is valid now"},
        {#{'ssl.ca.location' => Missing}, "ssl.ca.location", "cannot be read: No such file"},
        {#{'ssl.ca.location' => KeyFile}, "ssl.ca.location", "holds EC PRIVATE KEY"},
        {#{'ssl.ca.location' => Der}, "ssl.ca.location", "is no PEM"},
        %% the certificate
        {Given(Key, Key), "ssl.certificate.pem", "holds EC PRIVATE KEY where a certificate"},
        {Given(Request, Key), "ssl.certificate.pem", "holds CERTIFICATE REQUEST where a cert"},
        {Given(Public, Key), "ssl.certificate.pem", "holds PUBLIC KEY where a certificate"},
        {Given(spoilt(Cert), Key), "ssl.certificate.pem", "is broken at certificate 1"},
        {Given(half(Cert), Key), "ssl.certificate.pem", "is cut"},
        {Given(<<(pem([Below]))/binary, (spoilt(pem([Middle])))/binary>>, key(Below)),
            "ssl.certificate.pem", "is broken at certificate 2"},
        {Given(pem([Expired]), key(Expired)), "ssl.certificate.pem", "has expired on "},
        {Given(pem([Young]), key(Young)), "ssl.certificate.pem", "is not valid before "},
        {maps:merge(Trust(pem([Impostor])), Given(Cert, Key)), "ssl.certificate.pem",
            "is not signed by the given authority CN = ca"},
        {Given(pem([Below, Me, (identity(<<"middle">>, self))]), key(Below)),
            "ssl.certificate.pem", "is not signed by the given authority CN = middle"},
        {#{'ssl.key.pem' => Key}, "ssl.certificate.pem", "is not given, but a key is"},
        {#{'ssl.certificate.location' => KeyFile, 'ssl.key.location' => KeyFile},
            "ssl.certificate.location", "holds EC PRIVATE KEY where a certificate"},
        %% the key
        {#{'ssl.certificate.pem' => Cert}, "ssl.key.pem", "is not given, but a certificate is"},
        {Given(Cert, Cert), "ssl.key.pem", "holds CERTIFICATE where a private key"},
        {Given(Cert, Public), "ssl.key.pem", "holds PUBLIC KEY where a private key"},
        {Given(Cert, map_get(ssh, Made)), "ssl.key.pem", "holds OPENSSH PRIVATE KEY where"},
        {Given(Cert, map_get(parameters, Made)), "ssl.key.pem", "holds EC PARAMETERS where"},
        {Given(Cert, spoilt(Key)), "ssl.key.pem", "is a broken private key"},
        {Given(Cert, half(Key)), "ssl.key.pem", "is cut"},
        {Given(Cert, one_line(Key)), "ssl.key.pem", "has lost its line ends"},
        {Given(Cert, <<?MARKER>>), "ssl.key.pem", "is no PEM"},
        {Given(Cert, <<"-----BEGIN " ?MARKER "-----\nAA==\n-----END " ?MARKER "-----\n">>),
            "ssl.key.pem", "holds something else where a private key"},
        {Given(Cert, key(Stranger)), "ssl.key.pem", "does not belong to the certificate"},
        {Given(pem([map_get(rsa, Made)]), Key), "ssl.key.pem", "does not belong"},
        {#{'ssl.certificate.location' => CertFile, 'ssl.key.location' => CertFile},
            "ssl.key.location", "holds CERTIFICATE where a private key"},
        {#{'ssl.certificate.location' => CertFile, 'ssl.key.location' => Missing},
            "ssl.key.location", "cannot be read: No such file"},
        %% the passphrase
        {Given(Cert, Sealed), "ssl.key.password", "is not given, but the private key is encr"},
        {With(Cert, Sealed, <<"wrong" ?MARKER>>), "ssl.key.password", "does not open the private"},
        {With(Cert, map_get(traditional, Made), <<"wrong" ?MARKER>>), "ssl.key.password",
            "does not open the private key"}
    ].

file(Directory, Name, Text) ->
    File = filename:join(Directory, Name),
    ok = file:write_file(File, Text),
    File.

one_line(Pem) -> binary:replace(Pem, <<"\n">>, <<" ">>, [global]).

half(Pem) -> binary:part(Pem, 0, byte_size(Pem) div 2).

%% The marker in the middle of the text.
spoilt(Pem) ->
    {Before, <<_:18/binary, After/binary>>} = split_binary(Pem, byte_size(Pem) div 2),
    <<Before/binary, ?MARKER "!", After/binary>>.

%% ---- cases --------------------------------------------------------------------------

faults(Config) ->
    %% Each of many faults is told by the property that has it, at once, before any
    %% connection, and with nothing of a key or passphrase in what is told or logged,
    %% also when the client is the child of a supervisor.
    process_flag(trap_exit, true),
    Made = proplists:get_value(made, Config),
    Table = table(Made, proplists:get_value(priv_dir, Config)),
    ?assert(length(Table) >= 40),
    [
        begin
            Result = quickly(Module, options(Module, Kafka, Config)),
            ?assertMatch({Property, Text, {error, {bad_options, _}}}, {Property, Text, Result}),
            {error, {_, #{faults := Faults, message := Message}}} = Result,
            Key = list_to_binary(Property),
            ?assertMatch({Text, [#{option := Key}]}, {Text, Faults}),
            [#{reason := Reason}] = Faults,
            ?assertNotEqual({nomatch, Reason, Text}, {string:find(Reason, Text), Reason, Text}),
            ?assertMatch({_, _}, binary:match(Message, <<Key/binary, ": ", Reason/binary>>)),
            shows_nothing({Text, Result}, Config),
            Spec = Module:child_spec(options(Module, Kafka, Config)),
            Supervised = supervisor:start_link(?MODULE, [Spec]),
            ?assertMatch({error, _}, Supervised),
            ?assertMatch([_ | _], lines(Property, Config)),
            shows_nothing({Text, Supervised}, Config)
        end
     || {Kafka, Property, Text} <- Table, Module <- [crema_producer, crema_consumer]
    ],
    ?assertEqual({error, timeout}, gen_tcp:accept(proplists:get_value(socket, Config), 0)).

%% The work takes less; a machine that is busy may have to be asked again.
quickly(Module, Options) ->
    quickly(Module, Options, 10).

quickly(Module, Options, Tries) ->
    {Millis, Result} = crema_ct:timed(fun() -> Module:start_link(Options) end),
    case Millis =< ?MILLIS of
        true -> Result;
        false when Tries > 1 -> quickly(Module, Options, Tries - 1)
    end.

options(Module, Kafka, Config) ->
    Port = integer_to_list(proplists:get_value(port, Config)),
    Common = #{
        bootstrap_servers => "127.0.0.1:" ++ Port,
        kafka => maps:merge(#{'security.protocol' => ssl}, Kafka)
    },
    case Module of
        crema_producer -> Common;
        crema_consumer -> Common#{group => g, topics => [t], handler => {crema_ct_handler, #{}}}
    end.

all_faults_at_once(Config) ->
    %% What is wrong with one does not hide what is wrong with another.
    process_flag(trap_exit, true),
    #{me := Me} = proplists:get_value(made, Config),
    Kafka = #{
        'ssl.ca.pem' => "x", 'ssl.certificate.pem' => key(Me), 'ssl.key.pem' => pem([Me])
    },
    {error, {bad_options, #{faults := Faults}}} =
        crema_producer:start_link(options(crema_producer, Kafka, Config)),
    ?assertEqual(
        [<<"ssl.ca.pem">>, <<"ssl.certificate.pem">>, <<"ssl.key.pem">>],
        [Property || #{option := Property} <- Faults]
    ).

what_is_right(Config) ->
    %% Every form of keys passes, with text around it; nothing is warned of.
    Made = proplists:get_value(made, Config),
    #{ca := Ca, me := Me, rsa := Rsa, middle := Middle, below := Below} = Made,
    Directory = proplists:get_value(priv_dir, Config),
    Both = file(Directory, "both.pem", [key(Me), pem([Me])]),
    Parameters = <<(map_get(parameters, Made))/binary, (key(Me))/binary>>,
    Pass = fun() -> <<"right" ?MARKER>> end,
    [
        begin
            Kafka = Given#{'ssl.ca.pem' => ["of ours\n", pem([Ca]), "the end"]},
            P = crema_ct:started(crema_producer:start_link(options(crema_producer, Kafka, Config))),
            ?assertEqual({N, []}, {N, warned(P, Config)}),
            ok = crema_producer:stop(P, 0)
        end
     || {N, Given} <- lists:enumerate([
            #{},
            #{'ssl.certificate.pem' => pem([Me]), 'ssl.key.pem' => [?MARKER "\n", key(Me)]},
            #{'ssl.certificate.pem' => pem([Me]), 'ssl.key.pem' => Parameters},
            #{'ssl.certificate.pem' => pem([Rsa]), 'ssl.key.pem' => key(Rsa)},
            #{'ssl.certificate.pem' => pem([Me]), 'ssl.key.pem' => map_get(plain, Made)},
            #{
                'ssl.certificate.pem' => pem([Me]), 'ssl.key.pem' => map_get(sealed, Made),
                'ssl.key.password' => Pass
            },
            #{
                'ssl.certificate.pem' => pem([Me]), 'ssl.key.pem' => map_get(traditional, Made),
                'ssl.key.password' => Pass
            },
            #{'ssl.certificate.pem' => pem([Below, Middle]), 'ssl.key.pem' => key(Below)},
            #{'ssl.certificate.pem' => pem([Below, Middle, Ca]), 'ssl.key.pem' => key(Below)},
            #{'ssl.certificate.location' => Both, 'ssl.key.location' => Both}
        ])
    ].

not_looked_at(Config) ->
    %% Nothing is refused that librdkafka would not look at, or that cannot be judged:
    %% without TLS, authorities in a folder, looked for, or in two places, a large file.
    #{expired := Expired, ca := Ca, me := Me} = proplists:get_value(made, Config),
    Directory = proplists:get_value(priv_dir, Config),
    CaFile = file(Directory, "ca.pem", pem([Ca])),
    Large = file(Directory, "large.pem", [binary:copy(<<"a line\n">>, 200000), pem([Me])]),
    [
        crema_ct:started(crema_producer:start_link(options(crema_producer, Kafka, Config)))
     || Kafka <- [
            #{'security.protocol' => plaintext, 'ssl.ca.pem' => "x", 'ssl.key.pem' => "y"},
            #{'ssl.ca.location' => Directory},
            #{'ssl.ca.location' => probe},
            #{'ssl.certificate.location' => Large, 'ssl.key.pem' => key(Me)},
            #{'ssl.ca.location' => CaFile, 'ssl.ca.pem' => pem([Expired])},
            #{'ssl.ca.pem' => pem([Expired]), 'enable.ssl.certificate.verification' => false}
        ]
    ].

escaped(Config) ->
    %% Line ends may be written as \n, and be those of Windows.
    #{ca := Ca, me := Me} = proplists:get_value(made, Config),
    [
        crema_ct:started(crema_producer:start_link(options(crema_producer, Kafka, Config)))
     || {From, To} <- [{<<"\n">>, <<"\\n">>}, {<<"\n">>, <<"\r\n">>}, {<<"\n">>, <<"\\r\\n">>}],
        Kafka <- [
            maps:map(fun(_, Pem) -> binary:replace(Pem, From, To, [global]) end, #{
                'ssl.ca.pem' => pem([Ca]),
                'ssl.certificate.pem' => pem([Me]),
                'ssl.key.pem' => key(Me)
            })
        ]
    ].

warnings(Config) ->
    %% What works today, or may, is told by an event and a line of the log.
    Made = proplists:get_value(made, Config),
    #{ca := Ca, me := Me, ending := Ending, stranger := Stranger, expired := Expired} = Made,
    #{below := Below, old := Old} = Made,
    Trust = fun(Who) -> #{'ssl.ca.pem' => pem(Who)} end,
    Given = fun(Who) -> #{'ssl.certificate.pem' => pem(Who), 'ssl.key.pem' => key(hd(Who))} end,
    [
        begin
            P = crema_ct:started(crema_producer:start_link(options(crema_producer, Kafka, Config))),
            Found = crema_ct:await(fun() -> some(warned(P, Config)) end),
            Key = list_to_binary(Property),
            ?assertMatch({Text, [#{property := Key}]}, {Text, Found}),
            [#{message := Message, client := P}] = Found,
            ?assertNotEqual(nomatch, string:find(Message, Text)),
            ?assertEqual(1, length(lines(Message, Config))),
            true = ets:delete_all_objects(proplists:get_value(log, Config))
        end
     || {Kafka, Property, Text} <- [
            {Given([Ending]), "ssl.certificate.pem", "will expire on "},
            {Given([Me, Stranger]), "ssl.certificate.pem", "is followed by certificates that"},
            {maps:merge(Trust([Ca]), Given([Below, Old])), "ssl.certificate.pem", "has expired on "},
            {Trust([Ending, Ca]), "ssl.ca.pem", "will expire on "},
            {Trust([Expired, Ca]), "ssl.ca.pem", "has expired on "},
            {maps:merge(Trust([Stranger]), Given([Me])), "ssl.certificate.pem",
                "does not lead to the trusted authority, but to CN = ca"},
            {maps:merge(Trust([Ca]), Given([Below])), "ssl.certificate.pem",
                "but to CN = middle: brokers must know it"},
            {#{'enable.ssl.certificate.verification' => false},
                "enable.ssl.certificate.verification", "whoever answers is taken for a broker"}
        ]
    ].

shows_no_key(Config) ->
    %% Nor does a client that runs show its key, or that it has been asked for one.
    #{me := Me, sealed := Sealed} = proplists:get_value(made, Config),
    Kafka = #{
        'ssl.certificate.pem' => pem([Me]),
        'ssl.key.pem' => <<?MARKER "\n", Sealed/binary>>,
        'ssl.key.password' => <<"right" ?MARKER>>,
        debug => security
    },
    P = crema_ct:started(crema_producer:start_link(options(crema_producer, Kafka, Config))),
    shows_nothing([sys:get_status(P), sys:get_state(P), crema:info(P)], Config).

%% ---- what is told --------------------------------------------------------------------

%% Of a client that is open: its process has what came with the answer.
warned(P, Config) ->
    _ = sys:get_state(P),
    Log = proplists:get_value(log, Config),
    [M || {_, #{client := Of} = M} <- ets:lookup(Log, [crema, client, certificate]), Of =:= P].

some([]) -> false;
some(Found) -> {ok, Found}.

lines(Message, Config) ->
    Log = proplists:get_value(log, Config),
    [Line || {line, Line, _} <- ets:lookup(Log, line), string:find(Line, Message) =/= nomatch].

shows_nothing(Term, Config) ->
    Log = proplists:get_value(log, Config),
    All = [Term | ets:tab2list(Log)],
    true = ets:delete_all_objects(Log),
    Text = unicode:characters_to_binary(io_lib:format("~0tp", [All])),
    ?assertEqual(nomatch, binary:match(Text, <<?MARKER>>)).
