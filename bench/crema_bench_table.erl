%% The rows of the results: a figure of a workload, of each client that did it.
-module(crema_bench_table).

-export([parse/1]).
-export([rows/1, clients/0]).
-export([find/2]).
-export([text/1]).
-export([figure/2, tick/2]).

-export_type([line/0, row/0, summary/0]).

%% What a run printed.
-type line() :: #{string() => float() | string()}.

%% Of the runs: the median, the smallest and the largest.
-type summary() :: {Median :: float(), Min :: float(), Max :: float()}.

%% The subject is crema; its ratios are those of the rounds, to each of the others.
-type row() :: #{
    workload := string(),
    figure := string(),
    unit := string(),
    runs := pos_integer(),
    subject := string(),
    others := [string()],
    values := #{Client :: string() => summary()},
    ratios := #{Client :: string() => summary()},
    cpu := #{Client :: string() => float()},
    peak_mb := #{Client :: string() => float()},
    targets := [crema_bench_targets:verdict()]
}.

%% The fields that are figures, their units, and what is added to the row's name.
figures() ->
    [
        {"rate", "msg/s", ""},
        {"p50_ms", "ms", " p50"},
        {"p99_ms", "ms", " p99"},
        {"p999_ms", "ms", " p99.9"},
        {"max_ms", "ms", " max"},
        {"cpu_percent", "%", " CPU"},
        {"rss_mb", "MB", " memory"},
        {"ready_ms", "ms", " ready"},
        {"max_gap_ms", "ms", " gap"},
        {"first_report_ms", "ms", " report"},
        {"first_message_ms", "ms", " message"},
        {"join_ms", "ms", " join"},
        {"leave_ms", "ms", " leave"}
    ].

%% What crema is compared with comes first, then the others as they are here.
-spec clients() -> [string()].
clients() ->
    ["crema", "crema-one", "c", "c-batch", "alone", "franz-go", "java", "python"].

%% One flat JSON object, as the runs print it.
-spec parse(string()) -> line().
parse(Line) ->
    {match, Fields} = re:run(
        Line,
        "\"(\\w+)\":(?:\"([^\"]*)\"|([-+.0-9e]+))",
        [global, {capture, all_but_first, list}]
    ),
    maps:from_list([field(Field) || Field <- Fields]).

field([Name, Text]) -> {Name, Text};
field([Name, [], Number]) -> {Name, number(Number)}.

number(Text) ->
    case string:to_float(Text) of
        {error, no_float} -> float(list_to_integer(Text));
        {Float, ""} -> Float
    end.

%% In the order of the workloads' first lines.
-spec rows([line()]) -> [row()].
rows(Lines) ->
    lists:append([rows_of(Name, Lines) || Name <- names(Lines)]).

