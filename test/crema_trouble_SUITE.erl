%% Connections that come and go on the embedded cluster: each change is told once, by
%% a line in the log and an event. (Brokers that come back are real ones:
%% crema_security_kafka_SUITE.)
-module(crema_trouble_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([idle/1, stopped_cluster/1, never_there/1, hung_up/1, quiet_logs/1]).

suite() -> [{timetrap, {seconds, 60}}].

all() -> [idle, stopped_cluster, never_there, hung_up, quiet_logs].

init_per_suite(Config) -> crema_ct_lines:open(crema_ct:start(Config)).

end_per_suite(Config) ->
    ok = crema_ct_lines:close(Config),
    crema_ct:stop(Config).

end_per_testcase(_, _Config) ->
    _ = crema_events:detach(?MODULE),
    crema_ct:cleanup().

idle(Config) ->
    %% A connection that is closed since nobody uses it is no trouble, for what is
    %% told and for the next message.
    listen(idle),
    P = crema_ct:producer(Config, #{
        name => idle, kafka => #{'connections.max.idle.ms' => 200, debug => broker}
    }),
    ok = crema:await_ready(P, 10000),
    [
        begin
            {ok, _} = crema:produce(P, #{topic => t}),
            ok = hear("max idle time exceeded")
        end
     || _ <- [1, 2]
    ],
    ?assertEqual([], crema_ct_lines:lines(idle)),
    ?assertMatch([{[crema, client, connected], _}], crema_ct_lines:events(idle)),
    ?assertMatch(#{connected := true}, crema:status(P)).

stopped_cluster(_Config) ->
    %% When the only broker is gone each client says so once, however often it tries
    %% to come back.
    {ok, Cluster} = crema_cluster:start_link(),
    Own = [{cluster, Cluster}, {bootstrap, crema_cluster:bootstrap_servers(Cluster)}],
    listen(left),
    Debug = #{debug => broker, 'reconnect.backoff.max.ms' => 300},
    P = crema_ct:producer(Own, #{name => left, kafka => Debug}),
    Topic = crema_ct:topic(Own, 1),
    C = crema_ct:consumer(Own, Topic, #{to => self()}, #{name => left_consumer}),
    ok = crema:await_ready(P, 10000),
    ok = crema:await_ready(C, 20000),
    ok = crema_cluster:stop(Cluster),
    Gone = fun(Client) -> not maps:get(connected, crema:status(Client)) end,
    crema_ct:await(fun() -> Gone(P) andalso Gone(C) end),
    [ok = hear("Connection refused") || _ <- lists:seq(1, 5)],
    [
        begin
            ?assertMatch([{warning, _}], crema_ct_lines:lines(Name)),
            ?assertMatch(
                [
                    {[crema, client, connected], _},
                    {[crema, client, disconnected], #{cause := refused}}
                ],
                crema_ct_lines:events(Name)
            )
        end
     || Name <- [left, left_consumer]
    ].

never_there(_Config) ->
    %% Each broker that was never there is told of once, with its name.
    listen(nobody),
    P = crema_ct:producer([], #{
        name => nobody,
        bootstrap_servers => <<"127.0.0.1:1,127.0.0.1:2">>,
        kafka => #{debug => broker, 'reconnect.backoff.max.ms' => 300}
    }),
    crema_ct:await(fun() -> length(crema_ct_lines:events(nobody)) =:= 2 end, 30000),
    [ok = hear("Connection refused") || _ <- lists:seq(1, 10)],
    Events = [{Event, Broker} || {Event, #{broker := Broker}} <- crema_ct_lines:events(nobody)],
    ?assertEqual(
        [{[crema, client, error], <<"127.0.0.1:1">>}, {[crema, client, error], <<"127.0.0.1:2">>}],
        lists:sort(Events)
    ),
    ?assertMatch([{warning, _}, {warning, _}], crema_ct_lines:lines(nobody)),
    ?assertMatch(#{connected := false, last_error := {transport, _}}, crema:status(P)).

hung_up(_Config) ->
    %% A broker that refuses a log-in by hanging up is told of once, as that, however often the
    %% client tries; and of nothing after its stop.
    {_, Servers} = Broker = crema_ct_login:start(self()),
    P = crema_ct:producer([], #{
        name => hung_up,
        bootstrap_servers => Servers,
        kafka => crema_ct_login:properties('PLAIN', #{
            'sasl.username' => user, 'sasl.password' => "s3cret"
        })
    }),
    crema_ct:await(fun() -> crema_ct_lines:events(hung_up) =/= [] end),
    _ = [crema_ct_login:seen(<<"s3cret">>) || _ <- lists:seq(1, 10)],
    {error, {timeout, #{message := Text}}} = crema:await_ready(P, 1),
    ?assertNotEqual(nomatch, string:find(Text, "sasl.password")),
    ok = crema_producer:stop(P, 0),
    ?assertMatch(
        [{[crema, client, error], #{cause := authentication, broker := Servers}}],
        crema_ct_lines:events(hung_up)
    ),
    ?assertMatch([{warning, _}], crema_ct_lines:lines(hung_up)),
    crema_ct_login:stop(Broker).

quiet_logs(_Config) ->
    %% Of the lines that librdkafka is made to log for this the user gets none who did
    %% not ask for them, but those it logs by itself.
    listen(quiet),
    _ = crema_ct:producer([], #{name => quiet, bootstrap_servers => <<"127.0.0.1:1">>}),
    crema_ct:await(fun() -> crema_ct_lines:events(quiet) =/= [] andalso heard() =/= [] end),
    ?assertEqual([debug], lists:usort([Level || {Level, _} <- heard()])),
    [?assertNotEqual(nomatch, string:find(Text, "refused")) || {_, Text} <- heard()].

%% The lines of librdkafka's log that a client tells of come here.
listen(Name) ->
    Self = self(),
    Tell = fun
        (_, _, #{name := Of, level := Level, message := Text}, none) when Of =:= Name ->
            Self ! {?MODULE, Level, Text};
        (_, _, _, none) ->
            ok
    end,
    ok = crema_events:attach(?MODULE, [crema, client, log], Tell, none).

hear(Words) ->
    receive
        {?MODULE, _, Text} ->
            case string:find(Text, Words) of
                nomatch -> hear(Words);
                _ -> ok
            end
    after 20000 -> error({not_heard, Words})
    end.

heard() ->
    {messages, Messages} = erlang:process_info(self(), messages),
    [{Level, Text} || {?MODULE, Level, Text} <- Messages].
