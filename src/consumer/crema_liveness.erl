%% @private Which message a handler is at, and since when: known although the
%% handler hangs, and after its process was killed.
%%
%% The worker writes it into a cell, which costs a few nanoseconds a message. The
%% group's member has a timer for each worker that is busy. A timer fires no more
%% often than once in the time limit, and is set anew from what is in the cell:
%% so a handler is found when it has taken that long, not before and not later.
%% A worker without work has no timer: it tells of the end of its rest.
-module(crema_liveness).

-export([new/0, begins/3, at/3, at_batch/3, idle/1, ends/3, beside/4, tried/3]).
-export([message/1, timer/2, check/2]).

-export_type([cell/0, given/0]).

%% 1: when the handler was called (microseconds of the monotonic clock, which
%% are never 0 in the first centuries of an emulator); 0 while it is not.
%% 2: the offset it was called with. 3: 1 while there is a timer. 4: an offset
%% that has failed, and 5: how often. 6: the last offset of the batch that it was
%% called with last.
-opaque cell() :: atomics:atomics_ref().

-define(SINCE, 1).
-define(OFFSET, 2).
-define(WATCHED, 3).
-define(FAILED, 4).
-define(TRIES, 5).
-define(LAST, 6).
%% Called without a message.
-define(NO_OFFSET, -1).

%% The first and the last message that the handler was called with.
-type given() :: #{offset := integer() | none, last := integer() | none}.

-spec new() -> cell().
new() ->
    Cell = atomics:new(6, [{signed, true}]),
    ok = atomics:put(Cell, ?FAILED, ?NO_OFFSET),
    ok = atomics:put(Cell, ?LAST, ?NO_OFFSET),
    Cell.

%% ---- in the worker -----------------------------------------------------------

%% @doc The worker calls the handler after a rest, with what it does not say yet.
%% The group's member hears of it unless it knows.
-spec begins(cell(), Member :: pid(), crema_slots:id()) -> ok.
begins(Cell, Member, Slot) ->
    ok = at(Cell, ?NO_OFFSET, erlang:monotonic_time(microsecond)),
    %% In this order, and by the member in the other: one of both sees the other.
    case atomics:exchange(Cell, ?WATCHED, 1) of
        1 ->
            ok;
        0 ->
            Member ! {crema_busy, Slot, self(), Cell},
            ok
    end.

%% @doc It is called with that message now (microseconds of the monotonic clock).
-spec at(cell(), Offset :: integer(), Now :: integer()) -> ok.
at(Cell, Offset, Now) ->
    ok = atomics:put(Cell, ?OFFSET, Offset),
    atomics:put(Cell, ?SINCE, Now).

%% @doc The same of a batch. A handler gets nothing else, if it gets any.
-spec at_batch(cell(), {First :: integer(), Last :: integer()}, Now :: integer()) -> ok.
at_batch(Cell, {First, Last}, Now) ->
    ok = atomics:put(Cell, ?LAST, Last),
    at(Cell, First, Now).

%% @doc The handler has nothing to do. Behind this is {@link begins/3} again.
-spec idle(cell()) -> ok.
idle(Cell) ->
    atomics:put(Cell, ?SINCE, 0).

%% @doc The handler's last call, whose time is limited too. What it is at already is
%% what it fails at, should it hang.
-spec ends(cell(), Member :: pid(), crema_slots:id()) -> ok.
ends(Cell, Member, Slot) ->
    case atomics:get(Cell, ?SINCE) of
        0 -> begins(Cell, Member, Slot);
        _ -> ok
    end.

%% @doc Runs what may wait and is not the handler's time, also when that has raised: what
%% it was at is known behind it.
-spec beside(cell(), Member :: pid(), crema_slots:id(), fun(() -> Result)) -> Result.
beside(Cell, Member, Slot, Fun) ->
    {Given, _} = message(Cell),
    ok = idle(Cell),
    Result = Fun(),
    case Given of
        #{offset := none} ->
            ok;
        #{offset := Offset} ->
            ok = begins(Cell, Member, Slot),
            ok = at(Cell, Offset, erlang:monotonic_time(microsecond))
    end,
    Result.

%% @doc A message has failed so often, but not ended the worker.
-spec tried(cell(), Offset :: integer(), Tries :: pos_integer()) -> ok.
tried(Cell, Offset, Tries) ->
    ok = atomics:put(Cell, ?FAILED, Offset),
    atomics:put(Cell, ?TRIES, Tries).

%% ---- in the group's member -----------------------------------------------------

%% @doc The message, or the batch, that a worker is at, or was when it ended; and how
%% often its first had failed before, as far as the worker has said.
-spec message(cell()) -> {given(), Tries :: non_neg_integer()}.
message(Cell) ->
    At = atomics:get(Cell, ?OFFSET),
    Given = #{offset => At, last => max(At, atomics:get(Cell, ?LAST))},
    None = #{offset => none, last => none},
    case {atomics:get(Cell, ?SINCE), atomics:get(Cell, ?FAILED)} of
        {0, _} -> {None, 0};
        {_, _} when At =:= ?NO_OFFSET -> {None, 0};
        {_, At} -> {Given, atomics:get(Cell, ?TRIES)};
        {_, _} -> {Given, 0}
    end.

%% @doc Starts the timer of a worker that is busy: `Message' comes when its
%% handler may have taken too long.
-spec timer(Message :: term(), At :: integer()) -> reference().
timer(Message, At) ->
    erlang:send_after(At, self(), Message, [{abs, true}]).

%% @doc Whether the handler has taken so long (milliseconds). If not, when to look
%% again (milliseconds of the monotonic clock), or that it has nothing to do and
%% will tell.
-spec check(cell(), Limit :: pos_integer()) -> overdue | {again, At :: integer()} | idle.
check(Cell, Limit) ->
    case atomics:get(Cell, ?SINCE) of
        0 ->
            ok = atomics:put(Cell, ?WATCHED, 0),
            case atomics:get(Cell, ?SINCE) of
                0 -> idle;
                Since -> watched(Cell, since(Since, Limit))
            end;
        Since ->
            since(Since, Limit)
    end.

%% It has begun just now, and does not tell if it saw that there was a timer.
-spec watched(cell(), Result) -> Result.
watched(Cell, Result) ->
    ok = atomics:put(Cell, ?WATCHED, 1),
    Result.

-spec since(integer(), pos_integer()) -> overdue | {again, integer()}.
since(Since, Limit) ->
    End = Since + Limit * 1000,
    case erlang:monotonic_time(microsecond) >= End of
        true -> overdue;
        %% Rounded up: the timer must not be early.
        false -> {again, End div 1000 + 1}
    end.
