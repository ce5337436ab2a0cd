%% Clients with nothing but Heroku's variables, on a broker with an authority of its
%% own whose certificate does not have the name that it is reached by.
-module(crema_heroku_kafka_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([works/1, names_that_are_checked/1, another_authority/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [works, names_that_are_checked, another_authority].

init_per_suite(Config) -> crema_ct:start(Config, crema_ct_kafka:bootstrap()).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) ->
    _ = crema_events:detach(?MODULE),
    crema_ct:cleanup().

works(_Config) ->
    %% Certificates, key, authority and prefix come from the environment; what is produced
    %% is consumed, though the broker has another name.
    heroku(os:getenv("KAFKA_CA"), fun() ->
        {ok, P} = crema_producer:start_link(#{env => heroku}),
        {ok, #{topic := <<"amber-1.receipts">>}} = crema:produce(P, #{topic => receipts, value => "1"}),
        Self = self(),
        {ok, C} = crema_consumer:start_link(#{
            env => heroku,
            group => books,
            topics => [receipts],
            strip_prefix => true,
            handler => fun(#{topic := Topic}) -> Self ! {handled, Topic}, ok end
        }),
        receive
            {handled, Topic} -> ?assertEqual(<<"receipts">>, Topic)
        after 30000 -> error(not_handled)
        end,
        ok = crema_consumer:stop(C),
        ok = crema_producer:stop(P)
    end).

names_that_are_checked(_Config) ->
    %% With the check of host names the same broker is refused.
    heroku(os:getenv("KAFKA_CA"), fun() ->
        refused(https, "is not for the name 127.0.0.2")
    end).

another_authority(Config) ->
    %% A broker whose certificate comes from another authority is refused, whether host
    %% names are checked or not.
    File = filename:join(proplists:get_value(priv_dir, Config), "other.pem"),
    Made = os:cmd(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        "-subj /CN=other -keyout /dev/null -out " ++ File
    ),
    ?assert(filelib:is_regular(File), Made),
    heroku(File, fun() ->
        [refused(Names, "authority that is not trusted") || Names <- [https, none]]
    end).

%% What stands between knows nothing of TLS; it has an address that is in no certificate.
heroku(Authority, Fun) ->
    Read = fun(Variable) -> binary_to_list(read(os:getenv(Variable))) end,
    {Relay, Port} = relay(os:getenv("KAFKA_TLS")),
    Variables = [
        {"KAFKA_URL", "kafka+ssl://127.0.0.2:" ++ integer_to_list(Port) ++ "/"},
        {"KAFKA_TRUSTED_CERT", binary_to_list(read(Authority))},
        {"KAFKA_CLIENT_CERT", Read("KAFKA_CLIENT_CERT")},
        {"KAFKA_CLIENT_CERT_KEY", Read("KAFKA_CLIENT_KEY")},
        {"KAFKA_PREFIX", "amber-1."}
    ],
    try
        crema_ct_broken:with(Variables, Fun)
    after
        exit(Relay, kill)
    end.

read(File) ->
    {ok, Text} = file:read_file(File),
    Text.

refused(Names, Says) ->
    Self = self(),
    Tell = fun(_, _, #{code := Code, message := Message}, _) -> Self ! {told, Code, Message} end,
    ok = crema_events:attach(?MODULE, [crema, client, error], Tell, none),
    {ok, P} = crema_producer:start_link(#{
        env => heroku, kafka => #{"ssl.endpoint.identification.algorithm" => Names}
    }),
    receive
        {told, ssl, Message} ->
            ?assertMatch({match, _}, re:run(Message, Says), Message)
    after 20000 -> error(not_told)
    end,
    ?assertMatch(#{connected := false}, crema:status(P)),
    ok = crema_producer:stop(P, 0),
    ok = crema_events:detach(?MODULE).

%% Passes on what comes to 127.0.0.2.
relay(Address) ->
    [Host, To] = string:split(hd(string:lexemes(Address, ",")), ":"),
    {ok, Listening} = gen_tcp:listen(0, [binary, {ip, {127, 0, 0, 2}}, {active, true}]),
    {ok, Port} = inet:port(Listening),
    Relay = spawn(fun() -> accept(Listening, Host, list_to_integer(To)) end),
    ok = gen_tcp:controlling_process(Listening, Relay),
    {Relay, Port}.

accept(Listening, Host, To) ->
    {ok, One} = gen_tcp:accept(Listening),
    Passing = spawn_link(fun() ->
        {ok, Other} = gen_tcp:connect(Host, To, [binary, {active, true}]),
        receive
            go -> pass(One, Other)
        end
    end),
    ok = gen_tcp:controlling_process(One, Passing),
    Passing ! go,
    accept(Listening, Host, To).

pass(One, Other) ->
    receive
        {tcp, One, Data} -> passed(gen_tcp:send(Other, Data), One, Other);
        {tcp, Other, Data} -> passed(gen_tcp:send(One, Data), One, Other);
        {tcp_closed, _} -> closed(One, Other);
        {tcp_error, _, _} -> closed(One, Other)
    end.

passed(ok, One, Other) -> pass(One, Other);
passed({error, _}, One, Other) -> closed(One, Other).

closed(One, Other) ->
    ok = gen_tcp:close(One),
    ok = gen_tcp:close(Other).
