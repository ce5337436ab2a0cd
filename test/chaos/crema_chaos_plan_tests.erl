%% That a run can be repeated, and that every kind of fault comes.
-module(crema_chaos_plan_tests).

-include_lib("eunit/include/eunit.hrl").

-define(SECONDS, 180).

repeated_test() ->
    %% The plan follows from the seed and the length alone, and from both.
    ?assertEqual(crema_chaos_plan:make(1, ?SECONDS), crema_chaos_plan:make(1, ?SECONDS)),
    ?assertNotEqual(crema_chaos_plan:make(1, ?SECONDS), crema_chaos_plan:make(2, ?SECONDS)),
    ?assertNotEqual(crema_chaos_plan:make(1, ?SECONDS), crema_chaos_plan:make(1, ?SECONDS * 2)).

in_time_test() ->
    %% In a lane one fault is over before the next begins, and the last before the plan's end.
    [
        begin
            Over = lists:foldl(
                fun({At, _, Lasts}, Before) ->
                    ?assert(At > Before),
                    At + Lasts
                end,
                0,
                Steps
            ),
            ?assert(Over =< ?SECONDS * 1000)
        end
     || Seed <- lists:seq(1, 50), {_, Steps} <- crema_chaos_plan:make(Seed, ?SECONDS)
    ].

every_kind_test() ->
    %% Three minutes of most seeds have each kind of fault of brokers and applications, and all
    %% have those of connections and clients; controllers are among the brokers killed.
    Kinds = [
        lists:usort([element(1, Fault) || {_, Steps} <- crema_chaos_plan:make(Seed, ?SECONDS),
            {_, Fault, _} <- Steps])
     || Seed <- lists:seq(1, 50)
    ],
    Always = [cut, hold, kill_client, kill_handler, kill_member, kill_port, leave, seek],
    [?assertEqual([], Always -- Of) || Of <- Kinds],
    [
        ?assert(length([Of || Of <- Kinds, lists:member(Kind, Of)]) > 40, Kind)
     || Kind <- [kill_broker, pause_broker, kill_app, pause_app, refuse, delay]
    ],
    Killed = [Fault || Seed <- lists:seq(1, 50), {brokers, Steps} <- crema_chaos_plan:make(Seed, ?SECONDS),
        {_, Fault, _} <- Steps],
    ?assertEqual(
        [1, 2, 3, all, controller], lists:usort([Which || {kill_broker, Which} <- Killed])
    ).
