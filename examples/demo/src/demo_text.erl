%% The text: which files it is, its lines, its words, and the direct count of them.
-module(demo_text).

-export([open/0, fold/3, separators/0, words/2]).

-export_type([text/0, counts/0]).

-type counts() :: #{Word :: binary() => pos_integer()}.
-type text() :: #{
    name := string(),
    files := [file:filename()],
    passes := pos_integer(),
    lines := non_neg_integer(),
    bytes := non_neg_integer(),
    words := counts()
}.

%% In the one package that no Debian system is without.
-define(LICENCES, "/usr/share/common-licenses").
-define(READ_AHEAD, 65536).

%% The text that FILE and PASSES ask for, with the direct count: the truth that the group's count
%% is compared with. Throws {failed, Reason} if it cannot be read.
-spec open() -> text().
open() ->
    case os:getenv("FILE", "") of
        "" -> measure("the licences of " ++ ?LICENCES, licences(), passes("100"));
        File -> measure(File, [File], passes("1"))
    end.

licences() ->
    Paths = filelib:wildcard(?LICENCES ++ "/*"),
    Files = [Path || Path <- Paths, file:read_link(Path) =:= {error, einval}],
    Files =/= [] orelse throw({failed, "there is nothing in " ?LICENCES ": name a text with FILE"}),
    Files.

passes(Default) ->
    try list_to_integer(os:getenv("PASSES", Default)) of
        Passes when Passes > 0 -> Passes;
        _ -> throw({failed, "PASSES must be 1 or more"})
    catch
        error:badarg -> throw({failed, "PASSES must be a number"})
    end.

measure(Name, Files, Passes) ->
    Separators = separators(),
    Count = fun(Line, {Lines, Bytes, Words}) ->
        {Lines + 1, Bytes + byte_size(Line), count(words(Line, Separators), Words)}
    end,
    Once = #{files => Files, passes => 1},
    {Lines, Bytes, Words} = fold(Count, {0, 0, #{}}, Once),
    #{
        name => Name,
        files => Files,
        passes => Passes,
        lines => Lines * Passes,
        bytes => Bytes * Passes,
        words => maps:map(fun(_Word, Times) -> Times * Passes end, Words)
    }.

count(Words, Counts) ->
    lists:foldl(fun(W, Acc) -> maps:update_with(W, fun(N) -> N + 1 end, 1, Acc) end, Counts, Words).

%% Folds over the lines of the text, without their line feeds, all passes through.
-spec fold(fun((Line :: binary(), Acc) -> Acc), Acc, Source) -> Acc when
    Source :: #{files := [file:filename()], passes := pos_integer(), atom() => term()}.
fold(Fun, Acc0, #{files := Files, passes := Passes}) ->
    lists:foldl(
        fun(File, Acc) -> fold_file(Fun, Acc, File) end,
        Acc0,
        lists:append(lists:duplicate(Passes, Files))
    ).

fold_file(Fun, Acc0, File) ->
    case file:open(File, [read, raw, binary, {read_ahead, ?READ_AHEAD}]) of
        {ok, Device} ->
            Acc = fold_lines(Fun, Acc0, File, Device),
            ok = file:close(Device),
            Acc;
        {error, Reason} ->
            cannot_read(File, Reason)
    end.

fold_lines(Fun, Acc, File, Device) ->
    case file:read_line(Device) of
        {ok, Line} -> fold_lines(Fun, Fun(chomp(Line), Acc), File, Device);
        eof -> Acc;
        {error, Reason} -> cannot_read(File, Reason)
    end.

chomp(Line) ->
    Size = byte_size(Line) - 1,
    case Line of
        <<Text:Size/binary, $\n>> -> Text;
        _ -> Line
    end.

-spec cannot_read(file:filename(), file:posix()) -> no_return().
cannot_read(File, Reason) ->
    throw({failed, io_lib:format("cannot read ~ts: ~ts", [File, file:format_error(Reason)])}).

%% What words are separated by, for words/2.
-spec separators() -> binary:cp().
separators() ->
    binary:compile_pattern([<<C>> || C <- " \t\n\v\f\r"]).

%% The words of a line: whatever stands between blanks, in any encoding.
-spec words(Line :: binary(), binary:cp()) -> [binary()].
words(Line, Separators) ->
    binary:split(Line, Separators, [global, trim_all]).
