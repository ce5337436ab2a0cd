%% @private A reader's process: owns the client, finds out where each partition
%% begins and ends, and hands out batches as they are asked for. It lives as long
%% as the process that has opened it.
%%
%% Of each partition no more than two batches wait here: a batch is asked for when
%% one is handed out. They are acknowledged as they come, for nothing of them is
%% ever delivered again.
-module(crema_reader_server).
-behaviour(gen_server).

-include("../port/crema_commands.hrl").

-export([open/1, next/2, close/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export([terminate/2, format_status/1]).

-record(state, {
    port :: port(),
    client :: crema_client:client(),
    options :: map(),
    %% monitors who has opened it
    owner :: reference(),
    %% until it is open: who waits for that, for how long, and what was asked last
    opener = none :: none | gen_server:from(),
    deadline :: crema_deadline:deadline(),
    asked = none :: none | {crema_port:tag(), fun((term(), state()) -> state())},
    %% partitions that are not at their end
    slots = #{} :: #{pos_integer() => crema_reader_bounds:place()},
    batches = queue:new() :: queue:queue({pos_integer(), crema_reader_bounds:place(), binary()}),
    %% for how long, and monitored: a batch for nobody would be missed by the next
    waiting = none :: none | {gen_server:from(), none | reference(), reference()},
    failed = none :: none | crema_error:reason()
}).

-type state() :: #state{}.

%% The time that a client has to end, while its owner waits; then it ends alone.
-define(CLOSE_MS, 1000).

%% @doc The process, and where each partition begins and ends. `Options' are
%% parsed ones.
-spec open(map()) -> {ok, pid(), [crema_reader_bounds:bound()]} | crema_error:error().
open(Options) ->
    case crema_child:running() of
        ok -> start(Options);
        {error, _} = Error -> Error
    end.

-spec start(map()) -> {ok, pid(), [crema_reader_bounds:bound()]} | crema_error:error().
start(Options) ->
    case gen_server:start(?MODULE, {self(), Options}, []) of
        {ok, Pid} -> opened(Pid, call(Pid, open));
        {error, {shutdown, Reason}} -> {error, Reason}
    end.

-spec opened(pid(), {ok, [crema_reader_bounds:bound()]} | crema_error:error()) ->
    {ok, pid(), [crema_reader_bounds:bound()]} | crema_error:error().
opened(Pid, {ok, Bounds}) ->
    {ok, Pid, Bounds};
opened(Pid, Error) ->
    ok = close(Pid),
    Error.

%% @doc The next batch, packed.
-spec next(pid(), timeout()) ->
    {batch, crema_reader_bounds:place(), binary()} | done | crema_error:error().
next(Pid, Timeout) ->
    call(Pid, {next, Timeout}).

-spec close(pid()) -> ok.
close(Pid) ->
    _ = call(Pid, close),
    ok.

-spec call(pid(), term()) -> term().
call(Pid, Request) ->
    try
        gen_server:call(Pid, Request, infinity)
    catch
        exit:_ -> crema_error:make(closed, "the reader is closed", #{})
    end.

-spec init({pid(), map()}) -> {ok, state()} | {stop, {shutdown, crema_error:reason()}}.
init({Owner, #{timeout := Timeout} = Options}) ->
    process_flag(trap_exit, true),
    Known = #{known => fun crema_client:known/1},
    Properties = crema_properties:kafka_properties(reader, Options, Known),
    Limits = [
        {<<"batch_messages">>, maps:get(batch_messages, Options)},
        {<<"batch_bytes">>, maps:get(batch_bytes, Options)},
        {<<"prefetch">>, maps:get(prefetch, Options)},
        %% nothing is committed
        {<<"commits">>, 2}
    ],
    case crema_settings:named(crema_client:open(reader, Properties, Limits), Options) of
        {ok, Port, _} ->
            ok = crema_child:log_warnings(Options#{name => undefined}),
            ok = crema_registry:register(reader, Port, #{}, #{}),
            {ok, #state{
                port = Port,
                client = crema_client:new(reader, Port, Options#{
                    name => undefined, statistics_deltas => []
                }),
                options = Options,
                owner = erlang:monitor(process, Owner),
                deadline = crema_deadline:in(Timeout)
            }};
        {error, Reason} ->
            {stop, {shutdown, Reason}}
    end.

-spec handle_call(term(), gen_server:from(), state()) ->
    {reply, term(), state()} | {noreply, state()} | {stop, normal, ok, state()}.
handle_call(open, From, #state{options = Options} = State) ->
    {noreply, count(crema_reader_bounds:topics(Options), #{}, State#state{opener = From})};
handle_call({next, _}, _From, #state{waiting = {_, _, _}} = State) ->
    Text = "another process waits for this reader's messages",
    {reply, crema_error:make(busy, Text, #{}), State};
handle_call({next, Timeout}, {Pid, _} = From, State) ->
    Waiting = {From, timer(Timeout), erlang:monitor(process, Pid)},
    {noreply, serve(State#state{waiting = Waiting})};
handle_call(close, _From, State) ->
    {stop, normal, ok, State};
handle_call(_, _From, State) ->
    {reply, {error, unknown_call}, State}.

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), state()) -> {noreply, state()} | {stop, normal, state()}.
handle_info({crema_batch, Slot, Packed, _}, #state{slots = Slots, batches = Batches} = State) ->
    _ = crema_port:command(State#state.port, ?CMD_ACK, <<Slot:64, 0:64, (1 bsl 62):64>>),
    Batch = {Slot, map_get(Slot, Slots), Packed},
    {noreply, serve(State#state{batches = queue:in(Batch, Batches)})};
handle_info({crema_slot_end, Slot}, #state{slots = Slots} = State) ->
    {noreply, serve(State#state{slots = maps:remove(Slot, Slots)})};
handle_info({Ref, Bytes}, #state{asked = {Ref, Then}} = State) ->
    case crema_port:answer(Bytes) of
        {ok, Answer} -> {noreply, Then(Answer, State#state{asked = none})};
        {error, Reason} -> {noreply, failed(Reason, State#state{asked = none})}
    end;
handle_info({timeout, Timer, next}, #state{waiting = {_, Timer, _}} = State) ->
    {noreply, reply(late(timeout, "no message came in time", State), State)};
handle_info({'DOWN', Owner, process, _, _}, #state{owner = Owner} = State) ->
    {stop, normal, State};
handle_info({'DOWN', Waiter, process, _, _}, #state{waiting = {_, _, Waiter}} = State) ->
    {noreply, served(State)};
handle_info({'EXIT', Port, _}, #state{port = Port} = State) ->
    {error, Reason} = crema_error:make(closed, "the reader's client was closed", #{}),
    {noreply, failed(Reason, State)};
handle_info(Message, #state{client = Client} = State) ->
    case crema_client:handle(Message, Client) of
        {ok, New} -> {noreply, refused(State#state{client = New})};
        {fatal, Reason, New} -> {noreply, failed(Reason, State#state{client = New})};
        {other, Event, New} -> {noreply, event(Event, State#state{client = New})};
        unknown -> {noreply, State}
    end.

%% What of one partition cannot be read leaves a gap, so that nothing is read on.
-spec event(term(), state()) -> state().
event({partition_error, Topic, Partition, {error, {Code, Details}}}, State) ->
    failed({Code, Details#{topic => Topic, partition => Partition}}, State);
event(_, State) ->
    State.

%% Brokers that refuse the user will go on doing so.
-spec refused(state()) -> state().
refused(#state{opener = none} = State) ->
    State;
refused(#state{client = Client} = State) ->
    case crema_client:last_error(Client) of
        {Code, _} = Reason when
            Code =:= authentication;
            Code =:= sasl_authentication_failed;
            Code =:= unsupported_sasl_mechanism
        ->
            failed(Reason, State);
        _ ->
            State
    end.

%% ---- opening -------------------------------------------------------------------

%% How many partitions the topics have.
-spec count([binary()], #{binary() => pos_integer()}, state()) -> state().
count([Topic | Rest], Counts, State) ->
    Then = fun
        ({_, [{_, Count}]}, New) when Count > 0 ->
            count(Rest, Counts#{Topic => Count}, New);
        ({_, [{_, Code}]}, New) ->
            {error, Reason} = crema_anchor:error_of(-Code, #{topic => Topic}),
            failed(Reason, New)
    end,
    ask(?CMD_METADATA, fun(Tag, Left) -> {Tag, Topic, 0, Left} end, Then, State);
count([], Counts, #state{options = Options} = State) ->
    case crema_reader_bounds:places(Options, Counts) of
        {ok, Places} ->
            look(crema_reader_bounds:questions(Places, Options), Places, #{}, State);
        {error, Reason} ->
            failed(Reason, State)
    end.

%% Where they begin and end.
-spec look(list(), [crema_reader_bounds:place()], map(), state()) -> state().
look([{{Where, Number} = Question, Asked} | Rest], Places, Known, State) ->
    Then = fun(Offsets, New) ->
        Found = maps:from_list([{{Topic, P}, Offset} || {Topic, P, Offset} <- Offsets]),
        look(Rest, Places, Known#{Question => Found}, New)
    end,
    Ask = fun(Tag, Left) -> {Tag, Asked, Where, Number, Left} end,
    ask(?CMD_LIST_OFFSETS, Ask, Then, State);
look([], Places, Known, #state{options = Options} = State) ->
    case crema_reader_bounds:settle(Places, Known, Options) of
        {ok, Bounds} -> assign(Bounds, State);
        {error, Reason} -> failed(Reason, State)
    end.

-spec ask(
    crema_port:command(),
    fun((binary(), non_neg_integer()) -> term()),
    fun((term(), state()) -> state()),
    state()
) -> state().
ask(Command, Question, Then, #state{port = Port, deadline = Deadline} = State) ->
    Left = crema_deadline:left(Deadline),
    case crema_port:ask_async(Port, Command, fun(Tag) -> term_to_binary(Question(Tag, Left)) end) of
        {ok, Ref} -> State#state{asked = {Ref, Then}};
        {error, Reason} -> failed(Reason, State)
    end.

%% What has nothing to read is at its end already.
-spec assign([crema_reader_bounds:bound()], state()) -> state().
assign(Bounds, #state{port = Port, options = Options, opener = Opener} = State) ->
    Wanted = [Bound || {_, From, To} = Bound <- Bounds, From < To],
    Asked = [{Topic, Partition, From, To} || {{Topic, Partition}, From, To} <- Wanted],
    {ok, Given} = crema_port:command(Port, ?CMD_ASSIGN, term_to_binary(Asked)),
    case [Error || {error, _} = Error <- Given] of
        [] ->
            Slots = maps:from_list(lists:zip(Given, [Place || {Place, _, _} <- Wanted])),
            Credit = 2 * maps:get(batch_messages, Options),
            lists:foreach(fun(Slot) -> take(Port, Slot, Credit) end, Given),
            gen_server:reply(Opener, {ok, Bounds}),
            State#state{
                opener = none, slots = Slots, client = crema_client:connected(State#state.client)
            };
        [Error | _] ->
            {error, Reason} = crema_port:error_or(Error),
            failed(Reason, State)
    end.

-spec take(port(), pos_integer(), pos_integer()) -> ok.
take(Port, Slot, Credit) ->
    _ = crema_port:command(Port, ?CMD_TAKE, <<Slot:64>>),
    demand(Port, Slot, Credit).

%% A slot that has ended needs nothing more.
-spec demand(port(), pos_integer(), pos_integer()) -> ok.
demand(Port, Slot, Count) ->
    _ = crema_port:command(Port, ?CMD_DEMAND, <<Slot:64, Count:32>>),
    ok.

%% ---- reading -------------------------------------------------------------------

%% Answers who waits, if there is something to say: first what has been read.
-spec serve(state()) -> state().
serve(#state{waiting = none} = State) ->
    State;
serve(#state{batches = Batches, slots = Slots, failed = Failed, port = Port} = State) ->
    case queue:out(Batches) of
        {{value, {Slot, Place, Packed}}, Rest} ->
            ok = demand(Port, Slot, crema_record_batch:count(Packed)),
            reply({batch, Place, Packed}, State#state{batches = Rest});
        {empty, _} when Failed =/= none ->
            reply({error, Failed}, State);
        {empty, _} when map_size(Slots) =:= 0 ->
            reply(done, State);
        {empty, _} ->
            State
    end.

-spec reply(term(), state()) -> state().
reply(Answer, #state{waiting = {From, _, _}} = State) ->
    gen_server:reply(From, Answer),
    served(State).

%% Nobody waits any more.
-spec served(state()) -> state().
served(#state{waiting = {_, Timer, Monitor}} = State) ->
    _ = is_reference(Timer) andalso erlang:cancel_timer(Timer),
    true = erlang:demonitor(Monitor, [flush]),
    State#state{waiting = none}.

-spec timer(timeout()) -> reference() | none.
timer(infinity) -> none;
timer(Timeout) -> erlang:start_timer(Timeout, self(), next).

-spec failed(crema_error:reason(), state()) -> state().
failed(Reason, #state{opener = none, failed = Before} = State) ->
    First =
        case Before of
            none -> Reason;
            _ -> Before
        end,
    serve(State#state{failed = First});
failed(Reason, #state{opener = Opener} = State) ->
    gen_server:reply(Opener, {error, explained(Reason, State)}),
    State#state{opener = none, asked = none, failed = Reason}.

%% Brokers that cannot be reached do not answer.
-spec explained(crema_error:reason(), state()) -> crema_error:reason().
explained({Code, _}, State) when Code =:= timed_out; Code =:= transport ->
    {error, Reason} = late(timed_out, "no broker has answered in time", State),
    Reason;
explained(Reason, _State) ->
    Reason.

%% The cause is what was heard of brokers last.
-spec late(timed_out | timeout, string(), state()) -> crema_error:error().
late(Code, What, #state{client = Client}) ->
    Cause =
        case crema_client:last_error(Client) of
            none -> [];
            {_, #{message := Text}} -> ["; the last trouble was: ", Text]
        end,
    crema_error:make(Code, [What | Cause], #{retriable => true}).

-spec terminate(term(), state()) -> ok.
terminate(_Reason, #state{port = Port}) ->
    crema_client:close(Port, crema_deadline:in(?CLOSE_MS)).

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    crema_secret:status(Status, fun(#state{slots = Slots, failed = Failed}) ->
        {maps:values(Slots), Failed}
    end).
