%% Secrets among the options show nowhere: whatever fails at whichever step, they
%% are in no error, log line, crash report, state or child specification.
-module(crema_secrets_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include("crema_ct_secrets.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_testcase/2, end_per_testcase/2]).
-export([
    what_is_there_is_seen/1, failing_starts/1, failing_starts_under_a_supervisor/1,
    running_clients/1, dying_clients/1, crashing_handlers/1, crashing_transactions/1,
    refused_by_the_broker/1, token_functions/1, tokens/1, without_the_application/1, dumped/1
]).
-export([dumped/0, init/1]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        what_is_there_is_seen, failing_starts, failing_starts_under_a_supervisor,
        running_clients, dying_clients, crashing_handlers, crashing_transactions,
        refused_by_the_broker, token_functions, tokens, without_the_application, dumped
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

init_per_testcase(_, Config) -> [{look, crema_ct_secrets:look()} | Config].

end_per_testcase(_, Config) ->
    crema_ct:cleanup(),
    crema_ct_secrets:look_away(look(Config)).

look(Config) -> proplists:get_value(look, Config).

what_is_there_is_seen(Config) ->
    %% A marker that is logged is found, as are events, what a supervisor reports, and what is in
    %% processes, tables and the application environment: the other cases look in the right places.
    Look = look(Config),
    Found = fun(Term) ->
        Texts = crema_ct_secrets:shown(Term, Look),
        true = crema_ct_secrets:forget(Look),
        Texts
    end,
    logger:debug("here: ~p", [?MARKER], #{domain => [any]}),
    ?assertMatch([_, _], Found(none)),
    ok = crema_events:execute([crema, client, log], #{}, #{message => ?MARKER}),
    ?assertMatch([_], Found(none)),
    Child = #{id => x, start => {erlang, apply, [fun() -> {error, ?MARKER} end, []]}},
    _ = under_a_supervisor(Child),
    ?assertMatch([_ | _], Found(none)),
    Everywhere = fun() -> Found(crema_ct_secrets:everywhere(Look)) end,
    ?assertEqual([], Everywhere()),
    ok = application:set_env(crema, a_key, ?MARKER),
    ?assertMatch([_], Everywhere()),
    ok = application:unset_env(crema, a_key),
    true = ets:insert(crema_registry, {a_key, ?MARKER}),
    ?assertMatch([_], Everywhere()),
    true = ets:delete(crema_registry, a_key),
    [
        begin
            {Holder, _} = crema_ct:hold(Put),
            ?assertMatch([_], Everywhere()),
            ok = crema_ct:let_go(Holder)
        end
     || Put <- [fun() -> put(a_key, ?MARKER) end, fun() -> self() ! {a_message, ?MARKER} end]
    ].

failing_starts(Config) ->
    %% A start that fails, at each of its steps.
    [
        begin
            process_flag(trap_exit, true),
            Result = Module:start_link(Options),
            ?assertMatch({Step, {error, _}}, {Step, Result}),
            no_leak(Step, Result, Config)
        end
     || Module <- [crema_producer, crema_consumer], {Step, Options} <- faults(Module, Config)
    ].

failing_starts_under_a_supervisor(Config) ->
    %% The same as a child of a supervisor, which reports the child's arguments.
    [
        begin
            {Spec, Result} = child(Module, Options),
            ?assertMatch({Step, {error, _}}, {Step, Result}),
            no_leak(Step, {Spec, Result}, Config)
        end
     || Module <- [crema_producer, crema_consumer], {Step, Options} <- faults(Module, Config)
    ].

%% Options with the marker in every property that names a secret, and something
%% wrong that is found in one step after another.
faults(Module, Config) ->
    Good = good(Module, Config),
    Secret = fun(More) -> Good#{kafka => maps:merge(maps:get(kafka, Good), More)} end,
    [
        {unknown_option, Good#{no_such_option => 1, password => ?MARKER}},
        {wrong_type, Good#{kafka => [{'sasl.password', {?MARKER}} | {password, ?MARKER}]}},
        {wrong_secret, Secret(#{<<"sasl.password">> => {not_text, ?MARKER}})},
        {given_twice, Good#{kafka => [{'sasl.password', ?MARKER}, {"sasl.password", ?MARKER}]}},
        {wrong_handler, Good#{handler => {no_such_module, #{api_token => ?MARKER}}}},
        {missing_servers, maps:remove(bootstrap_servers, Secret(#{}))},
        {secret_raises, Secret(#{'sasl.password' => fun() -> error({raised, ?MARKER}) end})},
        {secret_is_no_text, Secret(#{'sasl.password' => fun() -> {?MARKER} end})},
        {secret_with_zero, Secret(#{'sasl.password' => fun() -> [?MARKER, 0] end})},
        {unknown_property, Secret(#{'sasl.passwordx' => ?MARKER, 'no.such' => 1})},
        {wrong_property, Secret(#{'socket.timeout.ms' => soon})},
        {wrong_together, Secret(#{'security.protocol' => sasl_ssl, 'sasl.mechanism' => 'NONE'})},
        {wrong_key, Secret(#{'security.protocol' => ssl, 'ssl.key.pem' => ?MARKER})},
        {no_such_file, Secret(#{'security.protocol' => ssl, 'ssl.ca.location' => "/no/such"})}
    ].

good(Module, Config) ->
    Common = #{
        bootstrap_servers => crema_ct:bootstrap(Config),
        kafka => #{
            'sasl.username' => user,
            'sasl.password' => ?MARKER,
            'ssl.key.password' => fun() -> ?MARKER end,
            'ssl.keystore.password' => <<?MARKER>>,
            'sasl.oauthbearer.config' => "secret=" ?MARKER
        }
    },
    Handler = {crema_ct_handler, #{pin => ?MARKER}},
    case Module of
        crema_producer -> Common#{events => [calls, reports]};
        crema_consumer -> Common#{group => g, topics => [t], handler => Handler}
    end.

child(Module, Options) ->
    Spec = Module:child_spec(Options),
    {Spec, under_a_supervisor(Spec)}.

under_a_supervisor(Spec) ->
    process_flag(trap_exit, true),
    supervisor:start_link(?MODULE, [Spec]).

stop_supervisor(Supervisor) ->
    true = unlink(Supervisor),
    Monitor = erlang:monitor(process, Supervisor),
    exit(Supervisor, shutdown),
    receive
        {'DOWN', Monitor, _, _, _} -> ok
    end.

init(Children) ->
    {ok, {#{intensity => 0}, Children}}.

running_clients(Config) ->
    %% A client that runs shows no secret to whoever looks into its processes.
    {ok, Supervisor} = supervisor:start_link(?MODULE, []),
    [
        begin
            {ok, Pid} = supervisor:start_child(Supervisor, Module:child_spec(good(Module, Config))),
            no_leak(Module, crema_ct_secrets:everywhere(look(Config)), Config),
            no_leak(Module, [crema:info(Pid), crema:status(Pid)], Config),
            no_leak(Module, supervisor:get_childspec(Supervisor, Module), Config)
        end
     || Module <- [crema_producer, crema_consumer]
    ],
    ok = stop_supervisor(Supervisor),
    no_leak(stopped, none, Config).

crashing_handlers(Config) ->
    %% A handler that does not know its arguments, or its state, crashes without
    %% showing them.
    Self = self(),
    Tell = fun(_, _, Metadata, _) -> Self ! {crashed, Metadata} end,
    ok = crema_events:attach(?FUNCTION_NAME, [crema, consumer, handler_crashed], Tell, none),
    Topic = crema_ct:topic(Config, 1),
    ok = crema_ct:fill(Config, Topic, 0, [1]),
    [
        begin
            C = crema_ct:consumer(Config, Topic, Args, #{}),
            receive
                {crashed, Metadata} -> no_leak(Args, Metadata, Config)
            after 20000 -> error({not_crashed, Args})
            end,
            ok = crema_consumer:stop(C)
        end
     || Args <- [
            #{pin => ?MARKER},
            #{pin => ?MARKER, init => fun(_, State) -> {ok, maps:remove(init, State)} end}
        ]
    ],
    ok = crema_events:detach(?FUNCTION_NAME).

crashing_transactions(Config) ->
    %% Who has a consumer's transactions crashes without showing what it was given.
    {ok, Options} = crema_options:parse(consumer, (good(crema_consumer, Config))#{
        commit => exactly_once, transactional_id => id
    }),
    {ok, Pid} = crema_exactly_once:start_link(self(), self(), Options),
    true = unlink(Pid),
    _ = sys:replace_state(Pid, fun({_, Data}) -> {backing_off, Data} end),
    Given = [#{topic => t, value => ?MARKER}],
    Adding = [
        spawn_monitor(fun() -> aborted = crema_exactly_once:add(Pid, 1, {1, 1}, Given) end)
     || _ <- [one, another]
    ],
    crema_ct:await(fun() ->
        {monitored_by, Known} = process_info(Pid, monitored_by),
        length([One || {One, _} <- Adding, lists:member(One, Known)]) =:= 2
    end),
    no_leak(running, sys:get_status(Pid), Config),
    _ = sys:replace_state(Pid, fun({_, Data}) -> {no_such_state, Data} end),
    ok = gen_statem:cast(Pid, crash),
    [
        receive
            {'DOWN', Monitor, process, _, Reason} -> ?assertEqual(normal, Reason)
        end
     || {_, Monitor} <- Adding
    ],
    crema_ct:await(fun() -> crema_ct_secrets:lines(look(Config)) =/= [] end),
    no_leak(crashed, none, Config).

dying_clients(Config) ->
    %% Nor do the reports of one that dies, in whatever way.
    Ways = [
        fun(Pid, _) -> exit(Pid, kill) end,
        fun(_, Owner) -> exit(Owner, kill) end,
        fun(_, Owner) -> exit(element(3, crema_registry:lookup(Owner)), kill) end,
        fun(_, Owner) -> Owner ! {'EXIT', self(), boom} end,
        fun(_, Owner) -> exit(Owner, boom) end,
        fun(_, Owner) -> sys:terminate(Owner, boom) end
    ],
    [
        begin
            {ok, Supervisor} = supervisor:start_link(?MODULE, []),
            true = unlink(Supervisor),
            Monitor = erlang:monitor(process, Supervisor),
            {ok, Pid} = supervisor:start_child(Supervisor, Module:child_spec(good(Module, Config))),
            {ok, _, _, _, Owner} = crema_registry:lookup(Pid),
            _ = Die(Pid, Owner),
            await_end(Monitor, Supervisor, Pid),
            no_leak(Module, none, Config)
        end
     || Module <- [crema_producer, crema_consumer], Die <- Ways
    ],
    ?assert(length(crema_ct_secrets:lines(look(Config))) > 10).

%% With no restart allowed the supervisor dies with its child; a consumer's own
%% supervisor restarts what is below it.
await_end(Monitor, Supervisor, Pid) ->
    crema_ct:await(fun() ->
        not is_process_alive(Supervisor) orelse
            (is_process_alive(Pid) andalso crema_registry:lookup(Pid) =/= not_started)
    end),
    exit(Supervisor, shutdown),
    receive
        {'DOWN', Monitor, _, _, _} -> ok
    end.

refused_by_the_broker(Config) ->
    %% Nor what librdkafka logs, with all its debugging, of a log-in that fails.
    Kafka = #{
        'security.protocol' => sasl_plaintext,
        'sasl.mechanism' => 'PLAIN',
        debug => all,
        'statistics.interval.ms' => 100
    },
    [
        begin
            Given = good(Module, Config),
            Options = Given#{kafka => maps:merge(maps:get(kafka, Given), Kafka)},
            Bare = maps:update_with(
                kafka,
                fun(K) -> maps:with(['sasl.username', 'sasl.password' | maps:keys(Kafka)], K) end,
                Options
            ),
            Client = crema_ct:started(Module:start_link(Bare)),
            {error, Reason} = crema:await_ready(Client, 1000),
            no_leak(Module, [Reason, crema:status(Client), crema_error:format(Reason)], Config)
        end
     || Module <- [crema_producer, crema_consumer]
    ],
    ?assertMatch([_ | _], crema_ct_secrets:lines("[thrd:", look(Config))).

token_functions(Config) ->
    %% Whatever the function returns or raises with the token in it, and however it ends: nobody
    %% is shown the token, neither by crema nor by the report of a process that has crashed.
    {_, Servers} = Broker = crema_ct_login:start(self()),
    Ways = odd_tokens(),
    Calls = counters:new(1, []),
    Token = fun() ->
        ok = counters:add(Calls, 1, 1),
        case lists:nthtail(min(length(Ways), counters:get(Calls, 1) - 1), Ways) of
            [Way | _] -> Way();
            [] -> {ok, #{token => "another-token", lifetime => 60000}}
        end
    end,
    ok = crema_ct_life:told([[crema, client, token_failed]]),
    P = crema_ct:started(crema_producer:start_link(#{
        bootstrap_servers => Servers,
        oauth_token => Token,
        oauth_backoff => {1, 1},
        kafka => crema_ct_login:properties('OAUTHBEARER', #{})
    })),
    _ = [crema_ct_life:event([crema, client, token_failed]) || _ <- Ways],
    ok = crema_ct_life:untold(),
    _ = crema_ct_login:seen(<<"another-token">>),
    no_leak(running, [crema:status(P), crema_ct_secrets:everywhere(look(Config))], Config),
    crema_ct_login:stop(Broker).

odd_tokens() ->
    [Text, Atom] = [<<?MARKER>>, list_to_atom(?MARKER)],
    Good = #{token => Text, lifetime => 60000},
    Odd = [
        ?MARKER, Text, Atom, [Text], [Atom], [{token, Text} | Text], [{token, Text, 1}], {Text},
        #{Text => 1}, #{access_token => Text, expires_in => 3600}, #{<<"token">> => Text},
        Good#{token => {Text}}, Good#{token => [Text | Atom]}, Good#{token => [Text, 0]},
        Good#{token => [Text, 10]}, Good#{token => [Text, 16#1F600]},
        Good#{lifetime => Text}, Good#{lifetime => 1.0e6}, Good#{expires_at => Text},
        Good#{principal => {Text}}, Good#{principal => [Text, 0]}
        | [
            Good#{extensions => Extensions}
         || Extensions <- [
                Text, ?MARKER, #{Text => x}, #{x => [Text, 1]}, [{x, Text} | Text],
                [{x, Text, y}], #{x => {Text}}, #{auth => Text}
            ]
        ]
    ],
    Raised = [
        Text, Atom, {Text}, {Atom, Text}, {ok, Good}, Good, {badmatch, Good}, ?MARKER,
        #{'__struct__' => Text}, #{'__struct__' => 'Elixir.Oops', message => Text}
    ],
    Reasons = [
        #{access_token => Text}, [{access_token, Text} | oops], {bearer, Text},
        #{client_assertion => Text}, {401, [{"Authorization", ["Bearer ", Text]}, {'set-cookie', Text}]}
    ],
    Calls = [
        fun() -> lists:foreach(fun erlang:binary_to_integer/1, [Text]) end,
        fun() -> lists:foldl(fun maps:get/2, Good, [Text]) end,
        fun() -> crema_partitioner:no_such_function(Text) end,
        fun() -> erlang:error(oops, [Text], [{error_info, #{cause => Text}}]) end,
        fun() -> erlang:raise(error, oops, [{?MODULE, tokens, [Text], [{line, {Text}}]}]) end,
        fun() -> exit(self(), Text) end,
        fun() -> spawn_link(fun() -> exit({shutdown, Text}) end), timer:sleep(infinity) end
    ],
    [fun() -> Term end || Given <- Odd, Term <- [Given, {ok, Given}]] ++
        [fun() -> {error, Reason} end || Reason <- Reasons] ++
        [fun() -> erlang:Raise(Term) end || Raise <- [error, exit, throw], Term <- Raised] ++
        Calls.

tokens(Config) ->
    %% Tokens and changed passwords show nowhere, nor what the function was made of: while it
    %% runs, returns nonsense, crashes and is killed, with all of librdkafka's debugging.
    {_, Servers} = Broker = crema_ct_login:start(self()),
    Debug = #{debug => all, 'sasl.username' => user, 'sasl.password' => ?MARKER},
    Secret = ?MARKER,
    Good = #{token => ?MARKER, lifetime => 60000, extensions => #{a => ?MARKER}},
    Once = crema_ct_consume:once([nonsense, crash, kill, bad]),
    Token = fun(_) ->
        case [What || What <- [nonsense, crash, kill, bad], Once(What)] of
            [] -> {ok, Good};
            [nonsense | _] -> {Secret};
            [crash | _] -> error({badmatch, Good});
            [kill | _] -> exit(self(), kill);
            [bad] -> {ok, Good#{token => ?MARKER "\x{1}"}}
        end
    end,
    Options = #{
        bootstrap_servers => Servers,
        oauth_backoff => {1, 1},
        oauth_token => Token,
        kafka => crema_ct_login:properties('OAUTHBEARER', Debug)
    },
    P = crema_ct:started(crema_producer:start_link(Options)),
    _ = crema_ct_login:seen(<<?MARKER>>),
    no_leak(running, crema_ct_secrets:everywhere(look(Config)), Config),
    {monitors, Monitored} = process_info(P, monitors),
    [true = exit(Pid, kill) || {process, Pid} <- Monitored],
    true = exit(P, kill),
    Spec = crema_producer:child_spec(Options#{oauth_token => {?MODULE, token, [Secret]}}),
    no_leak(spec, Spec, Config),
    Q = crema_ct:started(
        crema_producer:start_link(#{
            bootstrap_servers => Servers, kafka => crema_ct_login:properties('PLAIN', Debug)
        })
    ),
    ok = crema_sasl:set_credentials(Q, #{username => other, password => ?MARKER}),
    _ = crema_ct_login:seen(<<"other", 0, ?MARKER>>),
    Wrong = crema_sasl:set_credentials(Q, #{username => {x}, password => ?MARKER}),
    no_leak(set, [Wrong, crema_ct_secrets:everywhere(look(Config))], Config),
    crema_ct_login:stop(Broker).

without_the_application(Config) ->
    %% Nor what is said when crema's application does not run.
    ok = application:stop(crema),
    [
        begin
            process_flag(trap_exit, true),
            Result = (catch Module:start_link(good(Module, Config))),
            ?assertMatch({Module, {error, {not_started, _}}}, {Module, Result}),
            no_leak(Module, [Result, child(Module, good(Module, Config))], Config)
        end
     || Module <- [crema_producer, crema_consumer]
    ],
    {ok, _} = application:ensure_all_started(crema).

%% A node is booted, and each step of it has a deadline of its own.
dumped() -> [{timetrap, {minutes, 5}}].

dumped(Config) ->
    %% Nor is it in the crash dump of a VM, whether options were given or variables read. The
    %% identifier of a child is found there, as text in any process would be.
    File = filename:join(proplists:get_value(priv_dir, Config), "erl_crash.dump"),
    Given = maps:remove(events, good(crema_producer, Config)),
    Member = Given#{group => g, topics => [t], handler => crema_ct_handler},
    Env = #{env => {prefix, "K"}},
    {ok, Peer, _} = peer:start(#{
        connection => standard_io,
        wait_boot => 60000,
        args => ["-pa" | code:get_path()],
        env => [
            {"ERL_CRASH_DUMP", File},
            {"K_BOOTSTRAP_SERVERS", binary_to_list(crema_ct:bootstrap(Config))},
            {"K_SASL_PASSWORD", ?MARKER}
        ]
    }),
    Monitor = monitor(process, Peer),
    {ok, _} = peer:call(Peer, application, ensure_all_started, [crema], 20000),
    [
        {ok, _} = peer:call(Peer, supervisor, start_child, [kernel_safe_sup, Spec#{id => Id}], 20000)
     || {Id, Spec} <- [
            {<<"the producer">>, crema_producer:child_spec(Given)},
            {<<"the consumer">>, crema_consumer:child_spec(Member)},
            {<<"by variables">>, crema_producer:child_spec(Env)}
        ]
    ],
    ok = peer:cast(Peer, erlang, halt, ["dumped by a test"]),
    receive
        {'DOWN', Monitor, _, _, _} -> ok
    end,
    {ok, Dump} = file:read_file(File),
    %% Binaries are in base64 there: four letters for three.
    In = fun(<<Text:12/binary, _/binary>>) -> binary:match(Dump, base64:encode(Text)) end,
    ?assertMatch({_, _}, In(<<"the producer">>)),
    ?assertEqual(nomatch, In(<<?MARKER>>)).

%% The marker is neither in what is given nor in what was logged or told since.
no_leak(Where, Term, Config) ->
    ?assertEqual({Where, []}, {Where, crema_ct_secrets:shown(Term, look(Config))}).
