%% What is promised of the figures of the benchmark, and whether it holds.
-module(crema_bench_targets).

-export([judge/1]).

-export_type([verdict/0]).

%% The median of the rounds' ratios at least, or at most, so much; the median at most the
%% other's and so much more.
-type target() :: {times | at_most_times | above, number()}.
-type verdict() :: {Text :: string(), Met :: boolean()}.

%% Of a workload's figure, beside a client. A figure may have several.
-spec targets() -> #{{Workload :: string(), Figure :: string(), Client :: string()} => [target()]}.
targets() ->
    Callers = [
        {{"callers_" ++ Count ++ "_of_" ++ Batch, "rate", "alone"}, [{times, 0.9}]}
     || Batch <- ["1", "10"], Count <- ["16", "32", "64"]
    ],
    Limits = [{{"limit_" ++ Size, "rate", "alone"}, [{times, 0.9}]} || Size <- ["100b", "1kb"]],
    maps:from_list(Callers ++ Limits ++ producing() ++ consuming() ++ waiting()).

%% "Equal" is at least 0.9.
producing() ->
    [
        {{"produce_many_100b", "rate", "c"}, [{times, 1.2}]},
        {{"produce_many_batch_100b", "rate", "c"}, [{times, 0.9}]},
        {{"peers_produce_100b", "rate", "franz-go"}, [{times, 1.0}]},
        {{"produce_one_100b", "rate", "c"}, [{times, 0.65}]},
        {{"produce_one_1kb", "rate", "c"}, [{times, 0.9}]},
        {{"produce_many_1kb", "rate", "c"}, [{times, 0.9}]},
        {{"sync_64", "rate", "c"}, [{times, 0.9}]},
        {{"sync_1", "p50_ms", "c"}, [{at_most_times, 1.1}]}
    ].

consuming() ->
    [
        {{"consume_batch_100b", "rate", "c"}, [{times, 0.95}]},
        {{"consume_batch_100b", "max_gap_ms", "c"}, [{above, 100}]},
        {{"consume_one_100b", "rate", "c"}, [{times, 0.8}]},
        {{"consume_copied_1kb", "rate", "c"}, [{times, 0.8}]}
    ].

waiting() ->
    [
        {{"latency_100", "p50_ms", "c"}, [{above, 0.2}]},
        {{"latency_100", "p99_ms", "c"}, [{above, 1}]},
        {{"idle", "cpu_percent", "c"}, [{above, 0.05}]},
        {{"idle_both", "cpu_percent", "c"}, [{above, 0.05}]},
        {{"partitions_1000_idle", "rss_mb", "c"}, [{above, 50}]}
    ].

-spec judge(crema_bench_table:row()) -> [verdict()].
judge(#{workload := Workload, figure := Figure, others := Others} = Row) ->
    [
        {text(Target, Client), is_met(Target, Client, Row)}
     || Client <- Others, Target <- maps:get({Workload, Figure, Client}, targets(), [])
    ].

text({times, Times}, Client) -> format(">= ~p ~ts", [Times, name(Client)]);
text({at_most_times, Times}, Client) -> format("<= ~p ~ts", [Times, name(Client)]);
text({above, More}, Client) -> format("<= ~ts + ~p", [name(Client), More]).

name("c") -> "C";
name(Client) -> Client.

is_met({times, Times}, Client, #{ratios := Ratios}) ->
    median_of(Client, Ratios) >= Times;
is_met({at_most_times, Times}, Client, #{ratios := Ratios}) ->
    median_of(Client, Ratios) =< Times;
is_met({above, More}, Client, #{subject := Subject, values := Values}) ->
    median_of(Subject, Values) =< median_of(Client, Values) + More.

median_of(Client, Lists) ->
    {Median, _, _} = maps:get(Client, Lists),
    Median.

format(Format, Arguments) -> lists:flatten(io_lib:format(Format, Arguments)).
