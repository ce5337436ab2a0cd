%% The same essentials, and a million messages, on real brokers.
%%
%% `scripts/kafka run` has them, and crema_ct_kafka knows where.
-module(crema_kafka_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include("../src/port/crema_commands.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([producers/1, queues/1, variants/1, topics/1, pools/1]).
-export([lives_of_producers/1, ends_of_producers/1]).
-export([handlers/1, offsets/1, share_cooperative/1, share_range/1, revoked_handlers/1]).
-export([start_at_a_time/1, unknown_topic/1, no_such_topic_name/1, million/1, stopped_broker/1]).
-export([statistics/1, events/1]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, side_by_side}, million, stopped_broker].

groups() ->
    [
        {side_by_side, [parallel], [
            producers, queues, variants, topics, pools, lives_of_producers,
            ends_of_producers, handlers, offsets, share_cooperative, share_range, revoked_handlers,
            statistics, events, start_at_a_time, unknown_topic, no_such_topic_name
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config, crema_ct_kafka:bootstrap()).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

producers(Config) ->
    %% What crema_producer_SUITE proves of reports, contents and refusals.
    cases(Config, crema_producer_SUITE, [
        sync, async, many, contents, large_values, labels_and_topics, no_late_messages,
        sent_reports, sent_reports_of_many, no_report, order, mixed_callers
    ]),
    cases(Config, crema_refusal_SUITE, [unknown_partition, too_large]).

queues(Config) ->
    %% What crema_queue_SUITE proves of waiting for brokers.
    cases(Config, crema_queue_SUITE, [large_values_wait, woken_by_reports]).

variants(Config) ->
    %% What crema_variant_SUITE proves of topics' properties and second clients.
    cases(Config, crema_variant_SUITE, [
        every_call, acks, compression, conflict, restarted_producer
    ]),
    cases(Config, crema_own_SUITE, [own_client, own_client_is_flushed]).

pools(Config) ->
    %% What the suites of pools prove of calls, of members that die, and of
    %% transactions side by side.
    pool_cases(Config, crema_pool_SUITE, [every_call, variants, killed_members, stop_flushes]),
    pool_cases(Config, crema_checkout_SUITE, [
        transactions, nested_transactions, killed_transaction, killed_while_held
    ]).

pool_cases(Config, Suite, Names) ->
    [
        begin
            cases(Config, Suite, [Name]),
            crema_ct_pool:cleanup()
        end
     || Name <- Names
    ].

topics(Config) ->
    %% What the suites of topic handles, their batches and the buffer prove of
    %% serializers, order and ends.
    cases(Config, crema_topic_SUITE, [is_a_producer, serializers, validators]),
    cases(Config, crema_push_SUITE, [
        strict_pipeline, dropped_in_turn, full_batches, forced_batches, stopped_producer, closed,
        many_callers
    ]),
    cases(Config, crema_buffer_SUITE, [handles_and_producers, many_callers]).

lives_of_producers(Config) ->
    %% What crema_connect_SUITE and crema_reload_SUITE prove of clients that come
    %% and go.
    cases(Config, crema_connect_SUITE, [
        connects_at_first_use, every_use_connects, what_needs_no_client,
        reports_outlive_disconnect, disconnects_under_load
    ]),
    cases(Config, crema_reload_SUITE, [callers_wait_for_reload, deadlines_hold_in_reload]).

ends_of_producers(Config) ->
    %% What crema_stop_SUITE proves of flushes and stops.
    cases(Config, crema_stop_SUITE, [
        flush, flush_of_what_was_before, stop_flushes, stop_keeps_reports, supervised,
        callers_killed
    ]).

statistics(Config) ->
    %% What crema_statistics_SUITE proves of statistics.
    cases(Config, crema_statistics_SUITE, [producers_have_them, consumers_have_them]).

events(Config) ->
    %% What crema_producer_events_SUITE proves of delivery reports.
    Listening = crema_producer_events_SUITE:init_per_testcase(events, Config),
    cases(Listening, crema_producer_events_SUITE, [reports, failed_reports]),
    _ = crema_producer_events_SUITE:end_per_testcase(events, Listening).

handlers(Config) ->
    %% What crema_consumer_SUITE proves of handlers.
    cases(Config, crema_consumer_SUITE, [messages, batches, crash, error_in_place, large_messages]).

offsets(Config) ->
    %% What crema_offsets_SUITE proves of commits and positions.
    cases(Config, crema_offsets_SUITE, [
        noack_and_crash, stale_token, committed_is_contiguous, stop_drains, start_latest,
        start_is_committed, killed_consumer
    ]).

share_cooperative(Config) ->
    %% Members that come and go, with each message handled exactly once.
    cases(Config, crema_group_SUITE, [share_cooperative]).

share_range(Config) ->
    %% The same with an eager strategy.
    cases(Config, crema_group_SUITE, [share_range]).

revoked_handlers(Config) ->
    %% Handlers whose partitions go while they work.
    cases(Config, crema_group_SUITE, [
        handler_finishes_before_it_leaves, late_handler_is_killed, token_of_a_revoked_partition
    ]).

%% Cases of other suites, each as Common Test would run it.
cases(Config, Suite, Names) ->
    [
        begin
            ct:log("~s:~s", [Suite, Name]),
            _ = Suite:Name(Config),
            crema_ct:cleanup(),
            forget_messages()
        end
     || Name <- Names
    ].

forget_messages() ->
    receive
        _ -> forget_messages()
    after 0 -> ok
    end.

start_at_a_time(Config) ->
    %% A member begins at the first message of a time, and where all are older at
    %% the end. (The embedded cluster knows no times.)
    Topic = crema_ct:topic(Config, 4),
    P = crema_ct:producer(Config),
    Now = erlang:system_time(millisecond),
    Put = fun(Partition, Numbers) ->
        {ok, Results} = crema:produce_many(P, [
            #{
                topic => Topic,
                partition => Partition,
                value => integer_to_binary(N),
                timestamp => Now + N * 1000
            }
         || N <- Numbers
        ]),
        ?assertEqual(#{ok => length(Numbers)}, crema_ct:results(Results))
    end,
    Put(0, [-50, -40, 30, 40, 50]),
    Put(1, [-20, -10]),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{start => Now}),
    crema_ct:await(fun() -> length(maps:get(assigned, crema:status(C))) =:= 4 end),
    Put(1, [-5]),
    ?assertEqual([-5, 30, 40, 50], lists:sort(crema_ct_consume:values(crema_ct:handled(4)))).

unknown_topic(Config) ->
    %% Topics that do not exist are told, each of them, in the status and as
    %% events, with what to do.
    Self = self(),
    Tell = fun(_, _, Metadata, _) -> Self ! {told, Metadata} end,
    ok = crema_events:attach(?FUNCTION_NAME, [crema, client, error], Tell, none),
    Topics = [crema_ct:unique(<<"missing">>) || _ <- [1, 2]],
    C = crema_ct:consumer(Config, none, #{to => self()}, #{topics => Topics}),
    [
        receive
            {told, #{client := Client, code := unknown_topic_or_part, message := Text}} ->
                ?assertMatch({match, _}, re:run(Text, "Create the topic"), Client),
                ?assertMatch({_, _}, binary:match(Text, Topics))
        after 15000 -> error({not_told, Topics})
        end
     || _ <- Topics
    ],
    ?assertMatch(#{last_error := {unknown_topic_or_part, _}}, crema:status(C)),
    ok = crema_events:detach(?FUNCTION_NAME).

no_such_topic_name(Config) ->
    %% A topic's name that brokers refuse is refused to the producer, and told.
    P = crema_ct:producer(Config, #{kafka => #{'message.timeout.ms' => 20000}}),
    {Time, {error, {Code, Details}}} =
        crema_ct:timed(fun() -> crema:produce(P, #{topic => <<"no/such topic">>}) end),
    ?assertMatch({topic_exception, #{topic := <<"no/such topic">>}}, {Code, Details}),
    ?assertMatch({match, _}, re:run(maps:get(message, Details), "letters, digits")),
    ?assert(Time < 5000, Time).

%% ---- a million --------------------------------------------------------------------

-define(PROCESSES, 16).
-define(EACH, 62500).
-define(PARTITIONS, 4).
-define(CHUNK, 100).

%% What has been counted.
-define(HANDLED, 1).
-define(REPEATED, 2).
-define(MAY_REPEAT, 3).

million(Config) ->
    %% A million messages from 16 processes are all reported, and all handled once
    %% each in order per partition and process, while a handler crashes and a
    %% member leaves. Only what the crashed handler had handled of its batch is
    %% repeated, and there is no gap.
    Topic = crema_ct:topic(Config, ?PARTITIONS),
    Counts = counters:new(3, []),
    Seen = ets:new(seen, [public, {write_concurrency, true}]),
    Gaps = ets:new(gaps, [public, bag]),
    Args = #{
        handle => handling(Counts, Seen, Gaps, crema_ct_consume:once([crash])), to => self()
    },
    Options = #{group => crema_ct:unique(<<"group">>), handler => {crema_ct_batch_handler, Args}},
    Members = [crema_ct:consumer(Config, Topic, none, Options) || _ <- [1, 2]],
    [crema_ct:await(fun() -> has_half(C) end) || C <- Members],
    P = crema_ct:producer(Config),
    {Time, Results} = crema_ct:timed(fun() ->
        Leave = fun() ->
            crema_ct:await(fun() -> counters:get(Counts, ?HANDLED) > 400000 end, 60000),
            ok = crema_consumer:stop(hd(Members)),
            left
        end,
        Producers = [produces(P, Topic, N) || N <- lists:seq(1, ?PROCESSES)],
        Results = crema_ct:spawned([Leave | Producers]),
        crema_ct:await(fun() -> handled_all(Counts) end, 90000),
        Results
    end),
    ct:pal("~b ms, ~b repeated of ~b allowed", [
        Time, counters:get(Counts, ?REPEATED), counters:get(Counts, ?MAY_REPEAT)
    ]),
    ?assertEqual([left | lists:duplicate(?PROCESSES, ?EACH)], Results),
    ?assertEqual([], ets:tab2list(Gaps)),
    ?assertEqual(counters:get(Counts, ?MAY_REPEAT), counters:get(Counts, ?REPEATED)),
    ?assert(counters:get(Counts, ?MAY_REPEAT) > 0),
    true = crema_ct_consume:all_acknowledged(lists:last(Members)).

has_half(Consumer) ->
    length(maps:get(assigned, crema:status(Consumer))) =:= ?PARTITIONS div 2.

handled_all(Counts) ->
    case counters:get(Counts, ?HANDLED) of
        ?PROCESSES * ?EACH -> true;
        Handled -> Handled
    end.

%% A process's messages have its number, and their number in their partition. Half
%% of the processes wait for each call, half get their reports as messages.
produces(P, Topic, Process) ->
    fun() ->
        Calls = lists:seq(0, ?EACH div ?CHUNK - 1),
        Reported = [produce_chunk(P, Topic, Process, Call) || Call <- Calls],
        Later = lists:sum([N || {later, N} <- Reported]),
        Good = length([Tag || {Tag, {ok, _}} <- crema_ct:reports(Later)]),
        Good + lists:sum([N || N <- Reported, is_integer(N)])
    end.

produce_chunk(P, Topic, Process, Call) ->
    Partition = (Call + Process) rem ?PARTITIONS,
    First = (Call div ?PARTITIONS) * ?CHUNK,
    Messages = [
        #{topic => Topic, partition => Partition, value => <<Process:16, (First + N):32, 0:752>>}
     || N <- lists:seq(0, ?CHUNK - 1)
    ],
    case Process rem 2 of
        0 ->
            {ok, Results} = crema:produce_many(P, Messages),
            length([Report || {ok, Report} <- Results]);
        1 ->
            ok = crema:produce_many_async(P, Messages, #{report => message}),
            {later, ?CHUNK}
    end.

handling(Counts, Seen, Gaps, Once) ->
    fun(Messages, State) ->
        Crash =
            length(Messages) > 1 andalso counters:get(Counts, ?HANDLED) > 200000 andalso Once(crash),
        Half = length(Messages) div 2,
        case Crash of
            true ->
                handle_all(lists:sublist(Messages, Half), Counts, Seen, Gaps),
                ok = counters:add(Counts, ?MAY_REPEAT, Half),
                exit(planned);
            false ->
                handle_all(Messages, Counts, Seen, Gaps),
                {ack, State}
        end
    end.

handle_all(Messages, Counts, Seen, Gaps) ->
    [
        begin
            Key = {Partition, Process},
            Expected =
                case ets:lookup(Seen, Key) of
                    [{_, Last}] -> Last + 1;
                    [] -> 0
                end,
            if
                Number =:= Expected ->
                    true = ets:insert(Seen, {Key, Number}),
                    ok = counters:add(Counts, ?HANDLED, 1);
                Number < Expected ->
                    ok = counters:add(Counts, ?REPEATED, 1);
                Number > Expected ->
                    true = ets:insert(Gaps, {Key, Expected, Number})
            end
        end
     || #{partition := Partition, value := <<Process:16, Number:32, _/binary>>} <- Messages
    ].

%% ---- a broker that does not answer ---------------------------------------------------

stopped_broker(Config) ->
    %% With the only broker stopped, and a flush, a query and a commit under way,
    %% a stop returns at its deadline.
    Topic = crema_ct:topic(Config, ?PARTITIONS),
    ok = crema_ct:fill(Config, Topic, 0, [1, 2, 3]),
    P = crema_ct:producer(Config),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    _ = crema_ct:handled(3),
    {ok, _} = crema:produce(P, #{topic => Topic}),
    crema_ct_kafka:brokers("pause"),
    try
        {ok, Ref} = crema:produce_async(P, #{topic => Topic}),
        ok = crema:produce_async(P, #{topic => Topic}, #{report => message}),
        Asked = [spawn_monitor(Ask) || Ask <- under_way(P, C, Topic)],
        crema_ct:await(fun() -> lists:all(fun({Pid, _}) -> is_waiting(Pid) end, Asked) end),
        [
            begin
                Stop = fun() -> Module:stop(Client, 1000) end,
                {{Time, _}, ok} = crema_ct_onlookers:timed(Stop),
                ?assert(Time =< 1200, {Module, Time})
            end
         || {Module, Client} <- [{crema_producer, P}, {crema_consumer, C}]
        ],
        %% Whoever asked gets an answer.
        [
            receive
                {'DOWN', Monitor, _, _, Reason} -> ?assertEqual(normal, Reason)
            after 15000 -> error({waits, Pid})
            end
         || {Pid, Monitor} <- Asked
        ],
        ?assertMatch([{0, {error, {_, #{status := possibly_persisted}}}}], crema_ct:reports(1)),
        ?assertMatch({error, {_, #{status := possibly_persisted}}}, crema:await(Ref, 5000))
    after
        crema_ct_kafka:brokers("resume")
    end,
    crema_ct:await(fun() -> maps:get(reapers, crema:info()) =:= 0 end, 30000).

under_way(P, C, Topic) ->
    {ok, producer, Port, _, _} = crema_registry:lookup(P),
    {ok, consumer, Group, _, _} = crema_registry:lookup(C),
    Query = fun(Tag) -> {?CMD_WATERMARKS, term_to_binary({Tag, Topic, 0, 30000})} end,
    Commit = fun(Tag) -> {?CMD_COMMIT, term_to_binary({Tag, []})} end,
    [
        fun() -> {error, _} = crema:flush(P, 30000) end,
        fun() -> {error, _} = crema_port:ask(Port, Query, 30000, none) end,
        fun() -> {error, _} = crema_port:ask(Group, Query, 30000, none) end,
        fun() -> _ = crema_port:ask(Group, Commit, 30000, none) end
    ].

is_waiting(Pid) ->
    erlang:process_info(Pid, status) =/= {status, runnable}.
