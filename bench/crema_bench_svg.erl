%% Draws bars as SVG: panels below each other, in each a group of lying bars for each label,
%% a bar for each series, with a whisker from the smallest to the largest. The colours follow
%% the viewer's choice of a light or a dark theme, on a background of the plot's own.
-module(crema_bench_svg).

-export([chart/3]).
-export([ticks/1]).

-export_type([panel/0, group/0]).

-type panel() :: #{title := string(), unit := string(), groups := [group(), ...]}.

%% What of each series is known of a label.
-type group() :: {Label :: string(), [{Series :: string(), crema_bench_table:summary()}, ...]}.

-define(WIDTH, 860).
%% Where bars begin and end; the labels stand left of them, the figures right.
-define(LEFT, 190).
-define(RIGHT, 700).
-define(MARGIN, 24).
-define(BAR, 15).
-define(BETWEEN_GROUPS, 11).
-define(PANEL_HEAD, 34).
-define(PANEL_FOOT, 34).
-define(HEAD, 84).

%% Each series has a name and one of the colours. They are the legend, in their order, but
%% where each bar has a label of its own.
-spec chart(string(), [{Series :: string(), Colour :: 0..6}, ...], [panel(), ...]) -> iodata().
chart(Title, Series, Panels) ->
    {Drawn, Height} = lists:mapfoldl(fun(P, Y) -> panel(P, Series, Y) end, ?HEAD, Panels),
    [
        format("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ~b ~b\" ", [?WIDTH, Height]),
        format("width=\"~b\" height=\"~b\" role=\"img\">~n", [?WIDTH, Height]),
        ["<title>", escape(Title), "</title>\n", style()],
        format("<rect class=\"ground\" width=\"~b\" height=\"~b\" rx=\"10\"/>~n", [?WIDTH, Height]),
        text(?MARGIN, 38, "title", Title),
        [legend(Series, ?MARGIN) || #{groups := [{_, [_, _ | _]} | _]} <- [hd(Panels)]],
        Drawn,
        "</svg>\n"
    ].

style() ->
    "<style>\n"
    "text { font: 13px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #24292f; }\n"
    ".title { font-size: 19px; font-weight: 600; }\n"
    ".panel { font-size: 14px; font-weight: 600; }\n"
    ".tick { font-size: 11px; fill: #6b7480; text-anchor: middle; }\n"
    ".label { text-anchor: end; }\n"
    ".figure { font-size: 12px; }\n"
    ".ground { fill: #ffffff; } .grid { stroke: #e3e7eb; } .axis { stroke: #9aa4ae; }\n"
    ".whisker { stroke: #24292f; stroke-width: 1.4; stroke-opacity: 0.65; }\n"
    ".s0 { fill: #c8692b; } .s1 { fill: #6f8ba8; } .s2 { fill: #b3c2d1; } .s3 { fill: #4f9d8f; }\n"
    ".s4 { fill: #9a7fb8; } .s5 { fill: #b9a44c; } .s6 { fill: #d9a27c; }\n"
    "@media (prefers-color-scheme: dark) {\n"
    "text { fill: #e6edf3; } .tick { fill: #97a3af; }\n"
    ".ground { fill: #151b23; } .grid { stroke: #2b333d; } .axis { stroke: #5b6672; }\n"
    ".whisker { stroke: #ffffff; }\n"
    ".s0 { fill: #e08a4c; } .s1 { fill: #6f90b3; } .s2 { fill: #475a6e; } .s3 { fill: #4f9d8f; }\n"
    "}\n"
    "</style>\n".

legend(Series, Left) ->
    {Drawn, _} = lists:mapfoldl(
        fun({Name, Colour}, X) ->
            Entry = [
                format("<rect class=\"s~b\" x=\"~b\" y=\"55\" width=\"14\" height=\"14\"/>~n", [Colour, X]),
                text(X + 20, 67, "", Name)
            ],
            %% A letter takes about so much.
            {Entry, X + 46 + 7 * length(Name)}
        end,
        Left,
        Series
    ),
    Drawn.

%% A panel from Y on; with where it ends.
panel(#{title := Title, unit := Unit, groups := Groups}, Series, Y) ->
    Top = Y + ?PANEL_HEAD,
    Bottom = Top + lists:sum([height(G) || G <- Groups]) + ?BETWEEN_GROUPS,
    {Step, Ticks} = ticks(lists:max([Max || {_, Bars} <- Groups, {_, {_, _, Max}} <- Bars])),
    Scale = (?RIGHT - ?LEFT) / (Step * Ticks),
    {Drawn, _} = lists:mapfoldl(
        fun(G, At) -> {group(G, Series, Unit, Scale, At), At + height(G)} end,
        Top + ?BETWEEN_GROUPS,
        Groups
    ),
    {
        [
            text(?MARGIN, Y + 20, "panel", Title),
            [grid(Step * N, Unit, Scale, Top, Bottom) || N <- lists:seq(0, Ticks)],
            line("axis", ?LEFT, Top, ?LEFT, Bottom),
            Drawn
        ],
        Bottom + ?PANEL_FOOT
    }.

height({_, Bars}) -> ?BAR * length(Bars) + ?BETWEEN_GROUPS.

%% Three to six round steps, the last not below the largest.
-spec ticks(number()) -> {Step :: number(), Count :: pos_integer()}.
ticks(Max) when Max =< 0 -> {1, 4};
ticks(Max) ->
    Power = math:pow(10, math:floor(math:log10(Max / 4))),
    Fits = [Power * M || M <- [1, 2, 5, 10], Max / (Power * M) =< 6],
    {hd(Fits), ceil(Max / hd(Fits))}.

grid(Value, Unit, Scale, Top, Bottom) ->
    X = ?LEFT + Value * Scale,
    [
        line("grid", X, Top, X, Bottom),
        text(X, Bottom + 16, "tick", crema_bench_table:tick(Value, Unit))
    ].

group({Label, Bars}, Series, Unit, Scale, Y) ->
    Middle = Y + ?BAR * length(Bars) / 2 + 4.5,
    [
        text(?LEFT - 10, Middle, "label", Label),
        [
            bar(proplists:get_value(Name, Series), Summary, Unit, Scale, Y + ?BAR * N)
         || {N, {Name, Summary}} <- lists:zip(lists:seq(0, length(Bars) - 1), Bars)
        ]
    ].

bar(Colour, {Median, Min, Max}, Unit, Scale, Y) ->
    At = fun(Value) -> ?LEFT + Value * Scale end,
    Centre = Y + (?BAR - 2) / 2,
    [
        format("<rect class=\"s~b\" x=\"~b\" y=\"~b\" width=\"~.1f\" height=\"~b\"/>~n", [
            Colour, ?LEFT, round(Y), Median * Scale, ?BAR - 2
        ]),
        [whisker(At(Min), At(Max), Centre) || Max > Min],
        text(At(Max) + 8, Centre + 4.5, "figure", crema_bench_table:figure(Median, Unit))
    ].

whisker(From, To, Y) ->
    [
        line("whisker", From, Y, To, Y),
        line("whisker", From, Y - 3, From, Y + 3),
        line("whisker", To, Y - 3, To, Y + 3)
    ].

line(Class, X1, Y1, X2, Y2) ->
    Points = [float(V) || V <- [X1, Y1, X2, Y2]],
    format("<line class=\"~ts\" x1=\"~.1f\" y1=\"~.1f\" x2=\"~.1f\" y2=\"~.1f\"/>~n", [Class | Points]).

text(X, Y, Class, Text) ->
    Arguments = [Class, float(X), float(Y), escape(Text)],
    format("<text class=\"~ts\" x=\"~.1f\" y=\"~.1f\">~ts</text>~n", Arguments).

escape(Text) ->
    lists:flatmap(
        fun
            ($<) -> "&lt;";
            ($>) -> "&gt;";
            ($&) -> "&amp;";
            ($") -> "&quot;";
            (C) -> [C]
        end,
        Text
    ).

format(Format, Arguments) -> io_lib:format(Format, Arguments).
