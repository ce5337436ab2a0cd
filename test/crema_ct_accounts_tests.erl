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
        {1, 3} => not_persisted,
        {1, 4} => refused,
        {2, 0} => {delivered, 0, 1},
        {2, 1} => possibly_persisted,
        {2, 2} => possibly_persisted,
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
                    {elsewhere, {1, 2}, {1, 3}}, {repeated, {1, 2}}
                ]},
            {"swapped", 1, [{0, {1, 1}}, {1, {2, 3}}, {2, {2, 1}}], [
                {overtaken, {2, 1}, {2, 3}}
            ]},
            {"there but reported not persisted", 1,
                [{0, {1, 1}}, {1, {1, 3}}, {2, {2, 1}}, {3, {2, 3}}], [{refuted, {1, 3}}]},
            {"there but refused", 1, [{0, {1, 1}}, {1, {1, 4}}, {2, {2, 3}}], [{refuted, {1, 4}}]},
            {"elsewhere", 1, [{1, {1, 1}}, {2, {2, 3}}], [{elsewhere, {1, 1}, {1, 1}}]},
            {"unknown", 1, [{0, {1, 1}}, {1, {3, 0}}, {2, {2, 3}}], [{unknown, {3, 0}}]}
        ]
    ].

faults_with(Partition, Entries) ->
    Log = lists:keyreplace(Partition, 1, log(), {Partition, Entries}),
    crema_ct_accounts:faults(outcomes(), Log).

last_copies_test() ->
    %% Of what is there twice only the last counts, as it was reported.
    Twice = [{0, a}, {1, b}, {2, c}, {3, b}, {4, c}],
    ?assertEqual([{0, a}, {3, b}, {4, c}], crema_ct_accounts:last_copies(Twice)),
    ?assertEqual([], crema_ct_accounts:last_copies([])).

count_test() ->
    ?assertEqual(
        #{delivered => 5, not_persisted => 1, refused => 1, possibly_persisted => 2},
        crema_ct_accounts:count(outcomes())
    ).
