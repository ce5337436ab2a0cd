%% Control of a consumer where embedded brokers would not do: times, aborted
%% transactions, rebalances by the dozen, what Kafka's own tool says. See
%% crema_kafka_SUITE for what must be set.
-module(crema_control_kafka_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    seek_to_a_time/1, aborted_transactions/1, tool_agrees/1, seeks_in_rebalances/1,
    pattern_finds_new_topics/1, unknown_topic_is_told/1, changes_in_a_row/1
]).

-import(crema_ct_consume, [values/1, number/1, all_acknowledged/1, listen/2, heard/1]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            seek_to_a_time, aborted_transactions, tool_agrees, seeks_in_rebalances,
            pattern_finds_new_topics, unknown_topic_is_told, changes_in_a_row
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config, crema_ct_kafka:bootstrap()).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

seek_to_a_time(Config) ->
    %% A seek to a time leads to the first message that is not older, in each
    %% partition; to the end where all are. An external start may be a time too.
    Topic = crema_ct:topic(Config, 4),
    P = crema_ct:producer(Config),
    Base = 1700000000000,
    {ok, _} = crema:produce_many(P, [
        #{
            topic => Topic, partition => Partition, value => integer_to_binary(N),
            timestamp => Base + 1000 * N
        }
     || Partition <- [0, 1], N <- lists:seq(1, 20)
    ]),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    _ = crema_ct:handled(40),
    true = all_acknowledged(C),
    {ok, Sought} = crema:seek(C, [{Topic, 0}, {Topic, 1}], {timestamp, Base + 15500}),
    ?assertEqual([15, 15], [Offset || #{offset := Offset} <- Sought]),
    ?assertEqual(
        lists:sort([16, 17, 18, 19, 20, 16, 17, 18, 19, 20]),
        lists:sort(values(crema_ct:handled(10)))
    ),
    true = all_acknowledged(C),
    ?assertMatch({ok, [#{offset := 20}]}, crema:seek(C, {Topic, 0}, {timestamp, Base * 2})),
    ?assertMatch({ok, [#{offset := 0}]}, crema:seek(C, {Topic, 3}, {timestamp, Base})),
    Init = fun(_, Args) -> {ok, Args, #{start => {timestamp, Base + 19000}}} end,
    _ = crema_ct:consumer(Config, Topic, #{init => Init, to => self()}, #{commit => external}),
    ?assertEqual([19, 19, 20, 20], lists:sort(values(crema_ct:handled(4)))).

aborted_transactions(Config) ->
    %% With isolation.level read_committed aborted messages are not handled, and
    %% when all others are acknowledged lag is 0, though control records lie at the
    %% end.
    Topic = crema_ct:topic(Config, 4),
    P = crema_ct_transaction:producer(Config),
    Write = fun(T, Numbers) ->
        {ok, _} = crema:produce_many(T, [
            #{topic => Topic, partition => 0, value => integer_to_binary(N)}
         || N <- Numbers
        ])
    end,
    {ok, _} = crema:transaction(P, fun(T) -> Write(T, [1, 2, 3]) end),
    {aborted, planned} = crema:transaction(P, fun(T) ->
        Write(T, [4, 5, 6]),
        crema:abort(T, planned)
    end),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{
        kafka => #{'isolation.level' => read_committed}
    }),
    ?assertEqual([1, 2, 3], values(crema_ct:handled(3))),
    crema_ct:await(fun() ->
        {ok, Lags} = crema_control:lag(C),
        lists:sum([Lag || #{lag := Lag} <- Lags]) =:= 0 orelse Lags
    end),
    crema_ct:await(fun() -> maps:get(lag, crema:status(C)) =:= 0 end),
    ?assertMatch({ok, [#{high := 8, low := 0}]}, crema_control:watermarks(C, {Topic, 0})),
    ?assertMatch({ok, [#{offset := 8}]}, crema:commit(C, {Topic, 0})),
    {ok, _} = crema:seek(C, {Topic, 0}, earliest),
    ?assertEqual([1, 2, 3], values(crema_ct:handled(3))),
    {ok, _} = crema:transaction(P, fun(T) -> Write(T, [7]) end),
    ?assertEqual([7], values(crema_ct:handled(1))).

tool_agrees(Config) ->
    %% What is committed, and how far the group is behind, is what Kafka's own tool
    %% says of it.
    Topic = crema_ct:topic(Config, 4),
    ok = crema_ct:fill(Config, Topic, 0, lists:seq(1, 10)),
    Group = crema_ct:unique(<<"group">>),
    Self = self(),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        {noack, State}
    end,
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, #{group => Group}),
    Messages = [M || {_, M} <- crema_ct:handled(10)],
    [ok = crema:ack(M) || M <- Messages, number(M) < 5 orelse number(M) > 8],
    {ok, Committed} = crema:commit(C),
    ?assert(lists:member(#{topic => Topic, partition => 0, offset => 4}, Committed)),
    {ok, [#{partition := 0, lag := 6, high := 10} | _]} = crema_control:lag(C),
    ?assertEqual([<<"4">>, <<"10">>, <<"6">>], described(Group, Topic)),
    {ok, _} = crema:seek(C, {Topic, 0}, 2),
    ?assertEqual([<<"2">>, <<"10">>, <<"8">>], described(Group, Topic)).

%% Committed offset, end and lag of the topic's first partition.
described(Group, Topic) ->
    Text = crema_ct_kafka:tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", [
        "--bootstrap-server", crema_ct_kafka:bootstrap(), "--describe", "--group", Group
    ]),
    Lines = [string:lexemes(Line, " \t") || Line <- string:split(Text, "\n", all)],
    Found = [Numbers || [G, T, <<"0">> | Numbers] <- Lines, G =:= Group, T =:= Topic],
    case Found of
        [[Current, End, Lag | _]] -> [Current, End, Lag];
        _ -> error({not_described, Text})
    end.

seeks_in_rebalances(Config) ->
    %% While members come and go, a seek is carried out or says that it was not; at
    %% the end each message is handled again from where the last one led to.
    Topic = crema_ct:topic(Config, 4),
    [ok = crema_ct:fill(Config, Topic, P, lists:seq(1, 20)) || P <- lists:seq(0, 3)],
    Group = #{group => crema_ct:unique(<<"group">>)},
    Ignore = fun(_, State) -> {ack, State} end,
    Stay = crema_ct:consumer(Config, Topic, #{handle => Ignore, to => self()}, Group),
    ok = crema:await_ready(Stay, 30000),
    Results = lists:append([
        begin
            Other = crema_ct:consumer(Config, Topic, #{handle => Ignore, to => self()}, Group),
            While = fun(Wanted) -> sought_until(Stay, Topic, Wanted, crema_ct:now_ms() + 20000, 0) end,
            Joined = While(2),
            ok = crema_consumer:stop(Other),
            Joined ++ While(4)
        end
     || _ <- [1, 2, 3]
    ]),
    ?assertEqual([], [R || R <- Results, not is_told(R)]),
    ?assertMatch([_ | _], [ok || {ok, _} <- Results]),
    %% A commit that has crossed a rebalance makes the member lose all and join anew, also
    %% when it was the last.
    crema_ct:await(fun() ->
        {ok, Sought} = crema:seek(Stay, all, 10),
        length(Sought) =:= 4 orelse Sought
    end),
    crema_ct:await(fun() ->
        {ok, Positions} = crema_control:position(Stay),
        [20, 20, 20, 20] =:= [Stored || #{stored := Stored} <- Positions] orelse Positions
    end),
    {ok, _} = crema:commit(Stay),
    ?assertMatch({ok, [#{offset := 20}, _, _, _]}, crema_control:committed(Stay)).

%% Seeks one after another until so many partitions are assigned.
sought_until(Consumer, Topic, Wanted, Deadline, Count) ->
    Results = [crema:seek(Consumer, {Topic, P}, (Count + P) rem 20) || P <- lists:seq(0, 3)],
    Late = crema_ct:now_ms() > Deadline,
    case length(maps:get(assigned, crema:status(Consumer))) of
        Wanted -> Results;
        Other when Late -> error({assigned, Other, Count});
        _ -> Results ++ sought_until(Consumer, Topic, Wanted, Deadline, Count + 1)
    end.

is_told({ok, [#{offset := Offset}]}) -> is_integer(Offset);
is_told({error, {Code, _}}) -> lists:member(Code, [not_assigned, rebalance_in_progress]).

%% A topic that is made by producing to it.
made(Config, Topic) ->
    P = crema_ct:producer(Config),
    {ok, _} = crema:produce(P, #{topic => Topic, value => <<"1">>}),
    Topic.

pattern_finds_new_topics(Config) ->
    %% A topic that matches a pattern and is made later is taken up, also when the
    %% pattern came at run time.
    Prefix = crema_ct:unique(<<"pattern">>),
    Refresh = #{kafka => #{'topic.metadata.refresh.interval.ms' => 500}},
    One = made(Config, <<Prefix/binary, "-one">>),
    C = crema_ct:consumer(Config, One, #{to => self()}, Refresh),
    ?assertEqual([One], topics(crema_ct:handled(1))),
    true = all_acknowledged(C),
    ok = crema_control:subscribe(C, [<<"^", Prefix/binary, "-.*">>]),
    Two = made(Config, <<Prefix/binary, "-two">>),
    ?assertEqual([Two], topics(crema_ct:handled(1))).

topics(Handled) -> [Topic || {_, #{topic := Topic}} <- Handled].

unknown_topic_is_told(Config) ->
    %% A topic that is not there is an event that names it, and its coming is
    %% noticed; with the newer group protocol as well.
    [unknown_topic_is_told(Config, Kafka) || Kafka <- protocols()].

protocols() ->
    {ok, Runtime} = crema_anchor:runtime(),
    Newest = proplists:get_value(librdkafka_number, Runtime) >= 16#020c0000,
    [#{} | [#{'group.protocol' => consumer} || Newest, hd(os:getenv("KAFKA_VERSION", "3")) >= $4]].

unknown_topic_is_told(Config, Kafka) ->
    Topic = made(Config, crema_ct:unique(<<"topic">>)),
    Missing = crema_ct:unique(<<"missing">>),
    Told = listen(any, [crema, client, error]),
    C = crema_ct:started(crema_consumer:start_link(#{
        bootstrap_servers => crema_ct:bootstrap(Config),
        group => crema_ct:unique(<<"group">>),
        topics => [Topic],
        handler => {crema_ct_handler, #{to => self()}},
        kafka => Kafka#{'topic.metadata.refresh.interval.ms' => 500}
    })),
    _ = crema_ct:handled(1),
    ok = crema_control:subscribe(C, [Topic, Missing]),
    told_of(Told, Missing),
    Missing = made(Config, Missing),
    ?assertEqual([Missing], topics(crema_ct:handled(1))),
    ok = crema_consumer:stop(C).

told_of(Told, Topic) ->
    {_, #{code := Code, message := Text}} = heard(Told),
    case binary:match(Text, Topic) of
        nomatch -> told_of(Told, Topic);
        _ -> ?assertEqual(unknown_topic_or_part, Code)
    end.

changes_in_a_row(Config) ->
    %% Subscriptions that are changed faster than the group follows end in the last
    %% one, and a stop in the middle of them ends as any other.
    [A, B] = [made(Config, crema_ct:unique(<<"topic">>)) || _ <- [1, 2]],
    Members = [crema_ct:consumer(Config, A, #{to => self()}, #{}) || _ <- [1, 2]],
    _ = crema_ct:handled(2),
    [Stays, Stops] = Members,
    Change = fun(C) ->
        ok = crema_control:add_topics(C, B),
        ok = crema_control:remove_topics(C, A),
        ok = crema_control:subscribe(C, [A]),
        ok = crema_control:add_topics(C, B)
    end,
    [Change(C) || C <- Members],
    ok = crema_consumer:stop(Stops),
    crema_ct:await(fun() ->
        Assigned = maps:get(assigned, crema:status(Stays)),
        lists:usort([T || {T, _} <- Assigned]) =:= lists:sort([A, B]) orelse Assigned
    end, 30000),
    ?assertEqual({ok, [A, B]}, crema_control:subscription(Stays)).
