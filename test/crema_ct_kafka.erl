%% Real brokers, as `scripts/kafka run` gives them to a suite: where they are,
%% what is done to them, and what they hold.
-module(crema_ct_kafka).

-include_lib("stdlib/include/assert.hrl").

-export([bootstrap/0, env/1, brokers/1, tool/2, topic/3, grow/2, delete_records/4, log/2]).
-export([knows_newer_protocol/0]).

%% @doc CREMA_TEST_BOOTSTRAP.
bootstrap() ->
    list_to_binary(needed("CREMA_TEST_BOOTSTRAP")).

%% @doc What `scripts/kafka run' gives: TLS, CA, SASL_USERNAME and so on.
-spec env(string()) -> string().
env(Name) -> needed("KAFKA_" ++ Name).

needed(Name) ->
    case os:getenv(Name) of
        false -> error({Name, "is not set: run this suite by scripts/kafka run -- ..."});
        Value -> Value
    end.

%% @doc A command of `scripts/kafka' for all brokers: kill, restart, pause, resume.
%% CREMA_TEST_KAFKA_DIR, or KAFKA_DIR, is the folder in which it keeps them.
brokers(Command) ->
    ?assertEqual("", script(Command, [])).

%% @doc A new topic of that many partitions, with settings like "key=value".
topic(Topic, Partitions, Settings) ->
    Said = script("topic", [Topic, integer_to_list(Partitions) | Settings]),
    ?assertMatch({match, _}, re:run(Said, "Created topic"), Said).

%% @doc What a class of Kafka's own command-line tools prints.
-spec tool(string(), [iodata()]) -> binary().
tool(Class, Arguments) ->
    unicode:characters_to_binary(script("tool", [Class | Arguments])).

%% @doc The log of a partition, or of each of several, begins at that offset from now on.
delete_records(Directory, Topic, Partition, Offset) when is_integer(Partition) ->
    delete_records(Directory, Topic, [Partition], Offset);
delete_records(Directory, Topic, Partitions, Offset) ->
    File = filename:join(Directory, <<Topic/binary, ".json">>),
    Format = "{\"topic\":\"~s\",\"partition\":~b,\"offset\":~b}",
    Each = [io_lib:format(Format, [Topic, Partition, Offset]) || Partition <- Partitions],
    Json = ["{\"version\":1,\"partitions\":[", lists:join($,, Each), "]}"],
    ok = file:write_file(File, Json),
    Said = tool("org.apache.kafka.tools.DeleteRecordsCommand", [
        "--bootstrap-server", bootstrap(), "--offset-json-file", File
    ]),
    ?assertMatch({match, _}, re:run(Said, "low_watermark: " ++ integer_to_list(Offset)), Said).

%% @doc Whether the librdkafka in use knows group.protocol=consumer.
knows_newer_protocol() ->
    {ok, Runtime} = crema_anchor:runtime(),
    proplists:get_value(librdkafka_number, Runtime) >= 16#020c00ff.

%% @doc Adds partitions to a topic, so that it has that many.
grow(Topic, Partitions) ->
    Said = tool("org.apache.kafka.tools.TopicCommand", [
        "--bootstrap-server", bootstrap(),
        "--alter", "--topic", Topic, "--partitions", integer_to_list(Partitions)
    ]),
    ?assertEqual(<<>>, Said),
    ok.

%% What it prints.
script(Command, Arguments) ->
    Folder =
        case os:getenv("CREMA_TEST_KAFKA_DIR") of
            false -> needed("KAFKA_DIR");
            Given -> Given
        end,
    Source = proplists:get_value(source, ?MODULE:module_info(compile)),
    Script = filename:join([filename:dirname(Source), "..", "scripts", "kafka"]),
    Words = lists:join($\s, [Script, Command, Folder | Arguments]),
    os:cmd(unicode:characters_to_list(Words)).

%% @doc All that a topic holds, by kcat: nothing of crema's stands between.
-spec log(file:filename(), binary()) -> [{Partition :: integer(), [{Offset, Value}]}] when
    Offset :: integer(), Value :: binary().
log(Directory, Topic) ->
    File = filename:join(Directory, Topic),
    Command = ["kcat -C -q -e -b ", bootstrap(), " -o beginning -f '%p %o %s\\n' -t ", Topic],
    ?assertEqual("", os:cmd(binary_to_list(iolist_to_binary([Command, " 2>&1 >", File])))),
    {ok, Text} = file:read_file(File),
    ok = file:delete(File),
    Lines = binary:split(Text, <<"\n">>, [global, trim_all]),
    Partitions = lists:foldl(fun entry/2, #{}, Lines),
    [{Partition, lists:sort(Entries)} || {Partition, Entries} <- maps:to_list(Partitions)].

entry(Line, Partitions) ->
    [Partition, Offset, Value] = binary:split(Line, <<" ">>, [global]),
    Entry = {binary_to_integer(Offset), Value},
    maps:update_with(
        binary_to_integer(Partition), fun(Entries) -> [Entry | Entries] end, [Entry], Partitions
    ).
