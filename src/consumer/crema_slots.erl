%% @private The slots of a group's member: its assigned partitions, each with a
%% worker of its own, from the assignment to the answer to a revocation.
%%
%% All of it runs in the member's process, which gets the messages of workers and
%% timers and hands them to {@link handle/2}.
-module(crema_slots).

-include("../port/crema_commands.hrl").

-export([new/1, assigned/2, started/2, renewed/3, revoked/3, released/2, partition_error/3, handle/2]).
-export([places/1, pause/3, paused/1, drain/2]).

-export_type([slots/0, id/0, work/0]).

-define(WORKERS_OPTIONS, [
    handler, batch_messages, batch_bytes, batch_age, backoff, null, concurrency
]).

-type id() :: pos_integer().
%% What all workers of a consumer have in common.
-type work() :: #{
    port := port(),
    group := pid(),
    consumer := pid(),
    exactly_once := pid() | none,
    options := map(),
    supervisor := pid(),
    about := crema_group_events:about()
}.

-record(slot, {
    topic :: binary(),
    partition :: non_neg_integer(),
    worker = none :: none | pid(),
    %% failures in a row, and when the worker was started
    failures = 0 :: non_neg_integer(),
    since = 0 :: integer(),
    revoked = false :: boolean(),
    %% a handler was told of the assignment
    told = false :: boolean(),
    %% the worker is that of the generation before, and ends
    renewed = false :: boolean()
}).

-record(slots, {
    work :: work(),
    all = #{} :: #{id() => #slot{}},
    monitors = #{} :: #{reference() => id()},
    %% workers of slots that were lost, which may come back meanwhile
    leaving = #{} :: #{pid() => crema_group_events:place()},
    paused = crema_paused:new() :: crema_paused:paused(),
    %% a revocation that is being drained
    draining = none :: none | {Lost :: boolean(), Began :: integer()},
    drain_timer = none :: none | reference()
}).
-opaque slots() :: #slots{}.
-type given() :: {id(), Topic :: binary(), Partition :: non_neg_integer(), Offset :: integer()}.

-spec new(work()) -> slots().
new(Work) -> #slots{work = Work}.

