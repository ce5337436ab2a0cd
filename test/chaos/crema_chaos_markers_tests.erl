%% That a transaction which can be read in part is laid to brokers only if their markers
%% say both, and nothing else could explain it.
-module(crema_chaos_markers_tests).

-include_lib("eunit/include/eunit.hrl").

-define(TOPIC, <<"sales">>).
-define(NAME, {7, 0}).
-define(ASKED, 5000000).

contradicted_test_() ->
    %% Committed in one partition and aborted in the other, by two coordinators: the
    %% brokers' own, whatever the producer was told.
    [
        {atom_to_list(Outcome), ?_assertEqual([contradicted], kinds(Outcome, copies(committed(), aborted())))}
     || Outcome <- [unknown, committed, aborted]
    ] ++
        [
            {Name, ?_assertEqual([contradicted], kinds(unknown, copies(One, Two)))}
         || {Name, One, Two} <- [
                {"the one that was committed was aborted, too",
                    committed() ++ [marker(4, 50, 1, abort, 9)], aborted()},
                {"others have theirs between",
                    [data(0, 0, 50, 0), marker(1, 51, 0, abort, 3), data(2, 2, 50, 0),
                        marker(3, 50, 0, commit, 8)],
                    aborted()},
                {"the same producer goes on behind it",
                    committed() ++ [data(4, 6, 50, 2), marker(7, 50, 2, commit, 9)], aborted()}
            ]
        ].

torn_test_() ->
    %% Anything less is a violation.
    [
        {Name, ?_assertEqual([torn], kinds(unknown, Copies))}
     || {Name, Copies} <- [
            {"no markers are known", []},
            {"nothing is known of one partition", [{1, 0, committed()}]},
            {"no marker in one partition", copies(committed(), [data(0, 1, 50, 0)])},
            {"no marker in both", copies([data(0, 0, 50, 0), data(2, 2, 50, 0)], [data(0, 1, 50, 0)])},
            {"committed in both", copies(committed(), aborted(commit, 9, 6000))},
            {"aborted in both",
                copies([data(0, 0, 50, 0), data(2, 2, 50, 0), marker(3, 50, 0, abort, 8)], aborted())},
            {"markers say the contrary of what is seen",
                copies(
                    [data(0, 0, 50, 0), data(2, 2, 50, 0), marker(3, 50, 1, abort, 9)],
                    aborted(commit, 8, 6000)
                )},
            {"another producer's abort",
                copies(committed(), [data(0, 1, 50, 0), marker(2, 51, 1, abort, 9)])},
            {"all of another producer's",
                copies(
                    [data(0, 0, 50, 0), data(2, 2, 50, 0), marker(3, 51, 0, commit, 8)],
                    [data(0, 1, 50, 0), marker(2, 51, 1, abort, 9)]
                )},
            {"two producers", copies(committed(), [data(0, 1, 52, 0), marker(2, 52, 1, abort, 9)])},
            {"two epochs of one", copies(committed(), [data(0, 1, 50, 1), marker(2, 50, 1, abort, 9)])},
            {"an epoch that was over", copies(committed(), [data(0, 1, 50, 2), marker(2, 50, 1, abort, 9)])},
            {"two epochs in one partition",
                copies([data(0, 0, 50, 0), data(2, 2, 50, 1), marker(3, 50, 1, commit, 8)], aborted())},
            {"a marker of an older epoch",
                copies(
                    [data(0, 0, 50, 2), data(2, 2, 50, 2), marker(3, 50, 2, commit, 8)],
                    [data(0, 1, 50, 2), marker(2, 50, 1, abort, 9)]
                )},
            {"the same coordinator", copies(committed(), aborted(abort, 8, 6000))},
            {"before its end was asked for", copies(committed(), aborted(abort, 9, 4999))},
            {"in the midst of it",
                copies(
                    [data(0, 0, 50, 0), marker(1, 50, 0, commit, 8), data(2, 2, 50, 0),
                        marker(3, 50, 0, commit, 8)],
                    aborted()
                )},
            {"before all of it",
                copies(
                    committed(), [marker(-1, 50, 1, abort, 9), data(0, 1, 50, 0)]
                )},
            {"with what follows it",
                copies(committed(), [data(0, 1, 50, 0), data(2, 3, 50, 1), marker(4, 50, 1, abort, 9)])},
            {"brokers differ", copies(committed(), aborted()) ++ [{3, 1, aborted(abort, 10, 6000)}]},
            {"a broker knows nothing of it", copies(committed(), aborted()) ++ [{3, 1, []}]}
        ]
    ].

