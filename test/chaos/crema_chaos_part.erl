%% A partition as a group has seen it: what the judges of handling and of commits
%% look at.
-module(crema_chaos_part).

-export([all/1, acks/1, in_force/1, committed/2, is_passed/2, is_sought/4]).
-export_type([part/0, slot/0]).

-type time() :: crema_chaos_story:time().
-type slot() :: {Name :: term(), Begun :: time(), [crema_chaos_story:note()]}.
-type part() :: #{
    group := map(),
    place := crema_chaos_story:place(),
    %% what the group's isolation lets it read
    log := [{Offset :: integer(), crema_chaos_history:message()}],
    given := [{Offset :: integer(), crema_chaos_history:message()}],
    %% in the order of their beginning
    slots := [slot()],
    commits := [{time(), Offset :: integer()}],
    sought := [{time(), seek | reset, Offset :: integer()}],
    %% what a seek or a reset has passed over
    passed := [{From :: integer(), To :: integer()}]
}.

%% @doc All partitions of all groups.
-spec all(crema_chaos_story:story()) -> [part()].
all(#{groups := Groups} = Story) ->
    Slots = slots(Story),
    [
        part(Group, Place, maps:get({Name, Place}, Slots, []), Story)
     || #{group := Name, topics := Topics} = Group <- maps:values(Groups),
        {Topic, _} = Place <- crema_chaos_story:places(Story),
        lists:member(Topic, Topics)
    ].

%% By group and place.
slots(#{slots := Slots, members := Members}) ->
    All = lists:keysort(2, [
        {Slot, Begun, Place, Notes}
     || {Slot, {Place, Begun, Notes}} <- maps:to_list(Slots), Place =/= none
    ]),
    maps:groups_from_list(
        fun({{Member, _}, _, Place, _}) -> {maps:get(group, maps:get(Member, Members)), Place} end,
        fun({Slot, Begun, _, Notes}) -> {Slot, Begun, lists:reverse(Notes)} end,
        All
    ).

part(#{group := Name, isolation := Isolation} = Group, Place, Slots, Story) ->
    Of = fun(Part) -> lists:reverse(maps:get({Name, Place}, maps:get(Part, Story), [])) end,
    Commits = lists:keysort(1, Of(commits)),
    Sought = Of(sought),
    #{
        group => Group,
        place => Place,
        log => crema_chaos_story:log(Place, Isolation, Story),
        given => lists:usort(Of(given)),
        slots => Slots,
        commits => Commits,
        sought => Sought,
        passed => [{committed(At, Commits), To} || {At, _, To} <- Sought]
    }.

%% @doc When each offset was first acknowledged.
-spec acks(part()) -> #{Offset :: integer() => time()}.
acks(#{slots := Slots}) ->
    lists:foldl(
        fun({At, Offset}, Acks) -> Acks#{Offset => min(At, maps:get(Offset, Acks, At))} end,
        #{},
        lists:append([in_force(Notes) || {_, _, Notes} <- Slots])
    ).

%% @doc When a slot's messages were first acknowledged, but for what was refused. Two can have
%% acknowledged one: the helper of a handler that has crashed, and that of the next.
-spec in_force([crema_chaos_story:note()]) -> [{time(), Offset :: integer()}].
in_force(Notes) ->
    Acked = lists:foldl(
        fun
            ({At, acked, Offset}, Acc) -> Acc#{Offset => [At | maps:get(Offset, Acc, [])]};
            ({_, refused, Offset}, Acc) -> Acc#{Offset => tl(maps:get(Offset, Acc, [none]))};
            (_, Acc) -> Acc
        end,
        #{},
        Notes
    ),
    [{lists:min(Times), Offset} || {Offset, [_ | _] = Times} <- maps:to_list(Acked)].

%% @doc What was committed at a time.
-spec committed(time(), [{time(), integer()}]) -> integer().
committed(At, Commits) ->
    lists:last([0 | [Offset || {When, Offset} <- Commits, When =< At]]).

-spec is_passed(integer(), part()) -> boolean().
is_passed(Offset, #{passed := Passed}) ->
    lists:any(fun({From, To}) -> From =< Offset andalso Offset < To end, Passed).

%% @doc That a seek or a reset in that time has led to the offset or before it.
-spec is_sought(integer(), time(), time(), part()) -> boolean().
is_sought(Offset, From, To, #{sought := Sought}) ->
    lists:any(
        fun({At, _, Target}) -> From =< At andalso At =< To andalso Target =< Offset end, Sought
    ).
