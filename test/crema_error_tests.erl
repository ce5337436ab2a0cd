-module(crema_error_tests).

-include_lib("eunit/include/eunit.hrl").

make_appends_the_hint_test() ->
    %% A code with a hint gets it appended to the message, as a second sentence.
    {error, {closed, #{message := Message, topic := <<"t">>}}} =
        crema_error:make(closed, "the producer has stopped", #{topic => <<"t">>}),
    ?assertEqual(
        <<"the producer has stopped. ", (crema_error:hint(closed))/binary>>, Message
    ).

make_appends_the_hint_once_test() ->
    %% An error made again from its own message does not repeat the hint.
    {error, {_, #{message := Once}}} = crema_error:make(queue_full, <<"full.">>, #{}),
    ?assertMatch(
        {error, {queue_full, #{message := Once}}}, crema_error:make(queue_full, Once, #{})
    ).

make_without_a_hint_test() ->
    %% A code without a hint keeps its message, and a message in Extra is ignored.
    ?assertEqual(
        {error, {odd, #{message => <<"just so">>}}},
        crema_error:make(odd, ["just", $\s, <<"so">>], #{message => <<"no">>})
    ).

make_from_any_bytes_test() ->
    %% A message is valid UTF-8 and complete whatever bytes it was made from.
    [
        begin
            {error, {odd, #{message := Message}}} = crema_error:make(odd, Chars, #{}),
            ?assertEqual(Message, unicode:characters_to_binary(Message)),
            ?assertNotEqual(<<>>, Message)
        end
     || Chars <- [<<"caf", 233>>, [<<255>>, 300], "žluť", ["a" | b], [-1]]
    ].

from_kafka_names_test() ->
    %% librdkafka's names become codes: lower case, without the underscore.
    Codes = [
        {<<"_MSG_TIMED_OUT">>, msg_timed_out},
        {<<"UNKNOWN_TOPIC_OR_PART">>, unknown_topic_or_part},
        {<<"_ALL_BROKERS_DOWN">>, all_brokers_down},
        {<<"_FATAL">>, fatal},
        {<<"UNKNOWN">>, unknown}
    ],
    [
        begin
            ?assertEqual(Code, crema_error:code(Name)),
            ?assertMatch(
                {error, {Code, #{message := <<"Local: x", _/binary>>, retriable := true}}},
                crema_error:from_kafka(Name, <<"Local: x">>, #{retriable => true})
            )
        end
     || {Name, Code} <- Codes
    ].

from_kafka_makes_no_atom_of_garbage_test() ->
    %% What is no name of librdkafka's makes no atom; the name stays in the message.
    Garbage = [<<"ERR_123?">>, <<>>, <<"_">>, <<"lower">>, binary:copy(<<"A">>, 65), <<0, 255>>],
    Before = erlang:system_info(atom_count),
    [?assertEqual(unknown, crema_error:code(Name)) || Name <- Garbage],
    ?assertEqual(Before, erlang:system_info(atom_count)),
    ?assertMatch(
        {error, {unknown, #{message := <<"odd (ERR_123?). ", _/binary>>}}},
        crema_error:from_kafka(<<"ERR_123?">>, "odd", #{})
    ).

hints_cover_the_common_codes_test() ->
    %% Every common code tells a person what to do, in a whole sentence.
    Common = [
        unknown_topic_or_part, unknown_topic, unknown_partition, msg_size_too_large,
        msg_timed_out, all_brokers_down, transport, resolve, ssl, authentication, queue_full,
        batch_too_large, closed, timeout, stale_assignment, bad_options, driver_version,
        driver_missing, fatal, purge_queue, purge_inflight, producer_fenced
    ],
    [?assertNotEqual(<<>>, crema_error:hint(Code)) || Code <- Common],
    ?assertEqual(<<>>, crema_error:hint(no_such_code)),
    maps:foreach(
        fun(Code, {_, _, Hint}) ->
            ?assertEqual(Hint, crema_error:hint(Code))
        end,
        crema_error_table:rows()
    ).

format_is_a_sentence_test() ->
    %% A formatted error says what, where, and whether the message may be in the log.
    Error = crema_error:make(odd, "it broke", #{
        topic => <<"orders">>, partition => 3, status => possibly_persisted, retriable => true,
        fatal => false
    }),
    ?assertEqual(
        <<"odd: it broke (topic orders, partition 3, possibly in the log, may succeed later)">>,
        crema_error:format(Error)
    ).

format_takes_anything_test() ->
    %% Any term is printed, none raises, and no secret shows.
    {error, Reason} = Error = crema_error:make(odd, "it broke", #{}),
    ?assertEqual(<<"odd: it broke">>, crema_error:format(Reason)),
    ?assertEqual(crema_error:format(Reason), crema_error:format(Error)),
    Terms = [timeout, {error, closed}, {odd, #{}}, {odd, #{message => 1}}, [1 | 2], <<255>>],
    [?assert(is_binary(crema_error:format(Term))) || Term <- Terms],
    Secret = crema_error:format({error, #{"sasl.password" => <<"hunter2">>}}),
    ?assertEqual(nomatch, binary:match(Secret, <<"hunter2">>)).

format_states_of_a_message_test() ->
    %% Each status and flag has words of its own.
    Format = fun(Details) -> crema_error:format({odd, Details#{message => <<"m">>}}) end,
    ?assertEqual(<<"odd: m (not in the log)">>, Format(#{status => not_persisted})),
    ?assertEqual(<<"odd: m (in the log)">>, Format(#{status => persisted})),
    ?assertEqual(<<"odd: m (fatal)">>, Format(#{fatal => true})),
    ?assertEqual(<<"odd: m (abort the transaction)">>, Format(#{abortable => true})),
    ?assertEqual(<<"odd: m (index 2, field value)">>, Format(#{index => 2, field => value})).