else_test_() ->
    %% Nor is it the brokers' what else is not as it should be.
    Sound = copies(committed(), aborted()),
    [
        {"a part is in no log",
            ?_assertEqual(
                [lost, torn],
                found([
                    without({2, {7, 2}}, E)
                 || E <- run(unknown, copies([data(0, 0, 50, 0), marker(3, 50, 0, commit, 8)], aborted()))
                ])
            )},
        {"nothing of it is seen, which brokers have aborted",
            ?_assertEqual(
                [torn],
                found([
                    seen_by_none(E)
                 || E <- run(
                        committed,
                        copies(
                            [data(0, 0, 50, 0), data(2, 2, 50, 0), marker(3, 50, 1, abort, 9)], aborted()
                        )
                    )
                ])
            )},
        {"all of it is seen, which brokers have committed",
            ?_assertEqual(
                [aborted_visible],
                found([
                    case E of
                        #{what := log, partition := 1} -> E#{entries := [{0, {7, 1}}, {1, {7, 3}}]};
                        _ -> E
                    end
                 || E <- run(aborted, copies(committed(), aborted(commit, 9, 6000)))
                ])
            )},
        {"a part was reported later",
            ?_assertEqual([torn], found([later(E) || E <- run(unknown, Sound)]))},
        {"its end was not asked for",
            ?_assertEqual(
                [aborted_visible], found([E || #{what := W} = E <- run(none, Sound), W =/= commit_asked])
            )},
        {"it was to be aborted",
            ?_assertEqual(
                [aborted_visible],
                found([
                    case E of #{what := commit_asked} -> E#{what := abort_asked}; _ -> E end
                 || E <- run(aborted, Sound)
                ])
            )}
    ].

%% ---- what brokers have --------------------------------------------------------------------

%% Of the first partition, whose messages are seen.
committed() -> [data(0, 0, 50, 0), data(2, 2, 50, 0), marker(3, 50, 0, commit, 8)].

%% Of the second one, whose are not: who came later gave the producer a new epoch.
aborted() -> aborted(abort, 9, 6000).

aborted(Marker, Coordinator, Millis) ->
    [data(0, 1, 50, 0), {2, 2, 50, 1, {Marker, Millis, Coordinator}}].

copies(One, Two) -> [{Broker, P, Of} || Broker <- [1, 2], {P, Of} <- [{0, One}, {1, Two}]].

data(First, Last, Producer, Epoch) -> {First, Last, Producer, Epoch, data}.

marker(Offset, Producer, Epoch, Marker, Coordinator) ->
    {Offset, Offset, Producer, Epoch, {Marker, 6000, Coordinator}}.

%% ---- a run ----------------------------------------------------------------------------------

kinds(Outcome, Copies) -> found(run(Outcome, Copies)).

found(Entries) ->
    lists:usort([Kind || {Kind, _} <- crema_chaos_checker:judge(Entries)]).

run(Outcome, Copies) ->
    Entries =
        [
            #{what => run},
            #{what => topic, topic => ?TOPIC, partitions => 2, role => produced},
            #{what => client, client => c, node => n, ordering => strict, timeout => 20000,
                transactional => true},
            #{what => process, process => 7, node => n},
            #{what => begun, transaction => ?NAME, process => 7, client => c},
            #{what => produce, process => 7, client => c, topic => ?TOPIC, numbers => [0, 1, 2, 3],
                transaction => ?NAME},
            #{what => reported, process => 7, reports => [
                {0, {delivered, 0, 0}}, {1, {delivered, 1, 0}}, {2, {delivered, 0, 2}},
                {3, {delivered, 1, 1}}
            ]},
            #{what => commit_asked, transaction => ?NAME, at => ?ASKED}
        ] ++
            [#{what => ended, transaction => ?NAME, outcome => Outcome} || Outcome =/= none] ++
            [#{what => calm}, #{what => drained}] ++
            [
                #{what => log, topic => ?TOPIC, partition => P, isolation => Isolation, entries => Of}
             || {P, Isolation, Of} <- [
                    {0, uncommitted, [{0, {7, 0}}, {2, {7, 2}}]},
                    {0, committed, [{0, {7, 0}}, {2, {7, 2}}]},
                    {1, uncommitted, [{0, {7, 1}}, {1, {7, 3}}]},
                    {1, committed, []}
                ]
            ] ++
            [
                #{what => batches, broker => Broker, topic => ?TOPIC, partition => P, batches => Of}
             || {Broker, P, Of} <- Copies
            ],
    [maps:merge(#{at => At}, Entry) || {At, Entry} <- lists:zip(times(length(Entries)), Entries)].

%% The eighth is the one that has its own.
times(Count) -> [?ASKED + 1000 * (N - 8) || N <- lists:seq(1, Count)].

without(Message, #{what := log, entries := Of} = Entry) -> Entry#{entries := lists:delete(Message, Of)};
without(_, Entry) -> Entry.

seen_by_none(#{what := log, isolation := committed} = Entry) -> Entry#{entries := []};
seen_by_none(Entry) -> Entry.

later(#{what := reported, at := At} = Entry) -> Entry#{at := At + 2000};
later(Entry) -> Entry.
