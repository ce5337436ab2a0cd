%% The report of the benchmark, of runs that are made up. Its modules are no part of crema:
%% they are compiled here.
-module(crema_bench_report_tests).

-include_lib("eunit/include/eunit.hrl").
-include_lib("xmerl/include/xmerl.hrl").

report_test_() ->
    {setup, fun compile/0, [
        {"all modules of the benchmark compile without warnings", ?_assertEqual(ok, compile())},
        {"the rows of runs", fun rows/0},
        {"targets", fun targets/0},
        {"the table", fun table/0},
        {"the file of results", fun json/0},
        {"plots", fun plots/0},
        {"axes", fun axes/0}
    ]}.

compile() ->
    Options = [warn_missing_spec, warn_untyped_record, warn_export_vars],
    crema_ct_modules:load("bench/crema_bench*.erl", Options).

%% Lines as two rounds print them.
lines() ->
    [
        crema_bench_table:parse(Line)
     || Line <- [
            "{\"machine\":\"2 cores\",\"otp\":\"25\"}",
            line("produce_many_100b", "crema", 1200000, 0.5),
            line("produce_many_100b", "c", 1000000, 0.6),
            line("produce_many_100b", "crema", 3000000, 0.7),
            line("produce_many_100b", "c", 2000000, 0.8),
            latency("latency_100", "crema", 0.5),
            latency("latency_100", "c", 0.6),
            line("peers_produce_100b", "python", 500000, 2.0),
            line("peers_produce_100b", "franz-go", 3000000, 0.9),
            line("peers_produce_100b", "crema", 2000000, 0.5)
        ]
    ].

line(Workload, Client, Rate, Cpu) ->
    format(
        "{\"workload\":\"~s\",\"client\":\"~s\",\"messages\":10,\"peak_mb\":40.5,\"rate\":~b,"
        "\"cpu_seconds_per_million\":~p}",
        [Workload, Client, Rate, Cpu]
    ).

latency(Workload, Client, Ms) ->
    format(
        "{\"workload\":\"~s\",\"client\":\"~s\",\"peak_mb\":40.5,\"p50_ms\":~p,\"p99_ms\":9.5}",
        [Workload, Client, Ms]
    ).

