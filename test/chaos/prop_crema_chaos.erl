%% Properties of the checker of chaos: no run in which all is as it should be has a
%% violation, and one with a planted fault has that.
-module(prop_crema_chaos).

-include_lib("proper/include/proper.hrl").

-export([prop_sound/0, prop_planted/0]).

prop_sound() ->
    %% Nothing is found where nothing is wrong, in runs of any length.
    ?FORALL(
        {Seed, Steps},
        {pos_integer(), range(20, 200)},
        crema_chaos_checker:judge(crema_chaos_made:history(Seed, Steps)) =:= []
    ).

prop_planted() ->
    %% Each kind of fault is found, wherever it is planted.
    ?FORALL(
        {Seed, Kind},
        {pos_integer(), oneof(crema_chaos_planted:kinds())},
        begin
            Planted = crema_chaos_planted:plant(Kind, crema_chaos_made:history(Seed)),
            lists:keymember(Kind, 1, crema_chaos_checker:judge(Planted))
        end
    ).
