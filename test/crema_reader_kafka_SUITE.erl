%% Reading without a group, of what only real brokers have: offsets without a
%% message, times, logs that begin later, refusals. See crema_kafka_SUITE.
-module(crema_reader_kafka_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([embedded/1, aborted_at_the_end/1, open_transaction/1, compacted/1, times/1]).
-export([deleted_at_the_beginning/1, unknown_topic/1, wrong_password/1, several_topics/1]).
-export([restarted_broker/1]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [{group, side_by_side}, restarted_broker].

groups() ->
    [
        {side_by_side, [parallel], [
            embedded, aborted_at_the_end, open_transaction, compacted, times,
            deleted_at_the_beginning, unknown_topic, wrong_password, several_topics
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config, crema_ct_kafka:bootstrap()).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

embedded(Config) ->
    %% What crema_reader_SUITE proves of contents, ends and cursors.
    [
        begin
            ct:log("~s", [Case]),
            _ = crema_reader_SUITE:Case(Config),
            crema_ct:cleanup()
        end
     || Case <- [ends_though_producers_go_on, follow, silence, batches]
    ],
    ok.

%% Partition 0, whatever else the topic has.
options(Config, Topic) ->
    #{
        bootstrap_servers => crema_ct:bootstrap(Config),
        topic => Topic,
        partitions => [0],
        timeout => 20000
    }.

%% Numbers, and where they end. An end that is not met is no time-out's business.
read(Options) ->
    Collect = fun(Message, Acc) -> {ok, [crema_ct_consume:number(Message) | Acc]} end,
    {Time, {ok, Numbers, Positions}} = crema_ct:timed(fun() ->
        crema:fold(Options, Collect, [])
    end),
    ?assert(Time < 15000, Time),
    {lists:reverse(Numbers), maps:values(Positions)}.

%% Markers of a transaction's end are written when it has been answered.
ends_at(End, Options) ->
    crema_ct:await(fun() ->
        {ok, _, Positions} = crema:fold(Options#{from => latest}, fun(_, Acc) -> {ok, Acc} end, none),
        maps:values(Positions) =:= [End] orelse Positions
    end).

with_isolation(Level, Options) -> Options#{kafka => #{<<"isolation.level">> => Level}}.

transactional(Config) ->
    Id = crema_ct:unique(<<"transactional">>),
    crema_ct:producer(Config, #{kafka => #{<<"transactional.id">> => Id}}).

produce_in(Tx, Topic, Numbers) ->
    {ok, _} = crema:produce_many(Tx, [
        #{topic => Topic, partition => 0, value => integer_to_binary(N)}
     || N <- Numbers
    ]),
    ok.

aborted_at_the_end(Config) ->
    %% Behind the last message that is read are aborted ones and control records: the
    %% end is met all the same, with either level of isolation, and from any offset.
    Topic = crema_ct:topic(Config, 4),
    P = transactional(Config),
    {ok, ok} = crema:transaction(P, fun(Tx) -> produce_in(Tx, Topic, lists:seq(1, 10)) end),
    {aborted, why} = crema:transaction(P, fun(Tx) ->
        ok = produce_in(Tx, Topic, lists:seq(11, 20)),
        crema:abort(Tx, why)
    end),
    %% 10, a marker, 10, a marker
    Options = options(Config, Topic),
    true = ends_at(22, Options),
    ?assertEqual({lists:seq(1, 10), [22]}, read(Options)),
    ?assertEqual(
        {lists:seq(1, 20), [22]}, read(with_isolation(<<"read_uncommitted">>, Options))
    ),
    %% All of it without a message, and bounds where there are none.
    ?assertEqual({[], [22]}, read(Options#{from => 11})),
    ?assertEqual({[], [22]}, read(Options#{from => 21})),
    ?assertEqual({[10], [15]}, read(Options#{from => 9, to => 15})),
    ?assertEqual({lists:seq(1, 10), [11]}, read(Options#{to => 11})),
    %% And when more follows what has no messages.
    ok = crema_ct:fill(Config, Topic, 0, [21, 22]),
    ?assertEqual({lists:seq(1, 10) ++ [21, 22], [24]}, read(Options)),
    ?assertEqual({lists:seq(1, 10), [20]}, read(Options#{to => 20})).

open_transaction(Config) ->
    %% With read_committed the end is before what a transaction has not committed
    %% yet: a read does not wait for it. With read_uncommitted it is behind.
    Topic = crema_ct:topic(Config, 4),
    ok = crema_ct:fill(Config, Topic, 0, [1, 2, 3]),
    P = transactional(Config),
    Options = options(Config, Topic),
    {ok, _} = crema:transaction(P, fun(Tx) ->
        ok = produce_in(Tx, Topic, [4, 5]),
        ?assertEqual({[1, 2, 3], [3]}, read(Options)),
        ?assertEqual(
            {lists:seq(1, 5), [5]}, read(with_isolation(<<"read_uncommitted">>, Options))
        )
    end),
    true = ends_at(6, Options),
    ?assertEqual({lists:seq(1, 5), [6]}, read(Options)).

compacted(Config) ->
    %% A bound that compaction has left without a message is met as any other.
    Topic = crema_ct:unique(<<"compacted">>),
    ok = crema_ct_kafka:topic(Topic, 1, [
        "cleanup.policy=compact", "segment.ms=100", "min.cleanable.dirty.ratio=0.01",
        "max.compaction.lag.ms=100"
    ]),
    P = crema_ct:producer(Config),
    Produce = fun(N) ->
        {ok, _} = crema:produce(P, #{
            topic => Topic, partition => 0, key => <<"same">>, value => integer_to_binary(N)
        })
    end,
    _ = [Produce(N) || N <- lists:seq(1, 20)],
    Options = (options(Config, Topic))#{from => 0, to => 15},
    %% Each message behind begins a segment, and so makes those before it compactable.
    Last = crema_ct:await(
        fun() ->
            {ok, #{offset := Offset}} = Produce(0),
            case read(Options) of
                {[], [15]} -> {ok, Offset};
                Other -> Other
            end
        end,
        60000
    ),
    {Left, [End]} = read(Options#{to => 'end'}),
    ?assert(length(Left) < Last),
    ?assertEqual(Last + 1, End),
    %% What is left may be less by now.
    {Later, [End]} = read(Options#{from => 7, to => End}),
    ?assertEqual([], Later -- Left).

times(Config) ->
    %% Both ends can be times; where all messages are older it is the end.
    Topic = crema_ct:topic(Config, 4),
    P = crema_ct:producer(Config),
    Base = 1700000000000,
    {ok, _} = crema:produce_many(P, [
        #{topic => Topic, partition => 0, timestamp => Base + N * 1000, value => integer_to_binary(N)}
     || N <- lists:seq(1, 10)
    ]),
    Options = options(Config, Topic),
    At = fun(Seconds) -> {timestamp, Base + Seconds * 1000} end,
    ?assertEqual({[4, 5, 6], [6]}, read(Options#{from => At(4), to => At(7)})),
    ?assertEqual({[9, 10], [10]}, read(Options#{from => {timestamp, Base + 8001}})),
    ?assertEqual({[], [10]}, read(Options#{from => At(11)})),
    ?assertEqual({lists:seq(1, 10), [10]}, read(Options#{from => At(0), to => At(11)})),
    ?assertEqual({[1, 2], [2]}, read(Options#{to => #{0 => At(3)}})).

deleted_at_the_beginning(Config) ->
    %% A log that begins later than at 0 is read from there; an offset before it is
    %% an error that names what there is.
    Topic = crema_ct:topic(Config, 4),
    ok = crema_ct:fill(Config, Topic, 0, lists:seq(1, 10)),
    ok = crema_ct_kafka:delete_records(proplists:get_value(priv_dir, Config), Topic, 0, 6),
    Options = options(Config, Topic),
    ?assertEqual({[7, 8, 9, 10], [10]}, read(Options)),
    ?assertEqual({[7, 8, 9, 10], [10]}, read(Options#{from => {last, 100}})),
    {error, {offset_out_of_range, Details}} =
        crema:fold(Options#{from => 3}, fun(_, N) -> {ok, N} end, 0),
    ?assertMatch(#{topic := Topic, partition := 0, offset := 3, low := 6, high := 10}, Details).

unknown_topic(Config) ->
    %% A topic that does not exist is an error at once, and is not made.
    Topic = crema_ct:unique(<<"nowhere">>),
    Options = (options(Config, Topic))#{partitions => undefined},
    Fold = fun() -> crema:fold(Options, fun(_, N) -> {ok, N} end, 0) end,
    {Time, Result} = crema_ct:timed(Fold),
    ?assertMatch({error, {unknown_topic_or_part, #{topic := Topic}}}, Result),
    ?assert(Time < 15000, Time),
    ?assertMatch({error, {unknown_topic_or_part, _}}, Fold()).

wrong_password(_Config) ->
    %% A refused user is told so long before the time is over.
    Options = #{
        bootstrap_servers => os:getenv("KAFKA_SASL"),
        topic => <<"t">>,
        kafka => #{
            <<"security.protocol">> => <<"sasl_plaintext">>,
            <<"sasl.mechanism">> => <<"PLAIN">>,
            <<"sasl.username">> => <<"nobody">>,
            <<"sasl.password">> => <<"nothing">>
        }
    },
    {Time, Result} = crema_ct:timed(fun() ->
        crema:fold(Options#{timeout => 60000}, fun(_, N) -> {ok, N} end, 0)
    end),
    ?assertMatch({error, {authentication, _}}, Result),
    ?assert(Time < 30000, Time).

several_topics(Config) ->
    %% Partitions of several topics, each with messages, are read to their ends.
    Topics = [crema_ct:topic(Config, 4) || _ <- [1, 2]],
    _ = [ok = crema_ct:fill(Config, T, P, lists:seq(1, 200)) || T <- Topics, P <- [0, 1, 2, 3]],
    {ok, Count, Positions} = crema:fold(
        #{
            bootstrap_servers => crema_ct:bootstrap(Config),
            partitions => [{T, P} || T <- Topics, P <- [0, 1, 2, 3]]
        },
        fun(_, N) -> {ok, N + 1} end,
        0
    ),
    ?assertEqual(1600, Count),
    ?assertEqual(lists:duplicate(8, 200), maps:values(Positions)).

restarted_broker(Config) ->
    %% A read goes on when its broker comes back, without a gap or a repeat.
    Topic = crema_ct:topic(Config, 4),
    ok = crema_ct:fill(Config, Topic, 0, lists:seq(1, 10000)),
    Restart = fun(Message, Acc) ->
        N = crema_ct_consume:number(Message),
        _ = N =:= 2000 andalso crema_ct_kafka:brokers("restart"),
        {ok, [N | Acc]}
    end,
    %% Fetched in many steps, so that most of it comes behind the restart.
    Small = #{<<"max.partition.fetch.bytes">> => 1000, <<"queued.max.messages.kbytes">> => 100},
    {ok, Numbers, _} = crema:fold((options(Config, Topic))#{kafka => Small}, Restart, []),
    ?assertEqual(lists:seq(1, 10000), lists:reverse(Numbers)).
