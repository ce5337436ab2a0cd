%% A process that has an operating system process of an application (crema_chaos_app), one
%% life after another: starts it, tells it what to do, hears of it, kills and pauses it.
-module(crema_chaos_vm).

-export([start_link/2, tell/2, await/2, kill/1, start/1, pause/1, resume/1, node/1]).
-export([init/2]).
-compile({no_auto_import, [node/1]}).

-record(state, {
    app :: pos_integer(),
    about :: map(),
    port = none :: port() | none,
    os_pid :: integer() | undefined,
    node :: term(),
    said = [] :: [term()],
    waiting = none :: none | {pid(), reference(), atom()}
}).

-define(START_MS, 60000).

%% @doc The application of that number; About has `folder', `bootstrap', `seed' and `lives', the
%% counter of lives.
start_link(App, About) -> {ok, spawn_link(?MODULE, init, [App, About])}.

%% @doc Begins a life, and returns when it is ready.
start(Vm) ->
    Vm ! start,
    ready = await(Vm, ready).

%% @doc A term, which it reads as a line. Without a life nobody hears it.
tell(Vm, Term) ->
    Vm ! {tell, Term},
    ok.

%% @doc The next term of that name that it says, or has said in this life.
await(Vm, Name) ->
    Ref = make_ref(),
    Vm ! {await, {self(), Ref, Name}},
    receive
        {Ref, Said} -> Said
    after 3 * ?START_MS -> {late, Name}
    end.

kill(Vm) -> signal(Vm, "KILL").
pause(Vm) -> signal(Vm, "STOP").
resume(Vm) -> signal(Vm, "CONT").

%% @doc The name of its present life.
node(Vm) -> signal(Vm, none).

signal(Vm, Signal) ->
    Ref = make_ref(),
    Vm ! {signal, self(), Ref, Signal},
    receive
        {Ref, Node} -> Node
    end.

%% @private
init(App, About) -> loop(#state{app = App, about = About}).

loop(#state{port = Port} = State) ->
    receive
        start when Port =:= none ->
            loop(started(State));
        {tell, Term} when Port =/= none ->
            true = port_command(Port, io_lib:format("~0p.~n", [Term])),
            loop(State);
        {tell, _} ->
            loop(State);
        {await, Who} ->
            loop(answered(State#state{waiting = Who}));
        {signal, From, Ref, Signal} ->
            From ! {Ref, State#state.node},
            loop(signalled(Signal, State));
        {Port, {data, {_, Line}}} ->
            loop(heard(Line, State));
        {Port, {exit_status, Status}} ->
            %% Not by its own doing, but at its end.
            [{stopped, _} | _] = [{Status, State#state.said} || Status =/= 0] ++ [{stopped, Status}],
            loop(State#state{port = none})
    end.

started(#state{app = App, about = About} = State) ->
    #{folder := Folder, bootstrap := Bootstrap, seed := Seed, lives := Lives} = About,
    Life = atomics:add_get(Lives, 1, 1),
    Paths = lists:append([["-pa", Path] || Path <- code:get_path(), hd(Path) =:= $/]),
    Own = [Folder, integer_to_list(App), integer_to_list(Life), Bootstrap, integer_to_list(Seed)],
    Port = open_port({spawn_executable, os:find_executable("erl")}, [
        {args, ["-noshell", "-kernel", "logger_level", "error"] ++ Paths ++
            ["-run", "crema_chaos_app", "main", "-extra" | Own]},
        {line, 10000},
        exit_status,
        stderr_to_stdout,
        {env, [{"ERL_CRASH_DUMP_SECONDS", "0"}]}
    ]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    State#state{port = Port, os_pid = Pid, node = {app, App, Life}, said = []}.

signalled(Signal, #state{port = Port} = State) when Port =:= none; Signal =:= none ->
    State;
signalled(Signal, #state{os_pid = Pid, port = Port} = State) ->
    "" = os:cmd("kill -" ++ Signal ++ " " ++ integer_to_list(Pid)),
    case Signal of
        "KILL" ->
            receive
                {Port, {exit_status, _}} -> State#state{port = none}
            end;
        _ ->
            State
    end.

%% What is no term of ours is a line of the log.
heard(Line, #state{app = App, said = Said, about = #{folder := Folder}} = State) ->
    case parsed(Line) of
        {ok, Term} ->
            answered(State#state{said = [Term | Said]});
        error ->
            Log = filename:join(Folder, lists:concat(["app-", App, ".log"])),
            ok = file:write_file(Log, [Line, $\n], [append]),
            State
    end.

parsed(Line) ->
    case erl_scan:string(Line ++ ".") of
        {ok, [{atom, _, ready} | _], _} -> {ok, ready};
        {ok, [{'{', _}, {atom, _, Name} | _] = Tokens, _} when
            Name =:= settled; Name =:= stopped; Name =:= died
        ->
            case erl_parse:parse_term(Tokens) of
                {ok, Term} -> {ok, Term};
                {error, _} -> {ok, {Name, Line}}
            end;
        _ -> error
    end.

answered(#state{waiting = {From, Ref, Name}, said = Said} = State) ->
    case [Term || Term <- Said, Term =:= Name orelse (is_tuple(Term) andalso element(1, Term) =:= Name)] of
        [Term | _] ->
            From ! {Ref, Term},
            State#state{waiting = none};
        [] ->
            State
    end;
answered(#state{waiting = none} = State) ->
    State.
