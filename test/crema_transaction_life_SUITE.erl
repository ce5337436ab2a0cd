%% Producers of transactions: what they refuse, how they end, clients that come and
%% go, and offsets; on the embedded cluster.
-module(crema_transaction_life_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include("../src/port/crema_commands.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([not_transactional/1, wrong_calls/1, not_ready/1]).
-export([stop_inside/1, stop_by_another/1, killed_producer/1, flush_and_purge/1]).
-export([lazy/1, disconnect/1, epochs_in_core/1, offsets/1, acknowledged_only/1]).

-import(crema_ct_transaction, [producer/1, producer/2, holder/2]).
-import(crema_ct_transaction, [let_end/1, ended/1, one_message/2, listen/2, heard/2]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [
        not_transactional, wrong_calls, not_ready,
        stop_inside, stop_by_another, killed_producer, flush_and_purge,
        lazy, disconnect, epochs_in_core, offsets, acknowledged_only
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

%% ---- wrong uses ------------------------------------------------------------------

not_transactional(Config) ->
    %% Without a transactional.id, without a client yet, or without a producer.
    P = crema_ct:producer(Config),
    Lazy = crema_ct:producer(Config, #{connect => use}),
    Fun = fun(_) -> error(begun) end,
    ?assertMatch({error, {not_transactional, _}}, crema:transaction(P, Fun)),
    ?assertMatch({error, {not_transactional, _}}, crema:transaction(Lazy, Fun)),
    ?assertMatch({error, {not_found, _}}, crema:transaction(no_such_producer, Fun)),
    ok = crema_producer:stop(P),
    ?assertMatch({error, {closed, _}}, crema:transaction(P, Fun)),
    Gone = producer(Config),
    ok = crema_producer:stop(Gone),
    ?assertMatch({error, {closed, _}}, crema:transaction(Gone, Fun)),
    ?assertMatch({error, {closed, _}}, crema:produce(Gone, #{topic => <<"t">>})).

wrong_calls(Config) ->
    %% Wrong options and offsets are refused, and say which they are.
    P = producer(Config),
    Fun = fun(_) -> error(begun) end,
    [
        ?assertMatch({error, {bad_call, #{field := Key}}}, crema:transaction(P, Fun, #{Key => Value}))
     || {Key, Value} <- [{timeout, soon}, {abort_wait, infinity}, {abort_wait, -1}, {wait, 1}]
    ],
    ?assertError({badarg, _}, crema:transaction(P, fun() -> ok end)),
    ?assertError(badarg, crema:abort(P, why)),
    {ok, _} = crema:transaction(P, fun(Tx) ->
        {error, {not_found, _}} = crema:send_offsets(Tx, no_such_consumer, []),
        {error, {closed, _}} = crema:send_offsets(Tx, self(), [])
    end),
    ?assertError(badarg, crema:send_offsets(P, P, [])).

not_ready(_Config) ->
    %% Without a broker a transaction is refused at its deadline, and says why; a
    %% stop does not wait.
    P = crema_ct:unreachable(#{kafka => #{'transactional.id' => <<"nobody">>}}),
    {Time, Result} = crema_ct:timed(fun() ->
        crema:transaction(P, fun(_) -> ok end, #{timeout => 300})
    end),
    ?assertMatch({error, {not_ready, #{retriable := true}}}, Result),
    ?assert(Time >= 300),
    Self = self(),
    Pid = spawn_link(fun() -> Self ! {self(), crema:transaction(P, fun(_) -> ok end)} end),
    crema_ct:await(fun() -> process_info(Pid, status) =:= {status, waiting} end),
    {Stopping, ok} = crema_ct:timed(fun() -> crema_producer:stop(P, 500) end),
    ?assert(Stopping < 1500, Stopping),
    receive
        {Pid, Answer} -> ?assertMatch({error, {closed, _}}, Answer)
    after 5000 -> error(no_answer)
    end.

%% ---- the producer's end -----------------------------------------------------------

stop_inside(Config) ->
    %% A process cannot stop the producer whose transaction it runs.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    ?assertMatch(
        {ok, {{error, {in_transaction, _}}, {error, {in_transaction, _}}, {ok, _}}},
        crema:transaction(P, fun(Tx) ->
            {crema_producer:stop(P), crema_producer:stop(P, 0), crema:produce(Tx, #{topic => Topic})}
        end)
    ),
    ?assertEqual(ok, crema_producer:stop(P)).

stop_by_another(Config) ->
    %% A stop aborts what is open; its process is told, also when it only asks
    %% after the producer is gone; who waits is refused.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Aborted = listen(P, aborted),
    {Pid, Tx} = holder(P, Topic),
    Self = self(),
    Waiter = spawn_link(fun() -> Self ! {self(), ended, one_message(P, Topic)} end),
    crema_ct:await(fun() -> process_info(Waiter, status) =:= {status, waiting} end),
    ok = crema_producer:stop(P, 5000),
    ?assertMatch(#{cause := stop}, heard(Aborted, aborted)),
    ?assertMatch({error, {closed, _}}, ended(Waiter)),
    ?assertMatch({error, {stale_transaction, _}}, crema:produce(Tx, #{topic => Topic})),
    ?assertMatch({error, {closed, _}}, let_end(Pid)).

killed_producer(Config) ->
    %% With the producer's process killed, nobody waits for ever.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    {Pid, _} = holder(P, Topic),
    Self = self(),
    Waiter = spawn_link(fun() -> Self ! {self(), ended, one_message(P, Topic)} end),
    crema_ct:await(fun() -> process_info(Waiter, status) =:= {status, waiting} end),
    exit(P, kill),
    ?assertMatch({error, {closed, _}}, ended(Waiter)),
    ?assertMatch({error, {closed, _}}, let_end(Pid)).

flush_and_purge(Config) ->
    %% A flush within a transaction sends what it has; a purge, by whomever, is
    %% refused while one is open.
    P = producer(Config, #{kafka => #{'linger.ms' => 60000}}),
    Topic = crema_ct:topic(Config, 1),
    ?assertMatch(
        {ok, {ok, {ok, _}, {error, {in_transaction, _}}, {error, {in_transaction, _}}}},
        crema:transaction(P, fun(Tx) ->
            {ok, Ref} = crema:produce_async(Tx, #{topic => Topic}),
            {crema:flush(Tx, 5000), crema:await(Ref, 0), crema:purge(Tx), crema:purge(P)}
        end)
    ),
    ?assertEqual(ok, crema:purge(P)),
    ?assertEqual(ok, crema:flush(P, 5000)).

%% ---- a client that comes and goes ---------------------------------------------------

lazy(Config) ->
    %% The first transaction has the producer connect.
    P = producer(Config, #{connect => use}),
    Topic = crema_ct:topic(Config, 1),
    ?assertMatch(#{state := idle}, crema:status(P)),
    ?assertMatch({ok, {ok, _}}, one_message(P, Topic)).

disconnect(Config) ->
    %% A producer is not disconnected within a transaction; after it, and the next
    %% transaction connects again.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    {ok, Inside} = crema:transaction(P, fun(_) -> crema:disconnect(P) end),
    ?assertMatch({error, {busy, _}}, Inside),
    [
        begin
            ok = crema:disconnect(P),
            ?assertMatch({ok, {ok, _}}, one_message(P, Topic))
        end
     || _ <- lists:seq(1, 5)
    ].

epochs_in_core(Config) ->
    %% The core itself takes a PRODUCE only with the epoch of the open transaction,
    %% so that nothing reaches librdkafka in a state in which it would refuse.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Try = fun(Port, Epoch) ->
        Via = crema_packet:via(0, Epoch, 0),
        {ok, Data, []} = crema_packet:produce(none, refuse, Via, 0, <<>>, 1000, [#{topic => Topic}]),
        crema_port:command(Port, ?CMD_PRODUCE, Data)
    end,
    {ok, {crema_transaction, _, _, Epoch, {Port, _, _}}} = crema:transaction(P, fun(Tx) ->
        {crema_transaction, _, _, Epoch, {Port, _, _}} = Tx,
        ?assertMatch({error, {stale_transaction, _}}, Try(Port, 0)),
        ?assertMatch({error, {stale_transaction, _}}, Try(Port, Epoch + 1)),
        ?assertEqual(ok, Try(Port, Epoch)),
        Tx
    end),
    ?assertMatch({error, {stale_transaction, _}}, Try(Port, 0)),
    ?assertMatch({error, {stale_transaction, _}}, Try(Port, Epoch)),
    Plain = crema_ct:producer(Config),
    {ok, producer, Other, _, _} = crema_registry:lookup(Plain),
    ?assertMatch({error, {stale_transaction, _}}, Try(Other, 1)),
    ?assertEqual(ok, Try(Other, 0)),
    ?assertMatch(
        {error, {not_transactional, _}},
        crema_port:command(Other, ?CMD_TRANSACT, <<?TRANSACT_BEGIN, 1:32, "tag">>)
    ).

%% ---- offsets -------------------------------------------------------------------------

offsets(Config) ->
    %% Offsets are sent by member or by metadata, as tuples or as messages; with an
    %% error of the group the transaction is aborted.
    Topic = crema_ct_consume:filled(Config, 3),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{commit => transaction}),
    Messages = [Message || {_, Message} <- crema_ct:handled(3)],
    P = producer(Config),
    {ok, Metadata} = crema:group_metadata(C),
    ?assertEqual(
        {ok, [ok, ok, ok, ok]},
        crema:transaction(P, fun(Tx) ->
            [
                crema:send_offsets(Tx, C, Messages),
                crema:send_offsets(Tx, Metadata, [{Topic, 0, 3}]),
                crema:send_offsets(Tx, Metadata, Messages ++ [{Topic, 0, 3}]),
                crema:send_offsets(Tx, Metadata, [])
            ]
        end)
    ),
    {ok, Wrong} = crema:transaction(P, fun(Tx) ->
        [crema:send_offsets(Tx, Metadata, [W]) || W <- [{Topic, -1, 3}, {Topic, 0, x}, nothing]]
    end),
    [?assertMatch({error, {bad_call, #{field := offsets}}}, W) || W <- Wrong],
    {ok, Old} = crema:transaction(P, fun(Tx) -> Tx end),
    ?assertMatch({error, {stale_transaction, _}}, crema:send_offsets(Old, Metadata, Messages)),
    ?assertMatch({error, {not_found, _}}, crema:group_metadata(P)).

acknowledged_only(Config) ->
    %% With commit => transaction what is acknowledged is not committed: the next
    %% member begins where the group is.
    Topic = crema_ct_consume:filled(Config, 3),
    Group = #{group => crema_ct:unique(<<"group">>), commit => transaction},
    C = crema_ct:consumer(Config, Topic, #{to => self()}, Group),
    ?assertEqual([1, 2, 3], crema_ct_consume:values(crema_ct:handled(3))),
    true = crema_ct_consume:all_acknowledged(C),
    ok = crema_consumer:stop(C),
    _ = crema_ct:consumer(Config, Topic, #{to => self()}, Group),
    ?assertEqual([1, 2, 3], crema_ct_consume:values(crema_ct:handled(3))).
