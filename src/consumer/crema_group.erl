%% @private A member of a consumer group: owns the client, starts a worker for
%% each assigned partition, and takes its part in rebalances and stops.
-module(crema_group).
-behaviour(gen_server).

-include("../port/crema_commands.hrl").

-export([start_link/3]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).
-export([terminate/2, format_status/2]).

-record(slot, {
    topic :: binary(),
    partition :: non_neg_integer(),
    worker = none :: none | pid(),
    %% failures in a row, and when the worker was started
    failures = 0 :: non_neg_integer(),
    since = 0 :: integer(),
    revoked = false :: boolean(),
    %% the worker is that of the generation before, and ends
    renewed = false :: boolean()
}).

-record(state, {
    port :: port(),
    client :: crema_client:client(),
    options :: map(),
    consumer :: pid(),
    workers :: pid(),
    slots = #{} :: #{pos_integer() => #slot{}},
    monitors = #{} :: #{reference() => pos_integer()},
    %% a revocation that is being drained
    draining = none :: none | {Lost :: boolean(), Began :: integer()},
    drain_timer = none :: none | reference(),
    stop_timeout :: timeout()
}).

-type state() :: #state{}.

-spec start_link(pid(), pid(), fun(() -> map())) -> gen_server:start_ret().
start_link(Consumer, Workers, Options) ->
    gen_server:start_link(?MODULE, {Consumer, Workers, Options}, []).

-spec init({pid(), pid(), fun(() -> map())}) ->
    {ok, state(), {continue, subscribe}} | {stop, crema_error:reason()}.
