%% Certificates and keys are looked at before anybody connects: what is wrong is told
%% of the property that it is in, and nothing of a key is in what is told.
-module(crema_certificates_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include("crema_ct_secrets.hrl").

-import(crema_ct_certificates, [pem/1, key/1]).
-import(crema_ct_broken_pem, [file/3]).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_testcase/2, end_per_testcase/2]).
-export([
    all_faults_at_once/1, what_is_right/1, not_looked_at/1, escaped/1, warnings/1,
    shows_no_key/1
]).
-export([init/1]).

suite() -> [{timetrap, {seconds, 60}}].

all() -> [all_faults_at_once, what_is_right, not_looked_at, escaped, warnings, shows_no_key].

init_per_suite(Config) ->
    [{made, crema_ct_broken_pem:made(Config)} | crema_ct:start(Config, none)].

end_per_suite(Config) -> crema_ct:stop(Config).

init_per_testcase(_, Config) -> [{look, crema_ct_secrets:look()} | Config].

end_per_testcase(_, Config) ->
    crema_ct:cleanup(),
    crema_ct_secrets:look_away(proplists:get_value(look, Config)).

%% ---- cases --------------------------------------------------------------------------

options(Kafka) ->
    #{
        bootstrap_servers => "127.0.0.1:1",
        kafka => maps:merge(#{'security.protocol' => ssl}, Kafka)
    }.

all_faults_at_once(Config) ->
    %% What is wrong with one does not hide what is wrong with another.
    process_flag(trap_exit, true),
    #{me := Me} = proplists:get_value(made, Config),
    Kafka = #{
        'ssl.ca.pem' => "x", 'ssl.certificate.pem' => key(Me), 'ssl.key.pem' => pem([Me])
    },
    {error, {bad_options, #{faults := Faults}}} =
        crema_producer:start_link(options(Kafka)),
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
            P = crema_ct:started(crema_producer:start_link(options(Kafka))),
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
        crema_ct:started(crema_producer:start_link(options(Kafka)))
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
        crema_ct:started(crema_producer:start_link(options(Kafka)))
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
            P = crema_ct:started(crema_producer:start_link(options(Kafka))),
            Found = crema_ct:await(fun() -> some(warned(P, Config)) end),
            Key = list_to_binary(Property),
            ?assertMatch({Text, [#{property := Key}]}, {Text, Found}),
            [#{message := Message, client := P}] = Found,
            ?assertNotEqual(nomatch, string:find(Message, Text)),
            Look = proplists:get_value(look, Config),
            ?assertMatch([_], crema_ct_secrets:lines(Message, Look)),
            true = crema_ct_secrets:forget(Look)
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
    %% Nor does a client that runs show its key, passphrase or password anywhere, whatever
    %% librdkafka tells; under a supervisor, and after a death that is reported.
    #{me := Me, sealed := Sealed} = proplists:get_value(made, Config),
    Look = proplists:get_value(look, Config),
    Options = options(#{
        'security.protocol' => sasl_ssl,
        'sasl.mechanism' => 'PLAIN',
        'sasl.username' => me,
        'sasl.password' => ?MARKER,
        'ssl.certificate.pem' => pem([Me]),
        'ssl.key.pem' => <<?MARKER "\n", Sealed/binary>>,
        'ssl.key.password' => <<"right" ?MARKER>>,
        debug => all
    }),
    Member = Options#{group => g, topics => [t], handler => crema_ct_handler},
    {ok, Supervisor} = supervisor:start_link(?MODULE, [
        crema_producer:child_spec(Options), crema_consumer:child_spec(Member)
    ]),
    [
        begin
            ?assertEqual([], crema_ct_secrets:shown([crema:info(Pid), crema:status(Pid)], Look)),
            {ok, _, _, _, Owner} = crema_registry:lookup(Pid),
            %% Which of librdkafka's lines come is open: of a storm of them most are dropped.
            [_ | _] = crema_ct:await(fun() -> some(crema_ct_secrets:lines("[thrd:", Look)) end),
            ?assertEqual([], crema_ct_secrets:shown(crema_ct_secrets:everywhere(Look), Look)),
            true = crema_ct_secrets:forget(Look),
            true = exit(Owner, kill),
            [_ | _] = crema_ct:await(fun() -> some(crema_ct_secrets:lines("killed", Look)) end),
            ?assertEqual([], crema_ct_secrets:shown(crema_ct_secrets:everywhere(Look), Look))
        end
     || {_, Pid, _, _} <- supervisor:which_children(Supervisor)
    ],
    true = unlink(Supervisor),
    ok = gen_server:stop(Supervisor, shutdown, 30000).

init(Children) ->
    {ok, {#{intensity => 5}, Children}}.

%% ---- what is told --------------------------------------------------------------------

%% Of a client that is open: its process has what came with the answer.
warned(P, Config) ->
    _ = sys:get_state(P),
    Told = crema_ct_secrets:events([crema, client, certificate], proplists:get_value(look, Config)),
    [M || #{client := Of} = M <- Told, Of =:= P].

some([]) -> false;
some(Found) -> {ok, Found}.
