%% @private From a client's process to its port, without a process in between:
%% one table, read by every produce and acknowledgement. Rows vanish with their
%% process.
-module(crema_registry).
-behaviour(gen_server).

-export([new_table/0, is_there/0, start_link/0, register/4, alias/2, is_alias/1]).
-export([lookup/1, missing/2, whereis_name/1]).
-export([set_port/1, set_client/2, set_settings/1, status/1, set_status/2, own/2, owns/1, set_own/3]).
-export([pool/1, register_pool/3, set_member/3]).
-export([watch/1, note/3, noted/3, forget/2]).
-export([claim/2, all/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-export_type([kind/0, ref/0]).

-type kind() :: producer | consumer | reader | cluster.
%% However a process can be named. A variant is as good as the process whose client
%% it uses, a topic handle as what it is a handle of.
-type ref() ::
    pid() | atom() | {global, term()} | {via, module(), term()} | crema_variant:variant()
    | crema_topic:handle().

-define(TABLE, ?MODULE).

%% @doc Called by the application's supervisor, whose table it is: clients are
%% known as long as the application runs, whatever becomes of this process.
-spec new_table() -> ok.
new_table() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, {read_concurrency, true}]),
    ok.

%% @doc Whether the application runs.
-spec is_there() -> boolean().
is_there() ->
    ets:whereis(?TABLE) =/= undefined.

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Makes the calling process known as the owner of a client.
-spec register(kind(), crema_port:client() | none, Settings :: term(), Status :: map()) -> ok.
register(Kind, Port, Settings, Status) ->
    true = ets:insert(?TABLE, [{self(), Kind, Port, Settings}, {{status, self()}, Status}]),
    watch(self()).

%% @doc What is kept of that process goes with it, whether it has a client or not.
-spec watch(pid()) -> ok.
watch(Pid) ->
    gen_server:call(?MODULE, {watch, Pid}).

%% @doc The calling process has another client, or none for now.
-spec set_port(crema_port:client() | none) -> ok.
set_port(Port) ->
    update([{3, Port}]).

%% @doc The same, with what its settings are from now on: who looks it up finds both.
-spec set_client(crema_port:client() | none, fun((Settings) -> Settings)) -> ok when
    Settings :: term().
set_client(Port, Change) ->
    case lookup(self()) of
        {ok, _, _, Settings, _} -> update([{3, Port}, {4, Change(Settings)}]);
        not_started -> ok
    end.

%% Of the calling process's row.
-spec update([{pos_integer(), term()}]) -> ok.
update(Elements) ->
    try
        true = ets:update_element(?TABLE, self(), Elements),
        ok
    catch
        %% The application is stopping under its users.
        error:badarg -> ok
    end.

%% @doc Makes another process (a supervisor above the owner) lead to the owner.
-spec alias(pid(), Owner :: pid()) -> ok.
alias(Pid, Owner) ->
    true = ets:insert(?TABLE, {Pid, alias, Owner, none}),
    watch(Pid).

%% @doc Whether a process leads to an owner, also to one that is no more.
-spec is_alias(pid()) -> boolean().
is_alias(Pid) ->
    try
        ets:lookup_element(?TABLE, Pid, 2) =:= alias
    catch
        error:badarg -> false
    end.

