%% The table of a soak: of each figure how much there was of it in the first and in the
%% last minute, its slope with its interval, and what that says.
-module(crema_soak_judge).

-export([main/0, report/1]).

-define(BYTES, [resident, native, total, processes, binary, atom, ets, code, system]).
-define(MINUTE, 60).

%% @doc Judges samples that were kept: the file is the argument.
main() ->
    [File] = init:get_plain_arguments(),
    halt(min(1, report(File))).

%% @doc Prints it, and last what is not zero; the number of those.
report(File) ->
    Judged = [{Name, Samples, crema_ct_slope:judge(Samples)} || {Name, Samples} <- figures(File)],
    io:format("~-16s ~10s ~10s ~9s ~20s~n", ["figure", "first", "last", "slope", "99.9 % interval"]),
    [io:put_chars(line(Name, Samples, Slope)) || {Name, Samples, Slope} <- Judged],
    case [io_lib:format("~w ~w", [Name, V]) || {Name, _, #{verdict := V}} <- Judged, V =/= zero] of
        [] ->
            io:format("slopes: all zero~n"),
            0;
        Moving ->
            io:format("slopes: not zero: ~s~n", [lists:join(", ", Moving)]),
            length(Moving)
    end.

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

line(Name, Samples, #{slope := Slope, low := Low, high := High, verdict := Verdict}) ->
    {Size, Per, Unit} = unit(lists:member(Name, ?BYTES)),
    {Last, _} = lists:last(Samples),
    [Before, After] = [
        lists:nth(1 + length(Values) div 2, lists:sort(Values)) / Size
     || Values <- [
            [Value || {Time, Value} <- Samples, Time < ?MINUTE],
            [Value || {Time, Value} <- Samples, Time > Last - ?MINUTE]
        ]
    ],
    [Of, From, To] = [shown(Value, Per) || Value <- [Slope, Low, High]],
    io_lib:format("~-16w ~10.1f ~10.1f ~9s ~20s ~-6s ~w~n", [
        Name, Before, After, Of, [From, " to ", To], Unit, Verdict
    ]).

%% What a size is shown in, and what makes of a slope that of the unit.
unit(true) -> {1024 * 1024, 1 / 1024, "KB/s"};
unit(false) -> {1, 60, "a min"}.

shown(unbounded, _) -> "?";
shown(Value, Per) -> io_lib:format("~.3f", [Value * Per]).
