%% Whether a figure that was sampled over time grows: of memory, descriptors,
%% atoms and the like, of which only that matters. Pure.
%%
%% The run is cut into windows, and each stands for itself by its low decile: a heap
%% between two collections and clients that come and go rise from there and fall
%% back. The slope is that of Theil and Sen, the median of the slopes between all pairs
%% of windows, and its interval goes by Kendall's distribution of the signs of those
%% pairs. Neither wants the noise to be normal, and a few windows that are far off
%% change little.
%%
%% What one window leaves behind is in the next: a single step (an arena of malloc's, a
%% table that was doubled) would look like growth. So the variance is that of as few
%% windows as are worth as much without such memory, by the first autocorrelation r of
%% what a line leaves: (1 + r) / (1 - r), after r's own bias was taken off.
%%
%% Where r is large, so few are left that the signs of pairs tell nothing: no slope is then
%% out of the question. What moves may be a walk without an aim. So the slope is the mean of
%% what each window adds to the one before, and its interval goes by their spread (Student's
%% t). That is right for a walk, and several times too wide for what comes back.
%%
%% An interval without zero in it is growth, or a fall; by chance that comes once in a
%% thousand. One with zero that is wider than the least leak that matters says nothing:
%% such a leak could hide in it. What is found and what is not: crema_ct_slope_tests.
-module(crema_ct_slope).

-export([judge/1, judge/2]).

-define(WINDOWS, 30).
-define(FEWEST_SAMPLES, 20).
%% Of the normal distribution, two-sided 99.9 %.
-define(Z, 3.29).
-define(MOST_MEMORY, 0.95).

%% @doc The same without a least leak: every interval says something.
judge(Samples) ->
    judge(Samples, infinity).

%% @doc The slope and its interval are a second's. `Most' is how wide the interval may be:
%% a leak that is so large is surely found. Of too few samples nothing is known.
judge(Samples, _Most) when length(Samples) < ?FEWEST_SAMPLES ->
    #{slope => unbounded, low => unbounded, high => unbounded, verdict => unclear};
judge(Samples, Most) ->
    Windows = windows(Samples, min(?WINDOWS, length(Samples) div 2)),
    Slopes = lists:sort(slopes(Windows)),
    Median = median(Slopes),
    Memory = memory([Value - Median * Time || {Time, Value} <- Windows], length(Windows)),
    {Slope, Low, High} =
        case rank(length(Slopes), length(Windows), Memory) of
            Rank when Rank < 1 -> additions(Windows);
            Rank -> {Median, lists:nth(Rank, Slopes), lists:nth(length(Slopes) - Rank + 1, Slopes)}
        end,
    #{slope => Slope, low => Low, high => High, verdict => verdict(Low, High, Most)}.

verdict(Low, _, _) when Low > 0 -> grows;
verdict(_, High, _) when High < 0 -> falls;
verdict(Low, High, Most) when High - Low > Most -> unclear;
verdict(_, _, _) -> zero.

%% The middle of each window and its low decile.
windows([{First, _} | _] = Samples, Count) ->
    {Last, _} = lists:last(Samples),
    Width = (Last - First) / Count,
    Numbered = [{min(Count - 1, trunc((Time - First) / Width)), Value} || {Time, Value} <- Samples],
    Grouped = lists:foldl(
        fun({Number, Value}, Acc) ->
            maps:update_with(Number, fun(Values) -> [Value | Values] end, [Value], Acc)
        end,
        #{},
        Numbered
    ),
    [
        {First + (Number + 0.5) * Width, decile(Values)}
     || {Number, Values} <- lists:sort(maps:to_list(Grouped))
    ].

decile(Values) ->
    lists:nth(1 + length(Values) div 10, lists:sort(Values)).

%% The first autocorrelation, from which what so few windows take off has been given back.
memory(Left, Count) ->
    Mean = lists:sum(Left) / Count,
    From = [Value - Mean || Value <- Left],
    Squares = lists:sum([D * D || D <- From]),
    Products = lists:sum(lists:zipwith(fun(A, B) -> A * B end, lists:droplast(From), tl(From))),
    case Squares > 0 andalso (Count * Products / Squares + 2) / (Count - 4) of
        false -> 0;
        Memory -> max(0, Memory)
    end.

%% ---- with little memory --------------------------------------------------------------

slopes([]) ->
    [];
slopes([{Time, Value} | Rest]) ->
    [(V - Value) / (T - Time) || {T, V} <- Rest] ++ slopes(Rest).

median(Sorted) ->
    Count = length(Sorted),
    (lists:nth((Count + 1) div 2, Sorted) + lists:nth(Count div 2 + 1, Sorted)) / 2.

%% Of the lower of the slopes between which the true one lies. It goes by the standard
%% deviation of the number of pairs that rise less those that fall, if there was no slope.
rank(_Pairs, _Count, Memory) when Memory >= ?MOST_MEMORY ->
    0;
rank(Pairs, Count, Memory) ->
    Variance = Count * (Count - 1) * (2 * Count + 5) / 18,
    Deviation = math:sqrt(Variance * (1 + Memory) / (1 - Memory)),
    round((Pairs - ?Z * Deviation) / 2).

%% ---- with much ----------------------------------------------------------------------

additions(Windows) ->
    {First, Before} = hd(Windows),
    {Last, Behind} = lists:last(Windows),
    Each = lists:zipwith(
        fun({T, V}, {T0, V0}) -> (V - V0) / (T - T0) end, tl(Windows), lists:droplast(Windows)
    ),
    Count = length(Each),
    Mean = lists:sum(Each) / Count,
    Variance = lists:sum([square(Of - Mean) || Of <- Each]) / (Count - 1),
    Slope = (Behind - Before) / (Last - First),
    Half = student(Count - 1) * math:sqrt(Variance / Count),
    {Slope, Slope - Half, Slope + Half}.

%% Student's distribution as far as the normal one's is, by the first terms of its expansion.
student(Free) ->
    ?Z + 9.73 / Free + 26.1 / square(Free) + 53.2 / (Free * square(Free)).

square(X) -> X * X.
