-module(crema_properties_tests).

-include_lib("eunit/include/eunit.hrl").

%% This module stands for a consumer's handler.
-export([handle_message/2]).

-define(PRODUCER, #{bootstrap_servers => <<"h:1">>}).
-define(CONSUMER, #{
    bootstrap_servers => <<"h:1">>, group => <<"g">>, topics => [<<"t">>], handler => ?MODULE
}).

handle_message(_Message, State) -> {ack, State}.

properties_become_text_test() ->
    %% Keys and values of every form a person writes become librdkafka's text.
    {Properties, []} = crema_properties:parse(producer, [
        {"string", "value"}, {atom, true}, {<<"bin">>, 12}, {half, 0.5}, {none, none},
        {utf8, "ž"}, {bytes, [<<200>>, <<"x">>]}, {empty, <<>>}, flag
    ]),
    ?assertEqual(
        #{
            <<"string">> => <<"value">>, <<"atom">> => <<"true">>, <<"bin">> => <<"12">>,
            <<"half">> => <<"0.5">>, <<"none">> => <<"none">>, <<"utf8">> => <<"ž"/utf8>>,
            <<"bytes">> => <<200, "x">>, <<"empty">> => <<>>, <<"flag">> => <<"true">>
        },
        Properties
    ).

wrong_properties_test() ->
    %% A property without a value, twice, or not writable as text is a fault.
    Faults = fun(Kafka) ->
        {_, Found} = crema_properties:parse(producer, Kafka),
        [Option || #{option := Option} <- Found]
    end,
    ?assertEqual([{kafka, <<"a">>}], Faults(#{a => nil})),
    ?assertEqual([{kafka, <<"a">>}], Faults(#{a => self()})),
    ?assertEqual([{kafka, <<"a">>}], Faults(#{a => <<"x", 0>>})),
    ?assertEqual([{kafka, 1}], Faults(#{1 => a})),
    ?assertEqual([{kafka, ""}], Faults(#{"" => a})),
    ?assertEqual([{kafka, {element, 1}}], Faults([{a, b, c}])),
    ?assertEqual([{kafka, <<"a">>}], Faults([{a, 1}, {"a", 2}])),
    ?assertEqual([{kafka, <<"max.in.flight">>}], Faults([
        {'max.in.flight.requests.per.connection', 1}, {'max.in.flight', 2}
    ])).

owned_properties_are_refused_test() ->
    %% Each property that crema owns is refused with what to use instead, and any callback.
    [
        begin
            {Properties, Faults} = crema_properties:parse(Scope, #{Property => <<"1">>}),
            ?assertEqual(#{}, Properties),
            [#{option := {kafka, Property}, reason := Reason}] = Faults,
            ?assertMatch(<<"belongs to crema: ", _/binary>>, Reason),
            ?assertMatch({_, _}, binary:match(crema_owned:doc(Scope), Property))
        end
     || Scope <- [producer, consumer], {Property, _} <- crema_owned:table(Scope)
    ],
    ?assertNotEqual(none, crema_owned:refusal(consumer, <<"rebalance_cb">>)),
    ?assertNotEqual(none, crema_owned:refusal(producer, <<"ssl.certificate.verify_cb">>)),
    ?assertEqual(none, crema_owned:refusal(producer, <<"linger.ms">>)).

producer_properties_test() ->
    %% A producer's list is crema's defaults under the user's properties.
    List = properties(producer, ?PRODUCER#{kafka => #{'linger.ms' => 0, 'client.id' => me}}),
    ?assertEqual(
        [
            {<<"acks">>, <<"all">>},
            {<<"bootstrap.servers">>, <<"h:1">>},
            {<<"client.id">>, <<"me">>},
            {<<"enable.idempotence">>, <<"true">>},
            {<<"linger.ms">>, <<"0">>},
            {<<"log.queue">>, <<"true">>},
            {<<"message.timeout.ms">>, <<"150000">>},
            {<<"queue.buffering.max.kbytes">>, <<"2147483647">>},
            {<<"queue.buffering.max.messages">>, <<"0">>},
            {<<"socket.nagle.disable">>, <<"true">>}
        ],
        List
    ),
    Loose = properties(producer, ?PRODUCER#{ordering => loose}),
    ?assertEqual(
        [<<"5">>, none, none],
        [
            proplists:get_value(Key, Loose, none)
         || Key <- [
                <<"max.in.flight.requests.per.connection">>, <<"enable.idempotence">>, <<"acks">>
            ]
        ]
    ).

tls_properties_test() ->
    %% Wherever there is TLS brokers are verified, unless the user says otherwise.
    Verified = [
        {<<"enable.ssl.certificate.verification">>, <<"true">>},
        {<<"ssl.endpoint.identification.algorithm">>, <<"https">>}
    ],
    Tls = fun(Kafka) ->
        List = properties(producer, ?PRODUCER#{kafka => Kafka}),
        [Property || {Key, _} = Property <- List, lists:keymember(Key, 1, Verified)]
    end,
    ?assertEqual(Verified, Tls(#{'security.protocol' => ssl})),
    Login = #{'sasl.mechanism' => 'PLAIN'},
    ?assertEqual(Verified, Tls(Login#{"security.protocol" => "SASL_SSL"})),
    ?assertEqual([], Tls(Login#{'security.protocol' => sasl_plaintext})),
    ?assertEqual([], Tls(#{})),
    ?assertEqual(
        lists:keyreplace(
            <<"ssl.endpoint.identification.algorithm">>, 1, Verified,
            {<<"ssl.endpoint.identification.algorithm">>, <<"none">>}
        ),
        Tls(#{
            'security.protocol' => ssl, 'ssl.endpoint.identification.algorithm' => none
        })
    ).

transactional_properties_test() ->
    %% Time-outs of a transactional producer nest, also around the user's own.
    Timeouts = fun(Kafka) ->
        List = properties(producer, ?PRODUCER#{kafka => Kafka#{'transactional.id' => x}}),
        [
            proplists:get_value(Key, List)
         || Key <- [<<"message.timeout.ms">>, <<"transaction.timeout.ms">>]
        ]
    end,
    ?assertEqual([<<"150000">>, <<"165000">>], Timeouts(#{})),
    ?assertEqual([<<"54545">>, <<"60000">>], Timeouts(#{'transaction.timeout.ms' => 60000})),
    ?assertEqual([<<"150000">>, <<"900000">>], Timeouts(#{'transaction.timeout.ms' => 900000})),
    ?assertEqual([<<"150000">>, <<"soon">>], Timeouts(#{'transaction.timeout.ms' => soon})).

alias_replaces_default_test() ->
    %% A property given by its alias is not set a second time by its other name.
    List = properties(producer, ?PRODUCER#{kafka => #{'delivery.timeout.ms' => 1}}),
    ?assertEqual(<<"1">>, proplists:get_value(<<"delivery.timeout.ms">>, List)),
    ?assertNot(lists:keymember(<<"message.timeout.ms">>, 1, List)).

consumer_properties_test() ->
    %% A consumer's list carries what the contracts rest on.
    {ok, Parsed} = crema_options:parse(consumer, ?CONSUMER),
    List = crema_properties:kafka_properties(consumer, Parsed),
    [
        ?assertEqual({Key, Value}, lists:keyfind(Key, 1, List))
     || {Key, Value} <- [
            {<<"group.id">>, <<"g">>},
            {<<"enable.auto.commit">>, <<"true">>},
            {<<"enable.auto.offset.store">>, <<"false">>},
            {<<"auto.commit.interval.ms">>, <<"5000">>},
            {<<"auto.offset.reset">>, <<"error">>},
            {<<"enable.partition.eof">>, <<"true">>},
            {<<"partition.assignment.strategy">>, <<"cooperative-sticky">>},
            {<<"fetch.wait.max.ms">>, <<"100">>},
            {<<"queued.min.messages">>, <<"1000000">>},
            {<<"queued.max.messages.kbytes">>, <<"8192">>}
        ]
    ],
    ?assertNot(lists:keymember(<<"fetch.queue.backoff.ms">>, 1, List)),
    Known = #{known => fun(Key) -> Key =:= <<"fetch.queue.backoff.ms">> end},
    ?assertMatch(
        {_, <<"10">>},
        lists:keyfind(
            <<"fetch.queue.backoff.ms">>, 1,
            crema_properties:kafka_properties(consumer, Parsed, Known)
        )
    ),
    New = properties(consumer, ?CONSUMER#{kafka => #{'group.protocol' => consumer}}),
    ?assertNot(lists:keymember(<<"partition.assignment.strategy">>, 1, New)).

plugins_come_first_test() ->
    %% A plugin is loaded before the properties it knows are set.
    Kafka = #{'plugin.library.paths' => "x", 'a.plugins.property' => 1},
    ?assertMatch(
        [{<<"plugin.library.paths">>, <<"x">>} | _],
        properties(producer, ?PRODUCER#{kafka => Kafka})
    ).

find_and_integer_test() ->
    %% A property is found by its alias too; what is no integer is unknown.
    Properties = #{<<"max.in.flight">> => <<"7">>, <<"a">> => <<"x">>, <<"b">> => fun() -> 1 end},
    Name = <<"max.in.flight.requests.per.connection">>,
    ?assertEqual({ok, <<"max.in.flight">>, <<"7">>}, crema_properties:find(Name, Properties)),
    ?assertEqual(none, crema_properties:find(<<"c">>, Properties)),
    ?assertEqual(7, crema_properties:integer(Name, Properties, 5)),
    ?assertEqual(5, crema_properties:integer(<<"c">>, Properties, 5)),
    [?assertEqual(unknown, crema_properties:integer(K, Properties, 5)) || K <- [<<"a">>, <<"b">>]].

documentation_test() ->
    %% The documentation shows what crema sets, newer librdkafkas' included.
    Producer = crema_properties:doc(producer),
    ?assertMatch({_, _}, binary:match(Producer, <<"`acks` | all">>)),
    Consumer = crema_properties:doc(consumer),
    ?assertMatch({_, _}, binary:match(Consumer, <<"`fetch.queue.backoff.ms`">>)).

properties(Scope, Options) ->
    {ok, Parsed} = crema_options:parse(Scope, Options),
    crema_properties:kafka_properties(Scope, Parsed).
