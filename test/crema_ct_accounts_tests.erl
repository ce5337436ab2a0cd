%% That crema_ct_accounts finds each fault that is planted.
-module(crema_ct_accounts_tests).

-include_lib("eunit/include/eunit.hrl").

%% Two processes, two partitions; a message possibly persisted is there, another
%% is not.
outcomes() ->
    #{
        {1, 0} => {delivered, 0, 0},
        {1, 1} => {delivered, 1, 0},
        {1, 2} => {delivered, 0, 2},
        {1, 3} => {failed, not_persisted, purge_queue},
        {1, 4} => refused,
        {2, 0} => {delivered, 0, 1},
        {2, 1} => {failed, possibly_persisted, purge_inflight},
        {2, 2} => {failed, possibly_persisted, purge_inflight},
        {2, 3} => {delivered, 1, -1001}
    }.

log() ->
    [
        {0, [{0, {1, 0}}, {1, {2, 0}}, {2, {1, 2}}]},
        {1, [{0, {1, 1}}, {1, {2, 1}}, {2, {2, 3}}]}
    ].

sound_test() ->
    ?assertEqual([], crema_ct_accounts:faults(outcomes(), log())).

planted_test_() ->
    [
        {Title, ?_assertEqual(Faults, faults_with(Partition, Entries))}
     || {Title, Partition, Entries, Faults} <- [
            {"lost", 1, [{0, {1, 1}}], [{lost, {2, 3}}]},
            {"all lost", 1, [], [{lost, {1, 1}}, {lost, {2, 3}}]},
            {"repeated", 1, [{0, {1, 1}}, {1, {2, 1}}, {2, {2, 1}}, {3, {2, 3}}], [
                {repeated, {2, 1}}
            ]},
            {"repeated in another partition", 1,
                [{0, {1, 1}}, {1, {2, 1}}, {2, {2, 3}}, {3, {1, 2}}], [
                    {elsewhere, {1, 2}}, {repeated, {1, 2}}
                ]},
            {"swapped", 1, [{0, {1, 1}}, {1, {2, 3}}, {2, {2, 1}}], [{overtaken, {2, 1}}]},
            {"there but reported not persisted", 1,
                [{0, {1, 1}}, {1, {1, 3}}, {2, {2, 1}}, {3, {2, 3}}], [{refuted, {1, 3}}]},
            {"there but refused", 1, [{0, {1, 1}}, {1, {1, 4}}, {2, {2, 3}}], [{refuted, {1, 4}}]},
            {"elsewhere", 1, [{1, {1, 1}}, {2, {2, 3}}], [{elsewhere, {1, 1}}]},
            {"unknown", 1, [{0, {1, 1}}, {1, {3, 0}}, {2, {2, 3}}], [{unknown, {3, 0}}]}
        ]
    ].

faults_with(Partition, Entries) -> faults(outcomes(), Partition, Entries).

faults(Outcomes, Partition, Entries) ->
    Log = lists:keyreplace(Partition, 1, log(), {Partition, Entries}),
    Faults = crema_ct_accounts:faults(Outcomes, Log),
    lists:sort([{Kind, Message} || {Kind, #{message := Message}} <- Faults]).

timed_out_test() ->
    %% After a time-out messages may be there twice; they are reported where they are
    %% last, and their last copies are in order.
    Outcomes = (outcomes())#{{2, 2} := {failed, possibly_persisted, msg_timed_out}},
    Twice = [{0, {1, 1}}, {1, {2, 1}}, {2, {2, 3}}, {3, {2, 1}}, {4, {2, 3}}],
    ?assertEqual([], faults(Outcomes, 1, Twice)),
    ?assertEqual([{repeated, {2, 1}}, {repeated, {2, 3}}], faults(outcomes(), 1, Twice)),
    First = Outcomes#{{2, 3} := {delivered, 1, 2}},
    ?assertEqual([{elsewhere, {2, 3}}], faults(First, 1, Twice)),
    Swapped = lists:sublist(Twice, 3) ++ [{3, {2, 3}}, {4, {2, 1}}],
    ?assertEqual([{overtaken, {2, 1}}], faults(Outcomes, 1, Swapped)).

count_test() ->
    ?assertEqual(
        #{delivered => 5, not_persisted => 1, refused => 1, possibly_persisted => 2},
        crema_ct_accounts:count(outcomes())
    ).