%% @doc The partitions that are assigned, in order.
-spec places(slots()) -> [crema_group_events:place()].
places(#slots{all = All}) ->
    lists:sort([place(Slot) || #slot{revoked = false} = Slot <- maps:values(All)]).

-spec place(#slot{}) -> crema_group_events:place().
place(#slot{topic = Topic, partition = Partition}) -> {Topic, Partition}.

%% ---- pauses ------------------------------------------------------------------------

%% @doc Pauses or resumes partitions that are assigned, or of which that was said
%% before.
-spec pause(all | [crema_group_events:place()], boolean(), slots()) ->
    {ok, slots()} | {not_assigned, crema_group_events:place()}.
pause(Which, Value, #slots{all = All, paused = Before} = Slots) ->
    Here = places(Slots),
    IsKnown = fun(Place) -> lists:member(Place, Here) orelse crema_paused:is_named(Place, Before) end,
    case Which =/= all andalso lists:dropwhile(IsKnown, Which) of
        [Unknown | _] ->
            {not_assigned, Unknown};
        _ ->
            Paused = crema_paused:set(Which, Value, Before),
            _ = [
                crema_worker:resume(Worker)
             || #slot{worker = Worker} = Slot <- maps:values(All),
                is_pid(Worker),
                not crema_paused:is(place(Slot), Paused)
            ],
            {ok, Slots#slots{paused = Paused}}
    end.

%% @doc Those that are assigned and paused.
-spec paused(slots()) -> [crema_group_events:place()].
paused(#slots{paused = Paused} = Slots) ->
    [Place || Place <- places(Slots), crema_paused:is(Place, Paused)].

%% ---- assignment ------------------------------------------------------------------

-spec assigned([given()], slots()) -> slots().
assigned(Given, #slots{all = All, work = #{exactly_once := Pid}} = Slots) ->
    Staying = [Id || {Id, #slot{revoked = false}} <- maps:to_list(All)],
    ok = crema_exactly_once:rebalanced(Pid, Staying),
    New = maps:from_list([{Id, #slot{topic = T, partition = P}} || {Id, T, P, _} <- Given]),
    Slots#slots{all = maps:merge(All, New)}.

%% @doc Starts the workers of slots that were assigned.
-spec started([given()], slots()) -> slots().
started(Given, Slots) ->
    lists:foldl(fun({Id, _, _, _}, Acc) -> start_worker(Id, Acc) end, Slots, Given).

%% One handler at a time: nobody is started beside a worker that is leaving.
-spec start_worker(id(), slots()) -> slots().
start_worker(Id, #slots{all = All, leaving = Leaving} = Slots) ->
    case All of
        #{Id := #slot{revoked = false, worker = none} = Slot} ->
            case lists:member(place(Slot), maps:values(Leaving)) of
                true -> Slots;
                false -> start_worker(Id, Slot, Slots)
            end;
        _ ->
            Slots
    end.

-spec start_worker(id(), #slot{}, slots()) -> slots().
start_worker(Id, Slot, #slots{work = Work} = Slots) ->
    #{supervisor := Supervisor, options := Options} = Work,
    {Flag, Paused} = crema_paused:flag(place(Slot), Slots#slots.paused),
    Own = (maps:with([port, group, consumer, about, exactly_once], Work))#{
        slot => Id,
        assigned => not Slot#slot.told,
        topic => Slot#slot.topic,
        partition => Slot#slot.partition,
        paused => Flag,
        options => maps:with(?WORKERS_OPTIONS, Options)
    },
    {ok, Worker} = crema_consumer_sup:start_worker(Supervisor, Own),
    Monitor = erlang:monitor(process, Worker),
    ok = crema_worker:begin_work(Worker, Own),
    Started = Slot#slot{worker = Worker, since = crema_deadline:now()},
    Monitors = (Slots#slots.monitors)#{Monitor => Id},
    put_slot(Id, Started, Slots#slots{monitors = Monitors, paused = Paused}).

-spec put_slot(id(), #slot{}, slots()) -> slots().
put_slot(Id, Slot, #slots{all = All} = Slots) ->
    Slots#slots{all = All#{Id => Slot}}.

%% @doc A slot that begins anew has a new number, and a new worker: the old one has
%% been told that nothing of its slot follows.
-spec renewed(id(), id(), slots()) -> slots().
renewed(Old, New, #slots{all = All} = Slots) ->
    case maps:take(Old, All) of
        {#slot{worker = none} = Slot, Rest} ->
            start_worker(New, Slots#slots{all = Rest#{New => Slot#slot{failures = 0}}});
        %% One handler at a time: the new worker starts when the old one ends.
        {#slot{worker = Worker} = Slot, Rest} ->
            #{options := #{drain_timeout := Timeout}} = Slots#slots.work,
            _ = erlang:send_after(Timeout, self(), {late, New, Worker}),
            ok = crema_worker:drain(Worker, reset),
            Slots#slots{
                all = Rest#{New => Slot#slot{failures = 0, renewed = true}},
                monitors = renumbered(Old, New, Slots#slots.monitors)
            };
        error ->
            Slots
    end.

-spec renumbered(id(), id(), #{reference() => id()}) -> #{reference() => id()}.
renumbered(Old, New, Monitors) ->
    maps:map(
        fun
            (_, Id) when Id =:= Old -> New;
            (_, Id) -> Id
        end,
        Monitors
    ).

%% ---- workers -----------------------------------------------------------------------

%% @doc Takes what is for the slots from the member's mailbox.
-spec handle(term(), slots()) -> {ok, slots()} | unknown.
handle({'DOWN', Monitor, process, Worker, Reason}, #slots{monitors = Monitors} = Slots) ->
    case maps:take(Monitor, Monitors) of
        {Id, Rest} ->
            Known = Slots#slots{monitors = Rest},
            {ok, left(Worker, worker_down(Id, Worker, Reason, Known))};
        error -> unknown
    end;
handle({restart, Id}, Slots) ->
    {ok, start_worker(Id, Slots)};
handle({drain_timeout, Began}, #slots{draining = {_, Began}} = Slots) ->
    ok = kill_revoked(Slots),
    {ok, Slots};
handle({kill, Workers}, Slots) ->
    lists:foreach(fun(Worker) -> exit(Worker, kill) end, Workers),
    {ok, Slots};
handle({late, Id, Worker}, #slots{all = All} = Slots) ->
    case All of
        #{Id := #slot{worker = Worker, renewed = true}} -> exit(Worker, kill);
        _ -> ok
    end,
    {ok, Slots};
handle({crema_handler_assigned, Id}, #slots{all = All} = Slots) ->
    case All of
        #{Id := Slot} -> {ok, put_slot(Id, Slot#slot{told = true}, Slots)};
        _ -> {ok, Slots}
    end;
handle({crema_handler_error, Id, Report}, #slots{all = All, work = #{about := About}} = Slots) ->
    case All of
        #{Id := Slot} ->
            Offset = maps:get(offset, Report),
            ok = crema_group_events:handler_error(place(Slot), Offset, Report, About);
        _ ->
            ok
    end,
    {ok, Slots};
handle(_, _Slots) ->
    unknown.

-spec worker_down(id(), pid(), term(), slots()) -> slots().
worker_down(Id, Worker, Reason, #slots{all = All} = Slots) ->
    case All of
        #{Id := #slot{revoked = true} = Slot} ->
            drained(put_slot(Id, Slot#slot{worker = none}, Slots));
        %% It heard of its slot's end before this process did.
        #{Id := #slot{worker = Worker, renewed = true} = Slot} ->
            start_worker(Id, put_slot(Id, Slot#slot{worker = none, renewed = false}, Slots));
        #{Id := #slot{worker = Worker} = Slot} when
            Reason =:= normal; Reason =:= {shutdown, {slot_gone, Id}}
        ->
            put_slot(Id, Slot#slot{worker = none}, Slots);
        %% What it did comes again.
        #{Id := #slot{worker = Worker} = Slot} when
            Reason =:= {shutdown, {transaction_aborted, Id}}
        ->
            start_worker(Id, put_slot(Id, Slot#slot{worker = none}, Slots));
        #{Id := #slot{worker = Worker} = Slot} ->
            crashed(Id, Slot#slot{worker = none}, Reason, Slots);
        _ ->
            Slots
    end.

-spec crashed(id(), #slot{}, term(), slots()) -> slots().
crashed(Id, #slot{failures = Before, since = Since} = Slot, Reason, #slots{work = Work} = Slots) ->
    #{about := About, options := #{backoff := {Min, Max}}} = Work,
    %% A worker that ran for longer than any back-off has made a new start.
    Failures =
        case crema_deadline:now() - Since > Max of
            true -> 1;
            false -> Before + 1
        end,
    Delay = crema_backoff:delay(Failures, Min, Max),
    Measured = #{attempt => Failures, delay => Delay},
    ok = crema_group_events:handler_crashed(place(Slot), Reason, Measured, About),
    _ = erlang:send_after(Delay, self(), {restart, Id}),
    put_slot(Id, Slot#slot{failures = Failures}, Slots).

%% @doc Tells the handler of an error of its partition.
-spec partition_error(crema_group_events:place(), crema_error:reason(), slots()) -> ok.
partition_error(Place, Reason, #slots{all = All}) ->
    Workers = [W || #slot{worker = W} = Slot <- maps:values(All), is_pid(W), place(Slot) =:= Place],
    lists:foreach(fun(Worker) -> crema_worker:partition_error(Worker, Reason) end, Workers).

%% ---- revocation ----------------------------------------------------------------------

%% @doc The driver has told the workers already that nothing follows; their end is
%% awaited here. What was lost is not theirs to finish: it is answered at once,
%% and they have the time of a drain for leaving.
-spec revoked([id()], Lost :: boolean(), slots()) -> slots().
revoked(Ids, Lost, #slots{all = All, work = #{options := Options}} = Slots) ->
    Began = crema_deadline:now(),
    Marked = maps:map(
        fun(Id, Slot) -> Slot#slot{revoked = Slot#slot.revoked orelse lists:member(Id, Ids)} end,
        All
    ),
    Timer = erlang:send_after(maps:get(drain_timeout, Options), self(), {drain_timeout, Began}),
    Drained = Slots#slots{all = Marked, draining = {Lost, Began}, drain_timer = Timer},
    Working = [
        {Id, Slot}
     || {Id, #slot{revoked = true, worker = W} = Slot} <- maps:to_list(Marked), is_pid(W)
    ],
    case Lost of
        true -> drained(leave(Working, Drained));
        false -> drained(end_workers(Working, revoked, Drained))
    end.

-spec end_workers([{id(), #slot{}}], crema_worker:ending(), slots()) -> slots().
end_workers(Working, Why, Slots) ->
    lists:foreach(fun({_, #slot{worker = Worker}}) -> crema_worker:drain(Worker, Why) end, Working),
    Slots.

-spec leave([{id(), #slot{}}], slots()) -> slots().
leave(Working, #slots{all = All, leaving = Leaving, work = #{options := Options}} = Slots) ->
    #{drain_timeout := Timeout} = Options,
    Workers = [Worker || {_, #slot{worker = Worker}} <- Working],
    _ = erlang:send_after(Timeout, self(), {kill, Workers}),
    Without = maps:from_list([{Id, Slot#slot{worker = none}} || {Id, Slot} <- Working]),
    Places = maps:from_list([{Slot#slot.worker, place(Slot)} || {_, Slot} <- Working]),
    end_workers(Working, lost, Slots#slots{
        all = maps:merge(All, Without), leaving = maps:merge(Leaving, Places)
    }).

%% Who takes its place may start now.
-spec left(pid(), slots()) -> slots().
left(Worker, #slots{all = All, leaving = Leaving} = Slots) ->
    case maps:take(Worker, Leaving) of
        {Place, Rest} ->
            Waiting = [Id || {Id, Slot} <- maps:to_list(All), place(Slot) =:= Place],
            lists:foldl(fun start_worker/2, Slots#slots{leaving = Rest}, Waiting);
        error ->
            Slots
    end.

-spec drained(slots()) -> slots().
drained(#slots{draining = none} = Slots) ->
    Slots;
drained(#slots{all = All, drain_timer = Timer, work = #{port := Port}} = Slots) ->
    case [Id || {Id, #slot{revoked = true, worker = W}} <- maps:to_list(All), W =/= none] of
        [] when Timer =/= none ->
            _ = erlang:cancel_timer(Timer),
            _ = crema_port:command(Port, ?CMD_RELEASE, <<>>),
            Slots#slots{drain_timer = none};
        _ ->
            Slots
    end.

-spec kill_revoked(slots()) -> ok.
kill_revoked(#slots{all = All}) ->
    Late = [W || #slot{revoked = true, worker = W} <- maps:values(All), is_pid(W)],
    lists:foreach(fun(Worker) -> exit(Worker, kill) end, Late).

%% @doc The revocation was answered: its slots are gone.
-spec released(ok | crema_error:error(), slots()) -> slots().
released(Result, #slots{all = All, draining = Draining, work = #{about := About}} = Slots) ->
    {Gone, Kept} = lists:partition(fun({_, Slot}) -> Slot#slot.revoked end, maps:to_list(All)),
    Places = [place(Slot) || {_, Slot} <- Gone],
    case Draining of
        {true, _} -> ok = crema_group_events:lost(Places, About);
        {false, Began} -> ok = crema_group_events:revoked(Places, Began, About);
        none -> ok
    end,
    case Result of
        ok -> ok;
        {error, Reason} -> ok = crema_group_events:commit_failed(Reason, Places, About)
    end,
    Slots#slots{all = maps:from_list(Kept), draining = none, drain_timer = none}.

%% ---- the end ---------------------------------------------------------------------------

%% @doc Lets all workers finish the message they are at and acknowledge, until the
%% deadline; whose they were.
-spec drain(crema_deadline:deadline(), slots()) -> [crema_group_events:place()].
drain(Deadline, #slots{all = All}) ->
    Workers = [Worker || #slot{worker = Worker} <- maps:values(All), is_pid(Worker)],
    lists:foreach(fun(Worker) -> crema_worker:drain(Worker, stopped) end, Workers),
    Monitors = [{erlang:monitor(process, Worker), Worker} || Worker <- Workers],
    lists:foreach(
        fun({Monitor, Worker}) ->
            receive
                {'DOWN', Monitor, _, _, _} -> ok
            after crema_deadline:left(Deadline) ->
                exit(Worker, kill)
            end
        end,
        Monitors
    ),
    [place(Slot) || Slot <- maps:values(All)].
