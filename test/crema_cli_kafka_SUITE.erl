%% What the command line tells of consumer groups, which embedded brokers know little of.
%% See crema_kafka_SUITE for what must be set.
-module(crema_cli_kafka_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([lag/1, members/1, ended_group/1, unknown_group/1, copies/1, renewed/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [lag, members, ended_group, unknown_group, copies, renewed]}
    ].

init_per_suite(Config) ->
    crema_ct_cli:start(crema_ct:start(Config, crema_ct_kafka:bootstrap())).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

run(Config, Arguments) -> crema_ct_cli:run(Config, Arguments, <<>>).

%% The objects of lines.
objects(Out) ->
    [element(2, crema_json:decode(Line)) || Line <- crema_ct_cli:lines(Out)].

%% A member that has handled 7 messages of partition 1, acknowledged 3, and committed that.
behind(Config, Topic, Group) ->
    ok = crema_ct:fill(Config, Topic, 1, lists:seq(1, 7)),
    Self = self(),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        {noack, State}
    end,
    Options = #{group => Group, kafka => #{'client.id' => <<"till-1">>}},
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, Options),
    Messages = [Message || {_, Message} <- crema_ct:handled(7)],
    [ok = crema:ack(Message) || Message <- lists:sublist(Messages, 3)],
    {ok, _} = crema:commit(C),
    C.

lag(Config) ->
    %% What is told of a group is what its member has committed, and asking does not
    %% disturb it: there is no rebalance, and no member more.
    Topic = crema_ct:topic(Config, 2),
    Group = crema_ct:unique(<<"group">>),
    C = behind(Config, Topic, Group),
    #{rebalances := Before} = crema:info(C),
    {0, Json, <<>>} = run(Config, ["lag", Group, "--json"]),
    ?assertMatch(
        [
            #{<<"partition">> := 0, <<"committed">> := 0, <<"end">> := 0, <<"lag">> := 0},
            #{
                <<"group">> := Group, <<"topic">> := Topic, <<"partition">> := 1,
                <<"committed">> := 3, <<"end">> := 7, <<"lag">> := 4, <<"client">> := <<"till-1">>
            }
        ],
        objects(Json)
    ),
    {0, Table, <<>>} = run(Config, ["lag", Group]),
    ?assertMatch({match, _}, re:run(Table, ["(?m)^", Topic, " +1 +3 +7 +4 +till-1$"])),
    ?assertMatch({match, _}, re:run(Table, "(?m)^total +4$")),
    ?assertEqual(nomatch, string:find(Table, "\e")),
    ?assertMatch(#{rebalances := Before}, crema:info(C)).

members(Config) ->
    %% A group is listed, and its member described with its partitions.
    Topic = crema_ct:topic(Config, 2),
    Group = crema_ct:unique(<<"group">>),
    _ = behind(Config, Topic, Group),
    {0, List, <<>>} = run(Config, ["groups"]),
    ?assertMatch({match, _}, re:run(List, ["(?m)^", Group, " +Stable$"])),
    {0, Text, <<>>} = run(Config, ["groups", Group]),
    ?assertMatch({match, _}, re:run(Text, ["^", Group, ": Stable, 1 member, .*coordinator .*\n"])),
    ?assertMatch({match, _}, re:run(Text, ["(?m)^till-1 +- +[0-9.]+ +", Topic, ":0-1$"])),
    {0, Json, <<>>} = run(Config, ["groups", Group, "--json"]),
    ?assertMatch(
        [#{<<"client">> := <<"till-1">>, <<"partitions">> := [#{<<"partition">> := 0}, #{}]}],
        objects(Json)
    ).

ended_group(Config) ->
    %% The lag of a group is told when nobody is in it any more.
    Topic = crema_ct:topic(Config, 2),
    Group = crema_ct:unique(<<"group">>),
    ok = crema_consumer:stop(behind(Config, Topic, Group)),
    {0, Json, <<>>} = run(Config, ["lag", Group, "--json", "-t", Topic]),
    ?assertMatch([#{}, #{<<"lag">> := 4, <<"client">> := null}], objects(Json)),
    {0, Text, <<>>} = run(Config, ["groups", Group]),
    ?assertMatch({match, _}, re:run(Text, ["^", Group, ": Empty, 0 members"])).

unknown_group(Config) ->
    %% A group that is not there is told of, beside one that is.
    Topic = crema_ct:topic(Config, 2),
    Group = crema_ct:unique(<<"group">>),
    _ = behind(Config, Topic, Group),
    {1, Json, Told} = run(Config, ["lag", "nobody", Group, "--json"]),
    ?assertEqual(2, length(objects(Json))),
    ?assertMatch({match, _}, re:run(Told, "^crema: nobody: nothing is committed")),
    {1, <<>>, None} = run(Config, ["groups", "nobody"]),
    ?assertMatch({match, _}, re:run(None, "^crema: there is no group nobody")).

copies(Config) ->
    %% 100,000 messages of every kind of byte go through a pipe into another topic.
    [From, To] = [crema_ct:topic(Config, 3) || _ <- [1, 2]],
    P = crema_ct:producer(Config),
    [
        {ok, _} = crema:produce_many(P, [
            #{topic => From, key => <<N:32>>, value => <<(N rem 256), "some text">>}
         || N <- lists:seq(Base, Base + 9999)
        ])
     || Base <- lists:seq(0, 90000, 10000)
    ],
    Variables = [{"KAFKA_BOOTSTRAP_SERVERS", binary_to_list(crema_ct:bootstrap(Config))}],
    {0, <<>>, <<>>} = crema_ct_cli:shell(
        Config, ["set -o pipefail; crema consume ", From, " -e -j | crema produce ", To, " --json"],
        {<<>>, Variables}
    ),
    Read = fun(Topic) ->
        {ok, Messages, _} = crema:fold(
            #{bootstrap_servers => crema_ct:bootstrap(Config), topic => Topic},
            fun(M, Acc) -> {ok, [maps:with([partition, key, value, timestamp], M) | Acc]} end,
            []
        ),
        lists:sort(Messages)
    end,
    Copied = Read(To),
    ?assertEqual(100000, length(Copied)),
    ?assert(Read(From) =:= Copied).

renewed(Config) ->
    %% Where it is asked to, the lag is told again and again, and ends when nobody reads.
    Topic = crema_ct:topic(Config, 2),
    Group = crema_ct:unique(<<"group">>),
    _ = behind(Config, Topic, Group),
    Variables = [{"KAFKA_BOOTSTRAP_SERVERS", binary_to_list(crema_ct:bootstrap(Config))}],
    {0, Lines, <<>>} = crema_ct_cli:shell(
        Config,
        ["crema lag ", Group, " --json -i 0.1 | head -n 6; [ ${PIPESTATUS[0]} = 0 ]"],
        {<<>>, Variables}
    ),
    ?assertEqual([0, 4, 0, 4, 0, 4], [Lag || #{<<"lag">> := Lag} <- objects(Lines)]).
