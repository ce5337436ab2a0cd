%% The command line as a process of the system, on embedded brokers.
-module(crema_cli_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([versions_and_help/1, wrong_usage/1, lines_come_back/1, bytes_come_back/1, json_comes_back/1]).
-export([keys_and_nulls/1, places/1, all_or_told/1, unreachable/1, closed_output/1, full_device/1]).
-export([slow_reader/1, asked_to_end/1, no_brokers/1, topics/1, check/1, bench/1, variables/1]).
-export([lag_of_nobody/1, quiet/1, no_driver/1]).
-export([coordinator_moves/1]).

suite() -> [{timetrap, {seconds, 60}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            slow_reader, unreachable, versions_and_help, wrong_usage, lines_come_back,
            bytes_come_back, json_comes_back, keys_and_nulls, places, all_or_told, closed_output,
            full_device, asked_to_end, no_brokers, topics, check, bench, variables, lag_of_nobody,
            quiet, no_driver, coordinator_moves
        ]}
    ].

init_per_suite(Config) -> crema_ct_cli:start(crema_ct:start(Config)).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

run(Config, Arguments) -> crema_ct_cli:run(Config, Arguments, <<>>).

versions_and_help(Config) ->
    %% Each command has help, and the version names librdkafka's.
    {0, Version, <<>>} = run(Config, ["--version"]),
    ?assertMatch({match, _}, re:run(Version, "^crema [0-9.]+, librdkafka [0-9.]+, OTP ")),
    {0, Help, <<>>} = run(Config, ["help"]),
    ?assertMatch({match, _}, re:run(Help, "(?m)^  lag +how far groups are behind$")),
    {0, Lag, <<>>} = run(Config, ["help", "lag"]),
    ?assertMatch({match, _}, re:run(Lag, "^usage: crema lag GROUP...")),
    ?assertEqual({0, Lag, <<>>}, run(Config, ["lag", "--help"])).

wrong_usage(Config) ->
    %% A wrong command line is told before anything is done, with status 2.
    lists:foreach(
        fun({Arguments, Pattern}) ->
            {2, _, Told} = run(Config, Arguments),
            ?assertMatch({_, {match, _}}, {Told, re:run(Told, Pattern)})
        end,
        [
            {[], "^crema: a command is wanted"},
            {["nothing"], "^crema: there is no command nothing"},
            {["consume", "t", "-n", "x"], "^crema: -n wants a number"},
            {["consume", "t", "-j", "-K", ":"], "^crema: --json prints keys"}
        ]
    ).

lines_come_back(Config) ->
    %% What is produced line by line is consumed as it was, the last line without its
    %% end as well, and many more than wait at a time.
    Topic = crema_ct:topic(Config, 1),
    Lines = [[integer_to_list(N), $\s, lists:duplicate(N rem 50, $x)] || N <- lists:seq(1, 60000)],
    Input = iolist_to_binary(lists:join($\n, Lines)),
    ?assertEqual({0, <<>>, <<>>}, crema_ct_cli:run(Config, ["produce", Topic], Input)),
    ?assertEqual({0, <<Input/binary, $\n>>, <<>>}, run(Config, ["consume", Topic, "-e"])).

bytes_come_back(Config) ->
    %% Any bytes make a message when there is no delimiter, and any delimiter does.
    Topic = crema_ct:topic(Config, 1),
    Bytes = rand:bytes(700000),
    {0, _, <<>>} = crema_ct_cli:run(Config, ["produce", Topic, "-d", ""], Bytes),
    ?assertEqual({0, Bytes, <<>>}, run(Config, ["consume", Topic, "-n", "1", "-d", ""])),
    {0, _, <<>>} = crema_ct_cli:run(Config, ["produce", Topic, "-d", "\\0"], <<"a\nb", 0, "ü"/utf8, 0>>),
    ?assertEqual(
        {0, <<"a\nb|ü|"/utf8>>, <<>>}, run(Config, ["consume", Topic, "-e", "-f", "1", "-d", "|"])
    ).

json_comes_back(Config) ->
    %% A pipe of JSON copies keys, headers, nulls, partitions, times and bytes.
    [From, To] = [crema_ct:topic(Config, 3) || _ <- [1, 2]],
    P = crema_ct:producer(Config),
    Parts = [undefined, <<>>, <<0, 255>>, <<"\"ü\"\n"/utf8>>],
    {ok, _} = crema:produce_many(P, [
        #{
            topic => From, partition => 2, key => Key, value => Value, timestamp => 1700000000000,
            headers => [{<<"h">>, Value}, {<<"h">>, Key}]
        }
     || Key <- Parts, Value <- Parts
    ]),
    Servers = binary_to_list(crema_ct:bootstrap(Config)),
    {0, <<>>, <<>>} = crema_ct_cli:shell(
        Config, ["set -o pipefail; crema consume ", From, " -e -j | crema produce ", To, " --json"],
        {<<>>, [{"KAFKA_BOOTSTRAP_SERVERS", Servers}]}
    ),
    Read = fun(Topic) ->
        {ok, Messages, _} = crema:fold(
            #{bootstrap_servers => Servers, topic => Topic}, fun(M, Acc) -> {ok, [M | Acc]} end, []
        ),
        [maps:remove(topic, Message) || Message <- Messages]
    end,
    ?assertEqual(16, length(Read(From))),
    ?assertEqual(Read(From), Read(To)).

