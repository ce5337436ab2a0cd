%% An application in a VM of its own, which is killed: producers, members of groups, and who
%% does to them what it is told, line by line.
-module(crema_chaos_app).

-export([main/0, member/3]).
-export([keep/3]).

-record(state, {
    node :: term(),
    writer :: crema_chaos_history:writer(),
    keepers :: #{{module(), atom()} => pid()},
    producing :: [pid()],
    handlers :: ets:table(),
    before :: map()
}).

%% How long a client that has ended is waited for, before the next one.
-define(AGAIN_MS, 200).
-define(STOP_MS, 60000).

%% @doc Arguments: folder, number of the application, number of its life, brokers, seed.
main() ->
    [Folder, App, Life, Bootstrap, Seed] = init:get_plain_arguments(),
    [Number, LifeNumber] = [list_to_integer(N) || N <- [App, Life]],
    {ok, _} = application:ensure_all_started(crema),
    Run = #{
        app => Number, life => LifeNumber, node => {app, Number, LifeNumber}, folder => Folder,
        bootstrap => list_to_binary(Bootstrap), seed => list_to_integer(Seed)
    },
    {_, Monitor} = spawn_monitor(fun() ->
        State = start(Run),
        say(ready),
        obey(State)
    end),
    receive
        {'DOWN', Monitor, _, _, Reason} ->
            say({died, Reason}),
            halt(1)
    end.

say(What) -> io:format("~0p~n", [What]).

