%% The documents tell the truth: their tables are those of the code, and what they
%% name is there. That their examples run shows crema_examples_tests.
-module(crema_docs_tests).

-include_lib("eunit/include/eunit.hrl").

-import(crema_ct_documents, [all/0, contains/2, matches/2, path/1, prose/1, read/1]).

%% Every link leads to a file that is there, and to a heading in it.
links_resolve_test() ->
    Links = [{Document, Link} || Document <- all(), Link <- links(Document)],
    ?assertEqual([], [L || {Document, Link} = L <- Links, not resolves(Document, Link)]),
    ?assertMatch([_, _ | _], Links).

%% Files, functions of C and functions of Erlang that the documents name exist.
names_exist_test() ->
    C = sources("c_src/{core,driver}/*.[ch]"),
    Names = [{D, N} || D <- all(), N <- matches("`([^`\n]+)`", prose(D))],
    ?assertEqual([], [Name || {D, Text} = Name <- Names, not exists(Text, D, C)]),
    ?assertMatch([_, _ | _], Names).

%% Each row of the consumer's tables is shown by something, and what is left out of
%% them is in a row.
rows_are_shown_test() ->
    ?assertEqual([], crema_ct_rows:not_shown()),
    LeftOut = [Shower || {Shower, _, _} <- crema_ct_rows:left_out()],
    ?assertMatch([_ | _], LeftOut),
    ?assertEqual([], LeftOut -- crema_ct_rows:shown()).

%% What is written as `name => value' is an option, or a part of a call's.
options_are_known_test() ->
    Known = [atom_to_binary(Name) || #{name := Name} <- crema_options:table()],
    Calls = [<<"report">>, <<"tag">>, <<"timeout">>],
    Named = [Name || D <- all(), Name <- matches("`(\\w+) =>", prose(D))],
    ?assertEqual([], [Name || Name <- Named, not lists:member(Name, Known ++ Calls)]).

%% All that a handler may return is there, in both languages.
returns_are_told_test() ->
    [Table, Elixir] = [read(path(File)) || File <- ["docs/handlers.md", "lib/crema/consumer.ex"]],
    Missing = [
        Return
     || {Language, Pages} <- [{erlang, [Table]}, {elixir, [Table, Elixir]}],
        Page <- Pages,
        Return <- crema_crash:returns(handle_messages, 2, Language),
        not contains([Page], iolist_to_binary(["`", Return, "`"]))
    ],
    ?assertEqual([], Missing).

%% What is said of certificates and keys is told, and nothing else.
sentences_are_told_test() ->
    Source = [
        re:replace(Text, "\"\\s*\n\\s*\"", "", [global, {return, binary}])
     || Text <- sources("c_src/core/{door,pem,credentials}.c")
    ],
    Begin = "\"((?:is|has|holds|names|does|will) (?:[^\"\\\\]|\\\\.)*)\"",
    Said = [said(Sentence) || Text <- Source, Sentence <- matches(Begin, Text)],
    Security = read(path("docs/security.md")),
    ?assertEqual([], [Sentence || Sentence <- Said, not contains([Security], Sentence)]),
    Rows = matches("(?m)^\\| ((?:is|has|holds|names|does|will) [^|]*) \\|", Security),
    Told = lists:append([binary:split(Row, <<", is not valid">>) || Row <- Rows]),
    ?assert(length(Told) > 20),
    ?assertEqual([], [
        Row
     || Row <- Told, not lists:member(Row, [<<" before … (…)"/utf8>> | Said])
    ]).

%% A literal of C as it is read.
said(Literal) ->
    Filled = re:replace(Literal, "%[.*a-z0-9]+", <<"…"/utf8>>, [global, unicode, {return, binary}]),
    re:replace(Filled, "\\\\(.)", "\\1", [global, unicode, {return, binary}]).

%% scripts/docs would change nothing.
tables_are_the_codes_test() ->
    Ebin = filename:dirname(code:which(crema_options)),
    ?assertEqual("", os:cmd(path("scripts/docs") ++ " --check " ++ Ebin)).