keys_and_nulls(Config) ->
    %% Keys are split off and printed, null is what is said to be, headers are there.
    Topic = crema_ct:topic(Config, 1),
    Input = <<"ada:espresso\njoe:NULL\nbob:a:b\n">>,
    Produce = ["produce", Topic, "-K", ":", "-Z", "NULL", "-H", "size=large"],
    {0, _, <<>>} = crema_ct_cli:run(Config, Produce, Input),
    ?assertEqual(
        {0, <<"size=large\tada = espresso\nsize=large\tjoe = -\nsize=large\tbob = a:b\n">>, <<>>},
        run(Config, ["consume", Topic, "-e", "-H", "-K", " = ", "-Z", "-"])
    ),
    {0, Json, <<>>} = run(Config, ["consume", Topic, "-n", "1", "--from", "-2", "--json"]),
    ?assertMatch({match, _}, re:run(Json, "\"key\":\"joe\".*\"value\":null}")).

places(Config) ->
    %% Reading begins and ends where it is said.
    Topic = crema_ct:topic(Config, 2),
    P = crema_ct:producer(Config),
    {ok, _} = crema:produce_many(P, [
        #{topic => Topic, partition => N rem 2, value => integer_to_binary(N)} || N <- lists:seq(0, 9)
    ]),
    Values = fun(Arguments) ->
        {0, Out, <<>>} = run(Config, ["consume", Topic | Arguments]),
        lists:sort(crema_ct_cli:lines(Out))
    end,
    ?assertEqual([<<"6">>, <<"7">>, <<"8">>, <<"9">>], Values(["-e", "-f", "-2"])),
    ?assertEqual([<<"3">>, <<"5">>], Values(["-p", "1", "-f", "1", "-t", "3"])),
    ?assertEqual([], Values(["-e", "-f", "end"])),
    ?assertEqual([<<"0">>], Values(["-p", "0", "-n", "1"])),
    {1, <<>>, Told} = run(Config, ["consume", Topic, "-p", "0", "-f", "77"]),
    ?assertMatch({match, _}, re:run(Told, "^crema: .*offset 77 is not in the log")).

all_or_told(Config) ->
    %% Messages that are wrong or refused are told by their numbers and counted; all
    %% others are delivered.
    Topic = crema_ct:topic(Config, 1),
    Large = binary:copy(<<"x">>, 2000000),
    Input = [
        "{\"value\":1}\nnonsense\n{\"value\":\"", Large, "\"}\n",
        "{\"value\":4,\"partition\":-7}\n{\"value\":5}"
    ],
    {1, <<>>, Told} = crema_ct_cli:run(Config, ["produce", Topic, "-j"], Input),
    ?assertMatch({match, _}, re:run(Told, "(?m)^crema: message 2: is no JSON$"), Told),
    ?assertMatch({match, _}, re:run(Told, "(?m)^crema: message 3: .*too large"), Told),
    ?assertMatch({match, _}, re:run(Told, "(?m)^crema: message 4: "), Told),
    ?assertMatch({match, _}, re:run(Told, "(?m)^crema: 3 of 5 messages not delivered$"), Told),
    ?assertEqual({0, <<"1\n5\n">>, <<>>}, run(Config, ["consume", Topic, "-e"])).

unreachable(Config) ->
    %% Where no broker is, the cause is told and what was not delivered counted.
    Nobody = ["-b", "127.0.0.1:1", "-T", "1"],
    {1, <<>>, Produced} = crema_ct_cli:run(Config, ["produce", "t" | Nobody], <<"a\nb\n">>),
    ?assertMatch({match, _}, re:run(Produced, "(?m)^crema: 127.0.0.1:1: .*refused"), Produced),
    ?assertMatch({match, _}, re:run(Produced, "(?m)^crema: 2 of 2 messages not delivered$")),
    lists:foreach(
        fun(Command) ->
            {1, <<>>, Told} = run(Config, Command ++ Nobody),
            ?assertMatch({match, _}, re:run(Told, "(?m)^crema: .*refused"), {Command, Told})
        end,
        [["consume", "t"], ["topics"], ["groups"], ["lag", "g"]]
    ).

