%% What a handler is, and what its callbacks' returns come to.
-module(crema_handler_tests).

-include_lib("eunit/include/eunit.hrl").

-export([init/2, handle_message/2, one/1]).

%% This module stands for a handler; and one/1 for a function.
handle_message(Message, State) -> Message(State).

one(Message) -> Message().

init(_Info, Options) -> {ok, state, Options}.

modules_and_functions_are_told_apart_test() ->
    %% An atom behind a module is its argument where the module is a handler,
    %% and else the name of a function.
    ?assertEqual({ok, {?MODULE, []}}, crema_handler:check(?MODULE)),
    ?assertEqual({ok, {?MODULE, one}}, crema_handler:check({?MODULE, one})),
    ?assertEqual({ok, fun lists:max/1}, crema_handler:check({lists, max})),
    Fun = fun(_) -> ok end,
    ?assertEqual({ok, Fun}, crema_handler:check(Fun)),
    ?assertMatch({error, lists, _}, crema_handler:check(lists)),
    ?assertMatch({error, lists, _}, crema_handler:check({lists, no_such})),
    ?assertMatch({error, no_such_module, _}, crema_handler:check(no_such_module)),
    [
        ?assertEqual(false, crema_handler:check(Bad))
     || Bad <- [true, nil, undefined, "m", {?MODULE, a, b}, fun() -> ok end, fun(_, _) -> ok end]
    ].

a_checked_handler_is_one_test() ->
    %% What check/1 has made of it is a definition too, and the same.
    [
        begin
            {ok, Checked} = crema_handler:check(Given),
            ?assertEqual({ok, Checked}, crema_handler:check(Checked))
        end
     || Given <- [?MODULE, {?MODULE, x}, {lists, max}, fun ?MODULE:one/1]
    ].

returns_become_verdicts_test() ->
    %% ok leaves the state as it is; what is no verdict is a crash.
    Handler = crema_handler:new({?MODULE, []}),
    Call = fun(Function) -> crema_handler:call(Handler, Function, 7) end,
    ?assertEqual({ack, 8}, Call(fun(N) -> {ack, N + 1} end)),
    ?assertEqual({ack, 7}, Call(fun(_) -> ok end)),
    ?assertEqual({noack, 8}, Call(fun(N) -> {noack, N + 1} end)),
    ?assertEqual({error, why, 8}, Call(fun(N) -> {error, why, N + 1} end)),
    ?assertEqual({ack, 5, 8}, Call(fun(N) -> {ack, 5, N + 1} end)),
    ?assertEqual({retry, 0, 8}, Call(fun(N) -> {retry, 0, N + 1} end)),
    ?assertEqual({pause, 9, 8}, Call(fun(N) -> {pause, 9, N + 1} end)),
    ?assertEqual({skip, undefined, 8}, Call(fun(N) -> {skip, N + 1} end)),
    ?assertEqual({skip, why, 8}, Call(fun(N) -> {skip, why, N + 1} end)),
    ?assertEqual({stop, why, 8}, Call(fun(N) -> {stop, why, N + 1} end)),
    Wrong = [{ack, last, 7}, {retry, -1, 7}, {retry, 1.5, 7}, {pause, 16#100000000, 7}, {noack}, ack],
    [
        ?assertMatch({crash, error, {bad_return, {_, _, Bad}}, [_]}, Call(fun(_) -> Bad end))
     || Bad <- Wrong
    ],
    ?assertMatch({crash, throw, out, [_ | _]}, Call(fun(_) -> throw(out) end)),
    ?assertEqual(
        {crash, error, {bad_return, {?MODULE, handle_message, nonsense}}, [
            {?MODULE, handle_message, 2, []}
        ]},
        Call(fun(_) -> nonsense end)
    ).

functions_have_no_state_test() ->
    %% A function returns ok, or a verdict without its state.
    Handler = crema_handler:new(fun ?MODULE:one/1),
    {ok, State, none} = crema_handler:start(Handler, #{}),
    Call = fun(Function) -> crema_handler:call(Handler, Function, State) end,
    ?assertEqual({ack, State}, Call(fun() -> ok end)),
    ?assertEqual({ack, State}, Call(fun() -> ack end)),
    ?assertEqual({noack, State}, Call(fun() -> noack end)),
    ?assertEqual({error, why, State}, Call(fun() -> {error, why} end)),
    ?assertEqual({retry, 9, State}, Call(fun() -> {retry, 9} end)),
    ?assertEqual({skip, undefined, State}, Call(fun() -> skip end)),
    ?assertEqual({stop, why, State}, Call(fun() -> {stop, why} end)),
    ?assertMatch({crash, error, function_clause, _}, Call(fun() -> lists:max([]) end)),
    [
        ?assertMatch(
            {crash, error, {bad_return, {?MODULE, one, Bad}}, [{?MODULE, one, 1, []}]},
            Call(fun() -> Bad end)
        )
     || Bad <- [5, done, {}, {done, 5}, {retry, soon}]
    ].

what_may_be_returned_is_taken_test() ->
    %% What those are told to return who return something else is a verdict indeed.
    Taken = fun(Return, Given) -> element(1, crema_handler:call(Given, Return, state)) =/= crash end,
    Sample = fun Sample(Return) ->
        case Return of
            _ when is_tuple(Return) -> list_to_tuple([Sample(E) || E <- tuple_to_list(Return)]);
            'Messages' -> [];
            Number when Number =:= 'UpTo'; Number =:= 'Millis' -> 7;
            Atom -> Atom
        end
    end,
    Module = crema_handler:new({?MODULE, []}),
    Function = crema_handler:new(fun ?MODULE:one/1),
    [
        begin
            [] = [R || R <- Returns, not Taken(Make(Sample(R)), Handler)],
            %% And nothing else: the names tell how many there are.
            [] = [R || R <- Returns, Taken(Make({more, R}), Handler)]
        end
     || {Handler, Returns, Make} <- [
            {Module, crema_handler:returns(handle_message, 2), fun(R) -> fun(_) -> R end end},
            {Function, crema_handler:returns(one, 1), fun(R) -> fun() -> R end end}
        ]
    ],
    Start = fun(Options) ->
        crema_handler:start(crema_handler:new({?MODULE, Options}), #{})
    end,
    [_, {ok, 'State', Options}] = crema_handler:returns(init, 2),
    ?assertMatch({ok, state, 5}, Start(Options#{start := 5})).

where_to_begin_test() ->
    %% init/2 says so in a map or a list; anything else is a crash.
    Start = fun(Options) ->
        Handler = crema_handler:new({?MODULE, Options}),
        crema_handler:start(Handler, #{})
    end,
    ?assertEqual({ok, state, 5}, Start(#{start => 5})),
    ?assertEqual({ok, state, latest}, Start([{start, latest}])),
    [
        ?assertMatch({crash, error, {bad_return, {?MODULE, init, _}}, [_]}, Start(Bad))
     || Bad <- [5, [], #{}, [{start, -1}], [{start, 5}, more], #{start => tomorrow}]
    ].
