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
%% An interval without zero in it is growth, or a fall; by chance that comes once in a
%% thousand. What is found and what is not: crema_ct_slope_tests.
-module(crema_ct_slope).

-export([judge/1]).

-define(WINDOWS, 30).
%% Of the normal distribution, two-sided 99.9 %.
-define(Z, 3.29).
-define(MOST_MEMORY, 0.95).

%% @doc Of at least a few samples for each of some windows. The slope and its interval are a
%% second's; an interval without bounds says that the run was too short, or too uneven, to tell.
judge(Samples) when length(Samples) >= 20 ->
    Windows = windows(Samples, min(?WINDOWS, length(Samples) div 2)),
    Slopes = lists:sort(slopes(Windows)),
    Slope = median(Slopes),
    {Low, High} = interval(Slopes, deviation(Windows, Slope)),
    #{slope => Slope, low => Low, high => High, verdict => verdict(Low, High)}.

verdict(Low, _) when is_number(Low), Low > 0 -> grows;
verdict(_, High) when is_number(High), High < 0 -> falls;
verdict(_, _) -> zero.

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

slopes([]) ->
    [];
slopes([{Time, Value} | Rest]) ->
    [(V - Value) / (T - Time) || {T, V} <- Rest] ++ slopes(Rest).

median(Sorted) ->
    Count = length(Sorted),
    (lists:nth((Count + 1) div 2, Sorted) + lists:nth(Count div 2 + 1, Sorted)) / 2.

%% The slopes of those ranks between which the true one lies.
interval(Slopes, Deviation) ->
    Count = length(Slopes),
    Half = ?Z * Deviation,
    case round((Count - Half) / 2) of
        Rank when Rank < 1 -> {unbounded, unbounded};
        Rank -> {lists:nth(Rank, Slopes), lists:nth(Count - Rank + 1, Slopes)}
    end.

%% The standard deviation of the number of pairs that rise less those that fall, if
%% there was no slope.
deviation(Windows, Slope) ->
    Count = length(Windows),
    Memory = memory([Value - Slope * Time || {Time, Value} <- Windows], Count),
    Variance = Count * (Count - 1) * (2 * Count + 5) / 18,
    math:sqrt(Variance * (1 + Memory) / (1 - Memory)).

%% The first autocorrelation, from which what so few windows take off has been given back.
memory(Left, Count) ->
    Mean = lists:sum(Left) / Count,
    From = [Value - Mean || Value <- Left],
    Squares = lists:sum([D * D || D <- From]),
    Products = lists:sum(lists:zipwith(fun(A, B) -> A * B end, lists:droplast(From), tl(From))),
    case Squares > 0 andalso (Count * Products / Squares + 2) / (Count - 4) of
        false -> 0;
        Memory -> max(0, min(?MOST_MEMORY, Memory))
    end.
