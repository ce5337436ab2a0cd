%% What a producer refuses, and whether its errors tell a person what to do.
-module(crema_refusal_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    wrong_messages/1, wrong_message_of_many/1, unknown_partition/1, too_large/1, no_broker/1,
    wrong_options/1, wrong_properties/1, wrong_call_options/1, misuse/1
]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        wrong_messages, wrong_message_of_many, unknown_partition, too_large, no_broker,
        wrong_options, wrong_properties, wrong_call_options, misuse
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

wrong_messages(Config) ->
    %% A message that is not as it must be is refused, with the field and the
    %% reason, and nothing is sent.
    P = crema_ct:producer(Config),
    Wrong = [
        {topic, #{value => <<"x">>}},
        {topic, #{topic => <<>>}},
        {topic, #{topic => undefined}},
        {topic, #{topic => 17}},
        {topic, #{topic => binary:copy(<<"x">>, 250)}},
        {key, #{topic => t, key => 1}},
        {value, #{topic => t, value => an_atom}},
        {value, #{topic => t, value => [256]}},
        {partition, #{topic => t, partition => -2}},
        {partition, #{topic => t, partition => 1 bsl 31}},
        {partition, #{topic => t, partition => <<"0">>}},
        {timestamp, #{topic => t, timestamp => -1}},
        {timestamp, #{topic => t, timestamp => 1 bsl 63}},
        {headers, #{topic => t, headers => x}},
        {headers, #{topic => t, headers => [x]}},
        {headers, #{topic => t, headers => [{1, <<"v">>}]}},
        {headers, #{topic => t, headers => [{<<"n">>, 1}]}},
        %% librdkafka would send it, and no consumer of its would see what follows
        {headers, #{topic => t, headers => [{<<"n", 0, "x">>, <<"v">>}]}},
        {headers, #{topic => t, headers => [{binary:copy(<<"n">>, 65536), <<"v">>}]}},
        {headers, #{topic => t, headers => [{h, <<>>} || _ <- lists:seq(1, 65536)]}},
        {valeu, #{topic => t, valeu => <<"x">>}},
        {message, not_a_map},
        {message, [{topic, t}]}
    ],
    told_of(crema:produce(P, #{topic => t, value => [99, 8364]}), "unicode:characters_to_binary"),
    told_of(crema:produce(P, #{<<"topic">> => t}), "the fields of a message are atoms"),
    told_of(crema:produce(P, #{topic => t, headers => #{size => large}}), "a value \\(of size\\) .*iodata"),
    {error, {bad_message, None}} = crema:produce_many(P, []),
    ?assertMatch(#{message := <<"messages must be a list of one message or more", _/binary>>}, None),
    ?assertNot(is_map_key(index, None)),
    [
        begin
            {error, {bad_message, #{field := Is, message := Text}}} = crema:produce(P, Message),
            ?assertEqual({Field, Message}, {Is, Message}),
            ?assertMatch({match, _}, re:run(Text, atom_to_list(Field)))
        end
     || {Field, Message} <- Wrong
    ],
    ?assertMatch(#{accepted := 0}, crema:info(P)).

wrong_message_of_many(Config) ->
    %% One bad message among many is named by its index, and nothing of the call
    %% is sent.
    P = crema_ct:producer(Config),
    Good = #{topic => t, value => <<"x">>},
    {error, {bad_message, Details}} =
        crema:produce_many(P, [Good, Good, Good#{value => 1.5}, Good#{partition => z}]),
    ?assertMatch(#{index := 2, field := value}, Details),
    told(Details, "message 2: value .* Nothing of the call was sent"),
    told_of(crema:produce_many(P, []), "one message or more"),
    ?assertMatch({error, {bad_message, _}}, crema:produce_many_async(P, [Good | Good])),
    ?assertMatch(#{accepted := 0}, crema:info(P)).

unknown_partition(Config) ->
    %% A partition that the topic does not have: the error tells which, that the
    %% message is not in the log, and what to do. Headers, keys and large values
    %% take other ways through librdkafka.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 2),
    Base = #{topic => Topic, partition => 9},
    [
        begin
            {error, {unknown_partition, Details}} = crema:produce(P, maps:merge(Base, More)),
            ?assertMatch(#{topic := Topic, partition := 9, status := not_persisted}, Details),
            told(Details, "Choose a partition")
        end
     || More <- [
            #{},
            #{key => <<"k">>, value => <<"v">>},
            #{value => binary:copy(<<"x">>, 100000)},
            #{headers => [{h, <<"1">>}]},
            #{headers => [{h, <<"1">>}], value => binary:copy(<<"x">>, 100000)},
            #{timestamp => 1}
        ],
        %% before the topic is known to librdkafka, and after
        _ <- [1, 2]
    ].

too_large(Config) ->
    %% A message over message.max.bytes is refused with the setting's name, and so
    %% is a value over max_payload_size, before anything is sent.
    P = crema_ct:producer(Config, #{max_payload_size => 1100000}),
    Value = binary:copy(<<"x">>, 1100000),
    {error, {msg_size_too_large, Details}} = crema:produce(P, #{topic => t, value => Value}),
    ?assertMatch(#{status := not_persisted}, Details),
    told(Details, "message.max.bytes"),
    Larger = [#{topic => t}, #{topic => t, value => [Value | "x"]}],
    {error, {bad_message, More}} = crema:produce_many(P, Larger),
    ?assertMatch(#{field := value, index := 1}, More),
    told(More, "1100001 bytes.* max_payload_size allows 1100000"),
    ?assertMatch(#{queue_messages := 0, queue_bytes := 0}, crema:info(P)).

no_broker(_Config) ->
    %% Without a broker a start succeeds, a message times out, and the errors say
    %% what to look at.
    P = crema_ct:unreachable(#{kafka => #{'message.timeout.ms' => 400}}),
    ?assertMatch(#{connected := false}, crema:status(P)),
    {error, {timeout, Ready}} = crema:await_ready(P, 1000),
    told(Ready, "bootstrap_servers"),
    {error, {msg_timed_out, Details}} = crema:produce(P, #{topic => t}),
    ?assertMatch(#{status := not_persisted, topic := <<"t">>}, Details),
    told(Details, "message.timeout.ms"),
    told(Details, "brokers").

%% What a shell says of an argument.
wrong_argument(Fun, Argument) ->
    try Fun() of
        Result -> error({returned, Result})
    catch
        error:badarg:Stack -> maps:get(Argument, crema_error:format_error(badarg, Stack))
    end.

told_of({error, {_, Details}}, Advice) -> told(Details, Advice).

told(#{message := Text}, Advice) ->
    ?assertMatch({match, _}, re:run(Text, Advice), Text).

wrong_options(_Config) ->
    %% Every wrong option is named, not the first only, with what it must be.
    {error, {bad_options, #{message := Text, faults := Faults}}} =
        crema_producer:start_link(#{on_ful => wait, full_timeout => soon, max_queue_bytes => 0}),
    ?assertEqual(
        lists:sort([on_ful, full_timeout, max_queue_bytes, bootstrap_servers]),
        lists:sort([Option || #{option := Option} <- Faults])
    ),
    [
        ?assertMatch({match, _}, re:run(Text, Part), Text)
     || Part <- ["on_full", "full_timeout must be an integer", "bootstrap_servers is required"]
    ].

wrong_properties(_Config) ->
    %% librdkafka's verdicts on its properties come back, on all of them, and with a name that it
    %% knows for one that is misspelt.
    process_flag(trap_exit, true),
    {error, {bad_options, #{message := Text, faults := Faults}}} =
        crema_producer:start_link(#{
            bootstrap_servers => "h:1",
            kafka => #{
                'linger.msx' => 1, 'batch.size' => "big", 'compression.type' => fast,
                'sasl.pasword' => x, 'nothing.of.the.kind' => y
            }
        }),
    ?assertEqual(
        [
            <<"batch.size">>, <<"compression.type">>, <<"linger.msx">>, <<"nothing.of.the.kind">>,
            <<"sasl.pasword">>
        ],
        lists:sort([Option || #{option := Option} <- Faults])
    ),
    [
        ?assertMatch({match, _}, re:run(Text, Part), Text)
     || Part <- [
            "batch.size", "compression.type", "\"linger.msx\", did you mean linger.ms\\?",
            "\"sasl.pasword\", did you mean sasl.password\\?",
            "No such configuration property: \"nothing.of.the.kind\"[;.]"
        ]
    ].

wrong_call_options(Config) ->
    %% A wrong option of a call is named before anything is sent.
    P = crema_ct:producer(Config),
    Wrong = [
        {timeout, -1}, {timeout, 1.5}, {full_timeout, soon}, {on_full, refuse}, {report, yes},
        {tag, -1}, {time_out, 1}
    ],
    [
        begin
            Answer = Produce(P, Given, #{Key => Value}),
            ?assertMatch({error, {bad_call, #{field := Key}}}, Answer),
            told_of(Answer, atom_to_list(Key))
        end
     || {Key, Value} <- Wrong,
        {Produce, Given} <- [
            {fun crema:produce/3, #{topic => t}},
            {fun crema:produce_async/3, #{topic => t}},
            {fun crema:produce_many/3, [#{topic => t}]},
            {fun crema:produce_many_async/3, [#{topic => t}]}
        ]
    ],
    Message = #{topic => t},
    told_of(crema:produce(P, Message, #{timeout => soon}), "timeout must be .*, not soon"),
    told_of(crema:produce_async(P, Message, #{report => fun() -> ok end}), "a function of one argument"),
    told_of(crema:produce(P, Message, #{time_out => 1}), "which are timeout, "),
    [
        ?assertMatch({error, {bad_call, #{field := options}}}, Produce(P, Message, Options))
     || Produce <- [fun crema:produce/3, fun crema:produce_async/3],
        Options <- [5000, [{timeout, 5000}], fun(_) -> ok end]
    ],
    ?assertMatch(#{accepted := 0}, crema:info(P)),
    {ok, Ref} = crema:produce_async(P, #{topic => t}),
    ?assertError(badarg, crema:await(Ref, -1)),
    ?assertError(badarg, crema:flush(P, never)),
    ?assertMatch({ok, _}, crema:await(Ref)),
    crema_ct:quiet().

misuse(Config) ->
    %% What is no reference is badarg; what is no producer or no client is told by
    %% its name, or is closed when it is a process.
    P = crema_ct:producer(Config),
    Cluster = proplists:get_value(cluster, Config),
    ?assertError(badarg, crema:await(make_ref())),
    {ok, Ref} = crema:produce_async(P, #{topic => t}),
    Reasons = [
        {fun() -> crema:await({ok, Ref}) end, 1, "match it first"},
        {fun() -> crema:await(ok) end, 1, "called back"},
        {fun() -> crema:await(make_ref()) end, 1, "asynchronous call"},
        {fun() -> crema:await(Ref, -1) end, 2, "infinity"},
        {fun() -> crema:await_many(Ref, 0) end, 1, "list of references"},
        {fun() -> crema:await_many([Ref], soon) end, 2, "infinity"},
        {fun() -> crema:completed({ok, Ref}) end, 1, "match it first"},
        {fun() -> crema:abort(P, why) end, 1, "handle"},
        {fun() -> crema:send_offsets(P, P, []) end, 1, "handle"},
        {fun() -> crema:push(P, #{value => <<>>}) end, 1, "crema:topic/3"}
    ],
    [
        ?assertMatch({{match, _}, _}, {re:run(wrong_argument(Fun, Argument), Part), Part})
     || {Fun, Argument, Part} <- Reasons
    ],
    ?assertMatch({ok, _}, crema:await(Ref)),
    NotFound = [
        crema:produce(no_such_name, #{topic => t}),
        crema:produce_async({global, no_such_name}, #{topic => t, value => binary:copy(<<"x">>, 100000)}),
        crema:flush(no_such_name, 1000),
        crema:await_ready(no_such_name, 1000)
    ],
    ?assertEqual(#{not_found => 4}, crema_ct:results(NotFound)),
    [told_of(Answer, "under the name .*no_such_name") || Answer <- NotFound],
    ?assertMatch({error, {closed, _}}, crema:produce(self(), #{topic => t})),
    told_of(crema:produce(Cluster, #{topic => t}), "is a cluster, not a producer"),
    %% Who hears of a client's end before its row is gone is told of the end.
    ?assertMatch({error, {closed, _}}, crema_registry:missing(client, P)),
    ?assertMatch({error, {closed, _}}, crema_registry:missing(producer, P)),
    ?assertMatch({ok, _}, crema:produce(P, #{topic => t})),
    ?assertEqual(#{}, crema:info(self())),
    ?assertEqual(#{connected => false, running => false}, crema:status(self())),
    ?assertMatch({error, {closed, _}}, crema:await_ready(self(), 100)),
    told_of(crema_cluster:create_topic(Cluster, "no/topic", 1), "letters, digits").
