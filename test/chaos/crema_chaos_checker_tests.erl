%% That the checker of chaos finds each fault that is planted, and nothing where
%% nothing is wrong.
-module(crema_chaos_checker_tests).

-include_lib("eunit/include/eunit.hrl").

-define(SEEDS, lists:seq(1, 20)).

sound_test_() ->
    %% A run with rebalances, kills, crashes, seeks, resets, time-outs and transactions
    %% in which all is as it should be has no violation.
    {timeout, 600, [{lists:concat([seed, Seed]), fun() -> sound(Seed) end} || Seed <- ?SEEDS]}.

sound(Seed) ->
    Found = crema_chaos_checker:judge(crema_chaos_made:history(Seed)),
    ?assertEqual([], lists:sublist(Found, 5)).

planted_test_() ->
    %% A fault of each kind, at a random place, is found and told as what it is.
    {timeout, 600, [
        {lists:concat([Kind, " seed ", Seed]), fun() -> planted(Kind, Seed) end}
     || Kind <- crema_chaos_planted:kinds(), Seed <- lists:seq(1, 5)
    ]}.

planted(Kind, Seed) ->
    Planted = crema_chaos_planted:plant(Kind, crema_chaos_made:history(Seed)),
    Found = crema_chaos_checker:judge(Planted),
    ?assert(lists:keymember(Kind, 1, Found), [K || {K, _} <- Found]).

lost_test_() ->
    %% That a member lost a partition is why its messages come again, and those of no other;
    %% nor of one that it had given back before.
    Lost = fun(Partition) ->
        #{what => lost, member => one, topic => <<"t">>, partition => Partition}
    end,
    Revoked = #{what => unassigned, member => one, slot => 1, why => revoked},
    [
        ?_assertEqual([], again([Lost(0)])),
        ?_assertEqual([repeated_handling], again([])),
        ?_assertEqual([repeated_handling], again([Lost(1)])),
        ?_assertEqual([repeated_handling], again([Revoked, Lost(0)]))
    ].

refused_test_() ->
    %% A refusal takes back the acknowledgement before it, not one that was taken earlier:
    %% a crashed handler's helper may still have made that.
    [
        ?_assertEqual(InForce, crema_chaos_part:in_force(Notes))
     || {InForce, Notes} <- [
            {[], [{1, acked, 5}, {2, refused, 5}]},
            {[{1, 5}], [{1, acked, 5}, {2, acked, 5}, {3, refused, 5}]},
            {[], [{1, acked, 5}, {2, refused, 5}, {3, acked, 5}, {4, refused, 5}]},
            {[{3, 5}], [{1, acked, 5}, {2, refused, 5}, {3, acked, 5}]}
        ]
    ].