closed_output(Config) ->
    %% Who reads may stop to: no word, and no failure. Who is slow gets all of it.
    Topic = crema_ct:topic(Config, 1),
    ok = crema_ct:fill(Config, Topic, 0, lists:seq(1, 20000)),
    {0, First, <<>>} = crema_ct_cli:shell(
        Config,
        ["crema consume ", Topic, " -P | head -n 2; s=${PIPESTATUS[0]}; [ $s = 0 ]"],
        {<<>>, [{"KAFKA_BOOTSTRAP_SERVERS", binary_to_list(crema_ct:bootstrap(Config))}]}
    ),
    ?assertEqual(2, length(crema_ct_cli:lines(First))),
    {0, Count, <<>>} = crema_ct_cli:shell(
        Config,
        ["set -o pipefail; crema consume ", Topic, " -e -P | { sleep 1; wc -l; }"],
        {<<>>, [{"KAFKA_BOOTSTRAP_SERVERS", binary_to_list(crema_ct:bootstrap(Config))}]}
    ),
    ?assertEqual(<<"20000">>, string:trim(Count)).

full_device(Config) ->
    %% What cannot be written is a failure, and told.
    {0, Told, <<>>} = crema_ct_cli:shell(
        Config, "crema help 2>&1 >/dev/full; [ $? = 1 ]", {<<>>, []}
    ),
    ?assertEqual(<<"crema: standard output cannot be written: no space left on device\n">>, Told).

slow_reader(Config) ->
    %% No more is read than can be under way: who writes into the pipe waits, here
    %% in the first two of a hundred megabytes.
    Count = filename:join(proplists:get_value(priv_dir, Config), "written"),
    {0, Written, _} = crema_ct_cli:shell(
        Config,
        [
            "block=$(yes 0123456789012345678901234567890123456789 | head -c 1000000)\n",
            "echo 0 >", Count, "\n",
            "for i in {1..100}; do printf '%s\\n' \"$block\" || break; echo $i >", Count,
            "; done 2>/dev/null | ",
            "timeout -s KILL 2 ", proplists:get_value(cli, Config),
            " produce t -b 127.0.0.1:1 -T 20; cat ", Count
        ],
        {<<>>, []}
    ),
    ?assert(binary_to_integer(string:trim(Written)) < 3).

asked_to_end(Config) ->
    %% SIGTERM ends the reading: what was read is delivered, and told, as is half a message,
    %% which is not.
    Topic = crema_ct:topic(Config, 1),
    Cli = proplists:get_value(cli, Config),
    {0, <<>>, Told} = crema_ct_cli:shell(
        Config,
        [
            "exec 3< <(echo a; echo b; printf c; exec sleep 50); writer=$!\n",
            Cli, " produce ", Topic, " <&3 & pid=$!\n",
            "for i in {1..30}; do ! crema consume ", Topic, " -e | grep -q b || break; done\n",
            "kill $pid; wait $pid; status=$?; kill $writer; [ $status = 1 ]"
        ],
        {<<>>, [{"KAFKA_BOOTSTRAP_SERVERS", binary_to_list(crema_ct:bootstrap(Config))}]}
    ),
    ?assertEqual(
        <<"crema: ended by SIGTERM within a message, which is not sent; "
            "all that was read before is delivered: 2 messages\n">>,
        Told
    ).

no_brokers(Config) ->
    %% A variable that is wrong is named, and without brokers it is said how to name some.
    {1, <<>>, Wrong} = crema_ct_cli:run(Config, ["topics", "-b", "h:1"], <<>>, [{"KAFKA_SASL_USER", "x"}]),
    ?assertMatch({match, _}, re:run(Wrong, "sasl.user.*The variable KAFKA_SASL_USER sets.*--env none")),
    {1, <<>>, Told} = crema_ct_cli:run(Config, ["topics"], <<>>, []),
    ?assertMatch({match, _}, re:run(Told, "KAFKA_BOOTSTRAP_SERVERS is not set.*-b SERVERS names brokers")).

topics(Config) ->
    %% A topic is listed, and each of its partitions described.
    Topic = crema_ct:topic(Config, 2),
    ok = crema_ct:fill(Config, Topic, 1, lists:seq(1, 5)),
    {0, List, <<>>} = run(Config, ["topics"]),
    ?assertMatch({match, _}, re:run(List, ["(?m)^", Topic, " +2 +1$"])),
    {0, Described, <<>>} = run(Config, ["topics", Topic, "--json"]),
    ?assertEqual(
        [
            #{
                <<"topic">> => Topic, <<"partition">> => P, <<"leader">> => 1, <<"replicas">> => 1,
                <<"in_sync">> => 1, <<"beginning">> => 0, <<"end">> => End
            }
         || {P, End} <- [{0, 0}, {1, 5}]
        ],
        [element(2, crema_json:decode(Line)) || Line <- crema_ct_cli:lines(Described)]
    ).

