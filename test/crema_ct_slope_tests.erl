%% The judge of growth finds the leaks that it is to find in an hour's samples that are as
%% uneven as real ones, and raises no alarm without a leak.
-module(crema_ct_slope_tests).

-include_lib("eunit/include/eunit.hrl").

-define(HOUR, 3600).
-define(EVERY, 2).
-define(SERIES, 60).

%% ---- what it finds ---------------------------------------------------------------

%% A kilobyte a second is found in memory that moves by megabytes, and its
%% interval holds the leak; seldom is it hidden by an allocator's steps.
memory_leak_test_() ->
    {timeout, 60, fun() ->
        [Even, Uneven] = [
            [judge(memory(Seed, Steps), fun(T) -> 1024 * T end) || Seed <- seeds()]
         || Steps <- [0, 2]
        ],
        ?assertEqual([], not_judged(grows, Even)),
        ?assert(length(not_judged(grows, Uneven)) =< ?SERIES div 20),
        ?assertEqual([], [J || #{low := Low, high := High} = J <- Even, Low > 1024 orelse High < 1024])
    end}.

%% So is one of a descriptor a minute, whose clients come and go by the dozen.
descriptor_leak_test_() ->
    {timeout, 60, fun() ->
        Leaks = [judge(descriptors(Seed), fun minutes/1) || Seed <- seeds()],
        ?assertEqual([], not_judged(grows, Leaks))
    end}.

%% And of an atom a minute, where nothing else moves, also when code is loaded late.
atom_leak_test() ->
    #{verdict := grows, slope := Slope} = judge(fun(_) -> 11700 end, fun minutes/1),
    ?assert(abs(Slope * 60 - 1) < 0.05),
    ?assertMatch(#{verdict := grows}, judge(step(?HOUR / 20, 90), fun minutes/1)).

%% ---- what it does not --------------------------------------------------------------

%% Hours without a leak raise no alarm, but where an allocator has left memory
%% behind, which is seldom taken for a leak. (Of 300 hours each: none without such
%% steps, 4 with one, 10 with two.)
no_leak_test_() ->
    [
        {timeout, 60, fun() ->
            Judged = [judge(Noise(Seed)) || Seed <- seeds()],
            ?assert(length(not_judged(zero, Judged)) =< Most, not_judged(zero, Judged))
        end}
     || {Noise, Most} <- [
            {fun(Seed) -> memory(Seed, 0) end, 0},
            {fun(Seed) -> memory(Seed, 2) end, ?SERIES div 10},
            {fun descriptors/1, 0}
        ]
    ].

not_judged(As, Judged) ->
    [J || #{verdict := Verdict} = J <- Judged, Verdict =/= As].

%% What never moves has the slope of zero, without any doubt.
constant_test() ->
    ?assertMatch(
        #{slope := +0.0, low := +0.0, high := +0.0, verdict := zero}, judge(fun(_) -> 42 end)
    ).

%% A single step is no growth, whenever it comes and however high it is.
step_test() ->
    [
        ?assertMatch(#{verdict := zero}, judge(step(?HOUR * Part / 10, Height)))
     || Part <- lists:seq(1, 9), Height <- [1, 90, 1000000]
    ].

%% What shrinks is told as well.
falls_test() ->
    ?assertMatch(#{verdict := falls, high := High} when High < 0, judge(fun(T) -> 100 - T div 60 end)).

%% A heap that grows for ten minutes until it is collected is no leak, and hides one of a
%% fifth of that pace only as far as is told. One that grows for two hours is one, for all
%% that can be known.
sawtooth_test() ->
    Tooth = fun(Period) -> fun(T) -> 50000000 + 5120 * (T rem Period) end end,
    #{verdict := zero, low := Low, high := High} = judge(Tooth(600)),
    #{verdict := unclear} = judge_up_to((High - Low) / 2, Tooth(600)),
    ?assertMatch(#{verdict := grows}, judge(Tooth(600), fun(T) -> round(T * (High - Low)) end)),
    ?assertMatch(#{verdict := grows}, judge(Tooth(7200))).

%% ---- what cannot be judged -----------------------------------------------------------

%% What walks without an aim has an interval as well, and seldom a slope; but a leak that
%% it may hide is told to be hidden, and none is called zero.
walk_test_() ->
    {timeout, 60, fun() ->
        Judged = [judge_up_to(1024, walk(Seed)) || Seed <- seeds()],
        ?assert(length(not_judged(unclear, Judged)) =< ?SERIES div 20, not_judged(unclear, Judged)),
        Bounded = [judge(walk(Seed)) || Seed <- seeds()],
        ?assert(length(not_judged(zero, Bounded)) =< ?SERIES div 20, not_judged(zero, Bounded)),
        Large = [judge(walk(Seed), fun(T) -> 20000 * T end) || Seed <- seeds()],
        ?assertEqual([], not_judged(grows, Large))
    end}.

%% A few samples say nothing; a few more say how little.
short_test() ->
    Step = fun(Count) -> lists:enumerate(lists:duplicate(Count, 1) ++ lists:duplicate(Count, 2)) end,
    ?assertMatch(#{low := unbounded, verdict := unclear}, crema_ct_slope:judge(Step(9))),
    #{low := Low, high := High, verdict := zero} = crema_ct_slope:judge(Step(12)),
    ?assert(High - Low > 0.1),
    ?assertMatch(#{verdict := unclear}, crema_ct_slope:judge(Step(12), 0.1)).

%% ---- samples -----------------------------------------------------------------------

seeds() -> lists:seq(1, ?SERIES).

judge(Noise) -> judge(Noise, fun(_) -> 0 end).

%% Noise is asked for one time after another.
judge(Noise, Leak) ->
    crema_ct_slope:judge([{T, Noise(T) + Leak(T)} || T <- lists:seq(0, ?HOUR, ?EVERY)]).

judge_up_to(Most, Noise) ->
    crema_ct_slope:judge([{T, Noise(T)} || T <- lists:seq(0, ?HOUR, ?EVERY)], Most).

minutes(T) -> T div 60.

step(At, Height) ->
    fun
        (T) when T < At -> 11700;
        (_) -> 11700 + Height
    end.

%% 50 MB: a heap that grows until it is collected, at times that differ; what wanders and
%% comes back (a queue, another load); bursts; and steps of an allocator at any time, up or down.
memory(Seed, Count) ->
    _ = rand:seed(exsss, Seed),
    Steps = [{rand:uniform(?HOUR), (rand:uniform(3) - 2) * 131072} || _ <- lists:seq(1, Count)],
    _ = put(heap, 0),
    _ = put(wander, 0.0),
    fun(T) ->
        Heap = collected(get(heap) + rand:uniform(200000)),
        Wander = 0.9 * get(wander) + 100000 * rand:normal(),
        _ = put(heap, Heap),
        _ = put(wander, Wander),
        Stepped = lists:sum([Height || {At, Height} <- Steps, T >= At]),
        50000000 + Heap + round(Wander) + burst(2000000) + Stepped
    end.

%% An allocator's pages: up and down by a quarter of a megabyte at times.
walk(Seed) ->
    _ = rand:seed(exsss, Seed),
    _ = put(walk, 50000000),
    fun(_) ->
        Step =
            case rand:uniform(20) of
                1 -> (rand:uniform(3) - 2) * 262144;
                _ -> 0
            end,
        put(walk, get(walk) + Step) + Step
    end.

collected(Heap) ->
    case rand:uniform(2000000) < Heap of
        true -> rand:uniform(100000);
        false -> Heap
    end.

burst(Height) ->
    case rand:uniform(10) of
        1 -> rand:uniform(Height);
        _ -> 0
    end.

%% Clients that come for some seconds, and are replaced now and then, which is a moment
%% with fewer.
descriptors(Seed) ->
    _ = rand:seed(exsss, Seed),
    fun(_) ->
        case rand:uniform(100) of
            1 -> 80;
            Chance -> 99 + 6 * max(0, Chance div 20 - 2)
        end
    end.
