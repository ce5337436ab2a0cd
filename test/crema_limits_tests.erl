-module(crema_limits_tests).

-include_lib("eunit/include/eunit.hrl").

releases_test() ->
    %% A limit is a release's from the first that has it to the first that has not.
    Codes = fun(Number) -> [Code || #{code := Code} <- crema_limits:of_release(Number)] end,
    ?assert(lists:member(scram_with_kafka_4, Codes(16#020002ff))),
    ?assert(lists:member(scram_with_kafka_4, Codes(16#020600ff))),
    ?assertNot(lists:member(scram_with_kafka_4, Codes(16#020601ff))),
    ?assertNot(lists:member(reconnect_loop, Codes(16#020800ff))),
    ?assert(lists:member(reconnect_loop, Codes(16#020a00ff))),
    ?assertNot(lists:member(reconnect_loop, Codes(16#020a01ff))),
    ?assertEqual([], Codes(16#020f01ff)).

shape_test() ->
    %% Each has a code of its own and a sentence; the first release that has it is
    %% told where it is not all of the older.
    Table = crema_limits:table(),
    ?assertEqual(length(Table), length(lists:usort([Code || #{code := Code} <- Table]))),
    [
        begin
            ?assertEqual($., binary:last(Message)),
            ?assertMatch({match, _}, re:run(FixedIn, "^\\d+\\.\\d+\\.\\d+$"))
        end
     || #{message := Message, fixed_in := FixedIn} <- Table
    ],
    ?assertMatch([#{since := <<"2.10.0">>}], [L || #{code := reconnect_loop} = L <- Table]).

scram_test() ->
    %% What is said of a refused log-in names the release, and only one that has the
    %% limit.
    Said = fun(Number) -> crema_limits:scram([{librdkafka, <<"1">>}, {librdkafka_number, Number}]) end,
    ?assertMatch({match, _}, re:run(Said(16#020002ff), "librdkafka 1, before 2.6.1")),
    ?assertEqual(<<>>, Said(16#020601ff)).

info_test() ->
    %% crema:info/0 has the limits of the librdkafka that is loaded, what it can do,
    %% and OpenSSL's version.
    {ok, _} = application:ensure_all_started(crema),
    Info = crema:info(),
    #{librdkafka_number := Number, features := Features, openssl := Openssl, limits := Limits} = Info,
    ?assertEqual(crema_limits:of_release(Number), Limits),
    ?assert(lists:member(<<"ssl">>, Features)),
    ?assertMatch(<<"OpenSSL ", _/binary>>, Openssl),
    ?assert(is_boolean(maps:get(bundled, Info))).

cells_test() ->
    %% What docs/connections.md says cannot work are cases there are, and limits.
    Known = [Code || #{code := Code} <- crema_limits:table()],
    {_, _, Cases} = hd(crema_security_kafka_SUITE:groups()),
    Rows = crema_ct_cells:rows(),
    ?assertNotEqual([], Rows),
    [
        begin
            ?assertEqual([], Cells -- Cases),
            ?assert(lists:member(Limit, Known)),
            ?assertNotEqual(<<>>, Why)
        end
     || {Cells, _, Limit, Why} <- Rows
    ].
