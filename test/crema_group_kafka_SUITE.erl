%% Groups on real brokers: strategies, the newer protocol, static members, and
%% topics that grow. See crema_kafka_SUITE.
-module(crema_group_kafka_SUITE).

-include_lib("stdlib/include/assert.hrl").

%% Runs on another node.
-export([member/1]).
-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    roundrobin/1, newer_protocol/1, newer_protocol_assignors/1, newer_protocol_killed/1,
    newer_protocol_refuses/1, static_member/1, fenced_member/1, grown_topic/1, later_topic/1,
    made_again/1, staying_partitions/1, another_strategy/1, acknowledged_when_revoked/1
]).
-import(crema_ct_consume, [listen/2, number/1]).
-import(crema_handler_callbacks_SUITE, [callbacks/4, called/0]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [{group, side_by_side}, staying_partitions].

groups() ->
    [
        {side_by_side, [parallel], [
            roundrobin, newer_protocol, newer_protocol_assignors, newer_protocol_killed,
            newer_protocol_refuses, static_member, fenced_member, grown_topic, later_topic,
            made_again, another_strategy, acknowledged_when_revoked
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config, crema_ct_kafka:bootstrap()).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

%% ---- strategies ----------------------------------------------------------------

roundrobin(Config) ->
    %% Two members share a topic by the third of the strategies; the other two are
    %% share_cooperative and share_range of crema_group_SUITE.
    crema_group_SUITE:share(Config, #{'partition.assignment.strategy' => roundrobin}).

acknowledged_when_revoked(Config) ->
    %% What handle_revoked acknowledges is committed with the partition: its next
    %% owner does not get it again. (The mock cluster has a member join again that asks for
    %% its share later than the leader gives them, and refuses commits meanwhile.)
    Topic = crema_ct:topic(Config, 2),
    [crema_ct:fill(Config, Topic, P, [1, 2, 3]) || P <- [0, 1]],
    Options = #{group => Topic},
    Functions = #{
        init => fun(_, State) -> {ok, State#{seen => []}} end,
        handle_message => fun(Message, #{seen := Seen} = State) ->
            {noack, State#{seen := [Message | Seen]}}
        end,
        handle_revoked => fun(_, #{seen := Seen} = State) ->
            [ok = crema:ack(Message) || Message <- Seen],
            {ok, State}
        end
    },
    One = callbacks(Config, Topic, Functions, Options),
    _ = [called() || _ <- lists:seq(1, 2 * 2 + 6)],
    Two = callbacks(Config, Topic, #{}, Options),
    {_, handle_revoked, #{partition := P}} = called(),
    {_, terminate, revoked} = called(),
    {_, init, #{partition := P, consumer := Two}} = called(),
    {_, handle_assigned, _} = called(),
    ok = crema_ct:fill(Config, Topic, P, [4]),
    {_, handle_message, Message} = called(),
    ?assertMatch(#{partition := P, value := <<"4">>}, Message),
    ok = crema_consumer:stop(One).

another_strategy(Config) ->
    %% A member that has no strategy in common with the others is refused, and told so.
    %% When the last of them has gone it joins by itself, and goes on where they were:
    %% so it is with members of another client, whose strategies nobody else has.
    Topic = crema_ct:topic(Config, 1),
    Member = fun(Kafka) ->
        Options = #{group => Topic, start => latest, kafka => Kafka},
        crema_ct:consumer(Config, Topic, #{to => self()}, Options)
    end,
    Old = Member(#{'partition.assignment.strategy' => roundrobin}),
    assigned(Old, 1),
    ok = crema_ct:fill(Config, Topic, 0, [1]),
    all_handled([{0, 1}]),
    Refused = listen(any, [crema, client, error]),
    New = Member(#{}),
    refused(New, Refused),
    ok = crema_ct:fill(Config, Topic, 0, [2]),
    all_handled([{0, 2}]),
    ok = crema_consumer:stop(Old),
    ok = crema_ct:fill(Config, Topic, 0, [3]),
    assigned(New, 1),
    all_handled([{0, 3}]).

refused(Member, Refused) ->
    case crema_ct_consume:heard(Refused) of
        {_, #{client := Member, code := inconsistent_group_protocol}} -> ok;
        _ -> refused(Member, Refused)
    end.

%% ---- the newer protocol --------------------------------------------------------

newer_protocol(Config) ->
    %% Members of a group by the newer protocol come and go, and each message is
    %% handled once, in order.
    with_newer(fun() -> crema_group_SUITE:share(Config, newer()) end).

newer_protocol_assignors(Config) ->
    %% The brokers' other way to share out can be asked for.
    with_newer(fun() ->
        crema_group_SUITE:share(Config, (newer())#{'group.remote.assignor' => range})
    end).

newer_protocol_killed(Config) ->
    %% What a member that is killed had goes to the other: repeats, but no gap.
    with_newer(fun() ->
        Topic = crema_ct:topic(Config, 4),
        Options = #{group => crema_ct:unique(<<"group">>), kafka => newer()},
        Member = fun() -> crema_ct:consumer(Config, Topic, #{to => self()}, Options) end,
        Members = [Member(), Member()],
        [assigned(C, 2) || C <- Members],
        [ok = crema_ct:fill(Config, Topic, P, lists:seq(1, 50)) || P <- lists:seq(0, 3)],
        exit(hd(Members), kill),
        assigned(lists:last(Members), 4),
        [ok = crema_ct:fill(Config, Topic, P, [51]) || P <- lists:seq(0, 3)],
        all_handled([{P, N} || P <- lists:seq(0, 3), N <- lists:seq(1, 51)])
    end).

newer_protocol_refuses(Config) ->
    %% What brokers decide by the newer protocol cannot be set by a member, and it
    %% says so; without any of it crema's own defaults are accepted (newer_protocol).
    with_newer(fun() ->
        process_flag(trap_exit, true),
        Given = #{
            bootstrap_servers => crema_ct:bootstrap(Config),
            group => crema_ct:unique(<<"group">>),
            topics => [<<"topic">>],
            handler => {crema_ct_handler, #{to => self()}}
        },
        [
            begin
                {error, {Code, #{message := Text}}} =
                    crema_consumer:start_link(Given#{kafka => (newer())#{Property => Value}}),
                ?assertEqual({Property, invalid_arg}, {Property, Code}),
                ?assertMatch({match, _}, re:run(Text, Property))
            end
         || {Property, Value} <- [
                {<<"session.timeout.ms">>, 10000},
                {<<"heartbeat.interval.ms">>, 1000},
                {<<"partition.assignment.strategy">>, range}
            ]
        ]
    end).

%% Kafka 4 with a librdkafka that knows it; elsewhere there is nothing to prove.
with_newer(Fun) ->
    case crema_ct_kafka:knows_newer_protocol() andalso os:getenv("KAFKA_VERSION", "4") of
        "4" ++ _ -> Fun();
        Other -> {comment, lists:flatten(io_lib:format("not run: ~p", [Other]))}
    end.

newer() -> #{'group.protocol' => consumer}.

%% Repeats are passed over.
all_handled([]) ->
    ok;
all_handled(Left) ->
    [{_, #{partition := P} = Message}] = crema_ct:handled(1),
    all_handled(lists:delete({P, number(Message)}, Left)).

assigned(Consumer, Count) ->
    crema_ct:await(
        fun() -> length(maps:get(assigned, crema:status(Consumer), [])) =:= Count end, 60000
    ).

%% ---- static members ------------------------------------------------------------

static_member(Config) ->
    %% A static member does not leave its group when it stops: what it had waits for
    %% it, and nobody else notices.
    Topic = crema_ct:topic(Config, 4),
    Group = crema_ct:unique(<<"group">>),
    Static = fun(Id) ->
        Kafka = #{'group.instance.id' => Id, 'session.timeout.ms' => 30000},
        crema_ct:consumer(Config, Topic, #{to => self()}, #{group => Group, kafka => Kafka})
    end,
    [One, Two] = [Static(Id) || Id <- [one, two]],
    [assigned(C, 2) || C <- [One, Two]],
    Had = maps:get(assigned, crema:status(One)),
    Others = [listen(Topic, [crema, consumer, Name]) || Name <- [assigned, revoked, lost]],
    ok = crema_consumer:stop(One),
    [ok = crema_ct:fill(Config, Topic, P, [1]) || P <- lists:seq(0, 3)],
    Again = Static(one),
    assigned(Again, 2),
    ?assertEqual(Had, maps:get(assigned, crema:status(Again))),
    all_handled([{P, 1} || P <- lists:seq(0, 3)]),
    [?assertEqual([], of_client(Two, Ref)) || Ref <- Others].

fenced_member(Config) ->
    %% When another node has a member with the same instance id, the first is put out
    %% for good, says why, and what it had is the other's.
    Topic = crema_ct:topic(Config, 4),
    Options = #{
        bootstrap_servers => crema_ct:bootstrap(Config),
        group => crema_ct:unique(<<"group">>),
        topics => [Topic],
        handler => {crema_ct_handler, #{to => self()}},
        kafka => #{'group.instance.id' => one, 'heartbeat.interval.ms' => 200}
    },
    C = crema_ct:started(crema_consumer:start_link(Options)),
    assigned(C, 4),
    Ended = erlang:monitor(process, C),
    Fatal = listen(any, [crema, client, fatal]),
    {ok, Peer, _} = peer:start_link(#{connection => standard_io, args => ["-pa" | code:get_path()]}),
    {ok, _} = peer:call(Peer, application, ensure_all_started, [crema], 20000),
    {_, Other} = peer:call(Peer, ?MODULE, member, [Options#{handler => fun erlang:is_map/1}], 20000),
    receive
        {'DOWN', Ended, _, _, _} -> ok
    after 30000 -> error(goes_on)
    end,
    {_, #{code := fenced_instance_id}} = crema_ct_consume:heard(Fatal),
    crema_ct:await(fun() ->
        length(maps:get(assigned, peer:call(Peer, crema, status, [Other]))) =:= 4
    end),
    ok = peer:call(Peer, crema_consumer, stop, [Other], 20000),
    ok = peer:stop(Peer).

%% A consumer that outlives the call that starts it.
member(Options) ->
    crema_ct:hold(fun() ->
        {ok, C} = crema_consumer:start_link(Options),
        C
    end).

of_client(Client, Ref) ->
    receive
        {Ref, Measured, #{client := Client}} -> [Measured | of_client(Client, Ref)];
        {Ref, _, _} -> of_client(Client, Ref)
    after 0 -> []
    end.

%% ---- topics that grow ----------------------------------------------------------

grown_topic(Config) ->
    %% A group at latest misses nothing of partitions that are added while messages
    %% come: not what is there before the group notices them.
    Topic = crema_ct:topic(Config, 4),
    [ok = crema_ct:fill(Config, Topic, P, [0]) || P <- lists:seq(0, 3)],
    Options = #{
        group => crema_ct:unique(<<"group">>),
        start => latest,
        kafka => #{'topic.metadata.refresh.interval.ms' => 2000}
    },
    Member = fun() -> crema_ct:consumer(Config, Topic, #{to => self()}, Options) end,
    %% Both begin at the same time: neither is late.
    [assigned(C, 2) || C <- [Member(), Member()]],
    ok = crema_ct:fill(Config, Topic, 0, [1]),
    all_handled_and_no_other([{0, 1}]),
    ok = crema_ct_kafka:grow(Topic, 6),
    [ok = crema_ct:fill(Config, Topic, P, lists:seq(1, 20)) || P <- lists:seq(0, 5)],
    all_handled([{P, N} || P <- lists:seq(0, 5), N <- lists:seq(1, 20), {P, N} =/= {0, 1}]).

later_topic(Config) ->
    %% A group at latest misses nothing of a topic that is made when it is at work, and
    %% which its pattern takes up: not what is there before the group notices it.
    {_Members, New} = at_work_at_latest(Config),
    made(Config, New, lists:seq(1, 20)).

made_again(Config) ->
    %% So it is when that topic is deleted and made again. Librdkafkas before 2.1.1 never
    %% end a client that had partitions of a topic that is gone.
    with_newer(fun() ->
        {Members, New} = at_work_at_latest(Config),
        made(Config, New, lists:seq(1, 20)),
        Before = [rebalances(C) || C <- Members],
        _ = crema_ct_kafka:tool("org.apache.kafka.tools.TopicCommand", [
            "--bootstrap-server", crema_ct_kafka:bootstrap(), "--delete", "--topic", New
        ]),
        %% Each gave up what it had there, and was told of the rest.
        Over = fun() ->
            lists:all(fun({C, B}) -> rebalances(C) >= B + 2 end, lists:zip(Members, Before))
        end,
        crema_ct:await(Over, 60000),
        made(Config, New, lists:seq(101, 120))
    end).

%% Two members of a group, and a topic that they will be given once it is made.
at_work_at_latest(Config) ->
    Prefix = crema_ct:unique(<<"later">>),
    Old = <<Prefix/binary, "-old">>,
    New = <<Prefix/binary, "-new">>,
    ok = crema_ct:fill(Config, Old, 0, [0]),
    Options = #{
        group => crema_ct:unique(<<"group">>),
        topics => [<<"^", Prefix/binary>>],
        start => latest,
        kafka => #{'topic.metadata.refresh.interval.ms' => 2000}
    },
    Members = [crema_ct:consumer(Config, none, #{to => self()}, Options) || _ <- [1, 2]],
    [assigned(C, 2) || C <- Members],
    ok = crema_ct:fill(Config, Old, 0, [1]),
    all_handled_and_no_other([{0, 1}]),
    {Members, New}.

made(Config, New, Numbers) ->
    ok = crema_ct_kafka:topic(New, 4, []),
    [ok = crema_ct:fill(Config, New, P, Numbers) || P <- lists:seq(0, 3)],
    all_handled([{P, N} || P <- lists:seq(0, 3), N <- Numbers]).

rebalances(Consumer) -> maps:get(rebalances, crema:info(Consumer)).

all_handled_and_no_other(Wanted) ->
    Handled = [{P, number(M)} || {_, #{partition := P} = M} <- crema_ct:handled(length(Wanted))],
    ?assertEqual(Wanted, Handled).

%% ---- speed -----------------------------------------------------------------------

-define(ROUNDS, 3).
%% Without what makes it quick it is close to a second in each round.
-define(LONGEST_MS, 500).

staying_partitions(Config) ->
    %% Partitions that stay with a member while another joins are hardly held up: in
    %% the best of a few rounds, for other work on the machine holds them up too.
    Topic = crema_ct:topic(Config, 4),
    Options = #{group => crema_ct:unique(<<"group">>)},
    Gaps = atomics:new(4, []),
    Count = counters:new(4, []),
    Handle = fun(#{partition := P}, State) ->
        Now = crema_ct:now_ms(),
        Gap = Now - maps:get(last, State, Now),
        ok = atomics:put(Gaps, P + 1, max(Gap, atomics:get(Gaps, P + 1))),
        ok = counters:add(Count, P + 1, 1),
        {ack, State#{last => Now}}
    end,
    First = crema_ct:consumer(Config, Topic, #{handle => Handle, to => self()}, Options),
    assigned(First, 4),
    Feeder = crema_group_SUITE:feed(Config, Topic, 4),
    Round = fun() ->
        [ok = atomics:put(Gaps, P, 0) || P <- lists:seq(1, 4)],
        Args = #{handle => fun(_, State) -> {ack, State} end, to => self()},
        Second = crema_ct:consumer(Config, Topic, Args, Options),
        assigned(Second, 2),
        Staying = [P + 1 || {_, P} <- maps:get(assigned, crema:status(First))],
        Seen = [{P, counters:get(Count, P)} || P <- Staying],
        crema_ct:await(fun() -> [P || {P, N} <- Seen, counters:get(Count, P) =< N] =:= [] end),
        Gap = lists:max([atomics:get(Gaps, P) || P <- Staying]),
        ok = crema_consumer:stop(Second),
        assigned(First, 4),
        Gap
    end,
    Longest = [Round() || _ <- lists:seq(1, ?ROUNDS)],
    _ = crema_group_SUITE:fed(Feeder),
    ?assert(lists:min(Longest) < ?LONGEST_MS, Longest).
