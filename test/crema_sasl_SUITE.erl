%% Tokens that are got for a client, and credentials that change while it runs: what clients
%% log in by is seen by a broker that lets nobody in.
-module(crema_sasl_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_testcase/2, end_per_testcase/2]).
-export([
    token_before_connecting/1, refreshed_in_time/1, failures/1, killed_and_ended/1,
    traps_exits/1, every_kind/1, checked/1, unsecured/1,
    credentials/1, credentials_of_all/1, credentials_outlive_clients/1, built_without/1
]).
-export([token/3]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        token_before_connecting, refreshed_in_time, failures, killed_and_ended,
        traps_exits, every_kind, checked, unsecured,
        credentials, credentials_of_all, credentials_outlive_clients, built_without
    ].

init_per_suite(Config) -> crema_ct:start(Config, none).

end_per_suite(Config) -> crema_ct:stop(Config).

init_per_testcase(_, Config) ->
    ok = crema_ct_life:told([
        [crema, client, token_refreshed], [crema, client, token_failed], [crema, client, error]
    ]),
    {_, Servers} = Broker = crema_ct_login:start(self()),
    [{broker, Broker}, {bootstrap, Servers} | lists:keydelete(bootstrap, 1, Config)].

end_per_testcase(_, Config) ->
    ok = crema_ct_life:untold(),
    crema_ct:cleanup(),
    crema_ct_login:stop(proplists:get_value(broker, Config)).

%% ---- tokens ----------------------------------------------------------------------