%% @doc The client of a process. `not_started' when it is none, or no more. Only
%% a producer can be without a port ({@link crema_producer:client/3}).
-spec lookup(ref()) ->
    {ok, kind(), crema_port:client() | none, Settings :: term(), Owner :: pid()} | not_started.
lookup(Pid) when is_pid(Pid) ->
    try ets:lookup(?TABLE, Pid) of
        [{_, alias, Owner, _}] -> lookup(Owner);
        [{_, Kind, Port, Settings}] -> {ok, Kind, Port, Settings, Pid};
        [] -> not_started
    catch
        error:badarg -> not_started
    end;
lookup(Name) ->
    case whereis_name(Name) of
        Pid when is_pid(Pid) -> lookup(Pid);
        undefined -> not_started
    end.

%% @doc Why there is no client of that kind to be used. The row of one that has
%% just ended may still be there.
-spec missing(kind() | client | pool, ref()) -> crema_error:error().
missing(Kind, {crema_variant, _, _, _, _} = Variant) ->
    Producer = crema_variant:producer(Variant),
    case {lookup(Variant), lookup(Producer)} of
        {not_started, {ok, producer, _, _, _}} when Kind =:= producer; Kind =:= client ->
            crema_own:closed();
        _ ->
            missing(Kind, Producer)
    end;
missing(Kind, {crema_topic, _, _} = Handle) ->
    missing(Kind, crema_topic:producer(Handle));
missing(Kind, Ref) when is_map(Ref); is_list(Ref); is_binary(Ref) ->
    %% Which may be anything, options too.
    Text = io_lib:format("a ~s is named by its process or its name, and this is neither", [Kind]),
    crema_error:make(not_found, Text, #{});
missing(Kind, Ref) ->
    {Code, Format, Terms} =
        case {lookup(Ref), whereis_name(Ref)} of
            {{ok, Other, _, _, _}, _} when Other =/= Kind, Kind =/= client ->
                {not_found, "~ts is a ~s, not a ~s", [crema_input:show(Ref), Other, Kind]};
            {not_started, undefined} ->
                {not_found, "no ~s is running under the name ~ts", [Kind, crema_input:show(Ref)]};
            _ ->
                {closed, "~ts is no running ~s", [crema_input:show(Ref), Kind]}
        end,
    crema_error:make(Code, io_lib:format(Format, Terms), #{}).

%% @doc The process of that name, or the process itself.
-spec whereis_name(ref()) -> pid() | undefined.
whereis_name(Pid) when is_pid(Pid) -> Pid;
whereis_name(Name) when is_atom(Name) -> whereis(Name);
whereis_name({global, Name}) -> global:whereis_name(Name);
whereis_name({via, Module, Name}) -> Module:whereis_name(Name);
whereis_name({local, Name}) -> whereis(Name);
whereis_name({crema_variant, _, _, _, _} = Variant) -> crema_variant:process(Variant);
whereis_name({crema_topic, _, _} = Handle) -> whereis_name(crema_topic:producer(Handle));
whereis_name(_) -> undefined.

%% @doc Of an owner that runs: its row is there for a moment longer than it.
-spec status(ref()) -> {ok, map()} | not_started.
status(Ref) ->
    case lookup(Ref) of
        {ok, _, _, _, Owner} ->
            try {is_process_alive(Owner), ets:lookup(?TABLE, {status, Owner})} of
                {true, [{_, Status}]} -> {ok, Status};
                _ -> not_started
            catch
                error:badarg -> not_started
            end;
        not_started ->
            not_started
    end.

%% @doc Called by the owner when its state changes.
-spec set_status(pid(), map()) -> ok.
set_status(Owner, Status) ->
    try
        true = ets:insert(?TABLE, {{status, Owner}, Status}),
        ok
    catch
        %% The application is stopping under its users.
        error:badarg -> ok
    end.

%% @doc The process of a producer's second client for that configuration of topics
%% ({@link crema_own}), which may have ended meanwhile.
-spec own(Producer :: pid(), crema_topic_config:config()) -> {ok, pid()} | none.
own(Producer, Config) ->
    try ets:lookup(?TABLE, {own, Producer, Config}) of
        [{_, Pid}] -> {ok, Pid};
        [] -> none
    catch
        error:badarg -> none
    end.

%% @doc All of them.
-spec owns(Producer :: pid()) -> [{crema_topic_config:config(), pid()}].
owns(Producer) ->
    [{Config, Pid} || [Config, Pid] <- ets:match(?TABLE, {{own, Producer, '$1'}, '$2'})].

-spec set_own(Producer :: pid(), crema_topic_config:config(), pid()) -> ok.
set_own(Producer, Config, Pid) ->
    true = ets:insert(?TABLE, {{own, Producer, Config}, Pid}),
    ok.

%% @doc New settings of the calling process's client. Who remembers the old ones
%% does not hear of it.
-spec set_settings(Settings :: term()) -> ok.
set_settings(Settings) ->
    try
        _ = ets:update_element(?TABLE, self(), {4, Settings}),
        ok
    catch
        error:badarg -> ok
    end.

%% @doc Makes a pool known; the calling process gives out its members.
-spec register_pool(Pool :: pid(), Checkout :: pid(), Size :: pos_integer()) -> ok.
register_pool(Pool, Checkout, Size) ->
    true = ets:insert(?TABLE, {{pool, Pool}, Checkout, erlang:make_tuple(Size, none)}),
    watch(Pool).

%% @doc Called by the supervisor of a pool's members, and by nobody else.
-spec set_member(Pool :: pid(), Index :: pos_integer(), Member :: pid()) -> ok.
set_member(Pool, Index, Member) ->
    [{Key, _, Members}] = ets:lookup(?TABLE, {pool, Pool}),
    true = ets:update_element(?TABLE, Key, {3, setelement(Index, Members, Member)}),
    ok.

%% @doc A pool's process, the one that gives out its members, and the members,
%% each as it was started last.
-spec pool(ref()) -> {ok, pid(), Checkout :: pid(), Members :: tuple()} | none.
pool(Pid) when is_pid(Pid) ->
    try ets:lookup(?TABLE, {pool, Pid}) of
        [{_, Checkout, Members}] -> {ok, Pid, Checkout, Members};
        [] -> none
    catch
        error:badarg -> none
    end;
pool(Name) ->
    case whereis_name(Name) of
        Pid when is_pid(Pid) -> pool(Pid);
        undefined -> none
    end.

%% @doc Keeps something about a client, by key, as long as its process lives.
-spec note(pid(), Key :: term(), Value :: term()) -> ok.
note(Owner, Key, Value) ->
    try
        true = ets:insert(?TABLE, {{note, Owner, Key}, Value}),
        ok
    catch
        %% The application is stopping under its users.
        error:badarg -> ok
    end.

-spec noted(pid() | none, Key :: term(), Default) -> term() | Default.
noted(Owner, Key, Default) ->
    try
        ets:lookup_element(?TABLE, {note, Owner, Key}, 2)
    catch
        error:badarg -> Default
    end.

-spec forget(pid(), Key :: term()) -> ok.
forget(Owner, Key) ->
    try
        true = ets:delete(?TABLE, {note, Owner, Key}),
        ok
    catch
        error:badarg -> ok
    end.

%% @doc Keeps something for one client alone, as long as that process lives.
-spec claim(Key :: term(), pid()) -> ok | {taken, By :: pid()}.
claim(Key, Pid) ->
    gen_server:call(?MODULE, {claim, Key, Pid}).

%% @doc The processes of that kind: a consumer is known by its supervisor, an alias.
-spec all(alias | pool | kind()) -> [pid()].
all(pool) -> [Pid || [Pid] <- ets:match(?TABLE, {{pool, '$1'}, '_', '_'})];
all(Kind) -> [Pid || [Pid] <- ets:match(?TABLE, {'$1', Kind, '_', '_'})].

-spec init([]) -> {ok, no_state}.
init([]) ->
    Rows = ets:tab2list(?TABLE),
    Pids = [Pid || {Pid, _, _, _} <- Rows] ++ [Pid || {{pool, Pid}, _, _} <- Rows],
    _ = [erlang:monitor(process, Pid) || Pid <- Pids],
    {ok, no_state}.

-spec handle_call(term(), gen_server:from(), no_state) -> {reply, term(), no_state}.
handle_call({watch, Pid}, _From, State) ->
    _ = erlang:monitor(process, Pid),
    {reply, ok, State};
%% Its end may not have been told yet.
handle_call({claim, Key, Pid}, _From, State) ->
    case ets:lookup(?TABLE, {claim, Key}) of
        [{_, Other}] when Other =/= Pid ->
            case is_process_alive(Other) of
                true -> {reply, {taken, Other}, State};
                false -> {reply, claimed(Key, Pid), State}
            end;
        _ ->
            {reply, claimed(Key, Pid), State}
    end;
handle_call(_, _From, State) ->
    {reply, {error, unknown_call}, State}.

-spec claimed(Key :: term(), pid()) -> ok.
claimed(Key, Pid) ->
    _ = erlang:monitor(process, Pid),
    true = ets:insert(?TABLE, {{claim, Key}, Pid}),
    ok.

-spec handle_cast(term(), no_state) -> {noreply, no_state}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), no_state) -> {noreply, no_state}.
handle_info({'DOWN', _, process, Pid, _}, State) ->
    true = ets:delete(?TABLE, Pid),
    true = ets:delete(?TABLE, {status, Pid}),
    true = ets:delete(?TABLE, {pool, Pid}),
    true = ets:match_delete(?TABLE, {{own, '_', '_'}, Pid}),
    true = ets:match_delete(?TABLE, {{note, Pid, '_'}, '_'}),
    true = ets:match_delete(?TABLE, {{claim, '_'}, Pid}),
    {noreply, State};
handle_info(_, State) ->
    {noreply, State}.
