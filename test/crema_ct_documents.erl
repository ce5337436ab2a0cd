%% The documents, and what is looked for in them.
-module(crema_ct_documents).

-export([all/0, fences/2, prose/1, matches/2, contains/2, read/1, path/1]).

%% @doc All of them, by their paths in the project.
-spec all() -> [file:filename()].
all() ->
    Examples = filelib:wildcard("examples/*/README.md", root()),
    ["README.md", "CHANGELOG.md", "bench/README.md" | filelib:wildcard("docs/*.md", root())] ++ Examples.

%% @doc The examples of a document in a language, which is a pattern.
-spec fences(file:filename(), iodata()) -> [binary()].
fences(Document, Language) ->
    matches(["(?ms)^```", Language, "\n(.*?)^```$"], read(path(Document))).

%% @doc It without its examples.
-spec prose(file:filename()) -> binary().
prose(Document) ->
    re:replace(
        read(path(Document)), "(?ms)^```.*?^```$", "", [global, unicode, {return, binary}]
    ).

%% @doc What the one group of a pattern is in a text, wherever it is found.
-spec matches(iodata(), binary()) -> [binary()].
matches(Pattern, Text) ->
    case re:run(Text, Pattern, [global, unicode, {capture, all_but_first, binary}]) of
        {match, Found} -> [Match || [Match] <- Found];
        nomatch -> []
    end.

-spec contains([binary()], binary()) -> boolean().
contains(Texts, Part) ->
    lists:any(fun(Text) -> binary:match(Text, Part) =/= nomatch end, Texts).

-spec read(file:filename()) -> binary().
read(File) ->
    {ok, Text} = file:read_file(File),
    Text.

path(Name) ->
    filename:join(root(), Name).

%% The tests may run anywhere below it.
root() ->
    {ok, Folder} = file:get_cwd(),
    root(Folder).

root(Folder) ->
    case filelib:is_file(filename:join(Folder, "c_src/core/commands.h")) of
        true -> Folder;
        false when Folder =/= "/" -> root(filename:dirname(Folder))
    end.
