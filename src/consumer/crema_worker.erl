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

-export([start_link/1, begin_work/2, drain/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export([format_status/2]).

-record(state, {
    slot :: pos_integer(),
    port :: port(),
    group :: pid(),
    place :: {binary(), non_neg_integer(), undefined | nil},
    consumer :: pid(),
    handler :: module(),
    callback :: handle_message | handle_messages,
    handler_state :: term(),
    backoff :: {non_neg_integer(), non_neg_integer()},
    failures = 0 :: non_neg_integer(),
    %% messages of the largest batch that the heap was made for
    room = 0 :: non_neg_integer(),
    %% a failed message waits for this timer
    retry = none :: none | reference(),
    %% messages of the batch at hand, and batches not yet decoded
    todo = [] :: [map()],
    batches = queue:new() :: queue:queue({binary(), binary()}),
    %% acknowledged and not yet told: runs, the last first
    acked = [] :: [{From :: integer(), To :: integer()} | separator]
}).

-type state() :: #state{}.
-type next() :: {noreply, state()} | {noreply, state(), 0} | {stop, term(), state()}.

-define(SLICE_US, 5000).

%% Messages are dead soon. A heap with room for the words of three batches is
%% collected when they are, and copies next to nothing: a fifth of a consumer's
%% CPU. Only partitions that have such batches get it.
-define(ROOM_OF_A_MESSAGE, 75).

-spec start_link(map()) -> gen_server:start_ret().
start_link(Work) ->
    gen_server:start_link(?MODULE, Work, []).

%% @doc Called when the worker is monitored, so that its end has a reason.
-spec begin_work(pid(), map()) -> ok.
begin_work(Worker, Work) ->
    gen_server:cast(Worker, {begin_work, Work}).

%% @doc Lets the worker finish its message, acknowledge and end.
-spec drain(pid()) -> ok.
drain(Worker) ->
    gen_server:cast(Worker, drain).

-spec init(map()) -> {ok, state()}.
init(#{slot := Slot, options := #{handler := Hidden} = Options} = Work) ->
    {Handler, _} = Hidden(),
    #{port := Port, group := Group, consumer := Consumer} = Work,
    #{topic := Topic, partition := Partition} = Work,
    State = #state{
        slot = Slot,
        port = Port,
        group = Group,
        consumer = Consumer,
        place = {Topic, Partition, maps:get(null, Options)},
        handler = Handler,
        callback = callback(Handler),
        handler_state = none,
        backoff = maps:get(backoff, Options)
    },
    {ok, State}.

-spec callback(module()) -> handle_message | handle_messages.
callback(Handler) ->
    case erlang:function_exported(Handler, handle_messages, 2) of
        true -> handle_messages;
        false -> handle_message
    end.

%% The user's code runs after init, so that starting never waits for it.
-spec start_work(map(), state()) -> next().
start_work(#{options := #{handler := Hidden} = Options} = Work, State) ->
    {Handler, Args} = Hidden(),
    Info = maps:with([topic, partition, consumer], Work),
    try start_handler(Handler, Info, Args) of
        {ok, HandlerState} ->
            Credit = 2 * maps:get(batch_messages, Options),
            take(Credit, State#state{handler_state = HandlerState});
        Other ->
            crash(error, {bad_return, {Handler, init, Other}}, [], State)
    catch
        Class:Reason:Stack -> crash(Class, Reason, Stack, State)
    end.

-spec start_handler(module(), crema_consumer:info(), term()) -> term().
start_handler(Handler, Info, Args) ->
    case erlang:function_exported(Handler, init, 2) of
        true -> Handler:init(Info, Args);
        false -> {ok, Args}
    end.

%% What a worker before this one left unacknowledged comes first.
-spec take(pos_integer(), state()) -> next().
take(Credit, #state{port = Port, slot = Slot} = State) ->
    case crema_port:command(Port, ?CMD_TAKE, <<Slot:64>>) of
        ok ->
            _ = crema_port:command(Port, ?CMD_DEMAND, <<Slot:64, Credit:32>>),
            {noreply, State};
        {error, _} ->
            {stop, {shutdown, {slot_gone, Slot}}, State}
    end.

-spec handle_call(term(), gen_server:from(), state()) -> {reply, term(), state(), 0}.
handle_call(_, _From, State) ->
    {reply, {error, unknown_call}, State, 0}.

-spec handle_cast(term(), state()) -> next().
handle_cast({begin_work, Work}, State) ->
    start_work(Work, State);
handle_cast(drain, State) ->
    finish(State);
handle_cast(_, State) ->
    {noreply, State, 0}.

-spec handle_info(term(), state()) -> next().
handle_info({crema_batch, Slot, Packed, Mask}, #state{slot = Slot} = State) ->
    {noreply, State#state{batches = queue:in({Packed, Mask}, State#state.batches)}, 0};
handle_info({crema_slot_end, Slot}, #state{slot = Slot} = State) ->
    finish(State);
handle_info({retry, Timer}, #state{retry = Timer} = State) ->
    work(State#state{retry = none});
handle_info(timeout, State) ->
    work(State);
handle_info(_, State) ->
    {noreply, State, 0}.

-spec finish(state()) -> {stop, normal, state()}.
finish(State) ->
    {stop, normal, tell_acked(State)}.

%% One slice.
-spec work(state()) -> next().
work(#state{retry = Timer} = State) when Timer =/= none ->
    {noreply, State};
work(State) ->
    slice(erlang:monotonic_time(microsecond) + ?SLICE_US, State).

-spec slice(integer(), state()) -> next().
slice(Until, #state{todo = [], batches = Batches} = State) ->
    case queue:out(Batches) of
        {{value, {Packed, Mask}}, Rest} ->
            ok = demand(Packed, Mask, State),
            Roomy = make_room(crema_packet:count(Packed), State),
            Source = {State#state.group, State#state.slot},
            Messages = crema_packet:messages(Packed, Mask, Source, State#state.place),
            slice(Until, Roomy#state{todo = Messages, batches = Rest});
        {empty, _} ->
            {noreply, tell_acked(State)}
    end;
slice(Until, State) ->
    case handle(State) of
        {next, New} ->
            case erlang:monotonic_time(microsecond) < Until of
                true -> slice(Until, New);
                false -> {noreply, tell_acked(New), 0}
            end;
        {retry, Reason, New} ->
            retry(Reason, tell_acked(New));
        {crash, Class, Reason, Stack} ->
            crash(Class, Reason, Stack, State)
    end.

-spec make_room(non_neg_integer(), state()) -> state().
make_room(Count, #state{room = Room} = State) when Count =< Room ->
    State;
make_room(Count, State) ->
    _ = process_flag(min_heap_size, Count * ?ROOM_OF_A_MESSAGE),
    State#state{room = Count}.

%% As much again as is now begun with, before it is decoded: so that no more
%% than the first demand ever waits here. A redelivered batch was paid for.
-spec demand(binary(), binary(), state()) -> ok.
demand(Packed, <<>>, #state{port = Port, slot = Slot}) ->
    Count = crema_packet:count(Packed),
    _ = crema_port:command(Port, ?CMD_DEMAND, <<Slot:64, Count:32>>),
    ok;
demand(_Packed, _Mask, _State) ->
    ok.

%% The next message, or the whole batch, given to the handler.
-spec handle(state()) ->
    {next, state()}
    | {retry, term(), state()}
    | {crash, error | exit | throw, term(), list()}.
handle(#state{callback = Callback, handler = Handler, todo = Todo} = State) ->
    {Given, Last, Rest} =
        case Callback of
            handle_message -> {hd(Todo), hd(Todo), tl(Todo)};
            handle_messages -> {Todo, lists:last(Todo), []}
        end,
    try Handler:Callback(Given, State#state.handler_state) of
        {ack, HandlerState} ->
            From = maps:get(offset, hd(Todo)),
            To = maps:get(offset, Last),
            {next, (acknowledged(From, To, State))#state{
                todo = Rest, handler_state = HandlerState, failures = 0
            }};
        {noack, HandlerState} ->
            {next, (separated(State))#state{
                todo = Rest, handler_state = HandlerState, failures = 0
            }};
        {error, Reason, HandlerState} ->
            {retry, Reason, State#state{handler_state = HandlerState}};
        Other ->
            {crash, error, {bad_return, {Handler, Callback, Other}}, []}
    catch
        Class:Reason:Stack -> {crash, Class, Reason, Stack}
    end.

%% Runs grow as long as each message after another is acknowledged; offsets in
%% between, if there are any, hold no message.
-spec acknowledged(integer(), integer(), state()) -> state().
acknowledged(_From, To, #state{acked = [{First, _} | Runs]} = State) when is_integer(First) ->
    State#state{acked = [{First, To} | Runs]};
acknowledged(From, To, #state{acked = Runs} = State) ->
    State#state{acked = [{From, To} | tl_separator(Runs)]}.

%% A message that is not acknowledged ends the run.
-spec separated(state()) -> state().
separated(#state{acked = [{First, _} | _] = Runs} = State) when is_integer(First) ->
    State#state{acked = [separator | Runs]};
separated(State) ->
    State.

-spec tl_separator(list()) -> list().
tl_separator([separator | Runs]) -> Runs;
tl_separator(Runs) -> Runs.

-spec tell_acked(state()) -> state().
tell_acked(#state{acked = []} = State) ->
    State;
tell_acked(#state{acked = Runs, slot = Slot, port = Port} = State) ->
    Packed = <<<<From:64, To:64>> || {From, To} <- Runs>>,
    _ = crema_port:command(Port, ?CMD_ACK, <<Slot:64, Packed/binary>>),
    State#state{acked = []}.

-spec retry(term(), state()) -> next().
retry(Reason, #state{failures = Before, backoff = {Min, Max}, todo = [Message | _]} = State) ->
    Failures = Before + 1,
    Delay = crema_backoff:delay(Failures, Min, Max),
    Timer = make_ref(),
    _ = erlang:send_after(Delay, self(), {retry, Timer}),
    Report = #{
        attempt => Failures, delay => Delay, reason => Reason, offset => maps:get(offset, Message)
    },
    State#state.group ! {crema_handler_error, State#state.slot, Report},
    {noreply, State#state{failures = Failures, retry = Timer}}.

%% Shutdown reasons make no crash report: the group logs it, with its place.
-spec crash(error | exit | throw, term(), list(), state()) -> {stop, term(), state()}.
crash(Class, Reason, Stack, State) ->
    {stop, {shutdown, {handler, Class, Reason, Stack}}, tell_acked(State)}.

-spec format_status(normal | terminate, list()) -> term().
format_status(_, [_Dictionary, #state{slot = Slot, place = {Topic, Partition, _}}]) ->
    {Slot, Topic, Partition}.
