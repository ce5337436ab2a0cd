%% @private What producers and consumers share as children of a user's
%% supervisor: specification, orderly stop, warnings.
-module(crema_child).

-export([running/0, start_link/3, restarts/2, spec/5, shutdown/1, child_id/2]).
-export([works_for/1, works_for_one/1, stop/2, stopping/1, is_stopping/1]).
-export([shown_name/1, shown_client/1, log_warnings/1]).

%% How long a supervisor has for starting an owner again that died while it
%% was asked to stop.
-define(RESTART_MS, 100).

%% Time beside its own deadline that a supervisor gives a client to stop.
-define(SHUTDOWN_MARGIN, 2000).

%% Time for one that will hardly start.
-define(SHUTDOWN, 12000).

%% @doc Starts a gen_server or a supervisor under the name that parsed options
%% have.
-spec start_link(gen_server | supervisor, module(), map()) -> {ok, pid()} | {error, term()}.
start_link(Behaviour, Module, #{name := Name} = Options) ->
    case {running(), Behaviour, Name} of
        {{error, _} = Error, _, _} ->
            Error;
        {ok, gen_server, undefined} ->
            gen_server:start_link(Module, Options, []);
        {ok, gen_server, _} ->
            gen_server:start_link(Name, Module, Options, []);
        {ok, supervisor, undefined} ->
            supervisor:start_link(Module, Options);
        {ok, supervisor, _} ->
            supervisor:start_link(Name, Module, Options)
    end.

%% @doc Whether the application runs, without which no client does.
-spec running() -> ok | crema_error:error().
running() ->
    case crema_registry:is_there() of
        true ->
            ok;
        false ->
            Text = "crema's application is not running: see application:ensure_all_started(crema)",
            crema_error:make(not_started, Text, #{})
    end.

%% @doc Called in a supervisor that starts its children, for the first of them: when
%% that is the next start after so many within so many seconds, it crashes. If it
%% gave up by itself it would end with `shutdown', as after a stop, and whoever
%% supervises it would not start it again. All children have ended by then.
-spec restarts(Most :: pos_integer(), Seconds :: pos_integer()) -> ok.
restarts(Most, Seconds) ->
    Now = erlang:monotonic_time(second),
    Before =
        case get({?MODULE, starts}) of
            undefined -> [];
            Starts -> [Start || Start <- Starts, Now - Start =< Seconds]
        end,
    case length(Before) > Most of
        true ->
            About = #{client => self()},
            crema_log:log(error, "crema: ~p has crashed too often and ends", [self()], About),
            true = exit(self(), kill);
        false ->
            ok
    end,
    _ = put({?MODULE, starts}, [Now | Before]),
    ok.

%% @doc A parsed name as its user wrote it.
-spec shown_name(term()) -> term().
shown_name({local, Name}) -> Name;
shown_name(Name) -> Name.

%% @doc How the calling owner is called in the log.
-spec shown_client(term()) -> term().
shown_client(undefined) -> self();
shown_client(Name) -> shown_name(Name).

%% @doc The child specification. Options that parse are given to the child in
%% their parsed form, in which secrets are functions: supervisors print the
%% arguments of a child that fails. What comes from the environment is not among
%% them: each start reads it. Options that do not parse are kept as they are, their
%% secrets hidden, so that the start tells what is wrong with them, if it still is.
-spec spec(
    producer | consumer | cluster, module(), worker | supervisor, Options :: map() | list(), Shutdown
) -> supervisor:child_spec() when Shutdown :: fun((map()) -> timeout()).
spec(Scope, Module, Type, Options, Shutdown) ->
    {Given, Name, Stop} =
        case parse(Scope, Options) of
            {ok, #{sources := _} = Parsed} ->
                {crema_settings:given(Parsed), maps:get(name, Parsed), Shutdown(Parsed)};
            {ok, Parsed} ->
                {Parsed, maps:get(name, Parsed), Shutdown(Parsed)};
            {error, _} ->
                {crema_secret:hide(Options), name(Options), ?SHUTDOWN}
        end,
    #{
        id => child_id(Module, Name),
        start => {Module, start_link, [Given]},
        type => Type,
        %% Not after a stop that was asked for, nor after what starting again
        %% cannot mend: a fenced member would fence the other in turn.
        restart => transient,
        shutdown => Stop
    }.

-spec parse(producer | consumer | cluster, map() | list()) ->
    {ok, crema_options:parsed()} | {error, crema_options:reason()}.
parse(cluster, Options) -> crema_options:parse(cluster, Options);
parse(Scope, Options) -> crema_settings:parse(Scope, Options).

%% Its name, whatever else is wrong.
-spec name(term()) -> term().
name(Options) ->
    Given =
        case crema_input:pairs(Options) of
            {ok, Pairs, _} -> proplists:get_value(name, Pairs);
            error -> undefined
        end,
    case crema_option_type:check(name, Given) of
        {ok, Name} -> Name;
        {error, _} -> undefined
    end.

%% @doc How long a supervisor waits for a child that keeps such a deadline (milliseconds)
%% itself. No supervisor can wait for longer than the most it may be.
-spec shutdown(non_neg_integer()) -> non_neg_integer().
shutdown(Deadline) ->
    min(Deadline + ?SHUTDOWN_MARGIN, 16#FFFFFFFF).

%% @doc What a supervisor knows a child by: its name, if it has one.
-spec child_id(module(), term()) -> term().
child_id(Module, undefined) -> Module;
child_id(_Module, Name) -> shown_name(Name).

%% @doc The calling process works for an owner, which waits for it when it stops.
-spec works_for(pid()) -> ok.
works_for(Owner) ->
    _ = put(?MODULE, Owner),
    ok.

%% @doc Whether the calling process is one of these owners, or works for one, and
%% runs an event handler: it cannot wait for its end.
-spec works_for_one([pid()]) -> boolean().
works_for_one(Owners) ->
    lists:member(self(), Owners) orelse lists:member(get(?MODULE), Owners).

%% @doc Stops the process of a client, and waits for it. The owner keeps the
%% deadline; it is not this process's business.
-spec stop(crema_registry:ref(), default | timeout()) -> ok.
stop(Ref, Timeout) ->
    Timeout =:= default orelse crema_call:is_timeout(Timeout) orelse erlang:error(badarg),
    case {crema_registry:lookup(Ref), crema_registry:whereis_name(Ref)} of
        {{ok, _, _, _, Owner}, Pid} when is_pid(Pid) ->
            case works_for_one([Owner]) of
                true -> gen_server:cast(Owner, {stop, Timeout});
                false -> stop(Pid, Owner, Timeout)
            end;
        {not_started, Pid} when is_pid(Pid) ->
            case is_starting_again(Pid) of
                true -> stop(Pid, Timeout);
                false -> ok
            end;
        _ ->
            ok
    end.

%% @doc Called by the owner of a client that is a supervisor, when it was told to stop. Its
%% supervisor may be about to start all children again for the sake of another one.
-spec stopping(pid()) -> ok.
stopping(Supervisor) ->
    crema_registry:note(Supervisor, {?MODULE, stopping}, true).

-spec is_stopping(pid()) -> boolean().
is_stopping(Supervisor) ->
    crema_registry:noted(Supervisor, {?MODULE, stopping}, false).

%% Whether it is a supervisor whose owner has just died. It answers when there is
%% another one, or when it is to try once more.
-spec is_starting_again(pid()) -> boolean().
is_starting_again(Pid) ->
    try
        crema_registry:is_alias(Pid) andalso is_list(supervisor:which_children(Pid))
    catch
        exit:_ -> false
    end.

-spec stop(pid(), Owner :: pid(), default | timeout()) -> ok.
stop(Pid, Owner, Timeout) ->
    Monitor = erlang:monitor(process, Pid),
    %% A supervisor that ends by itself ends with `shutdown', which
    %% would end whoever started it by start_link and now stops it.
    true = unlink(Pid),
    Wait =
        try gen_server:call(Owner, {stop, Timeout}, infinity) of
            _ -> infinity
        catch
            %% It died of something else, and may be started again.
            exit:_ -> ?RESTART_MS
        end,
    receive
        {'DOWN', Monitor, process, Pid, _} -> ok
    after Wait ->
        true = erlang:demonitor(Monitor, [flush]),
        stop(Pid, Timeout)
    end.

-spec log_warnings(map()) -> ok.
log_warnings(#{warnings := Warnings, name := Name}) ->
    lists:foreach(
        fun(Text) ->
            Shown = shown_client(Name),
            crema_log:log(warning, "crema ~0p: ~ts", [Shown, Text], #{client => Shown})
        end,
        Warnings
    ).