names([]) -> [];
names([#{"workload" := Name} | Rest]) -> [Name | lists:delete(Name, names(Rest))];
names([_ | Rest]) -> names(Rest).

%% One for each figure that all its lines have.
rows_of(Name, All) ->
    Lines = [Line || #{"workload" := N} = Line <- All, N =:= Name],
    [
        row(Name, Field, Unit, Lines)
     || {Field, Unit, _} <- figures(), lists:all(fun(Line) -> is_map_key(Field, Line) end, Lines)
    ].

row(Name, Figure, Unit, Lines) ->
    [Subject | Others] = [C || C <- clients(), L <- [of_client(C, Lines)], L =/= []],
    Of = fun(Field, Client) -> [maps:get(Field, Line, 0.0) || Line <- of_client(Client, Lines)] end,
    Every = fun(Fun, Clients) -> maps:from_list([{C, Fun(C)} || C <- Clients]) end,
    %% The runs of a round met the same machine: their ratio says more than the
    %% ratio of the medians.
    Ratios = fun(C) -> lists:zipwith(fun ratio/2, Of(Figure, Subject), Of(Figure, C)) end,
    Median = fun(Field) -> fun(C) -> element(1, summary(Of(Field, C))) end end,
    Row = #{
        workload => Name,
        figure => Figure,
        unit => Unit,
        runs => length(Of(Figure, Subject)),
        subject => Subject,
        others => Others,
        values => Every(fun(C) -> summary(Of(Figure, C)) end, [Subject | Others]),
        ratios => Every(fun(C) -> summary(Ratios(C)) end, Others),
        cpu => Every(Median("cpu_seconds_per_million"), [Subject | Others]),
        peak_mb => Every(Median("peak_mb"), [Subject | Others])
    },
    Row#{targets => crema_bench_targets:judge(Row)}.

of_client(Client, Lines) -> [Line || #{"client" := C} = Line <- Lines, C =:= Client].

ratio(_, Y) when Y == 0 -> 0.0;
ratio(X, Y) -> X / Y.

summary(Values) ->
    Sorted = lists:sort(Values),
    Count = length(Sorted),
    Median = (lists:nth((Count + 1) div 2, Sorted) + lists:nth(Count div 2 + 1, Sorted)) / 2,
    {Median, hd(Sorted), lists:last(Sorted)}.

-spec find({Workload :: string(), Figure :: string()}, [row()]) -> {ok, row()} | none.
find({Workload, Figure}, Rows) ->
    case [Row || #{workload := W, figure := F} = Row <- Rows, W =:= Workload, F =:= Figure] of
        [Row | _] -> {ok, Row};
        [] -> none
    end.

%% The table: a line for each of those that crema is compared with.
-spec text([row()]) -> iodata().
text(Rows) ->
    [
        line(["workload", "crema", "", "other", "ratio", "spread", "CPU s/M", "peak MB", "target"]),
        [line(columns(Row, Client)) || #{others := Others} = Row <- Rows, Client <- Others],
        io_lib:format(
            "~nMedians of ~ts runs. ratio: median of the rounds' crema / other; spread: the~n"
            "smallest and the largest of them; CPU: seconds for a million messages, and peak:~n"
            "of the process's resident memory, both crema's / the other's.~n",
            [lists:join(" or ", [integer_to_list(N) || N <- lists:usort([R || #{runs := R} <- Rows])])]
        )
    ].

line(Columns) ->
    string:trim(io_lib:format("~-28ts~12ts  ~-10ts~11ts~8ts  ~-13ts~-12ts~-10ts~ts", Columns), trailing) ++
        "\n".

columns(#{subject := Subject, values := Values, unit := Unit} = Row, Client) ->
    {Ratio, Least, Most} = maps:get(Client, maps:get(ratios, Row)),
    Median = fun(C) -> figure(element(1, maps:get(C, Values)), Unit) end,
    IsRate = maps:get(figure, Row) =:= "rate",
    [
        name(Row),
        Median(Subject),
        Client,
        Median(Client),
        io_lib:format("~.2f", [Ratio]),
        io_lib:format("~.2f-~.2f", [Least, Most]),
        [both(2, maps:get(cpu, Row), Subject, Client) || IsRate],
        [both(0, maps:get(peak_mb, Row), Subject, Client) || IsRate],
        lists:join(", ", [verdict(V) || V <- maps:get(targets, Row), is_of(Client, V, Row)])
    ].

%% A verdict is shown in the line of the client that it is about.
is_of(Client, _, #{others := [Client]}) -> true;
is_of(Client, {Text, _}, _) -> lists:suffix(" " ++ Client, Text).

name(#{workload := Workload, figure := Figure}) ->
    {_, _, Suffix} = lists:keyfind(Figure, 1, figures()),
    Workload ++ Suffix.

both(Decimals, Values, Subject, Client) ->
    lists:join("/", [known(maps:get(C, Values), Decimals) || C <- [Subject, Client]]).

%% Java's tools do not tell their memory.
known(Value, _Decimals) when Value == 0 -> "-";
known(Value, Decimals) -> float_to_list(Value, [{decimals, Decimals}]).

verdict({Text, true}) -> [Text, " met"];
verdict({Text, false}) -> [Text, " MISSED"].

%% A figure as people read it.
-spec figure(number(), string()) -> string().
figure(Rate, "msg/s") when Rate >= 1.0e6 -> format("~.2f M/s", [Rate / 1.0e6]);
figure(Rate, "msg/s") when Rate >= 1.0e4 -> format("~b k/s", [round(Rate / 1.0e3)]);
figure(Rate, "msg/s") when Rate >= 1.0e3 -> format("~.1f k/s", [Rate / 1.0e3]);
figure(Rate, "msg/s") -> format("~b /s", [round(Rate)]);
figure(Number, Unit) when Number >= 100 -> format("~b ~ts", [round(Number), Unit]);
figure(Number, Unit) when Number >= 10 -> format("~.1f ~ts", [float(Number), Unit]);
figure(Number, Unit) -> format("~.2f ~ts", [float(Number), Unit]).

%% A round number of an axis.
-spec tick(number(), string()) -> string().
tick(Zero, _Unit) when Zero == 0 -> "0";
tick(Rate, "msg/s") when Rate >= 1.0e6 -> format("~ts M", [round_number(Rate / 1.0e6)]);
tick(Rate, "msg/s") when Rate >= 1.0e3 -> format("~ts k", [round_number(Rate / 1.0e3)]);
tick(Rate, "msg/s") -> round_number(Rate);
tick(Number, Unit) -> format("~ts ~ts", [round_number(Number), Unit]).

%% Without decimals that say nothing.
round_number(Number) when round(Number) == Number -> integer_to_list(round(Number));
round_number(Number) -> float_to_list(float(Number), [{decimals, 4}, compact]).

format(Format, Arguments) -> lists:flatten(io_lib:format(Format, Arguments)).
