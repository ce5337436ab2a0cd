%% The workloads of the benchmark, done with crema's public API and crema's
%% default settings. Each run is one fresh VM that does one workload once and
%% prints one line of JSON: the twin of c/raw.c, with the same options. See
%% README.md.
%%
%% erl -noshell -pa ... -run crema_bench main -extra COMMAND OPTIONS
-module(crema_bench).

-export([main/0]).

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
    interval := non_neg_integer(),
    each_tick := pos_integer(),
    clients := pos_integer(),
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

run(#{command := "produce"} = O) -> crema_bench_produce:one(O);
run(#{command := "produce-many"} = O) -> crema_bench_produce:many(O);
run(#{command := "produce-many-reports"} = O) -> crema_bench_produce:many_reports(O);
run(#{command := "produce-callers"} = O) -> crema_bench_produce:callers(O);
run(#{command := "produce-sync"} = O) -> crema_bench_produce:sync(O);
run(#{command := "consume-batch"} = O) -> crema_bench_consume:run(O, crema_bench_handler);
run(#{command := "consume-one"} = O) -> crema_bench_consume:run(O, crema_bench_one_handler);
run(#{command := "latency"} = O) -> crema_bench_latency:run(O);
run(#{command := "start"} = O) -> crema_bench_life:start(O);
run(#{command := "rebalance"} = O) -> crema_bench_life:rebalance(O);
run(#{command := "idle"} = O) -> crema_bench_life:idle(O);
run(#{command := "idle-both"} = O) -> crema_bench_life:idle_both(O).

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
        each_tick => 1,
        clients => 1,
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
parse(["-K", X | Rest], O) -> parse(Rest, O#{each_tick := list_to_integer(X)});
parse(["-N", X | Rest], O) -> parse(Rest, O#{clients := list_to_integer(X)});
parse(["-M", X | Rest], O) -> parse(Rest, O#{prefetch => list_to_integer(X)});
parse(["-P", X | Rest], O) -> parse(Rest, property(producer, X, O));
parse(["-C", X | Rest], O) -> parse(Rest, property(consumer, X, O)).

property(Client, Text, O) ->
    [Key, Value] = binary:split(list_to_binary(Text), <<"=">>),
    maps:update_with(Client, fun(Properties) -> Properties#{Key => Value} end, O).
