%% The documents tell the truth: their examples run, their tables are those of
%% the code, and what they name is there.
-module(crema_docs_tests).

-include_lib("eunit/include/eunit.hrl").

-export([path/1]).

%% Every link leads to a file that is there, and to a heading in it.
links_resolve_test() ->
    Links = [{Document, Link} || Document <- documents(), Link <- links(Document)],
    ?assertEqual([], [L || {Document, Link} = L <- Links, not resolves(Document, Link)]),
    ?assertMatch([_, _ | _], Links).

%% Files, functions of C and functions of Erlang that the documents name exist.
names_exist_test() ->
    C = sources("c_src/{core,driver}/*.[ch]"),
    Names = [{D, N} || D <- documents(), N <- matches("`([^`\n]+)`", prose(D))],
    ?assertEqual([], [Name || {_, Text} = Name <- Names, not exists(Text, C)]),
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
    Named = [Name || D <- documents(), Name <- matches("`(\\w+) =>", prose(D))],
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

examples_test_() ->
    {timeout, 90, fun examples/0}.

%% The README's story, as it stands there but for the brokers' address: the
%% cluster, the modules, and what is produced is handled and printed.
examples() ->
    Before = group_leader(),
    Test = self(),
    group_leader(spawn_link(fun() -> printer(Test) end), self()),
    try
        Blocks = fences("README.md"),
        {[Cluster], Others} = lists:partition(
            fun(Block) -> contains([Block], <<"crema_cluster:start_link">>) end, Blocks
        ),
        Bindings = evaluate(Cluster, []),
        {value, Brokers} = erl_eval:binding('Brokers', Bindings),
        lists:foldl(fun run/2, [], [at(Block, Brokers) || Block <- Others]),
        Lines = ["ada wants an espresso\n", "bob wants a macchiato\n", "joe wants a ristretto\n"],
        ?assertEqual(Lines, lists:sort([printed() || _ <- Lines])),
        lists:foldl(fun run/2, [], fences("docs/configuration.md") ++ fences("docs/events.md")),
        Pages = [
            "variants", "pools", "partitioning", "lifecycle", "groups", "handlers", "control",
            "reading", "security", "renewal", "check"
        ],
        lists:foreach(
            fun(Page) ->
                Own = fences("docs/" ++ Page ++ ".md"),
                lists:foldl(fun run/2, Bindings, [at(Block, Brokers) || Block <- Own])
            end,
            Pages
        ),
        heroku(Brokers),
        transactions(Bindings),
        exactly_once(Bindings),
        lists:foldl(fun run/2, [], fences("docs/topics.md") ++ fences("docs/buffer.md")),
        lists:foldl(fun run/2, [], fences("docs/reports.md")),
        lists:foldl(fun run/2, [], fences("docs/failures.md")),
        lists:foldl(fun run/2, [], fences("docs/producer.md")),
        lists:foldl(fun run/2, [], fences("docs/consumer.md")),
        lists:foldl(fun run/2, [], fences("docs/concurrency.md")),
        lists:foldl(fun run/2, [], fences("docs/memory.md")),
        ok = crema_events:detach(my_handler),
        ok = gen_server:stop(orders_sup),
        {value, Pid} = erl_eval:binding('Cluster', Bindings),
        ok = crema_cluster:stop(Pid)
    after
        group_leader(Before, self()),
        application:stop(crema)
    end.

%% With the variables that Heroku sets.
heroku(Brokers) ->
    Variables = [
        {"KAFKA_URL", "kafka://" ++ binary_to_list(Brokers)}, {"KAFKA_PREFIX", "amber-1."}
    ],
    crema_ct_broken:with(Variables, fun() ->
        lists:foldl(fun run/2, [], fences("docs/heroku.md"))
    end).

%% What is produced in the first is consumed and produced in another.
transactions(Bindings) ->
    Test = self(),
    Tell = fun(_, _, _, _) -> Test ! committed end,
    ok = crema_events:attach(?FUNCTION_NAME, [crema, transaction, committed], Tell, none),
    Run = lists:foldl(fun run/2, Bindings, fences("docs/transactions.md")),
    [
        receive
            committed -> ok
        after 30000 -> error(not_committed)
        end
     || _ <- [1, 2]
    ],
    ok = crema_events:detach(?FUNCTION_NAME),
    [{value, Till}, {value, Member}] = [erl_eval:binding(Name, Run) || Name <- ['Till', 'Member']],
    ok = crema_consumer:stop(Member),
    ok = crema_producer:stop(Till).

