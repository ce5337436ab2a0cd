%% The command line's parts that need no broker: what is typed, lines, messages, tables,
%% and where the driver is put.
-module(crema_cli_tests).

-include_lib("eunit/include/eunit.hrl").
-include_lib("kernel/include/file.hrl").

%% ---- the table -------------------------------------------------------------------

%% No two options of a command are spelt alike, and each command has its module.
table_test() ->
    lists:foreach(
        fun(#{name := Name}) ->
            Options = crema_cli_table:options(Name),
            Longs = [Long || #{long := Long} <- Options],
            Shorts = [Short || #{short := Short} <- Options, Short =/= none],
            ?assertEqual({Name, []}, {Name, Longs -- lists:usort(Longs)}),
            ?assertEqual({Name, []}, {Name, Shorts -- lists:usort(Shorts)}),
            {module, _} = code:ensure_loaded(list_to_atom("crema_cli_" ++ atom_to_list(Name)))
        end,
        crema_cli_table:commands()
    ).

%% Help fits a terminal of 80 columns and holds no marks of the documents.
help_fits_test() ->
    Texts = [crema_cli_table:help() | [crema_cli_table:help(C) || C <- crema_cli_table:commands()]],
    Lines = string:split(unicode:characters_to_list(Texts), "\n", all),
    ?assertEqual([], [Line || Line <- Lines, string:length(Line) > 79]),
    ?assertEqual([], [Line || Line <- Lines, lists:member($`, Line)]).

%% ---- what is typed -----------------------------------------------------------------

parse(Name, Arguments) ->
    {ok, Command} = crema_cli_table:command(Name),
    try
        crema_cli_arguments:parse(Command, Arguments)
    catch
        throw:{usage, Text} -> {usage, unicode:characters_to_binary(Text)}
    end.

%% Each way to spell an option is read, and each kind of value.
arguments_test_() ->
    Time = {timestamp, 1795334400000},
    [
        ?_assertEqual(Given, parse(Command, Typed))
     || {Command, Typed, Given} <- [
            {"consume", ["t"], #{topic => <<"t">>}},
            {"consume", ["--", "-t"], #{topic => <<"-t">>}},
            {"consume", ["t", "-n", "5"], #{topic => <<"t">>, count => 5}},
            {"consume", ["-n5", "t"], #{topic => <<"t">>, count => 5}},
            {"consume", ["t", "--count=5"], #{topic => <<"t">>, count => 5}},
            {"consume", ["-ejn5", "t"], #{topic => <<"t">>, until_end => true, json => true, count => 5}},
            {"consume", ["t", "-p", "0", "-p", "7"], #{topic => <<"t">>, partitions => [0, 7]}},
            {"consume", ["t", "-f", "beginning"], #{topic => <<"t">>, from => earliest}},
            {"consume", ["t", "-f", "end"], #{topic => <<"t">>, from => latest}},
            {"consume", ["t", "-f", "-3"], #{topic => <<"t">>, from => {last, 3}}},
            {"consume", ["t", "-f", "12", "-t", "20"], #{topic => <<"t">>, from => 12, to => 20}},
            {"consume", ["t", "-f", "@1795334400000"], #{topic => <<"t">>, from => Time}},
            {"consume", ["t", "-f", "2026-11-22T08:00:00Z"], #{topic => <<"t">>, from => Time}},
            {"consume", ["t", "-t", "2026-11-22T09:00:00+01:00"], #{topic => <<"t">>, to => Time}},
            {"consume", ["t", "-d", "\\0\\n\\x41\\\\ü"],
                #{topic => <<"t">>, delimiter => <<0, 10, $A, $\\, "ü"/utf8>>}},
            {"produce", [], #{}},
            {"produce", ["t", "-H", "a=b=c", "-H", "d="],
                #{topic => <<"t">>, headers => [{<<"a">>, <<"b=c">>}, {<<"d">>, <<>>}]}},
            {"topics", ["a", "b"], #{topics => [<<"a">>, <<"b">>]}},
            {"topics", [], #{topics => []}},
            {"lag", ["g", "-i", "0.5"], #{groups => [<<"g">>], interval => 500}},
            {"check", ["-b", "h:1", "-X", "client.id=x=y", "--env", "none"],
                #{bootstrap => <<"h:1">>, config => [{<<"client.id">>, <<"x=y">>}], env => none}},
            {"check", ["--env", "MY_KAFKA"], #{env => {prefix, <<"MY_KAFKA">>}}},
            {"produce", ["--help", "--key", "k"], #{help => true, key => <<"k">>}}
        ]
    ].

%% What is wrong is told by what was typed.
wrong_arguments_test_() ->
    [
        ?_assertMatch({_, {match, _}}, {Typed, re:run(element(2, parse(Command, Typed)), Pattern)})
     || {Command, Typed, Pattern} <- [
            {"consume", [], "^which TOPIC"},
            {"consume", ["a", "b"], "^one TOPIC is taken, and not b"},
            {"consume", ["t", "--no-such"], "^--no-such is no option"},
            {"consume", ["t", "-q"], "^-q is no option"},
            {"consume", ["t", "-n"], "^-n wants a value: N"},
            {"consume", ["t", "-n", "0"], "^-n wants a number of at least 1, not 0"},
            {"consume", ["t", "-n", "1", "-n", "2"], "^-n is given twice"},
            {"consume", ["t", "--json=yes"], "^--json takes no value"},
            {"consume", ["t", "-f", "yesterday"], "^-f wants a place: .*, not yesterday"},
            {"consume", ["t", "-f", "-x"], "^-f wants a number behind -"},
            {"consume", ["t", "-f", "@x"], "^-f wants milliseconds"},
            {"consume", ["t", "-d", "\\q"], "^-d wants a text in which"},
            {"consume", ["t", "-d", "\\xZZ"], "^-d wants a text in which"},
            {"produce", ["t", "-H", "name"], "^-H wants NAME=VALUE"},
            {"lag", [], "^which GROUP"},
            {"lag", ["g", ""], "^GROUP is empty"},
            {"consume", [""], "^TOPIC is empty"},
            {"lag", [[16#DCFF]], "^the command line holds what is no text"},
            {"topics", ["-X", [$a, 16#DCFF, $=]], "^the command line holds what is no text"},
            {"lag", ["g", "-i", "0"], "^-i wants seconds"},
            {"check", ["x"], "^x is not understood"},
            {"check", ["-X", "x"], "^a property is given as PROPERTY=VALUE"},
            {"check", ["-X", "a=@/no/such/file"], "^a: the file behind @: no such file"},
            {"check", ["-X", "a=$NO_SUCH_VARIABLE"], "^a: the variable behind \\$ is not set"},
            {"check", ["--env", "a-b"], "^--env wants heroku, none"}
        ]
    ].

%% A secret that is not read as it was meant is in nothing that is told.
secrets_are_not_told_test_() ->
    [
        ?_assertEqual(nomatch, string:find(element(2, parse("check", ["-X", Typed])), "marker-4711"))
     || Typed <- ["sasl.password=@marker-4711", "sasl.password=$marker-4711", "sasl.password marker-4711"]
    ].

%% The line's end of a file, whatever it is, is not part of what it holds.
property_of_file_test() ->
    in_folder(fun(Folder) ->
        File = filename:join(Folder, "password"),
        ok = filelib:ensure_dir(File),
        lists:foreach(
            fun(End) ->
                ok = file:write_file(File, ["a\r\nb ", End]),
                Property = crema_cli_arguments:property("p=@" ++ File),
                ?assertEqual({End, {<<"p">>, <<"a\r\nb ">>}}, {End, Property})
            end,
            ["", "\n", "\r\n", "\r", "\n\n"]
        )
    end).

%% ---- lines ----------------------------------------------------------------------------

%% However bytes come in pieces, the lines are those of the whole.
lines_test() ->
    Whole = <<"ab\r\ncd\r\n\r\ne\rf\r\n\rg">>,
    Lines = [<<"ab">>, <<"cd">>, <<>>, <<"e\rf">>, <<"\rg">>],
    lists:foreach(
        fun(Size) -> ?assertEqual({Size, Lines}, {Size, lines(<<"\r\n">>, pieces(Whole, Size))}) end,
        lists:seq(1, byte_size(Whole))
    ),
    ?assertEqual([<<"ab\n">>], lines(<<>>, [<<"a">>, <<"b\n">>])),
    ?assertEqual([<<>>], lines(<<"\n">>, [<<"\n">>])),
    ?assertEqual([], lines(<<"\n">>, [])).

lines(Delimiter, Pieces) ->
    {Lines, Last} = lists:foldl(
        fun(Piece, {Before, State}) ->
            {More, New} = crema_cli_lines:add(Piece, State),
            {Before ++ More, New}
        end,
        {[], crema_cli_lines:new(Delimiter)},
        Pieces
    ),
    Lines ++ crema_cli_lines:rest(Last).

pieces(Bytes, Size) when byte_size(Bytes) =< Size -> [Bytes];
pieces(Bytes, Size) ->
    <<Piece:Size/binary, Rest/binary>> = Bytes,
    [Piece | pieces(Rest, Size)].

%% ---- messages --------------------------------------------------------------------------

%% What is printed as JSON is read as the same message, whatever its bytes are.
json_round_trip_test() ->
    Parts = [undefined, <<>>, <<"text">>, <<"ümlaut \"quoted\"\n"/utf8>>, <<0, 255, 128>>],
    [
        begin
            Message = #{
                topic => <<"t">>, partition => 3, offset => 9, timestamp => 1795334400000,
                timestamp_type => create, key => Key, value => Value,
                headers => [{<<"a">>, Value}, {<<"a">>, Key}, {<<255>>, <<>>}]
            },
            Line = iolist_to_binary(crema_cli_message:as_json(Message)),
            {ok, Read} = crema_cli_message:of_json(string:trim(Line), #{}),
            ?assertEqual(maps:without([offset, timestamp_type], Message), Read)
        end
     || Key <- Parts, Value <- Parts
    ].

%% Options go before what a line says.
options_before_json_test() ->
    Line = <<"{\"topic\":\"a\",\"partition\":1,\"key\":\"k\",\"value\":{\"x\":[1,null]}}">>,
    ?assertMatch(
        {ok, #{topic := <<"b">>, partition := 1, key := <<"K">>, value := <<"{\"x\":[1,null]}">>}},
        crema_cli_message:of_json(Line, #{topic => <<"b">>, key => <<"K">>})
    ).

wrong_json_test_() ->
    [
        ?_assertMatch(
            {_, {match, _}},
            {Line, re:run(element(2, crema_cli_message:of_json(Line, #{})), Pattern)}
        )
     || {Line, Pattern} <- [
            {<<"x">>, "is no JSON"},
            {<<"[]">>, "is no object"},
            {<<"{}">>, "has no value"},
            {<<"{\"value\":1,\"Key\":2}">>, "unknown field: Key"},
            {<<"{\"value\":1,\"value_base64\":\"\"}">>, "has value twice"},
            {<<"{\"value_base64\":\"?\"}">>, "value_base64 is no base64"},
            {<<"{\"value\":1,\"partition\":\"1\"}">>, "partition is not a number"},
            {<<"{\"value\":1,\"topic\":null}">>, "topic is not a text"},
            {<<"{\"value\":1,\"headers\":3}">>, "headers are an object"},
            {<<"{\"value\":1,\"headers\":[3]}">>, "has a header that is no object"},
            {<<"{\"value\":1,\"headers\":[{}]}">>, "has a header without a name"}
        ]
    ].

%% A line is split at the first separator, and null is what is said to be.
text_lines_test() ->
    Options = #{topic => <<"t">>, separator => <<"=>">>, null => <<"NULL">>},
    ?assertMatch({ok, #{key := <<"k">>, value := <<"v=>w">>}},
        crema_cli_message:of_line(<<"k=>v=>w">>, Options)),
    ?assertMatch({ok, #{key := <<"k">>, value := undefined}},
        crema_cli_message:of_line(<<"k=>NULL">>, Options)),
    ?assertMatch({error, _}, crema_cli_message:of_line(<<"no">>, Options)),
    ?assertEqual({ok, #{topic => <<"t">>, value => <<>>}},
        crema_cli_message:of_line(<<>>, #{topic => <<"t">>})).

printed_text_test() ->
    Message = #{
        topic => <<"t">>, partition => 3, offset => 9, timestamp => 1795334400123,
        timestamp_type => create, key => undefined, value => <<0, 255>>,
        headers => [{<<"a">>, <<"b">>}, {<<"c">>, undefined}]
    },
    Print = fun(Options) ->
        iolist_to_binary(
            crema_cli_message:as_text(Message, maps:merge(#{delimiter => <<"\n">>, null => <<"-">>}, Options))
        )
    end,
    ?assertEqual(<<0, 255, "\n">>, Print(#{})),
    ?assertEqual(
        <<"2026-11-22T08:00:00.123Z t 3:9\ta=b,c=\t-:", 0, 255, "\n">>,
        Print(#{places => true, headers => true, separator => <<":">>})
    ),
    ?assertEqual("-", crema_cli_message:time(-1)).

%% ---- tables ------------------------------------------------------------------------------

-define(LONG, <<"payments-of-the-northern-european-branches.eur.settled">>).

readings() ->
    [
        #{
            group => <<"baristas">>, topic => Topic, partition => P, committed => Committed,
            'end' => Committed + Lag, lag => Lag, client => <<"till-of-the-north-", ($a + P)>>
        }
     || {Topic, Committed, Lag} <- [{<<"orders">>, 0, 12}, {?LONG, 123456789012, 98765432109}],
        P <- [0, 1, 2]
    ] ++ [
        #{
            group => <<"baristas">>, topic => <<"gone">>, partition => 0, committed => 3,
            'end' => none, lag => none, client => none
        }
    ].

%% No line is wider than the terminal, at any width, and numbers are never cut while
%% anything else can be.
lag_fits_test() ->
    Before = #{{<<"baristas">>, <<"orders">>, 0} => 20},
    lists:foreach(
        fun(Width) ->
            Lines = crema_cli_lag:table(crema_cli_lag:rows(readings(), Before, 20), Width),
            ?assertEqual(1 + 7 + 1, length(Lines)),
            [?assert(string:length(Line) - 1 =< Width) || Line <- Lines],
            Width < 33 orelse ?assertMatch({match, _}, re:run(Lines, "98765432109")),
            ?assertEqual(nomatch, re:run(Lines, "(?m) 9[0-9]{0,9}$"))
        end,
        lists:seq(20, 200)
    ),
    Wide = iolist_to_binary(crema_cli_lag:table(crema_cli_lag:rows(readings(), Before, 20), 200)),
    ?assertMatch({match, _}, re:run(Wide, ["(?m)^", ?LONG, " +2 "])),
    ?assertMatch({match, _}, re:run(Wide, "(?m)^orders +0 +0 +12 +12 +-8 +till")),
    ?assertMatch({match, _}, re:run(Wide, "(?m)^gone +0 +3 +- +- +- +-$")),
    Narrow = crema_cli_lag:table(crema_cli_lag:rows(readings(), Before, 20), 60),
    ?assertEqual(nomatch, re:run(Narrow, "CLIENT")).

%% Where there are more partitions than lines, those with the largest lags are there, and
%% the sum of all.
lag_is_cut_test() ->
    Rows = crema_cli_lag:rows(readings(), #{}, 4),
    Third = 98765432109,
    ?assertMatch([[_, ?LONG | _], [_, ?LONG | _], [_, ?LONG | _], _, _], Rows),
    [_, _, _, More, Total] = Rows,
    ?assertMatch(["", ["4", " more"], _, _, _, 36 | _], More),
    ?assertMatch(["", "total", _, _, _, Sum | _] when Sum =:= 3 * Third + 36, Total).

%% Names that others have chosen do nothing to a terminal, and need be no text.
visible_test() ->
    Names = [<<"a\e[2Jb">>, <<"c", 255, "d", 16#9b/utf8>>, <<"e\nf">>, <<"\xfc"/utf8, 16#c3>>],
    Lines = crema_cli_text:table([{"NAME", left, middle}], [[Name] || Name <- Names], 40),
    ?assertEqual(
        [<<"NAME\n">>, <<"a?[2Jb\n">>, <<"c?d?\n">>, <<"e f\n">>, <<"\xfc"/utf8, "?\n">>], Lines
    ),
    ?assertEqual("a??b?", crema_cli_text:visible(["a", [<<255>>, [<<254, $b>>]] | <<200>>])).

wrapped_test() ->
    Wrapped = crema_cli_text:wrapped("some words, and averylongword at the end", 10),
    ?assertEqual(
        ["some", "words, and", "averylongword", "at the end"],
        [unicode:characters_to_list(Line) || Line <- Wrapped]
    ).

%% Of what is not known no sum is made.
lag_unknown_test() ->
    Unknown = [R || #{lag := none} = R <- readings()],
    Rows = crema_cli_lag:rows(Unknown, #{}, 20),
    ?assertMatch([[_, _, _, 3, none, none | _], ["", "total", _, _, _, none | _]], Rows),
    Text = iolist_to_binary(crema_cli_lag:table(Rows, 80)),
    ?assertMatch({match, _}, re:run(Text, "(?m)^total +-$")).

shortened_test() ->
    ?assertEqual("ab", crema_cli_text:shortened("ab", 2)),
    ?assertEqual(<<"abcd", 16#2026/utf8, "xyz">>,
        unicode:characters_to_binary(crema_cli_text:shortened("abcdefuvwxyz", 8))).

%% ---- the driver's place ------------------------------------------------------------------

%% It is put there once, for its user alone, and mended where it is damaged.
driver_is_put_test() ->
    in_folder(fun(Cache) ->
        Place = crema_cli_driver:prepare(Cache, <<"driver">>),
        File = filename:join(Place, "crema_drv.so"),
        ?assertEqual({ok, <<"driver">>}, file:read_file(File)),
        {ok, #file_info{mode = Mode, inode = First}} = file:read_file_info(File),
        ?assertEqual(8#500, Mode band 8#777),
        {ok, #file_info{mode = Folder}} = file:read_file_info(Place),
        ?assertEqual(8#700, Folder band 8#777),
        Place = crema_cli_driver:prepare(Cache, <<"driver">>),
        ?assertMatch({ok, #file_info{inode = First}}, file:read_file_info(File)),
        ok = file:delete(File),
        ok = file:write_file(File, <<"planted">>),
        Place = crema_cli_driver:prepare(Cache, <<"driver">>),
        ?assertEqual({ok, <<"driver">>}, file:read_file(File)),
        ?assertEqual({ok, ["crema_drv.so"]}, file:list_dir(Place)),
        ?assertNotEqual(Place, crema_cli_driver:prepare(Cache, <<"another">>))
    end).

%% A folder that others can write to, a link in its place, and a file that is a link are
%% not loaded from.
driver_is_not_planted_test() ->
    in_folder(fun(Cache) ->
        Place = crema_cli_driver:prepare(Cache, <<"driver">>),
        File = filename:join(Place, "crema_drv.so"),
        Other = filename:join(Cache, "other"),
        ok = file:rename(File, Other),
        ok = file:make_symlink(Other, File),
        Place = crema_cli_driver:prepare(Cache, <<"driver">>),
        ?assertMatch({ok, #file_info{type = regular}}, file:read_link_info(File)),
        ok = file:change_mode(Place, 8#770),
        ?assertThrow({failed, _}, crema_cli_driver:prepare(Cache, <<"driver">>)),
        ok = file:change_mode(Place, 8#700),
        ok = file:rename(Place, Place ++ ".moved"),
        ok = file:make_symlink(Place ++ ".moved", Place),
        ?assertThrow({failed, _}, crema_cli_driver:prepare(Cache, <<"driver">>))
    end).

%% The cache is closed to others, who could put another folder there; one that is not the
%% user's is not used.
cache_is_closed_test() ->
    in_folder(fun(Cache) ->
        _ = crema_cli_driver:prepare(Cache, <<"driver">>),
        ok = file:change_mode(Cache, 8#777),
        _ = crema_cli_driver:prepare(Cache, <<"driver">>),
        {ok, #file_info{mode = Mode}} = file:read_file_info(Cache),
        ?assertEqual(0, Mode band 8#022),
        ok = file:make_symlink(Cache, Cache ++ ".link"),
        try
            ?assertThrow({failed, _}, crema_cli_driver:prepare(Cache ++ ".link", <<"driver">>))
        after
            file:delete(Cache ++ ".link")
        end
    end).

%% Starts side by side, each the first, find it, and leave nothing else.
driver_is_put_at_once_test() ->
    in_folder(fun(Cache) ->
        Prepared = [
            spawn_monitor(fun() -> exit({done, crema_cli_driver:prepare(Cache, <<"driver">>)}) end)
         || _ <- lists:seq(1, 20)
        ],
        Places = [
            receive
                {'DOWN', Ref, process, Pid, Reason} -> Reason
            end
         || {Pid, Ref} <- Prepared
        ],
        [{done, Place}] = lists:usort(Places),
        ?assertEqual({ok, [filename:basename(Place)]}, file:list_dir(Cache)),
        ?assertEqual({ok, ["crema_drv.so"]}, file:list_dir(Place))
    end).

in_folder(Test) ->
    Name = "crema-cli-" ++ os:getpid() ++ integer_to_list(erlang:unique_integer([positive])),
    Folder = filename:join(os:getenv("TMPDIR", "/tmp"), Name),
    try
        Test(Folder)
    after
        file:del_dir_r(Folder)
    end.
