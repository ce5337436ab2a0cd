%% Judges what members of a group have done: by what the topics hold, what each
%% handler has written down, and what was seen to be committed.
%%
%% Handlers write before they answer. So what a member that was killed has
%% acknowledged is written, and what is not written was not acknowledged.
-module(crema_ct_consumed).

-export([judge/1]).

%% A partition of a topic, and a member from its start to its end.
-type place() :: {binary(), non_neg_integer()}.
-type life() :: term().
-type time() :: integer().

%% handled; acknowledged, by the handler or by its token; refused: the token was
%% stale; failed: it is to come again; crashed.
-type kind() :: handled | acked | refused | failed | crashed.
-type note() :: {time(), kind(), Slot :: integer(), Offset :: integer()}.

-type case_() :: #{
    %% what can be read of each partition, by offset
    log := #{place() => [Offset :: integer()]},
    %% where the group began
    starts := #{place() => integer()},
    notes := #{{place(), life()} => [note()]},
    commits := [{time(), place(), Offset :: integer()}],
    ends := #{place() => {Committed :: integer(), End :: integer()}},
    killed := [life()],
    %% members that were told that a commit failed or partitions were lost
    troubled := [life()]
}.

%% @doc The faults, and how many messages came again for which reason.
-spec judge(case_()) -> {[term()], #{atom() => pos_integer()}}.
judge(#{log := Log, ends := Ends} = Case) ->
    Places = lists:usort(maps:keys(Log) ++ maps:keys(Ends) ++ places(Case)),
    Judged = [place(Place, Case) || Place <- Places],
    Repeats = lists:append([Repeats || {_, Repeats} <- Judged]),
    Count = fun(Reason, Counts) -> maps:update_with(Reason, fun(N) -> N + 1 end, 1, Counts) end,
    {
        lists:append([Faults || {Faults, _} <- Judged]),
        lists:foldl(Count, #{}, [Reason || {Reason, _, _} <- Repeats])
    }.

places(#{notes := Notes}) -> [Place || {Place, _} <- maps:keys(Notes)].

place(Place, #{starts := Starts, log := Log} = Case) ->
    Start = maps:get(Place, Starts, 0),
    Readable = [Offset || Offset <- maps:get(Place, Log, []), Offset >= Start],
    Generations = generations(Place, Case),
    Notes = lists:append([Of || {_, Of} <- Generations]),
    Handled = lists:usort([Offset || {_, handled, _, Offset} <- Notes]),
    Commits = lists:sort([{T, Offset} || {T, P, Offset} <- maps:get(commits, Case), P =:= Place]),
    Repeats = repeats(Place, Generations, Case),
    Expected = ordsets:from_list(Readable),
    Faults =
        [{unhandled, Place, Offset} || Offset <- ordsets:subtract(Expected, Handled)] ++
            [{not_in_log, Place, Offset} || Offset <- ordsets:subtract(Handled, Expected)] ++
            [{committed_too_far, Place, Commit} || Commit <- too_far(Commits, Readable, Notes)] ++
            [{committed_back, Place, Offset} || Offset <- backwards(Commits)] ++
            [{began_before_commit, Place, Life} || Life <- early(Generations, Commits)] ++
            [{lag, Place, Ends} || Ends <- lag(Place, Case)] ++
            [Repeat || {unexplained, _, _} = Repeat <- Repeats],
    {Faults, Repeats}.

lag(Place, #{ends := Ends}) ->
    case Ends of
        #{Place := {End, End}} -> [];
        #{Place := Other} -> [Other];
        #{} -> [unknown]
    end.

%% The notes of each slot that the partition has been, in the order of their beginning.
generations(Place, #{notes := All}) ->
    Slots = maps:groups_from_list(
        fun({Life, {_, _, Slot, _}}) -> {Life, Slot} end,
        fun({_, Note}) -> Note end,
        [{Life, Note} || {{P, Life}, Notes} <- maps:to_list(All), P =:= Place, Note <- Notes]
    ),
    Sorted = [{lists:sort(Notes), Life} || {{Life, _}, Notes} <- maps:to_list(Slots)],
    [{Life, Notes} || {Notes, Life} <- lists:sort(Sorted)].

%% ---- commits ------------------------------------------------------------------

%% A commit was seen before everything below it was acknowledged.
too_far(Commits, Readable, Notes) ->
    Acks = first_acks(Notes),
    Sorted = lists:sort([{Offset, Time} || {Time, Offset} <- Commits]),
    too_far(Sorted, lists:usort(Readable), Acks, 0).

too_far([{Commit, _} | _] = Commits, [Offset | Rest], Acks, Latest) when Offset < Commit ->
    too_far(Commits, Rest, Acks, max(Latest, maps:get(Offset, Acks, never)));
too_far([{Commit, Time} | Commits], Readable, Acks, Latest) ->
    [{Time, Commit} || Latest > Time] ++ too_far(Commits, Readable, Acks, Latest);
too_far([], _Readable, _Acks, _Latest) ->
    [].

first_acks(Notes) ->
    Earlier = fun({Time, Offset}, Acks) ->
        maps:update_with(Offset, fun(Before) -> min(Before, Time) end, Time, Acks)
    end,
    lists:foldl(Earlier, #{}, [{Time, Offset} || {Time, acked, _, Offset} <- Notes]).

backwards([{_, One}, {_, Next} = Two | Rest]) ->
    [Next || Next < One] ++ backwards([Two | Rest]);
backwards(_) ->
    [].

%% Whoever takes over begins at what was committed, or behind.
early(Generations, Commits) ->
    [
        Life
     || {Life, [{Began, _, _, Offset} | _]} <- Generations,
        Offset < lists:max([0 | [Committed || {Time, Committed} <- Commits, Time < Began]])
    ].

%% ---- messages that came again -----------------------------------------------------

repeats(Place, Generations, Case) ->
    {Repeats, _} = lists:foldl(
        fun({Life, Notes}, {All, Before}) ->
            Within = [{Reason, Place, Offset} || {Reason, Offset} <- within(Notes, #{})],
            Offsets = lists:usort([Offset || {_, handled, _, Offset} <- Notes]),
            Across = [
                {why(Offset, maps:get(Offset, Before), Case), Place, Offset}
             || Offset <- Offsets, is_map_key(Offset, Before)
            ],
            Ended = {Life, first_open(Notes)},
            {Within ++ Across ++ All, maps:merge(Before, maps:from_keys(Offsets, Ended))}
        end,
        {[], #{}},
        Generations
    ),
    Repeats.

%% In one generation a message comes again when it has failed, or when its handler
%% has crashed before it was acknowledged.
within([{_, handled, _, Offset} | Rest], States) ->
    Again = [{reason(State), Offset} || #{Offset := State} <- [States]],
    Again ++ within(Rest, States#{Offset => handled});
within([{_, failed, _, Offset} | Rest], States) ->
    within(Rest, States#{Offset => failed});
within([{_, crashed, _, _} | Rest], States) ->
    Open = fun(_, State) -> case State of acked -> acked; _ -> crashed end end,
    within(Rest, maps:map(Open, States));
within([{_, acked, _, Offset} | Rest], States) ->
    within(Rest, States#{Offset => acked});
within([{_, refused, _, Offset} | Rest], States) ->
    within(Rest, States#{Offset => handled});
within([], _States) ->
    [].

reason(failed) -> failed;
reason(crashed) -> crashed;
reason(_) -> unexplained.

%% And in another, when the one before had not committed it.
why(Offset, {Life, Open}, #{killed := Killed, troubled := Troubled}) ->
    case {lists:member(Life, Killed), lists:member(Life, Troubled)} of
        {true, _} -> killed;
        {false, _} when Offset >= Open -> unacknowledged;
        {false, true} -> not_committed;
        {false, false} -> unexplained
    end.

%% The first message that the generation has left unacknowledged.
first_open(Notes) ->
    Acked = lists:foldl(
        fun
            ({_, acked, _, Offset}, Acc) -> Acc#{Offset => true};
            ({_, refused, _, Offset}, Acc) -> maps:remove(Offset, Acc);
            (_, Acc) -> Acc
        end,
        #{},
        Notes
    ),
    Open = [Offset || {_, handled, _, Offset} <- Notes, not is_map_key(Offset, Acked)],
    lists:min([infinity | Open]).
