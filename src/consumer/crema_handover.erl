%% @private The slots of a group's member while another client takes the place of its
%% own: their workers are let finish, kept while there is no assignment, and go on with
%% the slots that the new client is given of the same partitions.
-module(crema_handover).

-include("crema_slots.hrl").

-export([supports/1, park/1, park/2, parked/2, is_parked/2, keep/4, kept/1, back/2, attached/1]).

-type slots() :: crema_slots:slots().
-type given() :: {crema_slots:id(), Topic :: binary(), Partition :: non_neg_integer(), integer()}.

%% @doc Whether a consumer with these options can go on with another client.
-spec supports(map()) -> ok | crema_error:error().
supports(#{commit := exactly_once}) ->
    unsupported("a consumer with commit => exactly_once");
supports(#{commit := external, concurrency := Concurrency}) when Concurrency =/= 1 ->
    unsupported("a consumer with commit => external and concurrency");
supports(_) ->
    ok.

-spec unsupported(string()) -> crema_error:error().
unsupported(What) ->
    Text = [What, " is not renewed while it runs: start it anew"],
    crema_error:make(unsupported_feature, Text, #{field => commit}).

%% @doc Lets all workers finish the message that they are at, and nothing more.
-spec park(slots()) -> slots().
park(#slots{all = All} = Slots) ->
    Workers = [W || #slot{worker = W, revoked = false} <- maps:values(All), is_pid(W)],
    ok = lists:foreach(fun(Worker) -> park(true, Worker) end, Workers),
    Slots#slots{parking = true}.

-spec park(boolean(), pid()) -> ok.
park(true, Worker) -> gen_server:cast(Worker, park);
park(false, _Worker) -> ok.

%% @doc The slot's worker does nothing more.
-spec parked(crema_slots:id(), slots()) -> slots().
parked(Id, #slots{all = All, parking = Parking} = Slots) ->
    case All of
        #{Id := #slot{handover = none} = Slot} when Parking ->
            Slots#slots{all = All#{Id := Slot#slot{handover = parked}}};
        _ ->
            Slots
    end.

%% @doc Whether all have finished, or are late, and no revocation is to be answered.
-spec is_parked(Late :: boolean(), slots()) -> boolean().
is_parked(Late, #slots{draining = Draining, all = All}) ->
    Busy = [Slot || #slot{worker = W, handover = none} = Slot <- maps:values(All), is_pid(W)],
    Draining =:= none andalso (Late orelse Busy =:= []).

%% @doc The client is given up for another. Nothing is assigned by now. `Positions':
%% where each partition goes on of which nothing is committed.
-spec keep(port(), Options :: map(), #{crema_group_events:place() => non_neg_integer()}, slots()) ->
    slots().
keep(Port, Options, Positions, #slots{all = All, work = Work} = Slots) ->
    Keep = fun(_, Slot) ->
        Position = maps:get(crema_slots:place(Slot), Positions, Slot#slot.position),
        Slot#slot{handover = kept, position = Position}
    end,
    Slots#slots{
        all = maps:map(Keep, All),
        work = Work#{port := Port, options := Options, limit := crema_failure_options:limit(Options)},
        parking = false
    }.

%% @doc The partitions that the old client had, until the new one has its own.
-spec kept(slots()) -> [crema_group_events:place()].
kept(#slots{all = All}) ->
    [crema_slots:place(Slot) || #slot{handover = kept} = Slot <- maps:values(All)].

%% @doc The new client has its partitions: those of before among them are known by their
%% new numbers, and the workers of the others leave.
-spec back([given()], slots()) -> slots().
back(Given, #slots{all = All} = Slots) ->
    Kept = maps:filter(fun(_, #slot{handover = Handover}) -> Handover =:= kept end, All),
    Numbers = maps:from_list([{{T, P}, Id} || {Id, T, P, _} <- Given]),
    maps:fold(fun(Id, Slot, Acc) -> back(Id, Slot, Numbers, Acc) end, Slots, Kept).

-spec back(crema_slots:id(), #slot{}, #{crema_group_events:place() => crema_slots:id()}, slots()) ->
    slots().
back(Old, #slot{worker = Worker} = Slot, Numbers, #slots{all = All} = Slots) ->
    case maps:find(crema_slots:place(Slot), Numbers) of
        {ok, New} when is_pid(Worker) ->
            moved(Old, New, Slot#slot{handover = back}, Slots);
        {ok, New} ->
            moved(Old, New, Slot#slot{handover = none, position = none}, Slots);
        error when is_pid(Worker) ->
            #slots{all = Left} = Leaving = crema_slots:leave(revoked, [{Old, Slot}], Slots),
            Leaving#slots{all = maps:remove(Old, Left)};
        error ->
            Slots#slots{all = maps:remove(Old, All)}
    end.

%% Timers and messages may still have the old number.
-spec moved(crema_slots:id(), crema_slots:id(), #slot{}, slots()) -> slots().
moved(Old, New, Slot, #slots{all = All, monitors = Monitors, moved = Moved} = Slots) ->
    Renumber = fun
        (_, Id) when Id =:= Old -> New;
        (_, Id) -> Id
    end,
    Living = maps:filter(fun(_, Id) -> is_map_key(Id, All) end, Moved),
    Slots#slots{
        all = (maps:remove(Old, All))#{New => Slot},
        monitors = maps:map(Renumber, Monitors),
        moved = (maps:map(Renumber, Living))#{Old => New}
    }.

%% @doc The workers of these go on.
-spec attached(slots()) -> slots().
attached(#slots{all = All} = Slots) ->
    Attach = fun
        (Id, #slot{handover = back, worker = Worker, position = Position} = Slot) ->
            Work = (crema_slots:work_of(Id, Slot, Slots))#{start => Position},
            ok = gen_server:cast(Worker, {attach, Work}),
            Slot#slot{handover = none, position = none};
        (_, Slot) ->
            Slot
    end,
    Slots#slots{all = maps:map(Attach, All)}.
