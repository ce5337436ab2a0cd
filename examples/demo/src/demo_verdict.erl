%% Compares what the group counted with the direct count of the text.
-module(demo_verdict).

-export([tell/2]).

-define(SHOWN, 5).

%% Tells it all; the result is the exit status.
-spec tell(#{integer() => demo_partition:summary()}, demo_sup:config()) -> 0 | 1.
tell(Partitions, #{text := #{lines := Lines, words := Direct}}) ->
    Summaries = lists:sort(maps:to_list(Partitions)),
    io:format("~n~ts", [row("partition", "lines", "words", "different", "redelivered")]),
    io:put_chars([partition(Number, Summary) || {Number, Summary} <- Summaries]),
    Counted = lists:foldl(fun add/2, #{}, [Words || {_, #{words := Words}} <- Summaries]),
    Handled = sum(lines, Summaries),
    Disordered = sum(disordered, Summaries),
    io:format("~n~ts~ts", [
        total("counted by the group", Handled, Counted), total("counted directly", Lines, Direct)
    ]),
    case {Handled, Disordered, Counted} of
        {Lines, 0, Direct} ->
            io:format("identical, in order, each line once; ~s redelivered~n", [
                demo_display:number(sum(redelivered, Summaries))
            ]),
            0;
        _ ->
            io:format("NOT identical: ~s lines out of order~n", [demo_display:number(Disordered)]),
            tell_differences(Counted, Direct),
            1
    end.

row(Partition, Lines, Words, Different, Redelivered) ->
    io_lib:format("~9s ~11s ~12s ~11s ~12s~n", [Partition, Lines, Words, Different, Redelivered]).

partition(Number, #{lines := Lines, redelivered := Redelivered, words := Words}) ->
    Columns = [Number, Lines, occurrences(Words), map_size(Words), Redelivered],
    apply(fun row/5, [demo_display:number(N) || N <- Columns]).

total(Who, Lines, Words) ->
    io_lib:format("~-21s ~s lines, ~s words, ~s different~n", [
        Who ++ ":" | [demo_display:number(N) || N <- [Lines, occurrences(Words), map_size(Words)]]
    ]).

occurrences(Words) ->
    lists:sum(maps:values(Words)).

sum(What, Summaries) ->
    lists:sum([map_get(What, Summary) || {_Number, Summary} <- Summaries]).

add(Words, Counts) ->
    maps:merge_with(fun(_Word, A, B) -> A + B end, Words, Counts).

tell_differences(Counted, Direct) ->
    Words = lists:usort(maps:keys(Counted) ++ maps:keys(Direct)),
    Differences = [
        {Word, maps:get(Word, Counted, 0), maps:get(Word, Direct, 0)}
     || Word <- Words, maps:get(Word, Counted, 0) =/= maps:get(Word, Direct, 0)
    ],
    lists:foreach(
        fun({Word, Group, Truth}) ->
            io:format("  ~0tp: counted ~b times, directly ~b~n", [Word, Group, Truth])
        end,
        lists:sublist(Differences, ?SHOWN)
    ).
