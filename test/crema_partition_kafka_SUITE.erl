%% Partitions as other clients choose them: the Java client's console producer
%% and kcat; and topics that real brokers change. See crema_kafka_SUITE for what
%% must be set.
-module(crema_partition_kafka_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([java/1, kcat/1, grown_topic/1, topic_made_anew/1, unknown_topics/1, strategies/1]).

-define(KEYS, 10000).
-define(PARTITIONS, 12).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [java, kcat, grown_topic, topic_made_anew, unknown_topics, strategies].

init_per_suite(Config) ->
    Bootstrap = needed(["CREMA_TEST_BOOTSTRAP"]),
    Folder = needed(["CREMA_TEST_KAFKA_DIR", "KAFKA_DIR"]),
    _ = program("kcat"),
    [{kafka_dir, Folder} | crema_ct:start(Config, list_to_binary(Bootstrap))].

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

needed(Names) ->
    case [Value || Name <- Names, Value <- [os:getenv(Name)], Value =/= false] of
        [Value | _] -> Value;
        [] -> error({Names, "none is set: run this suite by scripts/kafka run -- ..."})
    end.

%% Without it nothing is compared, which must not pass for a success.
program(Name) ->
    case os:find_executable(Name) of
        false -> error({Name, "is missing: run scripts/setup test"});
        Path -> Path
    end.

java(Config) ->
    %% Each of 10,000 random keys goes where the Java client sends it: by
    %% librdkafka's murmur2_random, by crema's choice for one call, and by
    %% partition_key.
    Topic = new_topic(Config, ?PARTITIONS),
    Keys = keys(),
    File = file_of(Config, Topic, Keys, <<"java">>),
    Out = tool(Config, console_producer(), [
        "--bootstrap-server", crema_ct:bootstrap(Config), "--topic", Topic,
        "--property", "parse.key=true", "--property", "'key.separator=\t'", "<", File
    ]),
    Java = where(Config, Topic, Out),
    ?assertEqual(?KEYS, map_size(Java)),
    compare(Config, Topic, Keys, murmur2_random, fun(Key) -> maps:get({Key, <<"java">>}, Java) end),
    compare(Config, Topic, Keys, murmur2, fun(Key) -> maps:get({Key, <<"java">>}, Java) end).

console_producer() ->
    case needed(["KAFKA_VERSION"]) of
        "3." ++ _ -> "kafka.tools.ConsoleProducer";
        _ -> "org.apache.kafka.tools.ConsoleProducer"
    end.

kcat(Config) ->
    %% Each of 10,000 random keys goes where kcat sends it with the same of
    %% librdkafka's partitioners.
    Topic = new_topic(Config, ?PARTITIONS),
    Keys = keys(),
    Names = [consistent, consistent_random, murmur2, murmur2_random, fnv1a, fnv1a_random],
    Outs = [
        begin
            File = file_of(Config, atom_to_list(Name), Keys, atom_to_binary(Name)),
            kcat(Config, [
                "-P", "-t", Topic, "-X", ["partitioner=", atom_to_list(Name)], "-K", "'\t'", "-l", File
            ])
        end
     || Name <- Names
    ],
    Kcat = where(Config, Topic, Outs),
    ?assertEqual(?KEYS * length(Names), map_size(Kcat)),
    [
        compare(Config, Topic, Keys, Name, fun(Key) ->
            maps:get({Key, atom_to_binary(Name)}, Kcat)
        end)
     || Name <- Names
    ].

%% All ways that lead to a partition by one strategy.
compare(Config, Topic, Keys, Strategy, Expected) ->
    Own = crema_ct:producer(Config, #{partitioner => Strategy}),
    Other = crema_ct:producer(Config, #{partitioner => round_robin}),
    ByKey = [#{topic => Topic, key => Key} || Key <- Keys],
    ByPartitionKey = [#{topic => Topic, partition_key => Key} || Key <- Keys],
    [
        begin
            {ok, Results} = crema:produce_many(P, Messages, Options),
            Went = [Partition || {ok, #{partition := Partition}} <- Results],
            ?assertEqual([], [
                {Strategy, Key, Partition}
             || {Key, Partition} <- lists:zip(Keys, Went), Partition =/= Expected(Key)
            ])
        end
     || {P, Messages, Options} <- [
            {Own, ByKey, #{}},
            {Own, ByPartitionKey, #{}},
            {Other, ByKey, #{partitioner => Strategy}},
            {Other, ByPartitionKey, #{partitioner => Strategy}}
        ]
    ],
    ok = crema_producer:stop(Own),
    ok = crema_producer:stop(Other).

%% Different ones, of up to 40 characters, some of several bytes.
keys() ->
    keys(#{}).

keys(Keys) when map_size(Keys) =:= ?KEYS ->
    maps:keys(Keys);
keys(Keys) ->
    Characters = [character(rand:uniform(6)) || _ <- lists:seq(1, rand:uniform(40))],
    keys(Keys#{unicode:characters_to_binary(Characters) => key}).

character(1) -> 16#A0 + rand:uniform(16#5F0);
character(2) -> 16#4E00 + rand:uniform(16#5000);
character(3) -> 16#1F300 + rand:uniform(16#200);
character(_) -> $! + rand:uniform($~ - $!).

file_of(Config, Name, Keys, Value) ->
    File = filename:join(proplists:get_value(priv_dir, Config), Name),
    ok = file:write_file(File, [[Key, $\t, Value, $\n] || Key <- Keys]),
    File.

%% What others have written to a topic, and where; what they said if they have not.
where(Config, Topic, Said) ->
    Read = kcat(Config, ["-C", "-q", "-e", "-t", Topic, "-f", "'%p\t%k\t%s\n'"]),
    Lines = [binary:split(Line, <<"\t">>, [global]) || Line <- binary:split(Read, <<"\n">>, [global])],
    Went = maps:from_list([{{Key, Value}, binary_to_integer(P)} || [P, Key, Value] <- Lines]),
    ct:log("~b messages of others; they said ~ts", [map_size(Went), Said]),
    Went.

kcat(Config, Arguments) ->
    run([program("kcat"), "-b", crema_ct:bootstrap(Config) | Arguments]).

tool(Config, Class, Arguments) ->
    script(["tool", proplists:get_value(kafka_dir, Config), Class | Arguments]).

script(Arguments) ->
    Source = proplists:get_value(source, ?MODULE:module_info(compile)),
    run([filename:join([filename:dirname(Source), "..", "scripts", "kafka"]) | Arguments]).

run(Words) ->
    Command = unicode:characters_to_list(lists:join($\s, Words)),
    unicode:characters_to_binary(os:cmd(Command)).

new_topic(Config, Partitions) ->
    Topic = crema_ct:unique(<<"partitions">>),
    make_topic(Config, Topic, Partitions),
    Topic.

make_topic(Config, Topic, Partitions) ->
    Folder = proplists:get_value(kafka_dir, Config),
    crema_ct:await(fun() ->
        Said = script(["topic", Folder, Topic, integer_to_list(Partitions)]),
        case binary:match(Said, <<"Created topic">>) of
            nomatch -> Said;
            _ -> true
        end
    end, 60000).

grown_topic(Config) ->
    %% A topic that grows is found larger in time, and its new partitions are used.
    Topic = new_topic(Config, 2),
    P = crema_ct:producer(Config, #{partitioner => round_robin}),
    ?assertEqual([0, 1, 0, 1], partitions(P, [#{topic => Topic} || _ <- lists:seq(1, 4)])),
    _ = tool(Config, "org.apache.kafka.tools.TopicCommand", [
        "--bootstrap-server", crema_ct:bootstrap(Config),
        "--alter", "--topic", Topic, "--partitions", "5"
    ]),
    ?assertEqual({ok, 2}, crema:partition_count(P, Topic)),
    %% A broker may lag behind for a moment.
    crema_ct:await(fun() ->
        crema:partition_count(P, Topic) =:= {ok, 5} orelse crema_partition_SUITE:age(P, Topic, 2)
    end),
    Went = partitions(P, [#{topic => Topic} || _ <- lists:seq(1, 10)]),
    ?assertEqual(lists:sort([0, 1, 2, 3, 4, 0, 1, 2, 3, 4]), lists:sort(Went)).

partitions(P, Messages) ->
    {ok, Results} = crema:produce_many(P, Messages),
    [Partition || {ok, #{partition := Partition}} <- Results].

topic_made_anew(Config) ->
    %% A topic that was deleted and made anew with fewer partitions: messages to
    %% one that is gone fail, and from then on the right number is known.
    Topic = new_topic(Config, 6),
    P = crema_ct:producer(Config, #{
        ordering => loose, kafka => #{'message.timeout.ms' => 20000}
    }),
    Last = fun(_, Count, _, _) -> Count - 1 end,
    Produce = fun() -> crema:produce(P, #{topic => Topic}, #{partitioner => Last}) end,
    ?assertMatch({ok, #{partition := 5}}, Produce()),
    _ = tool(Config, "org.apache.kafka.tools.TopicCommand", [
        "--bootstrap-server", crema_ct:bootstrap(Config), "--delete", "--topic", Topic
    ]),
    make_topic(Config, Topic, 2),
    crema_ct:await(fun() ->
        case Produce() of
            {ok, #{partition := 1}} -> true;
            Other -> Other
        end
    end, 90000),
    ?assertEqual({ok, 2}, crema:partition_count(P, Topic)).

unknown_topics(Config) ->
    %% A topic that brokers do not know, and may not create, and one that cannot
    %% be are errors that tell what to do, for a call that has to choose as well.
    P = crema_ct:producer(Config, #{
        partitioner => md5, kafka => #{'allow.auto.create.topics' => false}
    }),
    Unknown = crema_ct:unique(<<"unknown">>),
    Message = #{topic => Unknown, key => <<"k">>},
    [
        begin
            {error, {Code, #{message := Text, topic := Topic}}} = Answer,
            ?assertMatch({match, _}, re:run(Text, Hint))
        end
     || {Code, Topic, Hint, Answer} <- [
            {unknown_topic_or_part, Unknown, "Create the topic", crema:partition_count(P, Unknown)},
            {unknown_topic_or_part, Unknown, "Create the topic", crema:produce(P, Message)},
            {topic_exception, <<"no topic">>, "letters", crema:partition_count(P, "no topic")}
        ]
    ],
    ?assertMatch(#{accepted := 0}, crema:info(P)).

strategies(Config) ->
    %% What crema_partition_SUITE and crema_middleware_SUITE prove, where a topic
    %% may have any number of partitions.
    [
        begin
            _ = Suite:Name(Config),
            crema_ct:cleanup()
        end
     || {Suite, Name} <- [
            {crema_partition_SUITE, no_count_in_time},
            {crema_middleware_SUITE, skipped_tags},
            {crema_middleware_SUITE, changed}
        ]
    ].
