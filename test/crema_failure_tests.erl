%% What follows a failure, and what is sent on of a message.
-module(crema_failure_tests).

-include_lib("eunit/include/eunit.hrl").

%% Named by a test.
-export([fatal/2]).

-define(MESSAGE, #{
    topic => <<"orders">>,
    partition => 3,
    offset => 17,
    key => <<"k">>,
    value => <<"v">>,
    headers => [{<<"a">>, <<"1">>}, {<<"a">>, undefined}],
    timestamp => 1234,
    timestamp_type => create,
    token => none
}).
-define(CONTEXT, #{group => <<"g">>, from => source, now => 5000}).

policies(Given) ->
    {ok, Failures} = crema_option_type:check(failures, Given),
    crema_failure:policies(#{failures => Failures, backoff => {8, 64}}).

failure(Kind, Reason, Attempts) ->
    #{
        kind => Kind, reason => Reason, attempts => Attempts,
        topic => <<"t">>, partition => 0, offset => 7
    }.

next(Kind, Reason, Attempts, Policies) ->
    crema_failure:next(failure(Kind, Reason, Attempts), source, policies(Policies)).

without_policies_forever_test() ->
    %% What no policy is for is tried again for ever, with the option's back-off.
    [
        begin
            {retry, Delay} = next(Kind, anything, Attempts, []),
            Full = min(64, 8 bsl min(Attempts - 1, 10)),
            ?assert(Delay =< Full andalso Delay * 2 >= Full, {Attempts, Delay})
        end
     || Kind <- [crash, timeout, returned], Attempts <- [1, 2, 3, 4, 5, 1000, 1000000]
    ].

retries_then_test() ->
    %% So many retries, then what the policy says; its own back-off holds.
    Policy = #{retries => 2, backoff => {1000, 1000}, then => skip},
    Next = [next(returned, x, Attempts, Policy) || Attempts <- [1, 2, 3, 4]],
    ?assertMatch([{retry, _}, {retry, _}, {skip, _}, {skip, _}], Next),
    ?assertEqual([], [D || {_, D} <- Next, D < 500 orelse D > 1000]),
    ?assertMatch({stop, _}, next(returned, x, 1, [{retries, 0}, {then, stop}])).

first_match_wins_test() ->
    %% By kind or by tag of the reason, the first that matches; then the default.
    Rows = [
        {badarg, #{retries => 0, then => skip}},
        {crash, #{retries => 0, then => dead_letter}},
        {timeout, #{retries => 0, then => pause}},
        {'Elixir.Some.Error', #{retries => 0, then => stop}},
        {default, #{retries => 0, then => retry_topic}}
    ],
    Then = fun(Kind, Reason) -> element(1, next(Kind, Reason, 1, Rows)) end,
    ?assertEqual(skip, Then(crash, badarg)),
    ?assertEqual(skip, Then(returned, {badarg, <<"secret">>})),
    ?assertEqual(dead_letter, Then(crash, {badmatch, x})),
    ?assertEqual(dead_letter, Then(crash, #{'__struct__' => 'Elixir.Some.Error'})),
    ?assertEqual(stop, Then(returned, #{'__struct__' => 'Elixir.Some.Error'})),
    ?assertEqual(pause, Then(timeout, x)),
    ?assertEqual(retry_topic, Then(returned, "no tag")),
    ?assertEqual(retry_topic, Then(returned, {{nested}, x})).

in_a_retry_topic_test() ->
    %% The delays are the retries of what would go to the next retry topic; other
    %% policies hold as they do at the source.
    Policies = policies([
        {slow, #{retries => 5, then => retry_topic}}, {default, #{retries => 5, then => skip}}
    ]),
    Next = fun(Reason, From) ->
        element(1, crema_failure:next(failure(returned, Reason, 1), From, Policies))
    end,
    ?assertEqual([retry, retry_topic], [Next(slow, From) || From <- [source, retry_topic]]),
    ?assertEqual([retry, retry], [Next(other, From) || From <- [source, retry_topic]]).

fatal_test() ->
    %% Only true is fatal; a function that raises is not.
    Failure = failure(crash, out_of_stock, 1),
    Is = fun(Fatal) -> crema_failure:is_fatal(Failure, Fatal) end,
    ?assertNot(Is(undefined)),
    ?assert(Is(fun(#{reason := Reason}) -> Reason =:= out_of_stock end)),
    ?assertNot(Is(fun(_) -> yes end)),
    ?assert(Is({?MODULE, fatal, [out_of_stock]})),
    Level = maps:get(level, logger:get_primary_config()),
    ok = logger:set_primary_config(level, none),
    ?assertNot(Is(fun(_) -> error(planned) end)),
    ok = logger:set_primary_config(level, Level).

fatal(#{reason := Reason}, Reason) -> true.

texts_have_no_data_test() ->
    %% A text tells kind, class, tag and place, and nothing that a message holds.
    Stack = [{some_module, handle, 2, [{file, "x.erl"}, {line, 12}]}],
    Texts = [
        crema_failure:text((failure(crash, {badmatch, <<"secret">>}, 1))#{
            class => error, stacktrace => Stack
        }),
        crema_failure:text(failure(returned, {refused, "secret"}, 1)),
        crema_failure:text(failure(returned, "secret", 1)),
        crema_failure:text(failure(returned, 'Elixir.Some.Error', 1)),
        crema_failure:text(failure(timeout, undefined, 1)),
        crema_failure:text((failure(crash, list_to_atom(lists:duplicate(250, $x)), 1))#{
            class => exit, stacktrace => [{m, f, [secret], []}]
        })
    ],
    ?assertMatch(
        [
            <<"crash error badmatch in some_module:handle/2 line 12">>,
            <<"returned refused">>,
            <<"returned">>,
            <<"returned Some.Error">>,
            <<"timeout">>,
            <<"crash exit xxx", _/binary>>
        ],
        Texts
    ),
    ?assertEqual([], [Text || Text <- Texts, binary:match(Text, <<"secret">>) =/= nomatch]),
    ?assertEqual([], [Text || Text <- Texts, byte_size(Text) > 200]).

%% ---- letters ---------------------------------------------------------------------

letter_test() ->
    %% Key, value and headers are kept; the headers behind tell where it comes from.
    Failure = failure(returned, {refused, x}, 4),
    #{topic := <<"dead">>, key := <<"k">>, value := <<"v">>, headers := Headers} =
        crema_dead_letter:letter(<<"dead">>, ?MESSAGE, Failure, ?CONTEXT),
    ?assertMatch([{<<"a">>, <<"1">>}, {<<"a">>, undefined} | _], Headers),
    ?assertEqual(
        {ok, #{
            topic => <<"orders">>, partition => 3, offset => 17, timestamp => 1234,
            group => <<"g">>, failure => <<"returned">>, reason => <<"returned refused">>,
            attempts => 4, time => 5000
        }},
        crema_dead_letter:origin(#{headers => Headers})
    ),
    ?assertEqual(none, crema_dead_letter:due(#{headers => Headers})),
    ?assertEqual(length(Headers), length(lists:usort(Headers))).

letter_of_letter_test() ->
    %% From a retry topic the origin is kept and attempts are added up. What comes
    %% from elsewhere with such headers is at its origin.
    Failure = failure(crash, x, 2),
    First = crema_dead_letter:letter(<<"r">>, ?MESSAGE, Failure, ?CONTEXT#{due => 9000}),
    #{headers := Headers} = First,
    ?assertEqual(9000, crema_dead_letter:due(First)),
    There = ?MESSAGE#{topic => <<"r">>, partition => 0, offset => 1, headers => Headers},
    Again = fun(From) ->
        Letter = crema_dead_letter:letter(<<"dead">>, There, Failure, ?CONTEXT#{from => From}),
        ?assertEqual(none, crema_dead_letter:due(Letter)),
        {ok, Origin} = crema_dead_letter:origin(Letter),
        ?assertEqual(11, length(maps:get(headers, Letter))),
        Origin
    end,
    ?assertMatch(#{topic := <<"orders">>, offset := 17, attempts := 4}, Again(retry_topic)),
    ?assertMatch(#{topic := <<"r">>, offset := 1, attempts := 2}, Again(source)).

broken_headers_test() ->
    %% Headers are anybody's: what is not ours is no origin, and never a crash.
    Headers = maps:get(headers, crema_dead_letter:letter(
        <<"r">>, ?MESSAGE, failure(crash, x, 1), ?CONTEXT
    )),
    [
        ?assertEqual(none, crema_dead_letter:origin(#{headers => Broken}))
     || Broken <- [
            [],
            tl(tl(tl(Headers))),
            lists:keyreplace(<<"crema-attempts">>, 1, Headers, {<<"crema-attempts">>, <<"x">>}),
            lists:keyreplace(<<"crema-origin-topic">>, 1, Headers, {<<"crema-origin-topic">>, nil})
        ]
    ],
    ?assertEqual(none, crema_dead_letter:due(#{headers => [{<<"crema-due">>, <<"soon">>}]})).

unsent_test() ->
    %% Those that were not delivered are left, with a reason.
    Letters = [one, two, three],
    Full = {queue_full, #{message => <<>>}},
    Sent = fun(Outcome) -> crema_dead_letter:unsent(Outcome, Letters) end,
    ?assertEqual([], Sent({sent, {ok, [{ok, #{}}, {ok, #{}}, {ok, skipped}]}})),
    ?assertEqual({[two], Full}, Sent({sent, {ok, [{ok, #{}}, {error, Full}, {ok, #{}}]}})),
    ?assertEqual({Letters, Full}, Sent({sent, {error, Full}})),
    ?assertMatch({Letters, {closed, _}}, Sent(killed)).

%% ---- retry topics ------------------------------------------------------------------

retry_topics_test() ->
    %% From the source to the first, from each to the next, and then it is dead.
    Topics = [{<<"a">>, 100}, {<<"b">>, 2000}],
    Next = fun(Topic) -> crema_retry_topics:next(Topic, 50, Topics) end,
    ?assertEqual({retry_topic, <<"a">>, 150}, Next(<<"orders">>)),
    ?assertEqual({retry_topic, <<"b">>, 2050}, Next(<<"a">>)),
    ?assertEqual(dead_letter, Next(<<"b">>)),
    ?assertEqual(
        [source, retry_topic], [crema_retry_topics:from(T, Topics) || T <- [<<"orders">>, <<"b">>]]
    ).

waits_test() ->
    %% Until it is due, and never longer than its topic says.
    Topics = [{<<"a">>, 100}],
    Wait = fun(Due, Now) -> crema_retry_topics:wait(<<"a">>, Due, Now, Topics) end,
    ?assertEqual([40, 0, 0, 100, 0], [
        Wait(1040, 1000), Wait(1000, 1000), Wait(900, 1000), Wait(99999, 1000), Wait(none, 1000)
    ]).
