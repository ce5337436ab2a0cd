%% @private The process of one assigned partition: runs the handler over its
%% messages, in order, and acknowledges.
%%
%% It works in slices of a few milliseconds, and goes on with its work only when
%% its mailbox is empty (a timeout of 0), so that a revocation, a stop or a
%% system message waits for one message at most. What was acknowledged goes to
%% the driver at the end of a slice, or before the process crashes.
-module(crema_worker).
-behaviour(gen_server).

-include("../port/crema_commands.hrl").
-include("crema_worker.hrl").

-export([start_link/1, begin_work/2, resume/1, partition_error/2, nacked/3, drain/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export([format_status/1]).

-export_type([ending/0]).

%% Why a worker ends in order: its partition is given up, was lost without a
%% commit, begins anew (at another offset, or after the crash of another of its
%% workers, or of its transaction), or its consumer stops.
-type ending() :: revoked | lost | reset | stopped.

-type worker() :: #worker{}.
-type next() :: {noreply, worker()} | {noreply, worker(), 0} | {stop, term(), worker()}.

-define(SLICE_US, 5000).

%% Messages are dead soon. A heap that has room for a large batch is collected before each
%% of them, while next to nothing on it lives: later the half of a batch would be copied.
%% So it stays small, and with it in the processor's cache, and no binary of a batch
%% lives longer. Only partitions that have such batches get it.
-define(LARGE_BATCH, 100).
-define(ROOM_OF_A_MESSAGE, 50).

-spec start_link(map()) -> gen_server:start_ret().
start_link(Work) ->
    gen_server:start_link(?MODULE, Work, [{hibernate_after, ?QUIET_MS}]).

%% @doc Called when the worker is monitored, so that its end has a reason.
-spec begin_work(pid(), map()) -> ok.
begin_work(Worker, Work) ->
    gen_server:cast(Worker, {begin_work, Work}).

%% @doc Its partition is not paused any more.
-spec resume(pid()) -> ok.
resume(Worker) ->
    gen_server:cast(Worker, resume).

%% @doc Tells the handler of an error of its partition.
-spec partition_error(pid(), crema_error:reason()) -> ok.
partition_error(Worker, Reason) ->
    gen_server:cast(Worker, {partition_error, Reason}).

%% @doc Messages that were to be acknowledged later have failed.
-spec nacked(pid(), crema_runs:runs(), Reason :: term()) -> ok.
nacked(Worker, Runs, Reason) ->
    gen_server:cast(Worker, {nacked, Runs, Reason}).

%% @doc Lets the worker finish its message, acknowledge and end.
-spec drain(pid(), ending()) -> ok.
drain(Worker, Why) ->
    gen_server:cast(Worker, {drain, Why}).

-spec init(map()) -> {ok, worker()}.
init(#{slot := Slot, options := #{handler := Hidden} = Options} = Work) ->
    #{port := Port, group := Group, topic := Topic, partition := Partition} = Work,
    ok = crema_log:handles(maps:get(group, Options), Topic, Partition),
    Handler = crema_handler:new(Hidden(), Options),
    %% Whose stop it asks for, it cannot wait for.
    ok = crema_child:works_for(Group),
    Worker = #worker{
        slot = Slot,
        port = Port,
        group = Group,
        about = maps:get(about, Work),
        info = info(Work),
        exactly_once = maps:get(exactly_once, Work),
        place = {Topic, Partition, crema_record_batch:form(Options)},
        options = Options,
        policies = maps:get(policies, Work),
        cell = crema_liveness:new(),
        failed = maps:get(failed, Work),
        from = crema_retry_topics:from(Topic, maps:get(retry_topics, Options)),
        handler = Handler,
        paused = maps:get(paused, Work),
        handler_state = none,
        parallel = parallel(Work),
        gathered = crema_parked:gathered(Options, parallel(Work), Handler),
        nacked = crema_nacked:new({Port, Slot}),
        expiry = crema_expiry:new(maps:get(ack_timeout, Options), parallel(Work) =:= none)
    },
    {ok, Worker}.

-spec parallel(map()) -> pid() | none.
parallel(#{parallel := {Pid, _}}) -> Pid;
parallel(_) -> none.

-spec info(map()) -> crema_consumer:info().
info(#{parallel := {_, Number}} = Work) ->
    (info(maps:remove(parallel, Work)))#{worker => Number};
info(Work) ->
    maps:with([topic, partition, consumer], Work).

%% The user's code runs after init, so that starting never waits for it.
-spec start_work(map(), worker()) -> next().
start_work(#{assigned := New}, #worker{handler = Handler, info = Info} = Worker) ->
    ok = busy(Worker),
    case crema_handler:start(Handler, Info) of
        %% Each of several would have its own.
        {ok, _, Where} when Where =/= none, Worker#worker.parallel =/= none ->
            Reason = {start_with_concurrency, Where},
            {stop, crema_remedy:crashed(error, Reason, [], none, Worker), Worker};
        {ok, State, Where} ->
            Started = Worker#worker{started = true, handler_state = State, start = Where},
            case New of
                true -> assigned(callback(handle_assigned, Info, Started));
                false -> enter(Started)
            end;
        {crash, Class, Reason, Stack} ->
            {stop, crema_remedy:crashed(Class, Reason, Stack, none, Worker), Worker}
    end.

%% The handler is called from now on; with a message if that is said. The group
%% watches that it does not take too long.
-spec busy(worker()) -> ok.
busy(#worker{cell = Cell, group = Group, slot = Slot}) ->
    crema_liveness:begins(Cell, Group, Slot).

%% It is not, for now; what was acknowledged is told.
-spec rest(worker()) -> worker().
rest(#worker{cell = Cell} = Worker) ->
    ok = crema_liveness:idle(Cell),
    tell_acked(Worker).

%% The group hears of it: a handler is told of an assignment once.
-spec assigned(crema_verdict:next()) -> next().
assigned({next, #worker{group = Group, slot = Slot} = Worker}) ->
    Group ! {crema_handler_assigned, Slot},
    enter(Worker);
assigned(Next) ->
    go_on(Next).

%% The handler knows where it left off.
-spec start_at(crema_control:where(), worker()) -> next().
start_at(Where, #worker{port = Port, slot = Slot} = Worker) ->
    {Kind, Number} = crema_control:packed_where(Where),
    Ref = make_ref(),
    Command = term_to_binary({term_to_binary(Ref), Slot, Kind, Number}),
    case crema_port:command(Port, ?CMD_START_AT, Command) of
        ok -> {noreply, rest(Worker#worker{start = {asked, Ref, Where}})};
        Answer -> started_at(Answer, Worker)
    end.

-spec started_at(term(), worker()) -> next().
started_at({ok, _}, Worker) ->
    take(Worker#worker{start = none});
started_at({error, {Code, _}}, #worker{slot = Slot} = Worker) when
    Code =:= stale_assignment; Code =:= closed
->
    {stop, {shutdown, {slot_gone, Slot}}, Worker};
started_at({error, Reason}, Worker) ->
    {stop, crema_remedy:crashed(error, Reason, [], none, Worker), Worker}.

%% What a worker before this one has done may be about to be committed.
-spec enter(worker()) -> next().
enter(#worker{exactly_once = none} = Worker) ->
    take(Worker);
enter(#worker{exactly_once = Pid, slot = Slot, place = {Topic, Partition, _}} = Worker) ->
    ok = crema_liveness:idle(Worker#worker.cell),
    case crema_exactly_once:enter(Pid, Slot, {Topic, Partition}, Worker#worker.port) of
        ok -> take(Worker);
        aborted -> {stop, {shutdown, {slot_gone, Slot}}, Worker}
    end.

%% What a worker before this one left unacknowledged comes first.
-spec take(worker()) -> next().
take(#worker{parallel = Pid} = Worker) when is_pid(Pid) ->
    {noreply, rest(Worker)};
take(#worker{start = Where} = Worker) when Where =/= none ->
    start_at(Where, Worker);
take(#worker{port = Port, slot = Slot, options = #{batch_messages := Most}} = Worker) ->
    case crema_port:command(Port, ?CMD_TAKE, <<Slot:64>>) of
        ok ->
            Credit = 2 * Most,
            _ = crema_port:command(Port, ?CMD_DEMAND, <<Slot:64, Credit:32>>),
            {noreply, rest(Worker)};
        {error, _} ->
            {stop, {shutdown, {slot_gone, Slot}}, Worker}
    end.

-spec handle_call(term(), gen_server:from(), worker()) -> {reply, term(), worker(), 0}.
handle_call(_, _From, Worker) ->
    {reply, {error, unknown_call}, Worker, 0}.

-spec handle_cast(term(), worker()) -> next().
handle_cast({begin_work, Work}, Worker) ->
    start_work(Work, Worker);
handle_cast({drain, Why}, Worker) ->
    finish(Why, tell_acked(Worker));
handle_cast({partition_error, Reason}, Worker) ->
    go_on(callback(handle_error, Reason, Worker));
handle_cast({nacked, Runs, Reason}, #worker{nacked = Nacked} = Worker) ->
    {noreply, Worker#worker{nacked = crema_nacked:redeliver(Runs, Reason, Nacked)}, 0};
handle_cast(park, Worker) ->
    {noreply, crema_parked:park(rest(Worker))};
handle_cast({attach, Work}, Worker) ->
    take(crema_parked:attach(Work, Worker));
handle_cast(_, Worker) ->
    {noreply, Worker, 0}.

-spec handle_info(term(), worker()) -> next().
handle_info({crema_batch, Slot, Packed, Mask}, #worker{slot = Slot, gathered = Before} = Worker) ->
    {noreply, Worker#worker{gathered = crema_gather:add({Packed, Mask}, Before)}, 0};
handle_info({crema_share, Messages, Fresh, Found}, #worker{gathered = Before} = Worker) ->
    Share = {share, Messages, Fresh, Found},
    {noreply, Worker#worker{gathered = crema_gather:add(Share, Before)}, 0};
%% Nothing of it follows, or is of use. The group tells why, and to end.
handle_info({crema_slot_end, Slot}, #worker{slot = Slot} = Worker) ->
    {noreply, tell_acked(Worker#worker{wait = for_ever})};
handle_info({crema_aborted, Slot}, #worker{slot = Slot} = Worker) ->
    {stop, {shutdown, {transaction_aborted, Slot}}, Worker};
handle_info({'DOWN', Monitor, process, _, Outcome} = Down, #worker{ends = Ends} = Worker) ->
    case crema_remedy:sent(Monitor, Outcome, Worker) of
        unknown -> go_on(callback(handle_info, Down, Worker));
        Next when Ends =:= none -> go_on(Next);
        %% Its end has waited for this.
        {next, Done} -> finish(Ends, tell_acked(Done));
        {wait, _, Undone} -> finish(Ends, tell_acked(Undone))
    end;
handle_info({crema_go_on, Timer}, #worker{wait = Timer} = Worker) ->
    work(Worker#worker{wait = none});
handle_info({crema_go_on, _}, Worker) ->
    {noreply, Worker, 0};
handle_info({crema_due, Timer}, #worker{gathered = Gathered} = Worker) ->
    {noreply, Worker#worker{gathered = crema_gather:due(Timer, Gathered)}, 0};
handle_info({Ref, Answer}, #worker{start = {asked, Ref, _}} = Worker) ->
    started_at(crema_port:answer(Answer), Worker);
handle_info({crema_expired, Timer}, #worker{expiry = Before} = Worker) ->
    {Runs, Expiry} = crema_expiry:expired(Timer, Before),
    ok = nacked(crew(Worker), Runs, ack_timeout),
    {noreply, Worker#worker{expiry = Expiry}, 0};
handle_info(timeout, Worker) ->
    work(Worker);
handle_info(Message, Worker) ->
    go_on(callback(handle_info, Message, Worker)).

%% Who takes the slot's batches.
-spec crew(worker()) -> pid().
crew(#worker{parallel = none}) -> self();
crew(#worker{parallel = Parallel}) -> Parallel.

%% One of the callbacks that only change the state.
-spec callback(atom(), term(), worker()) -> crema_verdict:next().
callback(Name, Argument, #worker{handler = Handler, handler_state = State} = Worker) ->
    ok = busy(Worker),
    case crema_handler:tell(Handler, Name, Argument, State) of
        {ok, New} ->
            {next, Worker#worker{handler_state = New}};
        {stop, Reason, New} ->
            crema_verdict:stop(Reason, Worker#worker{handler_state = New});
        {crash, Class, Reason, Stack} ->
            {stop, crema_remedy:crashed(Class, Reason, Stack, none, Worker), Worker}
    end.

-spec go_on(crema_verdict:next()) -> next().
go_on({next, Worker}) -> {noreply, rest(Worker), 0};
go_on({wait, Millis, Worker}) -> {noreply, rest(wait(Millis, Worker))};
go_on({hold, Monitor, Worker}) -> {noreply, rest(Worker#worker{wait = Monitor})};
%% What the handler was at stays in the cell.
go_on({stop, Reason, Worker}) -> {stop, Reason, tell_acked(Worker)}.

%% The last calls of the handler. Whoever waits for the end does so for
%% drain_timeout at most, and for what is being sent on.
-spec finish(ending(), worker()) -> {stop, normal, worker()} | {noreply, worker()}.
finish(Why, Worker) ->
    Ending = Worker#worker{ends = Why},
    case crema_remedy:is_sending(Worker) of
        true when Why =/= lost ->
            {noreply, Ending};
        _ ->
            Ended = given_up(Why, Ending),
            ok = leave(Why, Ended),
            {stop, normal, Ended}
    end.

%% What is done is committed, if it still can be.
-spec leave(ending(), worker()) -> ok.
leave(Why, #worker{exactly_once = Pid, slot = Slot}) when is_pid(Pid), Why =/= lost ->
    _ = crema_exactly_once:leave(Pid, Slot),
    ok;
leave(_Why, _Worker) ->
    ok.

-spec given_up(ending(), worker()) -> worker().
given_up(reset, Worker) ->
    Worker;
given_up(Why, #worker{handler = Handler, info = Info, handler_state = State} = Worker) ->
    Callback =
        case Why of
            lost -> handle_lost;
            _ -> handle_revoked
        end,
    case crema_handler:tell(Handler, Callback, Info, State) of
        {crash, _, _, _} = Crash -> last_crash(Callback, Crash, Worker);
        %% It stops already.
        {_, New} -> Worker#worker{handler_state = New};
        {stop, _, New} -> Worker#worker{handler_state = New}
    end.

-spec terminate(term(), worker()) -> ok.
terminate(_Reason, #worker{started = false}) ->
    ok;
terminate(Reason, #worker{handler = Handler, handler_state = State} = Worker) ->
    ok = crema_liveness:ends(Worker#worker.cell, Worker#worker.group, Worker#worker.slot),
    case crema_handler:terminate(Handler, why(Reason, Worker), State) of
        ok ->
            ok;
        {crash, _, _, _} = Crash ->
            _ = last_crash(terminate, Crash, Worker),
            ok
    end.

-spec why(term(), worker()) -> crema_consumer:why().
why(normal, #worker{ends = Why}) -> Why;
why({shutdown, {failed, #{class := Class, reason := Reason}}}, _) -> {crash, Class, Reason};
why({shutdown, {ends, _, #{class := Class, reason := Reason}}}, _) -> {crash, Class, Reason};
why({shutdown, {ends, _, _}}, _) -> reset;
why({shutdown, {slot_gone, _}}, _) -> revoked;
why({shutdown, {transaction_aborted, _}}, _) -> reset;
why(Reason, _) -> {crash, exit, Reason}.

%% Nothing is started again for it.
-spec last_crash(atom(), crema_handler:crash(), worker()) -> worker().
last_crash(Callback, Crash, #worker{place = {Topic, Partition, _}, about = About} = Worker) ->
    ok = crema_group_events:callback_crashed({Topic, Partition}, Callback, Crash, About),
    Worker.

%% One slice.
-spec work(worker()) -> next().
work(#worker{wait = Timer, parked = Parked} = Worker) when Timer =/= none; Parked ->
    {noreply, Worker};
work(#worker{paused = Paused} = Worker) ->
    case crema_paused:is_raised(Paused) of
        true -> {noreply, rest(Worker)};
        false -> slice(Worker)
    end.

-spec slice(worker()) -> next().
slice(Worker) ->
    ok = busy(Worker),
    Now = erlang:monotonic_time(microsecond),
    slice(Now, Now + ?SLICE_US, Worker).

-spec slice(integer(), integer(), worker()) -> next().
slice(Now, Until, #worker{todo = [], share = Fresh, parallel = Parallel} = Worker) when
    Fresh =/= none
->
    Parallel ! {crema_share_done, self(), Fresh},
    slice(Now, Until, Worker#worker{share = none});
slice(Now, Until, #worker{todo = [], gathered = Before} = Worker) ->
    case crema_gather:next(Before) of
        {[], _} ->
            {noreply, rest(Worker#worker{gathered = crema_gather:timer(Before)})};
        {[{share, Messages, Fresh, Found}], Gathered} ->
            Taken = Worker#worker{todo = Messages, share = Fresh, gathered = Gathered},
            slice(Now, Until, Taken#worker{found = maps:merge(Worker#worker.found, Found)});
        {Batches, Gathered} ->
            %% A pause may have come meanwhile.
            then(Until, {next, decode(Batches, Worker#worker{gathered = Gathered})})
    end;
slice(Now, Until, #worker{failed = Failed, found = Found, sending = none, from = source} = Worker) when
    map_size(Failed) =:= 0, map_size(Found) =:= 0
->
    #worker{handler = Handler, todo = Todo} = Worker,
    case crema_handler:takes_batches(Handler) of
        false -> run(Now, Until, none, Todo, Worker#worker.handler_state, Worker);
        true -> then(Until, call(Now, [], Worker))
    end;
slice(Now, Until, Worker) ->
    case crema_remedy:first(Worker) of
        {call, Rest, New} -> then(Until, call(Now, Rest, New));
        Next -> then(Until, Next)
    end.

%% Message after message that is acknowledged, as nearly all are: they are one run,
%% of which the worker hears at its end. `Before' is the last one of it so far.
-spec run(
    integer(), integer(), crema_consumer:message() | none, [crema_consumer:message()], term(), worker()
) -> next().
run(Now, Until, Before, [#{offset := Offset} = Message | Rest] = Todo, State, Worker) ->
    #worker{handler = Handler, cell = Cell, paused = Paused} = Worker,
    ok = crema_liveness:at(Cell, Offset, Now),
    case crema_handler:call(Handler, Message, State) of
        {ack, New} when Rest =/= [] ->
            Later = erlang:monotonic_time(microsecond),
            case Later < Until andalso not crema_paused:is_raised(Paused) of
                true -> run(Later, Until, Message, Rest, New, Worker);
                false -> then(Until, ran(Message, Rest, New, Worker))
            end;
        Verdict ->
            {next, Ran} = ran(Before, Todo, State, Worker),
            then(Until, crema_verdict:apply(Verdict, Message, Rest, Ran))
    end.

-spec ran(crema_consumer:message() | none, [crema_consumer:message()], term(), worker()) ->
    crema_verdict:next().
ran(none, _Todo, _State, Worker) -> {next, Worker};
ran(Last, Todo, State, Worker) -> crema_verdict:apply({ack, State}, Last, Todo, Worker).

-spec then(integer(), crema_verdict:next()) -> next().
then(Until, {next, #worker{paused = Paused} = Worker}) ->
    Now = erlang:monotonic_time(microsecond),
    case Now < Until andalso not crema_paused:is_raised(Paused) of
        true -> slice(Now, Until, Worker);
        false -> {noreply, rest(Worker), 0}
    end;
then(_Until, Other) ->
    go_on(Other).

-spec wait(non_neg_integer() | infinity, worker()) -> worker().
wait(infinity, Worker) ->
    Worker#worker{wait = for_ever};
wait(Millis, Worker) ->
    Timer = make_ref(),
    _ = erlang:send_after(Millis, self(), {crema_go_on, Timer}),
    Worker#worker{wait = Timer}.

%% As much again is asked for as is now begun with, before it is decoded: so that
%% no more than the first demand ever waits here. A redelivered batch was paid for.
-spec decode([crema_gather:batch(), ...], worker()) -> worker().
decode([{Packed, Mask}], Worker) when Mask =/= <<>> ->
    Roomy = make_room(crema_record_batch:count(Packed), Worker),
    Messages = messages(Packed, Mask, Worker),
    {Found, Nacked} = crema_nacked:found(Messages, Worker#worker.nacked),
    All = maps:merge(Worker#worker.found, Found),
    Roomy#worker{todo = Messages, nacked = Nacked, found = All};
decode(Batches, Worker) ->
    Count = lists:sum([crema_record_batch:count(Packed) || {Packed, <<>>} <- Batches]),
    ok = demand(Count, Worker),
    Roomy = make_room(Count, Worker),
    case [messages(Packed, <<>>, Worker) || {Packed, <<>>} <- Batches] of
        [Messages] -> Roomy#worker{todo = Messages};
        Several -> Roomy#worker{todo = lists:append(Several)}
    end.

-spec messages(binary(), binary(), worker()) -> [crema_consumer:message()].
messages(Packed, Mask, #worker{group = Group, slot = Slot, place = Place}) ->
    crema_record_batch:messages(Packed, Mask, {Group, Slot}, Place).

-spec make_room(non_neg_integer(), worker()) -> worker().
make_room(Count, Worker) when Count < ?LARGE_BATCH ->
    Worker;
make_room(Count, #worker{room = Room} = Worker) when Count =< Room ->
    true = erlang:garbage_collect(self(), [{type, minor}]),
    Worker;
make_room(Count, Worker) ->
    _ = process_flag(min_heap_size, Count * ?ROOM_OF_A_MESSAGE),
    make_room(Count, Worker#worker{room = Count}).

-spec demand(non_neg_integer(), worker()) -> ok.
demand(0, _Worker) ->
    ok;
demand(Count, #worker{port = Port, slot = Slot}) ->
    _ = crema_port:command(Port, ?CMD_DEMAND, <<Slot:64, Count:32>>),
    ok.

%% The messages before `Rest' given to the handler: a batch, or the first of them.
-spec call(integer(), [crema_consumer:message()], worker()) -> crema_verdict:next().
call(Now, Rest, #worker{handler = Handler, todo = [#{offset := Offset} = First | _]} = Worker) ->
    #worker{cell = Cell, handler_state = State} = Worker,
    case crema_handler:takes_batches(Handler) of
        false ->
            ok = crema_liveness:at(Cell, Offset, Now),
            Verdict = crema_handler:call(Handler, First, State),
            crema_verdict:apply(Verdict, First, Rest, Worker);
        true ->
            Given = crema_remedy:before(Rest, Worker#worker.todo),
            #{offset := To} = Last = lists:last(Given),
            ok = crema_liveness:at_batch(Cell, {Offset, To}, Now),
            Verdict = crema_handler:call(Handler, Given, State),
            crema_verdict:apply(Verdict, Last, Rest, Worker)
    end.

-spec tell_acked(worker()) -> worker().
tell_acked(#worker{acked = []} = Worker) ->
    Worker;
tell_acked(#worker{exactly_once = Pid, acked = Runs, slot = Slot} = Worker) when is_pid(Pid) ->
    Add = fun() -> crema_exactly_once:add(Pid, Slot, crema_runs:bounds(Runs), []) end,
    %% When it is aborted the worker is told.
    _ = crema_liveness:beside(Worker#worker.cell, Worker#worker.group, Slot, Add),
    Worker#worker{acked = crema_runs:new()};
tell_acked(#worker{acked = Runs, slot = Slot, port = Port} = Worker) ->
    _ = crema_port:command(Port, ?CMD_ACK, <<Slot:64, (crema_runs:pack(Runs))/binary>>),
    Worker#worker{acked = crema_runs:new()}.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    crema_secret:status(Status, fun(#worker{slot = Slot, place = Place}) -> {Slot, Place} end).
