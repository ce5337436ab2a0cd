%% A broker that answers by errors, late, or not at all: each message gets one
%% report, which says what is known of it.
-module(crema_faults_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_testcase/2, end_per_testcase/2]).
-export([
    errors_that_pass/1, errors_that_stay/1, no_answer_in_time/1, late_answers/1, fatal_answers/1,
    known_duplicates/1, unproven/1, other_requests_fail/1, no_such_error/1,
    flush_in_an_outage/1, purge_in_an_outage/1
]).

suite() -> [{timetrap, {seconds, 120}}].

all() ->
    [
        errors_that_pass, errors_that_stay, no_answer_in_time, late_answers, fatal_answers,
        known_duplicates, unproven, other_requests_fail, no_such_error,
        flush_in_an_outage, purge_in_an_outage
    ].

init_per_suite(Config) -> crema_ct:start(Config, none).

end_per_suite(Config) -> crema_ct:stop(Config).

%% A cluster of its own for each case, so that no error is left for the next. It
%% ends with the process of the case.
init_per_testcase(_, Config) ->
    {ok, Cluster} = crema_cluster:start_link(),
    Bootstrap = crema_cluster:bootstrap_servers(Cluster),
    [{cluster, Cluster} | lists:keystore(bootstrap, 1, Config, {bootstrap, Bootstrap})].

end_per_testcase(_, _Config) -> crema_ct:cleanup().