check(Config) ->
    %% The diagnosis has its exit status, and no colours in a file.
    Topic = crema_ct:topic(Config, 1),
    {0, Good, <<>>} = run(Config, ["check", "-t", Topic, "-g", "g"]),
    ?assertMatch({match, _}, re:run(Good, "(?m)^ok +group +g")),
    ?assertEqual(nomatch, string:find(Good, "\e[")),
    {1, Bad, <<>>} = run(Config, ["check", "-b", "127.0.0.1:1"]),
    ?assertMatch({match, _}, re:run(Bad, "(?m)^failed +tcp")).

bench(Config) ->
    %% What is measured was really sent and read.
    Topic = crema_ct:topic(Config, 1),
    {0, Out, <<>>} = run(Config, ["bench", Topic, "-n", "5000", "-s", "10"]),
    ?assertMatch({match, _}, re:run(Out, "(?m)^produced +5000 messages in [0-9.]+ s: [0-9]+/s")),
    ?assertMatch({match, _}, re:run(Out, "(?m)^consumed +5200 messages")).

variables(Config) ->
    %% Variables with another prefix are read when they are asked for, a prefix of names
    %% is added, and what is typed goes first.
    Topic = crema_ct:topic(Config, 1),
    ok = crema_ct:fill(Config, Topic, 0, [1, 2, 3]),
    <<First:3/binary, Rest/binary>> = Topic,
    Servers = binary_to_list(crema_ct:bootstrap(Config)),
    Variables = [{"MY_BOOTSTRAP_SERVERS", Servers}, {"MY_PREFIX", binary_to_list(First)}],
    Arguments = ["consume", Rest, "-e", "--env", "MY"],
    {0, Out, <<>>} = crema_ct_cli:run(Config, Arguments, <<>>, Variables),
    ?assertEqual(3, length(crema_ct_cli:lines(Out))),
    {1, <<>>, Told} = crema_ct_cli:run(
        Config, Arguments ++ ["-b", "127.0.0.1:1", "-T", "1"], <<>>, Variables
    ),
    ?assertMatch({match, _}, re:run(Told, "refused")),
    {0, Same, <<>>} = crema_ct_cli:run(Config, ["consume", Topic, "-e"], <<>>, [{"KAFKA_URL", Servers}]),
    ?assertEqual(Out, Same).

lag_of_nobody(Config) ->
    %% A group that has committed nothing is told of.
    {1, _, Told} = run(Config, ["lag", "nobody"]),
    ?assertMatch({match, _}, re:run(Told, "^crema: nobody: nothing is committed")).

quiet(Config) ->
    %% A secret that librdkafka refuses is in nothing that is printed.
    {1, Out, Err} = run(Config, ["topics", "-X", "ssl.key.pem=marker-4711", "-X", "no.such=marker-4711"]),
    ?assertEqual(nomatch, string:find([Out, Err], "marker-4711")),
    ?assertMatch({match, _}, re:run(Err, "no.such")).

no_driver(Config) ->
    %% A driver that cannot be loaded, as without librdkafka, is told of in a sentence.
    Private = proplists:get_value(priv_dir, Config),
    Lib = filename:join(Private, "broken"),
    Driver = filename:join([Lib, "priv", "crema_drv.so"]),
    ok = filelib:ensure_dir(Driver),
    ok = file:write_file(Driver, "no driver"),
    ok = file:make_symlink(filename:join(code:lib_dir(crema), "ebin"), filename:join(Lib, "ebin")),
    Broken = crema_ct_cli:build(Config, "crema-broken", Lib),
    %% Flags may name a folder with another one, as a run under sanitizers does.
    {1, <<>>, Told} = crema_ct_cli:run(Broken, ["topics"], "", [{"ERL_FLAGS", false}]),
    ?assertMatch(
        {match, _}, re:run(Told, "^crema: crema's driver could not be loaded: .* loaded from .*/cache/")
    ).

coordinator_moves(Config) ->
    %% A broker that is a group's coordinator no more is an error, and not the end of the
    %% process, as it is of librdkafka's without a group.
    {ok, Cluster} = crema_cluster:start_link(#{}),
    Servers = binary_to_list(crema_cluster:bootstrap_servers(Cluster)),
    OffsetFetch = 9,
    ok = crema_cluster:fail(Cluster, OffsetFetch, [not_coordinator]),
    {1, <<>>, Told} = run(Config, ["lag", "g", "-b", Servers]),
    ok = crema_cluster:stop(Cluster),
    ?assertMatch({match, _}, re:run(Told, "^crema: g: .*Not coordinator"), Told).
