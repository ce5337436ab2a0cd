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

-export([start_link/1, begin_work/2, drain/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export([format_status/2]).

-export_type([batch/0]).

-type worker() :: #worker{}.
%% Packed, as the driver sends it, or a share of what crema_parallel has taken.
-type batch() ::
    {Packed :: binary(), Mask :: binary()}
    | {share, [crema_consumer:message(), ...], Fresh :: non_neg_integer()}.
-type next() :: {noreply, worker()} | {noreply, worker(), 0} | {stop, term(), worker()}.

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

-spec init(map()) -> {ok, worker()}.
init(#{slot := Slot, options := #{handler := Hidden} = Options} = Work) ->
    #{port := Port, group := Group, topic := Topic, partition := Partition} = Work,
    Worker = #worker{
        slot = Slot,
        port = Port,
        group = Group,
        place = {Topic, Partition, maps:get(null, Options)},
        options = Options,
        handler = crema_handler:new(Hidden()),
        handler_state = none,
        parallel = parallel(Work)
    },
    {ok, Worker}.

-spec parallel(map()) -> pid() | none.
parallel(#{parallel := {Pid, _}}) -> Pid;
parallel(_) -> none.

%% The user's code runs after init, so that starting never waits for it.
-spec start_work(map(), worker()) -> next().
start_work(Work, #worker{handler = Handler} = Worker) ->
    Info = info(Work),
    case crema_handler:start(Handler, Info) of
        {ok, State} ->
            take(Worker#worker{handler_state = State});
        {crash, Class, Reason, Stack} ->
            {stop, {shutdown, {handler, Class, Reason, Stack}}, Worker}
    end.

-spec info(map()) -> crema_consumer:info().
info(#{parallel := {_, Number}} = Work) ->
    (info(maps:remove(parallel, Work)))#{worker => Number};
info(Work) ->
    maps:with([topic, partition, consumer], Work).

%% What a worker before this one left unacknowledged comes first.
-spec take(worker()) -> next().
take(#worker{parallel = Pid} = Worker) when is_pid(Pid) ->
    {noreply, Worker};
take(#worker{port = Port, slot = Slot, options = #{batch_messages := Most}} = Worker) ->
    case crema_port:command(Port, ?CMD_TAKE, <<Slot:64>>) of
        ok ->
            Credit = 2 * Most,
            _ = crema_port:command(Port, ?CMD_DEMAND, <<Slot:64, Credit:32>>),
            {noreply, Worker};
        {error, _} ->
            {stop, {shutdown, {slot_gone, Slot}}, Worker}
    end.

-spec handle_call(term(), gen_server:from(), worker()) -> {reply, term(), worker(), 0}.
handle_call(_, _From, Worker) ->
    {reply, {error, unknown_call}, Worker, 0}.

-spec handle_cast(term(), worker()) -> next().
handle_cast({begin_work, Work}, Worker) ->
    start_work(Work, Worker);
handle_cast(drain, Worker) ->
    finish(Worker);
handle_cast(_, Worker) ->
    {noreply, Worker, 0}.

-spec handle_info(term(), worker()) -> next().
handle_info({crema_batch, Slot, Packed, Mask}, #worker{slot = Slot} = Worker) ->
    {noreply, Worker#worker{batches = queue:in({Packed, Mask}, Worker#worker.batches)}, 0};
handle_info({crema_share, Messages, Fresh}, #worker{batches = Batches} = Worker) ->
    {noreply, Worker#worker{batches = queue:in({share, Messages, Fresh}, Batches)}, 0};
handle_info({crema_slot_end, Slot}, #worker{slot = Slot} = Worker) ->
    finish(Worker);
handle_info({go_on, Timer}, #worker{wait = Timer} = Worker) ->
    work(Worker#worker{wait = none});
handle_info(timeout, Worker) ->
    work(Worker);
handle_info(_, Worker) ->
    {noreply, Worker, 0}.

-spec finish(worker()) -> {stop, normal, worker()}.
finish(Worker) ->
    {stop, normal, tell_acked(Worker)}.

%% One slice.
-spec work(worker()) -> next().
work(#worker{wait = Timer} = Worker) when Timer =/= none ->
    {noreply, Worker};
work(Worker) ->
    slice(erlang:monotonic_time(microsecond) + ?SLICE_US, Worker).

-spec slice(integer(), worker()) -> next().
slice(Until, #worker{todo = [], share = Fresh, parallel = Parallel} = Worker) when Fresh =/= none ->
    Parallel ! {crema_share_done, self(), Fresh},
    slice(Until, Worker#worker{share = none});
slice(Until, #worker{todo = [], batches = Batches} = Worker) ->
    case queue:out(Batches) of
        {{value, {share, Messages, Fresh}}, Rest} ->
            slice(Until, Worker#worker{todo = Messages, share = Fresh, batches = Rest});
        {{value, {Packed, Mask}}, Rest} ->
            ok = demand(Packed, Mask, Worker),
            Roomy = make_room(crema_packet:count(Packed), Worker),
            Source = {Worker#worker.group, Worker#worker.slot},
            Messages = crema_packet:messages(Packed, Mask, Source, Worker#worker.place),
            slice(Until, Roomy#worker{todo = Messages, batches = Rest});
        {empty, _} ->
            {noreply, tell_acked(Worker)}
    end;
slice(Until, Worker) ->
    case handle(Worker) of
        {next, New} ->
            case erlang:monotonic_time(microsecond) < Until of
                true -> slice(Until, New);
                false -> {noreply, tell_acked(New), 0}
            end;
        {wait, Millis, New} ->
            {noreply, tell_acked(wait(Millis, New))};
        {stop, Reason, New} ->
            {stop, Reason, tell_acked(New)}
    end.

-spec wait(non_neg_integer(), worker()) -> worker().
wait(Millis, Worker) ->
    Timer = make_ref(),
    _ = erlang:send_after(Millis, self(), {go_on, Timer}),
    Worker#worker{wait = Timer}.

-spec make_room(non_neg_integer(), worker()) -> worker().
make_room(Count, #worker{room = Room} = Worker) when Count =< Room ->
    Worker;
make_room(Count, Worker) ->
    _ = process_flag(min_heap_size, Count * ?ROOM_OF_A_MESSAGE),
    Worker#worker{room = Count}.

%% As much again as is now begun with, before it is decoded: so that no more
%% than the first demand ever waits here. A redelivered batch was paid for.
-spec demand(binary(), binary(), worker()) -> ok.
demand(Packed, <<>>, #worker{port = Port, slot = Slot}) ->
    Count = crema_packet:count(Packed),
    _ = crema_port:command(Port, ?CMD_DEMAND, <<Slot:64, Count:32>>),
    ok;
demand(_Packed, _Mask, _Worker) ->
    ok.

%% The next message, or the whole batch, given to the handler.
-spec handle(worker()) -> crema_verdict:next().
handle(#worker{handler = Handler, handler_state = State, todo = [Message | Rest] = Todo} = Worker) ->
    case crema_handler:takes_batches(Handler) of
        false ->
            Verdict = crema_handler:call(Handler, Message, State),
            crema_verdict:apply(Verdict, Message, Rest, Worker);
        true ->
            Verdict = crema_handler:call(Handler, Todo, State),
            crema_verdict:apply(Verdict, lists:last(Todo), [], Worker)
    end.

-spec tell_acked(worker()) -> worker().
tell_acked(#worker{acked = []} = Worker) ->
    Worker;
tell_acked(#worker{acked = Runs, slot = Slot, port = Port} = Worker) ->
    _ = crema_port:command(Port, ?CMD_ACK, <<Slot:64, (crema_runs:pack(Runs))/binary>>),
    Worker#worker{acked = crema_runs:new()}.

-spec format_status(normal | terminate, list()) -> term().
format_status(_, [_Dictionary, #worker{slot = Slot, place = {Topic, Partition, _}}]) ->
    {Slot, Topic, Partition}.