%% What is consumed is produced.
exactly_once(Bindings) ->
    Test = self(),
    Tell = fun(_, #{count := Count}, _, _) -> Test ! {shouted, Count} end,
    Event = [crema, consumer, transaction_committed],
    ok = crema_events:attach(?FUNCTION_NAME, Event, Tell, none),
    {value, Brokers} = erl_eval:binding('Brokers', Bindings),
    {ok, P} = crema_producer:start_link(#{bootstrap_servers => Brokers}),
    {ok, _} = crema:produce(P, #{topic => "whispers", value => "hush"}),
    ok = crema_producer:stop(P),
    Run = lists:foldl(fun run/2, Bindings, fences("docs/exactly_once.md")),
    receive
        {shouted, Count} -> ?assertEqual(1, Count)
    after 30000 -> error(not_committed)
    end,
    ok = crema_events:detach(?FUNCTION_NAME),
    {value, Shouter} = erl_eval:binding('Shouter', Run),
    ok = crema_consumer:stop(Shouter).

at(Block, Brokers) ->
    binary:replace(Block, <<"localhost:9092">>, Brokers, [global]).

run(<<"-module(", Rest/binary>> = Source, Bindings) ->
    [Name, _] = binary:split(Rest, <<")">>),
    Folder = filename:join(os:getenv("TMPDIR", "/tmp"), "crema_docs_tests-" ++ os:getpid()),
    File = filename:join(Folder, binary_to_list(Name) ++ ".erl"),
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, Source),
    {ok, Module, Beam} = compile:file(File, [binary, return_errors, warnings_as_errors, report]),
    ok = file:delete(File),
    ok = file:del_dir(Folder),
    {module, Module} = code:load_binary(Module, File, Beam),
    Bindings;
run(Expressions, Bindings) ->
    evaluate(Expressions, Bindings).

evaluate(Text, Bindings) ->
    {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Text)),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {value, _, New} = erl_eval:exprs(Expressions, Bindings),
    New.

%% A group leader that passes on what is printed by the processes below it.
printer(To) ->
    receive
        {io_request, From, As, {put_chars, Encoding, Module, Function, Args}} ->
            Chars = apply(Module, Function, Args),
            self() ! {io_request, From, As, {put_chars, Encoding, Chars}};
        {io_request, From, As, {put_chars, _, Chars}} ->
            To ! {printed, unicode:characters_to_list(Chars)},
            From ! {io_reply, As, ok};
        {io_request, From, As, _} ->
            From ! {io_reply, As, {error, request}}
    end,
    printer(To).

printed() ->
    receive
        {printed, Text} -> Text
    after 30000 -> nothing
    end.

%% ---- documents -----------------------------------------------------------------

documents() ->
    ["README.md", "CHANGELOG.md" | filelib:wildcard("docs/*.md", root())].

%% The Erlang examples of a document.
fences(Document) ->
    matches("(?ms)^```erlang\n(.*?)^```$", read(path(Document))).

prose(Document) ->
    re:replace(
        read(path(Document)), "(?ms)^```.*?^```$", "", [global, unicode, {return, binary}]
    ).

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
    filename:join(filename:dirname(Document), binary_to_list(File)).

has_heading(Document, Anchor) ->
    lists:member(Anchor, [slug(H) || H <- matches("(?m)^#+ (.*)$", prose(Document))]).

slug(Heading) ->
    Plain = re:replace(string:lowercase(Heading), "[^\\w\\- ]", "", [
        global, unicode, {return, binary}
    ]),
    binary:replace(Plain, <<" ">>, <<"-">>, [global]).

%% True for everything that is not a name of one of the kinds looked for.
exists(Text, C) ->
    Kinds = [
        {"\\A((?:c_src|src|lib|test|scripts|examples|bench|docs|priv)/[\\w./-]*)(?: .*)?\\z",
            fun([File]) -> filelib:is_file(path(File)) end},
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

contains(Texts, Part) ->
    lists:any(fun(Text) -> binary:match(Text, Part) =/= nomatch end, Texts).

sources(Pattern) ->
    [read(File) || File <- filelib:wildcard(path(Pattern))].

matches(Pattern, Text) ->
    case re:run(Text, Pattern, [global, unicode, {capture, all_but_first, binary}]) of
        {match, Found} -> [Match || [Match] <- Found];
        nomatch -> []
    end.

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
