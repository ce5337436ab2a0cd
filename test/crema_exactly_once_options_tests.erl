-module(crema_exactly_once_options_tests).

-include_lib("eunit/include/eunit.hrl").

-define(GIVEN, #{
    bootstrap_servers => "b:9092",
    group => "g",
    topics => ["t"],
    handler => fun(_) -> ok end,
    commit => exactly_once
}).

parse(Options) ->
    crema_options:parse(consumer, maps:merge(?GIVEN, Options)).

producer(Options) ->
    {ok, Parsed} = parse(Options),
    crema_exactly_once_options:producer(Parsed).

faults(Options) ->
    {error, {bad_options, #{faults := Faults}}} = parse(Options),
    [Option || #{option := Option} <- Faults].

rules_test() ->
    Id = #{transactional_id => "id"},
    ?assertEqual([transactional_id], faults(#{})),
    ?assertEqual(
        [{kafka, <<"isolation.level">>}],
        faults(Id#{kafka => #{'isolation.level' => read_uncommitted}})
    ),
    ?assertEqual([concurrency], faults(Id#{concurrency => {key, 2}})),
    ?assertEqual([producer], faults(Id#{producer => #{nothing => 1}})),
    ?assertEqual([producer], faults(Id#{producer => none})),
    ?assertEqual([producer], faults(Id#{producer => #{bootstrap_servers => "other:9092"}})),
    ?assertMatch({ok, #{warnings := []}}, parse(Id)).

%% An option that would do nothing is refused, unless it has its default.
idle_test() ->
    Others = #{
        transactional_id => "id", transaction_interval => 99, transaction_bytes => 5,
        producer => #{max_queue_messages => 7}
    },
    [
        ?assertEqual(lists:sort(maps:keys(Others)), lists:sort(faults(Others#{commit => Commit})))
     || Commit <- [auto, transaction, external]
    ],
    Defaults = #{transaction_interval => 100, producer => [], transactional_id => nil},
    ?assertMatch({ok, _}, parse(Defaults#{commit => auto})),
    Id = #{transactional_id => "id"},
    Later = Id#{ack_timeout => 1, remote_ack_timeout => 2},
    ?assertEqual([ack_timeout, remote_ack_timeout], faults(Later)),
    Letters = fun(Producer) -> Id#{dead_letter => #{topic => "d", producer => Producer}} end,
    ?assertEqual([dead_letter], faults(Letters(some_producer))),
    ?assertEqual([dead_letter], faults(Letters(#{max_queue_messages => 7}))),
    {ok, Parsed} = parse(Id#{dead_letter => #{topic => "d"}}),
    ?assertMatch({ok, _}, crema_options:parse(consumer, Parsed)).

id_test() ->
    Id = fun(#{kafka := #{<<"transactional.id">> := Value}}) -> Value end,
    Static = #{kafka => #{'group.instance.id' => "one"}},
    ?assertEqual(<<"g-one">>, Id(producer(Static))),
    ?assertEqual(<<"given">>, Id(producer(Static#{transactional_id => "given"}))).

%% The way to the brokers is the consumer's, and of the rest nothing.
properties_test() ->
    #{kafka := Kafka} = Options = producer(#{
        transactional_id => "id",
        kafka => #{
            'security.protocol' => sasl_ssl, 'sasl.mechanism' => 'PLAIN', 'sasl.password' => "secret",
            'session.timeout.ms' => 6000
        },
        producer => #{max_queue_messages => 7, kafka => #{'linger.ms' => 3}}
    }),
    {ok, #{bootstrap_servers := <<"b:9092">>, max_queue_messages := 7, warnings := []}} =
        crema_options:parse(producer, Options),
    #{<<"sasl.password">> := Secret} = Kafka,
    ?assertEqual({ok, <<"secret">>}, crema_secret:reveal(Secret)),
    ?assertEqual(
        #{
            <<"transactional.id">> => <<"id">>,
            <<"transaction.timeout.ms">> => <<"15000">>,
            <<"linger.ms">> => <<"3">>,
            <<"security.protocol">> => <<"sasl_ssl">>,
            <<"sasl.mechanism">> => <<"PLAIN">>
        },
        maps:remove(<<"sasl.password">>, Kafka)
    ).

%% Parsed options may be parsed again, and show no secret.
again_test() ->
    {ok, Parsed} = parse(#{
        transactional_id => "id", producer => #{kafka => #{'ssl.key.password' => "secret"}}
    }),
    ?assertMatch({ok, _}, crema_options:parse(consumer, Parsed)),
    ?assertEqual(nomatch, string:find(lists:flatten(io_lib:format("~0p", [Parsed])), "\"secret\"")).