init({Consumer, Workers, Given}) ->
    process_flag(trap_exit, true),
    Options = Given(),
    Known = #{known => fun known/1},
    Properties = crema_properties:kafka_properties(consumer, Options, Known),
    Limits = [
        {<<"batch_messages">>, maps:get(batch_messages, Options)},
        {<<"batch_bytes">>, maps:get(batch_bytes, Options)},
        {<<"commits">>, commits(maps:get(commit, Options))}
    ],
    case crema_client:open(consumer, Properties, Limits) of
        {ok, Port, _} ->
            crema_child:log_warnings(Options),
            ok = crema_registry:register(consumer, Port, #{}, #{}),
            ok = crema_registry:alias(Consumer, self()),
            Client = crema_client:new(consumer, Port, Options),
            State = #state{
                port = Port,
                client = crema_client:set(#{assigned => [], joined => false}, Client),
                options = Options,
                consumer = Consumer,
                workers = Workers,
                stop_timeout = maps:get(stop_timeout, Options)
            },
            {ok, State, {continue, subscribe}};
        {error, Reason} ->
            {stop, Reason}
    end.

-spec commits(auto | transaction) -> 1..2.
commits(auto) -> 1;
commits(transaction) -> 2.

%% Since 2.2; without it a full prefetch queue costs a second of fetching.
-spec known(binary()) -> boolean().
known(<<"fetch.queue.backoff.ms">>) ->
    case crema_anchor:runtime() of
        {ok, Runtime} -> proplists:get_value(librdkafka_number, Runtime, 0) >= 16#020200ff;
        {error, _} -> false
    end;
known(_) ->
    false.

-spec handle_continue(subscribe, state()) -> {noreply, state()} | {stop, term(), state()}.
handle_continue(subscribe, #state{port = Port, options = Options} = State) ->
    #{topics := Topics, start := Start} = Options,
    OutOfRange = maps:get(out_of_range, Options),
    Command = fun(Tag) ->
        {?CMD_SUBSCRIBE, term_to_binary({Tag, Topics, Start, OutOfRange})}
    end,
    case crema_port:ask(Port, Command, infinity, none) of
        ok -> {noreply, State};
        {error, Reason} -> beyond_use(Reason, State)
    end.

-spec handle_call(term(), gen_server:from(), state()) ->
    {reply, term(), state()} | {stop, {shutdown, stopped}, ok, state()}.
handle_call({stop, Timeout}, _From, State) ->
    {stop, {shutdown, stopped}, ok, with_deadline(Timeout, State)};
handle_call(statistics, _From, #state{client = Client} = State) ->
    {reply, crema_client:statistics(Client), State};
handle_call({ack, Slot, Offset}, _From, #state{port = Port} = State) ->
    {reply, crema_port:command(Port, ?CMD_ACK, <<Slot:64, Offset:64, Offset:64>>), State};
handle_call(_, _From, State) ->
    {reply, {error, unknown_call}, State}.

-spec handle_cast(term(), state()) ->
    {noreply, state()} | {stop, {shutdown, stopped}, state()}.
handle_cast({stop, Timeout}, State) ->
    {stop, {shutdown, stopped}, with_deadline(Timeout, State)};
handle_cast(_, State) ->
    {noreply, State}.

-spec with_deadline(default | timeout(), state()) -> state().
with_deadline(default, State) -> State;
with_deadline(Timeout, State) -> State#state{stop_timeout = Timeout}.

-spec handle_info(term(), state()) -> {noreply, state()} | {stop, term(), state()}.
handle_info({'DOWN', Monitor, process, Worker, Reason}, State) ->
    {noreply, worker_down(Monitor, Worker, Reason, State)};
handle_info({restart, Id}, State) ->
    {noreply, start_worker(Id, State)};
handle_info({crema_handler_error, Id, Report}, State) ->
    {noreply, handler_error(Id, Report, State)};
handle_info({drain_timeout, Began}, #state{draining = {_, Began}} = State) ->
    kill_revoked(State),
    {noreply, State};
handle_info({late, Id, Worker}, #state{slots = Slots} = State) ->
    _ =
        case Slots of
            #{Id := #slot{worker = Worker, renewed = true}} -> exit(Worker, kill);
            _ -> ok
        end,
    {noreply, State};
handle_info({'EXIT', Port, Reason}, #state{port = Port} = State) ->
    {stop, {port_closed, Reason}, State};
handle_info({'EXIT', Consumer, Reason}, #state{consumer = Consumer} = State) ->
    {stop, Reason, State};
handle_info(Message, #state{client = Client} = State) ->
    case crema_client:handle(Message, Client) of
        {ok, New} -> {noreply, State#state{client = New}};
        {fatal, {Code, _}, New} -> {stop, {shutdown, {fatal, Code}}, State#state{client = New}};
        {other, Event, New} -> event(Event, State#state{client = New});
        unknown -> {noreply, State}
    end.

%% What starting again would not mend.
-spec beyond_use(crema_error:reason(), state()) -> {stop, {shutdown, crema_error:reason()}, state()}.
beyond_use(Reason, #state{client = Client} = State) ->
    {stop, {shutdown, Reason}, State#state{client = crema_client:fatal(Reason, Client)}}.

-spec event(term(), state()) -> {noreply, state()} | {stop, term(), state()}.
event({assigned, Slots}, State) ->
    {noreply, assigned(Slots, State)};
event({revoked, Ids, Lost}, State) ->
    {noreply, revoked(Ids, Lost, State)};
event({released, Result, _Offsets}, State) ->
    {noreply, released(Result, State)};
event({assign_failed, {error, Reason}}, State) ->
    beyond_use(Reason, State);
%% Nothing failed: what is stored is committed after the rebalance.
event({commit_failed, {error, {rebalance_in_progress, _}}}, State) ->
    {noreply, State};
event({commit_failed, {error, Reason}}, State) ->
    {noreply, commit_failed(Reason, [], State)};
event({offset_reset, Old, New, Topic, Partition, From, To}, State) ->
    Policy = maps:get(out_of_range, State#state.options),
    Metadata = metadata(State, #{
        topic => Topic, partition => Partition, offset => From, policy => Policy
    }),
    crema_events:execute([crema, consumer, offset_reset], #{from => From, to => To}, Metadata),
    logger:warning(
        "crema consumer ~0p: ~ts [~b]: offset ~b is no longer in the log, continuing at ~b",
        [name(State), Topic, Partition, From, To]
    ),
    {noreply, renewed(Old, New, State)};
event({partition_error, Topic, Partition, {error, {Code, Details}}}, State) ->
    Reason = {Code, Details#{topic => Topic, partition => Partition}},
    {noreply, State#state{client = crema_client:tell(Reason, State#state.client)}};
event(_, State) ->
    {noreply, State}.

%% ---- assignment ------------------------------------------------------------

-spec assigned([{pos_integer(), binary(), non_neg_integer(), integer()}], state()) -> state().
assigned(Given, #state{slots = Slots} = State) ->
    New = maps:from_list([{Id, #slot{topic = T, partition = P}} || {Id, T, P, _} <- Given]),
    Added = set_assigned(State#state{slots = maps:merge(Slots, New)}),
    tell([crema, consumer, assigned], #{count => map_size(New)}, maps:values(New), Added),
    lists:foldl(fun({Id, _, _, _}, Acc) -> start_worker(Id, Acc) end, Added, Given).

-spec start_worker(pos_integer(), state()) -> state().
start_worker(Id, #state{slots = Slots, options = Options} = State) ->
    case Slots of
        #{Id := #slot{revoked = false, worker = none} = Slot} ->
            Work = #{
                slot => Id,
                port => State#state.port,
                group => self(),
                consumer => State#state.consumer,
                topic => Slot#slot.topic,
                partition => Slot#slot.partition,
                options => maps:with([handler, batch_messages, backoff, null], Options)
            },
            {ok, Worker} = crema_consumer_sup:start_worker(State#state.workers, Work),
            Monitor = erlang:monitor(process, Worker),
            ok = crema_worker:begin_work(Worker, Work),
            Started = Slot#slot{worker = Worker, since = now_ms()},
            State#state{
                slots = Slots#{Id := Started},
                monitors = (State#state.monitors)#{Monitor => Id}
            };
        _ ->
            State
    end.

%% A slot that begins anew has a new number, and a new worker: the old one has
%% been told that nothing of its slot follows.
-spec renewed(pos_integer(), pos_integer(), state()) -> state().
renewed(Old, New, #state{slots = Slots} = State) ->
    case maps:take(Old, Slots) of
        {#slot{worker = none} = Slot, Rest} ->
            start_worker(New, State#state{slots = Rest#{New => Slot#slot{failures = 0}}});
        %% One handler at a time: the new worker starts when the old one ends.
        {#slot{worker = Worker} = Slot, Rest} ->
            Monitors = maps:map(
                fun
                    (_, Id) when Id =:= Old -> New;
                    (_, Id) -> Id
                end,
                State#state.monitors
            ),
            Timeout = maps:get(drain_timeout, State#state.options),
            _ = erlang:send_after(Timeout, self(), {late, New, Worker}),
            State#state{
                slots = Rest#{New => Slot#slot{failures = 0, renewed = true}}, monitors = Monitors
            };
        error ->
            State
    end.

-spec worker_down(reference(), pid(), term(), state()) -> state().
worker_down(Monitor, Worker, Reason, #state{monitors = Monitors, slots = Slots} = State) ->
    case maps:take(Monitor, Monitors) of
        {Id, Rest} ->
            Down = State#state{monitors = Rest},
            case Slots of
                #{Id := #slot{revoked = true} = Slot} ->
                    Done = Slot#slot{worker = none},
                    drained(Down#state{slots = Slots#{Id := Done}});
                %% It heard of its slot's end before this process did.
                #{Id := #slot{worker = Worker, renewed = true} = Slot} ->
                    Ended = Slot#slot{worker = none, renewed = false},
                    start_worker(Id, Down#state{slots = Slots#{Id := Ended}});
                #{Id := #slot{worker = Worker} = Slot} when
                    Reason =:= normal; Reason =:= {shutdown, {slot_gone, Id}}
                ->
                    Down#state{slots = Slots#{Id := Slot#slot{worker = none}}};
                #{Id := #slot{worker = Worker} = Slot} ->
                    crashed(Id, Slot#slot{worker = none}, Reason, Down);
                _ ->
                    Down
            end;
        error ->
            State
    end.

-spec crashed(pos_integer(), #slot{}, term(), state()) -> state().
crashed(Id, #slot{failures = Before, since = Since} = Slot, Reason, State) ->
    {Min, Max} = maps:get(backoff, State#state.options),
    %% A worker that ran for longer than any back-off has made a new start.
    Failures =
        case now_ms() - Since > Max of
            true -> 1;
            false -> Before + 1
        end,
    Delay = crema_backoff:delay(Failures, Min, Max),
    {Class, Cause, WithArguments} = crash(Reason),
    Stack = crema_events:without_arguments(WithArguments),
    Metadata = metadata(State, #{
        topic => Slot#slot.topic,
        partition => Slot#slot.partition,
        class => Class,
        reason => Cause,
        stacktrace => Stack
    }),
    Measured = #{attempt => Failures, delay => Delay},
    crema_events:execute([crema, consumer, handler_crashed], Measured, Metadata),
    logger:error(
        "crema consumer ~0p: the handler of ~ts [~b] crashed and is started again in ~b ms: ~ts",
        [
            name(State), Slot#slot.topic, Slot#slot.partition, Delay,
            erl_error:format_exception(Class, Cause, Stack)
        ]
    ),
    _ = erlang:send_after(Delay, self(), {restart, Id}),
    State#state{slots = (State#state.slots)#{Id := Slot#slot{failures = Failures}}}.

-spec crash(term()) -> {error | exit | throw, term(), list()}.
crash({shutdown, {handler, Class, Reason, Stack}}) -> {Class, Reason, Stack};
crash(Reason) -> {exit, Reason, []}.

-spec handler_error(pos_integer(), map(), state()) -> state().
handler_error(Id, #{attempt := Attempt, delay := Delay} = Report, #state{slots = Slots} = State) ->
    case Slots of
        #{Id := #slot{topic = Topic, partition = Partition}} ->
            Metadata = metadata(State, #{
                topic => Topic,
                partition => Partition,
                offset => maps:get(offset, Report),
                reason => maps:get(reason, Report)
            }),
            Measured = #{attempt => Attempt, delay => Delay},
            crema_events:execute([crema, consumer, handler_error], Measured, Metadata);
        _ ->
            ok
    end,
    State.

%% ---- revocation --------------------------------------------------------------

%% The driver has told the workers already; their end is awaited here.
-spec revoked([pos_integer()], boolean(), state()) -> state().
revoked(Ids, Lost, #state{slots = Slots, options = Options} = State) ->
    Began = now_ms(),
    Marked = maps:map(
        fun(Id, Slot) -> Slot#slot{revoked = Slot#slot.revoked orelse lists:member(Id, Ids)} end,
        Slots
    ),
    Timeout =
        case Lost of
            true -> 0;
            false -> maps:get(drain_timeout, Options)
        end,
    Timer = erlang:send_after(Timeout, self(), {drain_timeout, Began}),
    drained(State#state{slots = Marked, draining = {Lost, Began}, drain_timer = Timer}).

-spec drained(state()) -> state().
drained(#state{draining = none} = State) ->
    State;
drained(#state{slots = Slots, drain_timer = Timer} = State) ->
    case [Id || {Id, #slot{revoked = true, worker = W}} <- maps:to_list(Slots), W =/= none] of
        [] when Timer =/= none ->
            _ = erlang:cancel_timer(Timer),
            _ = crema_port:command(State#state.port, ?CMD_RELEASE, <<>>),
            State#state{drain_timer = none};
        _ ->
            State
    end.

-spec kill_revoked(state()) -> ok.
kill_revoked(#state{slots = Slots}) ->
    maps:foreach(
        fun
            (_, #slot{revoked = true, worker = Worker}) when is_pid(Worker) ->
                exit(Worker, kill);
            (_, _) ->
                ok
        end,
        Slots
    ).

-spec released(ok | crema_error:error(), state()) -> state().
released(Result, #state{slots = Slots, draining = Draining} = State) ->
    {Gone, Kept} = lists:partition(
        fun({_, Slot}) -> Slot#slot.revoked end, maps:to_list(Slots)
    ),
    Released = [Slot || {_, Slot} <- Gone],
    case Draining of
        {true, _} ->
            tell([crema, consumer, lost], #{count => length(Gone)}, Released, State);
        {false, Began} ->
            Measured = #{count => length(Gone), duration => now_ms() - Began},
            tell([crema, consumer, revoked], Measured, Released, State);
        none ->
            ok
    end,
    Left = set_assigned(State#state{
        slots = maps:from_list(Kept), draining = none, drain_timer = none
    }),
    case Result of
        ok -> Left;
        {error, Reason} -> commit_failed(Reason, Released, Left)
    end.

-spec commit_failed(crema_error:reason(), [#slot{}], state()) -> state().
commit_failed({Code, Details} = Reason, Slots, State) ->
    Metadata = metadata(State, #{code => Code, message => maps:get(message, Details, <<>>)}),
    tell_with([crema, consumer, commit_failed], #{count => length(Slots)}, Slots, Metadata),
    logger:warning("crema consumer ~0p: a commit failed: ~ts", [
        name(State), crema_error:format(Reason)
    ]),
    State.

%% ---- events and status ---------------------------------------------------------

-spec set_assigned(state()) -> state().
set_assigned(#state{slots = Slots, client = Client} = State) ->
    Assigned = lists:sort([
        {T, P}
     || #slot{topic = T, partition = P, revoked = false} <- maps:values(Slots)
    ]),
    Status = #{assigned => Assigned, joined => true, connected => true},
    State#state{client = crema_client:set(Status, Client)}.

-spec tell(crema_events:event_name(), map(), [#slot{}], state()) -> ok.
tell(Name, Measured, Slots, State) ->
    tell_with(Name, Measured, Slots, metadata(State, #{})).

-spec tell_with(crema_events:event_name(), map(), [#slot{}], map()) -> ok.
tell_with(Name, Measured, Slots, Metadata) ->
    Partitions = [{T, P} || #slot{topic = T, partition = P} <- Slots],
    crema_events:execute(Name, Measured, Metadata#{partitions => Partitions}).

-spec metadata(state(), map()) -> map().
metadata(#state{client = Client, options = #{group := Group}, consumer = Consumer}, More) ->
    maps:merge((crema_client:metadata(Client))#{client => Consumer, group => Group}, More).

-spec name(state()) -> term().
name(#state{options = #{name := undefined, group := Group}}) -> Group;
name(#state{options = #{name := Name}}) -> crema_child:shown_name(Name).

-spec now_ms() -> integer().
now_ms() ->
    erlang:monotonic_time(millisecond).

%% ---- the end -----------------------------------------------------------------------

%% Workers finish the message they are at and acknowledge; then the client is
%% closed, which commits and leaves the group.
-spec terminate(term(), state()) -> ok.
terminate(_Reason, #state{port = Port, stop_timeout = Stop, options = Options} = State) ->
    Began = now_ms(),
    Deadline = crema_deadline:in(Stop),
    Workers = [W || #slot{worker = W} <- maps:values(State#state.slots), is_pid(W)],
    lists:foreach(fun crema_worker:drain/1, Workers),
    await_workers(Workers, min(Deadline, crema_deadline:in(maps:get(drain_timeout, Options)))),
    ok = crema_client:close(Port, Deadline),
    Measured = #{count => map_size(State#state.slots), duration => now_ms() - Began},
    tell([crema, consumer, revoked], Measured, maps:values(State#state.slots), State).

-spec await_workers([pid()], crema_deadline:deadline()) -> ok.
await_workers(Workers, Deadline) ->
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
    ).

-spec format_status(normal | terminate, list()) -> term().
format_status(_, [_Dictionary, State]) ->
    maps:map(fun(_, Slot) -> {Slot#slot.topic, Slot#slot.partition} end, State#state.slots).
