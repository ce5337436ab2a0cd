%% @private Finds the name a person probably meant when the one typed is unknown.
-module(crema_suggest).

-export([nearest/2]).

%% Longer keys are garbage rather than typing errors; the bound keeps the
%% cost of the quadratic comparison small whatever is given.
-define(MAX_LENGTH, 64).
-define(MIN_PART, 4).

%% @doc The name of `Names' closest to `Typed', or `none' when none is close.
%%
%% Close is: at most a third of the typed characters changed, added or left
%% out, or one name being part of the other (`servers', `bootstrap_servers').
-spec nearest(Typed :: binary(), Names :: [binary()]) -> {ok, binary()} | none.
nearest(Typed, Names) ->
    Chars = characters(string:lowercase(characters(Typed))),
    case length(Chars) of
        Length when Length =:= 0; Length > ?MAX_LENGTH -> none;
        Length -> best([{score(Chars, Length, Name), Name} || Name <- Names])
    end.

-spec best([{non_neg_integer() | far, binary()}]) -> {ok, binary()} | none.
best(Scored) ->
    case lists:sort([Pair || {Score, _} = Pair <- Scored, is_integer(Score)]) of
        [] -> none;
        [{_, Name} | _] -> {ok, Name}
    end.

-spec score(string(), pos_integer(), binary()) -> non_neg_integer() | far.
score(Chars, Length, Name) ->
    Other = characters(Name),
    Distance = distance(Chars, Other),
    Close = Distance =< max(1, Length div 3) orelse is_part(Chars, Other),
    case Close of
        true -> Distance;
        false -> far
    end.

-spec is_part(string(), string()) -> boolean().
is_part(A, B) ->
    min(length(A), length(B)) >= ?MIN_PART andalso
        (string:find(A, B) =/= nomatch orelse string:find(B, A) =/= nomatch).

%% Keys are compared character by character; bytes that are no UTF-8 count as
%% one character each, for such a key must be named as well.
-spec characters(binary() | string()) -> string().
characters(Chars) when is_list(Chars) -> Chars;
characters(Text) ->
    case unicode:characters_to_list(Text) of
        Chars when is_list(Chars) -> Chars;
        _ -> binary_to_list(Text)
    end.

%% Levenshtein's distance, row by row: `Row' holds the distance of the part of
%% `A' read so far to each prefix of `B'.
-spec distance(string(), string()) -> non_neg_integer().
distance(A, B) ->
    First = lists:seq(0, length(B)),
    lists:last(lists:foldl(fun(Char, Row) -> next_row(Char, B, Row) end, First, A)).

-spec next_row(char(), string(), [non_neg_integer()]) -> [non_neg_integer()].
next_row(Char, B, [Corner | _] = Row) ->
    [Corner + 1 | cells(Char, B, Row, Corner + 1)].

-spec cells(char(), string(), [non_neg_integer()], non_neg_integer()) -> [non_neg_integer()].
cells(_Char, [], [_Last], _Left) ->
    [];
cells(Char, [Other | B], [Diagonal, Above | Row], Left) ->
    Changed =
        case Char =:= Other of
            true -> Diagonal;
            false -> Diagonal + 1
        end,
    Cell = lists:min([Changed, Above + 1, Left + 1]),
    [Cell | cells(Char, B, [Above | Row], Cell)].
