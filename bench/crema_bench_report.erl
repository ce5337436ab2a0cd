%% Turns the lines of the runs into a table, a file of results and plots: see bench/report.
-module(crema_bench_report).

-export([main/0]).
-export([json/2]).

-spec main() -> no_return().
main() ->
    [RunsFile, Folder] = init:get_plain_arguments(),
    {ok, Text} = file:read_file(RunsFile),
    Lines = [crema_bench_table:parse(Line) || Line <- string:lexemes(binary_to_list(Text), "\n")],
    Machine = maps:without(["workload"], hd([L || #{"machine" := _} = L <- Lines] ++ [#{}])),
    Rows = crema_bench_table:rows(Lines),
    Table = crema_bench_table:text(Rows),
    io:format("~n~ts", [Table]),
    ok = write(Folder, "table.txt", Table),
    ok = write(Folder, "latest.json", json(Machine, Rows)),
    _ = [ok = write(Folder, File, Svg) || {File, Svg} <- crema_bench_plots:plots(Rows)],
    halt(0).

write(Folder, Name, Content) ->
    Path = filename:join(Folder, Name),
    ok = file:write_file(Path, unicode:characters_to_binary(Content)),
    io:format("written: ~ts~n", [Path]).

%% {"machine": ..., "rows": [a row a line]}.
-spec json(crema_bench_table:line(), [crema_bench_table:row()]) -> iodata().
json(Machine, Rows) ->
    Fields = [{Name, Value} || {Name, Value} <- lists:sort(maps:to_list(Machine))],
    Objects = lists:join(",\n", [row(Row) || Row <- Rows]),
    ["{\"run\": ", object(Fields), ",\n\"rows\": [\n", Objects, "\n]}\n"].

row(#{subject := Subject, others := Others} = Row) ->
    object([
        {"workload", maps:get(workload, Row)},
        {"figure", maps:get(figure, Row)},
        {"unit", maps:get(unit, Row)},
        {"runs", maps:get(runs, Row)},
        {"clients", {[{Client, client(Client, Row)} || Client <- [Subject | Others]]}},
        {"ratios", {[{Client, summary(maps:get(Client, maps:get(ratios, Row)))} || Client <- Others]}},
        {"targets", [{[{"target", Text}, {"met", Met}]} || {Text, Met} <- maps:get(targets, Row)]}
    ]).

client(Client, #{values := Values, cpu := Cpu, peak_mb := Peak}) ->
    {Fields} = summary(maps:get(Client, Values)),
    Cost = [{"cpu_seconds_per_million", Cpu}, {"peak_mb", Peak}],
    {Fields ++ [{Name, Value} || {Name, #{Client := Value}} <- Cost, Value > 0]}.

summary({Median, Min, Max}) -> {[{"median", Median}, {"min", Min}, {"max", Max}]}.

object(Fields) -> ["{", lists:join(", ", [[value(Name), ": ", value(V)] || {Name, V} <- Fields]), "}"].

value({Fields}) -> object(Fields);
value(Boolean) when is_boolean(Boolean) -> atom_to_list(Boolean);
value(Integer) when is_integer(Integer) -> integer_to_list(Integer);
value(Float) when is_float(Float) -> io_lib:format("~.4f", [Float]);
value([{_} | _] = Objects) -> ["[", lists:join(", ", [value(O) || O <- Objects]), "]"];
value([]) -> "[]";
value(Text) -> [$", Text, $"].
