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

sentences_test() ->
    %% Each kind has a sentence.
    [
        ?assertMatch({match, _}, re:run(crema_chaos_checker:sentence({Kind, #{}}), ": a|^.*: .{10}"))
     || Kind <- [contradicted | crema_chaos_planted:kinds()]
    ].
