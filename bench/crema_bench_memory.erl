%% What a consumer's memory grows by while most of its handlers are stuck: one
%% run in a fresh VM, one line. See bench/memory.
%%
%% erl -noshell -pa ... -run crema_bench_memory main -extra BOOTSTRAP TOPIC
%%     PARTITIONS STUCK_OF_TEN SECONDS PREFETCH
-module(crema_bench_memory).

-behaviour(crema_consumer).

-export([main/0]).
-export([init/2]).
-export([handle_messages/2]).

%% Places of the counters: messages handled, and the last arrival and the longest
%% time without one (ms).
-define(HANDLED, 1).
-define(LAST, 2).
-define(GAP, 3).

-spec main() -> no_return().
main() ->
    [Bootstrap, Topic | Numbers] = init:get_plain_arguments(),
    [Partitions, Stuck, Seconds, Prefetch] = [list_to_integer(N) || N <- Numbers],
    {ok, _} = application:ensure_all_started(crema),
    Counters = atomics:new(3, [{signed, true}]),
    {ok, C} = crema_consumer:start_link(#{
        bootstrap_servers => list_to_binary(Bootstrap),
        group => iolist_to_binary(["memory-", integer_to_list(os:system_time())]),
        topics => [list_to_binary(Topic)],
        handler => {?MODULE, {Stuck, Counters}},
        prefetch => Prefetch
    }),
    ok = await_assigned(C, Partitions),
    Began = erlang:monotonic_time(millisecond),
    {Max, Last} = watch(Began + Seconds * 1000, rss(), 0),
    Handled = atomics:get(Counters, ?HANDLED),
    Busy = max(1, atomics:get(Counters, ?LAST) - Began),
    io:format("rss_max_kb ~b rss_end_kb ~b handled ~b rate ~b gap_ms ~b~n", [
        Max, Last, Handled, Handled * 1000 div Busy, atomics:get(Counters, ?GAP)
    ]),
    halt(0).

await_assigned(C, Partitions) ->
    case crema:status(C) of
        #{assigned := Assigned} when length(Assigned) =:= Partitions -> ok;
        _ -> timer:sleep(50), await_assigned(C, Partitions)
    end.

%% The resident memory of this process, looked at all the time.
watch(Until, Max, _) ->
    timer:sleep(20),
    Now = rss(),
    case erlang:monotonic_time(millisecond) < Until of
        true -> watch(Until, max(Max, Now), Now);
        false -> {max(Max, Now), Now}
    end.

rss() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Kb]} = re:run(Status, "VmRSS:\\s+(\\d+)", [{capture, all_but_first, list}]),
    list_to_integer(Kb).

-spec init(map(), term()) -> {ok, term()}.
init(#{partition := Partition}, {Stuck, Counters}) ->
    {ok, {Partition rem 10 < Stuck, Counters}}.

-spec handle_messages([map()], term()) -> {ack, term()}.
handle_messages(_, {true, _}) ->
    receive
        never -> ok
    end;
handle_messages(Messages, {false, Counters} = State) ->
    Now = erlang:monotonic_time(millisecond),
    ok = atomics:add(Counters, ?HANDLED, length(Messages)),
    case atomics:exchange(Counters, ?LAST, Now) of
        0 -> ok;
        Before -> raise(Counters, Now - Before)
    end,
    {ack, State}.

raise(Counters, Gap) ->
    case atomics:get(Counters, ?GAP) of
        Max when Gap > Max -> atomics:put(Counters, ?GAP, Gap);
        _ -> ok
    end.
