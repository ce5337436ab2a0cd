%% Judges what groups have committed: nothing that was not acknowledged, never back
%% but by a seek or a reset, all there is in the end; and who takes over begins there.
-module(crema_chaos_commits).

-export([violations/1]).

%% How far the times of brokers and of handlers may be apart, in microseconds.
-define(SLACK, 5000).
%% How long after a disturbance librdkafka may send a commit again: it finds the brokers
%% again within so many microseconds.
-define(SENT_AGAIN, 15000000).
%% How long a broker waits for the others before it refuses a commit: offsets.commit.timeout.ms.
-define(REPLICATED, 5000000).
%% session.timeout.ms of its members.
-define(SESSION, 6000000).
%% How long a member that stops may wait for the answer to its last commit.
-define(STOPPED, 10000000).
%% What is told of a commit by which the broker may have written it down nevertheless.
-define(OPEN, [
    timed_out, request_timed_out, transport, wait_coord, not_coordinator, coordinator_not_available
]).

-spec violations(crema_chaos_story:story()) -> [crema_chaos_checker:violation()].
violations(Story) ->
    [
        {Kind, About#{group => Name, place => Place}}
     || #{group := #{group := Name}, place := Place} = Part <- crema_chaos_part:all(Story),
        Counted <- [Part#{commits := counted(Part, Story)}],
        {Kind, About} <-
            acknowledged(Part) ++ backwards(Counted, Story) ++ early(Counted, Story) ++ lag(Part)
    ].

%% A coordinator writes a commit into its log first, and takes it for what the group has
%% committed when the other brokers have it, too. If they do not in time it refuses the
%% commit and goes on telling the one before; this one stays in the log, and counts when a
%% coordinator reads that anew (GroupMetadataManager.storeOffsets of Kafka 3.9). So the last
%% commits of a member that was told of a failure may have counted or not: they are left out.
%% So are those of one that could not be told any more, if a broker was away just then.
counted(#{slots := Slots, commits := Commits, place := Place}, Story) ->
    [_ | Nexts] = [Begun || {_, Begun, _} <- Slots] ++ [infinity],
    Pairs = lists:zip(Slots, Nexts),
    Told = lists:append([doubts(Slot, Next, Place, Story) || {Slot, Next} <- Pairs]),
    Untold = lists:append([untold(Slot, Next, Story) || {Slot, Next} <- Pairs]),
    [
        Commit
     || {At, _} = Commit <- Commits,
        not (is_within(At, Told) andalso
            crema_chaos_story:is_disturbed(At - ?SENT_AGAIN, At + ?SLACK, Story)),
        not (is_within(At, Untold) andalso
            crema_chaos_story:is_broker_away(At - ?SLACK, At + ?REPLICATED, Story))
    ].

is_within(At, Times) ->
    lists:any(fun({From, To}) -> From =< At andalso At < To end, Times).

%% The same of a slot that was lost, or whose partition another had while it went on: since
%% when it has not heard of its coordinator is not known, for its node may have been paused.
%% One that was killed has heard of it until then, or nothing for its session's time.
untold({{Member, _} = Name, Begun, _}, Next, #{ended := Ended, troubled := Troubled} = Story) ->
    End = maps:get(Name, Ended, infinity),
    Killed = crema_chaos_story:killed(member, Member, Story),
    case min(End, Killed) of
        First when is_map_key(Name, Troubled); First > Next -> [{Begun, Next}];
        Killed when is_integer(Killed) -> [{max(Begun, Killed - ?REPLICATED - ?SESSION), Next}];
        _ -> []
    end.

%% From when to when the commits of a slot are in doubt. Those that were written earlier had
%% been answered at its end; what a paused broker had yet to read is written after it.
doubts({{Member, _} = Name, Begun, _}, Next, Place, #{failed := Failed, ended := Ended}) ->
    [
        {max(Begun, End - ?REPLICATED), Next}
     || {Told, Reason} <- maps:get({Member, Place}, Failed, []),
        lists:member(Reason, ?OPEN),
        %% Not every handler tells of its end.
        End <- [maps:get(Name, Ended, Told - ?STOPPED)],
        End =< Told + ?SLACK,
        Told =< End + ?STOPPED + ?REPLICATED
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

%% A seek or a reset explains one step back, to where it leads or behind. And librdkafka
%% sends a commit again that has failed or whose answer was lost, also behind newer ones,
%% which is made good by the next.
backwards(#{commits := Commits, sought := Sought}, Story) ->
    [
        {committed_back, #{from => One, to => Next, at => At}}
     || {One, Next, At} <- steps_back(Commits, Sought),
        not crema_chaos_story:is_disturbed(At - ?SENT_AGAIN, At, Story)
    ].

steps_back([{_, One} | [{At, Next} | _] = Rest], Sought) when Next < One ->
    case [Move || {When, _, To} = Move <- Sought, When =< At + ?SLACK, To =< Next] of
        [] -> [{One, Next, At} | steps_back(Rest, Sought)];
        Explaining -> steps_back(Rest, Sought -- [lists:last(Explaining)])
    end;
steps_back([_ | Rest], Sought) ->
    steps_back(Rest, Sought);
steps_back([], _Sought) ->
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

%% What lies behind the last message that the group may read is nobody's.
lag(#{log := Log, commits := Commits}) ->
    Committed = lists:last([none | [Offset || {_, Offset} <- Commits]]),
    [
        {lag, #{committed => Committed, last => Last}}
     || Log =/= [], {Last, _} <- [lists:last(Log)], Committed =:= none orelse Committed =< Last
    ].
