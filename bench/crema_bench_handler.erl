%% The handler of the consume workloads, in batches. Each worker tells the main
%% process of its first message and of the last of its partition; the gaps
%% between arrivals are kept over all workers.
-module(crema_bench_handler).

-behaviour(crema_consumer).

-export([init/2]).
-export([handle_messages/2]).
-export([handle_message/2]).

-export([new_gaps/0]).
-export([max_gap/1]).

%% Slots of the gaps: when the last batch arrived (ns, 0 for not yet), and the
%% longest time between two arrivals.
-define(LAST_ARRIVAL, 1).
-define(MAX_GAP, 2).

-record(state, {
    main :: pid(),
    partition :: non_neg_integer(),
    last :: integer(),
    gaps :: atomics:atomics_ref(),
    handled = 0 :: non_neg_integer()
}).

-spec new_gaps() -> atomics:atomics_ref().
new_gaps() -> atomics:new(2, [{signed, true}]).

%% Nothing if gaps were not recorded.
-spec max_gap(atomics:atomics_ref()) -> crema_bench_result:fields().
max_gap(Gaps) ->
    case atomics:get(Gaps, ?MAX_GAP) of
        0 -> [];
        Ns -> [{max_gap_ms, Ns / 1.0e6}]
    end.

-spec init(map(), map()) -> {ok, #state{}}.
init(#{partition := Partition}, #{main := Main, last := Last, gaps := Gaps}) ->
    {ok, #state{main = Main, partition = Partition, last = Last, gaps = Gaps}}.

-spec handle_messages([map()], #state{}) -> {ack, #state{}}.
handle_messages(Messages, #state{gaps = Gaps} = State) ->
    ok = note_arrival(Gaps, erlang:monotonic_time(nanosecond)),
    handled(length(Messages), lists:last(Messages), State).

-spec handle_message(map(), #state{}) -> {ack, #state{}}.
handle_message(Message, State) ->
    handle_messages([Message], State).

handled(Count, #{offset := Offset}, #state{main = Main, handled = Before} = State) ->
    _ = Before =:= 0 andalso (Main ! {first, crema_bench_result:moment()}),
    Handled = Before + Count,
    _ =
        Offset >= State#state.last andalso
            (Main ! {finished, State#state.partition, Handled, crema_bench_result:moment()}),
    {ack, State#state{handled = Handled}}.

note_arrival(Gaps, Now) ->
    case atomics:exchange(Gaps, ?LAST_ARRIVAL, Now) of
        0 -> ok;
        Last -> raise(Gaps, Now - Last, atomics:get(Gaps, ?MAX_GAP))
    end.

%% Raises the longest gap, unless a longer one is there.
raise(_Gaps, Gap, Max) when Gap =< Max ->
    ok;
raise(Gaps, Gap, Max) ->
    case atomics:compare_exchange(Gaps, ?MAX_GAP, Max, Gap) of
        ok -> ok;
        Other -> raise(Gaps, Gap, Other)
    end.
