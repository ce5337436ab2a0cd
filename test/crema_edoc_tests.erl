%% What `make docs' writes: whole, without warnings, and of the public API only.
-module(crema_edoc_tests).

-include_lib("eunit/include/eunit.hrl").

-import(crema_ct_documents, [matches/2, path/1, read/1]).

edoc_test_() ->
    {setup, fun written/0, fun({Folder, _}) -> file:del_dir_r(Folder) end, fun({Folder, Said}) ->
        [
            %% edoc has nothing to warn of.
            ?_assertEqual(unicode:characters_to_list([Folder, "/index.html\n"]), Said),
            {"links", ?_assertEqual([], dead_links(Folder))},
            {"modules", ?_assertEqual(modules(), [Module || {Module, _} <- public(Folder)])},
            {"functions", ?_assertEqual([], undocumented(Folder))},
            {"shell", {spawn, fun() -> shell(Folder) end}}
        ]
    end}.

written() ->
    Folder = filename:join(os:getenv("TMPDIR", "/tmp"), "crema-edoc-" ++ os:getpid()),
    {Folder, os:cmd(lists:join(" ", [path("scripts/api-docs"), Folder, Folder]))}.

%% No link leads to what is private, and so not there.
dead_links(Folder) ->
    Pages = filelib:wildcard(filename:join(Folder, "*.html")),
    Texts = maps:from_list([{filename:basename(Page), read(Page)} || Page <- Pages]),
    [
        {Page, Link}
     || {Page, Text} <- maps:to_list(Texts),
        Link <- matches("href=\"(crema\\w*\\.html(?:#[^\"]*)?)\"", Text),
        not leads(binary:split(Link, <<"#">>), Texts)
    ].

leads([File], Texts) ->
    is_map_key(binary_to_list(File), Texts);
leads([File, Anchor], Texts) ->
    Text = maps:get(binary_to_list(File), Texts, <<>>),
    binary:match(Text, <<"name=\"", Anchor/binary, "\"">>) =/= nomatch.

%% edoc takes what stands behind a type for what is said of it, and nobody sees that
%% in the source where another type follows at once.
types_test() ->
    Sources = [
        File
     || File <- filelib:wildcard(path("src/**/*.erl")),
        lists:member(list_to_atom(filename:basename(File, ".erl")), modules())
    ],
    ?assertEqual([], [
        {filename:basename(File), Comment}
     || File <- Sources, Comment <- matches("(?m)^(%% .*)\n-(?:type|opaque) ", read(File))
    ]).

%% The first page names all that is public, and nothing else.
modules() ->
    Named = matches("@link (crema\\w*)[:}]", read(path("docs/overview.edoc"))),
    lists:usort([binary_to_atom(Module) || Module <- Named]).

undocumented(Folder) ->
    [
        {Module, Name, Arity}
     || {Module, {docs_v1, _, _, _, _, _, Entries}} <- public(Folder),
        {{function, Name, Arity}, _, _, Doc, _} <- Entries,
        Doc =:= none orelse Doc =:= #{},
        lists:member({Name, Arity}, Module:module_info(exports))
    ].

%% The chunks of modules that are not private, by their names.
public(Folder) ->
    lists:sort([
        {list_to_atom(filename:basename(File, ".chunk")), Docs}
     || File <- filelib:wildcard(filename:join(Folder, "chunks/*.chunk")),
        {docs_v1, _, _, _, Doc, _, _} = Docs <- [binary_to_term(read(File))],
        Doc =/= hidden
    ]).

%% h(crema, produce, 2) tells how long it waits.
shell(Folder) ->
    {crema, Docs} = lists:keyfind(crema, 1, public(Folder)),
    %% It asks where it writes to for its encoding.
    true = group_leader(whereis(user), self()),
    Shown = unicode:characters_to_binary(shell_docs:render(crema, produce, 2, Docs)),
    ?assertMatch({_, _}, binary:match(Shown, <<"180000 ms">>)).
