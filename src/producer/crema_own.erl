%% @private The second clients of a producer, for variants with `client => own':
%% one for each configuration of topics. Each is a producer of its own, below a
%% supervisor that is linked to the producer and ends with it.
-module(crema_own).
-behaviour(supervisor).

-export([find/3, closed/0]).
-export([new/1, renew/1, changes/2, start/2, why/3, stop/2, await/2]).
-export([start_client/2, init/1]).

-export_type([own/0]).

-record(own, {
    supervisor = none :: none | pid()
}).
-opaque own() :: #own{}.

%% ---- in the process of a caller ---------------------------------------------------

%% @doc The port of a producer's client for that configuration, which is started
%% if it does not run, and its settings.
-spec find(pid(), crema_topic_config:config(), timeout()) ->
    {ok, {crema_port:client() | none, crema_target:settings()}} | crema_error:error().
find(Producer, Config, Timeout) ->
    case port(crema_registry:own(Producer, Config)) of
        {ok, _} = Found -> Found;
        none -> ask(Producer, Config, Timeout)
    end.

-spec ask(pid(), crema_topic_config:config(), timeout()) ->
    {ok, {crema_port:client() | none, crema_target:settings()}} | crema_error:error().
ask(Producer, Config, Timeout) ->
    case crema_producer:own_client(Producer, Config, Timeout) of
        {ok, _} = Started ->
            case port(Started) of
                {ok, _} = Found -> Found;
                none -> closed()
            end;
        {error, _} = Error ->
            Error
    end.

-spec port({ok, pid()} | none) -> {ok, {crema_port:client() | none, crema_target:settings()}} | none.
port({ok, Pid}) ->
    case crema_registry:lookup(Pid) of
        {ok, producer, Port, Settings, _} -> {ok, {Port, Settings}};
        _ -> none
    end;
port(none) ->
    none.

%% @doc It is away for now.
-spec closed() -> crema_error:error().
closed() ->
    crema_error:make(closed, "the variant's client has ended", #{}).

%% ---- in the producer's process ----------------------------------------------------

%% @doc None yet. `Options' are the producer's, parsed.
-spec new(Options :: map()) -> own().
new(Options) ->
    ok = renew(Options),
    #own{}.

%% @doc Clients that are started from now on have these options. In a function, for
%% the table is everybody's.
-spec renew(Options :: map()) -> ok.
renew(Options) ->
    crema_registry:note(self(), ?MODULE, fun() -> Options end).

%% @doc What a renewal of the producer changes of the client for that configuration, in a
%% function: it may hold secrets.
-spec changes(pid(), crema_topic_config:config()) -> fun(() -> crema_renewal:changes()).
changes(Producer, Config) ->
    fun() -> maps:with([kafka, bootstrap_servers], options(Producer, Config)) end.

-spec options_of(pid()) -> map().
options_of(Producer) ->
    (crema_registry:noted(Producer, ?MODULE, fun maps:new/0))().

%% @doc Starts the client for that configuration, unless it runs.
-spec start(crema_topic_config:config(), own()) -> {{ok, pid()} | crema_error:error(), own()}.
start(Config, #own{supervisor = none} = Own) ->
    case maps:get(kafka, options_of(self())) of
        #{<<"transactional.id">> := _} ->
            {would_fence(), Own};
        _ ->
            {ok, Supervisor} = supervisor:start_link(?MODULE, []),
            start(Config, Own#own{supervisor = Supervisor})
    end;
start(Config, #own{supervisor = Supervisor} = Own) ->
    Spec = crema_producer:child_spec(options(self(), Config)),
    Child = Spec#{id := Config, start := {?MODULE, start_client, [self(), Config]}},
    {started(supervisor:start_child(Supervisor, Child), Supervisor, Config), Own}.

-spec would_fence() -> crema_error:error().
would_fence() ->
    Text = "a second client of a transactional producer would fence the first",
    crema_error:make(bad_options, Text, #{field => client}).

-spec options(pid(), crema_topic_config:config()) -> map().
options(Producer, Config) ->
    #{kafka := Kafka} = Parsed = options_of(Producer),
    Own = Parsed#{name := undefined, kafka := crema_topic_config:over(Config, Kafka)},
    case Config of
        #{<<"partitioner">> := _} -> Own#{partitioner := undefined};
        #{} -> Own
    end.

-spec started({ok, pid()} | {error, term()}, pid(), crema_topic_config:config()) ->
    {ok, pid()} | crema_error:error().
started({ok, _} = Started, _, _) ->
    Started;
started({error, {already_started, Pid}}, _, _) ->
    {ok, Pid};
%% It has ended for good; whoever uses it wants it again.
started({error, already_present}, Supervisor, Config) ->
    started(supervisor:restart_child(Supervisor, Config), Supervisor, Config);
started({error, {{_, #{message := _}} = Reason, _Child}}, _, _) ->
    {error, Reason};
started({error, {_, #{message := _}}} = Error, _, _) ->
    Error;
%% The supervisor is starting it again just now.
started({error, _}, _, _) ->
    closed().

%% @doc Why a producer ends when this process has: the supervisor gives up with
%% `shutdown', which would keep the producer from being started again.
-spec why(pid(), Reason :: term(), own()) -> term().
why(Supervisor, Reason, #own{supervisor = Supervisor}) -> {own_clients, Reason};
why(_Pid, Reason, _Own) -> Reason.

%% @doc Tells them to stop, side by side; they flush up to that time.
-spec stop(timeout(), own()) -> ok.
stop(_Timeout, #own{supervisor = none}) ->
    ok;
stop(Timeout, #own{supervisor = Supervisor}) ->
    try
        lists:foreach(
            fun({_, Pid, _, _}) ->
                is_pid(Pid) andalso gen_server:cast(Pid, {stop, Timeout})
            end,
            supervisor:which_children(Supervisor)
        )
    catch
        %% It is its end that ends the producer.
        exit:_ -> ok
    end.

%% @doc Waits until they have ended, or until the deadline: they then end alone.
-spec await(crema_deadline:deadline(), own()) -> ok.
await(_Deadline, #own{supervisor = none}) ->
    ok;
await(Deadline, #own{supervisor = Supervisor}) ->
    Monitor = erlang:monitor(process, Supervisor),
    true = exit(Supervisor, shutdown),
    receive
        {'DOWN', Monitor, _, _, _} -> ok
    after crema_deadline:left(Deadline) -> ok
    end.

%% ---- in the supervisor ------------------------------------------------------------

%% @doc Also after a crash: the producer's callers find the new one.
-spec start_client(pid(), crema_topic_config:config()) -> {ok, pid()} | {error, term()}.
start_client(Producer, Config) ->
    case crema_producer:start_own(options(Producer, Config)) of
        {ok, Pid} = Started ->
            ok = crema_registry:set_own(Producer, Config, Pid),
            Started;
        {error, _} = Error ->
            Error
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), []}}.
init([]) ->
    {ok, {#{intensity => 3, period => 30}, []}}.
