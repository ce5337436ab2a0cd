%% Draws what was sampled as SVG: a panel for each figure, in two columns, with the low
%% deciles of short windows as a line, and the slope with its interval. The colours follow
%% the viewer's choice of a light or a dark theme.
-module(crema_soak_plot).

-export([write/2]).

-define(POINTS, 120).
-define(WIDTH, 860).
-define(COLUMN, 420).
-define(PANEL, 120).
-define(HEAD, 70).
%% Of a panel: where its line is drawn.
-define(LEFT, 84).
-define(RIGHT, 400).
-define(TOP, 34).
-define(BOTTOM, 100).

%% @doc Of each figure with its samples and what {@link crema_ct_slope} says of it.
write(File, Judged) ->
    Height = ?HEAD + ?PANEL * ((length(Judged) + 1) div 2),
    ok = filelib:ensure_dir(File),
    file:write_file(File, [
        format("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ~b ~b\" ", [?WIDTH, Height]),
        format("width=\"~b\" height=\"~b\" role=\"img\">~n", [?WIDTH, Height]),
        style(),
        format("<rect class=\"ground\" width=\"~b\" height=\"~b\" rx=\"10\"/>~n", [?WIDTH, Height]),
        text(24, 40, "title", ["A soak of ", lasted(hd(Judged)), ": what could grow"]),
        [
            panel(Figure, ?COLUMN * (N rem 2), ?HEAD + ?PANEL * (N div 2))
         || {N, Figure} <- lists:zip(lists:seq(0, length(Judged) - 1), Judged)
        ],
        "</svg>\n"
    ]).

style() ->
    "<style>\n"
    "text { font: 11px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #57606a; }\n"
    ".title { font-size: 19px; font-weight: 600; fill: #24292f; }\n"
    ".name { font-size: 13px; font-weight: 600; fill: #24292f; } .tick { text-anchor: end; }\n"
    ".slope { text-anchor: end; } .ground { fill: #ffffff; }\n"
    ".frame { fill: none; stroke: #d0d7de; } .line { fill: none; stroke: #6f8ba8; stroke-width: 1.5; }\n"
    ".zero { stroke: #4f9d8f; } .grows, .falls, .unclear { stroke: #c8692b; }\n"
    "@media (prefers-color-scheme: dark) {\n"
    "text { fill: #97a3af; } .title, .name { fill: #e6edf3; }\n"
    ".ground { fill: #151b23; } .frame { stroke: #2b333d; } .line { stroke-opacity: 0.9; }\n"
    "}\n"
    "</style>\n".

lasted({_, Samples, _}) ->
    {Last, _} = lists:last(Samples),
    format("~b minutes", [round(Last / 60)]).

panel({Name, Samples, #{verdict := Verdict} = Judged}, X, Y) ->
    {Size, Per, Unit} = crema_soak_judge:unit(Name),
    Points = points(Samples),
    Values = [Value / Size || {_, Value} <- Points],
    {Low, High} = apart(lists:min(Values), lists:max(Values)),
    {Last, _} = lists:last(Samples),
    Line = [
        format("~.1f,~.1f ", [
            X + ?LEFT + (?RIGHT - ?LEFT) * Time / max(1, Last),
            Y + ?BOTTOM - (?BOTTOM - ?TOP) * (Value / Size - Low) / (High - Low)
        ])
     || {Time, Value} <- Points
    ],
    [
        text(X + 24, Y + 24, "name", atom_to_list(Name)),
        text(X + ?RIGHT, Y + 24, "slope", slope(Judged, Per, Unit)),
        format("<rect class=\"frame\" x=\"~b\" y=\"~b\" width=\"~b\" height=\"~b\"/>~n", [
            X + ?LEFT, Y + ?TOP, ?RIGHT - ?LEFT, ?BOTTOM - ?TOP
        ]),
        text(X + ?LEFT - 6, Y + ?TOP + 8, "tick", amount(High, Size)),
        text(X + ?LEFT - 6, Y + ?BOTTOM, "tick", amount(Low, Size)),
        format("<polyline class=\"line ~s\" points=\"~s\"/>~n", [Verdict, Line])
    ].

%% The middle of each short window, and its low decile.
points(Samples) ->
    {Last, _} = lists:last(Samples),
    Width = max(1, Last / ?POINTS),
    Windows = lists:foldl(
        fun({Time, Value}, Acc) ->
            maps:update_with(trunc(Time / Width), fun(Of) -> [Value | Of] end, [Value], Acc)
        end,
        #{},
        Samples
    ),
    [
        {min(Last, (Number + 0.5) * Width), lists:nth(1 + length(Of) div 10, lists:sort(Of))}
     || {Number, Of} <- lists:sort(maps:to_list(Windows))
    ].

%% A figure that never moves is a line in the middle.
apart(Same, Same) -> {Same - 1, Same + 1};
apart(Low, High) -> {Low, High}.

amount(Value, 1) -> format("~b", [round(Value)]);
amount(Value, _) -> format("~.1f MB", [Value]).

slope(#{slope := Slope, low := Low, high := High, verdict := Verdict}, Per, Unit) when
    is_number(Low)
->
    format("~.2f ~s (~.2f to ~.2f): ~s", [Slope * Per, Unit, Low * Per, High * Per, Verdict]);
slope(_, _, _) ->
    "too short".

text(X, Y, Class, Text) ->
    format("<text class=\"~s\" x=\"~b\" y=\"~b\">~s</text>~n", [Class, X, Y, Text]).

format(Format, Arguments) -> io_lib:format(Format, Arguments).
