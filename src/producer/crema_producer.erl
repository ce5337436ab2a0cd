%% @doc A producer: a process for a supervision tree that owns one client.
%%
%% ```
%% {ok, P} = crema_producer:start_link(#{
%%     name => orders, bootstrap_servers => "localhost:9092"}),
%% {ok, #{offset := _}} = crema:produce(orders, #{topic => orders, value => "1"}).
%% '''
%% The process only looks after the client's life: produce calls do not pass
%% through it. Its options are those of {@link crema_options}, scope `producer'.
-module(crema_producer).
-behaviour(gen_server).

-export([start_link/1, child_spec/1, stop/1, stop/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/2]).

-record(state, {
    port :: port(),
    client :: crema_client:client(),
    flush_timeout :: timeout()
}).

%% Time beside the flush that a supervisor gives a producer to stop.
-define(SHUTDOWN_MARGIN, 2000).

%% @doc Starts a producer. It does not wait for a broker: see
%% `crema:await_ready/2'. Wrong options are all named in the error.
-spec start_link(Options :: map() | list()) ->
    {ok, pid()} | {error, crema_error:reason() | {already_started, pid()}}.
start_link(Options) ->
    case crema_options:parse(producer, Options) of
        {ok, Parsed} -> crema_child:start_link(gen_server, ?MODULE, Parsed);
        {error, _} = Error -> Error
    end.

%% @doc A child specification. Its `shutdown' is the flush deadline and a margin,
%% and secrets among the options are wrapped so that no report shows them.
-spec child_spec(Options :: map() | list()) -> supervisor:child_spec().
child_spec(Options) ->
    crema_child:spec(producer, ?MODULE, worker, Options, fun(#{flush_timeout := Timeout}) ->
        Timeout + ?SHUTDOWN_MARGIN
    end).

%% @doc Stops a producer: flushes up to its `flush_timeout', then purges, so
%% that every message is reported. Safe from any process, and when it has
%% stopped already.
-spec stop(crema_registry:ref()) -> ok.
stop(Producer) ->
    crema_child:stop(Producer, default).

%% @doc The same with another deadline, in milliseconds. At the deadline it
%% returns; what is then left is finished in the background.
-spec stop(crema_registry:ref(), Timeout :: non_neg_integer()) -> ok.
stop(Producer, Timeout) ->
    crema_child:stop(Producer, Timeout).

%% @private
-spec init(map()) -> {ok, #state{}} | {stop, crema_error:reason()}.
init(Options) ->
    process_flag(trap_exit, true),
    Properties = crema_properties:kafka_properties(producer, Options),
    Limits = [
        {<<"max_messages">>, maps:get(max_queue_messages, Options)},
        {<<"max_bytes">>, maps:get(max_queue_bytes, Options)},
        {<<"max_unclaimed">>, maps:get(max_unclaimed, Options)}
    ],
    case crema_client:open(producer, Properties, Limits) of
        {ok, Port, _} ->
            Settings = #{
                on_full => maps:get(on_full, Options),
                full_timeout => maps:get(full_timeout, Options),
                timeout => maps:get(request_timeout, Options)
            },
            crema_child:log_warnings(Options),
            Client = crema_client:new(producer, Port, Options),
            ok = crema_registry:register(producer, Port, Settings, #{}),
            {ok, #state{
                port = Port,
                client = crema_client:set(#{}, Client),
                flush_timeout = maps:get(flush_timeout, Options)
            }};
        {error, Reason} ->
            {stop, Reason}
    end.

%% @private
-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {stop, normal, ok, #state{}}.
handle_call({stop, default}, _From, State) ->
    {stop, normal, ok, State};
handle_call({stop, Timeout}, _From, State) ->
    {stop, normal, ok, State#state{flush_timeout = Timeout}};
handle_call(statistics, _From, #state{client = Client} = State) ->
    {reply, crema_client:statistics(Client), State};
handle_call(_, _From, State) ->
    {reply, {error, unknown_call}, State}.

%% @private
-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

%% @private
-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({'EXIT', Port, Reason}, #state{port = Port} = State) ->
    {stop, {port_closed, Reason}, State};
handle_info({'EXIT', _, Reason}, State) ->
    {stop, Reason, State};
handle_info(Message, #state{client = Client} = State) ->
    case crema_client:handle(Message, Client) of
        {ok, New} -> {noreply, State#state{client = New}};
        {fatal, {Code, _}, New} -> {stop, end_reason(Code), State#state{client = New}};
        {other, _, New} -> {noreply, State#state{client = New}};
        unknown -> {noreply, State}
    end.

%% A producer that begins anew is mended, but not one whose transactional.id
%% another has: each would fence the other in turn.
-spec end_reason(crema_error:code()) -> term().
end_reason(Code) when Code =:= fenced; Code =:= producer_fenced; Code =:= invalid_producer_epoch ->
    {shutdown, {fatal, Code}};
end_reason(Code) ->
    {fatal, Code}.

%% @private Flushes unless the client is beyond it, and hands it to the reaper,
%% which reports what is left.
-spec terminate(term(), #state{}) -> ok.
terminate(Reason, #state{port = Port, flush_timeout = Timeout}) ->
    Deadline = crema_deadline:in(Timeout),
    _ =
        case Reason of
            {shutdown, {fatal, _}} -> ok;
            {fatal, _} -> ok;
            {port_closed, _} -> ok;
            _ -> crema_produce:flush_port(Port, Timeout)
        end,
    crema_client:close(Port, Deadline).

%% @private
-spec format_status(normal | terminate, list()) -> term().
format_status(_, [_Dictionary, State]) ->
    State#state.port.
