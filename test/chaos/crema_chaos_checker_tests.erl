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

sentences_test() ->
    %% Each kind has a sentence.
    [
        ?assertMatch({match, _}, re:run(crema_chaos_checker:sentence({Kind, #{}}), ": a|^.*: .{10}"))
     || Kind <- [contradicted | crema_chaos_planted:kinds()]
    ].
