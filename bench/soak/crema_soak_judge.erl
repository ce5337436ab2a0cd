%% The table of a soak: of each figure how much there was of it in the first and in the
%% last minute, its slope with its interval, and what that says.
-module(crema_soak_judge).

-export([main/0, report/2, judged/1, text/1, unit/1]).

-define(MINUTE, 60).
-define(HOUR, 3600).

%% @doc Judges samples that were kept: the arguments are the file, and that of the plot.
main() ->
    [File, Plot] = init:get_plain_arguments(),
    halt(min(1, report(File, Plot))).

%% @doc Draws them and prints the table; the number of figures that are not zero, or of
%% which nothing can be said.
report(File, Plot) ->
    Judged = judged(File),
    ok = crema_soak_plot:write(Plot, Judged),
    ok = io:put_chars(text(Judged)),
    length(failed(Judged)).

failed(Judged) ->
    [Figure || {_, _, #{verdict := Verdict}} = Figure <- Judged, Verdict =/= zero].

%% @doc The table, and last what has failed.
text(Judged) ->
    Heads = ["figure", "first", "last", "slope", "99.9 % interval", "found from"],
    [
        io_lib:format("~-16s ~10s ~10s ~9s ~20s ~15s~n", Heads),
        [line(Figure) || Figure <- Judged],
        [unclear(Figure) || {_, _, #{verdict := unclear}} = Figure <- Judged],
        sum([io_lib:format("~w ~w", [Name, V]) || {Name, _, #{verdict := V}} <- failed(Judged)])
    ].

sum([]) -> "slopes: all zero\n";
sum(Failed) -> ["slopes: not zero: ", lists:join(", ", Failed), $\n].

%% @doc Each figure with its samples, in seconds, and what they say.
judged(File) ->
    [
        {Name, Samples, tolerated(Name, Most, crema_ct_slope:judge(Samples, Most))}
     || {Name, Samples} <- figures(File), Most <- [most(Name, Samples)]
    ].

%% Of what is resident it is only asked that it grows by less: allocators spread for hours.
tolerated(resident, Most, #{low := Low, high := High} = Judged) when
    is_number(Low), Low > -Most, High < Most
->
    Judged#{verdict := zero};
tolerated(_, _, Judged) ->
    Judged.

%% What has to be found surely in an hour, a second's. In less time only what is as much
%% in all; in more what is the same.
most(Name, [{First, _} | _] = Samples) ->
    {Last, _} = lists:last(Samples),
    least(Name) * max(1, ?HOUR / max(1, Last - First));
most(_, []) ->
    0.

%% Of what the system has given: an allocator's steps are in it, of up to megabytes.
least(resident) -> 16384;
least(Name) ->
    case is_bytes(Name) of
        true -> 1024;
        false -> 1 / ?MINUTE
    end.

is_bytes(Name) ->
    lists:member(Name, [resident, native, total, processes, binary, atom, ets, code, system]).

figures(File) ->
    {ok, Text} = file:read_file(File),
    [Names | Rows] = [
        binary:split(Line, <<"\t">>, [global]) || Line <- binary:split(Text, <<"\n">>, [global, trim])
    ],
    Samples = [[binary_to_integer(Value) || Value <- Row] || Row <- Rows],
    [
        {binary_to_atom(Name), [{hd(Row) / 1000, lists:nth(Column, Row)} || Row <- Samples]}
     || {Column, Name} <- lists:zip(lists:seq(2, length(Names)), tl(Names))
    ].

line({Name, Samples, #{slope := Slope, low := Low, high := High, verdict := Verdict}}) ->
    {Size, Per, Unit} = unit(Name),
    {Last, _} = lists:last(Samples),
    [Before, After] = [
        lists:nth(1 + length(Values) div 2, lists:sort(Values)) / Size
     || Values <- [
            [Value || {Time, Value} <- Samples, Time < ?MINUTE],
            [Value || {Time, Value} <- Samples, Time > Last - ?MINUTE]
        ]
    ],
    [Of, From, To, Found] = [shown(Value, Per) || Value <- [Slope, Low, High, width(Low, High)]],
    io_lib:format("~-16w ~10.1f ~10.1f ~9s ~20s ~8s ~-6s ~w~n", [
        Name, Before, After, Of, [From, " to ", To], Found, Unit, Verdict
    ]).

unclear({Name, Samples, #{low := Low, high := High}}) ->
    {_, Per, Unit} = unit(Name),
    io_lib:format(
        "cannot tell: ~w: a leak of up to ~s ~s may hide in it, ~s is the most: sample for longer~n",
        [Name, shown(width(Low, High), Per), Unit, shown(most(Name, Samples), Per)]
    ).

%% A leak that is so large is not taken for none, whichever way the noise goes.
width(unbounded, _) -> unbounded;
width(Low, High) -> High - Low.

%% @doc What a figure is shown in, and what makes of its slope that of the unit.
unit(Name) ->
    case is_bytes(Name) of
        true -> {1024 * 1024, 1 / 1024, "KB/s"};
        false -> {1, 60, "a min"}
    end.

shown(unbounded, _) -> "?";
shown(Value, Per) -> io_lib:format("~.3f", [Value * Per]).
