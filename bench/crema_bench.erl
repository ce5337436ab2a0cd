%% The workloads of the benchmark, done with crema's public API and crema's
%% default settings. Each run is one fresh VM that does one workload once and
%% prints one line of JSON: the twin of c/raw.c, with the same options. See
%% README.md.
%%
%% erl -noshell -pa ... -run crema_bench main -extra COMMAND OPTIONS
-module(crema_bench).

-export([main/0]).

-define(FLUSH_TIMEOUT, 60000).
-define(READY_TIMEOUT, 30000).

%% Messages at the pace before the first whose latency counts.
-define(WARM_UP, 50).

-type options() :: #{
    command := string(),
    workload := string(),
    client := string(),
    bootstrap => binary(),
    topic => binary(),
    messages := pos_integer(),
    size := pos_integer(),
    partitions := pos_integer(),
    callers := pos_integer(),
    batch := pos_integer(),
    seconds := pos_integer(),
    interval := pos_integer(),
    prefetch => pos_integer(),
    producer := #{binary() => binary()},
    consumer := #{binary() => binary()}
}.

-export_type([options/0]).

-spec main() -> no_return().
main() ->
    try
        O = parse(init:get_plain_arguments()),
        {ok, _} = application:ensure_all_started(crema),
        run(O),
        halt(0)
    catch
        Class:Reason:Stack ->
            io:format(standard_error, "crema_bench: ~p:~tp~n~tp~n", [Class, Reason, Stack]),
            halt(1)
    end.

