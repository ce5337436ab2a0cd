%% @private What producers and consumers share as children of a user's
%% supervisor: specification, orderly stop, warnings.
-module(crema_child).

-export([start_link/3, spec/5, child_id/2, works_for/1, stop/2]).
-export([shown_name/1, shown_client/1, log_warnings/1]).

%% How long a supervisor has for starting an owner again that died while it
%% was asked to stop.
-define(RESTART_MS, 100).

%% @doc Starts a gen_server or a supervisor under the name that parsed options
%% have.
-spec start_link(gen_server | supervisor, module(), map()) -> {ok, pid()} | {error, term()}.
start_link(gen_server, Module, #{name := undefined} = Options) ->
    gen_server:start_link(Module, Options, []);
start_link(gen_server, Module, #{name := Name} = Options) ->
    gen_server:start_link(Name, Module, Options, []);
start_link(supervisor, Module, #{name := undefined} = Options) ->
    supervisor:start_link(Module, Options);
start_link(supervisor, Module, #{name := Name} = Options) ->
    supervisor:start_link(Name, Module, Options).

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
%% arguments of a child that fails. Others are kept as they are, redacted, so
%% that the start tells what is wrong with them.
-spec spec(
    producer | consumer | cluster, module(), worker | supervisor, Options :: map() | list(), Shutdown
) -> supervisor:child_spec() when Shutdown :: fun((map()) -> timeout()).
spec(Scope, Module, Type, Options, Shutdown) ->
    {Given, Name, Stop} =
        case crema_options:parse(Scope, Options) of
            {ok, Parsed} -> {Parsed, maps:get(name, Parsed), Shutdown(Parsed)};
            {error, _} -> {crema_secret:redact(Options), undefined, 5000}
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

%% @doc What a supervisor knows a child by: its name, if it has one.
-spec child_id(module(), term()) -> term().
child_id(Module, undefined) -> Module;
child_id(_Module, Name) -> shown_name(Name).

%% @doc The calling process is one that the owner waits for when it stops.
-spec works_for(Owner :: pid()) -> ok.
works_for(Owner) ->
    _ = put(?MODULE, Owner),
    ok.

%% @doc Stops the process of a client, and waits for it. The owner keeps the
%% deadline; it is not this process's business.
-spec stop(crema_registry:ref(), default | timeout()) -> ok.
stop(Ref, Timeout) ->
    Employer = get(?MODULE),
    case {crema_registry:lookup(Ref), crema_registry:whereis_name(Ref)} of
        {{ok, _, _, _, Owner}, _} when Owner =:= self(); Owner =:= Employer ->
            %% In an event handler or a callback: it cannot wait for itself.
            gen_server:cast(Owner, {stop, Timeout});
        {{ok, _, _, _, Owner}, Pid} when is_pid(Pid) ->
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
            end;
        _ ->
            ok
    end.

-spec log_warnings(map()) -> ok.
log_warnings(#{warnings := Warnings, name := Name}) ->
    lists:foreach(
        fun(Text) ->
            logger:warning("crema ~0p: ~ts", [shown_client(Name), Text])
        end,
        Warnings
    ).
