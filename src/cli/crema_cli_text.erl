%% @private Tables for people, as wide as there is room.
-module(crema_cli_text).

-export([table/3, shortened/2, wrapped/2, visible/1, json/2]).

-export_type([column/0]).

%% `give': how it becomes narrower where there is no room: by nothing, by its middle,
%% or by being left out.
-type column() :: {Name :: string(), left | right, nothing | middle | whole}.

-define(GAP, 2).
%% A shortened text says that much at least.
-define(LEAST, 8).

%% @doc Lines, none of them longer than `Width'. A cell is a text, a
%% number, or `none'.
-spec table([column()], [[iodata() | integer() | none]], pos_integer() | infinity) -> [iodata()].
table(Columns, Rows, Width) ->
    Head = [Name || {Name, _, _} <- Columns],
    Cells = [Head | [[cell(Cell) || Cell <- Row] || Row <- Rows]],
    Widths = [lists:max([string:length(Cell) || Cell <- Column]) || Column <- transposed(Cells)],
    Fitted = fitted(lists:zip(Columns, Widths), Width),
    [line(lists:zip(Fitted, Row), Width) || Row <- Cells].

-spec cell(iodata() | integer() | none) -> unicode:chardata().
cell(none) -> "-";
cell(Number) when is_integer(Number) -> integer_to_list(Number);
cell(Text) -> visible(Text).

-spec transposed([[term()]]) -> [[term()]].
transposed([[] | _]) -> [];
transposed(Rows) -> [[hd(Row) || Row <- Rows] | transposed([tl(Row) || Row <- Rows])].

%% First the middles go, then whole columns from the right.
-spec fitted([{column(), non_neg_integer()}], pos_integer() | infinity) ->
    [{column(), non_neg_integer() | gone}].
fitted(Columns, infinity) ->
    Columns;
fitted(Columns, Width) ->
    Shown = [Column || {_, Wide} = Column <- Columns, Wide =/= gone],
    Used = lists:sum([Wide + ?GAP || {_, Wide} <- Shown]) - ?GAP,
    Middles = [Wide || {{_, _, middle}, Wide} <- Shown, Wide > ?LEAST],
    Wholes = [Name || {{Name, _, whole}, _} <- Shown],
    if
        Used =< Width ->
            Columns;
        Middles =/= [] ->
            Most = lists:max(Middles),
            fitted(narrowed(Columns, Most, max(?LEAST, Most - (Used - Width))), Width);
        Wholes =/= [] ->
            Last = lists:last(Wholes),
            fitted([gone(Column, Last) || Column <- Columns], Width);
        true ->
            Columns
    end.

-spec narrowed([{column(), Wide}], pos_integer(), pos_integer()) -> [{column(), Wide}] when
    Wide :: non_neg_integer() | gone.
narrowed([{{_, _, middle} = Column, Most} | Rest], Most, New) -> [{Column, New} | Rest];
narrowed([Column | Rest], Most, New) -> [Column | narrowed(Rest, Most, New)].

-spec gone({column(), Wide}, string()) -> {column(), Wide | gone} when
    Wide :: non_neg_integer() | gone.
gone({{Name, _, whole} = Column, _}, Name) -> {Column, gone};
gone(Column, _) -> Column.

-spec line([{{column(), non_neg_integer() | gone}, unicode:chardata()}], pos_integer() | infinity) ->
    iodata().
line(Cells, Width) ->
    Shown = [
        padded(shortened(Cell, Wide), Wide, Side)
     || {{{_, Side, _}, Wide}, Cell} <- Cells, Wide =/= gone
    ],
    Line = string:trim(unicode:characters_to_list(lists:join("  ", Shown)), trailing),
    %% What is left of a number would be another one.
    Cut =
        case Width =:= infinity orelse string:length(Line) =< Width of
            true -> Line;
            false -> [string:slice(Line, 0, Width - 1), $\x{2026}]
        end,
    unicode:characters_to_binary([Cut, $\n]).

-spec padded(unicode:chardata(), non_neg_integer(), left | right) -> unicode:chardata().
padded(Text, Wide, left) -> string:pad(Text, Wide, trailing);
padded(Text, Wide, right) -> string:pad(Text, Wide, leading).

%% @doc A text without its middle, if it is too long: names differ at their ends.
-spec shortened(unicode:chardata(), pos_integer()) -> unicode:chardata().
shortened(Text, Width) ->
    case string:length(Text) of
        Length when Length =< Width ->
            Text;
        Length ->
            Tail = (Width - 1) div 2,
            Head = Width - 1 - Tail,
            [string:slice(Text, 0, Head), $\x{2026}, string:slice(Text, Length - Tail)]
    end.

%% @doc A text on one line that does nothing to a terminal, whoever has chosen the names
%% in it: what is no character, or would move the cursor, is a question mark.
-spec visible(unicode:chardata() | char()) -> string().
visible([]) ->
    [];
visible([Some | More]) ->
    visible(Some) ++ visible(More);
visible(Char) when is_integer(Char) ->
    [plain(Char)];
visible(Bytes) ->
    case unicode:characters_to_list(Bytes) of
        Chars when is_list(Chars) -> [plain(Char) || Char <- Chars];
        {_, Before, <<_, Rest/binary>>} -> visible(Before) ++ [$? | visible(Rest)]
    end.

-spec plain(char()) -> char().
plain($\n) -> $\s;
plain(Char) when Char < $\s; Char >= 16#7f, Char < 16#a0 -> $?;
plain(Char) -> Char.

%% @doc The lines of a text, broken between words.
-spec wrapped(unicode:chardata(), pos_integer() | infinity) -> [unicode:chardata(), ...].
wrapped(Text, Width) ->
    [First | Words] = string:split(Text, " ", all),
    {Lines, Last} = lists:foldl(
        fun(Word, {Lines, Line}) ->
            Longer = [Line, $\s, Word],
            case string:length(Longer) > Width of
                true -> {[Line | Lines], Word};
                false -> {Lines, Longer}
            end
        end,
        {[], First},
        Words
    ),
    lists:reverse(Lines, [Last]).

%% @doc A line of JSON: these fields have these values.
-spec json([atom()], [term()]) -> iodata().
json(Names, Values) ->
    Fields = [
        [encoded(Name), $:, encoded(Value)]
     || {Name, Value} <- lists:zip(Names, Values)
    ],
    [${, lists:join($,, Fields), "}\n"].

-spec encoded(term()) -> iodata().
encoded(none) ->
    "null";
encoded(Term) ->
    {ok, Text} = crema_json:encode(Term),
    Text.
