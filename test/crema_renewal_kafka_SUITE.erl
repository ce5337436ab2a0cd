%% Certificates and members of groups, renewed on real brokers.
-module(crema_renewal_kafka_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([certificates/1, static_members/1, essentials/1]).

suite() -> [{timetrap, {seconds, 120}}].

all() -> [{group, side_by_side}].

groups() -> [{side_by_side, [parallel], [certificates, static_members, essentials]}].

init_per_suite(Config) -> crema_ct:start(Config, crema_ct_kafka:bootstrap()).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

certificates(Config) ->
    %% Certificates are exchanged in their files while messages go through: a good one is
    %% taken into use, with one that the brokers refuse all stays as it was. Each message
    %% is handled once, by the same process.
    Topic = crema_ct:topic(Config, 2),
    Folder = proplists:get_value(priv_dir, Config),
    [Certificate, Key] = Files = [filename:join(Folder, Name) || Name <- ["crt.pem", "key.pem"]],
    ok = sign(Files, "first", "1"),
    Tls = #{
        'security.protocol' => ssl,
        'ssl.ca.location' => os:getenv("KAFKA_CA"),
        'ssl.certificate.location' => Certificate,
        'ssl.key.location' => Key
    },
    Options = #{bootstrap_servers => os:getenv("KAFKA_TLS"), kafka => Tls},
    P = crema_ct:producer(Config, Options),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, Options),
    ok = crema:await_ready(C, 30000),
    [
        begin
            ok = sign(Files, Name, Days),
            {ok, _} = crema:produce_many(P, messages(Topic, Round)),
            Results = [crema_renewal:renew(Client, #{}, 10000) || Client <- [P, C]],
            case Days of
                "1" -> ?assertEqual([ok, ok], Results);
                %% It has ended already.
                "-1" -> ?assertMatch([{error, {_, _}}, {error, {_, _}}], Results)
            end
        end
     || {Round, Name, Days} <- [{1, "second", "1"}, {2, "ended", "-1"}, {3, "third", "1"}]
    ],
    {ok, _} = crema:produce_many(P, messages(Topic, 4)),
    Handled = crema_ct:handled(4000),
    Values = lists:sort([binary_to_integer(Value) || {_, #{value := Value}} <- Handled]),
    ?assertEqual(lists:seq(1001, 5000), Values),
    ?assertEqual(2, length(lists:usort([W || {W, _} <- Handled]))).

messages(Topic, Round) ->
    [
        #{topic => Topic, partition => N rem 2, value => integer_to_binary(N)}
     || N <- lists:seq(Round * 1000 + 1, Round * 1000 + 1000)
    ].

%% A certificate for a client, from the brokers' own authority, for so many days.
sign([Certificate, Key], Name, Days) ->
    Folder = filename:dirname(os:getenv("KAFKA_CA")),
    Command = io_lib:format(
        "openssl req -newkey rsa:2048 -nodes -keyout ~s -subj /CN=~s -out ~s.csr 2>&1 && "
        "openssl x509 -req -in ~s.csr -CA ~s/ca.pem -CAkey ~s/ca.key -set_serial ~b "
        "-days ~s -out ~s 2>&1 && echo signed",
        [
            Key, Name, Certificate, Certificate, Folder, Folder,
            erlang:unique_integer([positive]), Days, Certificate
        ]
    ),
    Said = os:cmd(Command),
    ?assertMatch({match, _}, re:run(Said, "signed\n$"), Said),
    ok.

static_members(Config) ->
    %% A member with group.instance.id has the same partitions again, whoever else is in
    %% the group: no handler of either member is started anew.
    Topic = crema_ct:topic(Config, 4),
    Group = crema_ct:unique(<<"group">>),
    [C, D] = [
        crema_ct:consumer(Config, Topic, #{to => self()}, #{
            group => Group, kafka => #{'group.instance.id' => Id}
        })
     || Id <- [a, b]
    ],
    Shared = fun() -> [length(maps:get(assigned, crema:status(M), [])) || M <- [C, D]] =:= [2, 2] end,
    true = crema_ct:await(Shared, 60000),
    [ok = crema_ct:fill(Config, Topic, P, [1]) || P <- lists:seq(0, 3)],
    Before = workers(4),
    ok = crema_renewal:renew(C),
    true = crema_ct:await(Shared, 60000),
    [ok = crema_ct:fill(Config, Topic, P, [2]) || P <- lists:seq(0, 3)],
    ?assertEqual(Before, workers(4)).

workers(Count) ->
    lists:sort([{P, W} || {W, #{partition := P}} <- crema_ct:handled(Count)]).

essentials(Config) ->
    %% What crema_renewal_SUITE proves of producers and consumers.
    [
        begin
            crema_renewal_SUITE:Case(Config),
            crema_ct:cleanup()
        end
     || Case <- [every_message_once, transaction, late_acknowledgements, stuck_handler]
    ].
