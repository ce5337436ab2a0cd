%% Clients with nothing but Heroku's variables, on a broker with an authority of its
%% own, which wants to know its clients, and whose certificate does not have the name
%% that it is reached by.
-module(crema_heroku_kafka_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_testcase/2, end_per_testcase/2]).
-export([works/1, names_that_are_checked/1, another_authority/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [works, names_that_are_checked, another_authority].

init_per_suite(Config) -> crema_ct:start(Config, crema_ct_kafka:bootstrap()).

end_per_suite(Config) -> crema_ct:stop(Config).

init_per_testcase(_, Config) -> [{look, crema_ct_secrets:look()} | Config].

end_per_testcase(_, Config) ->
    _ = crema_events:detach(?MODULE),
    crema_ct:cleanup(),
    crema_ct_secrets:look_away(proplists:get_value(look, Config)).

works(Config) ->
    %% Certificates, key, authority and prefix come from the environment; what is produced
    %% is consumed, though the broker has another name. The key can be read nowhere, and
    %% not in what librdkafka tells.
    Look = proplists:get_value(look, Config),
    Tell = #{debug => all},
    heroku("ca.pem", fun() ->
        {ok, P} = crema_producer:start_link(#{env => heroku, kafka => Tell}),
        {ok, #{topic := <<"amber-1.receipts">>}} = crema:produce(P, #{topic => receipts, value => "1"}),
        Self = self(),
        {ok, C} = crema_consumer:start_link(#{
            env => heroku,
            kafka => Tell,
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
        [_Begin, Line | _] = string:split(os:getenv("KAFKA_CLIENT_CERT_KEY"), "\n", all),
        ?assertMatch([_ | _], crema_ct_secrets:lines("[thrd:", Look)),
        Everywhere = crema_ct_secrets:everywhere(Look),
        ?assertEqual([], crema_ct_secrets:shown(Everywhere, Look, list_to_binary(Line))),
        ok = crema_producer:stop(P)
    end).

names_that_are_checked(_Config) ->
    %% With the check of host names the same broker is refused.
    heroku("ca.pem", fun() ->
        refused(https, "is not for the name 127.0.0.1")
    end).

another_authority(_Config) ->
    %% A broker whose certificate comes from another authority is refused, whether host
    %% names are checked or not.
    heroku("other-ca.pem", fun() ->
        [refused(Names, "authority that is not trusted") || Names <- [https, none]]
    end).

heroku(Authority, Fun) ->
    Url = "kafka+ssl://" ++ string:replace(os:getenv("KAFKA_HEROKU"), ",", ",kafka+ssl://", all),
    Variables = [
        {"KAFKA_URL", lists:flatten(Url)},
        {"KAFKA_TRUSTED_CERT", text(Authority)},
        {"KAFKA_CLIENT_CERT", text("client.pem")},
        {"KAFKA_CLIENT_CERT_KEY", text("client.key")},
        {"KAFKA_PREFIX", "amber-1."}
    ],
    crema_ct_broken:with(Variables, Fun).

text(File) ->
    {ok, Text} = file:read_file(filename:join(os:getenv("KAFKA_HEROKU_DIR"), File)),
    binary_to_list(Text).

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
