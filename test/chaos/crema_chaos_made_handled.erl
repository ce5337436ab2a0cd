%% Members of groups of a run that is made up (crema_chaos_made): what their handlers
%% are given, and what they acknowledge and commit.
-module(crema_chaos_made_handled).

-export([begun/2, step/2, drained/2]).

-include("crema_chaos_made.hrl").
-import(crema_chaos_made, [tell/2, tell_all/2, name/1, one_of/2]).

%% @doc A group's first member has a partition.
begun({Part, Isolation, Commit}, #run{parts = Parts} = Run) ->
    State = #{
        part => Part, isolation => Isolation, commit => Commit,
        position => 0, committed => 0, open => [], slot => none
    },
    begin_slot(Part, 0, Run#run{parts = Parts#{Part => State}}).

%% The partition goes to a new member.
begin_slot({Group, {Topic, Partition}} = Part, Position, Run) ->
    {Name, #run{parts = Parts} = Named} = name(Run),
    State = (maps:get(Part, Parts))#{slot := {{member, Name}, Name}, position := Position, open := []},
    tell_all(
        [
            #{what => member, member => {member, Name}, node => {member_node, Name}, group => Group},
            #{
                what => assigned, member => {member, Name}, slot => Name, topic => Topic,
                partition => Partition
            }
        ],
        Named#run{parts = Parts#{Part := State}}
    ).

%% @doc All that there is is handled and committed.
drained(Part, Run) ->
    case readable(Part, Run) of
        [] -> commit(Part, acknowledge(Part, Run));
        Entries -> drained(Part, handled(now, Part, lists:sublist(Entries, 5), Run))
    end.

%% @doc Something happens to a partition of a group. One of each topic is never sought
%% in, so that faults can be planted there.
step({_, {_, Partition}} = Part, #run{parts = Parts} = Run) ->
    #{Part := #{commit := Commit}} = Parts,
    Sought = case Partition of 0 -> 0; _ -> 0.2 end,
    Handle = fun(How) -> fun(R) -> handle(How, Part, R) end end,
    Change = fun(How) -> fun(R) -> change(How, Part, R) end end,
    Done = one_of(
        [
            {8, fun(R) -> R end},
            {20, Handle(now)},
            {2, Handle(failed)},
            {1, Handle(crashed)},
            {case Commit of offsets -> 3; transactions -> 0 end, Handle(later)},
            {0.6, Change(revoked)},
            {0.3, Change(killed)},
            {0.3, Change(lost)},
            {0.3, Change(lost_untold)},
            {0.3, Change(commit_failed)},
            {0.3, Change(commit_unanswered)},
            {Sought, Change(back)},
            {Sought, Change(forth)}
        ],
        Run
    ),
    one_of(
        [
            {1, fun(R) -> R end},
            {1, fun(R) -> acknowledge(Part, R) end},
            {1, fun(R) -> commit(Part, R) end}
        ],
        Done
    ).

readable(Part, #run{parts = Parts, log = Log}) ->
    #{Part := #{part := {_, Place}, isolation := Isolation, position := Position}} = Parts,
    {_, Entries} = maps:get(Place, Log, {0, []}),
    Ahead = lists:takewhile(fun({Offset, _, _}) -> Offset >= Position end, Entries),
    lists:reverse([{O, M} || {O, M, IsVisible} <- Ahead, IsVisible orelse Isolation =:= uncommitted]).

handle(How, Part, Run) ->
    case lists:sublist(readable(Part, Run), rand:uniform(5)) of
        [] -> Run;
        Entries -> handled(How, Part, Entries, Run)
    end.

handled(later, Part, Entries, Run) ->
    #run{parts = Parts} = Told = told_handling(Part, Entries, Run),
    #{Part := #{open := Open} = State} = Parts,
    moved(Part, Entries, Told#run{parts = Parts#{Part := State#{open := Open ++ Entries}}});
handled(now, Part, Entries, Run) ->
    done(Part, Entries, told_handling(Part, Entries, Run));
handled(failed, Part, Entries, Run) ->
    Failed = told(failed, Part, Entries, told_handling(Part, Entries, Run)),
    done(Part, Entries, told_handling(Part, Entries, Failed));
handled(crashed, Part, Entries, #run{parts = Parts} = Run) ->
    %% All that is open comes again.
    #{Part := #{open := Open, slot := {Member, Slot}} = State} = Parts,
    Handling = told_handling(Part, Entries, Run),
    Crashed = tell(#{what => crashed, member => Member, slot => Slot}, Handling),
    Again = Open ++ Entries,
    Closed = Crashed#run{parts = Parts#{Part := State#{open := []}}},
    done(Part, Again, told_handling(Part, Again, Closed)).

told_handling({_, {Topic, Partition}} = Part, Entries, #run{parts = Parts} = Run) ->
    #{Part := #{slot := {Member, Slot}}} = Parts,
    tell(
        #{
            what => handling, member => Member, slot => Slot, topic => Topic,
            partition => Partition, messages => Entries
        },
        Run
    ).

told(What, Part, Entries, #run{parts = Parts} = Run) ->
    #{Part := #{slot := {Member, Slot}}} = Parts,
    Offsets = [Offset || {Offset, _} <- Entries],
    tell(#{what => What, member => Member, slot => Slot, offsets => Offsets}, Run).

%% A copier's transaction may abort: then it does it all again.
done({_, Place} = Part, Entries, #run{parts = Parts} = Run) ->
    case Parts of
        #{Part := #{commit := offsets}} ->
            moved(Part, Entries, told(acknowledged, Part, Entries, Run));
        #{Part := #{commit := transactions}} ->
            case rand:uniform(5) of
                1 ->
                    Aborted = copied(Place, Entries, false, told(acknowledged, Part, Entries, Run)),
                    done(Part, Entries, told_handling(Part, Entries, Aborted));
                _ ->
                    Copied = copied(Place, Entries, true, told(acknowledged, Part, Entries, Run)),
                    commit(Part, moved(Part, Entries, Copied))
            end
    end.

copied({_, Partition}, Entries, IsVisible, #run{log = Log} = Run) ->
    Place = {?COPIES, Partition},
    {End, Before} = maps:get(Place, Log, {0, []}),
    Offsets = lists:seq(End, End + length(Entries) - 1),
    New = lists:reverse([{O, M, IsVisible} || {O, {_, M}} <- lists:zip(Offsets, Entries)]),
    Run#run{log = Log#{Place => {End + length(Entries) + 1, New ++ Before}}}.

moved(Part, Entries, #run{parts = Parts} = Run) ->
    #{Part := #{position := Position} = State} = Parts,
    {Last, _} = lists:last(Entries),
    Run#run{parts = Parts#{Part := State#{position := max(Position, Last + 1)}}}.

%% What was left is acknowledged, in any order.
acknowledge(Part, #run{parts = Parts} = Run) ->
    case Parts of
        #{Part := #{open := []}} ->
            Run;
        #{Part := #{open := Open} = State} ->
            Closed = Run#run{parts = Parts#{Part := State#{open := []}}},
            told(acknowledged, Part, lists:reverse(Open), Closed)
    end.

%% Up to the first message that is open, or to the end of what cannot be read.
commit(Part, #run{parts = Parts, log = Log} = Run) ->
    #{Part := #{open := Open, position := Position, committed := Committed, part := {_, Place}}} =
        Parts,
    {End, _} = maps:get(Place, Log, {0, []}),
    To =
        case {Open, readable(Part, Run)} of
            {[], []} -> max(Position, End);
            {[], _} -> Position;
            {_, _} -> lists:min([Offset || {Offset, _} <- Open])
        end,
    case To of
        Committed -> Run;
        _ -> told_commit(Part, To, Run)
    end.

told_commit({Group, {Topic, Partition}} = Part, To, #run{parts = Parts} = Run) ->
    #{Part := #{position := Position} = State} = Parts,
    tell(
        #{
            what => commit_seen, group => Group, topic => Topic, partition => Partition,
            offset => To
        },
        Run#run{parts = Parts#{Part := State#{committed := To, position := max(Position, To)}}}
    ).

change(revoked, Part, Run) ->
    #run{parts = #{Part := #{open := Open}}} = Committed = commit(Part, Run),
    Left = told_end(revoked, Part, Committed),
    %% What is acknowledged too late is refused.
    anew(Part, case Open of
        [] -> Left;
        _ -> told(ack_refused, Part, Open, told(acknowledged, Part, Open, Left))
    end);
change(lost, Part, Run) ->
    anew(Part, told_end(lost, Part, Run));
%% By its handler, which was killed just then.
change(lost_untold, {_, {Topic, Partition}} = Part, #run{parts = Parts} = Run) ->
    #{Part := #{slot := {Member, _}}} = Parts,
    Lost = #{what => lost, member => Member, topic => Topic, partition => Partition},
    anew(Part, tell(Lost, Run));
change(killed, Part, #run{parts = Parts} = Run) ->
    #{Part := #{slot := {Member, _}}} = Parts,
    anew(Part, tell(#{what => killed, kind => member, who => Member}, Run));
change(commit_failed, Part, #run{parts = Parts} = Run) ->
    #{Part := #{slot := {Member, _}}} = Parts,
    Failed = tell(#{what => commit_failed, member => Member, reason => transport}, Run),
    anew(Part, told_end(revoked, Part, Failed));
%% The others do not follow in time: it is in the log, and the one before counts.
change(commit_unanswered, {_, {Topic, Partition}} = Part, #run{parts = Parts} = Run) ->
    #{Part := #{committed := Counts, slot := {Member, _}}} = Parts,
    {Fault, Named} = name(Run),
    Paused = tell(#{what => fault, fault => Fault, kind => pause_broker}, Named),
    Left = told_end(revoked, Part, commit(Part, acknowledge(Part, Paused))),
    Failed = tell_all(
        [
            #{
                what => commit_failed, member => Member, topic => Topic, partition => Partition,
                reason => timed_out
            },
            #{what => fault_over, fault => Fault}
        ],
        Left
    ),
    #run{parts = #{Part := State} = Now} = Failed,
    begin_slot(Part, Counts, Failed#run{parts = Now#{Part := State#{committed := Counts}}});
change(back, Part, #run{parts = Parts} = Run) ->
    #{Part := #{committed := Committed}} = Parts,
    sought(seek, Part, max(0, Committed - rand:uniform(10)), Run);
change(forth, Part, #run{parts = Parts, log = Log} = Run) ->
    #{Part := #{part := {_, Place}, position := Position, commit := Commit}} = Parts,
    {End, _} = maps:get(Place, Log, {0, []}),
    case Commit of
        offsets -> sought(reset, Part, min(End, Position + rand:uniform(5)), Run);
        transactions -> Run
    end.

sought(What, {Group, {Topic, Partition}} = Part, To, Run) ->
    Sought = tell(
        #{what => What, group => Group, topic => Topic, partition => Partition, offset => To}, Run
    ),
    begin_slot(Part, To, told_commit(Part, To, Sought)).

anew(Part, #run{parts = Parts} = Run) ->
    begin_slot(Part, maps:get(committed, maps:get(Part, Parts)), Run).

told_end(Why, Part, #run{parts = Parts} = Run) ->
    #{Part := #{slot := {Member, Slot}}} = Parts,
    tell(#{what => unassigned, member => Member, slot => Slot, why => Why}, Run).
