%% @private A member of a consumer group: owns the client, starts a worker for
%% each assigned partition, and takes its part in rebalances and stops.
-module(crema_group).
-behaviour(gen_server).

-include("../port/crema_commands.hrl").

-export([start_link/4, renewed/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).
-export([terminate/2, format_status/1]).

-record(state, {
    port :: port(),
    client :: crema_client:client(),
    options :: map(),
    consumer :: pid(),
    about :: crema_group_events:about(),
    slots :: crema_slots:slots(),
    subscription :: crema_subscription:subscription(),
    delegates :: crema_delegates:delegates(),
    stop_timeout :: timeout(),
    %% another client that is to take the place of this one: it connects; what was
    %% delivered is waited for; workers finish; the old one leaves the group
    renewal = none ::
        none | {trial | settling | parking | closing, reference() | none, crema_renewal:trial()}
}).

-type state() :: #state{}.

%% By the newer protocol brokers refuse who has the instance id of a member that was
%% killed, until that one's session has ended. So it starts again after so long, which
%% is less often than its supervisor takes for a storm.
-define(UNRELEASED_MS, 12000).

%% @doc Of a consumer with the supervisor of its workers, and who has its transactions,
%% if it has any.
-spec start_link(pid(), pid(), pid() | none, fun(() -> map())) -> gen_server:start_ret().
start_link(Consumer, Workers, ExactlyOnce, Options) ->
    gen_server:start_link(?MODULE, {Consumer, Workers, ExactlyOnce, Options}, []).

-spec init({pid(), pid(), pid() | none, fun(() -> map())}) ->
    {ok, state(), {continue, subscribe}} | {stop, crema_error:reason()}.
init({Consumer, Workers, ExactlyOnce, Given}) ->
    process_flag(trap_exit, true),
    Options = (crema_registry:noted(Consumer, ?MODULE, Given))(),
    case crema_membership:check(Consumer, Options) of
        ok -> open(Consumer, {Workers, ExactlyOnce}, Options);
        {error, Reason} -> {stop, Reason}
    end.

%% @doc The options of a consumer since its last renewal.
-spec renewed(pid()) -> fun(() -> map()) | none.
renewed(Consumer) ->
    crema_registry:noted(Consumer, ?MODULE, none).

-spec open(pid(), {pid(), pid() | none}, map()) ->
    {ok, state(), {continue, subscribe}} | {stop, crema_error:reason()}.
open(Consumer, Helpers, Options) ->
    case open(Options) of
        {ok, Port, _} ->
            crema_child:log_warnings(Options),
            ok = crema_registry:register(consumer, Port, maps:with([commit, prefix], Options), #{}),
            ok = crema_registry:alias(Consumer, self()),
            {ok, opened(Port, Consumer, Helpers, Options), {continue, subscribe}};
        {error, Reason} ->
            {stop, Reason}
    end.

-spec open(map()) -> {ok, port(), binary()} | crema_error:error().
open(Options) ->
    Known = #{known => fun crema_client:known/1},
    Properties = crema_properties:kafka_properties(consumer, Options, Known),
    Limits = [
        {<<"batch_messages">>, maps:get(batch_messages, Options)},
        {<<"batch_bytes">>, maps:get(batch_bytes, Options)},
        {<<"max_in_flight">>, maps:get(max_in_flight, Options)},
        {<<"commits">>, commits(maps:get(commit, Options))},
        {<<"prefetch">>, maps:get(prefetch, Options)}
    ],
    crema_settings:named(crema_client:open(consumer, Properties, Limits), Options).

-spec opened(port(), pid(), {pid(), pid() | none}, map()) -> state().
opened(Port, Consumer, {Workers, ExactlyOnce}, Options) ->
    Client = crema_client:new(consumer, Port, Options, Consumer),
    About = crema_group_events:about(Client, Options),
    Work = #{
        port => Port,
        group => self(),
        consumer => Consumer,
        exactly_once => ExactlyOnce,
        options => Options,
        supervisor => Workers,
        about => About,
        policies => crema_failure:policies(Options),
        limit => crema_failure_options:limit(Options)
    },
    #state{
        port = Port,
        client = crema_client:set(#{assigned => [], paused => [], joined => false}, Client),
        options = Options,
        consumer = Consumer,
        about = About,
        slots = crema_slots:new(Work),
        subscription = crema_subscription:new(Options),
        delegates = crema_delegates:new(Port, maps:get(remote_ack_timeout, Options)),
        stop_timeout = maps:get(stop_timeout, Options)
    }.

%% cr_commits of the core.
-spec commits(auto | transaction | exactly_once | external) -> 1..3.
commits(auto) -> 1;
commits(transaction) -> 2;
commits(exactly_once) -> 2;
commits(external) -> 3.

-spec handle_continue(subscribe, state()) -> {noreply, state()} | {stop, term(), state()}.
handle_continue(subscribe, #state{port = Port, subscription = Subscription} = State) ->
    case crema_subscription:begin_with(Port, Subscription) of
        {ok, New} -> {noreply, State#state{subscription = New}};
        {error, Reason} -> beyond_use(Reason, State)
    end.

-spec handle_call(term(), gen_server:from(), state()) ->
    {reply, term(), state()} | {noreply, state()} | {stop, {shutdown, stopped}, ok, state()}.
handle_call({stop, Timeout}, _From, State) ->
    {stop, {shutdown, stopped}, ok, stopping(Timeout, State)};
handle_call({set_credentials, New}, _From, #state{port = Port, renewal = Renewal} = State) ->
    {Reply, Options} = crema_credentials:change(Renewal, Port, New, State#state.options),
    ok = crema_registry:note(State#state.consumer, ?MODULE, fun() -> Options end),
    {reply, Reply, State#state{options = Options}};
handle_call(statistics, _From, #state{client = Client} = State) ->
    {reply, crema_client:statistics(Client), State};
handle_call({tokens, _, Slots}, _From, #state{options = #{commit := exactly_once}} = State) ->
    {reply, [crema_exactly_once:no_ack() || _ <- Slots], State};
handle_call({tokens, What, Slots}, _From, #state{port = Port} = State) ->
    {reply, crema_ack:tell(What, {self(), Port}, Slots), State};
handle_call({pause, Which, Value}, _From, #state{slots = Slots} = State) ->
    case crema_slots:pause(Which, Value, Slots) of
        {ok, New} ->
            {reply, ok, with_paused(State#state{slots = New})};
        {not_assigned, _} = Refusal ->
            {reply, Refusal, State}
    end;
handle_call(subscription, _From, #state{subscription = Subscription} = State) ->
    {reply, {ok, crema_subscription:topics(Subscription)}, State};
handle_call({subscribe, _}, _From, #state{renewal = {closing, _, _}} = State) ->
    {reply, crema_renewal:busy("another client takes the place of this one"), State};
handle_call({renew, _, _}, _From, #state{renewal = Renewal} = State) when Renewal =/= none ->
    {reply, crema_renewal:busy("a new client is being made already"), State};
handle_call({renew, Changes, Timeout}, From, #state{options = Options} = State) ->
    Started =
        case crema_handover:supports(Options) of
            ok -> crema_renewal:start(consumer, {Changes, Timeout}, Options, fun open/1, From);
            Unsupported -> Unsupported
        end,
    case Started of
        {ok, Trial} -> {noreply, State#state{renewal = {trial, none, Trial}}};
        {error, _} = Error -> {reply, Error, State}
    end;
handle_call({subscribe, Change}, From, #state{port = Port, subscription = Before} = State) ->
    case crema_subscription:change(Change, From, Port, Before) of
        {wait, New} -> {noreply, State#state{subscription = New}};
        {reply, Error, Same} -> {reply, Error, State#state{subscription = Same}}
    end;
handle_call(_, _From, State) ->
    {reply, {error, unknown_call}, State}.

-spec handle_cast(term(), state()) ->
    {noreply, state()} | {stop, {shutdown, stopped}, state()}.
handle_cast({stop, Timeout}, State) ->
    {stop, {shutdown, stopped}, stopping(Timeout, State)};
handle_cast({nacked, Slot, Runs, Reason}, State) ->
    {noreply, nacked([{Slot, Runs}], Reason, State)};
%% What is in its transaction must not come again.
handle_cast({delegate, _, _}, #state{options = #{commit := exactly_once}} = State) ->
    {noreply, State};
handle_cast({delegate, Slots, Pid}, #state{delegates = Delegates} = State) ->
    {noreply, State#state{delegates = crema_delegates:add(Slots, Pid, Delegates)}};
handle_cast(_, State) ->
    {noreply, State}.

-spec nacked([{crema_slots:id(), crema_runs:runs()}], Reason :: term(), state()) -> state().
nacked(Some, Reason, #state{slots = Slots} = State) ->
    ok = crema_slots:nacked(Some, Reason, Slots),
    State.

-spec stopping(default | timeout(), state()) -> state().
stopping(default, #state{consumer = Consumer} = State) ->
    ok = crema_child:stopping(Consumer),
    State;
stopping(Timeout, State) ->
    stopping(default, State#state{stop_timeout = Timeout}).

-spec handle_info(term(), state()) -> {noreply, state()} | {stop, term(), state()}.
handle_info(Message, #state{renewal = none} = State) ->
    handle_other(Message, State);
handle_info(Message, #state{renewal = {Phase, Ref, Trial}} = State) ->
    case renewal(Message, Phase, Ref, Trial, State) of
        unknown ->
            case handle_other(Message, State) of
                {noreply, New} -> parked(New);
                Stop -> Stop
            end;
        Next ->
            Next
    end.

-spec handle_other(term(), state()) -> {noreply, state()} | {stop, term(), state()}.
handle_other({'EXIT', Port, Reason}, #state{port = Port} = State) ->
    {stop, {port_closed, Reason}, State};
handle_other({'EXIT', Consumer, Reason}, #state{consumer = Consumer} = State) ->
    {stop, Reason, State};
%% Not a fault, and starting again would only meet it again.
handle_other({crema_handler_stop, Reason}, State) ->
    {stop, {shutdown, {handler_stop, Reason}}, State};
%% Not for good: its supervisor starts it again.
handle_other({crema_unreleased, Reason}, State) ->
    {stop, Reason, State};
handle_other({crema_remedy_stop, Failure}, State) ->
    beyond_use(crema_remedy:reason(Failure), State);
handle_other(Message, #state{slots = Slots} = State) ->
    case crema_slots:handle(Message, Slots) of
        {ok, New} ->
            {noreply, State#state{slots = New}};
        {paused, New} ->
            {noreply, with_paused(State#state{slots = New})};
        {stop, Reason, New} ->
            beyond_use(Reason, State#state{slots = New});
        %% Not for good: its supervisor starts it again.
        {leave, Reason, New} ->
            {stop, Reason, State#state{slots = New}};
        unknown ->
            of_others(Message, State)
    end.

-spec of_others(term(), state()) -> {noreply, state()} | {stop, term(), state()}.
of_others(Message, #state{subscription = Subscription, delegates = Before} = State) ->
    case crema_subscription:answered(Message, State#state.port, Subscription) of
        {ok, New} ->
            {noreply, State#state{subscription = New}};
        {missing, Topic, New} ->
            {noreply, missing(Topic, State#state{subscription = New})};
        unknown ->
            case crema_delegates:handle(Message, Before) of
                {failed, Some, Reason, Delegates} ->
                    {noreply, nacked(Some, Reason, State#state{delegates = Delegates})};
                unknown ->
                    of_client(crema_client:handle(Message, State#state.client), State)
            end
    end.

-spec of_client(Handled, state()) -> {noreply, state()} | {stop, term(), state()} when
    Handled ::
        {ok, crema_client:client()}
        | {fatal, crema_error:reason(), crema_client:client()}
        | {other, term(), crema_client:client()}
        | unknown.
of_client({ok, Client}, State) ->
    {noreply, State#state{client = Client}};
of_client({fatal, {unreleased_instance_id, _} = Reason, Client}, State) ->
    _ = erlang:send_after(?UNRELEASED_MS, self(), {crema_unreleased, Reason}),
    {noreply, State#state{client = Client}};
%% The driver could not tell what the member goes by: its supervisor starts it again.
of_client({fatal, {no_memory, _} = Reason, Client}, State) ->
    {stop, Reason, State#state{client = Client}};
of_client({fatal, {Code, _}, Client}, State) ->
    {stop, {shutdown, {fatal, Code}}, State#state{client = Client}};
of_client({other, Event, Client}, State) ->
    event(Event, State#state{client = Client});
of_client(unknown, State) ->
    {noreply, State}.

-spec missing(binary(), state()) -> state().
missing(Topic, #state{client = Client} = State) ->
    Text = ["Subscribed topic not available: ", Topic],
    {error, Reason} = crema_error:make(unknown_topic_or_part, Text, #{topic => Topic}),
    State#state{client = crema_client:tell(Reason, Client)}.

%% What starting again would not mend.
-spec beyond_use(crema_error:reason(), state()) -> {stop, {shutdown, crema_error:reason()}, state()}.
beyond_use(Reason, #state{client = Client} = State) ->
    {stop, {shutdown, Reason}, State#state{client = crema_client:fatal(Reason, Client)}}.

-spec event(term(), state()) -> {noreply, state()} | {stop, term(), state()}.
%% The status first: whoever hears the event may look at it, and wait for it.
event({assigned, Given}, #state{slots = Slots, about = About, client = Client} = State) ->
    %% A broker has answered, and may have done so before the client's own question.
    Connected = State#state{client = crema_client:connected(Client)},
    #state{slots = Added} = New = with_slots(crema_slots:assigned(Given, Slots), Connected),
    ok = crema_group_events:assigned([{Topic, Partition} || {_, Topic, Partition, _} <- Given], About),
    ok = check_room(New),
    {noreply, New#state{slots = crema_slots:started(Given, Added)}};
event({revoked, Ids, Lost}, #state{slots = Slots} = State) ->
    {noreply, State#state{slots = crema_slots:revoked(Ids, Lost, Slots)}};
event({released, Result, _Offsets}, #state{slots = Slots} = State) ->
    {noreply, with_slots(crema_slots:released(Result, Slots), State)};
event({assign_failed, {error, {no_memory, _} = Reason}}, State) ->
    {stop, Reason, State};
event({assign_failed, {error, Reason}}, State) ->
    beyond_use(Reason, State);
%% Nothing failed: what is stored is committed after the rebalance.
event({commit_failed, {error, {Code, _}}, _Places}, State) when
    Code =:= rebalance_in_progress; Code =:= stale_member_epoch
->
    {noreply, State};
event({commit_failed, {error, Reason}, Places}, #state{about = About} = State) ->
    ok = crema_group_events:commit_failed(Reason, Places, About),
    {noreply, State};
event({offset_reset, Old, New, Topic, Partition, From, To}, State) ->
    #state{slots = Slots, options = #{out_of_range := Policy}, about = About} = State,
    ok = crema_group_events:offset_reset({Topic, Partition}, {From, To}, Policy, About),
    {noreply, State#state{slots = crema_slots:renewed(Old, New, Slots)}};
event({sought, Moved}, #state{about = About} = State) ->
    Renew = fun({Old, New, Topic, Partition, From, To}, Slots) ->
        ok = crema_group_events:sought({Topic, Partition}, {From, To}, About),
        crema_slots:renewed(Old, New, Slots)
    end,
    {noreply, State#state{slots = lists:foldl(Renew, State#state.slots, Moved)}};
event({partition_error, Topic, Partition, {error, {Code, Details}}}, State) ->
    #state{client = Client, slots = Slots} = State,
    Reason = {Code, Details#{topic => Topic, partition => Partition}},
    ok = crema_slots:partition_error({Topic, Partition}, Reason, Slots),
    {noreply, State#state{client = crema_client:tell(Reason, Client)}};
event(_, State) ->
    {noreply, State}.

-spec check_room(state()) -> ok.
check_room(#state{slots = Slots, options = Options, about = About}) ->
    case {length(crema_slots:places(Slots)), crema_prefetch:room(Options)} of
        {Count, Room} when Count > Room -> crema_group_events:prefetch_short(Count, Room, About);
        _ -> ok
    end.

%% What is assigned has changed.
-spec with_slots(crema_slots:slots(), state()) -> state().
with_slots(Slots, #state{client = Client} = State) ->
    Status = #{assigned => crema_slots:places(Slots), joined => true},
    with_paused(State#state{slots = Slots, client = crema_client:set(Status, Client)}).

-spec with_paused(state()) -> state().
with_paused(#state{slots = Slots, client = Client} = State) ->
    Status = #{paused => crema_slots:paused(Slots)},
    State#state{client = crema_client:set(Status, Client)}.

%% ---- another client -----------------------------------------------------------------

-spec renewal(term(), Phase, reference() | none, crema_renewal:trial(), state()) ->
    {noreply, state()} | {stop, term(), state()} | unknown
when
    Phase :: trial | settling | parking | closing.
renewal({renewal_timeout, Ref}, settling, Ref, Trial, State) -> park(Trial, State);
renewal({Ref, _}, settling, Ref, Trial, State) -> park(Trial, State);
renewal({renewal_timeout, Ref}, parking, Ref, Trial, State) ->
    parked(State#state{renewal = {parking, none, Trial}});
renewal({renewal_timeout, Ref}, closing, Ref, Trial, State) ->
    ok = old_left(unknown, State),
    join(Trial, State);
renewal({Ref, Answer}, closing, Ref, Trial, State) ->
    ok = old_left(crema_client:left(Answer), State),
    join(Trial, State);
renewal(_, closing, _, _, _) -> unknown;
renewal(Message, Phase, Ref, Trial, State) ->
    case crema_renewal:handle(Message, Trial) of
        connected ->
            {noreply, settle(Trial, State)};
        {failed, Reason} when Phase =:= trial ->
            ok = crema_renewal:failed(Reason, Trial),
            {noreply, State#state{renewal = none}};
        {ok, New} ->
            {noreply, State#state{renewal = {Phase, Ref, New}}};
        _ ->
            unknown
    end.

%% What was delivered is handled and acknowledged, by whomever, as far as time goes.
-spec settle(crema_renewal:trial(), state()) -> state().
settle(Trial, #state{port = Port, options = #{drain_timeout := Timeout}} = State) ->
    {ok, Ref} = crema_port:ask_async(Port, ?CMD_SETTLE, fun(Tag) -> Tag end),
    State#state{renewal = {settling, timed(Timeout, Ref), Trial}}.

-spec timed(non_neg_integer(), reference()) -> reference().
timed(Timeout, Ref) ->
    _ = erlang:send_after(Timeout, self(), {renewal_timeout, Ref}),
    Ref.

-spec park(crema_renewal:trial(), state()) -> {noreply, state()}.
park(Trial, #state{slots = Slots, options = #{drain_timeout := Timeout}} = State) ->
    Ref = timed(Timeout, make_ref()),
    parked(State#state{
        slots = crema_handover:park(Slots), renewal = {parking, Ref, Trial}
    }).

%% A handler that is stuck is not waited for: its worker goes on with the new client
%% when it returns.
-spec parked(state()) -> {noreply, state()}.
parked(#state{renewal = {parking, Ref, Trial}, slots = Slots} = State) ->
    case crema_handover:is_parked(Ref =:= none, Slots) of
        true -> {noreply, leave(Trial, State)};
        false -> {noreply, State}
    end;
parked(State) ->
    {noreply, State}.

%% The old client commits what is acknowledged, and leaves the group. From here on the
%% new one is asked.
-spec leave(crema_renewal:trial(), state()) -> state().
leave(Trial, #state{port = Old, client = Client, slots = Slots, about = About} = State) ->
    #{stop_timeout := Timeout, remote_ack_timeout := Remote} = State#state.options,
    {Port, Options} = {crema_renewal:port(Trial), crema_renewal:options(Trial)},
    ok = crema_registry:note(State#state.consumer, ?MODULE, fun() -> Options end),
    Positions = positions(Old, Options),
    Ref = crema_client:close_async(Old),
    ok = crema_registry:set_port(Port),
    ok = crema_group_events:revoked(crema_slots:places(Slots), crema_deadline:now(), About),
    Attached = crema_client:attach(Port, Options, crema_client:detach(Client)),
    Status = #{assigned => [], paused => [], joined => false},
    State#state{
        port = Port,
        options = Options,
        client = crema_client:set(Status, Attached),
        slots = crema_handover:keep(Port, Options, Positions, Slots),
        delegates = crema_delegates:new(Port, Remote),
        renewal = {closing, timed(Timeout, Ref), Trial}
    }.

%% Where handlers are that keep their offsets themselves.
-spec positions(port(), map()) -> #{crema_group_events:place() => non_neg_integer()}.
positions(Port, #{commit := external}) ->
    {ok, Slots} = crema_port:command(Port, ?CMD_SLOTS, <<>>),
    maps:from_list([{{element(2, S), element(3, S)}, element(8, S)} || S <- Slots]);
positions(_Port, _Options) ->
    #{}.

-spec join(crema_renewal:trial(), state()) -> {noreply, state()} | {stop, term(), state()}.
join(Trial, #state{port = Port, subscription = Subscription, client = Client} = State) ->
    case crema_subscription:begin_with(Port, Subscription) of
        {ok, New} ->
            ok = crema_renewal:done(crema_client:metadata(Client), Trial),
            {noreply, State#state{subscription = New, renewal = none}};
        {error, Reason} ->
            {stop, Reason, State}
    end.

%% ---- the end -----------------------------------------------------------------------

%% Workers finish the message they are at and acknowledge; then the client is
%% closed, which commits and leaves the group.
-spec terminate(term(), state()) -> ok.
terminate(Reason, #state{stop_timeout = Stop, options = Options, slots = Slots} = State) ->
    #state{port = Port, about = About} = State,
    Began = crema_deadline:now(),
    Deadline = crema_deadline:in(Stop),
    Drained = min(Deadline, crema_deadline:in(maps:get(drain_timeout, Options))),
    case Reason of
        %% What is fatal to its client has cost the member its membership.
        {shutdown, {fatal, _}} ->
            ok = crema_client:close(Port, Deadline),
            crema_group_events:lost(crema_slots:drain(lost, Drained, Slots), About);
        _ ->
            Places = crema_slots:drain(stopped, Drained, Slots),
            Committed = committed(crema_client:leave(Port, Deadline), Places, Options),
            crema_group_events:released(Committed, Places, Began, About)
    end,
    old_gone(Deadline, State).

%% What is known of the last commit, when the client is gone or may take no longer.
-spec committed(crema_client:left(), [crema_group_events:place()], map()) ->
    ok | lost | crema_error:error().
committed(unknown, [_ | _], #{commit := auto}) ->
    Text = "the time to stop was over before the last commit was answered",
    crema_error:make(timed_out, Text, #{});
committed(unknown, _Places, _Options) ->
    ok;
committed(Left, _Places, _Options) ->
    Left.

%% The client whose place was taken leaves the group, too.
-spec old_gone(crema_deadline:deadline(), state()) -> ok.
old_gone(Deadline, #state{renewal = {closing, Ref, _}} = State) ->
    receive
        {Ref, Answer} -> old_left(crema_client:left(Answer), State)
    after crema_deadline:left(Deadline) -> old_left(unknown, State)
    end;
old_gone(_Deadline, _State) ->
    ok.

%% That its partitions were given back was told when it was closed.
-spec old_left(crema_client:left(), state()) -> ok.
old_left(Left, #state{slots = Slots, options = Options, about = About}) ->
    Places = crema_handover:kept(Slots),
    case committed(Left, Places, Options) of
        ok -> ok;
        lost -> crema_group_events:lost(Places, About);
        {error, Reason} -> crema_group_events:commit_failed(Reason, Places, About)
    end.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    crema_secret:status(Status, fun(#state{slots = Slots}) -> crema_slots:places(Slots) end).
