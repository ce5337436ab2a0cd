%% Clients that are configured by variables: what works, what is read anew, and that no
%% secret of them is shown. What is wrong in variables is in crema_broken_SUITE.
-module(crema_env_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include("crema_ct_secrets.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_testcase/2, end_per_testcase/2]).
-export([
    works_from_variables/1, short_names_everywhere/1, starts_read_anew/1,
    renewals_keep_who_it_is/1, secrets_are_not_shown/1
]).
-export([init/1, log/2]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        works_from_variables, short_names_everywhere, starts_read_anew,
        renewals_keep_who_it_is, secrets_are_not_shown
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

init_per_testcase(secrets_are_not_shown, Config) -> [{look, crema_ct_secrets:look()} | Config];
init_per_testcase(_, Config) -> Config.

end_per_testcase(_, Config) ->
    crema_ct:cleanup(),
    [ok = crema_ct_secrets:look_away(Look) || {look, Look} <- Config].

works_from_variables(Config) ->
    %% A producer, a consumer and a reader that are told nothing but their variables;
    %% names get the prefix, and the handler sees them without it.
    Variables = [
        {"KAFKA_URL", "kafka://" ++ string:replace(crema_ct:bootstrap(Config), ",", ",kafka://", all)},
        {"KAFKA_PREFIX", "amber-"}
    ],
    crema_ct_broken:with([{N, unicode:characters_to_list(V)} || {N, V} <- Variables], fun() ->
        {ok, P} = crema_producer:start_link([{env, heroku}]),
        {ok, Report} = crema:produce(P, #{topic => works, value => "1", partition => 0}),
        ?assertMatch(#{topic := <<"amber-works">>}, Report),
        ?assertEqual(crema:partition_count(P, "amber-works"), crema:partition_count(P, works)),
        Self = self(),
        {ok, C} = crema_consumer:start_link([
            {env, heroku}, {group, works}, {topics, [works]}, {strip_prefix, true},
            {handler, fun(Message) -> Self ! {handled, Message}, ok end}
        ]),
        receive
            {handled, Message} -> ?assertMatch(#{topic := <<"works">>, value := <<"1">>}, Message)
        after 30000 -> error(not_handled)
        end,
        ?assertMatch(#{assigned := [{<<"amber-works">>, 0} | _]}, crema:status(C)),
        {ok, [_], _} = crema:fold([{env, heroku}, {topic, works}], fun(M, Acc) -> {ok, [M | Acc]} end, []),
        ok = crema_consumer:stop(C),
        ok = crema_producer:stop(P)
    end).

short_names_everywhere(Config) ->
    %% Calls about a consumer's partitions and topics, retry and dead-letter topics and
    %% a topic handle take the names without their prefix.
    Prefix = "p" ++ integer_to_list(erlang:unique_integer([positive])) ++ ".",
    Common = #{bootstrap_servers => crema_ct:bootstrap(Config), prefix => Prefix},
    {ok, P} = crema_producer:start_link(Common),
    {ok, Handle} = crema:topic(P, one),
    {ok, Ref} = crema:push(Handle, #{value => "bad", partition => 0}),
    {ok, #{topic := Whole}} = crema:await(Ref, 20000),
    ?assertEqual(iolist_to_binary([Prefix, "one"]), Whole),
    {ok, _} = crema:produce(P, #{topic => two, value => "good", partition => 0}),
    Self = self(),
    {ok, C} = crema_consumer:start_link(Common#{
        group => g,
        topics => [one, two],
        strip_prefix => true,
        dead_letter => gone,
        handler => fun(#{topic := Topic, value := Value}) ->
            Self ! {Topic, Value},
            case Value of
                <<"bad">> -> {dead_letter, bad};
                _ -> ok
            end
        end
    }),
    ok = told(<<"one">>, <<"bad">>),
    ok = told(<<"two">>, <<"good">>),
    {ok, [#{offset := 0}]} = crema:seek(C, [{two, 0}], beginning),
    ok = told(<<"two">>, <<"good">>),
    ok = crema:pause(C, [{two, 0}]),
    ?assertMatch({ok, [#{topic := <<_, _/binary>>}]}, crema_control:position(C, [{two, 0}])),
    ?assertMatch({ok, [Whole, _]}, crema_control:subscription(C)),
    {ok, [Dead], _} = crema:fold(
        Common#{topic => gone, partitions => [0, 1, 2, 3], to => infinity},
        fun(M, Acc) -> {stop, [M | Acc]} end,
        []
    ),
    ?assertMatch({ok, #{topic := Whole}}, crema_dead_letter:origin(Dead)),
    ok = crema_consumer:stop(C),
    ok = crema_producer:stop(P).

told(Topic, Value) ->
    receive
        {Topic, Value} -> ok
    after 30000 -> error({not_told, Topic, Value})
    end.

starts_read_anew(Config) ->
    %% A specification that was made before there were variables; a restart by the
    %% supervisor takes what they say then. Warnings are logged at each start.
    {ok, _} = application:ensure_all_started(crema),
    Spec = crema_producer:child_spec([{env, heroku}, {name, ?FUNCTION_NAME}]),
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => warning, filter_default => log, to => self()}),
    {ok, Supervisor} = supervisor:start_link(?MODULE, []),
    Url = {"KAFKA_URL", "kafka://" ++ binary_to_list(iolist_to_binary(crema_ct:bootstrap(Config)))},
    crema_ct_broken:with([], fun() ->
        {error, {{bad_options, _}, _}} = supervisor:start_child(Supervisor, Spec)
    end),
    crema_ct_broken:with([Url], fun() ->
        {ok, P} = supervisor:start_child(Supervisor, Spec),
        {ok, _} = crema:produce(P, #{topic => anew, value => "1"}),
        Monitor = monitor(process, P),
        os:putenv("KAFKA_TRUSTED_CERT", "not used"),
        os:putenv("KAFKA_PREFIX", "amber-"),
        exit(P, kill),
        receive
            {'DOWN', Monitor, _, _, _} -> ok
        end,
        crema_ct:await(fun() ->
            is_pid(whereis(?FUNCTION_NAME)) andalso whereis(?FUNCTION_NAME) =/= P
        end),
        {ok, #{topic := <<"amber-anew">>}} =
            crema:produce(?FUNCTION_NAME, #{topic => anew, value => "2"}),
        receive
            {logged, <<_/binary>>} -> ok
        after 10000 -> error(no_warning)
        end,
        [os:unsetenv(Name) || Name <- ["KAFKA_TRUSTED_CERT", "KAFKA_PREFIX"]]
    end),
    ok = logger:remove_handler(?MODULE),
    ok = gen_server:stop(Supervisor).

renewals_keep_who_it_is(Config) ->
    %% What names a client, or says how it works, stays as it was, whatever the
    %% environment says by now; only how the cluster is reached is read anew.
    Topic = crema_ct:topic(Config, 1),
    ok = crema_ct:fill(Config, Topic, 0, [1]),
    Variables = fun(Group, Prefix) ->
        [
            {"K_BOOTSTRAP_SERVERS", binary_to_list(crema_ct:bootstrap(Config))},
            {"K_GROUP", binary_to_list(Group)}, {"K_PREFIX", Prefix},
            %% The mock cluster waits for about so long before it gives partitions anew.
            {"K_CONF_SESSION_TIMEOUT_MS", "3600"}, {"K_CONF_HEARTBEAT_INTERVAL_MS", "200"}
        ]
    end,
    Group = crema_ct:unique("group"),
    C = crema_ct_broken:with(Variables(Group, "topic-"), fun() ->
        crema_ct:started(crema_consumer:start_link(#{
            env => {prefix, "K"}, topics => [Topic], handler => {crema_ct_handler, #{to => self()}}
        }))
    end),
    [{W, #{value := <<"1">>}}] = crema_ct:handled(1),
    Later = Variables(<<"other">>, "other-") ++
        [{"K_CONF_GROUP_INSTANCE_ID", "other"}, {"K_CONF_CLIENT_ID", "renewed"}],
    crema_ct_broken:with(Later, fun() ->
        ok = application:set_env(crema, consumer, [{concurrency, {any, 2}}]),
        try
            ok = crema_renewal:renew(C)
        after
            ok = application:unset_env(crema, consumer)
        end
    end),
    ok = crema_ct:fill(Config, Topic, 0, [2]),
    ?assertMatch([{W, #{topic := Topic, value := <<"2">>}}], crema_ct:handled(1)),
    #{kafka := Kafka, group := Whole} = Options = (crema_group:renewed(C))(),
    ?assertEqual(<<"topic-", Group/binary>>, Whole),
    ?assertMatch(#{concurrency := 1, prefix := <<"topic-">>, topics := [Topic]}, Options),
    ?assertMatch(#{<<"client.id">> := <<"renewed">>}, Kafka),
    ?assertNot(is_map_key(<<"group.instance.id">>, Kafka)).

secrets_are_not_shown(Config) ->
    %% A marker in every variable that holds a secret is in no error, log, state,
    %% specification or explanation.
    process_flag(trap_exit, true),
    Look = proplists:get_value(look, Config),
    Heroku = [
        {"KAFKA_URL", "kafka+ssl://127.0.0.1:1"},
        {"KAFKA_CLIENT_CERT", "no certificate"},
        {"KAFKA_CLIENT_CERT_KEY", ?MARKER},
        {"KAFKA_CLIENT_CERT_KEY_PASSPHRASE", ?MARKER}
    ],
    Prefixed = [
        {"K_BOOTSTRAP_SERVERS", unicode:characters_to_list(crema_ct:bootstrap(Config))}
        | [
            {Name, ?MARKER}
         || Name <- [
                "K_SASL_PASSWORD",
                "K_SSL_KEY_PASSWORD",
                "K_SSL_KEYSTORE_PASSWORD",
                "K_CONF_SASL_OAUTHBEARER_CONFIG",
                "K_SASL_OAUTHBEARER_CLIENT_SECRET"
            ]
        ]
    ],
    Unknown = [{"K_CONF_MY_PASSWORD", ?MARKER} | Prefixed],
    Seen = [
        crema_ct_broken:with(Variables, fun() ->
            Options = #{env => Env, group => g, topics => [t], handler => crema_ct_handler},
            Own = maps:with([env], Options),
            [
                seen(crema_producer, Own, Look),
                seen(crema_consumer, Options, Look),
                crema:explain_config({producer, Own}),
                crema:explain_config(crema_consumer:child_spec(Options))
            ]
        end)
     || {Env, Variables} <- [
            {heroku, Heroku}, {{prefix, "K"}, Prefixed}, {{prefix, "K"}, Unknown}
        ]
    ],
    ?assertEqual([], crema_ct_secrets:shown(Seen, Look)).

%% All that can be seen of a client that runs, or does not.
seen(Module, Options, Look) ->
    Spec = Module:child_spec(Options),
    {ok, Supervisor} = supervisor:start_link(?MODULE, []),
    Started = supervisor:start_child(Supervisor, Spec),
    Everywhere = crema_ct_secrets:everywhere(Look),
    unlink(Supervisor),
    ok = gen_server:stop(Supervisor, shutdown, 30000),
    [Spec, Started, Everywhere].

%% The logger calls this, in the process that logs.
log(#{msg := {_, [starts_read_anew, Text]}}, #{to := To}) ->
    To ! {logged, Text};
log(_, _) ->
    ok.

init(Children) ->
    {ok, {#{intensity => 5}, Children}}.
