%% Transactions on the embedded cluster: which calls are part of which, whose turn
%% it is, and what everyone is told. It keeps no transactions apart for readers:
%% what those see is proved in crema_transaction_kafka_SUITE.
-module(crema_transaction_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([commit/1, abort/1, abort_by_another/1, exceptions/1, caller_dies/1, nested/1]).
-export([turns/1, turn_in_time/1, waiter_dies/1, stale/1, stale_in_admission/1]).
-export([plain_calls/1, plain_call_waits/1, plain_call_inside/1, refused_message/1, variants/1]).

-import(crema_ct_transaction, [producer/1, producer/2, holder/2]).
-import(crema_ct_transaction, [let_end/1, one_message/2, listen/2, heard/2]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [
        commit, abort, abort_by_another, exceptions, caller_dies, nested,
        turns, turn_in_time, waiter_dies, stale, stale_in_admission,
        plain_calls, plain_call_waits, plain_call_inside, refused_message, variants
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

%% ---- ends ---------------------------------------------------------------------

commit(Config) ->
    %% A function's result comes back when its transaction is committed; what it
    %% produced, it and others, is reported; events tell.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 2),
    Started = listen(P, started),
    Committed = listen(P, committed),
    ?assertMatch(
        {ok, {{ok, #{offset := 0}}, [{ok, _}, {ok, _}], {ok, #{partition := 1}}}},
        crema:transaction(P, fun(Tx) ->
            One = crema:produce(Tx, #{topic => Topic, partition => 0, value => <<"1">>}),
            {ok, Ref} = crema:produce_many_async(Tx, [#{topic => Topic}, #{topic => Topic}]),
            [Other] = crema_ct:spawned([
                fun() -> crema:produce(Tx, #{topic => Topic, partition => 1}) end
            ]),
            {ok, Many} = crema:await(Ref),
            {One, Many, Other}
        end)
    ),
    heard(Started, started),
    heard(Committed, committed),
    crema_ct:quiet().

abort(Config) ->
    %% An abort leaves the function, whatever it catches, and gives the reason.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Aborted = listen(P, aborted),
    Self = self(),
    ?assertEqual(
        {aborted, {my, reason}},
        crema:transaction(P, fun(Tx) ->
            {ok, Ref} = crema:produce_async(Tx, #{topic => Topic}),
            Self ! {made, Ref},
            crema:abort(Tx, {my, reason}),
            Self ! not_left
        end)
    ),
    ?assertMatch(#{cause := abort}, heard(Aborted, aborted)),
    receive
        {made, Ref} -> ?assertMatch({_, _}, crema:await(Ref, 0))
    end,
    ?assertEqual(
        {aborted, caught},
        crema:transaction(P, fun(Tx) -> catch crema:abort(Tx, caught) end)
    ),
    heard(Aborted, aborted),
    ?assertEqual({ok, fine}, crema:transaction(P, fun(_) -> fine end)),
    crema_ct:quiet().

abort_by_another(Config) ->
    %% Another process may abort: it goes on, and so does the function, in vain.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    ?assertEqual(
        {aborted, elsewhere},
        crema:transaction(P, fun(Tx) ->
            [ok] = crema_ct:spawned([fun() -> crema:abort(Tx, elsewhere) end]),
            {error, {stale_transaction, _}} = crema:produce(Tx, #{topic => Topic}),
            {error, {stale_transaction, _}} = crema:abort(Tx, again),
            {error, {stale_transaction, _}} = crema:transaction(P, fun(_) -> error(begun) end),
            {error, {in_transaction, _}} = crema:produce(P, #{topic => Topic}),
            done
        end)
    ).

exceptions(Config) ->
    %% Exceptions abort and are raised again, with the stack they had.
    P = producer(Config),
    Aborted = listen(P, aborted),
    [
        begin
            ?assertEqual({Class, why, [{my, own, 0, []}]}, raised(P, Class)),
            ?assertMatch(#{cause := exception}, heard(Aborted, aborted))
        end
     || Class <- [throw, error, exit]
    ].

raised(P, Class) ->
    try
        crema:transaction(P, fun(_) -> erlang:raise(Class, why, [{my, own, 0, []}]) end)
    catch
        Raised:Reason:Stack -> {Raised, Reason, Stack}
    end.

caller_dies(Config) ->
    %% The death of the process aborts, and the next has its turn.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Aborted = listen(P, aborted),
    {Pid, _} = holder(P, Topic),
    exit(Pid, kill),
    ?assertMatch(#{cause := caller_died}, heard(Aborted, aborted)),
    ?assertMatch({ok, {ok, _}}, one_message(P, Topic)).

nested(Config) ->
    %% Within a transaction, another of its handle or its producer is part of it:
    %% it ends with the outer one.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Committed = listen(P, committed),
    ?assertEqual(
        {ok, {ok, {ok, inner}}},
        crema:transaction(P, fun(Tx) ->
            crema:transaction(Tx, fun(Tx2) ->
                Tx = Tx2,
                crema:transaction(P, fun(Tx3) ->
                    {ok, _} = crema:produce(Tx3, #{topic => Topic}),
                    inner
                end)
            end)
        end)
    ),
    heard(Committed, committed),
    ?assertEqual(
        {aborted, deep},
        crema:transaction(P, fun(Tx) ->
            crema:transaction(P, fun(Inner) -> crema:abort(Inner, deep) end),
            Tx
        end)
    ),
    crema_ct:quiet(),
    {ok, Old} = crema:transaction(P, fun(Tx) -> Tx end),
    ?assertMatch({error, {stale_transaction, _}}, crema:transaction(Old, fun(_) -> ok end)).

%% ---- turns --------------------------------------------------------------------

turns(Config) ->
    %% Many processes: one transaction at a time, each of them gets its turn.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Open = counters:new(1, []),
    Run = fun() ->
        crema:transaction(P, fun(Tx) ->
            ok = counters:add(Open, 1, 1),
            Alone = counters:get(Open, 1),
            {ok, _} = crema:produce(Tx, #{topic => Topic}),
            ok = counters:sub(Open, 1, 1),
            Alone
        end)
    end,
    ?assertEqual(lists:duplicate(40, {ok, 1}), crema_ct:spawned(lists:duplicate(40, Run))).

turn_in_time(Config) ->
    %% Who has waited for its turn until its deadline is told so, and nobody else.
    P = producer(Config, #{transaction_wait => 100}),
    Topic = crema_ct:topic(Config, 1),
    {Pid, _} = holder(P, Topic),
    [
        begin
            {Time, Result} = crema_ct:timed(fun() ->
                crema:transaction(P, fun(_) -> ok end, Options)
            end),
            ?assertMatch({error, {transaction_busy, #{retriable := true}}}, Result),
            ?assert(Time >= Least, {Time, Least})
        end
     || {Options, Least} <- [{#{}, 100}, {#{timeout => 20}, 20}, {#{timeout => 0}, 0}]
    ],
    ?assertEqual({ok, ok}, let_end(Pid)),
    ?assertMatch({ok, {ok, _}}, one_message(P, Topic)).

waiter_dies(Config) ->
    %% Who dies while it waits is passed over.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Started = listen(P, started),
    {Pid, _} = holder(P, Topic),
    heard(Started, started),
    Waiter = spawn(fun() -> crema:transaction(P, fun(_) -> error(begun) end) end),
    crema_ct:await(fun() -> process_info(Waiter, status) =:= {status, waiting} end),
    exit(Waiter, kill),
    ?assertEqual({ok, ok}, let_end(Pid)),
    ?assertMatch({ok, {ok, _}}, one_message(P, Topic)),
    heard(Started, started),
    crema_ct:quiet().

stale(Config) ->
    %% A handle is of no use after its transaction, for no kind of call, and not
    %% while another is open; nor is it once the producer has stopped.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    {ok, Old} = crema:transaction(P, fun(Tx) -> Tx end),
    Large = binary:copy(<<"v">>, 100000),
    Calls = [
        fun() -> crema:produce(Old, #{topic => Topic}) end,
        fun() -> crema:produce(Old, #{topic => Topic, value => Large}) end,
        fun() -> crema:produce_async(Old, #{topic => Topic}) end,
        fun() -> crema:produce_async(Old, #{topic => Topic, value => Large}) end,
        fun() -> crema:produce_many(Old, [#{topic => Topic}, #{topic => Topic}]) end,
        fun() -> crema:produce_async(Old, #{topic => Topic}, #{report => none}) end,
        fun() -> crema:abort(Old, why) end,
        fun() -> crema:transaction(Old, fun(_) -> ok end) end
    ],
    Check = fun() ->
        [?assertMatch({error, {stale_transaction, _}}, Call()) || Call <- Calls]
    end,
    Check(),
    {ok, _} = crema:transaction(P, fun(_) -> Check() end),
    #{accepted := Accepted} = crema:info(P),
    ?assertEqual(0, Accepted),
    ok = crema_producer:stop(P),
    [?assertMatch({error, {C, _}} when C =:= closed; C =:= stale_transaction, Call()) || Call <- Calls].

stale_in_admission(Config) ->
    %% A call that waits for a place when its transaction ends is refused when it
    %% is its turn, and not taken for the next transaction.
    P = producer(Config, #{max_queue_messages => 2, kafka => #{'linger.ms' => 60000}}),
    Topic = crema_ct:topic(Config, 1),
    Self = self(),
    {ok, Waiter} = crema:transaction(P, fun(Tx) ->
        {ok, _} = crema:produce_many_async(Tx, [#{topic => Topic}, #{topic => Topic}]),
        Pid = spawn_link(fun() ->
            Self ! {self(), crema:produce(Tx, #{topic => Topic, value => <<"late">>})}
        end),
        crema_ct:await(fun() -> maps:get(waiting_callers, crema:info(P)) =:= 1 end),
        Pid
    end),
    receive
        {Waiter, Result} -> ?assertMatch({error, {stale_transaction, _}}, Result)
    after 10000 -> error(no_answer)
    end,
    ?assertMatch(#{accepted := 2}, crema:info(P)).

%% ---- calls that are transactions of their own -----------------------------------

plain_calls(Config) ->
    %% A call outside any transaction is one of its own.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Committed = listen(P, committed),
    Aborted = listen(P, aborted),
    ?assertMatch({ok, #{offset := 0, label := l}}, crema:produce(P, #{topic => Topic, label => l})),
    heard(Committed, committed),
    {ok, Results} = crema:produce_many(P, [#{topic => Topic} || _ <- lists:seq(1, 10)]),
    ?assertEqual(#{ok => 10}, crema_ct:results(Results)),
    heard(Committed, committed),
    {ok, Ref} = crema:produce_async(P, #{topic => Topic, value => binary:copy(<<"v">>, 50000)}),
    heard(Committed, committed),
    %% Ten messages are before it, and what some brokers write to end a transaction.
    {ok, #{offset := Eleventh}} = crema:await(Ref, 0),
    ?assert(Eleventh >= 11),
    ok = crema:produce_async(P, #{topic => Topic}, #{report => message, tag => 5}),
    ?assertMatch([{5, {ok, _}}], crema_ct:reports(1)),
    heard(Committed, committed),
    ?assertMatch({error, {bad_message, _}}, crema:produce(P, #{topic => Topic, value => 5})),
    heard(Aborted, aborted),
    crema_ct:quiet().

plain_call_waits(Config) ->
    %% A plain call waits while a transaction is open, up to its own deadline, and
    %% comes after it.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Started = listen(P, started),
    {Pid, Tx} = holder(P, Topic),
    heard(Started, started),
    ?assertMatch(
        {error, {transaction_busy, _}}, crema:produce(P, #{topic => Topic}, #{timeout => 20})
    ),
    Self = self(),
    Plain = spawn_link(fun() -> Self ! {self(), crema:produce(P, #{topic => Topic})} end),
    crema_ct:await(fun() -> process_info(Plain, status) =:= {status, waiting} end),
    {ok, #{offset := Inside}} = crema:produce(Tx, #{topic => Topic}),
    ?assertEqual({ok, ok}, let_end(Pid)),
    receive
        {Plain, {ok, #{offset := After}}} -> ?assert(After > Inside)
    after 10000 -> error(no_report)
    end,
    heard(Started, started).

plain_call_inside(Config) ->
    %% The process that runs a transaction produces with its handle: a plain call
    %% would wait for itself.
    P = producer(Config),
    Topic = crema_ct:topic(Config, 1),
    {ok, Answer} = crema:transaction(P, fun(_) -> crema:produce(P, #{topic => Topic}) end),
    ?assertMatch({error, {in_transaction, _}}, Answer),
    ?assertMatch({error, {bad_message, _}}, crema:produce_many(P, [#{topic => Topic} | improper])),
    ?assertMatch({ok, _}, crema:produce(P, #{topic => Topic})).

refused_message(Config) ->
    %% A message that is refused or not delivered takes its transaction with it;
    %% of a plain call its error is the result.
    P = producer(Config, #{kafka => #{'message.max.bytes' => 2000}}),
    Topic = crema_ct:topic(Config, 1),
    Failed = listen(P, failed),
    Aborted = listen(P, aborted),
    Large = #{topic => Topic, value => binary:copy(<<"v">>, 10000)},
    Refused = crema:transaction(P, fun(Tx) ->
        {error, {msg_size_too_large, _}} = crema:produce(Tx, Large),
        {ok, _} = crema:produce(Tx, #{topic => Topic})
    end),
    ?assertMatch({error, {inconsistent, #{abortable := true}}}, Refused),
    heard(Failed, failed),
    ?assertMatch(#{cause := error}, heard(Aborted, aborted)),
    ?assertMatch({error, {msg_size_too_large, _}}, crema:produce(P, Large)),
    Many = crema:produce_many(P, [#{topic => Topic}, Large, #{topic => Topic}]),
    ?assertMatch({error, {msg_size_too_large, _}}, Many),
    ?assertMatch({error, {inconsistent, _}}, crema:produce_async(P, Large)),
    ?assertMatch({ok, {ok, _}}, one_message(P, Topic)).

variants(Config) ->
    %% A variant of a transactional producer is as good as that, and a handle has
    %% variants; each takes its topics' configuration along.
    P = producer(Config, #{connect => use}),
    [One, Two] = [crema_ct:topic(Config, 1) || _ <- [1, 2]],
    Gzip = #{topic_config => #{'compression.type' => gzip}},
    {ok, V} = crema:variant(P, Gzip),
    ?assertMatch({ok, #{offset := 0}}, crema:produce(V, #{topic => One})),
    {ok, {ok, _}} = crema:transaction(V, fun(Tx) ->
        crema:produce(Tx, #{topic => One})
    end),
    ?assertMatch({error, {topic_config_conflict, _}}, crema:produce(P, #{topic => One})),
    {ok, Old} = crema:transaction(P, fun(Tx) ->
        {ok, Inside} = crema:variant(Tx, Gzip),
        {ok, _} = crema:produce(Inside, #{topic => One}),
        {ok, #{offset := 0}} = crema:produce(Tx, #{topic => Two}),
        {error, {bad_options, _}} = crema:variant(Tx, Gzip#{client => own}),
        Inside
    end),
    ?assertMatch({error, {stale_transaction, _}}, crema:produce(Old, #{topic => One})).