errors_that_pass(Config) ->
    %% What a broker will do later is tried again until it does it: all is
    %% delivered, with ordering strict in order.
    Errors = [
        not_leader_for_partition, leader_not_available, unknown_topic_or_part, request_timed_out,
        not_enough_replicas, not_enough_replicas_after_append, kafka_storage_error, transport
    ],
    Try = fun(Ordering) ->
        {P, Topic} = warm(Config, #{ordering => Ordering}),
        [ok = fail(Config, produce, lists:duplicate(3, Error)) || Error <- Errors],
        Results = each_way(P, Topic, 300),
        ?assertEqual(#{ok => 900}, crema_ct:results(lists:append(Results))),
        [[Offset || {ok, #{offset := Offset}} <- Way] || Way <- Results]
    end,
    [?assertEqual(lists:sort(Offsets), Offsets) || Offsets <- Try(strict)],
    _ = Try(loose).

errors_that_stay(Config) ->
    %% What a broker will never do is reported at once, as not in the log, and
    %% the producer goes on. (A topic that is forbidden stays so for a while.)
    [
        begin
            {P, Topic} = warm(Config, #{ordering => Ordering}),
            ok = fail(Config, produce, [Error]),
            Results = lists:append(each_way(P, Topic, 100)),
            Failed = [Reason || {error, Reason} <- Results],
            ?assert(length(Failed) > 0),
            [?assertMatch({Error, #{status := not_persisted}}, Reason) || Reason <- Failed],
            ?assertMatch({ok, _}, crema:produce(P, #{topic => other}))
        end
     || Ordering <- [strict, loose],
        Error <- [
            topic_authorization_failed, msg_size_too_large, invalid_record, policy_violation,
            record_list_too_large, invalid_timestamp, unknown
        ]
    ].

no_answer_in_time(Config) ->
    %% Of what was sent and not answered in the messages' time, nobody knows
    %% whether it is in the log; nor of what nobody sent in that time anything
    %% else than that it is not. The late answer changes nothing.
    {P, Topic} = warm(Config, #{kafka => #{'message.timeout.ms' => 1000}}),
    ok = fail(Config, produce, lists:duplicate(3, {no_error, 4000})),
    Results = lists:append(each_way(P, Topic, 100)),
    Failed = [Details || {error, {msg_timed_out, Details}} <- Results],
    ?assertEqual(300, length(Failed)),
    Statuses = lists:usort([Status || #{status := Status} <- Failed]),
    ?assert(lists:member(possibly_persisted, Statuses)),
    ?assertEqual([], Statuses -- [possibly_persisted, not_persisted]),
    %% What was late has come before this.
    ?assertMatch({ok, _}, crema_ct:await(fun() -> delivered(P, Topic) end)),
    all_told(P).

delivered(P, Topic) ->
    case crema:produce(P, #{topic => Topic, partition => 0}) of
        {ok, _} = Delivered -> {ok, Delivered};
        {error, {msg_timed_out, _}} = Failed -> Failed
    end.

late_answers(Config) ->
    %% Late answers are as good as others.
    {P, Topic} = warm(Config, #{}),
    ok = fail(Config, produce, lists:duplicate(3, {no_error, 700})),
    {Time, Results} = crema_ct:timed(fun() -> lists:append(each_way(P, Topic, 100)) end),
    ?assertEqual(#{ok => 300}, crema_ct:results(Results)),
    ?assert(Time >= 700, Time).

fatal_answers(Config) ->
    %% When the broker says that the sequence is broken, the client is at its end,
    %% and says of each message what is known: of those that the broker was sent
    %% nothing, of the others that they are not in the log.
    {P, Topic} = warm(Config, #{}),
    ok = fail(Config, produce, lists:duplicate(3, out_of_order_sequence_number)),
    Results = lists:append(each_way(P, Topic, 100)),
    Known = #{
        out_of_order_sequence_number => possibly_persisted,
        purge_inflight => possibly_persisted,
        purge_queue => not_persisted,
        fatal => not_persisted
    },
    Told = [{Code, Status} || {error, {Code, #{status := Status}}} <- Results],
    ?assert(lists:keymember(out_of_order_sequence_number, 1, Told)),
    [?assertEqual(maps:get(Code, Known), Status) || {Code, Status} <- Told],
    %% The rest came too late for this client: it was refused, or is the next one's.
    Others = crema_ct:results(Results -- [R || {error, {_, #{status := _}}} = R <- Results]),
    ?assertEqual(#{}, maps:without([closed, ok], Others)).

known_duplicates(Config) ->
    %% A broker that has a message already answers so to another try: it is
    %% delivered, though where is not known.
    {P, Topic} = warm(Config, #{}),
    ok = fail(Config, produce, [duplicate_sequence_number]),
    Results = lists:append(each_way(P, Topic, 100)),
    ?assertEqual(#{ok => 300}, crema_ct:results(Results)),
    ?assert(lists:any(fun({ok, #{offset := Offset}}) -> Offset < 0 end, Results)).

unproven(Config) ->
    %% A message that failed for now while a later one of its partition was taken is
    %% told as delivered only if the broker has confirmed one there before: else it
    %% knows no sequence of the producer's, and the message may never have come.
    Topic = crema_ct:topic(Config, 1),
    P = one_by_one(Config),
    Two = fun() ->
        %% Late, so that the second is on its way by then.
        ok = fail(Config, produce, [{not_leader_for_partition, 200}]),
        {ok, Results} = crema:produce_many(P, two(Topic)),
        Results
    end,
    ?assertMatch(
        [
            {error, {unconfirmed, #{status := possibly_persisted, topic := Topic, partition := 0}}},
            {ok, #{offset := 0}}
        ],
        Two()
    ),
    ?assertMatch([{ok, #{offset := None}}, {ok, #{offset := 1}}] when None < 0, Two()),
    all_told(P).

%% Sends each message in a request of its own, several at a time.
one_by_one(Config) ->
    crema_ct:producer(Config, #{kafka => #{'batch.num.messages' => 1}}).

two(Topic) -> [#{topic => Topic, value => Value} || Value <- [<<"1">>, <<"2">>]].

other_requests_fail(Config) ->
    %% What a producer asks for before it sends fails and is asked for again.
    Not = coordinator_not_available,
    ok = fail(Config, init_producer_id, [coordinator_load_in_progress, Not, transport]),
    ok = fail(Config, metadata, [transport, leader_not_available, transport]),
    P = crema_ct:producer(Config),
    Results = lists:append(each_way(P, crema_ct:topic(Config, 1), 100)),
    ?assertEqual(#{ok => 300}, crema_ct:results(Results)).

no_such_error(Config) ->
    %% An error that does not exist, and a delay of no length, are the test's fault.
    [
        ?assertError(badarg, fail(Config, Request, Answers))
     || {Request, Answers} <- [
            {produce, [no_such_error]},
            {produce, [{no_error, -1}]},
            {produce, [{no_error, 60001}]},
            {produce, lists:duplicate(1001, transport)},
            {-1, [transport]},
            {32768, [transport]}
        ]
    ].

flush_in_an_outage(Config) ->
    %% Flushes keep their deadlines while the broker does not answer, and the
    %% messages are delivered when it does.
    {P, Topic} = warm(Config, #{}),
    ok = fail(Config, produce, lists:duplicate(3, {no_error, 2000})),
    ok = crema:produce_many_async(P, messages(Topic, 100), #{report => message}),
    Flush = fun(Timeout) -> fun() -> crema_ct:timed(fun() -> crema:flush(P, Timeout) end) end end,
    Timeouts = [0, 50, 300, 600],
    Results = crema_ct:spawned([Flush(Timeout) || Timeout <- Timeouts]),
    [
        begin
            ?assertMatch({error, {timeout, _}}, Result),
            ?assert(Time >= Timeout andalso Time < Timeout + 1000, {Timeout, Time})
        end
     || {Timeout, {Time, Result}} <- lists:zip(Timeouts, Results)
    ],
    ?assertEqual(ok, crema:flush(P, 20000)),
    ?assertEqual(100, length([Tag || {Tag, {ok, _}} <- crema_ct:reports(100)])),
    all_told(P).

purge_in_an_outage(Config) ->
    %% A purge ends what waits for an answer as possibly in the log, and what was
    %% not sent as not in it; a flush has nothing to wait for, and the producer
    %% goes on, with ordering strict too.
    [
        begin
            {P, Topic} = warm(Config, #{ordering => Ordering}),
            ok = fail(Config, produce, [{no_error, 2000}]),
            {ok, Sent} = crema:produce_async(P, #{topic => Topic, partition => 0}),
            %% It is sent meanwhile: while somebody flushes nothing lingers.
            ?assertMatch({error, {timeout, _}}, crema:flush(P, 500)),
            ok = crema:produce_many_async(P, messages(Topic, 1000), #{report => message}),
            ok = crema:purge(P),
            ?assertEqual(ok, crema:flush(P, 1000)),
            ?assertMatch(
                {error, {purge_inflight, #{status := possibly_persisted}}}, crema:await(Sent, 0)
            ),
            Reports = crema_ct:reports(1000),
            ?assertEqual(lists:seq(0, 999), lists:sort([Tag || {Tag, _} <- Reports])),
            ?assertMatch({ok, _}, crema:produce(P, #{topic => Topic, partition => 0})),
            all_told(P)
        end
     || Ordering <- [strict, loose]
    ].

%% ---- messages, each way of them --------------------------------------------------

fail(Config, Request, Answers) ->
    crema_cluster:fail(proplists:get_value(cluster, Config), Request, Answers).

%% A producer that has delivered a message, and a topic of one partition. While it
%% connects the first may time out, where their time is short.
warm(Config, Options) ->
    P = crema_ct:producer(Config, Options),
    Topic = crema_ct:topic(Config, 1),
    {ok, _} = crema_ct:await(fun() -> delivered(P, Topic) end),
    {P, Topic}.

messages(Topic, Count) ->
    [
        #{topic => Topic, partition => 0, value => integer_to_binary(N)}
     || N <- lists:seq(1, Count)
    ].

%% So many messages from each of three processes that hear of them in different
%% ways; the results of each, a result for a message.
each_way(P, Topic, Count) ->
    Waits = fun() -> many(Count, crema:produce_many(P, messages(Topic, Count))) end,
    Awaits = fun() ->
        case crema:produce_many_async(P, messages(Topic, Count)) of
            {ok, Ref} -> many(Count, crema:await(Ref, 60000));
            Refused -> many(Count, Refused)
        end
    end,
    IsTold = fun() ->
        case crema:produce_many_async(P, messages(Topic, Count), #{report => message}) of
            ok ->
                {Tags, Results} = lists:unzip(lists:sort(crema_ct:reports(Count))),
                ?assertEqual(lists:seq(0, Count - 1), Tags),
                Results;
            Refused ->
                many(Count, Refused)
        end
    end,
    Quietly = [
        fun() ->
            Results = Way(),
            crema_ct:quiet(),
            Results
        end
     || Way <- [Waits, Awaits, IsTold]
    ],
    Results = crema_ct:spawned(Quietly),
    [?assertEqual(Count, length(Way)) || Way <- Results],
    Results.

many(_Count, {ok, Results}) -> Results;
many(Count, Refused) -> lists:duplicate(Count, Refused).

%% Nothing is outstanding, and nothing was told twice.
all_told(P) ->
    #{accepted := Accepted, reported := Reported} = crema:info(P),
    ?assertEqual(Accepted, Reported),
    crema_ct:quiet().
