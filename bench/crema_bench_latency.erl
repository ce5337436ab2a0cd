%% Time from the produce call to the handler's, at an even pace or as fast as it goes. Both
%% ends are in this VM, so one clock serves them.
-module(crema_bench_latency).

-export([run/1]).

-define(READY_TIMEOUT, 30000).
-define(FLUSH_TIMEOUT, 60000).

-spec run(crema_bench:options()) -> ok.
run(#{messages := Count} = O) ->
    C = crema_bench_client:consumer(O, {handler(O), #{ages_to => self()}}),
    ok = crema:await_ready(C, ?READY_TIMEOUT),
    P = crema_bench_client:producer(O),
    %% Connections, metadata, producer id and first fetch take up to a second:
    %% the pace begins when one message has made the whole way.
    produce_stamped(P, O),
    _ = await_ages(1, []),
    WarmUp = warm_up(O),
    _ = spawn_link(fun() -> produce(P, O, WarmUp + Count) end),
    {_, Begun} = await_ages(WarmUp, []),
    From = erlang:monotonic_time(nanosecond),
    {Ages, _} = await_ages(Count, Begun),
    Seconds = (erlang:monotonic_time(nanosecond) - From) / 1.0e9,
    crema_bench_result:print(O, Count, Seconds, crema_bench_result:percentiles(Ages)),
    ok = crema_producer:stop(P),
    ok = crema_consumer:stop(C).

%% At a pace each message is handled by itself; a flood in batches, as one would.
handler(#{interval := 0}) -> crema_bench_ages_handler;
handler(_) -> crema_bench_one_handler.

%% Messages before the first that counts: half a second of a pace of ten milliseconds,
%% a fifth where there is none.
warm_up(#{interval := 0, messages := Count}) -> Count div 5;
warm_up(#{each_tick := Each}) -> 50 * Each.

%% So many ages, the first of them given, and those that came with the last.
await_ages(Count, Ages) when length(Ages) >= Count ->
    lists:split(Count, Ages);
await_ages(Count, Ages) ->
    await_ages(Count - length(Ages), [Ages], Count).

await_ages(Missing, Parts, Count) when Missing =< 0 ->
    lists:split(Count, lists:append(lists:reverse(Parts)));
await_ages(Missing, Parts, Count) ->
    receive
        {ages, Ages} -> await_ages(Missing - length(Ages), [Ages | Parts], Count)
    end.

produce(P, #{interval := 0} = O, Count) ->
    produce_all(P, O, Count),
    ok = crema:flush(P, ?FLUSH_TIMEOUT);
produce(P, #{each_tick := Each} = O, Count) ->
    produce_evenly(P, O, erlang:monotonic_time(millisecond), Count div Each).

%% As many at each tick as the pace wants: ticks need not be finer than a timer.
produce_evenly(_P, _O, _Last, 0) ->
    ok;
produce_evenly(P, #{interval := Interval, each_tick := Each} = O, Last, Left) ->
    Next = Last + Interval,
    Timer = erlang:start_timer(Next, self(), tick, [{abs, true}]),
    receive
        {timeout, Timer, tick} -> produce_all(P, O, Each)
    end,
    produce_evenly(P, O, Next, Left - 1).

produce_all(_P, _O, 0) ->
    ok;
produce_all(P, O, Left) ->
    produce_stamped(P, O),
    produce_all(P, O, Left - 1).

produce_stamped(P, #{topic := Topic, size := Size}) ->
    Sent = erlang:monotonic_time(nanosecond),
    Value = <<Sent:64/signed, 0:((Size - 8) * 8)>>,
    ok = crema:produce_async(P, #{topic => Topic, value => Value}, #{report => none}).
