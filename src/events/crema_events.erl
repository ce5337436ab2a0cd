%% @doc crema's events, in the shape of telemetry: handlers are attached to the
%% names of events and called by the process in which an event happens.
%%
%% {@link crema_event_table} lists the events. Each also goes to telemetry when
%% the host has it: whether it does is looked up once, when this process starts, in
%% whatever order the applications do. A host without telemetry loses nothing.
%%
%% The process here only owns the table of handlers and changes it; handlers are
%% read from the table and run by whoever sends the event. If the owner is killed
%% its handlers are gone with it and must be attached again.
-module(crema_events).

-behaviour(gen_server).

-include_lib("kernel/include/logger.hrl").

%% Handlers.
-export([attach/4, detach/1, list_handlers/0]).
%% Sending.
-export([execute/3, listening/1]).
%% Owner of the table.
-export([start_link/0, init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export([format_report/1, without_arguments/1]).

-export_type([event_name/0, handler_id/0, handler_function/0, handler/0]).

-type event_name() :: [atom(), ...].
%% Begins with `crema'.

-type handler_id() :: term().

-type handler_function() :: fun(
    (event_name(), Measurements :: map(), Metadata :: map(), Config :: term()) -> term()
).

-type handler() :: #{
    id := handler_id(),
    event_name := event_name(),
    function := handler_function(),
    config := term()
}.

-define(TABLE, ?MODULE).
%% Holds the module to forward to: read for every event, changed at start only.
-define(FORWARD, {?MODULE, forward}).

%% @doc Calls `Function(EventName, Measurements, Metadata, Config)' for each of
%% the named events from now on; `EventNames' is one name or a list of them.
%%
%% The function runs in the process in which the event happens, often one that
%% handles messages: it must be quick. One that raises is detached from all its
%% events, and an error is logged. `already_exists' when the identifier is in use,
%% `not_started' when the crema application is not running. Raises `badarg', with
%% a reason, for a name that does not begin with `crema' or a function that does
%% not take four arguments.
-spec attach(handler_id(), event_name() | [event_name(), ...], handler_function(), term()) ->
    ok | {error, already_exists | not_started}.
attach(HandlerId, EventNames, Function, Config) ->
    Names = names(EventNames),
    is_function(Function, 4) orelse
        error({badarg, <<"an event handler is a function of four arguments">>}),
    call({attach, HandlerId, Names, Function, Config}).

-spec names(term()) -> [event_name(), ...].
names([First | _] = Name) when is_atom(First) ->
    names([Name]);
names([_ | _] = Names) ->
    crema_input:is_proper(Names) andalso lists:all(fun is_event_name/1, Names) orelse
        bad_name(),
    lists:usort(Names);
names(_) ->
    bad_name().

-spec is_event_name(term()) -> boolean().
is_event_name([crema, _ | _] = Name) ->
    crema_input:is_proper(Name) andalso lists:all(fun is_atom/1, Name);
is_event_name(_) ->
    false.

-spec bad_name() -> no_return().
bad_name() ->
    error({badarg, <<"the name of an event is a list of atoms that begins with crema">>}).

%% @doc Ends a handler for all its events.
-spec detach(handler_id()) -> ok | {error, not_found | not_started}.
detach(HandlerId) ->
    call({detach, HandlerId, any}).

-spec call(term()) -> ok | {error, already_exists | not_found | not_started}.
call(Request) ->
    try
        gen_server:call(?MODULE, Request, infinity)
    catch
        exit:_ -> {error, not_started}
    end.

%% @doc The handlers attached here, one entry for each handler and event; those
%% attached to telemetry are not among them.
-spec list_handlers() -> [handler()].
list_handlers() ->
    try ets:tab2list(?TABLE) of
        Rows -> [handler(Row) || Row <- Rows]
    catch
        error:badarg -> []
    end.

-spec handler({event_name(), handler_id(), handler_function(), term()}) -> handler().
handler({Name, HandlerId, Function, Config}) ->
    #{id => HandlerId, event_name => Name, function => Function, config => Config}.

%% @private Sends an event: runs its handlers, in the order in which they were
%% attached, and passes it on to telemetry. Always `ok', also while the crema
%% application is not running.
-spec execute(event_name(), Measurements :: map(), Metadata :: map()) -> ok.
execute(EventName, Measurements, Metadata) ->
    lists:foreach(
        fun(Row) -> run(Row, Measurements, Metadata) end, lookup(EventName)
    ),
    forward(EventName, Measurements, Metadata).

%% @private Whether anyone would get an event: ask before gathering what is costly to
%% measure. With telemetry its handlers count as well.
-spec listening(event_name()) -> boolean().
listening(EventName) ->
    lookup(EventName) =/= [] orelse forwarded(EventName).

-spec lookup(event_name()) -> [{event_name(), handler_id(), handler_function(), term()}].
lookup(EventName) ->
    try
        ets:lookup(?TABLE, EventName)
    catch
        error:badarg -> []
    end.

-spec run({event_name(), handler_id(), handler_function(), term()}, map(), map()) -> ok.
run({EventName, HandlerId, Function, Config}, Measurements, Metadata) ->
    try
        Function(EventName, Measurements, Metadata, Config),
        ok
    catch
        Class:Reason:Stacktrace ->
            failed(EventName, HandlerId, Function, {Class, Reason, Stacktrace})
    end.

%% Several processes may run into the same broken handler at once: whoever
%% detaches it logs. The function is named too, so that a handler attached under
%% the same identifier meanwhile stays.
-spec failed(event_name(), handler_id(), handler_function(), Raised) -> ok when
    Raised :: {error | exit | throw, term(), list()}.
failed(EventName, HandlerId, Function, {Class, Reason, Stacktrace}) ->
    case call({detach, HandlerId, Function}) of
        ok ->
            ?LOG_ERROR(
                #{
                    label => {crema_events, handler_detached},
                    event_name => EventName,
                    handler_id => HandlerId,
                    class => Class,
                    reason => Reason,
                    stacktrace => without_arguments(Stacktrace)
                },
                #{report_cb => fun ?MODULE:format_report/1}
            );
        {error, _} ->
            ok
    end.

%% @private The arguments of a failed call hold a handler's configuration and
%% whatever a message or an event was about: neither belongs in a log.
-spec without_arguments(list()) -> list().
without_arguments(Stacktrace) ->
    [
        case Entry of
            {Module, Name, Args, Location} when is_list(Args) ->
                {Module, Name, length(Args), Location};
            _ ->
                Entry
        end
     || Entry <- Stacktrace
    ].

%% @private
-spec format_report(logger:report()) -> {io:format(), [term()]}.
format_report(#{
    event_name := EventName,
    handler_id := HandlerId,
    class := Class,
    reason := Reason,
    stacktrace := Stacktrace
}) ->
    {"crema: the event handler ~tp was detached, for it failed on ~tp with ~tp:~n~tp~n~tp", [
        HandlerId, EventName, Class, Reason, Stacktrace
    ]}.