%% A row for each figure; medians with their spread; ratios are those of rounds; whom crema is
%% compared with has an order of its own.
rows() ->
    Rows = [Many, P50, P99, Peers] = crema_bench_table:rows(lines()),
    ?assertMatch(#{workload := "produce_many_100b", figure := "rate", runs := 2}, Many),
    ?assertEqual(
        #{"crema" => {2.1e6, 1.2e6, 3.0e6}, "c" => {1.5e6, 1.0e6, 2.0e6}}, maps:get(values, Many)
    ),
    ?assertEqual(#{"c" => {1.35, 1.2, 1.5}}, maps:get(ratios, Many)),
    ?assertMatch(#{"crema" := 0.6}, maps:get(cpu, Many)),
    ?assertMatch([#{figure := "p50_ms"}, #{figure := "p99_ms"}], [P50, P99]),
    ?assertMatch(#{subject := "crema", others := ["franz-go", "python"]}, Peers),
    ?assertEqual({ok, P99}, crema_bench_table:find({"latency_100", "p99_ms"}, Rows)),
    ?assertEqual(none, crema_bench_table:find({"latency_100", "rate"}, Rows)).

%% What is met and what is missed, by ratio and by difference.
targets() ->
    [Many, P50, P99, Peers] = [Targets || #{targets := Targets} <- crema_bench_table:rows(lines())],
    ?assertEqual([{">= 1.2 C", true}], Many),
    ?assertEqual([{"<= C + 0.2", true}], P50),
    ?assertEqual([{"<= C + 1", true}], P99),
    ?assertEqual([{">= 1.0 franz-go", false}], Peers),
    Slow = [latency("latency_100", "crema", 0.9), latency("latency_100", "c", 0.6)],
    Rows = crema_bench_table:rows([crema_bench_table:parse(Line) || Line <- Slow]),
    ?assertMatch([#{targets := [{_, false}]}, _], Rows).

%% A line for each that crema is compared with; a target is told in the line that it is about.
table() ->
    Text = unicode:characters_to_list(crema_bench_table:text(crema_bench_table:rows(lines()))),
    ?assertMatch({match, _}, re:run(Text, "produce_many_100b +2.10 M/s +c +1.50 M/s +1.35 +1.20-1.50 ")),
    ?assertMatch({match, _}, re:run(Text, "0.60/0.70 +4./4. +>= 1.2 C met\n")),
    ?assertMatch({match, _}, re:run(Text, "franz-go +3.00 M/s.*>= 1.0 franz-go MISSED\n")),
    ?assertMatch({match, _}, re:run(Text, "python +500 k/s[^>]*\n")),
    ?assertMatch({match, _}, re:run(Text, "latency_100 p99 +9.50 ms")).

%% It is JSON, with all figures.
json() ->
    Rows = crema_bench_table:rows(lines()),
    Text = iolist_to_binary(crema_bench_report:json(#{"otp" => "25"}, Rows)),
    {ok, #{<<"run">> := #{<<"otp">> := <<"25">>}, <<"rows">> := [Many | _]}} = crema_json:decode(Text),
    ?assertMatch(
        #{
            <<"clients">> := #{
                <<"crema">> := #{<<"median">> := 2.1e6, <<"cpu_seconds_per_million">> := 0.6},
                <<"c">> := #{<<"max">> := 2.0e6}
            },
            <<"ratios">> := #{<<"c">> := #{<<"median">> := 1.35}},
            <<"targets">> := [#{<<"met">> := true}]
        },
        Many
    ).

%% A plot of each family of which something was measured: well-formed, with a bar and a figure
%% of each client; whiskers only where runs differ.
plots() ->
    Plots = crema_bench_plots:plots(crema_bench_table:rows(lines())),
    ?assertEqual(["produce.svg", "latency.svg", "peers.svg"], [File || {File, _} <- Plots]),
    [Produce, _, Peers] = [elements(Svg) || {_, Svg} <- Plots],
    ?assertEqual(2, length([bar || {rect, "s" ++ _, X} <- Produce, X =:= "190"])),
    ?assertEqual(6, length([whisker || {line, "whisker", _} <- Produce])),
    ?assertEqual([], [whisker || {line, "whisker", _} <- Peers]),
    ?assertEqual(
        ["2.10 M/s", "1.50 M/s"], [Text || {text, "figure", Text} <- Produce]
    ),
    ?assertEqual(["crema", "franz-go", "Python"], lists:sublist([T || {text, "label", T} <- Peers], 3)).

%% What an XML parser finds: {rect | line, class, x}, {text, class, its text}.
elements(Svg) ->
    {#xmlElement{content = Content}, []} =
        xmerl_scan:string(unicode:characters_to_list(Svg), [{quiet, true}]),
    [describe(Element) || #xmlElement{} = Element <- Content].

describe(#xmlElement{name = text, content = [#xmlText{value = Text}]} = Element) ->
    {text, attribute(class, Element), Text};
describe(#xmlElement{name = Name} = Element) ->
    {Name, attribute(class, Element), attribute(x, Element)}.

attribute(Name, #xmlElement{attributes = Attributes}) ->
    lists:append([Value || #xmlAttribute{name = N, value = Value} <- Attributes, N =:= Name]).

%% Steps are round numbers, few, and reach beyond the largest figure.
axes() ->
    lists:foreach(
        fun(Max) ->
            {Step, Count} = crema_bench_svg:ticks(Max),
            ?assert(Count >= 3 andalso Count =< 6),
            ?assert(Step * Count >= Max),
            Mantissa = Step / math:pow(10, math:floor(math:log10(Step) + 1.0e-9)),
            ?assert(lists:member(round(Mantissa), [1, 2, 5]))
        end,
        [0.03, 0.5, 1, 7, 99, 100, 101, 4.2e6]
    ),
    ?assertEqual("2.5 M", crema_bench_table:tick(2.5e6, "msg/s")),
    ?assertEqual("100 k", crema_bench_table:tick(1.0e5, "msg/s")),
    ?assertEqual("0.2 s", crema_bench_table:tick(0.2, "s")).

format(Format, Arguments) -> lists:flatten(io_lib:format(Format, Arguments)).
