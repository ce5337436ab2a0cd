%% @private The process of a topic handle that has a pipeline, batches or both.
%%
%% What is pushed is encoded by its encoders (crema_encoders; without a pipeline
%% the caller has done it), put into batches (crema_batch) and handed over
%% (crema_dispatch); the verdicts are kept for the callers (crema_claims). The
%% process itself never waits and runs nothing that users have written.
-module(crema_push).
-behaviour(gen_server).
-behaviour(crema_helper).

-export([push/3, hand_over/2, flush/3, close/3]).
-export([start/1, crashed/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-type body() :: {raw, crema_topic:message()} | {encoded, crema_packet:message()} | skipped.
%% What was admitted: its claim, and what its verdict says of it.
-type item() :: {crema_claims:id(), crema_packet:message()}.
-type waiter() :: {gen_server:from(), body(), Timer :: reference()}.

-record(state, {
    producer :: pid(),
    target :: crema_target:target(),
    topic :: binary(),
    on_full :: wait | error,
    full_timeout :: non_neg_integer(),
    batch :: crema_batch:batch(),
    encoders :: crema_encoders:encoders() | none,
    claims :: crema_claims:claims(),
    %% callers that wait for a place
    waiters = queue:new() :: queue:queue(waiter()),
    %% the batch that is being handed over, and those that are to be reported, by
    %% the monitor of their crema_dispatch
    sending = none :: none | {pid(), reference(), [{crema_batch:seq(), item()}]},
    reporting = #{} :: #{reference() => [{crema_batch:seq(), crema_claims:id()}]},
    %% draining: the producer stops; closing: it ends when it has nothing left;
    %% ended: the producer has ended
    phase = open :: open | draining | closing | ended
}).

%% ---- callers -------------------------------------------------------------------

-spec push(crema_target:target(), crema_topic:topic(), body()) ->
    {ok, crema_claims:ref()} | crema_error:error().
push(Target, #{id := Id} = Topic, Body) ->
    ok = crema_transaction:pushes(Target, Topic),
    crema_helper:call(Target, Id, ?MODULE, {Target, Topic}, {push, Body}).

%% @doc All that was pushed before is in the producer's queue, or was refused.
-spec hand_over(crema_target:target(), crema_topic:topic()) -> ok.
hand_over(Target, #{id := Id}) ->
    case crema_helper:find(Target, Id) of
        undefined -> ok;
        Pid -> until(Pid, sent, infinity)
    end.

%% @doc All that was pushed before is handed over, then flushed with whatever
%% else the producer has, then settled here.
-spec flush(crema_target:target(), crema_topic:topic(), timeout()) -> ok | crema_error:error().
flush(Target, #{id := Id}, Timeout) ->
    Deadline = crema_deadline:in(Timeout),
    case crema_helper:find(Target, Id) of
        undefined ->
            crema_produce:flush(Target, Timeout);
        Pid ->
            in_turn([
                fun() -> until(Pid, sent, Deadline) end,
                fun() -> crema_produce:flush(Target, crema_deadline:left(Deadline)) end,
                fun() -> until(Pid, done, Deadline) end
            ])
    end.

-spec in_turn([fun(() -> ok | crema_error:error())]) -> ok | crema_error:error().
in_turn([]) ->
    ok;
in_turn([Step | Steps]) ->
    case Step() of
        ok -> in_turn(Steps);
        {error, _} = Error -> Error
    end.

-spec until(pid(), crema_batch:kind() | close, crema_deadline:deadline()) ->
    ok | crema_error:error().
until(Pid, Kind, Deadline) ->
    try
        gen_server:call(Pid, {until, Kind}, crema_deadline:left(Deadline))
    catch
        exit:{timeout, _} ->
            crema_error:make(timeout, "what was pushed is not all reported yet", #{});
        %% It ends when all is reported.
        exit:_ ->
            ok
    end.

-spec close(crema_target:target(), crema_topic:topic(), timeout()) -> ok | crema_error:error().
close(Target, #{id := Id}, Timeout) ->
    crema_call:is_timeout(Timeout) orelse erlang:error(badarg),
    case crema_helper:find(Target, Id) of
        undefined -> ok;
        Pid -> until(Pid, close, crema_deadline:in(Timeout))
    end.

%% ---- the process ---------------------------------------------------------------

-spec start(crema_helper:start()) -> {ok, pid()} | {error, term()}.
start(Start) ->
    gen_server:start(?MODULE, Start, []).

-spec crashed(pid(), term(), term()) -> ok.
crashed(Producer, Name, Reason) ->
    crema_log:log(
        error,
        "crema producer ~0p ~0p: what was pushed through a topic handle is lost or sent without "
        "a report: ~0tP",
        [Name, Producer, Reason, 10],
        #{client => Name}
    ).

-spec init(crema_helper:start()) -> {ok, #state{}}.
init(#{producer := Producer, options := Options, args := {Target, Topic}}) ->
    ok = crema_helper:link_to(Producer),
    #{name := Name, batch := Batch, max_batches := Max, ordering := Ordering} = Topic,
    {ok, #state{
        producer = Producer,
        target = Target,
        topic = Name,
        on_full = maps:get(on_full, Options),
        full_timeout = maps:get(full_timeout, Options),
        batch = crema_batch:new(batch(Batch), Max, Ordering),
        encoders = encoders(Target, Topic),
        claims = crema_claims:new(maps:get(max_unclaimed, Options))
    }}.

%% What comes out of a pipeline goes as it comes.
-spec batch(crema_topic:batch()) -> adaptive | {fixed, pos_integer()}.
batch(none) -> adaptive;
batch(Batch) -> Batch.

-spec encoders(crema_target:target(), crema_topic:topic()) -> crema_encoders:encoders() | none.
encoders(_Target, #{pipeline := 0}) ->
    none;
encoders(Target, #{pipeline := Count} = Topic) ->
    crema_encoders:new(Count, fun(Message) -> crema_topic:encode(Message, Target, Topic) end).

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}} | {stop, normal, #state{}}.
handle_call({completed, _} = Call, From, #state{claims = Claims} = State) ->
    {noreply, State#state{claims = crema_claims:handle_call(Call, From, Claims)}};
handle_call({await, _, _} = Call, From, #state{batch = Batch, claims = Claims} = State) ->
    %% A batch that is not full would not go otherwise.
    Forced = State#state{batch = crema_batch:force(Batch)},
    go_on(Forced#state{claims = crema_claims:handle_call(Call, From, Claims)});
handle_call({push, _}, _From, #state{phase = Phase} = State) when Phase =/= open ->
    {reply, closed(), State};
handle_call({push, Body}, From, State) ->
    go_on(pushed(From, Body, State));
handle_call({until, close}, From, #state{batch = Batch} = State) ->
    Marked = crema_batch:mark(done, From, crema_batch:force(Batch)),
    go_on(refuse_all((State#state{batch = Marked})#state{phase = closing}));
handle_call({until, Kind}, From, #state{batch = Batch} = State) ->
    Marked = crema_batch:mark(Kind, From, crema_batch:force(Batch)),
    go_on(State#state{batch = Marked});
handle_call(drain, From, #state{batch = Batch} = State) ->
    Marked = crema_batch:mark(sent, From, crema_batch:force(Batch)),
    go_on(refuse_all(State#state{batch = Marked, phase = draining})).

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_info({crema_dispatch, Pid, _, Refusal}, #state{sending = {Pid, _, _}} = State) ->
    go_on(handed_over(Refusal, State));
handle_info({'DOWN', Monitor, _, _, Reason}, #state{sending = {_, Monitor, _}} = State) ->
    Text = io_lib:format("~0tP", [Reason, 10]),
    Refusal = crema_error:make(closed, Text, #{status => possibly_persisted}),
    go_on(handed_over(Refusal, State));
handle_info({'DOWN', Monitor, _, _, Reason}, #state{reporting = Reporting} = State) when
    is_map_key(Monitor, Reporting)
->
    {Ids, Rest} = maps:take(Monitor, Reporting),
    Results = crema_dispatch:results(Reason, length(Ids)),
    go_on(done(Ids, Results, State#state{reporting = Rest}));
handle_info({'EXIT', Producer, _}, #state{producer = Producer} = State) ->
    go_on(abandoned(State));
handle_info({timeout, Timer, waited}, #state{waiters = Waiters} = State) ->
    {[{From, _, _}], Rest} = lists:partition(
        fun({_, _, Own}) -> Own =:= Timer end, queue:to_list(Waiters)
    ),
    gen_server:reply(From, full()),
    {noreply, State#state{waiters = queue:from_list(Rest)}};
handle_info(Message, #state{encoders = none} = State) ->
    to_claims(Message, State);
handle_info(Message, #state{encoders = Encoders} = State) ->
    case crema_encoders:handle(Message, Encoders) of
        {{Seq, Id, Label}, Outcome, New} ->
            go_on(encoded(Seq, Id, Label, Outcome, State#state{encoders = New}));
        {none, New} ->
            {noreply, State#state{encoders = New}};
        unknown ->
            to_claims(Message, State)
    end.

-spec to_claims(term(), #state{}) -> {noreply, #state{}}.
to_claims(Message, #state{claims = Claims} = State) ->
    case crema_claims:handle_info(Message, Claims) of
        {ok, New} -> {noreply, State#state{claims = New}};
        unknown -> {noreply, State}
    end.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{encoders = none}) -> ok;
terminate(_Reason, #state{encoders = Encoders}) -> crema_encoders:stop(Encoders).

%% After a change: those who wait are admitted, what is due is sent, and who
%% waits for it is told.
-spec go_on(#state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
go_on(State) ->
    #state{batch = Batch} = Sent = send(admit(State)),
    {Reached, Left} = crema_batch:reached(Batch),
    lists:foreach(fun(From) -> gen_server:reply(From, ok) end, Reached),
    New = Sent#state{batch = Left},
    case is_finished(New) of
        true ->
            ok = crema_claims:leave(New#state.claims),
            {stop, normal, New};
        false ->
            {noreply, New}
    end.

-spec is_finished(#state{}) -> boolean().
is_finished(#state{phase = closing, batch = Batch}) ->
    crema_batch:held(Batch) =:= 0;
is_finished(#state{phase = ended, sending = none, reporting = Reporting}) ->
    map_size(Reporting) =:= 0;
is_finished(_) ->
    false.

%% ---- pushing -------------------------------------------------------------------

-spec pushed(gen_server:from(), body(), #state{}) -> #state{}.
pushed({Caller, _} = From, skipped, #state{claims = Claims} = State) ->
    {Id, Ref, Claimed} = crema_claims:add(Caller, Claims),
    gen_server:reply(From, {ok, Ref}),
    State#state{claims = crema_claims:settle(Id, {ok, skipped}, Claimed)};
pushed(From, Body, #state{batch = Batch, waiters = Waiters} = State) ->
    case queue:is_empty(Waiters) andalso crema_batch:push(Batch) of
        {Seq, New} -> admitted(From, Body, Seq, State#state{batch = New});
        _ -> wait(From, Body, State)
    end.

-spec wait(gen_server:from(), body(), #state{}) -> #state{}.
wait(From, _Body, #state{on_full = error} = State) ->
    gen_server:reply(From, full()),
    State;
wait(From, Body, #state{full_timeout = Timeout, waiters = Waiters} = State) ->
    Timer = erlang:start_timer(Timeout, self(), waited),
    State#state{waiters = queue:in({From, Body, Timer}, Waiters)}.

-spec admitted(gen_server:from(), body(), crema_batch:seq(), #state{}) -> #state{}.
admitted({Caller, _} = From, Body, Seq, #state{claims = Claims} = State) ->
    {Id, Ref, New} = crema_claims:add(Caller, Claims),
    gen_server:reply(From, {ok, Ref}),
    Claimed = State#state{claims = New},
    case Body of
        {encoded, Message} ->
            ready(Seq, {Id, Message}, Claimed);
        {raw, Message} ->
            Tag = {Seq, Id, label(Message)},
            Encoders = crema_encoders:submit(Tag, Message, State#state.encoders),
            Claimed#state{encoders = Encoders}
    end.

-spec label(term()) -> map().
label(#{label := Label}) -> #{label => Label};
label(_) -> #{}.

-spec admit(#state{}) -> #state{}.
admit(#state{batch = Batch, waiters = Waiters, phase = open} = State) ->
    case queue:is_empty(Waiters) orelse crema_batch:push(Batch) of
        {Seq, New} ->
            {{value, {From, Body, Timer}}, Rest} = queue:out(Waiters),
            _ = erlang:cancel_timer(Timer),
            admit(admitted(From, Body, Seq, State#state{batch = New, waiters = Rest}));
        _ ->
            State
    end;
admit(State) ->
    State.

-spec ready(crema_batch:seq(), item(), #state{}) -> #state{}.
ready(Seq, Item, #state{batch = Batch} = State) ->
    State#state{batch = crema_batch:encoded(Seq, Item, Batch)}.

-spec encoded(crema_batch:seq(), crema_claims:id(), map(), crema_encoders:outcome(), #state{}) ->
    #state{}.
encoded(Seq, Id, _Label, {ok, {ok, Message}}, State) ->
    ready(Seq, {Id, Message}, State);
encoded(Seq, Id, Label, Outcome, #state{batch = Batch, topic = Topic, claims = Claims} = State) ->
    Verdict =
        case Outcome of
            {ok, skip} -> {ok, skipped};
            {ok, {error, _} = Error} -> of_message(Error, Topic, Label);
            {crashed, Reason} -> of_message(crashed(Reason), Topic, Label)
        end,
    State#state{
        batch = crema_batch:dropped(Seq, Batch), claims = crema_claims:settle(Id, Verdict, Claims)
    }.

%% ---- sending -------------------------------------------------------------------

-spec send(#state{}) -> #state{}.
send(#state{phase = ended} = State) ->
    State;
send(#state{batch = Batch, target = Target} = State) ->
    case crema_batch:take(Batch) of
        {Items, New} ->
            Messages = [Message || {_, {_, Message}} <- Items],
            {Pid, Monitor} = crema_dispatch:start(State#state.producer, [{Target, Messages}]),
            State#state{batch = New, sending = {Pid, Monitor, Items}};
        none ->
            State
    end.

-spec handed_over(crema_dispatch:refusal(), #state{}) -> #state{}.
handed_over(Refusal, #state{sending = {_, Monitor, Items}, batch = Batch} = State) ->
    Free = State#state{sending = none, batch = crema_batch:accepted(Batch)},
    Ids = [{Seq, Id} || {Seq, {Id, _}} <- Items],
    case Refusal of
        none ->
            Free#state{reporting = (State#state.reporting)#{Monitor => Ids}};
        {error, _} ->
            true = erlang:demonitor(Monitor, [flush]),
            Topic = State#state.topic,
            Results = [of_message(Refusal, Topic, label(M)) || {_, {_, M}} <- Items],
            done(Ids, Results, Free)
    end.

-spec done([{crema_batch:seq(), crema_claims:id()}], [crema_report:result()], #state{}) -> #state{}.
done(Ids, Results, #state{batch = Batch, claims = Claims} = State) ->
    Settled = lists:foldl(
        fun({{_, Id}, Result}, Acc) -> crema_claims:settle(Id, Result, Acc) end,
        Claims,
        lists:zip(Ids, Results)
    ),
    State#state{batch = crema_batch:done([Seq || {Seq, _} <- Ids], Batch), claims = Settled}.

%% The producer has ended: what was not handed over is not sent any more.
-spec abandoned(#state{}) -> #state{}.
abandoned(#state{claims = Claims, sending = Sending, reporting = Reporting} = State) ->
    Sent =
        case Sending of
            none -> [];
            {_, _, Items} -> [Id || {_, {Id, _}} <- Items]
        end,
    Theirs = Sent ++ [Id || {_, Id} <- lists:append(maps:values(Reporting))],
    Settled = lists:foldl(
        fun(Id, Acc) -> crema_claims:settle(Id, closed(), Acc) end,
        Claims,
        crema_claims:pending(Claims) -- Theirs
    ),
    refuse_all(State#state{phase = ended, claims = Settled}).

-spec refuse_all(#state{}) -> #state{}.
refuse_all(#state{waiters = Waiters} = State) ->
    lists:foreach(
        fun({From, _, Timer}) ->
            _ = erlang:cancel_timer(Timer),
            gen_server:reply(From, closed())
        end,
        queue:to_list(Waiters)
    ),
    State#state{waiters = queue:new()}.

%% ---- errors --------------------------------------------------------------------

%% As the report of a message has it.
-spec of_message(crema_error:error(), Topic :: binary(), map()) -> crema_error:error().
of_message({error, {Code, Details}}, Topic, Label) ->
    Of = maps:merge(#{topic => Topic, status => not_persisted}, Label),
    {error, {Code, maps:merge(Of, Details)}}.

-spec crashed(term()) -> crema_error:error().
crashed(Reason) ->
    Text = io_lib:format("encoding it ended with ~0tP", [Reason, 20]),
    crema_error:make(callback_failed, Text, #{reason => Reason}).

-spec full() -> crema_error:error().
full() ->
    Text = "as many of the handle's batches as max_batches are full",
    crema_error:make(queue_full, Text, #{retriable => true}).

-spec closed() -> crema_error:error().
closed() ->
    crema_error:make(closed, "the producer or the handle has been closed", #{
        status => not_persisted
    }).