%% The module is a value, not written as a call, so that neither xref nor
%% dialyzer asks for a dependency on telemetry. What it raises (its application
%% is not running, say) must not reach the sender.
-spec forward(event_name(), map(), map()) -> ok.
forward(EventName, Measurements, Metadata) ->
    case persistent_term:get(?FORWARD, none) of
        none ->
            ok;
        Module ->
            try
                Module:execute(EventName, Measurements, Metadata),
                ok
            catch
                _:_ -> ok
            end
    end.

-spec forwarded(event_name()) -> boolean().
forwarded(EventName) ->
    case persistent_term:get(?FORWARD, none) of
        none ->
            false;
        Module ->
            try
                Module:list_handlers(EventName) =/= []
            catch
                _:_ -> false
            end
    end.

%% @private Starts the owner of the table of handlers, under crema's supervisor.
-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @private
-spec init([]) -> {ok, no_state}.
init([]) ->
    %% A bag keeps the handlers of one event in the order of attaching.
    ?TABLE = ets:new(?TABLE, [bag, protected, named_table, {read_concurrency, true}]),
    persistent_term:put(?FORWARD, telemetry_module()),
    {ok, no_state}.

-spec telemetry_module() -> telemetry | none.
telemetry_module() ->
    case code:ensure_loaded(telemetry) of
        {module, telemetry} -> telemetry;
        {error, _} -> none
    end.

%% @private
-spec handle_call(term(), gen_server:from(), no_state) -> {reply, term(), no_state}.
handle_call({attach, HandlerId, Names, Function, Config}, _From, State) ->
    {reply, insert(HandlerId, Names, Function, Config), State};
handle_call({detach, HandlerId, Function}, _From, State) ->
    {reply, delete(HandlerId, Function), State};
handle_call(_Other, _From, State) ->
    {reply, {error, unknown_call}, State}.

-spec insert(handler_id(), [event_name()], handler_function(), term()) ->
    ok | {error, already_exists}.
insert(HandlerId, Names, Function, Config) ->
    case rows(HandlerId) of
        [] ->
            true = ets:insert(?TABLE, [{Name, HandlerId, Function, Config} || Name <- Names]),
            ok;
        [_ | _] ->
            {error, already_exists}
    end.

-spec delete(handler_id(), handler_function() | any) -> ok | {error, not_found}.
delete(HandlerId, Function) ->
    Rows = [
        Row
     || {_, _, Attached, _} = Row <- rows(HandlerId), Function =:= any orelse Attached =:= Function
    ],
    lists:foreach(fun(Row) -> ets:delete_object(?TABLE, Row) end, Rows),
    case Rows of
        [] -> {error, not_found};
        [_ | _] -> ok
    end.

%% By comparison rather than by pattern: an identifier like '_' is a term too.
-spec rows(handler_id()) -> [{event_name(), handler_id(), handler_function(), term()}].
rows(HandlerId) ->
    [Row || {_, Id, _, _} = Row <- ets:tab2list(?TABLE), Id =:= HandlerId].

%% @private
-spec handle_cast(term(), no_state) -> {noreply, no_state}.
handle_cast(_Other, State) ->
    {noreply, State}.

%% @private
-spec handle_info(term(), no_state) -> {noreply, no_state}.
handle_info(_Other, State) ->
    {noreply, State}.
