%% The Erlang and shell examples of the documents; ExUnit runs those of Elixir.
-module(crema_examples_tests).

-include_lib("eunit/include/eunit.hrl").

-import(crema_ct_documents, [all/0, fences/2, matches/2, path/1, read/1]).

-define(AT_ONCE, 8).
-define(SECONDS, 120).

%% No example is of a language that nothing runs; what is called text is none.
languages_are_run_test() ->
    Languages = [{L, D} || D <- all(), L <- matches("(?ms)^```(\\N*)$.*?^```$", read(path(D)))],
    Run = [<<"erlang">>, <<"elixir">>, <<"exs">>, <<"sh">>],
    ?assertEqual([], [Other || {L, _} = Other <- Languages, not lists:member(L, [<<"text">> | Run])]),
    [?assertMatch([_ | _], proplists:get_all_values(Language, Languages)) || Language <- Run].

%% What is to be typed into a shell is right for it, and what it calls is there.
shell_test_() ->
    [
        {Document, fun() -> shell(Document, Lines) end}
     || Document <- all(), Lines <- fences(Document, "sh")
    ].

shell(Document, Lines) ->
    ?assertEqual("", sh(["bash -n <<'END' 2>&1\n", Lines, "END\n"])),
    Programs = matches("(?m)(?:^|\\s)((?:\\.\\.|scripts|bench|examples)/[\\w/.-]+)", Lines),
    Folders = [path("."), path(filename:dirname(Document))],
    ?assertEqual([], [
        Program
     || Program <- Programs, not lists:any(fun(F) -> is_program(filename:join(F, Program)) end, Folders)
    ]),
    Targets = matches("(?m)^make ((?:-C \\w+ )?[\\w-]+)", Lines),
    ?assertEqual([], [Target || Target <- Targets, not is_target(Target)]).

is_program(File) ->
    sh(["[ -f ", File, " -a -x ", File, " ] || echo none"]) =:= "".

is_target(Target) ->
    sh(["env -u MAKEFLAGS make -C ", path("."), " -n ", Target, " >/dev/null 2>&1 || echo none"]) =:= "".

sh(Command) ->
    os:cmd(unicode:characters_to_list(Command)).

%% The examples of each page run, one after another, in a node of their own.
erlang_test_() ->
    {inparallel, ?AT_ONCE, [
        {Document, {timeout, ?SECONDS, fun() -> crema_ct_examples:run(Document) end}}
     || Document <- all(), fences(Document, "erlang") =/= []
    ]}.
