%% The table of errors is that of the code: what can be returned is in it, and
%% nothing else.
-module(crema_error_table_tests).

-include_lib("eunit/include/eunit.hrl").
-include("../src/port/crema_commands.hrl").

-import(crema_ct_documents, [matches/2, path/1, read/1]).

%% Every code that a module of Erlang returns is in the table.
returned_by_erlang_test() ->
    Patterns = [
        "crema_error:make\\(\\s*([a-z]\\w*),",
        "crema_check_step:failed\\([^,()]*,[^,]*,\\s*([a-z]\\w*),",
        "\\{error, \\{([a-z]\\w*), #\\{message =>",
        "\\{((?:tls|sasl)_[a-z]\\w*), [\\[\"]"
    ],
    Returned = [C || Text <- erlang_sources(), P <- Patterns, C <- matches(P, Text)],
    ?assert(length(Returned) > 100),
    ?assertEqual([], unknown(Returned)).

%% So is every code that the driver answers with.
returned_by_the_driver_test() ->
    ?assertMatch([_, _ | _], by_the_driver()),
    ?assertEqual([], unknown(by_the_driver())).

by_the_driver() ->
    Pattern = "(?:cr_error_own|cr_answer_own|\\brefuse)\\([^;\"]*,\\s*\"([a-z_]+)\"",
    [C || Text <- sources("c_src/core/*.c"), C <- matches(Pattern, Text)].

%% Each code of the table is returned by something: it is librdkafka's, an atom in a
%% module, or the driver's.
nothing_else_test() ->
    {ok, _} = application:ensure_all_started(crema),
    Kafka = lists:usort([code(Number) || Number <- lists:seq(-200, 200)]) ++ of_newer_librdkafka(),
    Texts = erlang_sources(),
    Driver = [atom_to_binary(code(?REPORT_UNCONFIRMED)) | by_the_driver()],
    Others = [
        Code
     || Code <- maps:keys(crema_error_table:rows()) -- Kafka,
        not lists:member(atom_to_binary(Code), Driver),
        not lists:any(fun(Text) -> has(Text, ["\\b", atom_to_list(Code), "\\b"]) end, Texts)
    ],
    ?assertEqual([], Others),
    ?assertEqual([], maps:keys(crema_error_kafka:rows()) -- Kafka).

%% librdkafka 2.0.2 has no names for these.
of_newer_librdkafka() ->
    [
        fenced_member_epoch, stale_member_epoch, unreleased_instance_id, unsupported_assignor,
        invalid_regular_expression
    ].

code(Number) ->
    {error, {Code, _}} = crema_anchor:error_of(Number, #{}),
    Code.

%% What is said to be retriable is so in the table.
retriable_test() ->
    Pattern = "crema_error:make\\(\\s*([a-z]\\w*),[^;.#]*#\\{retriable => true",
    Said = lists:usort([C || Text <- erlang_sources(), C <- matches(Pattern, Text)]),
    ?assertMatch([_, _ | _], Said),
    ?assertEqual([], [C || C <- Said, element(1, row(C)) =/= yes]).

%% Whoever reads a row learns what has happened and what to do, in whole sentences;
%% no code is in two tables.
rows_are_whole_test() ->
    Rows = crema_error_table:rows(),
    Parts = [
        crema_error_table:own(), crema_error_connection:rows(), crema_error_kafka:rows()
    ],
    ?assertEqual(maps:size(Rows), lists:sum([maps:size(Part) || Part <- Parts])),
    [
        ?assert(lists:member(binary:last(Text), ".?)"), {Code, Text})
     || {Code, {Retriable, Meaning, Hint}} <- maps:to_list(Rows),
        Text <- [Meaning, Hint],
        Retriable =:= yes orelse Retriable =:= no orelse error({Code, Retriable})
    ].

row(Code) ->
    {ok, Row} = crema_error_table:find(binary_to_existing_atom(Code)),
    Row.

unknown(Codes) ->
    Known = [atom_to_binary(Code) || Code <- maps:keys(crema_error_table:rows())],
    lists:usort(Codes) -- Known.

%% All but the tables, and without comments.
erlang_sources() ->
    [
        re:replace(read(File), "(?m)^ *%.*$", "", [global, unicode, {return, binary}])
     || File <- filelib:wildcard(path("src/**/*.erl")),
        not lists:prefix("crema_error", filename:basename(File))
    ].

sources(Pattern) ->
    [read(File) || File <- filelib:wildcard(path(Pattern))].

has(Text, Pattern) ->
    re:run(Text, Pattern, [{capture, none}]) =:= match.
