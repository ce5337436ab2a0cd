%% Stands between clients and a broker: a listener where the broker says that it is
%% (scripts/kafka, PROXY), whose connections are cut, refused, held up or slowed down.
%%
%% A connection is two processes, one for each direction, which ask the proxy before they
%% pass on what has come.
-module(crema_chaos_proxy).
-behaviour(gen_server).

-export([start_link/2, set/2, cut/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export([accept/3, pass/5]).

-export_type([mode/0]).

-type mode() :: open | refuse | {hold, to | from | both} | {delay, Millis :: pos_integer()}.

-record(state, {
    mode = open :: mode(),
    %% of each connection's first process, which ends with the other
    connections = #{} :: #{pid() => []},
    %% who waits to pass something on
    held = [] :: [{to | from, gen_server:from()}]
}).

-define(OPTIONS, [binary, {active, false}, {nodelay, true}]).

%% @doc Listens on one port of this machine for what goes to another.
-spec start_link(inet:port_number(), inet:port_number()) -> {ok, pid()}.
start_link(Own, Broker) -> gen_server:start_link(?MODULE, {Own, Broker}, []).

%% @doc From now on. To refuse cuts what is there.
-spec set(pid(), mode()) -> ok.
set(Proxy, Mode) -> gen_server:call(Proxy, {set, Mode}, infinity).

%% @doc Cuts all connections, and what is held in them is lost.
-spec cut(pid()) -> ok.
cut(Proxy) -> gen_server:call(Proxy, cut, infinity).

init({Own, Broker}) ->
    _ = process_flag(trap_exit, true),
    Address = {ip, {127, 0, 0, 1}},
    {ok, Listening} = gen_tcp:listen(Own, [Address, {reuseaddr, true}, {backlog, 1000} | ?OPTIONS]),
    _ = spawn_link(?MODULE, accept, [self(), Listening, Broker]),
    {ok, #state{}}.

handle_call({set, refuse}, _From, State) ->
    {reply, ok, cut_all(State#state{mode = refuse})};
handle_call({set, Mode}, _From, #state{held = Held} = State) ->
    {Free, Still} = lists:partition(fun({Way, _}) -> may(Way, Mode) =/= no end, Held),
    [gen_server:reply(From, may(Way, Mode)) || {Way, From} <- lists:reverse(Free)],
    {reply, ok, State#state{mode = Mode, held = Still}};
handle_call(cut, _From, State) ->
    {reply, ok, cut_all(State)};
handle_call(connected, {Pid, _}, #state{mode = Mode, connections = Known} = State) ->
    case Mode of
        refuse -> {reply, refused, State};
        _ -> {reply, ok, State#state{connections = Known#{Pid => []}}}
    end;
handle_call({pass, Way}, From, #state{mode = Mode, held = Held} = State) ->
    case may(Way, Mode) of
        no -> {noreply, State#state{held = [{Way, From} | Held]}};
        Millis -> {reply, Millis, State}
    end.

handle_cast(_, State) -> {noreply, State}.

handle_info({'EXIT', Pid, Reason}, #state{connections = Known} = State) ->
    case Known of
        #{Pid := _} -> {noreply, State#state{connections = maps:remove(Pid, Known)}};
        #{} when Reason =:= normal; Reason =:= killed -> {noreply, State};
        #{} -> {stop, Reason, State}
    end.

%% After so many milliseconds it may be passed on.
may(_Way, {delay, Millis}) -> Millis;
may(Way, {hold, Held}) when Held =:= both; Held =:= Way -> no;
may(_Way, _Mode) -> 0.

cut_all(#state{connections = Known} = State) ->
    [exit(Pid, kill) || Pid <- maps:keys(Known)],
    State#state{connections = #{}, held = []}.

%% @private Ends with the proxy, whose listener it is.
accept(Proxy, Listening, Broker) ->
    case gen_tcp:accept(Listening) of
        {ok, Client} ->
            Pid = spawn(fun() ->
                receive
                    yours -> connect(Proxy, Client, Broker)
                end
            end),
            _ = gen_tcp:controlling_process(Client, Pid),
            Pid ! yours,
            accept(Proxy, Listening, Broker);
        {error, closed} ->
            ok
    end.

connect(Proxy, Client, Broker) ->
    true = link(Proxy),
    case {gen_server:call(Proxy, connected, infinity), dial(Broker)} of
        {ok, {ok, Server}} ->
            %% Killed with this one, to which it is linked, and so its socket.
            _ = spawn_link(?MODULE, pass, [self(), Proxy, from, Server, Client]),
            pass(self(), Proxy, to, Client, Server);
        _ ->
            %% A paused broker is one that answers later, and is connected to.
            ok
    end.

dial(Broker) -> gen_tcp:connect({127, 0, 0, 1}, Broker, ?OPTIONS, 5000).

%% @private Both ends are the first process's, with which they are closed.
pass(Owner, Proxy, Way, Source, Target) ->
    case gen_tcp:recv(Source, 0) of
        {ok, Bytes} ->
            timer:sleep(gen_server:call(Proxy, {pass, Way}, infinity)),
            case gen_tcp:send(Target, Bytes) of
                ok -> pass(Owner, Proxy, Way, Source, Target);
                {error, _} -> exit(Owner, kill)
            end;
        {error, _} ->
            exit(Owner, kill)
    end.