start(#{node := Node, folder := Folder} = Run) ->
    %% What is loaded later would look like a leak.
    {ok, Modules} = application:get_key(crema, modules),
    ok = code:ensure_modules_loaded(Modules),
    Before = sample(),
    Handlers = ets:new(handlers, [public]),
    tell_trouble(Run),
    #state{
        node = Node,
        writer = crema_chaos_history:open(Folder),
        keepers = maps:from_list([
            {{Module, Name}, spawn_link(?MODULE, keep, [Module, Options, present])}
         || {Module, #{name := Name} = Options} <- clients(Run#{handlers => Handlers})
        ]),
        producing = crema_chaos_producing:start_link(Run),
        handlers = Handlers,
        before = Before
    }.

clients(#{app := App} = Run) ->
    [
        {crema_producer, crema_chaos_setup:producer(Of, Run)}
     || Of <- crema_chaos_setup:producers()
    ] ++ [
        {crema_consumer, crema_chaos_setup:consumer(Of, Run)}
     || Of <- crema_chaos_setup:groups_of(App)
    ].

%% ---- clients ----------------------------------------------------------------------------

%% @private Starts a client again whenever it ends, as a supervisor does that never gives up.
keep(Module, Options, Wanted) ->
    _ = process_flag(trap_exit, true),
    case Wanted of
        present -> kept_present(Module, Options, Module:start_link(Options));
        away -> kept_away(Module, Options)
    end.

kept_present(Module, Options, {ok, Pid}) ->
    receive
        {'EXIT', Pid, _} -> again(Module, Options);
        {leave, From, Ref} ->
            ok = Module:stop(Pid),
            From ! {Ref, left},
            kept_away(Module, Options);
        come -> kept_present(Module, Options, {ok, Pid})
    end;
kept_present(Module, Options, {error, _}) ->
    again(Module, Options).

again(Module, Options) ->
    receive
        {leave, From, Ref} ->
            From ! {Ref, left},
            kept_away(Module, Options)
    after ?AGAIN_MS -> keep(Module, Options, present)
    end.

kept_away(Module, Options) ->
    receive
        come -> keep(Module, Options, present);
        {leave, From, Ref} ->
            From ! {Ref, left},
            kept_away(Module, Options)
    end.

%% @doc The name of a consumer's member, which is another when its supervisor has started it
%% again; written down.
member(Consumer, #{node := Node, group := Group}, Writer) ->
    Owner =
        case crema_registry:lookup(Consumer) of
            {ok, consumer, _, _, Pid} -> pid_to_list(Pid);
            not_started -> gone
        end,
    Member = {Node, Owner},
    Entry = #{what => member, member => Member, node => Node, group => Group},
    crema_chaos_history:write(Writer, Entry),
    Member.

%% What members are told of, and handlers are not.
tell_trouble(#{folder := Folder, node := Node}) ->
    Tell = fun
        ([_, _, What], _, #{client := Client, group := Group, partitions := Places} = Of, _) ->
            Writer = crema_chaos_history:open(Folder),
            Member = member(Client, #{node => Node, group => Group}, Writer),
            Entry = #{what => What, member => Member, reason => maps:get(code, Of, none)},
            crema_chaos_history:write(Writer, [
                Entry#{topic => Topic, partition => Partition}
             || {Topic, Partition} <- Places
            ]),
            crema_chaos_history:close(Writer);
        ([_, _, offset_reset], #{to := To}, Of, _) ->
            Writer = crema_chaos_history:open(Folder),
            Where = maps:with([group, topic, partition], Of),
            crema_chaos_history:write(Writer, Where#{what => reset, offset => To}),
            crema_chaos_history:close(Writer)
    end,
    Events = [[crema, consumer, Name] || Name <- [commit_failed, lost, offset_reset]],
    ok = crema_events:attach(?MODULE, Events, Tell, none).

%% ---- what it is told -----------------------------------------------------------------------

%% Ends with the driver of the run.
obey(State) ->
    case io:read(standard_io, '') of
        {ok, settle} ->
            Ended = crema_chaos_producing:settle(State#state.producing, 2 * ?STOP_MS),
            say({settled, [Reason || Reason <- Ended, Reason =/= normal]}),
            obey(State);
        {ok, stop} ->
            stop(State);
        {ok, Fault} ->
            did(Fault, State),
            obey(State);
        eof ->
            halt(1)
    end.

did({leave, Draw}, State) ->
    {_, Keeper} = drawn(members(State), Draw),
    Keeper ! {leave, self(), make_ref()};
did({come, Draw}, State) ->
    {_, Keeper} = drawn(members(State), Draw),
    Keeper ! come;
did({kill_handler, Draw}, #state{handlers = Handlers} = State) ->
    Alive = [Row || {Pid, _, _} = Row <- lists:sort(ets:tab2list(Handlers)), is_process_alive(Pid)],
    [
        begin
            killed(slot, {Member, Slot}, State),
            exit(Pid, kill)
        end
     || Alive =/= [], {Pid, Member, Slot} <- [drawn(Alive, Draw)]
    ];
did({kill_client, Draw}, State) ->
    kill(drawn(producers(State), Draw), [owner], Draw, State);
did({kill_member, Draw}, State) ->
    kill(drawn(members(State), Draw), [owner, consumer, child], Draw, State);
did({kill_port, Draw}, State) ->
    kill(drawn(members(State) ++ producers(State), Draw), [port], Draw, State);
did({seek, Draw}, State) ->
    {{_, Name}, _} = drawn(members(State), Draw),
    seek(Name, Draw, State).

members(State) -> kept_by(crema_consumer, State).
producers(State) -> kept_by(crema_producer, State).

kept_by(Module, #state{keepers = Keepers}) ->
    [{{M, Name}, Keeper} || {{M, Name}, Keeper} <- lists:sort(maps:to_list(Keepers)), M =:= Module].

drawn(List, Draw) -> lists:nth(Draw rem length(List) + 1, List).

kill({{Module, Name}, _}, Parts, Draw, #state{node = Node} = State) ->
    case crema_registry:lookup(Name) of
        {ok, _, Port, _, Owner} ->
            Kind = case Module of crema_consumer -> member; crema_producer -> client end,
            killed(Kind, {Node, pid_to_list(Owner)}, State),
            true = exit(part(drawn(Parts, Draw div 100), {Name, Port, Owner}, Draw), kill);
        not_started ->
            ok
    end.

part(owner, {_, _, Owner}, _Draw) -> Owner;
part(port, {_, Port, Owner}, _Draw) when Port =:= none -> Owner;
part(port, {_, Port, _}, _Draw) -> Port;
part(consumer, {Name, _, _}, _Draw) -> whereis(Name);
part(child, {Name, _, Owner}, Draw) ->
    %% The producer of one with exactly_once among them. Not while it ends.
    Children = try supervisor:which_children(Name) catch exit:_ -> [] end,
    drawn([Owner | [Pid || {_, Pid, _, _} <- lists:sort(Children), is_pid(Pid)]], Draw div 10).

killed(Kind, Who, #state{writer = Writer}) ->
    crema_chaos_history:write(Writer, #{what => killed, kind => Kind, who => Who}).

%% Back by some messages, in one of its partitions.
seek(Name, Draw, #state{writer = Writer}) ->
    case crema:info(Name) of
        #{partitions := [_ | _] = Partitions} ->
            Place = drawn(Partitions, Draw),
            #{topic := Topic, partition := Partition, stored := Stored} = Place,
            Offset = max(0, Stored - Draw rem 100),
            Group = atom_to_binary(Name),
            crema_chaos_history:write(Writer, #{
                what => seek, group => Group, topic => Topic, partition => Partition,
                offset => Offset
            }),
            _ = crema:seek(Name, {Topic, Partition}, Offset),
            ok;
        _ ->
            ok
    end.

%% ---- the end -------------------------------------------------------------------------------

stop(#state{keepers = Keepers, node = Node, writer = Writer, before = Before}) ->
    All = maps:values(Keepers),
    Refs = [
        begin
            Ref = make_ref(),
            Keeper ! {leave, self(), Ref},
            Ref
        end
     || Keeper <- All
    ],
    Left = [left(Ref) || Ref <- Refs],
    [unlink(Keeper) || Keeper <- All],
    [exit(Keeper, kill) || Keeper <- All],
    _ = reaped(erlang:monotonic_time(millisecond) + ?STOP_MS),
    crema_chaos_history:write(Writer, [
        #{what => sample, node => Node, 'when' => before, values => Before},
        #{what => sample, node => Node, 'when' => 'after', values => sample()}
    ]),
    say({stopped, length([late || late <- Left])}),
    halt(0).

left(Ref) ->
    receive
        {Ref, left} -> left
    after ?STOP_MS -> late
    end.

reaped(Deadline) ->
    #{reapers := Reapers} = crema:info(),
    case Reapers =:= 0 orelse erlang:monotonic_time(millisecond) > Deadline of
        true -> ok;
        false ->
            receive
            after 50 -> reaped(Deadline)
            end
    end.

sample() ->
    _ = [erlang:garbage_collect(Pid) || Pid <- erlang:processes()],
    Names = [Name || Port <- erlang:ports(), {name, Name} <- [erlang:port_info(Port, name)]],
    (maps:with([reapers, threads], crema:info()))#{
        clients => length([Name || Name <- Names, lists:prefix("crema_drv", Name)]),
        processes => erlang:system_info(process_count),
        ports => erlang:system_info(port_count),
        atoms => erlang:system_info(atom_count),
        memory => erlang:memory(processes) + erlang:memory(binary) + erlang:memory(ets),
        descriptors => length(filelib:wildcard("/proc/self/fd/*"))
    }.
