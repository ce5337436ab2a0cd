%% @private The slots of a group's member: its assigned partitions, each with a
%% worker of its own, from the assignment to the answer to a revocation.
%%
%% All of it runs in the member's process, which gets the messages of workers and
%% timers and hands them to {@link handle/2}.
-module(crema_slots).

-include("../port/crema_commands.hrl").
-include("crema_slots.hrl").

-export([new/1, assigned/2, started/2, renewed/3, revoked/3, released/2, handle/2]).
-export([partition_error/3, nacked/3]).
-export([places/1, place/1, pause/3, paused/1, drain/3, work_of/3, leave/3]).

-export_type([slots/0, id/0, work/0]).

-define(WORKERS_OPTIONS, [
    handler, batch_messages, batch_bytes, batch_age, backoff, null, message, concurrency, group, fatal,
    dead_letter, retry_topics, ack_timeout, prefix, strip_prefix, log_offset
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
    about := crema_group_events:about(),
    policies := crema_failure:policies(),
    %% how long a handler may take, and what follows
    limit := {pos_integer(), kill | leave}
}.
%% What follows for the member: it stops for good, or leaves the group and starts
%% anew.
-type handled() ::
    {ok, slots()}
    %% and what is paused has changed
    | {paused, slots()}
    | {stop | leave, crema_error:reason(), slots()}
    | unknown.

-type slots() :: #slots{}.
-type given() :: {id(), Topic :: binary(), Partition :: non_neg_integer(), Offset :: integer()}.

-spec new(work()) -> slots().
new(Work) -> #slots{work = Work}.

%% @doc The partitions that are assigned, in order.
-spec places(slots()) -> [crema_group_events:place()].
places(#slots{all = All}) ->
    lists:sort([
        place(Slot)
     || #slot{revoked = false, handover = Handover} = Slot <- maps:values(All), Handover =/= kept
    ]).

%% @doc Of one of them.
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
            {ok, wake(Slots#slots{paused = Paused})}
    end.

%% What a failure had paused begins anew.
-spec wake(slots()) -> slots().
wake(#slots{all = All, paused = Paused} = Slots) ->
    Woken = [
        {Id, anew(Slot)}
     || {Id, #slot{resting = true} = Slot} <- maps:to_list(All),
        not crema_paused:is(place(Slot), Paused)
    ],
    lists:foldl(
        fun({Id, Slot}, Acc) -> start_worker(Id, put_slot(Id, Slot, Acc)) end, Slots, Woken
    ).

%% @doc Those that are assigned and paused.
-spec paused(slots()) -> [crema_group_events:place()].
paused(#slots{paused = Paused} = Slots) ->
    [Place || Place <- places(Slots), crema_paused:is(Place, Paused)].

%% ---- assignment ------------------------------------------------------------------

-spec assigned([given()], slots()) -> slots().
assigned(Given, Before) ->
    #slots{all = All, work = #{exactly_once := Pid}} = Slots = crema_handover:back(Given, Before),
    Staying = [Id || {Id, #slot{revoked = false}} <- maps:to_list(All)],
    ok = crema_exactly_once:rebalanced(Pid, Staying),
    New = maps:from_list([{Id, #slot{topic = T, partition = P}} || {Id, T, P, _} <- Given]),
    Slots#slots{all = maps:merge(New, All)}.

%% @doc Starts the workers of slots that were assigned, and are not those of before.
-spec started([given()], slots()) -> slots().
started(Given, Slots) ->
    Attached = crema_handover:attached(Slots),
    lists:foldl(fun({Id, _, _, _}, Acc) -> start_worker(Id, Acc) end, Attached, Given).

%% One handler at a time: nobody is started beside a worker that is leaving.
-spec start_worker(id(), slots()) -> slots().
start_worker(Id, #slots{all = All, leaving = Leaving} = Slots) ->
    case All of
        #{Id := #slot{revoked = false, worker = none, resting = false, handover = none} = Slot} ->
            case lists:member(place(Slot), maps:values(Leaving)) of
                true -> Slots;
                false -> start_worker(Id, Slot, Slots)
            end;
        _ ->
            Slots
    end.

-spec start_worker(id(), #slot{}, slots()) -> slots().
start_worker(Id, Slot, #slots{work = #{supervisor := Supervisor}, parking = Parking} = Slots) ->
    {Flag, Paused} = crema_paused:flag(place(Slot), Slots#slots.paused),
    Own = (work_of(Id, Slot, Slots))#{paused => Flag},
    {ok, Worker} = crema_consumer_sup:start_worker(Supervisor, Own),
    Monitor = erlang:monitor(process, Worker),
    ok = crema_worker:begin_work(Worker, Own),
    ok = crema_handover:park(Parking, Worker),
    Restarts = crema_restarts:started(crema_deadline:now(), Slot#slot.restarts),
    Started = Slot#slot{worker = Worker, restarts = Restarts},
    Monitors = (Slots#slots.monitors)#{Monitor => Id},
    put_slot(Id, Started, Slots#slots{monitors = Monitors, paused = Paused}).

%% @doc What its worker is told, but for the flag of a pause.
-spec work_of(id(), #slot{}, slots()) -> map().
work_of(Id, Slot, #slots{work = #{options := Options} = Work}) ->
    (maps:with([port, group, consumer, about, exactly_once, policies], Work))#{
        slot => Id,
        assigned => not Slot#slot.told,
        topic => Slot#slot.topic,
        partition => Slot#slot.partition,
        options => maps:with(?WORKERS_OPTIONS, Options),
        failed => crema_restarts:failed(Slot#slot.restarts)
    }.

-spec put_slot(id(), #slot{}, slots()) -> slots().
put_slot(Id, Slot, #slots{all = All} = Slots) ->
    Slots#slots{all = All#{Id => Slot}}.

%% @doc A slot that begins anew has a new number, and a new worker: the old one has
%% been told that nothing of its slot follows.
-spec renewed(id(), id(), slots()) -> slots().
renewed(Old, New, #slots{all = All} = Slots) ->
    case maps:take(Old, All) of
        {#slot{worker = none} = Slot, Rest} ->
            start_worker(New, Slots#slots{all = Rest#{New => anew(Slot)}});
        %% One handler at a time: the new worker starts when the old one ends.
        {#slot{worker = Worker} = Slot, Rest} ->
            #{options := #{drain_timeout := Timeout}} = Slots#slots.work,
            _ = erlang:send_after(Timeout, self(), {late, New, Worker}),
            ok = crema_worker:drain(Worker, reset),
            Slots#slots{
                all = Rest#{New => (anew(Slot))#slot{renewed = true}},
                monitors = renumbered(Old, New, Slots#slots.monitors)
            };
        error ->
            Slots
    end.

%% Its messages are others.
-spec anew(#slot{}) -> #slot{}.
anew(Slot) -> Slot#slot{restarts = crema_restarts:new(), resting = false}.

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
-spec handle(term(), slots()) -> handled().
handle({'DOWN', Monitor, process, Worker, Reason}, #slots{monitors = Monitors} = Slots) ->
    case maps:take(Monitor, Monitors) of
        {Id, Rest} ->
            Known = left(Worker, Slots#slots{monitors = Rest}),
            worker_down(Id, Worker, Reason, Known);
        error ->
            unknown
    end;
handle(Message, #slots{moved = Moved} = Slots) when
    is_map_key(element(2, Message), Moved)
->
    handle(setelement(2, Message, maps:get(element(2, Message), Moved)), Slots);
handle({crema_parked, Id}, Slots) ->
    {ok, crema_handover:parked(Id, Slots)};
handle({restart, Id}, Slots) ->
    {ok, start_worker(Id, Slots)};
handle({drain_timeout, Began}, #slots{draining = Began} = Slots) ->
    ok = kill_revoked(Slots),
    {ok, Slots};
handle({kill, Workers}, Slots) ->
    lists:foreach(fun(Worker) -> kill(Worker, Slots) end, Workers),
    {ok, Slots};
handle({late, Id, Worker}, #slots{all = All} = Slots) ->
    case All of
        #{Id := #slot{worker = Worker, renewed = true}} -> kill(Worker, Slots);
        _ -> ok
    end,
    {ok, Slots};
handle({crema_handler_assigned, Id}, #slots{all = All} = Slots) ->
    case All of
        #{Id := Slot} -> {ok, put_slot(Id, Slot#slot{told = true}, Slots)};
        _ -> {ok, Slots}
    end;
handle({crema_busy, Id, Pid, Cell}, #slots{all = All, work = #{limit := {Limit, _}}} = Slots) ->
    case All of
        #{Id := #slot{watched = #{Pid := {_, Timer}}}} when Timer =/= none -> {ok, Slots};
        #{Id := Slot} -> watch(Id, Pid, Cell, crema_deadline:now() + Limit, Slot, Slots);
        _ -> {ok, Slots}
    end;
handle({crema_overdue, Id, Pid}, #slots{all = All, work = #{limit := {Limit, _}}} = Slots) ->
    case All of
        #{Id := #slot{watched = #{Pid := {Cell, _}} = Watched} = Slot} ->
            case crema_liveness:check(Cell, Limit) of
                {again, At} -> watch(Id, Pid, Cell, At, Slot, Slots);
                idle -> {ok, put_slot(Id, Slot#slot{watched = Watched#{Pid := {Cell, none}}}, Slots)};
                overdue -> overdue(Id, Pid, Cell, Slot, Slots)
            end;
        _ ->
            {ok, Slots}
    end;
handle(_, _Slots) ->
    unknown.

-spec watch(id(), pid(), crema_liveness:cell(), integer(), #slot{}, slots()) -> {ok, slots()}.
watch(Id, Pid, Cell, At, #slot{watched = Watched} = Slot, Slots) ->
    Timer = crema_liveness:timer({crema_overdue, Id, Pid}, At),
    {ok, put_slot(Id, Slot#slot{watched = Watched#{Pid => {Cell, Timer}}}, Slots)}.

%% The handler has taken too long. Killed it starts again by itself; where it may
%% not be killed for that, the group may not wait for it either.
-spec overdue(id(), pid(), crema_liveness:cell(), #slot{}, slots()) -> handled().
overdue(Id, Pid, Cell, Slot, #slots{work = #{limit := {Limit, Then}, about := About}} = Slots) ->
    {#{offset := Offset}, _} = At = crema_liveness:message(Cell),
    true = exit(Pid, kill),
    case Then of
        kill ->
            {ok, put_slot(Id, Slot#slot{overdue = At}, Slots)};
        leave ->
            ok = crema_group_events:handler_stuck(place(Slot), Offset, Limit, About),
            {error, Reason} = crema_error:make(
                handler_stuck,
                "a handler has taken max.poll.interval.ms, and handler_timeout is infinity",
                #{topic => Slot#slot.topic, partition => Slot#slot.partition}
            ),
            {leave, Reason, Slots}
    end.

-spec worker_down(id(), pid(), term(), slots()) -> handled().
worker_down(Id, Worker, Reason, #slots{all = All} = Slots) ->
    case All of
        #{Id := #slot{revoked = true} = Slot} ->
            {ok, drained(put_slot(Id, ended(Slot), Slots))};
        %% It heard of its slot's end before this process did.
        #{Id := #slot{worker = Worker, renewed = true} = Slot} ->
            {ok, start_worker(Id, put_slot(Id, (ended(Slot))#slot{renewed = false}, Slots))};
        #{Id := #slot{worker = Worker} = Slot} when
            Reason =:= normal; Reason =:= {shutdown, {slot_gone, Id}}
        ->
            {ok, put_slot(Id, ended(Slot), Slots)};
        %% What it did comes again; or its slot went with a client of before.
        #{Id := #slot{worker = Worker} = Slot} when
            Reason =:= {shutdown, {transaction_aborted, Id}};
            element(1, element(2, Reason)) =:= slot_gone
        ->
            {ok, start_worker(Id, put_slot(Id, ended(Slot), Slots))};
        #{Id := #slot{worker = Worker} = Slot} ->
            failed(Id, Reason, Slot, Slots);
        _ ->
            {ok, Slots}
    end.

%% Without a worker.
-spec ended(#slot{}) -> #slot{}.
ended(#slot{watched = Watched} = Slot) ->
    _ = [erlang:cancel_timer(Timer) || {_, Timer} <- maps:values(Watched), Timer =/= none],
    Slot#slot{worker = none, watched = #{}, overdue = none}.

%% What follows was decided, and told, by the worker; or is decided here.
-spec failed(id(), term(), #slot{}, slots()) -> handled().
failed(Id, {shutdown, {ends, Action, Failure}}, Slot, Slots) ->
    act(Action, 0, Failure, Id, ended(Slot), Slots);
failed(Id, {shutdown, {failed, Failure}}, Slot, Slots) ->
    crashed(Id, Failure, true, Slot, Slots);
failed(Id, _Reason, #slot{overdue = {Given, Tries}} = Slot, Slots) ->
    crashed(Id, crema_remedy:killed(for_time, place(Slot), Given, Tries), false, Slot, Slots);
failed(Id, {shutdown, {killed, Pid, Reason}}, Slot, Slots) ->
    killed(Id, Pid, Reason, Slot, Slots);
failed(Id, Reason, #slot{worker = Worker} = Slot, Slots) ->
    killed(Id, Worker, Reason, Slot, Slots).

%% By somebody else.
-spec killed(id(), pid(), term(), #slot{}, slots()) -> handled().
killed(Id, Pid, Reason, #slot{watched = Watched} = Slot, Slots) ->
    {Given, Tries} =
        case Watched of
            #{Pid := {Cell, _}} -> crema_liveness:message(Cell);
            #{} -> {#{offset => none, last => none}, 0}
        end,
    crashed(Id, crema_remedy:killed(Reason, place(Slot), Given, Tries), false, Slot, Slots).

-spec crashed(id(), crema_failure:failure(), Judged :: boolean(), #slot{}, slots()) -> handled().
crashed(Id, Given, Judged, #slot{restarts = Before} = Slot, #slots{work = Work} = Slots) ->
    #{about := About} = Work,
    {Failure, Action, Delay, Why, After} =
        crema_restarts:crashed(Given, Judged, crema_deadline:now(), Work, Before),
    ok = crema_group_events:remedy({failed, Failure, Action, Delay}, About),
    _ = Why =:= exhausted andalso crema_group_events:exhausted(place(Slot), Action, About),
    act(Action, Delay, Failure, Id, (ended(Slot))#slot{restarts = After}, Slots).

-spec act(crema_remedy:action(), non_neg_integer(), crema_failure:failure(), id(), #slot{}, slots()) ->
    handled().
act(stop, _Delay, Failure, Id, Slot, Slots) ->
    {stop, crema_remedy:reason(Failure), put_slot(Id, Slot, Slots)};
act(pause, _Delay, _Failure, Id, Slot, #slots{paused = Before} = Slots) ->
    Paused = crema_paused:set([place(Slot)], true, Before),
    {paused, put_slot(Id, Slot#slot{resting = true}, Slots#slots{paused = Paused})};
%% The next worker does the rest.
act(_, Delay, _Failure, Id, Slot, Slots) ->
    _ = erlang:send_after(Delay, self(), {restart, Id}),
    {ok, put_slot(Id, Slot, Slots)}.

%% @doc Tells the handler of an error of its partition.
-spec partition_error(crema_group_events:place(), crema_error:reason(), slots()) -> ok.
partition_error(Place, Reason, #slots{all = All}) ->
    Workers = [W || #slot{worker = W} = Slot <- maps:values(All), is_pid(W), place(Slot) =:= Place],
    lists:foreach(fun(Worker) -> crema_worker:partition_error(Worker, Reason) end, Workers).

%% @doc Messages that were to be acknowledged later have failed. A worker that starts
%% gets all that is not acknowledged, whatever became of it.
-spec nacked([{id(), crema_runs:runs()}], Reason :: term(), slots()) -> ok.
nacked(Some, Reason, #slots{all = All}) ->
    lists:foreach(
        fun({Id, Runs}) ->
            case All of
                #{Id := #slot{worker = Worker}} when is_pid(Worker) ->
                    crema_worker:nacked(Worker, Runs, Reason);
                _ ->
                    ok
            end
        end,
        Some
    ).

%% ---- revocation ----------------------------------------------------------------------

%% @doc The driver has told the workers already that nothing follows; their end is
%% awaited here. What was lost is not theirs to finish: it is answered at once,
%% and they have the time of a drain for leaving. That may turn out in the middle of
%% a drain.
-spec revoked([id()], Lost :: boolean(), slots()) -> slots().
revoked(Ids, Lost, #slots{all = All, work = #{options := Options}} = Slots) ->
    Began =
        case Slots#slots.draining of
            none -> crema_deadline:now();
            Since -> Since
        end,
    Marked = maps:map(
        fun(Id, Slot) -> Slot#slot{revoked = Slot#slot.revoked orelse lists:member(Id, Ids)} end,
        All
    ),
    Timer = erlang:send_after(maps:get(drain_timeout, Options), self(), {drain_timeout, Began}),
    Drained = Slots#slots{all = Marked, draining = Began, drain_timer = Timer},
    Working = [
        {Id, Slot}
     || {Id, #slot{revoked = true, worker = W} = Slot} <- maps:to_list(Marked), is_pid(W)
    ],
    case Lost of
        true -> drained(leave(lost, Working, Drained));
        false -> drained(end_workers(Working, revoked, Drained))
    end.

-spec end_workers([{id(), #slot{}}], crema_worker:ending(), slots()) -> slots().
end_workers(Working, Why, Slots) ->
    lists:foreach(fun({_, #slot{worker = Worker}}) -> crema_worker:drain(Worker, Why) end, Working),
    Slots.

%% @doc They may end for so long as a drain takes, and nobody waits for them but who
%% takes their place.
-spec leave(crema_worker:ending(), [{id(), #slot{}}], slots()) -> slots().
leave(Why, Working, #slots{all = All, leaving = Leaving, work = #{options := Options}} = Slots) ->
    #{drain_timeout := Timeout} = Options,
    Workers = [Worker || {_, #slot{worker = Worker}} <- Working],
    _ = erlang:send_after(Timeout, self(), {kill, Workers}),
    Without = maps:from_list([{Id, Slot#slot{worker = none}} || {Id, Slot} <- Working]),
    Places = maps:from_list([{Slot#slot.worker, place(Slot)} || {_, Slot} <- Working]),
    end_workers(Working, Why, Slots#slots{
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
kill_revoked(#slots{all = All} = Slots) ->
    _ = [kill(W, Slots) || #slot{revoked = true, worker = W} <- maps:values(All), is_pid(W)],
    ok.

-spec kill(pid(), slots()) -> ok.
kill(Worker, #slots{work = #{options := Options}}) ->
    crema_consumer_sup:kill_partition(Worker, Options).

%% @doc The revocation was answered: its slots are gone.
-spec released(ok | lost | crema_error:error(), slots()) -> slots().
released(Result, #slots{all = All, draining = Draining, work = #{about := About}} = Slots) ->
    {Gone, Kept} = lists:partition(fun({_, Slot}) -> Slot#slot.revoked end, maps:to_list(All)),
    Places = [place(Slot) || {_, Slot} <- Gone],
    case {Result, Draining} of
        {{error, Reason}, none} -> ok = crema_group_events:commit_failed(Reason, Places, About);
        {_, none} -> ok;
        {_, Began} -> ok = crema_group_events:released(Result, Places, Began, About)
    end,
    Slots#slots{all = maps:from_list(Kept), draining = none, drain_timer = none}.

%% ---- the end ---------------------------------------------------------------------------

%% @doc Lets all workers finish the message they are at and acknowledge, until the
%% deadline; whose they were, but for partitions of a client that was given up for another.
-spec drain(crema_worker:ending(), crema_deadline:deadline(), slots()) ->
    [crema_group_events:place()].
drain(Why, Deadline, #slots{all = All} = Slots) ->
    Workers = [Worker || #slot{worker = Worker} <- maps:values(All), is_pid(Worker)],
    lists:foreach(fun(Worker) -> crema_worker:drain(Worker, Why) end, Workers),
    Monitors = [{erlang:monitor(process, Worker), Worker} || Worker <- Workers],
    lists:foreach(
        fun({Monitor, Worker}) ->
            receive
                {'DOWN', Monitor, _, _, _} -> ok
            after crema_deadline:left(Deadline) ->
                ok = kill(Worker, Slots),
                receive
                    {'DOWN', Monitor, _, _, _} -> ok
                end
            end
        end,
        Monitors
    ),
    [place(Slot) || #slot{handover = Handover} = Slot <- maps:values(All), Handover =/= kept].
