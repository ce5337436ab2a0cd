%% @private Messages whose acknowledgement was left to a process: when it dies
%% first, they have failed. Kept by the member of the group.
%%
%% Who acknowledges says so to the driver alone, so what is done with is found out
%% when there is much to look after; until then it does no harm.
-module(crema_delegates).

-include("../port/crema_commands.hrl").

-export([new/2, add/3, handle/2]).

-export_type([delegates/0]).

%% So many are looked after before those that are done with are looked for.
-define(MANY, 1000).

-record(delegates, {
    port :: port(),
    %% how long a process of another node may take
    timeout :: pos_integer(),
    held = #{} :: #{{Slot :: pos_integer(), Offset :: integer()} => pid()},
    monitors = #{} :: #{pid() => reference()},
    many = ?MANY :: pos_integer()
}).

-opaque delegates() :: #delegates{}.
-type some() :: [{Slot :: pos_integer(), crema_runs:runs()}].

-spec new(port(), Timeout :: pos_integer()) -> delegates().
new(Port, Timeout) ->
    #delegates{port = Port, timeout = Timeout}.

%% @doc Who is handed a message that another had has it now.
-spec add(some(), pid(), delegates()) -> delegates().
add(Slots, Pid, #delegates{held = Held, timeout = Timeout} = Delegates) ->
    Keys = [{Slot, Offset} || {Slot, Runs} <- Slots, Offset <- crema_runs:offsets(Runs)],
    _ = node(Pid) =:= node() orelse erlang:send_after(Timeout, self(), {crema_delegated, Slots}),
    Added = lists:foldl(fun(Key, Acc) -> Acc#{Key => Pid} end, Held, Keys),
    pruned(monitored(Pid, Delegates#delegates{held = Added})).

-spec monitored(pid(), delegates()) -> delegates().
monitored(Pid, #delegates{monitors = Monitors} = Delegates) when is_map_key(Pid, Monitors) ->
    Delegates;
monitored(Pid, #delegates{monitors = Monitors} = Delegates) ->
    Delegates#delegates{monitors = Monitors#{Pid => erlang:monitor(process, Pid)}}.

%% @doc Takes what is for it from the member's mailbox: what has failed, and why.
-spec handle(term(), delegates()) -> {failed, some(), Reason :: term(), delegates()} | unknown.
handle({crema_delegated, Slots}, Delegates) ->
    {failed, Slots, ack_timeout, Delegates};
handle({'DOWN', Monitor, process, Pid, Reason}, #delegates{monitors = Monitors} = Delegates) ->
    case maps:take(Pid, Monitors) of
        {Monitor, Rest} -> dead(Pid, Reason, Delegates#delegates{monitors = Rest});
        _ -> unknown
    end;
handle(_, _Delegates) ->
    unknown.

-spec dead(pid(), term(), delegates()) -> {failed, some(), term(), delegates()}.
dead(Pid, Reason, #delegates{held = Held} = Delegates) ->
    Left = maps:filter(fun(_, Holder) -> Holder =/= Pid end, Held),
    Lost = maps:groups_from_list(
        fun({Slot, _}) -> Slot end,
        fun({_, Offset}) -> Offset end,
        maps:keys(maps:without(maps:keys(Left), Held))
    ),
    Failed = [{Slot, crema_runs:of_offsets(Offsets)} || {Slot, Offsets} <- maps:to_list(Lost)],
    {failed, Failed, {delegate_down, Reason}, Delegates#delegates{held = Left}}.

%% Without what is done with, and monitors of those who have nothing else.
-spec pruned(delegates()) -> delegates().
pruned(#delegates{held = Held, many = Many} = Delegates) when map_size(Held) =< Many ->
    Delegates;
pruned(#delegates{port = Port, held = Held, monitors = Monitors} = Delegates) ->
    Slots = lists:usort([Slot || {Slot, _} <- maps:keys(Held)]),
    Waiting = maps:from_list([{Slot, waiting(Slot, Port)} || Slot <- Slots]),
    Left = maps:filter(
        fun({Slot, Offset}, _) -> crema_runs:has(Offset, maps:get(Slot, Waiting)) end, Held
    ),
    Idle = maps:without(maps:values(Left), Monitors),
    maps:foreach(fun(_, Monitor) -> erlang:demonitor(Monitor, [flush]) end, Idle),
    Delegates#delegates{
        held = Left,
        monitors = maps:without(maps:keys(Idle), Monitors),
        many = max(?MANY, 2 * map_size(Left))
    }.

-spec waiting(pos_integer(), port()) -> crema_runs:index().
waiting(Slot, Port) ->
    case crema_port:command(Port, ?CMD_WAITING, <<Slot:64, 0:64, (1 bsl 63 - 1):64>>) of
        {ok, Runs} -> crema_runs:index(Runs);
        {error, _} -> crema_runs:index([])
    end.
