%% @private A producer's buffer: messages that its users gather before they are
%% sent, by themselves or when a limit is reached. One process, beside the
%% producer, from the first use on.
%%
%% It never waits: crema_dispatch hands the messages over, one flush at a time so
%% that they keep their order. What was refused comes back to the front.
-module(crema_buffer).
-behaviour(gen_server).
-behaviour(crema_helper).

-export([add/2, flush/1, flush/2, flush_async/1, size/1, purge/1]).
-export([start/1, crashed/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

%% Who had it flushed: a call that has a claim to the outcome, or one of these.
-type cause() :: {call, crema_claims:id()} | limit | age | stop.
-type begun() :: {cause(), Milliseconds :: integer()}.
-type waiter() :: {gen_server:from(), [crema_buffer_queue:item()], Timer :: reference()}.

-record(state, {
    producer :: pid(),
    name :: term(),
    age :: non_neg_integer(),
    full_timeout :: non_neg_integer(),
    report :: undefined | fun((term()) -> term()) | {module(), atom(), list()},
    queue :: crema_buffer_queue:queue(),
    claims :: crema_claims:claims(),
    %% runs while there is something in the queue
    timer = none :: reference() | none,
    %% what is being handed over
    sending = none :: none | {pid(), reference(), [crema_buffer_queue:item()], begun()},
    %% what is in the producer's queue, by the monitor of its crema_dispatch
    reporting = #{} :: #{reference() => {begun(), pos_integer(), crema_dispatch:refusal()}},
    %% flushes asked for meanwhile, and callers that wait for a place
    flushes = [] :: [cause()],
    waiters = [] :: [waiter()],
    %% the producer that stops and waits
    drain = none :: none | gen_server:from() | answered,
    %% what the rest is lost of, when there is one at the end
    why = closed :: crema_error:code(),
    ended = false :: boolean()
}).

%% ---- callers -------------------------------------------------------------------

%% @doc Messages for a target, all or none.
-spec add(crema_target:target(), [crema_packet:message()]) -> ok | crema_error:error().
add(Target, Messages) ->
    case crema_input:is_proper(Messages) of
        true ->
            %% Judged when they are sent; any term has this size.
            Items = [{Target, Message, erlang:external_size(Message)} || Message <- Messages],
            call(Target, {add, Items});
        false ->
            crema_error:make(bad_message, "messages must be a list", #{field => messages})
    end.

%% @doc Sends what is there and waits for its reports.
-spec flush(crema_target:target()) -> {ok, [crema_report:result()]} | crema_error:error().
flush(Target) ->
    flush(Target, crema_call:setting(timeout, #{}, crema_target:client(Target))).

-spec flush(crema_target:target(), timeout()) ->
    {ok, [crema_report:result()]} | crema_error:error().
flush(Target, Timeout) ->
    case flush_async(Target) of
        {ok, Ref} -> crema_claims:await(Ref, Timeout);
        {error, _} = Error -> Error
    end.

-spec flush_async(crema_target:target()) -> {ok, crema_claims:ref()} | crema_error:error().
flush_async(Target) ->
    call(Target, flush).

%% @doc How many messages are in it and not being sent.
-spec size(crema_target:target()) -> non_neg_integer().
size(Target) ->
    crema_registry:noted(crema_target:home(Target, buffer), buffered, 0).

%% @doc Drops what is in it and not being sent; returns how many.
-spec purge(crema_target:target()) -> {ok, non_neg_integer()} | crema_error:error().
purge(Target) ->
    call(Target, purge).

-spec call(crema_target:target(), term()) -> term().
call(Target, Request) ->
    crema_helper:call(Target, buffer, ?MODULE, none, Request).

%% ---- the process ---------------------------------------------------------------

-spec start(crema_helper:start()) -> {ok, pid()} | {error, term()}.
start(Start) ->
    gen_server:start(?MODULE, Start, []).

%% @doc Called in the producer: what was in it is lost.
-spec crashed(pid(), term(), term()) -> ok.
crashed(Producer, Name, Reason) ->
    lost(crema_registry:noted(Producer, buffered, 0), Producer, Name, Reason),
    crema_registry:forget(Producer, buffered).

-spec init(crema_helper:start()) -> {ok, #state{}}.
init(#{producer := Producer, options := Options}) ->
    ok = crema_helper:link_to(Producer),
    #{
        name := Name, full_timeout := FullTimeout, buffer_age := Age, buffer_report := Report,
        buffer_messages := Messages, buffer_bytes := Bytes,
        max_queue_messages := QueueMessages, max_queue_bytes := QueueBytes
    } = Options,
    %% The producer's queue must be able to take as many at once. It measures
    %% messages by itself, and not quite alike.
    Most = {min(Messages, QueueMessages), min(Bytes, max(1, QueueBytes div 2))},
    {ok, #state{
        producer = Producer,
        name = crema_child:shown_name(Name),
        age = Age,
        full_timeout = FullTimeout,
        report = Report,
        queue = crema_buffer_queue:new(Most),
        claims = crema_claims:new(maps:get(max_unclaimed, Options))
    }}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}} | {stop, normal, #state{}}.
handle_call(Call, From, #state{claims = Claims} = State) when
    element(1, Call) =:= completed; element(1, Call) =:= await
->
    {noreply, State#state{claims = crema_claims:handle_call(Call, From, Claims)}};
handle_call(_, _From, #state{drain = Drain, ended = Ended} = State) when
    Drain =/= none; Ended
->
    {reply, closed(), State};
handle_call({add, Items}, From, State) ->
    timed(add_items(From, Items, State));
handle_call(flush, {Caller, _} = From, State) ->
    {Id, Ref, Claims} = crema_claims:add(Caller, State#state.claims),
    gen_server:reply(From, {ok, Ref}),
    timed(flush_for({call, Id}, State#state{claims = Claims}));
handle_call(purge, From, #state{queue = Queue} = State) ->
    Count = crema_buffer_queue:count(Queue),
    Empty = queued(crema_buffer_queue:clear(Queue), State),
    gen_server:reply(From, {ok, Count}),
    ok = event([crema, buffer, purged], #{count => Count}, #{}, State),
    timed(serve(Empty));
handle_call(drain, From, State) ->
    timed(drained(flush_for(stop, State#state{drain = From}))).

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_info({timeout, Timer, age}, #state{timer = Timer} = State) ->
    timed(flush_for(age, State#state{timer = none}));
handle_info({timeout, Timer, waited}, #state{waiters = Waiters} = State) ->
    {Late, Rest} = lists:partition(fun({_, _, Own}) -> Own =:= Timer end, Waiters),
    ok = refuse(Late, none),
    {noreply, State#state{waiters = Rest}};
handle_info({crema_dispatch, Pid, Accepted, Refusal}, #state{sending = {Pid, _, _, _}} = State) ->
    timed(handed_over(Accepted, Refusal, State));
handle_info({'DOWN', Monitor, _, _, Reason}, #state{sending = {_, Monitor, _, _}} = State) ->
    {error, _} = Refusal = crema_error:make(closed, io_lib:format("~0tP", [Reason, 10]), #{}),
    timed(handed_over(0, Refusal, State));
handle_info({'DOWN', Monitor, _, _, Reason}, #state{reporting = Reporting} = State) when
    is_map_key(Monitor, Reporting)
->
    {{Begun, Accepted, Refusal}, Rest} = maps:take(Monitor, Reporting),
    Results = crema_dispatch:results(Reason, Accepted),
    timed(settle(Begun, Results, Refusal, State#state{reporting = Rest}));
handle_info({'EXIT', Producer, _}, #state{producer = Producer, waiters = Waiters} = State) ->
    lists:foreach(fun({From, _, _}) -> gen_server:reply(From, closed()) end, Waiters),
    timed(State#state{ended = true, waiters = []});
handle_info(Message, #state{claims = Claims} = State) ->
    case crema_claims:handle_info(Message, Claims) of
        {ok, New} -> {noreply, State#state{claims = New}};
        unknown -> {noreply, State}
    end.

%% The number is told before anybody hears what has changed it.
-spec queued(crema_buffer_queue:queue(), #state{}) -> #state{}.
queued(Queue, #state{producer = Producer} = State) ->
    ok = crema_registry:note(Producer, buffered, crema_buffer_queue:count(Queue)),
    State#state{queue = Queue}.

%% After a change: the timer runs while there is something.
-spec timed(#state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
timed(#state{ended = true, sending = none, reporting = Reporting} = State) when
    map_size(Reporting) =:= 0
->
    #state{producer = Producer, name = Name, queue = Queue, claims = Claims, why = Why} = State,
    lost(crema_buffer_queue:count(Queue), Producer, Name, Why),
    %% It may have been noted after the producer's end.
    ok = crema_registry:forget(Producer, buffered),
    ok = crema_claims:leave(Claims),
    {stop, normal, State};
timed(#state{ended = true} = State) ->
    {noreply, State};
timed(#state{queue = Queue, age = Age, timer = Timer} = State) ->
    Count = crema_buffer_queue:count(Queue),
    case Timer of
        none when Count > 0, Age > 0 ->
            {noreply, State#state{timer = erlang:start_timer(Age, self(), age)}};
        _ when Timer =/= none, Count =:= 0 ->
            _ = erlang:cancel_timer(Timer),
            {noreply, State#state{timer = none}};
        _ ->
            {noreply, State}
    end.

%% ---- adding --------------------------------------------------------------------

-spec add_items(gen_server:from(), [crema_buffer_queue:item()], #state{}) -> #state{}.
add_items(From, Items, #state{queue = Queue, sending = Sending, waiters = Waiters} = State) ->
    case crema_buffer_queue:add(Items, Queue) of
        {ok, New} when Waiters =:= [] ->
            due(added(From, Items, queued(New, State)));
        too_large ->
            gen_server:reply(From, too_large()),
            State;
        full when Sending =:= none ->
            add_items(From, Items, flush_for(limit, State));
        _ ->
            Timer = erlang:start_timer(State#state.full_timeout, self(), waited),
            State#state{waiters = Waiters ++ [{From, Items, Timer}]}
    end.

-spec added(gen_server:from(), [crema_buffer_queue:item()], #state{}) -> #state{}.
added(From, Items, #state{queue = Queue} = State) ->
    gen_server:reply(From, ok),
    Measured = #{count => length(Items), size => crema_buffer_queue:count(Queue)},
    ok = event([crema, buffer, added], Measured, #{}, State),
    State.

-spec due(#state{}) -> #state{}.
due(#state{queue = Queue} = State) ->
    case crema_buffer_queue:is_due(Queue) of
        true -> flush_for(limit, State);
        false -> State
    end.

%% Those that wait, in order, until one finds no place.
-spec serve(#state{}) -> #state{}.
serve(#state{waiters = [{From, Items, Timer} | Rest], queue = Queue, sending = Sending} = State) ->
    case crema_buffer_queue:add(Items, Queue) of
        {ok, New} ->
            _ = erlang:cancel_timer(Timer),
            serve(added(From, Items, queued(New, State#state{waiters = Rest})));
        full when Sending =:= none ->
            serve(flush_for(limit, State));
        full ->
            State
    end;
serve(#state{waiters = []} = State) ->
    due(State).

-spec refuse([waiter()], crema_dispatch:refusal()) -> ok.
refuse(Waiters, Refusal) ->
    Why =
        case Refusal of
            none -> "";
            {error, Reason} -> [": ", crema_error:format(Reason)]
        end,
    Error = crema_error:make(buffer_full, ["the buffer could not be flushed", Why], #{}),
    lists:foreach(
        fun({From, _, Timer}) ->
            _ = erlang:cancel_timer(Timer),
            gen_server:reply(From, Error)
        end,
        Waiters
    ).

%% ---- flushing ------------------------------------------------------------------

-spec flush_for(cause(), #state{}) -> #state{}.
flush_for(Cause, #state{sending = none, queue = Queue} = State) ->
    case crema_buffer_queue:count(Queue) of
        0 ->
            settle(begun(Cause), [], none, State);
        _ ->
            {Items, Empty} = crema_buffer_queue:take(Queue),
            Runs = crema_buffer_queue:runs(Items, Queue),
            {Pid, Monitor} = crema_dispatch:start(State#state.producer, Runs),
            (queued(Empty, State))#state{sending = {Pid, Monitor, Items, begun(Cause)}}
    end;
flush_for(Cause, State) when Cause =:= limit; Cause =:= age ->
    State;
flush_for(Cause, #state{flushes = Flushes} = State) ->
    State#state{flushes = Flushes ++ [Cause]}.

-spec handed_over(non_neg_integer(), crema_dispatch:refusal(), #state{}) -> #state{}.
handed_over(Accepted, Refusal, #state{sending = {_, Monitor, Items, Begun}} = State) ->
    Queue = crema_buffer_queue:put_back(lists:nthtail(Accepted, Items), State#state.queue),
    Free = queued(Queue, State#state{sending = none}),
    Next =
        case Accepted of
            0 ->
                true = erlang:demonitor(Monitor, [flush]),
                settle(Begun, [], Refusal, Free);
            _ ->
                Reporting = (State#state.reporting)#{Monitor => {Begun, Accepted, Refusal}},
                Free#state{reporting = Reporting}
        end,
    drained(go_on(Refusal, Next)).

%% What was refused once would be refused again: those that wait hear of it.
-spec go_on(crema_dispatch:refusal(), #state{}) -> #state{}.
go_on(none, #state{sending = none, flushes = [Cause | Rest]} = State) ->
    go_on(none, flush_for(Cause, State#state{flushes = Rest}));
go_on(none, State) ->
    serve(State);
go_on(Refusal, #state{flushes = Flushes, waiters = Waiters} = State) ->
    ok = refused(Refusal, State),
    ok = refuse(Waiters, Refusal),
    {error, {Code, _}} = Refusal,
    Why =
        case State#state.drain of
            none -> closed;
            _ -> Code
        end,
    lists:foldl(
        fun(Cause, Acc) -> settle(begun(Cause), [], Refusal, Acc) end,
        State#state{flushes = [], waiters = [], why = Why},
        Flushes
    ).

-spec drained(#state{}) -> #state{}.
drained(#state{drain = {_, _} = From, sending = none} = State) ->
    gen_server:reply(From, ok),
    State#state{drain = answered};
drained(State) ->
    State.

%% The outcome of a flush, for whoever asked for it.
-spec settle(begun(), [crema_report:result()], crema_dispatch:refusal(), #state{}) -> #state{}.
settle({Cause, Since}, Results, Refusal, #state{report = Report, claims = Claims} = State) ->
    Outcome = outcome(Results, Refusal),
    ok = flushed(Cause, Since, Results, State),
    case Cause of
        {call, Id} ->
            State#state{claims = crema_claims:settle(Id, Outcome, Claims)};
        _ when Outcome =:= {ok, []} ->
            State;
        _ ->
            ok = report(Report, Outcome),
            State
    end.

-spec outcome([crema_report:result()], crema_dispatch:refusal()) ->
    {ok, [crema_report:result()]} | crema_error:error().
outcome(Results, none) -> {ok, Results};
outcome(Results, {error, {Code, Details}}) -> {error, {Code, Details#{dispatched => Results}}}.

%% In a process of its own: a slow one holds up nobody, and a crash is logged.
-spec report(undefined | fun((term()) -> term()) | {module(), atom(), list()}, term()) -> ok.
report(undefined, _Outcome) ->
    ok;
report(Callback, Outcome) ->
    _ = spawn(fun() -> crema_callbacks:call(Callback, Outcome) end),
    ok.

%% ---- what is told --------------------------------------------------------------

-spec flushed(cause(), integer(), [crema_report:result()], #state{}) -> ok.
flushed(_Cause, _Since, [], _State) ->
    ok;
flushed(Cause, Since, Results, State) ->
    Measured = #{
        count => length(Results),
        failed => length([failed || {error, _} <- Results]),
        duration => erlang:monotonic_time(millisecond) - Since
    },
    event([crema, buffer, flushed], Measured, #{cause => cause(Cause)}, State).

-spec event(crema_events:event_name(), map(), map(), #state{}) -> ok.
event(Name, Measured, Metadata, #state{producer = Producer, name = Given}) ->
    All = Metadata#{client => Producer, name => Given},
    crema_events:execute(Name, Measured, All).

-spec begun(cause()) -> begun().
begun(Cause) ->
    {Cause, erlang:monotonic_time(millisecond)}.

-spec cause(cause()) -> atom().
cause({call, _}) -> call;
cause(Cause) -> Cause.

-spec refused(crema_error:error(), #state{}) -> ok.
refused({error, {Code, #{message := Message}}}, #state{queue = Queue} = State) ->
    Measured = #{count => crema_buffer_queue:count(Queue)},
    event([crema, buffer, refused], Measured, #{code => Code, message => Message}, State).

-spec lost(non_neg_integer(), pid(), term(), term()) -> ok.
lost(0, _Producer, _Name, _Reason) ->
    ok;
lost(Count, Producer, Name, Reason) ->
    crema_log:log(
        error,
        "crema producer ~0p ~0p: ~b buffered messages are lost: ~0tP",
        [Name, Producer, Count, Reason, 10],
        #{client => Name}
    ),
    crema_events:execute(
        [crema, buffer, lost],
        #{count => Count},
        #{client => Producer, name => Name, reason => Reason}
    ).

-spec too_large() -> crema_error:error().
too_large() ->
    crema_error:make(batch_too_large, "it is more than the whole buffer takes", #{}).

-spec closed() -> crema_error:error().
closed() ->
    crema_error:make(closed, "the producer is stopping", #{}).
