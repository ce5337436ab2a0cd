%% Variants of a producer: their settings, and their topics' configuration.
-module(crema_variant_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    every_call/1, settings/1, settings_of_a_full_queue/1, nested/1, wrong_options/1,
    refused_by_librdkafka/1, acks/1, compression/1, message_timeout/1, partitioner/1,
    conflict/1, conflict_of_many/1, conflict_of_a_waiter/1, no_conflict_with_itself/1,
    restarted_producer/1, idle_producer/1, no_producer/1, remembered/1
]).

-import(crema_ct_variant, [loose/1, loose/2, variant/2, message/0]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        every_call, settings, settings_of_a_full_queue, nested, wrong_options,
        refused_by_librdkafka, acks, compression, message_timeout, partitioner, conflict,
        conflict_of_many, conflict_of_a_waiter, no_conflict_with_itself,
        restarted_producer, idle_producer, no_producer, remembered
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

every_call(Config) ->
    %% A variant may stand wherever a producer may: each kind of call, and what
    %% tells of the producer.
    P = loose(Config),
    V = variant(P, #{topic_config => #{acks => 1}}),
    Message = #{topic => crema_ct:topic(Config, 1), partition => 0, value => <<"x">>},
    ?assertMatch({ok, #{offset := 0}}, crema:produce(V, Message)),
    ?assertMatch({ok, #{offset := 1}}, crema:produce(V, Message, #{timeout => 20000})),
    {ok, One} = crema:produce_async(V, Message),
    ?assertMatch({ok, #{offset := 2}}, crema:await(One)),
    ?assertMatch({ok, [{ok, _}, {ok, _}]}, crema:produce_many(V, [Message, Message])),
    {ok, Many} = crema:produce_many_async(V, [Message, Message]),
    ?assertMatch({ok, [{ok, _}, {ok, #{offset := 6}}]}, crema:await(Many)),
    ok = crema:produce_async(V, Message, #{report => message, tag => 5}),
    ?assertMatch([{5, {ok, _}}], crema_ct:reports(1)),
    Large = Message#{value => binary:copy(<<"x">>, 50000)},
    ?assertMatch({ok, #{offset := 8}}, crema:produce(V, Large)),
    {ok, Behind} = crema:produce_async(V, Large),
    ?assertMatch({ok, #{offset := 9}}, crema:await(Behind)),
    ok = crema:produce_async(V, Message, #{report => none}),
    ok = crema:flush(V, 10000),
    ok = crema:purge(V),
    ok = crema:await_ready(V, 10000),
    ?assertMatch(#{accepted := 11, reported := 11}, crema:info(V)),
    ?assertEqual(crema:status(P), crema:status(V)),
    crema_ct:quiet().

settings(_Config) ->
    %% A call is as patient as its options say, else the variant, else the
    %% producer.
    P = crema_ct:unreachable(#{request_timeout => 60000}),
    V = variant(P, #{timeout => 150}),
    {Time, Result} = crema_ct:timed(fun() -> crema:produce(V, message()) end),
    ?assertMatch({error, {timeout, #{ref := _}}}, Result),
    ?assert(Time >= 150 andalso Time < 10000, Time),
    {More, _} = crema_ct:timed(fun() -> crema:produce(V, message(), #{timeout => 400}) end),
    ?assert(More >= 400, More).

settings_of_a_full_queue(_Config) ->
    %% What a variant does about a full queue is its own affair.
    P = crema_ct:unreachable(#{max_queue_messages => 1, full_timeout => 60000}),
    ok = crema:produce_async(P, message(), #{report => none}),
    Hurried = variant(P, #{on_full => error}),
    ?assertMatch({error, {queue_full, _}}, crema:produce_async(Hurried, message())),
    Patient = variant(P, [{full_timeout, 200}]),
    {Time, Result} = crema_ct:timed(fun() -> crema:produce_async(Patient, message()) end),
    ?assertMatch({error, {queue_full, _}}, Result),
    ?assert(Time >= 200 andalso Time < 20000, Time).

nested(Config) ->
    %% A variant of a variant has what it is given over what that has.
    P = loose(Config),
    Outer = variant(P, #{timeout => 100, topic_config => #{acks => 0, 'request.timeout.ms' => 900}}),
    Inner = variant(Outer, #{timeout => 20000, topic_config => #{acks => 1}}),
    Same = variant(P, #{
        timeout => 20000, topic_config => #{acks => 1, <<"request.timeout.ms">> => "900"}
    }),
    ?assertEqual(Same, Inner),
    Message = #{topic => crema_ct:topic(Config, 1), partition => 0},
    ?assertMatch({ok, #{offset := 0}}, crema:produce(Inner, Message)),
    ?assertMatch({error, {topic_config_conflict, _}}, crema:produce(Outer, Message)),
    ?assertMatch({ok, #{offset := 1}}, crema:produce(Same, Message)).

wrong_options(Config) ->
    %% Every wrong option is named, and what is no property of a topic.
    P = loose(Config),
    {error, {bad_options, #{faults := Faults}}} = crema:variant(P, #{
        timeout => -1,
        on_full => sometimes,
        client => both,
        topicconfig => #{},
        topic_config => #{
            acks => 1, 'linger.ms' => 5, 'enable.idempotence' => true, 'delivery.timeout.ms' => nil
        }
    }),
    ?assertEqual(
        [
            client,
            on_full,
            timeout,
            topicconfig,
            {topic_config, <<"delivery.timeout.ms">>},
            {topic_config, <<"enable.idempotence">>},
            {topic_config, <<"linger.ms">>}
        ],
        lists:sort([Option || #{option := Option} <- Faults])
    ),
    ?assertMatch(
        {error, {bad_options, #{message := <<"a wrong option of a variant: topic_config ", _/binary>>}}},
        crema:variant(P, #{topic_config => #{acks => 1, 'request.required.acks' => 1}})
    ),
    ?assertMatch({error, {bad_options, _}}, crema:variant(P, #{topic_config => [1]})),
    ?assertMatch({error, {bad_options, _}}, crema:variant(P, [a | b])).

refused_by_librdkafka(Config) ->
    %% librdkafka's verdict on a value comes back at once, and so does ours on
    %% what it would only log.
    Loose = loose(Config),
    Strict = crema_ct:producer(Config),
    Refused = fun(P, Properties) ->
        {error, {bad_options, #{message := Text}}} =
            crema:variant(P, #{topic_config => Properties}),
        Text
    end,
    ?assertMatch({match, _}, re:run(Refused(Loose, #{acks => most}), "Invalid value")),
    ?assertMatch({match, _}, re:run(Refused(Loose, #{'compression.codec' => fast}), "compression")),
    ?assertMatch({match, _}, re:run(Refused(Loose, #{'delivery.timeout.ms' => 1}), "linger.ms")),
    ?assertMatch({match, _}, re:run(Refused(Strict, #{acks => all}), "idempotent")),
    ?assertMatch({match, _}, re:run(Refused(Strict, #{'request.required.acks' => 1}), "idempotent")),
    _ = variant(Strict, #{topic_config => #{'compression.codec' => gzip, partitioner => murmur2}}).

acks(Config) ->
    %% Without acknowledgements nobody knows an offset; other topics of the same
    %% client are acknowledged.
    P = loose(Config),
    V = variant(P, #{topic_config => #{acks => 0}}),
    {ok, Report} = crema:produce(V, #{topic => crema_ct:topic(Config, 1), partition => 0}),
    ?assert(maps:get(offset, Report) < 0, Report),
    {ok, #{offset := 0}} = crema:produce(P, #{topic => crema_ct:topic(Config, 1), partition => 0}).

compression(Config) ->
    %% A variant's messages are compressed, the producer's are not: what is sent
    %% tells them apart.
    P = crema_ct:producer(Config, #{kafka => #{'statistics.interval.ms' => 50}}),
    V = variant(P, #{topic_config => #{'compression.type' => gzip, 'compression.level' => 1}}),
    Value = binary:copy(<<"x">>, 500000),
    Sent = fun(Producer) ->
        Before = sent_bytes(P, Config),
        {ok, _} = crema:produce(Producer, #{topic => crema_ct:topic(Config, 1), value => Value}),
        sent_bytes(P, Config) - Before
    end,
    ?assert(Sent(V) < 250000),
    ?assert(Sent(P) >= 500000).

%% What the producer has sent until now. Statistics may be older than they come: these
%% follow those that count a message of now.
sent_bytes(P, Config) ->
    Topic = crema_ct:topic(Config, 1),
    Self = self(),
    Tell = fun(_, #{tx_bytes := Bytes}, #{client := Client, statistics := Whole}, _) ->
        Client =:= P andalso (Self ! {sent, Bytes, counts(Topic, Whole)})
    end,
    ok = crema_events:attach({?MODULE, Self}, [crema, client, statistics], Tell, none),
    {ok, _} = crema:produce(P, #{topic => Topic, partition => 0}),
    _ = next_sent(fun(Counted) -> Counted end),
    Bytes = next_sent(fun(_) -> true end),
    ok = crema_events:detach({?MODULE, Self}),
    forget_sent(),
    Bytes.

%% Whether a message to the topic is counted in statistics.
counts(Topic, #{<<"topics">> := Topics}) ->
    case Topics of
        #{Topic := #{<<"partitions">> := #{<<"0">> := #{<<"txmsgs">> := Count}}}} -> Count > 0;
        _ -> false
    end.

next_sent(Is) ->
    receive
        {sent, Bytes, Counted} ->
            case Is(Counted) of
                true -> Bytes;
                false -> next_sent(Is)
            end
    after 20000 -> error(no_statistics)
    end.

forget_sent() ->
    receive
        {sent, _, _} -> forget_sent()
    after 0 -> ok
    end.

message_timeout(_Config) ->
    %% Messages of a variant give up in the variant's time, those of the producer
    %% in its own.
    P = crema_ct:unreachable(#{}),
    V = variant(P, #{topic_config => #{'message.timeout.ms' => 300}}),
    {ok, Plain} = crema:produce_async(P, #{topic => patient}),
    {ok, Quick} = crema:produce_async(V, #{topic => hurried}),
    ?assertMatch({error, {msg_timed_out, #{topic := <<"hurried">>}}}, crema:await(Quick, 20000)),
    ?assertMatch({error, {timeout, _}}, crema:await(Plain, 0)).

partitioner(Config) ->
    %% A variant may choose partitions in its own way; a call's own option goes
    %% before it.
    P = crema_ct:producer(Config),
    V = variant(P, #{partitioner => fun(_, _, _, _) -> 2 end}),
    Message = #{topic => crema_ct:topic(Config, 4), key => <<"key8">>},
    ?assertMatch({ok, #{partition := 2}}, crema:produce(V, Message)),
    ?assertMatch({ok, #{partition := 3}}, crema:produce(V, Message#{partition => 3})),
    {ok, #{partition := Hashed}} = crema:produce(V, Message, #{partitioner => md5}),
    Md5 = variant(V, #{partitioner => md5, client => own}),
    ?assertMatch({ok, #{partition := Hashed}}, crema:produce(Md5, Message)),
    ?assertNotEqual({ok, 2}, {ok, Hashed}),
    Murmur = variant(P, #{partitioner => murmur2}),
    {ok, #{partition := Murmured}} = crema:produce(Murmur, Message),
    Second = crema_ct:producer(Config, #{partitioner => round_robin}),
    Librdkafkas = variant(Second, #{client => own, topic_config => #{partitioner => murmur2}}),
    ?assertMatch({ok, #{partition := Murmured}}, crema:produce(Librdkafkas, Message)),
    ?assertMatch(
        {ok, #{partition := Murmured}}, crema:produce(V, Message, #{partitioner => <<"murmur2">>})
    ),
    ?assertMatch({error, {bad_options, _}}, crema:variant(P, #{partitioner => luck})).

conflict(Config) ->
    %% The first to use a topic settles its configuration; who wants another is
    %% refused, in every form of a call, and told both.
    P = loose(Config),
    One = variant(P, #{topic_config => #{acks => 1}}),
    None = variant(P, #{topic_config => #{acks => 0, 'message.timeout.ms' => 5000}}),
    Topic = crema_ct:topic(Config, 1),
    {ok, _} = crema:produce(One, #{topic => Topic}),
    Calls = [
        fun(V, M) -> crema:produce(V, M) end,
        fun(V, M) -> crema:produce_async(V, M) end,
        fun(V, M) -> crema:produce_async(V, M, #{report => none}) end,
        fun(V, M) -> crema:produce_many(V, [M, M]) end,
        fun(V, M) -> crema:produce_many_async(V, [M, M], #{report => message}) end
    ],
    [
        begin
            {error, {topic_config_conflict, #{message := Text}}} = Call(V, #{
                topic => Topic, value => Value
            }),
            ?assertMatch({_, _}, binary:match(Text, Topic)),
            ?assertMatch({_, _}, binary:match(Text, <<"acks=1">>)),
            ?assertMatch({_, _}, binary:match(Text, Described))
        end
     || {V, Described} <- [
            {P, <<"the producer's own">>}, {None, <<"acks=0, message.timeout.ms=5000">>}
        ],
        Call <- Calls,
        Value <- [<<"small">>, binary:copy(<<"large">>, 10000)]
    ],
    Plain = crema_ct:topic(Config, 1),
    {ok, _} = crema:produce(P, #{topic => Plain}),
    ?assertMatch({error, {topic_config_conflict, _}}, crema:produce(One, #{topic => Plain})),
    ?assertMatch({ok, _}, crema:produce(One, #{topic => Topic})),
    ?assertMatch(#{accepted := 3}, crema:info(P)),
    crema_ct:quiet().

conflict_of_many(Config) ->
    %% One topic that is another's, among many messages, and nothing is sent.
    P = loose(Config),
    V = variant(P, #{topic_config => #{acks => 1}}),
    [Mine, Others] = [crema_ct:topic(Config, 1) || _ <- [1, 2]],
    {ok, _} = crema:produce(P, #{topic => Others}),
    Messages = [#{topic => T} || T <- [Mine, Mine, Others, Mine]],
    ?assertMatch({error, {topic_config_conflict, _}}, crema:produce_many(V, Messages)),
    ?assertMatch(#{accepted := 1}, crema:info(P)).

conflict_of_a_waiter(_Config) ->
    %% Who waits for a place keeps the configuration that the call had, and nobody
    %% else takes the topic meanwhile.
    P = crema_ct:unreachable(#{max_queue_messages => 1, ordering => loose}),
    V = variant(P, #{topic_config => #{acks => 1}}),
    ok = crema:produce_async(P, message(), #{report => none}),
    Self = self(),
    Waiter = spawn_link(fun() -> Self ! {self(), crema:produce(V, #{topic => later})} end),
    crema_ct:await(fun() -> maps:get(waiting_callers, crema:info(P)) =:= 1 end),
    ?assertMatch({error, {topic_config_conflict, _}}, crema:produce(P, #{topic => later})),
    ok = crema:purge(P),
    crema_ct:await(fun() -> maps:get(accepted, crema:info(P)) =:= 2 end),
    ok = crema:purge(P),
    receive
        {Waiter, Result} -> ?assertMatch({error, {purge_queue, _}}, Result)
    after 10000 -> error(not_reported)
    end.

no_conflict_with_itself(Config) ->
    %% A variant whose properties are those of the producer conflicts with nobody.
    P = loose(Config),
    V = variant(P, #{topic_config => #{acks => all, 'message.timeout.ms' => 150000}}),
    Topic = crema_ct:topic(Config, 1),
    {ok, #{offset := _}} = crema:produce(V, #{topic => Topic}),
    ?assertMatch({ok, _}, crema:produce(P, #{topic => Topic})),
    Canonical = variant(P, #{topic_config => #{'request.required.acks' => '-1'}}),
    ?assertMatch({ok, _}, crema:produce(Canonical, #{topic => Topic})).

restarted_producer(Config) ->
    %% A variant is as good as before when its producer has been started again,
    %% for who has used it and who has not.
    Start = fun() -> loose(Config, #{name => ?FUNCTION_NAME}) end,
    P = Start(),
    V = variant(?FUNCTION_NAME, #{topic_config => #{acks => 0}}),
    Message = #{topic => crema_ct:topic(Config, 1)},
    {ok, #{offset := None}} = crema:produce(V, Message),
    ok = crema_producer:stop(P),
    ?assertMatch({error, {Code, _}} when Code =:= not_found, crema:produce(V, Message)),
    _ = Start(),
    ?assertMatch({ok, #{offset := None}}, crema:produce(V, Message)),
    [{ok, #{offset := None}}] = crema_ct:spawned([fun() -> crema:produce(V, Message) end]).

idle_producer(Config) ->
    %% A producer that is not connected yet is, for its variants to be judged; one
    %% that was disconnected is told of them again.
    P = loose(Config, #{connect => use}),
    ?assertMatch({error, {bad_options, _}}, crema:variant(P, #{topic_config => #{acks => most}})),
    Options = #{topic_config => #{acks => 0}},
    Message = #{topic => crema_ct:topic(Config, 1)},
    [
        begin
            V = variant(P, Options#{client => Client}),
            {ok, #{offset := None}} = crema:produce(V, Message),
            ?assert(None < 0),
            ok = crema:flush(V, 10000),
            ok = crema:disconnect(V),
            ?assertMatch(#{state := disconnected}, crema:status(V)),
            ?assertMatch({ok, #{offset := None}}, crema:produce(V, Message)),
            ok = crema:flush(V, 10000),
            ok = crema:disconnect(V),
            ?assertEqual(V, variant(P, Options#{client => Client}))
        end
     || Client <- [shared, own]
    ],
    ?assertMatch({ok, #{offset := _}}, crema:produce(P, Message)).

no_producer(Config) ->
    %% There is no variant of what does not run, nor of what is no producer.
    ?assertMatch({error, {not_found, _}}, crema:variant(nobody, #{timeout => 5})),
    ?assertMatch({error, {closed, _}}, crema:variant(self(), #{})),
    Cluster = proplists:get_value(cluster, Config),
    ?assertMatch({error, {not_found, _}}, crema:variant(Cluster, #{})),
    P = loose(Config),
    V = variant(P, #{topic_config => #{acks => 1}}),
    ok = crema_producer:stop(P),
    ?assertMatch({error, {closed, _}}, crema:produce(V, message())),
    ?assertMatch({error, {closed, _}}, crema:flush(V, 100)).

remembered(Config) ->
    %% A process asks for a variant's client once.
    P = loose(Config),
    V = variant(P, #{topic_config => #{acks => 1}}),
    Message = #{topic => crema_ct:topic(Config, 1)},
    {ok, _} = crema:produce(V, Message),
    {_, Calls} = traced(fun() -> {ok, _} = crema:produce(V, Message) end),
    ?assertEqual(0, Calls),
    {_, First} = traced(fun() -> crema_ct:spawned([fun() -> crema:produce(V, Message) end]) end),
    ?assertEqual(1, First).

%% How often a configuration is told to a port meanwhile.
traced(Fun) ->
    1 = erlang:trace_pattern({crema_variant, client, 3}, true, [call_count]),
    Result = Fun(),
    {call_count, Count} = erlang:trace_info({crema_variant, client, 3}, call_count),
    1 = erlang:trace_pattern({crema_variant, client, 3}, false, [call_count]),
    {Result, Count}.
