%% Judges what groups have committed: nothing that was not acknowledged, never back
%% but by a seek or a reset, all there is in the end; and who takes over begins there.
-module(crema_chaos_commits).

-export([violations/1]).

%% How far the times of brokers and of handlers may be apart, in microseconds.
-define(SLACK, 5000).

-spec violations(crema_chaos_story:story()) -> [crema_chaos_checker:violation()].
violations(Story) ->
    [
        {Kind, About#{group => Name, place => Place}}
     || #{group := #{group := Name}, place := Place} = Part <- crema_chaos_part:all(Story),
        {Kind, About} <-
            acknowledged(Part) ++ backwards(Part) ++ early(Part, Story) ++ lag(Part, Story)
    ].

%% Everything is acknowledged in the end, and before it was committed.
acknowledged(#{log := Log, commits := Commits} = Part) ->
    Acks = crema_chaos_part:acks(Part),
    Offsets = [Offset || {Offset, _} <- Log, not crema_chaos_part:is_passed(Offset, Part)],
    Sorted = lists:sort([{Offset, At} || {At, Offset} <- Commits]),
    [{unhandled, #{offset => Offset}} || Offset <- Offsets, not is_map_key(Offset, Acks)] ++
        too_far(Sorted, Offsets, Acks, {0, none}).

too_far([{Commit, _} | _] = Commits, [Offset | Rest], Acks, Latest) when Offset < Commit ->
    too_far(Commits, Rest, Acks, max(Latest, {maps:get(Offset, Acks, never), Offset}));
too_far([{Commit, At} | Commits], Offsets, Acks, {Latest, Of}) ->
    About = #{committed => Commit, at => At, offset => Of, acknowledged => Latest},
    [{committed_too_far, About} || Latest > At + ?SLACK] ++
        too_far(Commits, Offsets, Acks, {Latest, Of});
too_far([], _Offsets, _Acks, _Latest) ->
    [].

backwards(#{commits := Commits, sought := Sought}) -> backwards(Commits, Sought).

%% A seek or a reset explains one step back, to where it leads or behind.
backwards([{_, One} | [{At, Next} | _] = Rest], Sought) when Next < One ->
    case [Move || {When, _, To} = Move <- Sought, When =< At + ?SLACK, To =< Next] of
        [] -> [{committed_back, #{from => One, to => Next, at => At}} | backwards(Rest, Sought)];
        Explaining -> backwards(Rest, Sought -- [lists:last(Explaining)])
    end;
backwards([_ | Rest], Sought) ->
    backwards(Rest, Sought);
backwards([], _Sought) ->
    [].

%% Whoever takes over begins at what was committed, or where a seek leads.
early(#{slots := Slots} = Part, Story) ->
    Before = [0 | [Begun || {_, Begun, _} <- Slots]],
    lists:append([
        early(Slot, Since, Part, Story)
     || {Since, Slot} <- lists:zip(lists:sublist(Before, length(Slots)), Slots)
    ]).

early({Name, Begun, Notes}, Since, #{commits := Commits} = Part, Story) ->
    Committed = crema_chaos_part:committed(Begun - ?SLACK, Commits),
    [
        {began_early, #{slot => Name, offset => Offset, committed => Committed}}
     || Offset <- lists:sublist([Offset || {_, began, Offset} <- Notes], 1),
        Offset < Committed,
        not crema_chaos_part:is_sought(Offset, Since, Begun, Part),
        not crema_chaos_story:gone(Name, Story)
    ].

lag(#{commits := Commits, place := Place}, #{ends := Ends}) ->
    Committed = lists:last([none | [Offset || {_, Offset} <- Commits]]),
    case Ends of
        #{Place := 0} when Committed =:= none -> [];
        #{Place := Committed} -> [];
        #{} -> [{lag, #{committed => Committed, 'end' => maps:get(Place, Ends, unknown)}}]
    end.