%% The events said not to be sent are those that no code sends.
events_are_sent_test() ->
    Senders = [
        read(File)
     || File <- filelib:wildcard(path("src/**/*.erl")),
        not lists:prefix("crema_event_", filename:basename(File))
    ],
    Unsent = [
        compact(Name)
     || #{name := Name} <- crema_event_table:table(),
        not contains(Senders, spaced(Name))
    ],
    ?assertEqual([], Unsent).

%% ---- what they name ------------------------------------------------------------

links(Document) ->
    [
        Link
     || Link <- matches("\\]\\(([^)\\s]+)\\)", prose(Document)),
        not contains([Link], <<"://">>)
    ].

resolves(Document, Link) ->
    case binary:split(Link, <<"#">>) of
        [<<>>, Anchor] -> has_heading(Document, Anchor);
        [File] -> filelib:is_file(path(beside(Document, File)));
        [File, Anchor] -> has_heading(beside(Document, File), Anchor)
    end.

beside(Document, File) ->
    filename:join(filename:dirname(Document), File).

has_heading(Document, Anchor) ->
    lists:member(Anchor, [slug(H) || H <- matches("(?m)^#+ (.*)$", prose(Document))]).

slug(Heading) ->
    Plain = re:replace(string:lowercase(Heading), "[^\\w\\- ]", "", [
        global, unicode, {return, binary}
    ]),
    binary:replace(Plain, <<" ">>, <<"-">>, [global]).

%% True for everything that is not a name of one of the kinds looked for.
exists(Text, Document, C) ->
    Kinds = [
        {"\\A((?:c_src|src|lib|test|scripts|examples|bench|docs|priv)/[\\w./-]*)(?: .*)?\\z",
            fun([File]) -> is_file(File, Document) end},
        {"\\A((?:cr|drv|host|recipients)_\\w+)\\z", fun([Name]) -> contains(C, Name) end},
        {"\\A(CR_\\w+)\\z", fun([Name]) -> contains(C, Name) end},
        {"\\A(crema\\w*):(\\w+)/(\\d)\\z", fun is_exported/1},
        {"\\A(crema_\\w+_(?:SUITE|tests))(?::([\\w,]+))?\\z", fun are_cases/1}
    ],
    lists:all(
        fun({Pattern, Check}) ->
            case re:run(Text, Pattern, [unicode, {capture, all_but_first, binary}]) of
                {match, Parts} -> Check(Parts);
                nomatch -> true
            end
        end,
        Kinds
    ).

%% Of the project, beside the document, or what the example after its name is to be
%% put into; a run writes the results of measurements.
is_file(<<"bench/results/", _/binary>>, "bench/README.md") ->
    true;
is_file(File, Document) ->
    lists:any(fun filelib:is_file/1, [path(File), path(beside(Document, File))]) orelse
        contains([read(path(Document))], <<"`", File/binary, "`\n\n```">>).

is_exported([Module, Function, Arity]) ->
    {module, Loaded} = code:ensure_loaded(binary_to_existing_atom(Module)),
    erlang:function_exported(Loaded, binary_to_atom(Function), binary_to_integer(Arity)).

%% A suite, and cases of it that are run.
are_cases([Suite]) ->
    are_cases([Suite, <<>>]);
are_cases([Suite, Cases]) ->
    {ok, Source} = file:read_file(path(<<"test/", Suite/binary, ".erl">>)),
    lists:all(
        fun(Case) -> re:run(Source, ["(?m)^", Case, "\\("]) =/= nomatch end,
        string:lexemes(Cases, ",")
    ).

compact(Name) ->
    iolist_to_binary(io_lib:format("~0p", [Name])).

spaced(Name) ->
    iolist_to_binary(["[", lists:join(", ", [atom_to_list(Part) || Part <- Name]), "]"]).

sources(Pattern) ->
    [read(File) || File <- filelib:wildcard(path(Pattern))].
