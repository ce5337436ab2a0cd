%% Clocks, the one JSON line that a run prints, and targets.
-module(crema_bench_result).

-export([moment/0]).
-export([rate/5]).
-export([print/4]).
-export([percentiles/1]).
-export([seconds/2, cpu_percent/2, resident_mb/1]).
-export([judge/1]).

-export_type([moment/0, target/0, fields/0]).

%% Wall time on the monotonic clock in ns, CPU time of the whole VM (all its
%% threads, librdkafka's among them) in ms.
-type moment() :: {Ns :: integer(), CpuMs :: non_neg_integer()}.

%% More of a result.
-type fields() :: [{atom(), float()}].

%% A figure, and what it has to be.
-type target() ::
    {What :: iodata(), Figure :: number(), '=<' | '>=', Bound :: number(), Unit :: string()}.

-spec moment() -> moment().
moment() ->
    {CpuMs, _} = erlang:statistics(runtime),
    {erlang:monotonic_time(nanosecond), CpuMs}.

%% Throughput between two moments, with more fields.
-spec rate(crema_bench:options(), pos_integer(), moment(), moment(), fields()) -> ok.
rate(O, Messages, From, To, More) ->
    Seconds = seconds(From, To),
    print(O, Messages, Seconds, [
        {rate, Messages / Seconds},
        {cpu_seconds_per_million, cpu_seconds(From, To) * 1.0e6 / Messages}
        | More
    ]).

%% Percentiles of latencies in ns.
-spec percentiles([integer(), ...]) -> fields().
percentiles(Latencies) ->
    Sorted = list_to_tuple(lists:sort(Latencies)),
    Count = tuple_size(Sorted),
    At = fun(Index) -> element(Index + 1, Sorted) / 1.0e6 end,
    [
        {p50_ms, At(Count * 500 div 1000)},
        {p99_ms, At(Count * 990 div 1000)},
        {p999_ms, At(Count * 999 div 1000)},
        {max_ms, At(Count - 1)}
    ].

%% Prints a line for each; returns the exit status: 0 if all are met.
-spec judge([target(), ...]) -> 0 | 1.
judge(Targets) ->
    case lists:usort([judge_one(Target) || Target <- Targets]) of
        [true] -> 0;
        _ -> 1
    end.

judge_one({What, Figure, Order, Bound, Unit}) ->
    Met = erlang:Order(Figure, Bound),
    io:format("~ts: ~ts~ts, target ~ts ~ts~ts: ~ts~n", [
        What,
        number(Figure),
        Unit,
        case Order of '=<' -> "<="; '>=' -> ">=" end,
        number(Bound),
        Unit,
        case Met of true -> "met"; false -> "MISSED" end
    ]),
    Met.

number(Integer) when is_integer(Integer) -> integer_to_list(Integer);
number(Float) -> io_lib:format("~.3f", [Float]).

-spec seconds(moment(), moment()) -> float().
seconds({From, _}, {To, _}) -> (To - From) / 1.0e9.

cpu_seconds({_, From}, {_, To}) -> (To - From) / 1000.

%% What share of a core was used.
-spec cpu_percent(moment(), moment()) -> float().
cpu_percent(From, To) -> cpu_seconds(From, To) * 100 / seconds(From, To).

%% The process's resident memory, as it is (VmRSS) or was at most (VmHWM).
-spec resident_mb(string()) -> float().
resident_mb(Field) ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Kb]} = re:run(Status, Field ++ ":\\s+(\\d+)", [{capture, all_but_first, list}]),
    list_to_integer(Kb) / 1024.

%% The line, with more fields.
-spec print(crema_bench:options(), non_neg_integer(), float(), fields()) -> ok.
print(#{workload := Workload, client := Client, size := Size}, Messages, Seconds, Fields) ->
    All = [{peak_mb, resident_mb("VmHWM")} | Fields],
    io:format(
        "{\"workload\":\"~ts\",\"client\":\"~ts\",\"messages\":~b,\"size\":~b,\"seconds\":~.4f~ts}~n",
        [Workload, Client, Messages, Size, Seconds, [field(Field) || Field <- All]]
    ).

field({Name, Value}) -> io_lib:format(",\"~ts\":~.4f", [Name, float(Value)]).
