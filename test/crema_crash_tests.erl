%% What is shown of exceptions that users' functions raise, where there is no Elixir;
%% Crema.CrashTest has what is shown where there is.
-module(crema_crash_tests).

-include_lib("eunit/include/eunit.hrl").

-export([handle_message/2]).

-define(SECRET, "hunter2").

%% The message says what is to be raised.
handle_message(Raise, _State) -> Raise().

crash(Raise) ->
    Handler = crema_handler:new({?MODULE, []}),
    {crash, Class, Reason, Stack} = crema_handler:call(Handler, Raise, state),
    crema_crash:format(Class, Reason, Stack).

has(Text, Part) ->
    string:find(Text, Part) =/= nomatch.

the_place_is_shown_test() ->
    %% The text has the class, the reason and the handler's part of the stack only.
    Text = crash(fun() -> error(not_an_order) end),
    ?assertMatch(<<"exception error: not_an_order\n", _/binary>>, Text),
    ?assert(has(Text, "crema_crash_tests.erl, line ")),
    ?assertNot(has(Text, "crema_handler")),
    ?assert(has(crash(fun() -> exit(bye) end), "exception exit: bye")),
    ?assert(has(crash(fun() -> throw(up) end), "exception throw: up")).

long_texts_are_cut_test() ->
    %% However much a reason holds that may be shown, the text has an end.
    Row = list_to_tuple(lists:duplicate(12, ?FUNCTION_NAME)),
    Text = crash(fun() -> error(lists:duplicate(12, {Row, Row})) end),
    ?assert(has(Text, atom_to_list(?FUNCTION_NAME))),
    ?assertEqual(<<"...">>, binary:part(Text, byte_size(Text), -3)),
    ?assert(byte_size(Text) < 4100).

data_is_not_shown_test() ->
    %% What may be of a message or a state is not in the text: atoms and shapes are.
    Secrets = [
        {fun() -> error({badmatch, {error, <<?SECRET>>}}) end, "{error,<<\"...\">>}"},
        {fun() -> error({badmatch, {error, ?SECRET}}) end, "{error,\"...\"}"},
        {fun() -> error({badmap, [#{<<?SECRET>> => <<?SECRET>>}]}) end, "#{<<\"...\">>"},
        {fun() -> error({badkey, #{password => 'hunter2'}}) end, "[redacted]"},
        {fun() -> exit({noproc, {gen_server, call, [db, {save, <<?SECRET>>}]}}) end, "{save,<<\"...\">>}"},
        {fun() -> throw([<<?SECRET>> | <<?SECRET>>]) end, "..."},
        {fun() -> list_to_integer(secret()) end, "exception error: bad argument"}
    ],
    [
        begin
            Text = crash(Raise),
            ?assertMatch({_, true}, {Text, has(Text, Shown)}),
            ?assertMatch({_, false}, {Text, has(Text, ?SECRET)})
        end
     || {Raise, Shown} <- Secrets
    ].

secret() -> ?SECRET.

any_reason_is_shown_test() ->
    %% However large or odd, it makes a text of a bounded size.
    Deep = lists:foldl(fun(_, Inner) -> {Inner} end, [], lists:seq(1, 1000)),
    Wide = maps:from_keys(lists:seq(1, 100000), lists:seq(1, 1000)),
    Reasons = [
        Deep, Wide, list_to_tuple(lists:seq(1, 10000)), <<1:3>>, [], {}, <<>>, self(), fun has/2,
        [improper | tail], {bad_return, {m, f, 1}}, {bad_return, {m, f, 1, 2}},
        {bad_return, atom, [no, text]}, {bad_return, atom, 5}, #{'__exception__' => true},
        #{'__struct__' => nothing, '__exception__' => true, term => Wide}
    ],
    [
        begin
            Text = crema_crash:format(Class, Reason, Stack),
            ?assert(is_list(unicode:characters_to_list(Text)) andalso byte_size(Text) < 5000)
        end
     || Reason <- Reasons,
        Class <- [error, exit, throw],
        Stack <- [[], [{m, f, 3, []}], [{m, f, [Wide], []}, {crema_handler, call, 3, []}]]
    ].

bad_returns_are_told_test() ->
    %% Who returns what cannot be is told what can be, but for the state in it.
    Told = fun(Definition, Given) ->
        Handler = crema_handler:new(Definition),
        {crash, error, Reason, Stack} = crema_handler:call(Handler, Given, none),
        crema_crash:format(error, Reason, Stack)
    end,
    ?assertMatch(
        <<"crema_crash_tests:handle_message/2 returned {done,\"...\"}, but may return: ok, "
            "{ack, State}, {ack, UpTo, State}, ", _/binary>>,
        Told({?MODULE, []}, fun() -> {done, ?SECRET} end)
    ),
    ?assert(has(Told(fun(_) -> done end, message), "may return: ok, ack, {ack, UpTo}, ")),
    ?assertEqual(
        ["{ok, State}", "{ok, State, #{start => Where}}"],
        [lists:flatten(R) || R <- crema_crash:returns(init, 2, erlang)]
    ),
    ?assertEqual(
        <<"the handler returned noack, which is not for you">>,
        crema_crash:format(error, {bad_return, noack, "is not for you"}, [])
    ).
