%% Watches that no crema port or process holds a scheduler for long, while a
%% suite runs.
%%
%% The emulator measures by the clock, so a thread that the system does not let
%% run looks like one that holds on, as does one that waits for a lock which such
%% a thread has. What Linux says a thread has waited for a processor is taken off.
-module(crema_ct_watch).

-export([start/0, stop/1]).

-define(LIMIT_MS, 20).
-define(SAMPLE_MS, 100).

-record(state, {
    ports = #{} :: #{port() => string()},
    modules :: [module()],
    %% milliseconds that each thread had waited, the last first
    samples :: [#{string() => integer()}],
    found = [] :: [term()]
}).

start() ->
    Self = self(),
    Watch = spawn(fun() -> init(Self) end),
    receive
        {Watch, watching} -> Watch
    end.

%% @doc The reports that concern crema.
stop(Watch) ->
    Monitor = erlang:monitor(process, Watch),
    Watch ! {stop, self()},
    receive
        {Watch, Found} ->
            erlang:demonitor(Monitor, [flush]),
            Found;
        {'DOWN', Monitor, _, _, Reason} ->
            error({watch_died, Reason})
    end.

init(Parent) ->
    _ = application:load(crema),
    {ok, Modules} = application:get_key(crema, modules),
    _ = erlang:system_monitor(self(), [{long_schedule, ?LIMIT_MS}]),
    %% Tells the drivers of ports that are gone when the report is read.
    _ = erlang:trace(new_ports, true, [ports]),
    Open = [{Port, erlang:port_info(Port, name)} || Port <- erlang:ports()],
    Parent ! {self(), watching},
    Ports = maps:from_list([{Port, Name} || {Port, {name, Name}} <- Open]),
    loop(sample(#state{ports = Ports, modules = Modules, samples = []})).

loop(State) ->
    receive
        {trace, Port, open, _, Name} ->
            loop(State#state{ports = (State#state.ports)#{Port => atom_to_list(Name)}});
        {trace, _, _, _} ->
            loop(State);
        {trace, _, _, _, _} ->
            loop(State);
        {monitor, Who, long_schedule, Info} ->
            loop(judge(Who, Info, State));
        {stop, From} ->
            _ = erlang:system_monitor(undefined),
            _ = erlang:trace(new_ports, false, [ports]),
            From ! {self(), lists:reverse(State#state.found)};
        sample ->
            loop(sample(State))
    end.

sample(State) ->
    _ = erlang:send_after(?SAMPLE_MS, self(), sample),
    State#state{samples = lists:sublist([waited() | State#state.samples], 3)}.

judge(Who, Info, State) ->
    Name = name(Who, State),
    {timeout, Time} = lists:keyfind(timeout, 1, Info),
    Kept = kept_waiting(State),
    case is_ours(Name, Info, State) andalso Time - Kept >= ?LIMIT_MS of
        true ->
            State#state{found = [{Name, Info, {waited, Kept}} | State#state.found]};
        false ->
            io:format(user, "long_schedule, not ours: ~0p ~0p ~0p~n", [Name, Info, Kept]),
            State
    end.

name(Port, #state{ports = Ports}) when is_port(Port) ->
    {port, maps:get(Port, Ports, unknown)};
name(Pid, _) ->
    case erlang:process_info(Pid, dictionary) of
        {dictionary, Dictionary} ->
            {process, proplists:get_value('$initial_call', Dictionary, Pid)};
        undefined ->
            {process, Pid}
    end.

is_ours({port, Name}, _Info, _State) ->
    is_list(Name) andalso lists:prefix("crema_drv", Name);
is_ours({process, Initial}, Info, #state{modules = Modules}) ->
    Running = [Module || {_, {Module, _, _}} <- Info],
    Own =
        case Initial of
            {Module, _, _} -> [Module];
            _ -> []
        end,
    lists:any(fun(Module) -> lists:member(Module, Modules) end, Own ++ Running).

%% The most that a thread has waited since some tenths of a second.
kept_waiting(#state{samples = Samples}) ->
    Before = lists:last(Samples),
    Now = maps:to_list(waited()),
    lists:max([0 | [Wait - maps:get(Thread, Before, Wait) || {Thread, Wait} <- Now]]).

%% Milliseconds that each thread was ready to run and did not.
waited() ->
    maps:from_list([
        {Task, binary_to_integer(lists:nth(2, binary:split(Stat, <<" ">>, [global]))) div 1000000}
     || Task <- filelib:wildcard("/proc/self/task/*"),
        {ok, Stat} <- [file:read_file(filename:join(Task, "schedstat"))]
    ]).
