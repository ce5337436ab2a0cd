%% @private Bytes that come in pieces, cut at a delimiter.
-module(crema_cli_lines).

-export([new/1, add/2, rest/1]).

-export_type([lines/0]).

%% What has come since the last delimiter, latest first, and its size.
-opaque lines() :: {binary:cp() | none, Size :: pos_integer(), [binary()], non_neg_integer()}.

%% Who has no delimiter has one message, which must not fill the memory.
-define(LONGEST, 268435456).

%% @doc An empty delimiter never comes.
-spec new(binary()) -> lines().
new(<<>>) -> {none, 1, [], 0};
new(Delimiter) -> {binary:compile_pattern(Delimiter), byte_size(Delimiter), [], 0}.

%% @doc The lines that are whole now. `too_long': one of more than 256 MiB.
-spec add(binary(), lines()) -> {[binary()], lines()} | too_long.
add(Bytes, {none, Size, Before, Length}) ->
    kept([], {none, Size, [Bytes | Before], Length + byte_size(Bytes)});
add(Bytes, {Pattern, Size, [], 0}) ->
    cut(Bytes, 0, Pattern, Size);
add(Bytes, {Pattern, Size, [Last | Earlier], Length}) ->
    %% A delimiter may be in two pieces: its part in the last is looked at again.
    Again = min(Size - 1, byte_size(Last)),
    Joint = <<(binary:part(Last, byte_size(Last), -Again))/binary, Bytes/binary>>,
    case binary:match(Joint, Pattern) of
        nomatch ->
            kept([], {Pattern, Size, [Bytes, Last | Earlier], Length + byte_size(Bytes)});
        _ ->
            Whole = iolist_to_binary(lists:reverse([Bytes, Last | Earlier])),
            cut(Whole, max(0, Length - Again), Pattern, Size)
    end.

%% Nothing is found before `From'.
-spec cut(binary(), non_neg_integer(), binary:cp(), pos_integer()) ->
    {[binary()], lines()} | too_long.
cut(Bytes, From, Pattern, Size) ->
    Scope = {From, byte_size(Bytes) - From},
    Found = binary:matches(Bytes, Pattern, [{scope, Scope}]),
    {Lines, At} = lists:mapfoldl(
        fun({Place, Length}, Begin) ->
            {binary:part(Bytes, Begin, Place - Begin), Place + Length}
        end,
        0,
        Found
    ),
    case binary:part(Bytes, At, byte_size(Bytes) - At) of
        <<>> -> {Lines, {Pattern, Size, [], 0}};
        Rest -> kept(Lines, {Pattern, Size, [Rest], byte_size(Rest)})
    end.

-spec kept([binary()], lines()) -> {[binary()], lines()} | too_long.
kept(_Lines, {_, _, _, Length}) when Length > ?LONGEST -> too_long;
kept(Lines, State) -> {Lines, State}.

%% @doc What stands behind the last delimiter: a line as well, unless it is empty.
-spec rest(lines()) -> [binary()].
rest({_, _, [], 0}) -> [];
rest({_, _, Pieces, _}) -> [iolist_to_binary(lists:reverse(Pieces))].
