%% Judges that groups get on: while a partition has what was not acknowledged, and
%% nothing is disturbed, its handlers begin or acknowledge something in time.
-module(crema_chaos_progress).

-export([violations/1]).

-spec violations(crema_chaos_story:story()) -> [crema_chaos_checker:violation()].
violations(#{faults := Faults, marks := Marks} = Story) ->
    Bound = crema_chaos_checker:bound(stuck, Story) * 1000,
    Readable = readable(Story),
    Disturbed = disturbed(lists:keysort(1, lists:reverse(Faults))),
    End = maps:get(drained, Marks, maps:get(last, Marks, 0)),
    [
        {stuck, #{group => Name, place => Place, since => Since, until => Until}}
     || #{group := #{group := Name}, place := Place} = Part <- crema_chaos_part:all(Story),
        {Since, Until} <- stuck(events(Part, Readable) ++ Disturbed ++ [{End, 'end', none}], Bound)
    ].

%% Since when each message can be read: it was delivered, and its transaction has
%% ended.
readable(#{messages := Messages, transactions := Transactions}) ->
    maps:filtermap(
        fun
            (_, {{_, _, Name, _}, _, [{At, {delivered, _, _}}]}) ->
                case Transactions of
                    #{Name := {_, committed, Ended}} -> {true, Ended};
                    #{Name := _} -> false;
                    #{} -> {true, At}
                end;
            (_, _) ->
                false
        end,
        Messages
    ).

%% A disturbance lasts until it is over; one that is over at once is a moment.
disturbed(Faults) ->
    Over = maps:from_list([{Fault, true} || {_, off, Fault} <- Faults]),
    [
        {At, case {Kind, Over} of
            {on, #{Fault := true}} -> on;
            {off, _} -> off;
            {on, _} -> moment
        end, Fault}
     || {At, Kind, Fault} <- Faults
    ].

events(#{log := Log, slots := Slots} = Part, Readable) ->
    Acks = crema_chaos_part:acks(Part),
    Waiting = lists:append([
        [{At, more, Offset}, {maps:get(Offset, Acks, never), less, Offset}]
     || {Offset, Message} <- Log,
        #{Message := At} <- [Readable],
        not crema_chaos_part:is_passed(Offset, Part),
        maps:get(Offset, Acks, never) > At
    ]),
    Waiting ++ [{At, progress, Offset} || {_, _, Notes} <- Slots, {At, _, Offset} <- Notes].

stuck(Events, Bound) ->
    {_, _, _, Found} = lists:foldl(
        fun({At, Kind, _}, {Waiting, Disturbed, Since, Found}) ->
            IsStuck = Waiting > 0 andalso Disturbed =:= 0 andalso At - Since > Bound,
            New = [{Since, At} || IsStuck] ++ Found,
            case Kind of
                more when Waiting > 0, not IsStuck -> {Waiting + 1, Disturbed, Since, New};
                more -> {Waiting + 1, Disturbed, At, New};
                less -> {Waiting - 1, Disturbed, At, New};
                on -> {Waiting, Disturbed + 1, At, New};
                off -> {Waiting, Disturbed - 1, At, New};
                _ -> {Waiting, Disturbed, At, New}
            end
        end,
        {0, 0, 0, []},
        %% What is never acknowledged waits to the end.
        lists:sort([Event || {At, _, _} = Event <- Events, is_integer(At)])
    ),
    Found.
