%% The workloads of producing: the clock runs from the first call to the last report.
-module(crema_bench_produce).

-export([one/1, many/1, many_reports/1]).
-export([callers/1]).
-export([sync/1]).

-define(FLUSH_TIMEOUT, 60000).

-spec one(crema_bench:options()) -> ok.
one(#{topic := Topic, messages := Count} = O) ->
    P = crema_bench_client:warm_producer(O),
    Value = crema_bench_client:value(O),
    From = crema_bench_result:moment(),
    ok = produce_one(P, Topic, Value, Count),
    ok = crema:flush(P, ?FLUSH_TIMEOUT),
    crema_bench_result:rate(O, Count, From, crema_bench_result:moment(), []),
    ok = crema_producer:stop(P).

produce_one(_P, _Topic, _Value, 0) ->
    ok;
produce_one(P, Topic, Value, Left) ->
    ok = crema:produce_async(P, #{topic => Topic, value => Value}, #{report => none}),
    produce_one(P, Topic, Value, Left - 1).

%% As in C the messages are made before the clock starts: what is measured is
%% what the client does with them.
-spec many(crema_bench:options()) -> ok.
many(#{messages := Count, batch := Batch} = O) ->
    P = crema_bench_client:warm_producer(O),
    Messages = messages(O),
    From = crema_bench_result:moment(),
    ok = produce_many(P, Messages, Batch, Count),
    ok = crema:flush(P, ?FLUSH_TIMEOUT),
    crema_bench_result:rate(O, Count, From, crema_bench_result:moment(), []),
    ok = crema_producer:stop(P).

produce_many(P, Messages, Batch, Left) when Left >= Batch ->
    ok = crema:produce_many_async(P, Messages, #{report => none}),
    produce_many(P, Messages, Batch, Left - Batch);
produce_many(_P, _Messages, _Batch, 0) ->
    ok.

%% Those of one call, of which all calls of a run are made.
messages(#{topic := Topic, messages := Count, batch := Batch} = O) when Count rem Batch =:= 0 ->
    Value = crema_bench_client:value(O),
    [#{topic => Topic, value => Value} || _ <- lists:seq(1, Batch)].

%% The same with a report of each message sent to this process.
-spec many_reports(crema_bench:options()) -> ok.
many_reports(#{messages := Count, batch := Batch} = O) ->
    P = crema_bench_client:warm_producer(O),
    Messages = messages(O),
    From = crema_bench_result:moment(),
    Missing = produce_many_reports(P, Messages, Batch, Count, Count),
    0 = await_reports(Missing, infinity),
    crema_bench_result:rate(O, Count, From, crema_bench_result:moment(), []),
    ok = crema_producer:stop(P).

produce_many_reports(P, Messages, Batch, Left, Missing) when Left >= Batch ->
    ok = crema:produce_many_async(P, Messages, #{report => message}),
    produce_many_reports(P, Messages, Batch, Left - Batch, await_reports(Missing, 0));
produce_many_reports(_P, _Messages, _Batch, 0, Missing) ->
    Missing.

%% Takes reports until none is missing, or none came within the time.
await_reports(0, _Timeout) ->
    0;
await_reports(Missing, Timeout) ->
    receive
        Message -> await_reports(Missing - count_delivered(crema:reports(Message), 0), Timeout)
    after Timeout -> Missing
    end.

count_delivered(ignored, 0) -> 0;
count_delivered([], Count) -> Count;
count_delivered([{_Tag, {ok, _}} | Rest], Count) -> count_delivered(Rest, Count + 1).

%% How long each call took is kept by its caller.
-spec sync(crema_bench:options()) -> ok.
sync(#{topic := Topic, messages := Count, callers := Callers} = O) ->
    P = crema_bench_client:warm_producer(O),
    Each = Count div Callers,
    Message = #{topic => Topic, value => crema_bench_client:value(O)},
    Caller = fun() -> produce_sync(P, Message, Each, []) end,
    {From, Times} = by_callers(lists:duplicate(Callers, Caller)),
    To = crema_bench_result:moment(),
    crema_bench_result:rate(
        O, Each * Callers, From, To, crema_bench_result:percentiles(lists:append(Times))
    ),
    ok = crema_producer:stop(P).

produce_sync(_P, _Message, 0, Times) ->
    Times;
produce_sync(P, Message, Left, Times) ->
    Began = erlang:monotonic_time(nanosecond),
    {ok, _} = crema:produce(P, Message),
    Time = erlang:monotonic_time(nanosecond) - Began,
    produce_sync(P, Message, Left - 1, [Time | Times]).

%% Many processes that wait for nothing but places in the queue, over one producer or
%% over several in turn.
-spec callers(crema_bench:options()) -> ok.
callers(#{messages := Count, callers := Callers, batch := Batch, clients := Clients} = O) ->
    Ps = [crema_bench_client:warm_producer(O) || _ <- lists:seq(1, Clients)],
    Each = Count div Callers div Batch * Batch,
    Messages = messages(O),
    Funs = [caller(lists:nth(I rem Clients + 1, Ps), Messages, Each) || I <- lists:seq(1, Callers)],
    {From, _} = by_callers(Funs),
    _ = [ok = crema:flush(P, ?FLUSH_TIMEOUT) || P <- Ps],
    crema_bench_result:rate(O, Each * Callers, From, crema_bench_result:moment(), []),
    _ = [ok = crema_producer:stop(P) || P <- Ps],
    ok.

caller(P, [#{topic := Topic, value := Value}], Each) ->
    fun() -> produce_one(P, Topic, Value, Each) end;
caller(P, Messages, Each) ->
    fun() -> produce_many(P, Messages, length(Messages), Each) end.

%% A process for each, let loose at one moment, which is returned when the last has
%% finished, with what they returned.
by_callers(Funs) ->
    Main = self(),
    Caller = fun(Fun) ->
        receive
            start -> ok
        end,
        Main ! {finished, self(), Fun()}
    end,
    Pids = [spawn_link(fun() -> Caller(Fun) end) || Fun <- Funs],
    From = crema_bench_result:moment(),
    [Pid ! start || Pid <- Pids],
    {From, [receive {finished, Pid, Result} -> Result end || Pid <- Pids]}.
