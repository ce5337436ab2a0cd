%% Transactions with brokers that refuse, are slow, or close their connections: what
%% is tried again, what is aborted, what ends the client. On the embedded cluster,
%% which fails as it is told to.
-module(crema_transaction_faults_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([retried/1, slow_start/1, aborted_commit/1, refused_offsets/1, fatal_commit/1]).
-export([reloaded/1, reload_keeps_turns/1, caller_dies_in_commit/1, stop_in_commit/1]).
-export([offsets_without_end/1, killed_in_commit/1, plain_call_gives_up/1, slow_abort/1, no_abort_wait/1]).

-import(crema_ct_transaction, [producer/1, producer/2, holder/2, let_end/1, one_message/2]).
-import(crema_ct_transaction, [listen/2, heard/2]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [
        retried, slow_start, aborted_commit, refused_offsets, offsets_without_end, fatal_commit,
        reloaded, reload_keeps_turns, caller_dies_in_commit, stop_in_commit,
        killed_in_commit, plain_call_gives_up, slow_abort, no_abort_wait
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

fail(Config, Request, Answers) ->
    ok = crema_cluster:fail(proplists:get_value(cluster, Config), Request, Answers).

retried(Config) ->
    %% What may succeed later is tried until it does, whatever part fails.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    ?assertMatch({ok, {ok, _}}, one_message(P, Topic)),
    [
        begin
            fail(Config, Request, Answers),
            ?assertMatch({Request, {ok, {ok, _}}}, {Request, one_message(P, Topic)})
        end
     || {Request, Answers} <- [
            {add_partitions_to_txn, [coordinator_load_in_progress, concurrent_transactions]},
            {produce, [not_leader_for_partition, request_timed_out]},
            {end_txn, [coordinator_load_in_progress, coordinator_not_available, not_coordinator]},
            {end_txn, [transport]}
        ]
    ].

slow_start(Config) ->
    %% A producer whose brokers are not ready for transactions waits for them.
    fail(Config, init_producer_id, lists:duplicate(3, coordinator_load_in_progress)),
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    ?assertMatch({ok, {ok, _}}, one_message(P, Topic)).

aborted_commit(Config) ->
    %% A commit that brokers refuse, but not for good, is aborted; the next
    %% transaction is as good as any.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Failed = listen(P, failed),
    Aborted = listen(P, aborted),
    fail(Config, end_txn, [invalid_producer_id_mapping]),
    Result = one_message(P, Topic),
    ?assertMatch({error, {invalid_producer_id_mapping, #{abortable := true}}}, Result),
    ?assertMatch(#{code := invalid_producer_id_mapping}, heard(Failed, failed)),
    ?assertMatch(#{cause := error}, heard(Aborted, aborted)),
    ?assertMatch({ok, {ok, _}}, one_message(P, Topic)).

refused_offsets(Config) ->
    %% Offsets that the group refuses abort the transaction, whose function learns
    %% it at once.
    Topic = crema_ct_consume:filled(Config, 1),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{commit => transaction}),
    [{_, Message}] = crema_ct:handled(1),
    P = producer(Config),
    fail(Config, txn_offset_commit, [illegal_generation]),
    {error, {illegal_generation, _}} = crema:transaction(P, fun(Tx) ->
        {error, {illegal_generation, #{abortable := true}}} =
            crema:send_offsets(Tx, C, [Message]),
        {error, {stale_transaction, _}} = crema:produce(Tx, #{topic => Topic})
    end),
    fail(Config, txn_offset_commit, [coordinator_load_in_progress]),
    fail(Config, add_offsets_to_txn, [concurrent_transactions]),
    {ok, ok} = crema:transaction(P, fun(Tx) -> crema:send_offsets(Tx, C, [Message]) end).

offsets_without_end(Config) ->
    %% librdkafka's search for the group's coordinator may not end: the caller learns
    %% it, and the next transaction has a new client. The old one ends when a
    %% connection does, here an idle one.
    Topic = crema_ct_consume:filled(Config, 1),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{commit => transaction}),
    [{_, Message}] = crema_ct:handled(1),
    P = producer(Config, #{
        on_fatal => reload,
        reload_backoff => {1, 10},
        kafka => #{
            'transaction.timeout.ms' => 2000,
            'socket.timeout.ms' => 1000,
            'connections.max.idle.ms' => 20000
        }
    }),
    {ok, Metadata} = crema:group_metadata(C),
    ?assertMatch({ok, {ok, _}}, one_message(P, Topic)),
    Lost = crema:transaction(P, fun(Tx) ->
        fail(Config, find_coordinator, [not_coordinator]),
        {error, {timed_out, #{fatal := true}}} = crema:send_offsets(Tx, Metadata, [Message])
    end),
    ?assertMatch({error, {timed_out, #{fatal := true}}}, Lost),
    {ok, ok} = crema:transaction(P, fun(Tx) -> crema:send_offsets(Tx, Metadata, [Message]) end).

fatal_commit(Config) ->
    %% An error that ends the client reaches the process of the transaction and
    %% those that wait, as what it is.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Monitor = erlang:monitor(process, P),
    {Pid, _} = holder(P, Topic),
    Waiter = crema_ct_transaction:asks(fun() -> one_message(P, Topic) end),
    fail(Config, end_txn, [producer_fenced]),
    ?assertMatch({error, {C, #{fatal := true}}} when C =:= fenced; C =:= producer_fenced, let_end(Pid)),
    ?assertMatch({error, {C, _}} when C =:= fenced; C =:= producer_fenced,
        crema_ct_transaction:ended(Waiter)),
    receive
        {'DOWN', Monitor, _, _, Reason} -> ?assertMatch({shutdown, {fatal, _}}, Reason)
    after 10000 -> error(lives)
    end.

reloaded(Config) ->
    %% With on_fatal => reload the transaction fails, and the next has a new client.
    P = producer(Config, #{on_fatal => reload, reload_backoff => {1, 10}}),
    Topic = crema_ct:topic(Config, 1),
    fail(Config, end_txn, [invalid_txn_state]),
    ?assertMatch({error, {invalid_txn_state, #{fatal := true}}}, one_message(P, Topic)),
    ?assertMatch({ok, {ok, _}}, one_message(P, Topic)),
    %% Found out of turn, by the process that is in the transaction.
    Fatal = crema:transaction(P, fun(Tx) ->
        {ok, _} = crema:produce(Tx, #{topic => Topic}),
        {ok, producer, Port, _, _} = crema_registry:lookup(P),
        fail(Config, add_partitions_to_txn, [invalid_txn_state]),
        _ = crema:produce(Tx, #{topic => crema_ct:topic(Config, 1)}),
        crema_ct:await(fun() ->
            {ok, producer, Now, _, _} = crema_registry:lookup(P),
            Now =/= Port
        end)
    end),
    ?assertMatch({error, {invalid_txn_state, #{fatal := true}}}, Fatal).

reload_keeps_turns(Config) ->
    %% Who waits for a turn when the client fails has it with the next client.
    P = producer(Config, #{on_fatal => reload, reload_backoff => {1, 10}}),
    Topic = crema_ct:topic(Config, 1),
    {Pid, _} = holder(P, Topic),
    Waiters = [crema_ct_transaction:asks(fun() -> one_message(P, Topic) end) || _ <- [1, 2, 3]],
    fail(Config, end_txn, [invalid_txn_state]),
    ?assertMatch({error, {invalid_txn_state, _}}, let_end(Pid)),
    [?assertMatch({ok, {ok, _}}, crema_ct_transaction:ended(Waiter)) || Waiter <- Waiters].

caller_dies_in_commit(Config) ->
    %% A commit that has begun is carried on when its process dies.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Committed = listen(P, committed),
    {Pid, _} = holder(P, Topic),
    fail(Config, end_txn, [{no_error, 1500}]),
    committing(Pid),
    exit(Pid, kill),
    heard(Committed, committed),
    ?assertMatch({ok, {ok, _}}, one_message(P, Topic)).

%% Its function has ended, and the commit takes longer.
committing(Pid) ->
    Pid ! go_on,
    crema_ct:await(fun() ->
        {current_stacktrace, Stack} = process_info(Pid, current_stacktrace),
        lists:keymember(commit, 2, Stack)
    end).

stop_in_commit(Config) ->
    %% A stop waits for a commit that has begun, within its deadline.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    {Pid, _} = holder(P, Topic),
    fail(Config, end_txn, [{no_error, 1500}]),
    committing(Pid),
    ok = crema_producer:stop(P, 10000),
    ?assertEqual({ok, ok}, crema_ct_transaction:ended(Pid)),
    Q = producer(Config),
    {Other, _} = holder(Q, Topic),
    fail(Config, end_txn, [{no_error, 60000}]),
    committing(Other),
    {Time, ok} = crema_ct:timed(fun() -> crema_producer:stop(Q, 300) end),
    ?assert(Time < 10000, Time),
    ?assertMatch({error, {commit_unknown, _}}, crema_ct_transaction:ended(Other)).

killed_in_commit(Config) ->
    %% The outcome of a commit is lost with the producer's process.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    {Pid, _} = holder(P, Topic),
    fail(Config, end_txn, [{no_error, 60000}]),
    committing(Pid),
    exit(P, kill),
    ?assertMatch({error, {commit_unknown, _}}, crema_ct_transaction:ended(Pid)).

plain_call_gives_up(Config) ->
    %% A plain call keeps its deadline while its commit takes longer; that goes on.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    ?assertMatch({ok, _}, crema:produce(P, #{topic => Topic})),
    Committed = listen(P, committed),
    fail(Config, end_txn, [{no_error, 2000}]),
    Late = crema:produce(P, #{topic => Topic}, #{timeout => 500}),
    ?assertMatch({error, {timeout, _}}, Late),
    %% It is no longer the caller's: the next call waits for it.
    {ok, #{offset := Offset}} = crema:produce(P, #{topic => Topic}),
    ?assert(Offset >= 2),
    [heard(Committed, committed) || _ <- [1, 2]].

slow_abort(Config) ->
    %% An abort is waited for as long as for a turn, whoever has said it; then it
    %% goes on by itself.
    P = producer(Config, #{transaction_wait => 300}),
    Topic = crema_ct:topic(Config, 1),
    %% The first one waits for brokers as well.
    crema_ct:await(fun() -> element(1, one_message(P, Topic)) =:= ok end),
    Aborted = listen(P, aborted),
    Other = fun(Tx) -> crema_ct:spawned([fun() -> crema:abort(Tx, theirs) end]) end,
    [
        begin
            fail(Config, end_txn, [{no_error, 2000}]),
            {Time, Result} = crema_ct:timed(fun() ->
                catch crema:transaction(P, fun(Tx) ->
                    {ok, _} = crema:produce(Tx, #{topic => Topic}),
                    End(Tx)
                end)
            end),
            ?assertEqual({Cause, Expected}, {Cause, Result}),
            ?assert(Time < 1800, {Cause, Time}),
            ?assertMatch(#{cause := Cause}, heard(Aborted, aborted)),
            ?assertMatch({ok, {ok, _}}, one_message(P, Topic))
        end
     || {Cause, Expected, End} <- [
            {exception, mine, fun(_) -> throw(mine) end},
            {abort, {aborted, mine}, fun(Tx) -> crema:abort(Tx, mine) end},
            {abort, {aborted, theirs}, Other}
        ]
    ].

no_abort_wait(Config) ->
    %% An abort waits for the first report, so long at most; not without messages,
    %% nor when it was told not to.
    P = producer(Config, #{abort_wait => 700}),
    Topic = crema_ct:topic(Config, 1),
    ?assertMatch({ok, {ok, _}}, one_message(P, Topic)),
    Abort = fun(Options, Messages) ->
        fail(Config, produce, [{no_error, 1500} || Messages > 0]),
        {Time, {aborted, why}} = crema_ct:timed(fun() ->
            crema:transaction(P, fun(Tx) ->
                [{ok, _} = crema:produce_async(Tx, #{topic => Topic}) || _ <- lists:seq(1, Messages)],
                crema:abort(Tx, why)
            end, Options)
        end),
        Time
    end,
    ?assert(Abort(#{}, 0) < 500),
    ?assert(Abort(#{}, 1) >= 700).
