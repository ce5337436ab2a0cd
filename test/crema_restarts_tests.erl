%% How often a worker is started again, and what the next one is told.
-module(crema_restarts_tests).

-include_lib("eunit/include/eunit.hrl").

work(Budget, Failures) ->
    Options = #{
        backoff => {10, 100}, failures => Failures, retry_topics => [], max_restarts => Budget
    },
    #{options => Options, policies => crema_failure:policies(Options)}.

failure(Offset, Attempts) ->
    #{
        kind => crash, class => error, reason => planned, topic => <<"t">>, partition => 0,
        offset => Offset, attempts => Attempts
    }.

crashed(Failure, Now, Work, Restarts) ->
    {_, Action, Delay, Why, After} = crema_restarts:crashed(Failure, true, Now, Work, Restarts),
    {{Action, Delay, Why}, After}.

budget_test() ->
    %% So many within the period and no more; those before it do not count.
    Work = work({2, 1000, pause}, []),
    {Done, _} = lists:mapfoldl(
        fun(Now, Restarts) ->
            {{Action, _, Why}, After} = crashed(failure(1, 1), Now, Work, Restarts),
            {{Action, Why}, After}
        end,
        crema_restarts:new(),
        [0, 500, 1000, 1200, 1400]
    ),
    ?assertEqual(
        [{retry, policy}, {retry, policy}, {retry, policy}, {pause, exhausted}, {pause, exhausted}],
        Done
    ).

by_message_test() ->
    %% The next worker is told of each message at which one has ended, by offset.
    Work = work(infinity, [{default, #{retries => 1, then => skip}}]),
    {{retry, _, policy}, One} = crashed(failure(7, 1), 0, Work, crema_restarts:new()),
    {{skip, _, policy}, Two} = crashed(failure(9, 2), 0, Work, One),
    ?assertMatch(
        #{7 := {#{attempts := 1}, retry, true}, 9 := {#{attempts := 2}, skip, true}},
        crema_restarts:failed(Two)
    ),
    {{skip, _, _}, Three} = crashed(failure(7, 2), 0, Work, Two),
    ?assertMatch(#{7 := {_, skip, _}, 9 := _}, crema_restarts:failed(Three)),
    Many = lists:foldl(
        fun(N, Acc) -> element(2, crashed(failure(N, 1), 0, Work, Acc)) end,
        Three,
        lists:seq(1, 1000)
    ),
    ?assertEqual(100, map_size(crema_restarts:failed(Many))).

small_test() ->
    %% What is remembered keeps nothing alive but what the next worker needs of it.
    Batch = binary:copy(<<"x">>, 1000000),
    <<_:100/binary, Part:200/binary, _/binary>> = Batch,
    Failure = (failure(7, 1))#{reason => {bad, #{value => Part}}},
    Remembered = fun(Policy) ->
        {_, After} = crashed(Failure, 0, work(infinity, [{default, Policy}]), crema_restarts:new()),
        #{7 := {#{reason := Reason}, _, true}} = crema_restarts:failed(After),
        Reason
    end,
    {bad, #{value := Kept}} = Remembered(#{retries => 0, then => skip}),
    ?assertEqual(Part, Kept),
    ?assert(binary:referenced_byte_size(Kept) < 1000),
    ?assertEqual(told, Remembered(#{retries => 1, then => skip})).

without_a_message_test() ->
    %% Without a message there is nothing to skip: it is tried again, with growing
    %% waits, until a worker has run for longer than any of them.
    Work = work(infinity, [{default, #{retries => 0, then => skip}}]),
    Crash = fun(Started, Now, Before) ->
        crashed(failure(none, 1), Now, Work, crema_restarts:started(Started, Before))
    end,
    {{retry, First, policy}, One} = Crash(0, 0, crema_restarts:new()),
    {{retry, Second, policy}, Two} = Crash(20, 20, One),
    {{retry, Third, policy}, Three} = Crash(40, 40, Two),
    ?assert(First =< 10 andalso Second =< 20 andalso Second >= 10 andalso Third >= 20),
    {{retry, Fourth, policy}, _} = Crash(80, 300, Three),
    ?assert(Fourth =< 10),
    ?assertEqual(#{}, crema_restarts:failed(Three)),
    Pause = work(infinity, [{default, #{retries => 0, then => pause}}]),
    ?assertMatch({{pause, _, policy}, _}, crashed(failure(none, 1), 0, Pause, Three)).
