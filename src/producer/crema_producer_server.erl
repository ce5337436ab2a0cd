%% @private The process of a producer: it opens and closes the client, which is
%% none before its first use with `connect => use', when it was disconnected, and
%% between a fatal error and the next client.
-module(crema_producer_server).
-behaviour(gen_server).

-include("../port/crema_commands.hrl").

-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-record(state, {
    options :: map(),
    client :: crema_client:client(),
    %% none: nobody has used it yet, it was disconnected, or is being reloaded
    port = none :: crema_port:client() | none,
    flush_timeout :: timeout(),
    %% the clients of variants that have their own
    own :: crema_own:own(),
    %% of a producer with a transactional.id
    transactions = none :: none | pid(),
    helpers :: crema_helper:helpers(),
    callbacks :: crema_callbacks:callbacks(),
    %% of this client, and of clients whose callbacks still run
    reporters = #{} :: #{pid() => crema_port:client()},
    %% callers that wait for the client that is being made; one call each
    waiting = #{} :: #{pid() => gen_server:from()},
    %% clients that were disconnected and are being wound up
    ending = #{} :: #{crema_port:tag() => {Since :: integer(), request | idle}},
    %% what a reload still waits for: its delay, and the end of the client before
    reload = none :: none | {Since :: integer(), [delay | crema_port:tag()]},
    %% a new client that connects, or waits for the old one to be done
    renewal = none ::
        none | {trial | flushing | closing, crema_port:tag() | none, crema_renewal:trial()},
    %% reloads without a delivery in between
    attempt = 0 :: non_neg_integer()
}).

-spec init(map()) -> {ok, #state{}} | {stop, crema_error:reason()}.
init(#{connect := When, flush_timeout := Timeout} = Options) ->
    process_flag(trap_exit, true),
    Callbacks = crema_callbacks:new(),
    Client = crema_client:new(producer, none, Options),
    Transactions = crema_transactions:start_link(crema_client:metadata(Client), Options),
    Known = maps:from_list([{transactions, Pid} || Pid <- [Transactions], is_pid(Pid)]),
    Settings = maps:merge(crema_producer:settings(Client, Options), Known#{callbacks => Callbacks}),
    ok = crema_registry:register(producer, none, Settings, #{}),
    State = #state{
        options = Options,
        client = crema_client:set(#{state => idle}, Client),
        flush_timeout = Timeout,
        transactions = Transactions,
        own = crema_own:new(Options),
        helpers = crema_helper:new(Options),
        callbacks = Callbacks
    },
    case When =:= start andalso connect(State) of
        {error, Reason} ->
            {stop, Reason};
        Started ->
            crema_child:log_warnings(Options),
            case Started of
                {ok, _} -> Started;
                false -> {ok, State}
            end
    end.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}} | {stop, normal, ok, #state{}}.
handle_call({client, Purpose}, From, State) ->
    client_for(Purpose, From, State);
handle_call({own_client, Config}, _From, #state{own = Own} = State) ->
    {Reply, New} = crema_own:start(Config, Own),
    {reply, Reply, State#state{own = New}};
handle_call({helper, Helper}, _From, #state{helpers = Helpers} = State) ->
    {Reply, New} = crema_helper:start(Helper, Helpers),
    {reply, Reply, State#state{helpers = New}};
handle_call({renew, _, _}, _From, #state{reload = Reload, renewal = Renewal} = State) when
    Reload =/= none; Renewal =/= none
->
    {reply, crema_renewal:busy("a new client is being made already"), State};
handle_call({renew, Changes, Timeout}, From, #state{options = Options} = State) ->
    Open = fun crema_producer:open/1,
    case crema_renewal:start(producer, {Changes, Timeout}, Options, Open, From) of
        {ok, Trial} -> {noreply, State#state{renewal = {trial, none, Trial}}};
        Error -> {reply, Error, State}
    end;
handle_call(disconnect, _From, State) ->
    {Answer, New} = disconnect(request, State),
    {reply, Answer, New};
handle_call({middleware, Change}, _From, State) ->
    {reply, crema_prepare:change(Change), State};
handle_call({set_credentials, New}, _From, #state{port = Port, renewal = Renewal} = State) ->
    {Reply, Options} = crema_credentials:change(Renewal, Port, New, State#state.options),
    ok = crema_own:renew(Options),
    {reply, Reply, State#state{options = Options}};
handle_call(statistics, _From, #state{client = Client} = State) ->
    {reply, crema_client:statistics(Client), State};
handle_call({stop, Timeout}, _From, State) ->
    {stop, normal, ok, with_deadline(Timeout, State)};
handle_call(_, _From, State) ->
    {reply, {error, unknown_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_cast({stop, Timeout}, State) ->
    {stop, normal, with_deadline(Timeout, State)};
handle_cast(connect, #state{port = none, reload = none, transactions = Transactions} = State) ->
    case connect(State) of
        {ok, New} ->
            {noreply, New};
        {error, _} = Error ->
            ok = crema_transactions:client(Transactions, Error),
            {noreply, State}
    end;
handle_cast({fatal, Reason}, #state{port = Port} = State) when Port =/= none ->
    fatal(Reason, State);
handle_cast(_, State) ->
    {noreply, State}.

-spec with_deadline(default | timeout(), #state{}) -> #state{}.
with_deadline(default, State) -> State;
with_deadline(Timeout, State) -> State#state{flush_timeout = Timeout}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({'EXIT', Port, Reason}, #state{port = Port} = State) ->
    {stop, {port_closed, Reason}, State};
handle_info({Ref, _}, #state{renewal = {_, Ref, Trial}} = State) when is_reference(Ref) ->
    {noreply, taken_over(Trial, State)};
handle_info({flush_timeout, Ref}, #state{renewal = {flushing, Ref, Trial}} = State) ->
    {Gone, New} = release(renewing, State),
    {noreply, New#state{renewal = {closing, Gone, Trial}}};
handle_info(Message, #state{renewal = {Phase, Ref, Trial}} = State) ->
    case crema_renewal:handle(Message, Trial) of
        connected -> {noreply, take_over(Trial, State)};
        {ok, New} -> {noreply, State#state{renewal = {Phase, Ref, New}}};
        {failed, Reason} when Phase =:= trial -> {noreply, not_renewed(Reason, State)};
        _ -> handle_other(Message, State)
    end;
handle_info(Message, State) ->
    handle_other(Message, State).

-spec handle_other(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_other({'EXIT', Port, _}, State) when is_port(Port) ->
    %% One that was closed before.
    {noreply, State};
handle_other({'EXIT', Pid, Reason}, #state{reporters = Reporters} = State) when
    is_map_key(Pid, Reporters)
->
    {noreply, reporter_ended(Pid, Reason, State)};
handle_other({'EXIT', Pid, Reason}, #state{helpers = Helpers, own = Own} = State) ->
    case crema_helper:ended(Pid, Reason, Helpers) of
        {ok, New} -> {noreply, State#state{helpers = New}};
        %% Of what an event handler has started.
        unknown when Reason =:= normal -> {noreply, State};
        unknown -> {stop, crema_own:why(Pid, Reason, Own), State}
    end;
handle_other({idle, Port, Accepted}, #state{port = Port} = State) ->
    {noreply, idle(Accepted, State)};
handle_other({reload, Since}, #state{reload = {Since, _}} = State) ->
    reload_after(delay, State);
handle_other({Ref, _}, #state{ending = Ending} = State) when is_map_key(Ref, Ending) ->
    {{Since, Why}, Rest} = maps:take(Ref, Ending),
    event([crema, producer, disconnected], #{duration => since(Since)}, #{reason => Why}, State),
    {noreply, State#state{ending = Rest}};
handle_other({Ref, _} = Message, #state{reload = {_, Waits}} = State) ->
    case lists:member(Ref, Waits) of
        true -> reload_after(Ref, State);
        false -> handle_client(Message, State)
    end;
handle_other(Message, State) ->
    handle_client(Message, State).

-spec handle_client(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_client(Message, #state{client = Client, port = Port} = State) ->
    case crema_client:handle(Message, Client) of
        {ok, New} ->
            {noreply, State#state{client = New}};
        {fatal, Reason, New} ->
            fatal(Reason, State#state{client = New});
        {other, Event, New} ->
            ok = told(Event, Port, State),
            {noreply, State#state{client = New}};
        unknown ->
            ok = left(Message, State),
            {noreply, State}
    end.

%% The driver waits with the next reports until these are done with.
-spec told(term(), crema_port:client() | none, #state{}) -> ok.
told({reports, _, _, _, _} = Reports, Port, #state{client = Client}) ->
    ok = crema_producer_events:reports(Reports, crema_client:metadata(Client)),
    _ = crema_port:command(Port, ?CMD_TALLIED, <<>>),
    ok;
told(_, _, _) ->
    ok.

%% A client that was given up has its last reports told; what else it says is of
%% no interest any more.
-spec left(term(), #state{}) -> ok.
left({crema_event, Port, Bytes}, State) ->
    told(crema_port:event(Bytes), Port, State);
left(_, _) ->
    ok.

-spec all_left(#state{}) -> ok.
all_left(State) ->
    receive
        {crema_event, _, _} = Message ->
            ok = left(Message, State),
            all_left(State)
    after 0 -> ok
    end.

%% Flushes unless the client is beyond it, and hands it to the reaper,
%% which reports what is left.
-spec terminate(term(), #state{}) -> ok.
terminate(Reason, #state{flush_timeout = Timeout} = Before) ->
    #state{port = Port, own = Own, helpers = Helpers} = State = with_client(Before),
    Since = crema_deadline:now(),
    Stopping = set_state(stopping, State),
    event([crema, producer, closing], #{}, #{}, Stopping),
    Deadline = crema_deadline:in(Timeout),
    ok = crema_helper:drain(Deadline, Helpers),
    ok = crema_own:stop(crema_deadline:left(Deadline), Own),
    _ = Port =/= none andalso flush(Reason, Deadline, State),
    ok = crema_transactions:stop(State#state.transactions, 0),
    _ = Port =/= none andalso crema_client:close(Port, Deadline),
    ok = crema_own:await(Deadline, Own),
    ok = finish_callbacks(Deadline, State),
    ok = all_left(Stopping),
    event([crema, producer, closed], #{duration => since(Since)}, #{}, Stopping).

%% What its helpers hold goes out, also when nobody has used the client yet.
-spec with_client(#state{}) -> #state{}.
with_client(#state{port = none, renewal = {_, _, Trial}} = State) ->
    taken_over(Trial, State);
with_client(#state{port = none, reload = none, helpers = Helpers} = State) ->
    case crema_helper:are_none(Helpers) orelse connect(State) of
        {ok, Connected} -> Connected;
        _ -> State
    end;
with_client(State) ->
    State.

-spec flush(term(), crema_deadline:deadline(), #state{}) -> ok | crema_error:error().
flush(Reason, Deadline, #state{port = Port, transactions = Transactions}) ->
    case Reason of
        {shutdown, {fatal, _}} ->
            ok;
        {fatal, _} ->
            ok;
        {port_closed, _} ->
            ok;
        _ ->
            ok = crema_transactions:stop(Transactions, crema_deadline:left(Deadline)),
            crema_produce:flush_port(Port, crema_deadline:left(Deadline))
    end.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    crema_secret:status(Status, fun(#state{port = Port}) -> Port end).

%% ---- a client, or none --------------------------------------------------------------

-spec client_for(crema_producer:purpose(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
client_for(Purpose, From, #state{renewal = {Phase, _, _}} = State) when Phase =/= trial ->
    wait_for_client(Purpose, From, State);
client_for(_, _From, #state{port = Port} = State) when Port =/= none ->
    {reply, {ok, Port}, State};
client_for(Purpose, From, #state{reload = {_, _}} = State) ->
    wait_for_client(Purpose, From, State);
client_for(Purpose, _From, State) when Purpose =:= flush; Purpose =:= purge ->
    {reply, none, State};
client_for(_, _From, State) ->
    case connect(State) of
        {ok, #state{port = Port} = Connected} -> {reply, {ok, Port}, Connected};
        {error, _} = Error -> {reply, Error, State}
    end.

-spec wait_for_client(crema_producer:purpose(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
wait_for_client(purge, _From, State) ->
    {reply, none, State};
wait_for_client(produce_now, _From, State) ->
    {reply, crema_producer:not_connected(), State};
wait_for_client(_, {Pid, _} = From, #state{waiting = Waiting} = State) ->
    {noreply, State#state{waiting = Waiting#{Pid => From}}}.

-spec connect(#state{}) -> {ok, #state{}} | crema_error:error().
connect(State) ->
    case crema_producer:open(State#state.options) of
        {ok, Port, _} -> {ok, connected(Port, State)};
        Error -> Error
    end.

-spec connected(crema_port:client(), #state{}) -> #state{}.
connected(Port, #state{options = Options, client = Client} = State) ->
    New = crema_client:set(#{}, crema_client:attach(Port, Options, Client)),
    Connected = start_reporter(Port, State#state{port = Port, client = New}),
    changed(await_idle(0, Connected)).

%% Gives up the client: whoever comes finds none. `{Ref, _}' follows when it is
%% gone.
-spec release(atom(), #state{}) -> {crema_port:tag(), #state{}}.
release(Name, #state{port = Port, client = Client} = State) ->
    Without = State#state{port = none, client = crema_client:detach(Client)},
    New = changed(set_state(Name, Without)),
    {crema_client:close_async(Port), New}.

%% Tells of the client there is now, or is no more.
-spec changed(#state{}) -> #state{}.
changed(#state{port = Port, transactions = Transactions} = State) ->
    ok = crema_registry:set_client(Port, fun(Settings) -> crema_intake:settings(Port, Settings) end),
    ok = crema_transactions:client(Transactions, Port),
    answer_waiting(State).

-spec answer_waiting(#state{}) -> #state{}.
answer_waiting(#state{port = none} = State) ->
    State;
answer_waiting(#state{port = Port, waiting = Waiting} = State) ->
    ok = lists:foreach(fun(From) -> gen_server:reply(From, {ok, Port}) end, maps:values(Waiting)),
    State#state{waiting = #{}}.

-spec disconnect(request | idle, #state{}) -> {ok | crema_error:error(), #state{}}.
disconnect(_, #state{port = none, reload = none} = State) ->
    {ok, State};
disconnect(_, #state{port = Port, renewal = Renewal} = State) when
    Port =:= none; Renewal =/= none
->
    {crema_error:make(busy, "a new client is being made", #{}), State};
disconnect(Why, #state{port = Port} = State) ->
    Failures = failures(State),
    case crema_port:command(Port, ?CMD_RETIRE, <<>>) of
        ok ->
            event([crema, producer, disconnecting], #{}, #{reason => Why}, State),
            Since = crema_deadline:now(),
            {Ref, #state{ending = Ending} = New} = release(disconnected, State),
            {ok, New#state{attempt = Failures, ending = Ending#{Ref => {Since, Why}}}};
        {error, _} = Error ->
            {Error, State}
    end.

%% ---- renewal ------------------------------------------------------------------------

%% The new client is connected. The old one takes nothing more: whoever comes waits
%% until all it has is reported, and so the order stays.
-spec take_over(crema_renewal:trial(), #state{}) -> #state{}.
take_over(Trial, #state{port = none, reload = none} = State) ->
    taken_over(Trial, State);
take_over(Trial, #state{port = Port, flush_timeout = Timeout, transactions = Transactions} = State) ->
    case Port =/= none andalso crema_port:command(Port, ?CMD_DRAIN, <<>>) of
        ok ->
            ok = crema_transactions:client(Transactions, none),
            {ok, Ref} = crema_port:ask_async(Port, ?CMD_FLUSH, fun(Tag) -> Tag end),
            _ = erlang:send_after(Timeout, self(), {flush_timeout, Ref}),
            State#state{renewal = {flushing, Ref, Trial}};
        false ->
            {error, Reason} = crema_renewal:busy("the producer has met a fatal error"),
            not_renewed(Reason, State);
        {error, Reason} ->
            not_renewed(Reason, State)
    end.

-spec taken_over(crema_renewal:trial(), #state{}) -> #state{}.
taken_over(Trial, #state{port = Old, client = Client} = State) ->
    Options = crema_renewal:options(Trial),
    Free = State#state{options = Options, client = crema_client:detach(Client), renewal = none},
    ok = crema_own:renew(Options),
    #state{client = New} = Connected = connected(crema_renewal:port(Trial), Free),
    _ = Old =/= none andalso crema_client:close_async(Old),
    Told = crema_client:connected(New),
    ok = crema_renewal:done(crema_client:metadata(Told), Trial),
    Connected#state{client = Told}.

-spec not_renewed(crema_error:reason(), #state{}) -> #state{}.
not_renewed(Reason, #state{renewal = {_, _, Trial}} = State) ->
    ok = crema_renewal:failed(Reason, Trial),
    State#state{renewal = none}.

%% ---- callbacks ----------------------------------------------------------------------

%% Of a client that is closed nobody can hear any more.
-spec start_reporter(crema_port:client(), #state{}) -> #state{}.
start_reporter(Port, #state{callbacks = Callbacks, reporters = Reporters} = State) ->
    case crema_reporter:start(Port, name(State), Callbacks) of
        {ok, Pid} -> State#state{reporters = Reporters#{Pid => Port}};
        {error, _} -> State
    end.

%% By itself it ends when its client has. When it died another goes on.
-spec reporter_ended(pid(), term(), #state{}) -> #state{}.
reporter_ended(Pid, Reason, #state{reporters = Reporters} = State) ->
    {Port, Rest} = maps:take(Pid, Reporters),
    Without = State#state{reporters = Rest},
    case Reason of
        normal -> Without;
        _ -> start_reporter(Port, Without)
    end.

-spec finish_callbacks(crema_deadline:deadline(), #state{}) -> ok.
finish_callbacks(Deadline, #state{callbacks = Callbacks, reporters = Reporters} = State) ->
    crema_reporter:finish(maps:keys(Reporters), name(State), Callbacks, Deadline).

-spec name(#state{}) -> term().
name(#state{options = #{name := Name}}) -> Name.

%% ---- idle ---------------------------------------------------------------------------

%% Whether messages came is looked at once a period, so that none has to tell.
-spec await_idle(non_neg_integer(), #state{}) -> #state{}.
await_idle(_, #state{options = #{idle_disconnect := 0}} = State) ->
    State;
await_idle(Accepted, #state{options = #{idle_disconnect := Period}, port = Port} = State) ->
    _ = erlang:send_after(Period, self(), {idle, Port, Accepted}),
    State.

-spec idle(non_neg_integer(), #state{}) -> #state{}.
idle(Before, #state{port = Port} = State) ->
    case crema_client:counts(Port) of
        #{accepted := Before} ->
            {_, New} = disconnect(idle, State),
            case New of
                #state{port = none} -> New;
                _ -> await_idle(Before, New)
            end;
        Counts ->
            await_idle(maps:get(accepted, Counts, Before), State)
    end.

%% ---- fatal errors -------------------------------------------------------------------

-spec fatal(crema_error:reason(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
fatal(Reason, #state{renewal = {_, _, _}} = State) ->
    fatal(Reason, not_renewed(Reason, State));
fatal({Code, _} = Reason, #state{options = Options, transactions = Transactions} = State) ->
    ok = crema_transactions:fatal(Transactions, Reason),
    Attempt = failures(State) + 1,
    case crema_reload:verdict(Code, Attempt, Options) of
        {reload, Delay} -> reload(Reason, Delay, State#state{attempt = Attempt});
        {stop, Why} -> {stop, Why, State}
    end.

%% Reloads so far without a delivery since.
-spec failures(#state{}) -> non_neg_integer().
failures(#state{port = Port, attempt = Attempt}) ->
    case crema_client:counts(Port) of
        #{delivered := Delivered} when Delivered > 0 -> 0;
        _ -> Attempt
    end.

%% What is outstanding is reported by the reaper; nothing is moved to the next
%% client, which is not opened before the last is gone: each would take as much
%% memory as the queue may have.
-spec reload(crema_error:reason(), non_neg_integer(), #state{}) ->
    {noreply, #state{}} | {stop, term(), #state{}}.
reload(Reason, Delay, #state{attempt = Attempt, options = Options} = State) ->
    Since = crema_deadline:now(),
    {Ref, Without} = release(reloading, State),
    Metadata = crema_client:problem(Reason),
    event([crema, producer, reload], #{attempt => Attempt, delay => Delay}, Metadata, Without),
    case crema_reload:options(Reason, Attempt, Options) of
        {ok, New} ->
            _ = erlang:send_after(Delay, self(), {reload, Since}),
            {noreply, Without#state{options = New, reload = {Since, [delay, Ref]}}};
        {error, Why} ->
            {stop, Why, Without}
    end.

-spec reload_after(delay | crema_port:tag(), #state{}) ->
    {noreply, #state{}} | {stop, term(), #state{}}.
reload_after(What, #state{reload = {Since, Waits}, attempt = Attempt} = State) ->
    case lists:delete(What, Waits) of
        [] ->
            case connect(State#state{reload = none}) of
                {ok, New} ->
                    Measured = #{attempt => Attempt, duration => since(Since)},
                    event([crema, producer, reloaded], Measured, #{}, New),
                    {noreply, New};
                {error, Reason} ->
                    {stop, Reason, State}
            end;
        Rest ->
            {noreply, State#state{reload = {Since, Rest}}}
    end.

%% ---- what is told -------------------------------------------------------------------

-spec set_state(atom(), #state{}) -> #state{}.
set_state(Name, #state{client = Client} = State) ->
    State#state{client = crema_client:set(#{state => Name}, Client)}.

-spec event(crema_events:event_name(), map(), map(), #state{}) -> ok.
event(Name, Measurements, Metadata, #state{client = Client}) ->
    All = maps:merge(crema_client:metadata(Client), Metadata),
    crema_events:execute(Name, Measurements, All).

-spec since(integer()) -> non_neg_integer().
since(Time) -> crema_deadline:now() - Time.
