%% Clocks, the one JSON line that a run prints, and targets.
-module(crema_bench_result).

-export([moment/0]).
-export([rate/5]).
-export([latency/2]).
-export([idle/3]).
-export([judge/1]).

-export_type([moment/0, target/0]).

%% Wall time on the monotonic clock in ns, CPU time of the whole VM (all its
%% threads, librdkafka's among them) in ms.
-type moment() :: {Ns :: integer(), CpuMs :: non_neg_integer()}.

%% A figure, and what it has to be.
-type target() ::
    {What :: iodata(), Figure :: number(), '=<' | '>=', Bound :: number(), Unit :: string()}.

-spec moment() -> moment().
moment() ->
    {CpuMs, _} = erlang:statistics(runtime),
    {erlang:monotonic_time(nanosecond), CpuMs}.

%% Throughput between two moments, with more fields.
-spec rate(crema_bench:options(), pos_integer(), moment(), moment(), #{atom() => float()}) -> ok.
rate(O, Messages, From, To, More) ->
    Seconds = seconds(From, To),
    print(O, Messages, Seconds, [
        {rate, Messages / Seconds},
        {cpu_seconds_per_million, cpu_seconds(From, To) * 1.0e6 / Messages}
        | maps:to_list(More)
    ]).

%% Percentiles of latencies in ns.
-spec latency(crema_bench:options(), [integer()]) -> ok.
latency(O, Ages) ->
    Count = length(Ages),
    Sorted = lists:sort(Ages),
    At = fun(Index) -> lists:nth(Index + 1, Sorted) / 1.0e6 end,
    print(O, Count, lists:sum(Ages) / 1.0e9, [
        {median_ms, At(Count div 2)},
        {p90_ms, At(Count * 9 div 10)},
        {p99_ms, At(Count * 99 div 100)},
        {max_ms, At(Count - 1)}
    ]).

%% CPU between the moments of each pair: the VM alone, and with the consumer.
-spec idle(crema_bench:options(), {moment(), moment()}, {moment(), moment()}) -> ok.
idle(O, {VmFrom, VmTo}, {From, To}) ->
    print(O, 0, seconds(From, To), [
        {cpu_percent, cpu_percent(From, To)},
        {vm_percent, cpu_percent(VmFrom, VmTo)}
    ]).

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

seconds({From, _}, {To, _}) -> (To - From) / 1.0e9.

cpu_seconds({_, From}, {_, To}) -> (To - From) / 1000.

cpu_percent(From, To) -> cpu_seconds(From, To) * 100 / seconds(From, To).

print(#{workload := Workload, client := Client, size := Size}, Messages, Seconds, Fields) ->
    io:format(
        "{\"workload\":\"~ts\",\"client\":\"~ts\",\"messages\":~b,\"size\":~b,\"seconds\":~.4f~ts}~n",
        [Workload, Client, Messages, Size, Seconds, [field(Field) || Field <- Fields]]
    ).

field({Name, Value}) -> io_lib:format(",\"~ts\":~.4f", [Name, float(Value)]).