run(#{command := "produce"} = O) -> produce_one(O);
run(#{command := "produce-many"} = O) -> produce_many(O);
run(#{command := "produce-many-reports"} = O) -> produce_many_reports(O);
run(#{command := "produce-callers"} = O) -> produce_callers(O);
run(#{command := "produce-sync"} = O) -> produce_sync(O);
run(#{command := "consume-batch"} = O) -> consume(O, crema_bench_handler);
run(#{command := "consume-one"} = O) -> consume(O, crema_bench_one_handler);
run(#{command := "latency"} = O) -> latency(O);
run(#{command := "idle"} = O) -> idle(O).

%% Options: as for c/raw.c, but for the files of settings, as crema has its own, and
%% -M, its prefetch.

parse([Command | Rest]) ->
    parse(Rest, #{
        command => Command,
        workload => Command,
        client => "crema",
        messages => 100000,
        size => 100,
        partitions => 4,
        callers => 64,
        batch => 100,
        seconds => 5,
        interval => 10,
        producer => #{},
        consumer => #{}
    }).

parse([], O) -> O;
parse(["-w", X | Rest], O) -> parse(Rest, O#{workload := X});
parse(["-c", X | Rest], O) -> parse(Rest, O#{client := X});
parse(["-b", X | Rest], O) -> parse(Rest, O#{bootstrap => list_to_binary(X)});
parse(["-t", X | Rest], O) -> parse(Rest, O#{topic => list_to_binary(X)});
parse(["-n", X | Rest], O) -> parse(Rest, O#{messages := list_to_integer(X)});
parse(["-s", X | Rest], O) -> parse(Rest, O#{size := list_to_integer(X)});
parse(["-p", X | Rest], O) -> parse(Rest, O#{partitions := list_to_integer(X)});
parse(["-T", X | Rest], O) -> parse(Rest, O#{callers := list_to_integer(X)});
parse(["-B", X | Rest], O) -> parse(Rest, O#{batch := list_to_integer(X)});
parse(["-S", X | Rest], O) -> parse(Rest, O#{seconds := list_to_integer(X)});
parse(["-i", X | Rest], O) -> parse(Rest, O#{interval := list_to_integer(X)});
parse(["-M", X | Rest], O) -> parse(Rest, O#{prefetch => list_to_integer(X)});
parse(["-P", X | Rest], O) -> parse(Rest, property(producer, X, O));
parse(["-C", X | Rest], O) -> parse(Rest, property(consumer, X, O)).

property(Client, Text, O) ->
    [Key, Value] = binary:split(list_to_binary(Text), <<"=">>),
    maps:update_with(Client, fun(Properties) -> Properties#{Key => Value} end, O).

%% Producing. A producer that has delivered one message already: connection,
%% metadata and producer id are there before the clock starts.

start_producer(#{bootstrap := Bootstrap, producer := Properties}) ->
    {ok, P} = crema_producer:start_link(#{bootstrap_servers => Bootstrap, kafka => Properties}),
    P.

start_warm_producer(#{topic := Topic} = O) ->
    P = start_producer(O),
    {ok, _} = crema:produce(P, #{topic => Topic, value => <<"w">>}),
    P.

value(#{size := Size}) -> binary:copy(<<"x">>, Size).

produce_one(#{topic := Topic, messages := Count} = O) ->
    P = start_warm_producer(O),
    Value = value(O),
    From = crema_bench_result:moment(),
    ok = produce_one(P, Topic, Value, Count),
    ok = crema:flush(P, ?FLUSH_TIMEOUT),
    crema_bench_result:rate(O, Count, From, crema_bench_result:moment(), #{}),
    ok = crema_producer:stop(P).

produce_one(_P, _Topic, _Value, 0) ->
    ok;
produce_one(P, Topic, Value, Left) ->
    ok = crema:produce_async(P, #{topic => Topic, value => Value}, #{report => none}),
    produce_one(P, Topic, Value, Left - 1).

%% As in C the messages are made before the clock starts: what is measured is
%% what the client does with them.
produce_many(#{messages := Count, batch := Batch} = O) ->
    P = start_warm_producer(O),
    Messages = messages(O),
    From = crema_bench_result:moment(),
    ok = produce_many(P, Messages, Batch, Count),
    ok = crema:flush(P, ?FLUSH_TIMEOUT),
    crema_bench_result:rate(O, Count, From, crema_bench_result:moment(), #{}),
    ok = crema_producer:stop(P).

produce_many(P, Messages, Batch, Left) when Left >= Batch ->
    ok = crema:produce_many_async(P, Messages, #{report => none}),
    produce_many(P, Messages, Batch, Left - Batch);
produce_many(_P, _Messages, _Batch, 0) ->
    ok.

%% Those of one call, of which all calls of a run are made.
messages(#{topic := Topic, messages := Count, batch := Batch} = O) when Count rem Batch =:= 0 ->
    Value = value(O),
    [#{topic => Topic, value => Value} || _ <- lists:seq(1, Batch)].

%% The same with a report of each message sent to this process.
produce_many_reports(#{messages := Count, batch := Batch} = O) ->
    P = start_warm_producer(O),
    Messages = messages(O),
    From = crema_bench_result:moment(),
    Missing = produce_many_reports(P, Messages, Batch, Count, Count),
    0 = await_reports(Missing, infinity),
    crema_bench_result:rate(O, Count, From, crema_bench_result:moment(), #{}),
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

produce_sync(#{topic := Topic, messages := Count, callers := Callers} = O) ->
    P = start_warm_producer(O),
    Each = Count div Callers,
    Value = value(O),
    From = by_callers(Callers, fun() -> produce_sync(P, Topic, Value, Each) end),
    crema_bench_result:rate(O, Each * Callers, From, crema_bench_result:moment(), #{}),
    ok = crema_producer:stop(P).

%% Many processes that wait for nothing but places in the queue.
produce_callers(#{topic := Topic, messages := Count, callers := Callers, batch := Batch} = O) ->
    P = start_warm_producer(O),
    Each = Count div Callers div Batch * Batch,
    Value = value(O),
    Messages = [#{topic => Topic, value => Value} || _ <- lists:seq(1, Batch)],
    From = by_callers(Callers, fun() ->
        case Batch of
            1 -> produce_one(P, Topic, Value, Each);
            _ -> produce_many(P, Messages, Batch, Each)
        end
    end),
    ok = crema:flush(P, ?FLUSH_TIMEOUT),
    crema_bench_result:rate(O, Each * Callers, From, crema_bench_result:moment(), #{}),
    ok = crema_producer:stop(P).

%% So many processes, let loose at one moment, which is returned when the last
%% has finished.
by_callers(Callers, Fun) ->
    Main = self(),
    Caller = fun() ->
        receive
            start -> ok = Fun()
        end,
        Main ! {finished, self()}
    end,
    Pids = [spawn_link(Caller) || _ <- lists:seq(1, Callers)],
    From = crema_bench_result:moment(),
    [Pid ! start || Pid <- Pids],
    [receive {finished, Pid} -> ok end || Pid <- Pids],
    From.

produce_sync(_P, _Topic, _Value, 0) ->
    ok;
produce_sync(P, Topic, Value, Left) ->
    {ok, _} = crema:produce(P, #{topic => Topic, value => Value}),
    produce_sync(P, Topic, Value, Left - 1).

%% Consuming. The clock runs from the first arrival to the last: joining the
%% group is not counted.

start_consumer(#{bootstrap := Bootstrap, topic := Topic, consumer := Properties} = O, Handler) ->
    {ok, C} = crema_consumer:start_link((maps:with([prefetch], O))#{
        bootstrap_servers => Bootstrap,
        group => list_to_binary("bench-crema-" ++ os:getpid()),
        topics => [Topic],
        handler => Handler,
        start => earliest,
        kafka => Properties
    }),
    C.

consume(#{messages := Count, partitions := Partitions} = O, Handler) ->
    Gaps = crema_bench_handler:new_gaps(),
    Last = Count div Partitions - 1,
    C = start_consumer(O, {Handler, #{main => self(), last => Last, gaps => Gaps}}),
    Firsts = [receive {first, Moment} -> Moment end || _ <- lists:seq(1, Partitions)],
    Ends = [await_end(Partition) || Partition <- lists:seq(0, Partitions - 1)],
    %% A moment begins with its time, so terms order as time does.
    From = lists:min(Firsts),
    To = lists:max([Moment || {_, Moment} <- Ends]),
    Handled = lists:sum([Number || {Number, _} <- Ends]),
    true = Handled >= Count,
    crema_bench_result:rate(O, Handled, From, To, crema_bench_handler:max_gap(Gaps)),
    ok = crema_consumer:stop(C).

await_end(Partition) ->
    receive
        {finished, Partition, Number, Moment} -> {Number, Moment}
    end.

%% Latency: time from the produce call to the handler's, at a slow and even
%% pace. Both ends are in this VM, so one clock serves them.

latency(#{messages := Count} = O) ->
    C = start_consumer(O, {crema_bench_one_handler, #{ages_to => self()}}),
    ok = crema:await_ready(C, ?READY_TIMEOUT),
    P = start_producer(O),
    %% Connections, metadata, producer id and first fetch take up to a second:
    %% the pace begins when one message has made the whole way.
    produce_stamped(P, O),
    _ = next_age(),
    _ = spawn_link(fun() -> produce_evenly(P, O, ?WARM_UP + Count) end),
    _ = [next_age() || _ <- lists:seq(1, ?WARM_UP)],
    Ages = [next_age() || _ <- lists:seq(1, Count)],
    crema_bench_result:latency(O, Ages),
    ok = crema_producer:stop(P),
    ok = crema_consumer:stop(C).

next_age() ->
    receive
        {age, Age} -> Age
    end.

produce_evenly(P, O, Count) ->
    Start = erlang:monotonic_time(millisecond),
    produce_evenly(P, O, Start, Count).

produce_evenly(_P, _O, _Last, 0) ->
    ok;
produce_evenly(P, #{interval := Interval} = O, Last, Left) ->
    Next = Last + Interval,
    Timer = erlang:start_timer(Next, self(), tick, [{abs, true}]),
    receive
        {timeout, Timer, tick} -> produce_stamped(P, O)
    end,
    produce_evenly(P, O, Next, Left - 1).

produce_stamped(P, #{topic := Topic, size := Size}) ->
    Sent = erlang:monotonic_time(nanosecond),
    Value = <<Sent:64/signed, 0:((Size - 8) * 8)>>,
    ok = crema:produce_async(P, #{topic => Topic, value => Value}, #{report => none}).

%% CPU of a group member that has nothing to do, and of this VM before it was
%% started.

idle(#{seconds := Seconds} = O) ->
    receive after 1000 -> ok end,
    VmFrom = crema_bench_result:moment(),
    receive after 2000 -> ok end,
    VmTo = crema_bench_result:moment(),
    C = start_consumer(O, {crema_bench_one_handler, #{ages_to => self()}}),
    ok = crema:await_ready(C, ?READY_TIMEOUT),
    %% The first fetches after a join are not what idling costs.
    receive after 1000 -> ok end,
    From = crema_bench_result:moment(),
    receive after Seconds * 1000 -> ok end,
    crema_bench_result:idle(O, {VmFrom, VmTo}, {From, crema_bench_result:moment()}),
    ok = crema_consumer:stop(C).
