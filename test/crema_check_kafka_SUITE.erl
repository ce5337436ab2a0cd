%% Diagnosis of real brokers: who is let in, what they may do, and a broker that is
%% stopped.
-module(crema_check_kafka_SUITE).

-include_lib("stdlib/include/assert.hrl").

-import(crema_ct_check, [fails/3, step/2]).

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([good_connections/1, wrong_password/1, scram/1, security/1, mechanism/1, unknown_topic/1]).
-export([rights_of_topics/1, rights_of_groups/1, stopped_broker/1]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [{group, side_by_side}, stopped_broker].

groups() ->
    [
        {side_by_side, [parallel], [
            good_connections, wrong_password, scram, security, mechanism, unknown_topic, rights_of_topics,
            rights_of_groups
        ]}
    ].

%% carol may read, bob may only describe the topic, and nothing of the group.
init_per_suite(Config) ->
    Started = crema_ct:start(Config, crema_ct_kafka:bootstrap()),
    Topic = crema_ct:topic(Started, 2),
    Group = crema_ct:unique(<<"group">>),
    grant(["--allow-principal", "User:bob", "--operation", "Describe", "--topic", Topic]),
    grant(["--allow-principal", "User:carol", "--operation", "Read", "--group", Group]),
    [{topic, Topic}, {group, Group} | Started].

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:quiet().

good_connections(Config) ->
    %% By every listener the user is let in, and has nothing to mend.
    Topic = proplists:get_value(topic, Config),
    Group = proplists:get_value(group, Config),
    [
        begin
            Consumer = (given(Listener))#{topics => [Topic], group => Group},
            {ok, Steps} = crema:check(Consumer),
            ?assertMatch(#{status := ok}, step(group, Steps)),
            {ok, _} = crema:check((given(Listener))#{topics => [Topic], write => true})
        end
     || Listener <- ["PLAINTEXT", "SASL", "SASLTLS"]
    ],
    {ok, Steps} = crema:check((given("TLS"))#{topics => Topic}),
    ?assertMatch(
        #{status := ok, details := #{subject := <<"CN = localhost">>, verified := <<"ok">>}},
        step(tls, Steps)
    ),
    ?assertMatch(#{status := Known} when Known =:= ok; Known =:= skipped, step(write, Steps)).

wrong_password(_Config) ->
    %% A wrong password is told as such, in time, and is not shown.
    [
        begin
            #{kafka := Kafka} = Given = given(Listener),
            Step = fails(sasl, authentication, Given#{
                kafka => Kafka#{'sasl.password' => <<"m4rk3r-wrong">>}
            }),
            Said = io_lib:format("~p", [Step]),
            ?assertEqual(nomatch, string:find(Said, "m4rk3r"))
        end
     || Listener <- ["SASL", "SASLTLS"]
    ].

scram(_Config) ->
    %% A log-in that librdkafka cannot do on these brokers is told as that.
    #{kafka := Kafka} = Given = given("SASL"),
    Scram = Given#{kafka => Kafka#{'sasl.mechanism' => <<"SCRAM-SHA-256">>}},
    case crema_ct_cells:left_out(scram_sha_256) of
        none ->
            {ok, _} = crema:check(Scram);
        {Limit, _} ->
            [What] = [Text || #{code := Code, message := Text} <- crema_limits:table(), Code =:= Limit],
            #{message := Message} = fails(sasl, authentication, Scram),
            ?assertNotEqual({nomatch, Message}, {string:find(Message, What), Message})
    end.

security(_Config) ->
    %% What a listener wants, and what the options say, are told apart.
    At = fun(Listener, Like) ->
        (given(Like))#{bootstrap_servers => list_to_binary(os:getenv("KAFKA_" ++ Listener))}
    end,
    fails(sasl, sasl_expected, At("SASL", "PLAINTEXT")),
    fails(sasl, sasl_expected, At("SASLTLS", "TLS")),
    fails(sasl, sasl_not_expected, At("PLAINTEXT", "SASL")),
    fails(tls, tls_expected, At("TLS", "PLAINTEXT")),
    fails(tls, tls_not_spoken, At("PLAINTEXT", "TLS")).

mechanism(_Config) ->
    %% The listener's mechanisms are listed where it has not that of the options.
    #{kafka := Kafka} = Given = given("SASLTLS"),
    #{message := Message} = fails(sasl, unsupported_sasl_mechanism, Given#{
        kafka => Kafka#{'sasl.mechanism' => 'SCRAM-SHA-256'}
    }),
    ?assertNotEqual(nomatch, string:find(Message, "SCRAM-SHA-512")).

unknown_topic(Config) ->
    %% A topic that is not there is not made by asking, though the brokers would.
    Topic = crema_ct:unique(<<"nothing">>),
    Group = proplists:get_value(group, Config),
    [
        fails(topics, unknown_topic_or_part, (given("PLAINTEXT"))#{topics => Topic})
     || _ <- [1, 2]
    ],
    fails(topics, unknown_topic_or_part, (given("PLAINTEXT"))#{topics => Topic, group => Group}).

rights_of_topics(Config) ->
    %% One may see the topic, and neither read nor write it.
    Topic = proplists:get_value(topic, Config),
    Bob = bob(),
    fails(read, topic_authorization_failed, Bob#{topic => Topic}),
    fails(write, topic_authorization_failed, Bob#{topics => [Topic], write => true}),
    case crema:check(Bob#{topics => [Topic]}) of
        {error, {topic_authorization_failed, _}} -> ok;
        %% Without a message librdkafka 2.0.2 cannot tell.
        {ok, Steps} -> ?assertMatch(#{status := skipped}, step(write, Steps))
    end.

rights_of_groups(Config) ->
    %% One may not join the group.
    Topic = crema_ct:topic(Config, 1),
    Group = proplists:get_value(group, Config),
    fails(group, group_authorization_failed, (bob())#{topics => [Topic], group => Group}).

stopped_broker(_Config) ->
    %% A broker that is stopped takes connections and answers nothing.
    ok = crema_ct_kafka:brokers("pause"),
    try
        fails(kafka, no_answer, (given("PLAINTEXT"))#{deadline => 5000}),
        fails(tls, no_answer, (given("TLS"))#{deadline => 5000})
    after
        ok = crema_ct_kafka:brokers("resume")
    end,
    crema_ct:await(fun() ->
        case crema:check(given("PLAINTEXT")) of
            {ok, _} -> true;
            Error -> Error
        end
    end).

bob() ->
    #{kafka := Kafka} = Given = given("SASL"),
    Given#{kafka => Kafka#{'sasl.username' => bob, 'sasl.password' => <<"bob-secret">>}}.

%% The options that a listener wants.
given(Listener) ->
    #{bootstrap_servers => list_to_binary(os:getenv("KAFKA_" ++ Listener)), kafka => kafka(Listener)}.

kafka("PLAINTEXT") -> #{};
kafka("TLS") -> #{'security.protocol' => ssl, 'ssl.ca.location' => os:getenv("KAFKA_CA")};
kafka("SASL") -> (sasl())#{'security.protocol' => sasl_plaintext};
kafka("SASLTLS") -> maps:merge(kafka("TLS"), (sasl())#{'security.protocol' => sasl_ssl}).

sasl() ->
    #{
        'sasl.mechanism' => 'PLAIN',
        'sasl.username' => os:getenv("KAFKA_SASL_USERNAME"),
        'sasl.password' => os:getenv("KAFKA_SASL_PASSWORD")
    }.

grant(Arguments) ->
    Class =
        case os:getenv("KAFKA_VERSION") of
            "3." ++ _ -> "kafka.admin.AclCommand";
            _ -> "org.apache.kafka.tools.AclCommand"
        end,
    Said = crema_ct_kafka:tool(Class, [
        "--bootstrap-server", crema_ct_kafka:bootstrap(), "--add" | Arguments
    ]),
    ?assertMatch({match, _}, re:run(Said, "ALLOW"), Said).