token_before_connecting(Config) ->
    %% The function is called before the client connects, in a process that is neither
    %% the caller's nor the client's, and the first connection has its token.
    Self = self(),
    Token = fun(About) ->
        Self ! {called, self(), About},
        {ok, #{token => "first-token", lifetime => 60000, principal => me, extensions => [{a, b}]}}
    end,
    P = bearing(Config, #{oauth_token => Token, name => ?FUNCTION_NAME}),
    receive
        {called, Runner, About} ->
            ?assertNot(lists:member(Runner, [Self, P])),
            Expected = #{client => P, name => ?FUNCTION_NAME, attempt => 1, config => <<"a=b">>},
            ?assertEqual(Expected, About)
    end,
    #{client := P, lifetime := 60000, attempt := 1} = told(token_refreshed),
    Frame = crema_ct_login:seen(<<"auth=Bearer first-token">>),
    ?assertMatch({_, _}, binary:match(Frame, <<"a=b">>)),
    receive
        {called, _, _} -> error(called_again)
    after 0 -> ok
    end.

refreshed_in_time(Config) ->
    %% A token is exchanged when 80 % of its life have passed, however short it is.
    Calls = counters:new(1, []),
    Token = fun() ->
        ok = counters:add(Calls, 1, 1),
        Number = integer_to_binary(counters:get(Calls, 1)),
        Now = erlang:system_time(millisecond),
        {ok, #{token => <<"number-", Number/binary>>, expires_at => Now + 300}}
    end,
    Began = crema_ct:now_ms(),
    _ = bearing(Config, #{oauth_token => Token}),
    ok = used(3),
    Took = crema_ct:now_ms() - Began,
    ?assert(Took >= 2 * 230, Took),
    ?assert(counters:get(Calls, 1) =< 2 + Took div 230).

%% Waits for a log-in with a token of that number, or a later one.
used(Number) ->
    Frame = crema_ct_login:seen(<<"number-">>),
    {match, [Used]} = re:run(Frame, "number-(\\d+)", [{capture, all_but_first, list}]),
    case list_to_integer(Used) of
        Old when Old < Number -> used(Number);
        _ -> ok
    end.

failures(Config) ->
    %% Whatever goes wrong with the function, and whatever is no token, or none any more, is an
    %% event with the reason and no part of the token; the first in a row is an error of the
    %% client and its last one. After each the function is called again, and the next token is
    %% used.
    Bad = [
        {fun() -> {error, "the server is busy"} end, "returned an error: the server is busy"},
        {fun() -> {error, #{password => "s3cret", status => 401}} end, "401"},
        {fun() -> error({badmatch, "s3cret"}) end, "crashed with error badmatch in crema_sasl_SUITE"},
        {fun() -> timer:sleep(infinity) end, "longer than 500 ms"},
        {fun() -> throw(s3cret) end, "crashed with throw in"},
        {fun() -> "s3cret" end, "neither"},
        {fun() -> {error, lists:duplicate(5000, "a\nb")} end, "error: a ba b.{1,700}$"}
        | [
            {fun() -> {ok, Token} end, Expected}
         || {Token, Expected} <- [
                {#{token => "s3cret"}, "neither expires_at nor lifetime"},
                {s3cret, "is no map"},
                {"s3cret", "is no map"},
                {[{token, "s3cret", 1}], "is no map"},
                {[{token, "s3cret"} | s3cret], "is no map"},
                {#{token => "s3cret", lifetime => 1.5}, "lifetime of what it returned must be"},
                {#{token => "s3cret", lifetime => 0}, "lifetime of what it returned must be"},
                {#{token => "s3cret", lifetime => 1 bsl 60}, "lifetime of what it returned must be"},
                {#{token => "s3cret", expires_at => in(second)}, "in another unit"},
                {#{token => "s3cret", expires_at => in(microsecond)}, "in another unit"},
                {#{token => "s3cret", expires_at => in(nanosecond)}, "in another unit"},
                {#{lifetime => 10, s3cret => 1}, "no token"},
                {#{token => {s3cret}, lifetime => 10}, "no token"},
                {#{token => [<<"s3cret">>, 0], lifetime => 10}, "no token"},
                {#{token => "s3cret", expires_at => 1 bsl 40}, "has ended \\d+ ms ago"},
                {#{token => "s3cret\x{1}", lifetime => 1000}, "not taken: .*printable"},
                {#{token => "s3cret\n", lifetime => 1000}, "the line end of a file"},
                {#{token => "t", lifetime => 1000, extensions => #{auth => s3cret}}, "is auth"},
                {#{token => "t", lifetime => 1000, extensions => s3cret}, "no token"},
                {#{token => "t", lifetime => 1000, principal => {s3cret}}, "principal"}
            ]
        ]
    ],
    Enough = atomics:new(1, []),
    Token = fun(#{attempt := Attempt}) ->
        case atomics:get(Enough, 1) of
            0 when Attempt > length(Bad) -> {error, not_yet};
            0 -> (element(1, lists:nth(Attempt, Bad)))();
            1 -> {ok, #{token => "the-token", lifetime => 60000}}
        end
    end,
    P = bearing(Config, #{oauth_token => Token, oauth_timeout => 500, oauth_backoff => {1, 20}}),
    [First | _] = [
        begin
            #{client := P, attempt := Attempt, code := token_failed} = Failed = told(token_failed),
            #{delay := Delay, message := Text} = Failed,
            ?assert(Delay =< 20),
            ?assertMatch({match, _}, re:run(Text, Expected), {Expected, Text}),
            ?assertEqual(nomatch, re:run(Text, "s3cret"), Text),
            Text
        end
     || {Attempt, {_, Expected}} <- lists:zip(lists:seq(1, length(Bad)), Bad)
    ],
    #{client := P, code := token_failed, message := First} = told(error),
    crema_ct:await(fun() ->
        case crema:status(P) of
            #{last_error := {token_failed, #{message := First}}} -> true;
            Status -> Status
        end
    end),
    ok = atomics:put(Enough, 1, 1),
    _ = crema_ct_login:seen(<<"Bearer the-token">>),
    receive
        {event, [crema, client, error], #{code := token_failed}} -> error(told_again)
    after 0 -> ok
    end.

%% An hour from now.
in(Unit) ->
    erlang:system_time(Unit) + erlang:convert_time_unit(3600, second, Unit).

killed_and_ended(Config) ->
    %% Who calls the function may be killed, as may who runs it: the function is called again.
    %% Both end with the client, also while the function hangs.
    Self = self(),
    Token = fun() ->
        Self ! {called, self()},
        receive
            go -> {ok, #{token => "the-token", lifetime => 100}}
        end
    end,
    P = bearing(Config, #{oauth_token => Token, oauth_backoff => {10, 10}}),
    true = exit(called(), kill),
    #{message := Text} = told(token_failed),
    ?assertMatch({match, _}, re:run(Text, "from outside")),
    Second = called(),
    {links, [Keeper]} = process_info(Second, links),
    true = exit(Keeper, kill),
    Third = called(),
    crema_ct:await(fun() -> not is_process_alive(Second) end),
    Third ! go,
    _ = told(token_refreshed),
    Fourth = called(),
    {links, [Another]} = process_info(Fourth, links),
    ok = crema_producer:stop(P),
    crema_ct:await(fun() -> not is_process_alive(Fourth) andalso not is_process_alive(Another) end).

traps_exits(Config) ->
    %% A function that traps exits and hangs ends with the client, with a client that is given up
    %% (as a renewal does), and when its time is over; what it returns too late is not told.
    Self = self(),
    Hang = fun() ->
        process_flag(trap_exit, true),
        Self ! {called, self()},
        timer:sleep(infinity)
    end,
    P = bearing(Config, #{oauth_token => Hang, oauth_timeout => 300, oauth_backoff => {1, 1}}),
    First = called(),
    #{message := Text} = told(token_failed),
    ?assertMatch({match, _}, re:run(Text, "longer than 300 ms")),
    Second = called(),
    Options = #{oauth_token => fun(_) -> Hang() end, oauth_timeout => 60000, oauth_backoff => {1, 1}},
    About = #{client => self(), name => undefined},
    Keeper = crema_token:start(crema_ct_life:port(P), About, Options#{kafka => #{}}),
    Given = called(),
    ok = crema_token:stop(Keeper),
    ok = crema_producer:stop(P),
    crema_ct:await(fun() -> [Pid || Pid <- [First, Second, Given], is_process_alive(Pid)] =:= [] end).

called() ->
    receive
        {called, Runner} -> Runner
    after 15000 -> error(not_called)
    end.

every_kind(Config) ->
    %% Consumers have tokens as producers do, as do their own producers of dead letters and
    %% transactions, and readers, also when the processes that get them are killed. The
    %% function may be one of a module.
    Self = self(),
    Options = #{
        bootstrap_servers => crema_ct:bootstrap(Config),
        oauth_token => {?MODULE, token, [Self, "a-token"]},
        kafka => crema_ct_login:properties('OAUTHBEARER', #{})
    },
    Consumer = Options#{group => g, topics => [t], handler => crema_ct_handler},
    [
        crema_ct:started(crema_consumer:start_link(maps:merge(Consumer, More)))
     || More <- [
            #{dead_letter => "dead"},
            #{commit => exactly_once, transactional_id => id}
        ]
    ],
    Clients = have_tokens(4),
    [
        exit(Pid, kill)
     || Pid <- processes(), {crema_token, init, _} <- [proc_lib:translate_initial_call(Pid)]
    ],
    ?assertEqual(Clients, have_tokens(4)),
    ?assertMatch({error, _}, crema_reader:open(Options#{topic => t, timeout => 500})),
    [Reader] = have_tokens(1),
    ?assertNot(lists:member(Reader, Clients)),
    crema_ct_login:seen(<<"a-token">>).

have_tokens(Count) ->
    lists:usort([
        receive
            {called, #{client := Pid, attempt := 1}} -> Pid
        after 15000 -> error(not_called)
        end
     || _ <- lists:seq(1, Count)
    ]).

token(About, To, Token) ->
    To ! {called, About},
    {ok, #{token => Token, lifetime => 60000}}.

checked(Config) ->
    %% A check of a connection has tokens as clients do, and tells why there is none.
    Given = #{
        bootstrap_servers => crema_ct:bootstrap(Config),
        oauth_timeout => 300,
        kafka => crema_ct_login:properties('OAUTHBEARER', #{})
    },
    [
        begin
            {error, {Code, #{steps := Steps}}} = crema:check(Given#{oauth_token => Token}),
            [#{message := Text}] = [Step || #{step := sasl} = Step <- Steps],
            ?assertMatch({match, _}, re:run(Text, Expected), {Expected, Text})
        end
     || {Token, Code, Expected} <- [
            {{?MODULE, token, [self(), "a-token"]}, authentication, "SASL"},
            {fun() -> {error, "the server is busy"} end, token_failed, "the server is busy"},
            {fun() -> timer:sleep(infinity) end, token_failed, "longer than 300 ms"}
        ]
    ],
    receive {called, #{attempt := 1}} -> ok end,
    crema_ct_login:seen(<<"Bearer a-token">>).

unsecured(Config) ->
    %% enable.sasl.oauthbearer.unsecure.jwt has the tokens made here, of
    %% sasl.oauthbearer.config, and anew when they end: the oldest librdkafka dies then.
    Given = "principal=me scope=a,b lifeSeconds=1 extension_traceId=17",
    P = bearing(Config, #{
        kafka => crema_ct_login:properties('OAUTHBEARER', #{
            'enable.sasl.oauthbearer.unsecure.jwt' => true, 'sasl.oauthbearer.config' => Given
        })
    }),
    Frame = crema_ct_login:seen(<<"Bearer eyJhbGciOiJub25lIn0.">>),
    ?assertMatch({_, _}, binary:match(Frame, <<"traceId=17">>)),
    [#{client := P, lifetime := _} = told(token_refreshed) || _ <- [1, 2]].

bearing(Config, Options) ->
    Kafka = crema_ct_login:properties('OAUTHBEARER', #{'sasl.oauthbearer.config' => "a=b"}),
    crema_ct:producer(Config, maps:merge(#{kafka => Kafka}, Options)).

told(Event) ->
    crema_ct_life:event([crema, client, Event]).

%% ---- credentials -----------------------------------------------------------------

credentials(Config) ->
    %% Each connection that is made after a change logs in by the new credentials; a password
    %% may be a function. What are no credentials is refused, as is a client that has none, or
    %% is none; the old ones stay.
    P = crema_ct:producer(Config, #{kafka => plain("one")}),
    [
        ?assertMatch({error, {bad_options, _}}, crema_sasl:set_credentials(P, Wrong), Wrong)
     || Wrong <- [
            #{username => "u", password => false}, #{username => false, password => "p"},
            #{username => "u", password => fun() -> false end},
            none, #{}, #{username => user}, #{username => "", password => "x"},
            #{username => user, password => {x}}, #{username => user, password => "x", y => z},
            #{username => user, password => [0]},
            #{username => user, password => fun() -> error(no) end}
        ]
    ],
    ok = crema:disconnect(P),
    ok = crema:produce_async(P, #{topic => t}, #{report => none}),
    _ = crema_ct_login:seen(<<0, "user", 0, "one">>),
    ?assertEqual(ok, crema_sasl:set_credentials(P, new("two"))),
    _ = crema_ct_login:seen(<<0, "user", 0, "two">>),
    Password = fun() -> <<"three">> end,
    ?assertEqual(ok, crema_sasl:set_credentials(P, [{username, "other"}, {password, Password}])),
    _ = crema_ct_login:seen(<<0, "other", 0, "three">>),
    ok = crema_producer:stop(P, 0),
    ?assertMatch({error, {closed, _}}, crema_sasl:set_credentials(P, new("x"))),
    ?assertMatch({error, {not_found, _}}, crema_sasl:set_credentials(nobody, new("x"))),
    Other = crema_ct:unreachable(#{}),
    ?assertMatch({error, {no_password, _}}, crema_sasl:set_credentials(Other, new("x"))).

credentials_of_all(Config) ->
    %% A pool's members, a producer's variants with clients of their own, a consumer and its
    %% own producers all have them, those that are started later as well.
    Common = #{bootstrap_servers => crema_ct:bootstrap(Config), kafka => plain("one")},
    {ok, Pool} = crema_pool:start_link(Common#{size => 2, name => a_pool}),
    ok = crema_sasl:set_credentials(a_pool, new("of-pool")),
    P = crema_ct:producer(Config, Common),
    {ok, Variant} = crema:variant(P, #{
        client => own, topic_config => #{'message.timeout.ms' => 1000}
    }),
    ok = crema_sasl:set_credentials(Variant, new("of-producer")),
    C = crema_ct:started(
        crema_consumer:start_link(Common#{
            group => g, topics => [t], handler => crema_ct_handler, dead_letter => "dead"
        })
    ),
    ok = crema_sasl:set_credentials(C, new("of-consumer")),
    _ = [crema_ct_login:seen(<<"of-", Of/binary>>) || Of <- [<<"pool">>, <<"producer">>, <<"consumer">>]],
    ok = crema:produce_async(Variant, #{topic => t}, #{report => none}),
    [{_, Own}] = crema_registry:owns(P),
    ?assertNotEqual(Own, P),
    {ok, _, _, {Member, _}} = crema_registry:pool(Pool),
    {ok, consumer, _, _, Group} = crema_registry:lookup(C),
    Killed = [Member, crema_dead_letter_sup:producer(C), Group],
    [true = exit(Pid, kill) || Pid <- Killed],
    crema_ct:await(fun() ->
        {ok, _, _, {Another, _}} = crema_registry:pool(Pool),
        Another =/= Member andalso crema_registry:lookup(C) =/= not_started
    end),
    ok = forgotten(),
    ?assertEqual([], logins_with(<<"one">>, 500)),
    ok = crema:purge(Variant),
    ok = crema_pool:stop(Pool).

new(Password) ->
    #{username => user, password => Password}.

credentials_outlive_clients(Config) ->
    %% A client that is made anew has the newest: after a disconnect, and after a fatal error.
    P = crema_ct:producer(Config, #{
        kafka => plain("one"), on_fatal => reload, reload_backoff => {1, 1}, connect => use
    }),
    ok = crema_sasl:set_credentials(P, new("before")),
    ok = crema:produce_async(P, #{topic => t}, #{report => none}),
    _ = crema_ct_login:seen(<<"before">>),
    ok = crema_sasl:set_credentials(P, new("later")),
    ok = crema:purge(P),
    crema_ct:await(fun() -> crema:disconnect(P) =:= ok end),
    ok = crema:produce_async(P, #{topic => t}, #{report => none}),
    ok = forgotten(),
    ?assertEqual([], logins_with(<<"before">>, 500)),
    ok = crema_ct_life:untold(),
    ok = crema_ct_life:told([[crema, producer, reloaded]]),
    crema_ct_life:fatal(P),
    _ = crema_ct_life:event([crema, producer, reloaded]),
    _ = crema_ct_login:seen(<<"later">>),
    ?assertEqual([], logins_with(<<"one">>, 500)).

%% Of clients that have ended meanwhile, or had their connection already.
forgotten() ->
    _ = logins_with(<<>>, 300),
    ok.

%% Within a time.
logins_with(Bytes, Time) ->
    Until = crema_ct:now_ms() + Time,
    fun Next() ->
        receive
            {login, _, Frame} ->
                case binary:match(<<Frame/binary, 0>>, <<Bytes/binary, 0>>) of
                    nomatch -> Next();
                    _ -> [Frame | Next()]
                end
        after max(0, Until - crema_ct:now_ms()) -> []
        end
    end().

plain(Password) ->
    crema_ct_login:properties('PLAIN', #{'sasl.username' => user, 'sasl.password' => Password}).

built_without(_Config) ->
    %% What the librdkafka in use was built without is said to be missing in it.
    Kafka = #{'security.protocol' => sasl_plaintext, 'sasl.mechanism' => 'OAUTHBEARER'},
    Oidc = Kafka#{
        'sasl.oauthbearer.method' => oidc,
        'sasl.oauthbearer.client.id' => me,
        'sasl.oauthbearer.client.secret' => s3cret,
        'sasl.oauthbearer.token.endpoint.url' => "http://127.0.0.1:1/token"
    },
    process_flag(trap_exit, true),
    [
        case crema_producer:start_link(#{bootstrap_servers => "127.0.0.1:1", kafka => Given}) of
            {ok, P} ->
                ok = crema_producer:stop(P);
            {error, {_, #{message := Text}}} ->
                ?assertMatch({match, _}, re:run(Text, "not supported|No provider"), Text)
        end
     || Given <- [
            Oidc, Kafka#{'sasl.mechanism' := 'GSSAPI', 'sasl.kerberos.kinit.cmd' => true}
        ]
    ].
