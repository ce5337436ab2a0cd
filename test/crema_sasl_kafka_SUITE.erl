%% Log-ins to real brokers while messages are produced and consumed: tokens that end, and
%% credentials that change.
-module(crema_sasl_kafka_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_testcase/2, end_per_testcase/2]).
-export([tokens_end/1, unsecured_by_property/1, oidc/1, credentials_change/1]).

suite() -> [{timetrap, {seconds, 60}}].

all() -> [tokens_end, unsecured_by_property, oidc, credentials_change].

init_per_suite(Config) -> crema_ct:start(Config, crema_ct_kafka:bootstrap()).

end_per_suite(Config) -> crema_ct:stop(Config).

init_per_testcase(_, Config) ->
    ok = crema_ct_life:told([
        [crema, client, token_refreshed],
        [crema, client, token_failed],
        [crema, consumer, assigned],
        [crema, consumer, revoked],
        [crema, consumer, lost],
        [crema, consumer, handler_crashed]
    ]),
    Config.

end_per_testcase(_, _Config) ->
    ok = crema_ct_life:untold(),
    crema_ct:cleanup().

tokens_end(Config) ->
    %% Tokens of three seconds, and a broker that cuts off who lets them end. The first calls
    %% fail thrice, one crashes and one hangs later: no message is lost, no handler is started
    %% anew.
    Calls = atomics:new(1, []),
    Source = crema_sasl:unsecured(#{principal => admin, lifetime => 3000}),
    Token = fun(About) ->
        %% One step: two clients call it.
        case atomics:add_get(Calls, 1, 1) of
            N when N =< 3 -> {error, busy};
            5 -> error(planned);
            7 -> timer:sleep(infinity);
            _ -> Source(About)
        end
    end,
    Options = #{
        bootstrap_servers => os:getenv("KAFKA_OAUTH"),
        oauth_token => Token,
        oauth_timeout => 200,
        oauth_backoff => {50, 100},
        kafka => #{'security.protocol' => sasl_plaintext}
    },
    traffic(Config, Options, fun() ->
        [_ = crema_ct_life:event([crema, client, token_refreshed]) || _ <- lists:seq(1, 8)]
    end),
    Failed = [crema_ct_life:event([crema, client, token_failed]) || _ <- lists:seq(1, 5)],
    Texts = [Text || #{message := Text} <- Failed],
    [?assert(lists:any(fun(T) -> binary:match(T, Word) =/= nomatch end, Texts), {Word, Texts})
     || Word <- [<<"busy">>, <<"planned">>, <<"longer than">>]].

unsecured_by_property(Config) ->
    %% librdkafka's property for unsecured tokens, with which the oldest one would die.
    Options = #{
        bootstrap_servers => os:getenv("KAFKA_OAUTH"),
        kafka => #{
            'security.protocol' => sasl_plaintext,
            'sasl.mechanism' => 'OAUTHBEARER',
            'enable.sasl.oauthbearer.unsecure.jwt' => true,
            'sasl.oauthbearer.config' => "principal=admin lifeSeconds=2"
        }
    },
    %% A check of these options has tokens, too.
    {ok, Steps} = crema:check(Options),
    ?assertMatch([#{status := ok}], [Step || #{step := sasl} = Step <- Steps]),
    traffic(Config, Options, fun([P, _]) ->
        [_ = crema_ct_life:event([crema, client, token_refreshed]) || _ <- lists:seq(1, 4)],
        %% Another client of it has tokens as well, which it needs to take over.
        ok = crema_renewal:renew(P)
    end).

oidc(Config) ->
    %% Where librdkafka was built for it, it gets its tokens of a server by itself.
    Url = token_server(),
    Options = #{
        bootstrap_servers => os:getenv("KAFKA_OAUTH"),
        kafka => #{
            'security.protocol' => sasl_plaintext,
            'sasl.mechanism' => 'OAUTHBEARER',
            'sasl.oauthbearer.method' => oidc,
            'sasl.oauthbearer.client.id' => me,
            'sasl.oauthbearer.client.secret' => "its secret",
            'sasl.oauthbearer.token.endpoint.url' => Url
        }
    },
    process_flag(trap_exit, true),
    case crema_producer:start_link(Options) of
        {ok, P} ->
            ok = crema_producer:stop(P),
            traffic(Config, Options, fun() -> ok end);
        {error, {bad_options, #{message := Text}}} ->
            ?assertMatch({match, _}, re:run(Text, "not supported in this build")),
            {comment, "this librdkafka has no OIDC"}
    end.

%% As much of HTTP as an answer takes.
token_server() ->
    {ok, Listen} = gen_tcp:listen(0, [
        binary, {active, false}, {packet, http_bin}, {ip, {127, 0, 0, 1}}
    ]),
    {ok, Port} = inet:port(Listen),
    Server = spawn_link(fun() -> give_tokens(Listen) end),
    ok = gen_tcp:controlling_process(Listen, Server),
    "http://127.0.0.1:" ++ integer_to_list(Port) ++ "/token".

give_tokens(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    Source = crema_sasl:unsecured(#{principal => admin, lifetime => 60000}),
    {ok, #{token := Token}} = Source(#{}),
    Body = [<<"{\"access_token\":\"">>, Token, <<"\",\"token_type\":\"bearer\",\"expires_in\":60}">>],
    ok = gen_tcp:send(Socket, [
        <<"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n">>,
        io_lib:format("Content-Length: ~b\r\n\r\n", [iolist_size(Body)]),
        Body
    ]),
    ok = gen_tcp:shutdown(Socket, write),
    drained(Socket),
    give_tokens(Listen).

drained(Socket) ->
    case gen_tcp:recv(Socket, 0, 2000) of
        {ok, _} -> drained(Socket);
        {error, _} -> gen_tcp:close(Socket)
    end.

credentials_change(Config) ->
    %% A wrong password is exchanged while the client runs; one that becomes wrong under
    %% traffic does no harm to the connections there are.
    [
        begin
            Options = #{
                bootstrap_servers => os:getenv("KAFKA_SASL"),
                kafka => #{
                    'security.protocol' => sasl_plaintext,
                    'sasl.mechanism' => Mechanism,
                    'sasl.username' => os:getenv("KAFKA_SASL_USERNAME"),
                    'sasl.password' => "wrong",
                    'reconnect.backoff.max.ms' => 200
                }
            },
            traffic(Config, Options, fun(Clients) ->
                [{error, {timeout, _}} = crema:await_ready(C, 300) || C <- Clients],
                [ok = set_password(C, os:getenv("KAFKA_SASL_PASSWORD")) || C <- Clients],
                [ok = crema:await_ready(C, 20000) || C <- Clients],
                [ok = set_password(C, "wrong again") || C <- Clients]
            end)
        end
     || Mechanism <- mechanisms()
    ].

set_password(Client, Password) ->
    crema_sasl:set_credentials(Client, #{
        username => os:getenv("KAFKA_SASL_USERNAME"), password => Password
    }).

%% SCRAM of librdkafka before 2.6.1 is not what Kafka 4 takes for it.
mechanisms() ->
    #{librdkafka_number := Number} = crema:info(),
    case {Number >= 16#020601ff, os:getenv("KAFKA_VERSION")} of
        {false, "4" ++ _} -> ['PLAIN'];
        _ -> ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512']
    end.

%% Messages from a producer to a consumer while something happens, and a few more.
traffic(Config, Options, During) ->
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config, Options),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, Options),
    Self = self(),
    Producing = spawn_link(fun() -> Self ! {self(), produce(P, Topic, 0)} end),
    _ =
        case is_function(During, 1) of
            true -> During([P, C]);
            false -> During()
        end,
    Producing ! enough,
    Count =
        receive
            {Producing, Produced} -> Produced
        after 30000 -> error({produces, crema_ct:state_of_clients()})
        end,
    Handled = crema_ct:handled(Count),
    Values = [binary_to_integer(V) || {_, #{value := V}} <- Handled],
    ?assertEqual(lists:seq(1, Count), Values),
    ?assertEqual(1, length(lists:usort([Worker || {Worker, _} <- Handled]))),
    #{partitions := [{Topic, 0}]} = crema_ct_life:event([crema, consumer, assigned]),
    receive
        {event, [crema, consumer | What], Data} -> error({What, Data})
    after 0 -> ok
    end,
    ok = crema_consumer:stop(C),
    ok = crema_producer:stop(P),
    _ = crema_ct_life:event([crema, consumer, revoked]),
    ok.

%% One after the other, and a hundred when it is enough.
produce(P, Topic, Count) ->
    receive
        enough ->
            Last = [value(Topic, Count + N) || N <- lists:seq(1, 100)],
            {ok, Results} = crema:produce_many(P, Last),
            ?assertEqual(#{ok => 100}, crema_ct:results(Results)),
            Count + 100
    after 5 ->
        {ok, _} = crema:produce(P, value(Topic, Count + 1)),
        produce(P, Topic, Count + 1)
    end.

value(Topic, N) ->
    #{topic => Topic, value => integer_to_binary(N)}.
