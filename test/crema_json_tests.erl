%% JSON: what is taken and what is not.
-module(crema_json_tests).

-include_lib("eunit/include/eunit.hrl").

%% Texts and the terms they stand for.
reads_test_() ->
    [
        ?_assertEqual({ok, Term}, crema_json:decode(Text))
     || {Text, Term} <- [
            {<<"null">>, null},
            {<<" [ true , false ] ">>, [true, false]},
            {<<"0">>, 0},
            {<<"-0">>, 0},
            {<<"-12">>, -12},
            {<<"123456789012345678901234567890">>, 123456789012345678901234567890},
            {<<"1.5">>, 1.5},
            {<<"1e2">>, 100.0},
            {<<"1E+2">>, 100.0},
            {<<"25.0e-1">>, 2.5},
            {<<"\"\"">>, <<>>},
            {<<"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"">>, <<"\"\\/\b\f\n\r\t">>},
            {<<"\"\\u00e9\\uD83D\\ude00\"">>, <<"é😀"/utf8>>},
            {<<"\"é\""/utf8>>, <<"é"/utf8>>},
            {<<"{}">>, #{}},
            {<<"{\"a\":{\"b\":[]},\"a\":1}">>, #{<<"a">> => 1}}
        ]
    ].

%% Texts that are no JSON, each for its own reason.
refuses_test_() ->
    [
        ?_assertMatch({Text, {error, _}}, {Text, crema_json:decode(Text)})
     || Text <- [
            <<>>, <<" ">>, <<"nul">>, <<"true1">>, <<"1 2">>, <<"01">>, <<"-">>, <<"+1">>, <<".5">>,
            <<"1.">>, <<"1.e2">>, <<"1e">>, <<"1e400">>, <<"0x1">>, <<"NaN">>, <<"[1,]">>,
            <<"[1">>, <<"[,]">>, <<"{\"a\"}">>, <<"{\"a\":1,}">>, <<"{a:1}">>, <<"{1:1}">>,
            <<"{\"a\" 1}">>, <<"\"a">>, <<"\"\n\"">>, <<"\"\\x\"">>, <<"\"\\u12g4\"">>,
            <<"\"\\ud800\"">>, <<"\"\\ud800\\u0041\"">>, <<"\"\\udc00\"">>, <<"\"", 16#FF, "\"">>,
            <<"\"", 16#C0, 16#80, "\"">>, <<"'a'">>
        ]
    ].

%% Terms and their texts; null has the forms it has everywhere.
writes_test_() ->
    [
        ?_assertEqual({Term, Text}, {Term, written(Term)})
     || {Term, Text} <- [
            {null, <<"null">>},
            {nil, <<"null">>},
            {undefined, <<"null">>},
            {[undefined, true, false], <<"[null,true,false]">>},
            {espresso, <<"\"espresso\"">>},
            {<<"\"\\\n", 1, "é"/utf8>>, <<"\"\\\"\\\\\\n\\u0001é\""/utf8>>},
            {#{a => 1}, <<"{\"a\":1}">>},
            {#{1 => 0.5}, <<"{\"1\":0.5}">>},
            {[], <<"[]">>}
        ]
    ].

written(Term) ->
    {ok, Text} = crema_json:encode(Term),
    iolist_to_binary(Text).

%% What JSON has no form for is an error, wherever it is.
unwritable_test_() ->
    [
        ?_assertMatch({error, _}, crema_json:encode(Term))
     || Term <- [{a, b}, self(), make_ref(), fun() -> ok end, <<16#FF>>, [{a, 1}], #{{a} => 1}, <<1:3>>]
    ].

%% A text that goes deep does not end the process.
deep_test() ->
    Deep = iolist_to_binary([lists:duplicate(100000, $[), lists:duplicate(100000, $])]),
    ?assertMatch({ok, [_]}, crema_json:decode(Deep)).