%% What is wrong when a message that one member has acknowledged is given to another,
%% and in between is what is told.
again(Between) ->
    Group = #{
        what => group, group => <<"g">>, topics => [<<"t">>], isolation => committed,
        order => partition, commit => offsets
    },
    Handle = fun(Member, Slot) ->
        Of = #{member => Member, slot => Slot},
        Place = Of#{topic => <<"t">>, partition => 0},
        [
            #{what => member, member => Member, node => Member, group => <<"g">>},
            Place#{what => assigned},
            Place#{what => handling, messages => [{0, {1, 0}}]},
            Of#{what => acknowledged, offsets => [0]}
        ]
    end,
    Told = [#{what => topic, topic => <<"t">>, partitions => 2, role => produced}, Group],
    All = Told ++ Handle(one, 1) ++ Between ++ Handle(other, 2),
    Timed = [Entry#{at => At * 10000} || {At, Entry} <- lists:zip(lists:seq(1, length(All)), All)],
    Log = #{
        what => log, at => 9999999, topic => <<"t">>, partition => 0, isolation => committed,
        entries => [{0, {1, 0}}]
    },
    [Kind || {repeated_handling = Kind, _} <- crema_chaos_checker:judge(Timed ++ [Log])].

unanswered_test_() ->
    %% A commit that is in the log need not have counted when its member was told that it
    %% failed. Nothing else excuses who begins before it, and commits less.
    Both = [began_early, committed_back],
    Untold = #{told => #{what => calm}},
    [
        {Name, ?_assertEqual(Expected, taken_over(maps:merge(taken_over(), Case)))}
     || {Name, Expected, Case} <- [
            {"told", [], #{}},
            {"told at the end of a stop", [], #{told_after => 10}},
            {"without a handler that tells its end", [], #{ends => lost, told_after => 10}},
            {"nobody was told", Both, #{told => #{what => calm}}},
            {"told before", Both, #{told_after => -1}},
            {"told much later", Both, #{told_after => 16}},
            {"another member was told", Both, #{told => told(#{member => third})}},
            {"of another partition", Both, #{told => told(#{partition => 1})}},
            {"refused before it was written", Both, #{told => told(#{reason => illegal_generation})}},
            {"in quiet times", Both, #{fault => false}},
            {"lost, with a broker away", [], Untold#{ends => lost_slot, fault => {brokers, 1}}},
            {"lost, with brokers there", Both, Untold#{ends => lost_slot}},
            {"lost after a pause, with a broker away", [], Untold#{
                ends => lost_slot, ends_at => 120, fault => {brokers, 1}
            }},
            {"overtaken, with a broker away", [], Untold#{ends_at => 150, fault => {brokers, 1}}},
            {"overtaken, with brokers there", Both, Untold#{ends_at => 150}},
            {"killed, with a broker away", [], Untold#{ends => killed, fault => {brokers, 1}}},
            {"given up, with a broker away", Both, Untold#{fault => {brokers, 1}}},
            {"before what had been answered", [began_early], #{begins => 9}},
            {"before what another has committed", [began_early], #{since => 0.5, begins => 19}},
            {"before what another has committed then", Both, #{third => 100.5}}
        ]
    ].

%% A member commits 10, 20 ten seconds later and 30 one more second later, gives the
%% partition up at once and is told that it failed. The next one begins at 10.
taken_over() ->
    #{
        since => -20, ends => unassigned, ends_at => 101.001, told => told(#{}), told_after => 1,
        fault => true, begins => 10
    }.

told(Change) ->
    Told = #{what => commit_failed, member => one, topic => <<"t">>, partition => 0, reason => timed_out},
    maps:merge(Told, Change).

%% What is wrong with it. Times are seconds; the end is at 101.
taken_over(#{since := Since, told := Told, told_after := After, begins := Begins} = Case) ->
    Place = #{topic => <<"t">>, partition => 0},
    Member = fun(Name) -> #{what => member, member => Name, node => Name, group => <<"g">>} end,
    Handle = fun(Name, Offset) ->
        Messages = [{Offset, {1, Offset}}],
        Place#{what => handling, member => Name, slot => Name, messages => Messages}
    end,
    Commit = fun(Offset) -> Place#{what => commit_seen, group => <<"g">>, offset => Offset} end,
    Entries = [
        {0, #{what => topic, topic => <<"t">>, partitions => 2, role => produced}},
        {0, #{
            what => group, group => <<"g">>, topics => [<<"t">>], isolation => committed,
            order => partition, commit => offsets
        }},
        {0, Member(one)},
        {0, Member(third)},
        {0, Member(other)},
        {100 + Since, Handle(one, 0)},
        {90, Commit(10)},
        {100, Commit(20)},
        {101, Commit(30)},
        {101 + After, Told},
        {140, Handle(other, Begins)},
        {141, Commit(Begins + 1)}
    ] ++ [{89, #{what => fault, fault => 1, kind => cut}} || #{fault := true} <- [Case]] ++
        [
            {At, #{what => What, fault => Fault, kind => pause_broker}}
         || #{fault := {_, _} = Fault} <- [Case], {At, What} <- [{99, fault}, {110, fault_over}]
        ] ++
        [{At, Handle(third, 20)} || #{third := At} <- [Case]] ++
        [
            {At, #{what => unassigned, member => one, slot => one, why => Why}}
         || #{ends := Ends, ends_at := At} <- [Case],
            {Known, Why} <- [{unassigned, revoked}, {lost_slot, lost}],
            Known =:= Ends
        ] ++
        [{101.001, #{what => killed, kind => member, who => one}} || #{ends := killed} <- [Case]],
    Found = crema_chaos_checker:judge([
        Entry#{at => round(At * 1000000)}
     || {At, Entry} <- lists:keysort(1, Entries)
    ]),
    lists:sort([Kind || {Kind, _} <- Found, lists:member(Kind, [began_early, committed_back])]).

untold_test_() ->
    %% If the members of a run are told of no failure of such a commit, who begins before
    %% it is a fault.
    [{lists:concat([seed, Seed]), fun() -> untold(Seed) end} || Seed <- lists:seq(1, 5)].

untold(Seed) ->
    Entries = [
        Entry
     || #{what := What} = Entry <- crema_chaos_made:history(Seed),
        not (What =:= commit_failed andalso is_map_key(partition, Entry))
    ],
    ?assert(lists:keymember(began_early, 1, crema_chaos_checker:judge(Entries))).

sentences_test() ->
    %% Each kind has a sentence.
    [
        ?assertMatch({match, _}, re:run(crema_chaos_checker:sentence({Kind, #{}}), ": a|^.*: .{10}"))
     || Kind <- [contradicted | crema_chaos_planted:kinds()]
    ].
