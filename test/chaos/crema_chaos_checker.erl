%% Judges a history of chaos (crema_chaos_history): what of it cannot be, whatever was
%% done to brokers, connections, clients and handlers. Each violation has a kind, what
%% it is about, and a sentence. So has what is found and is the brokers' own doing.
-module(crema_chaos_checker).

-export([judge/1, judge_folder/1, is_violation/1, sentence/1, bound/2]).
-export_type([violation/0]).

-type violation() :: {Kind :: atom(), About :: map()}.

%% @doc What is found in a list of entries.
-spec judge([crema_chaos_history:entry()]) -> [violation()].
judge(Entries) ->
    found(lists:foldl(fun crema_chaos_story:entry/2, crema_chaos_story:new(), Entries)).

%% @doc The same of a run's folder, and what the history tells of, counted.
-spec judge_folder(file:filename()) -> {[violation()], #{atom() => non_neg_integer()}}.
judge_folder(Folder) ->
    {Story, Counts} = crema_chaos_history:fold(
        fun(#{what := What} = Entry, {Story, Counts}) ->
            Count = maps:update_with(What, fun(N) -> N + 1 end, 1, Counts),
            {crema_chaos_story:entry(Entry, Story), Count}
        end,
        {crema_chaos_story:new(), #{}},
        Folder
    ),
    {found(Story), Counts#{messages => map_size(maps:get(messages, Story))}}.

%% @doc Whether it is to be laid to crema.
-spec is_violation(violation()) -> boolean().
is_violation({contradicted, _}) -> false;
is_violation(_) -> true.

-spec found(crema_chaos_story:story()) -> [violation()].
found(Story) ->
    Judges = [
        fun incomplete/1,
        fun crema_chaos_produced:violations/1,
        fun crema_chaos_transactions:violations/1,
        fun crema_chaos_handled:violations/1,
        fun crema_chaos_commits:violations/1,
        fun crema_chaos_progress:violations/1,
        fun leaks/1
    ],
    lists:append([Judge(Story) || Judge <- Judges]).

%% @doc What is tolerated, of the run's own `bounds' or by default; milliseconds.
-spec bound(atom(), crema_chaos_story:story()) -> term().
bound(Name, #{bounds := Bounds}) ->
    maps:get(Name, Bounds, maps:get(Name, bounds())).

bounds() ->
    #{
        %% how much later than its time a message may be reported
        report_margin => 30000,
        %% how long a partition may do nothing while nothing is disturbed
        stuck => 60000,
        %% how much more there may be after the run than before it
        leaks => #{
            clients => 0, reapers => 0, ports => 2, processes => 5, descriptors => 5,
            atoms => 1000, memory => 64 bsl 20
        }
    }.

%% A run that did not do what is judged has nothing wrong in it.
incomplete(#{marks := Marks, messages := Messages, topics := Topics} = Story) ->
    Missing =
        [Mark || Mark <- [run, calm, drained], not is_map_key(Mark, Marks)] ++
            [messages || map_size(Messages) =:= 0] ++
            [topics || map_size(Topics) =:= 0] ++
            [{log, Topic} || Topic <- maps:keys(Topics), not is_read(Topic, Story)],
    [{incomplete, #{missing => What}} || What <- Missing].

is_read(Topic, #{logs := Logs}) ->
    Read = [Isolation || {{T, _}, Isolation} <- maps:keys(Logs), T =:= Topic],
    lists:usort(Read) =:= [committed, uncommitted].

leaks(#{samples := Samples} = Story) ->
    Allowed = bound(leaks, Story),
    [
        {leak, #{node => Node, name => Name, before => Before, 'after' => After}}
     || {Node, #{before := Values, 'after' := Later}} <- maps:to_list(Samples),
        {Name, Before} <- maps:to_list(Values),
        After <- [maps:get(Name, Later, Before)],
        After - Before > maps:get(Name, Allowed, infinity)
    ].

%% @doc A violation as a line.
-spec sentence(violation()) -> unicode:chardata().
sentence({Kind, About}) ->
    io_lib:format("~s: ~s ~0tp", [Kind, meaning(Kind), About]).

meaning(incomplete) -> "the history lacks what is to be judged";
meaning(lost) -> "a message was reported delivered and is not in the log";
meaning(hidden) -> "a delivered message cannot be read with read_committed";
meaning(repeated) -> "a message is in the log twice without a cause";
meaning(refuted) -> "a message that was refused or reported not persisted is in the log";
meaning(unknown) -> "the log holds a message that nobody has produced";
meaning(elsewhere) -> "a message is not where it was reported";
meaning(overtaken) -> "a message stands behind a later one of its process";
meaning(unreported) -> "an accepted message was not reported";
meaning(reported_twice) -> "a message was reported more than once";
meaning(late) -> "a message was reported long after its time";
meaning(torn) -> "a transaction can be read in part";
meaning(aborted_visible) -> "a transaction that was not committed can be read with read_committed";
meaning(contradicted) -> "contradicting markers (the brokers'): no violation";
meaning(reader) -> "read_committed finds what read_uncommitted does not";
meaning(copy_missing) -> "a message has no copy";
meaning(copy_repeated) -> "a message has more than one copy";
meaning(copy_unknown) -> "a copy has no source";
meaning(aborted_read) -> "a handler was given a message that is not committed";
meaning(not_in_log) -> "a handler was given what the log does not have";
meaning(unhandled) -> "a message was never acknowledged";
meaning(repeated_handling) -> "a handler was given an acknowledged message again without a cause";
meaning(handled_out_of_order) -> "a handler was given messages out of order";
meaning(committed_too_far) -> "an offset was committed before all below it was acknowledged";
meaning(committed_back) -> "an offset was committed below the one before, without a seek";
meaning(began_early) -> "a member began before what was committed";
meaning(lag) -> "not all there is was committed in the end";
meaning(stuck) -> "a partition stood still";
meaning(leak) -> "there is more after the run than before it".
