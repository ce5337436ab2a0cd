%% The options that say what follows a failure.
-module(crema_failure_options_tests).

-include_lib("eunit/include/eunit.hrl").

parse(Given) ->
    crema_options:parse(consumer, maps:merge(
        #{
            bootstrap_servers => <<"h:1">>,
            group => <<"g">>,
            topics => [<<"t">>],
            handler => fun(_) -> ok end
        },
        Given
    )).

%% The options at fault.
faults(Given) ->
    case parse(Given) of
        {ok, _} -> [];
        {error, {bad_options, #{faults := Faults}}} -> [O || #{option := O} <- Faults]
    end.

value(Name, Given) ->
    {ok, Parsed} = parse(Given),
    %% It may be parsed again.
    {ok, Again} = crema_options:parse(consumer, Parsed),
    ?assertEqual(maps:get(Name, Parsed), maps:get(Name, Again)),
    maps:get(Name, Parsed).

policies_in_any_form_test() ->
    %% A list of rows, of maps or keyword lists, or one policy for all.
    Policy = #{retries => 3, then => skip},
    ?assertEqual([], value(failures, #{failures => []})),
    ?assertEqual([{default, Policy}], value(failures, #{failures => Policy})),
    ?assertEqual([{default, Policy}], value(failures, #{failures => [{retries, 3}, {then, skip}]})),
    ?assertEqual(
        [{crash, Policy}, {default, #{backoff => {1, 2}}}],
        value(failures, #{
            failures => [{crash, [{retries, 3}, {then, skip}]}, {default, #{backoff => {1, 2}}}]
        })
    ).

wrong_policies_test() ->
    %% What is no policy, or says not what follows, or hides others, is a fault.
    Wrong = [
        nonsense,
        #{retries => 3},
        #{retries => -1, then => skip},
        #{retries => 1, then => explode},
        #{retries => 1, then => skip, more => 1},
        #{backoff => {5, 1}},
        [{crash, #{}}],
        [{"crash", #{retries => 1, then => skip}}],
        [{default, #{then => skip}}, {crash, #{then => skip}}],
        #{crash => #{then => skip}},
        [crash]
    ],
    ?assertEqual([], [W || W <- Wrong, faults(#{failures => W}) =/= [failures]]).

wrong_policies_are_told_test() ->
    %% The fault names the policy, and what of it is wrong.
    Told = [
        {#{retries => 3}, "no then in the policy for default"},
        {[{crash, #{retries => 3}}], "no then in the policy for crash"},
        {[{crash, #{retries => -1, then => skip}}], "for crash, retries"},
        {[{crash, #{retries => 1, then => explode}}], "for crash, a then"},
        {#{backoff => {5, 1}}, "for default, a backoff"},
        {#{retry => 3, then => skip}, "for default, retry, where"},
        {#{then => dead_letter, dead_letter => "d"}, "dead_letter, which is an option of its own"},
        {[{crash, #{}}], "no policy for crash"},
        {[{'Elixir.My.Error', 5}], "no policy for My.Error"},
        {[{"crash", #{then => skip}}], "no atom: \"crash\""},
        {[{default, #{then => skip}}, {crash, #{then => skip}}], "default before others"}
    ],
    [
        begin
            {error, {bad_options, #{message := Text}}} = parse(#{failures => Wrong}),
            ?assertNotEqual(nomatch, string:find(Text, Part), Text)
        end
     || {Wrong, Part} <- Told
    ].

ends_that_never_come_are_told_test() ->
    %% What follows retries without end is warned about: it is not what was meant.
    Warned = fun(Policy) -> value(warnings, #{failures => Policy}) end,
    ?assertMatch(
        [<<"the policy for default in failures has then => skip, which never follows", _/binary>>],
        Warned(#{then => skip})
    ),
    ?assertMatch([_], Warned([{crash, #{retries => infinity, then => stop}}])),
    ?assertEqual([], Warned(#{retries => infinity})),
    ?assertEqual([], Warned(#{retries => 0, then => skip})).

what_belongs_together_test() ->
    %% What a policy sends to must be there, and be another topic than those consumed.
    Retry = #{retries => 1, then => retry_topic},
    Dead = #{retries => 1, then => dead_letter},
    Topics = #{retry_topics => [{<<"r">>, 10}], dead_letter => #{topic => <<"d">>}},
    ?assertEqual([failures], faults(#{failures => Retry})),
    ?assertEqual([failures], faults(#{failures => Dead})),
    ?assertEqual([], faults(Topics#{failures => Retry})),
    ?assertEqual([retry_topics], faults(#{retry_topics => [{<<"r">>, 10}]})),
    ?assertEqual([dead_letter], faults(#{dead_letter => #{topic => <<"t">>}})),
    ?assertEqual([dead_letter], faults(#{dead_letter => #{topic => <<"td">>}, topics => <<"^t.*">>})),
    ?assertEqual([], faults(#{dead_letter => #{topic => <<"d">>}, topics => [<<"^t.*">>, <<"^(">>]})),
    ?assertEqual([retry_topics], faults(Topics#{retry_topics := [{<<"t">>, 10}]})),
    ?assertEqual([retry_topics], faults(Topics#{retry_topics := [{<<"r">>, 10}, {<<"r">>, 20}]})),
    ?assertEqual([retry_topics], faults(Topics#{retry_topics := [{<<"no blanks">>, 10}]})),
    ?assertEqual([handler_timeout], faults(#{handler_timeout => 300001})),
    ?assertEqual([], faults(#{handler_timeout => infinity})),
    ?assertEqual(
        [handler_timeout],
        faults(#{handler_timeout => 7000, kafka => #{'max.poll.interval.ms' => 6000}, drain_timeout => 10})
    ).

dead_letters_by_name_test() ->
    %% The topic alone is enough, as a text of any kind; what is no topic's name is a fault.
    [
        ?assertMatch(
            #{topic := <<"orders-dead">>, producer := Own} when is_function(Own, 0),
            value(dead_letter, #{dead_letter => Given})
        )
     || Given <- [<<"orders-dead">>, "orders-dead", 'orders-dead', [{topic, "orders-dead"}]]
    ],
    ?assertEqual([dead_letter], faults(#{dead_letter => <<"t">>})),
    Wrong = [<<>>, "", true, <<"no blanks">>, 5, [<<"d">>], {<<"d">>, p}, #{}],
    ?assertEqual([], [W || W <- Wrong, faults(#{dead_letter => W}) =/= [dead_letter]]).

own_producer_test() ->
    %% A producer of the consumer's own reaches brokers as the consumer does; its own
    %% options go before that, and are checked with the consumer's.
    Kafka = #{
        'security.protocol' => ssl, 'sasl.password' => "hunter2", 'session.timeout.ms' => 6000,
        'ssl.ca.location' => "/ca"
    },
    Given = fun(Producer) ->
        #{kafka => Kafka, dead_letter => #{topic => dead, producer => Producer}}
    end,
    {ok, Parsed} = parse(Given(#{kafka => #{"ssl.ca.location" => "/other"}})),
    ?assertEqual(nomatch, string:find(io_lib:format("~p", [Parsed]), "hunter2")),
    {own, Options} = crema_failure_options:producer(Parsed),
    {ok, #{kafka := Own, bootstrap_servers := <<"h:1">>}} =
        crema_options:parse(producer, Options()),
    ?assertMatch(
        #{<<"security.protocol">> := <<"ssl">>, <<"ssl.ca.location">> := <<"/other">>}, Own
    ),
    ?assertEqual(<<"hunter2">>, (maps:get(<<"sasl.password">>, Own))()),
    ?assertNot(is_map_key(<<"session.timeout.ms">>, Own)),
    ?assertEqual([dead_letter], faults(Given(#{no_such_option => 1}))),
    ?assertEqual([dead_letter], faults(Given(true))),
    {ok, Named} = parse(Given(my_producer)),
    ?assertEqual({given, my_producer}, crema_failure_options:producer(Named)),
    {ok, None} = parse(#{}),
    ?assertEqual(none, crema_failure_options:producer(None)).

limits_test() ->
    %% A handler's time is max.poll.interval.ms unless the option says otherwise.
    Limit = fun(Given) ->
        {ok, Parsed} = parse(Given),
        crema_failure_options:limit(Parsed)
    end,
    ?assertEqual({300000, kill}, Limit(#{})),
    ?assertEqual({60000, kill}, Limit(#{kafka => #{'max.poll.interval.ms' => 60000}})),
    ?assertEqual({500, kill}, Limit(#{handler_timeout => 500})),
    ?assertEqual({300000, leave}, Limit(#{handler_timeout => infinity})).

budgets_test() ->
    %% A budget has a number, a time and what follows.
    ?assertEqual(infinity, value(max_restarts, #{})),
    ?assertEqual({0, 1, pause}, value(max_restarts, #{max_restarts => {0, 1, pause}})),
    Wrong = [5, {5, 1000}, {5, 0, stop}, {-1, 5, stop}, {5, 5, skip}],
    ?assertEqual([], [W || W <- Wrong, faults(#{max_restarts => W}) =/= [max_restarts]]).
