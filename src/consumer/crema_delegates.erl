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

-type key() :: {Slot :: pos_integer(), Offset :: integer()}.

-record(delegates, {
    port :: port(),
    %% how long a process of another node may take
    timeout :: pos_integer(),
    %% who has what, by message, with what tells this time from others; and by process
    held = #{} :: #{key() => {pid(), Since :: reference()}},
    holders = #{} :: #{pid() => {Monitor :: reference(), #{key() => held}}},
    many = ?MANY :: pos_integer()
}).

-opaque delegates() :: #delegates{}.
-type some() :: [{Slot :: pos_integer(), crema_runs:runs()}].

-spec new(port(), Timeout :: pos_integer()) -> delegates().
new(Port, Timeout) ->
    #delegates{port = Port, timeout = Timeout}.

%% @doc Who is handed a message that another had has it now.
-spec add(some(), pid(), delegates()) -> delegates().
add(Slots, Pid, #delegates{timeout = Timeout} = Delegates) ->
    Keys = keys(Slots),
    Since = make_ref(),
    _ =
        node(Pid) =:= node() orelse
            erlang:send_after(Timeout, self(), {crema_delegated, Since, Slots}),
    pruned(hold(Keys, Pid, Since, let_go(Keys, Delegates))).

-spec keys(some()) -> [key()].
keys(Slots) ->
    [{Slot, Offset} || {Slot, Runs} <- Slots, Offset <- crema_runs:offsets(Runs)].

-spec hold([key()], pid(), reference(), delegates()) -> delegates().
hold(Keys, Pid, Since, #delegates{held = Held, holders = Holders} = Delegates) ->
    {Monitor, Own} =
        case Holders of
            #{Pid := Holder} -> Holder;
            #{} -> {erlang:monitor(process, Pid), #{}}
        end,
    More = maps:from_keys(Keys, held),
    Delegates#delegates{
        held = maps:merge(Held, maps:from_keys(Keys, {Pid, Since})),
        holders = Holders#{Pid => {Monitor, maps:merge(Own, More)}}
    }.

%% Who has nothing more is not looked after.
-spec let_go([key()], delegates()) -> delegates().
let_go(Keys, Delegates) ->
    lists:foldl(
        fun(Key, #delegates{held = Held, holders = Holders} = Acc) ->
            case maps:take(Key, Held) of
                {{Pid, _}, Rest} ->
                    {Monitor, Own} = maps:get(Pid, Holders),
                    Left = maps:remove(Key, Own),
                    Acc#delegates{held = Rest, holders = still(Pid, Monitor, Left, Holders)};
                error ->
                    Acc
            end
        end,
        Delegates,
        Keys
    ).

-spec still(pid(), reference(), Own, Holders) -> Holders when
    Own :: #{key() => held}, Holders :: #{pid() => {reference(), Own}}.
still(Pid, Monitor, Own, Holders) when map_size(Own) =:= 0 ->
    true = erlang:demonitor(Monitor, [flush]),
    maps:remove(Pid, Holders);
still(Pid, Monitor, Own, Holders) ->
    Holders#{Pid => {Monitor, Own}}.

%% @doc Takes what is for it from the member's mailbox: what has failed, and why.
-spec handle(term(), delegates()) -> {failed, some(), Reason :: term(), delegates()} | unknown.
%% What another process has got meanwhile, or the same anew, is not late.
handle({crema_delegated, Since, Slots}, #delegates{held = Held} = Delegates) ->
    Late = [Key || Key <- keys(Slots), {_, At} <- [maps:get(Key, Held, none)], At =:= Since],
    {failed, by_slot(Late), ack_timeout, let_go(Late, Delegates)};
handle({'DOWN', Monitor, process, Pid, Reason}, #delegates{holders = Holders} = Delegates) ->
    case maps:take(Pid, Holders) of
        {{Monitor, Own}, Rest} ->
            Left = maps:without(maps:keys(Own), Delegates#delegates.held),
            Known = Delegates#delegates{held = Left, holders = Rest},
            {failed, by_slot(maps:keys(Own)), {delegate_down, Reason}, Known};
        _ ->
            unknown
    end;
handle(_, _Delegates) ->
    unknown.

-spec by_slot([key()]) -> some().
by_slot(Keys) ->
    Slots = maps:groups_from_list(fun({Slot, _}) -> Slot end, fun({_, Offset}) -> Offset end, Keys),
    [{Slot, crema_runs:of_offsets(Offsets)} || {Slot, Offsets} <- maps:to_list(Slots)].

%% Without what is done with.
-spec pruned(delegates()) -> delegates().
pruned(#delegates{held = Held, many = Many} = Delegates) when map_size(Held) =< Many ->
    Delegates;
pruned(#delegates{port = Port, held = Held} = Delegates) ->
    Slots = lists:usort([Slot || {Slot, _} <- maps:keys(Held)]),
    Waiting = maps:from_list([{Slot, waiting(Slot, Port)} || Slot <- Slots]),
    Done = [
        Key
     || {Slot, Offset} = Key <- maps:keys(Held), not crema_runs:has(Offset, maps:get(Slot, Waiting))
    ],
    #delegates{held = Left} = Pruned = let_go(Done, Delegates),
    Pruned#delegates{many = max(?MANY, 2 * map_size(Left))}.

-spec waiting(pos_integer(), port()) -> crema_runs:index().
waiting(Slot, Port) ->
    case crema_port:command(Port, ?CMD_WAITING, <<Slot:64, 0:64, (1 bsl 63 - 1):64>>) of
        {ok, Runs} -> crema_runs:index(Runs);
        {error, _} -> crema_runs:index([])
    end.
