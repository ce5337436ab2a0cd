%% What it takes to begin, to share, and to do nothing.
-module(crema_bench_life).

-export([start/1]).
-export([rebalance/1]).
-export([idle/1, idle_both/1]).

-define(READY_TIMEOUT, 60000).

%% From the making of a client, which has neither connections nor metadata, to its first
%% report, and to its first message.
-spec start(crema_bench:options()) -> ok.
start(#{topic := Topic} = O) ->
    Began = erlang:monotonic_time(nanosecond),
    P = crema_bench_client:producer(O),
    {ok, _} = crema:produce(P, #{topic => Topic, value => <<0:64>>}),
    Reported = erlang:monotonic_time(nanosecond),
    ok = crema_producer:stop(P),
    Before = erlang:monotonic_time(nanosecond),
    C = crema_bench_client:consumer(O, {crema_bench_one_handler, #{ages_to => self()}}),
    receive
        {ages, [_]} -> ok
    end,
    Handled = erlang:monotonic_time(nanosecond),
    crema_bench_result:print(O, 1, (Handled - Began) / 1.0e9, [
        {first_report_ms, (Reported - Began) / 1.0e6},
        {first_message_ms, (Handled - Before) / 1.0e6}
    ]),
    ok = crema_consumer:stop(C).

%% From the start of a second member, and from its end, until each partition is
%% assigned again.
-spec rebalance(crema_bench:options()) -> ok.
rebalance(#{partitions := Partitions} = O) ->
    Handler = {crema_bench_one_handler, #{ages_to => self()}},
    First = crema_bench_client:consumer(O, Handler),
    ok = await_assigned(First, Partitions),
    Join = erlang:monotonic_time(nanosecond),
    Second = crema_bench_client:consumer(O, Handler),
    ok = await_assigned(Second, Partitions div 2),
    ok = await_assigned(First, Partitions - Partitions div 2),
    Joined = erlang:monotonic_time(nanosecond),
    %% Its end begins when nothing of its beginning goes on.
    receive after 1000 -> ok end,
    Leave = erlang:monotonic_time(nanosecond),
    _ = spawn_link(fun() -> crema_consumer:stop(Second) end),
    ok = await_assigned(First, Partitions),
    Left = erlang:monotonic_time(nanosecond),
    crema_bench_result:print(O, 0, (Left - Join) / 1.0e9, [
        {join_ms, (Joined - Join) / 1.0e6}, {leave_ms, (Left - Leave) / 1.0e6}
    ]),
    ok = crema_consumer:stop(First).

%% Looked at every millisecond, as in C.
await_assigned(C, Count) ->
    case crema:status(C) of
        #{assigned := Assigned} when length(Assigned) =:= Count -> ok;
        _ -> receive after 1 -> await_assigned(C, Count) end
    end.

%% CPU and memory of a group member that has nothing to do, and of this VM before it was
%% started.
-spec idle(crema_bench:options()) -> ok.
idle(O) ->
    measure_idle(O, fun() -> ok end).

%% The same with a producer beside it, which has delivered a message.
-spec idle_both(crema_bench:options()) -> ok.
idle_both(O) ->
    measure_idle(O, fun() -> crema_bench_client:warm_producer(O) end).

measure_idle(#{seconds := Seconds} = O, StartOthers) ->
    receive after 1000 -> ok end,
    VmFrom = crema_bench_result:moment(),
    receive after 2000 -> ok end,
    VmTo = crema_bench_result:moment(),
    VmMb = crema_bench_result:resident_mb("VmRSS"),
    {Began, _} = crema_bench_result:moment(),
    _ = StartOthers(),
    C = crema_bench_client:consumer(O, {crema_bench_ages_handler, #{ages_to => self()}}),
    ok = crema:await_ready(C, ?READY_TIMEOUT),
    {Ready, _} = crema_bench_result:moment(),
    %% The first fetches after a join are not what idling costs.
    receive after 1000 -> ok end,
    From = crema_bench_result:moment(),
    receive after Seconds * 1000 -> ok end,
    To = crema_bench_result:moment(),
    crema_bench_result:print(O, 0, crema_bench_result:seconds(From, To), [
        {cpu_percent, crema_bench_result:cpu_percent(From, To)},
        {vm_percent, crema_bench_result:cpu_percent(VmFrom, VmTo)},
        {ready_ms, (Ready - Began) / 1.0e6},
        {rss_mb, crema_bench_result:resident_mb("VmRSS")},
        {vm_rss_mb, VmMb}
    ]),
    ok = crema_consumer:stop(C).
