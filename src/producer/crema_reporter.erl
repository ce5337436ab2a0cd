%% @private Runs the callbacks of a producer's messages: one process for each of
%% its clients, so that neither callers nor the producer's process are held up by
%% them or crash with them.
%%
%% Reports that were sent here hold their places in the queue until it is done
%% with them: a callback that is slow holds up those who produce, and the mailbox
%% has a bound. The process outlives its client until the driver has told that
%% nothing follows, and the producer's process if that is killed.
-module(crema_reporter).
-behaviour(gen_server).

-include("../port/crema_commands.hrl").

-export([start/3, finish/4]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-record(state, {
    producer :: pid(),
    port :: crema_port:client(),
    name :: term(),
    callbacks :: crema_callbacks:callbacks(),
    %% those with later tags are this client's, or nobody's yet
    since :: non_neg_integer()
}).

%% What callbacks have to end in when a stop has used up its time.
-define(LEAST_MS, 500).

%% @doc Starts a reporter for a client that the calling process owns, linked to
%% it. When one died the next goes on where it stopped, but what it was calling
%% back is not repeated. `closed' when the client is.
-spec start(crema_port:client(), Name :: term(), crema_callbacks:callbacks()) ->
    {ok, pid()} | {error, term()}.
start(Port, Name, Callbacks) ->
    %% Not start_link: it shall not end with its parent.
    case gen_server:start(?MODULE, {self(), Port, Name, Callbacks}, []) of
        {ok, Pid} ->
            ok = crema_callbacks:bequeath(Callbacks, Pid),
            {ok, Pid};
        {error, _} = Error ->
            Error
    end.

%% @doc Waits until the callbacks of clients that were closed have run. What is
%% left at the deadline is logged and dropped.
-spec finish([pid()], Name :: term(), crema_callbacks:callbacks(), crema_deadline:deadline()) -> ok.
finish(Pids, Name, Callbacks, Deadline) ->
    Wait =
        case crema_callbacks:last(Callbacks) of
            0 -> 0;
            _ -> max(?LEAST_MS, crema_deadline:left(Deadline))
        end,
    Until = crema_deadline:in(Wait),
    %% Not by links: a callback may have undone them.
    Monitors = [{Pid, erlang:monitor(process, Pid)} || Pid <- Pids],
    Late = [One || {_, M} = One <- Monitors, not has_ended(M, crema_deadline:left(Until))],
    Left = crema_callbacks:count(Callbacks),
    Late =/= [] andalso Left > 0 andalso
        crema_log:log(
            warning,
            "crema producer ~0p: stopped before ~b callbacks were run",
            [crema_child:shown_client(Name), Left],
            #{client => crema_child:shown_client(Name)}
        ),
    lists:foreach(
        fun({Pid, Monitor}) ->
            true = exit(Pid, kill),
            true = has_ended(Monitor, infinity)
        end,
        Late
    ).

-spec has_ended(reference(), timeout()) -> boolean().
has_ended(Monitor, Timeout) ->
    receive
        {'DOWN', Monitor, process, _, _} -> true
    after Timeout -> false
    end.

-spec init({pid(), crema_port:client(), term(), crema_callbacks:callbacks()}) ->
    {ok, #state{}} | {stop, term()}.
init({Producer, Port, Name, Callbacks}) ->
    process_flag(trap_exit, true),
    Since = crema_callbacks:last(Callbacks),
    case crema_port:command(Port, ?CMD_REPORTER, <<>>) of
        ok ->
            true = link(Producer),
            ok = crema_child:works_for(Producer),
            {ok, #state{
                producer = Producer,
                port = Port,
                name = Name,
                callbacks = Callbacks,
                since = Since
            }};
        {error, _} ->
            {stop, closed}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call(_, _From, State) ->
    {reply, {error, unknown_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_info({crema_reports, Port, <<>>}, #state{port = Port} = State) ->
    {stop, normal, State};
handle_info({crema_reports, Port, Packed}, #state{port = Port} = State) ->
    ok = run(crema_packet:tagged_reports(Packed), 0, crema_deadline:now(), State),
    {noreply, State};
handle_info(_, State) ->
    %% Ends of processes that callbacks are linked to, the producer's among them.
    {noreply, State}.

%% Places are given back each millisecond, not with each report: that is a command.
-spec run([{pos_integer(), crema_packet:report()}], non_neg_integer(), integer(), #state{}) -> ok.
run([{Tag, Report} | Rest], Done, Since, State) ->
    ok = call_back(Tag, Report, State),
    case crema_deadline:now() of
        Since ->
            run(Rest, Done + 1, Since, State);
        Now ->
            _ = done_with(Done + 1, State),
            run(Rest, 0, Now, State)
    end;
run([], Done, _Since, State) ->
    case done_with(Done, State) of
        {ok, idle} -> tidy(crema_callbacks:count(State#state.callbacks), State);
        _ -> ok
    end.

-spec done_with(non_neg_integer(), #state{}) -> ok | {ok, idle} | crema_error:error().
done_with(Count, #state{port = Port}) ->
    crema_port:command(Port, ?CMD_REPORTED, <<Count:32>>).

%% No message of the client is under way: rows are of callers that are about to
%% produce, or were killed then. Earlier ones may be of a client before this.
-spec tidy(non_neg_integer(), #state{}) -> ok.
tidy(0, _State) ->
    ok;
tidy(_, #state{callbacks = Callbacks, since = Since} = State) ->
    Orphans = crema_callbacks:orphans(Since, Callbacks),
    case Orphans =/= [] andalso done_with(0, State) of
        {ok, idle} ->
            lists:foreach(fun(Row) -> crema_callbacks:forget(Row, Callbacks) end, Orphans);
        _ ->
            ok
    end.

%% A report without a row was called back by a reporter that died.
-spec call_back(pos_integer(), crema_packet:report(), #state{}) -> ok.
call_back(Tag, Report, #state{callbacks = Callbacks} = State) ->
    case crema_callbacks:take(Tag, Callbacks) of
        {Callback, Origin} ->
            try
                _ = crema_callbacks:call(Callback, crema_report:result(Report, Origin)),
                ok
            catch
                Class:Reason:Stack -> crashed(Class, Reason, Stack, State)
            end;
        none ->
            ok
    end.

%% The log is not told the reason's terms: a label may be the whole message.
-spec crashed(error | exit | throw, term(), list(), #state{}) -> ok.
crashed(Class, Reason, Stack, #state{producer = Producer, name = Name}) ->
    Shown = crema_events:without_arguments(Stack),
    crema_events:execute([crema, producer, callback_crashed], #{}, #{
        client => Producer,
        name => crema_child:shown_name(Name),
        class => Class,
        reason => Reason,
        stacktrace => Shown
    }),
    Client =
        case Name of
            undefined -> Producer;
            _ -> crema_child:shown_name(Name)
        end,
    crema_log:log(
        error,
        "crema producer ~0p: a callback failed with ~s ~0p~n~tp",
        [Client, Class, kind(Reason), Shown],
        #{client => Client}
    ).

-spec kind(term()) -> atom().
kind(Reason) when is_atom(Reason) -> Reason;
kind(Reason) when is_tuple(Reason), is_atom(element(1, Reason)) -> element(1, Reason);
kind(_) -> '_'.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    crema_secret:status(Status, fun(#state{port = Port}) -> Port end).
