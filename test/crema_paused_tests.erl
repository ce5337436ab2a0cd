%% What is paused, after pauses and resumes of some and of all.
-module(crema_paused_tests).

-include_lib("eunit/include/eunit.hrl").

-define(A, {<<"t">>, 0}).
-define(B, {<<"t">>, 1}).

%% All is said of those to come as well, and ends what was said of single ones.
all_test() ->
    Named = crema_paused:set([?A], true, crema_paused:new()),
    ?assertEqual([true, false], are(Named)),
    All = crema_paused:set(all, true, Named),
    ?assertEqual([true, true], are(All)),
    But = crema_paused:set([?A], false, All),
    ?assertEqual([false, true], are(But)),
    ?assert(crema_paused:is_named(?A, But)),
    ?assertEqual([true, true], are(crema_paused:set([?A], true, But))),
    ?assertEqual([false, false], are(crema_paused:set(all, false, But))).

%% Flags that were given out follow, and a later one begins as it is.
flags_test() ->
    {First, Paused} = crema_paused:flag(?A, crema_paused:new()),
    ?assertNot(crema_paused:is_raised(First)),
    All = crema_paused:set(all, true, Paused),
    ?assert(crema_paused:is_raised(First)),
    {Second, Both} = crema_paused:flag(?B, All),
    ?assert(crema_paused:is_raised(Second)),
    _ = crema_paused:set([?B], false, Both),
    ?assertNot(crema_paused:is_raised(Second)),
    ?assert(crema_paused:is_raised(First)),
    ?assertEqual({First, Both}, crema_paused:flag(?A, Both)).

are(Paused) -> [crema_paused:is(Place, Paused) || Place <- [?A, ?B]].
