%% Back-pressure of a producer: who is admitted, who waits, who is refused.
%%
%% Nobody takes messages in these cases, so the queue stays as full as it is
%% until a purge empties it.
-module(crema_queue_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    refused_at_once/1, refused_in_time/1, refused_synchronous/1, whole_or_not_at_all/1,
    batch_too_large/1, limit_in_bytes/1, what_a_reference_keeps/1,
    woken_in_order/1, nobody_overtakes/1, deadline_of_the_first/1, killed_waiter/1,
    killed_callers_keep_their_places/1, large_values_wait/1, woken_by_reports/1, others_go_on/1,
    crowd/1, crowd_and_slow_broker/1, crowd_and_stop/1, native_memory/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        refused_at_once, refused_in_time, refused_synchronous, whole_or_not_at_all,
        batch_too_large, limit_in_bytes, what_a_reference_keeps,
        woken_in_order, nobody_overtakes, deadline_of_the_first, killed_waiter,
        killed_callers_keep_their_places, large_values_wait, woken_by_reports, others_go_on,
        crowd, crowd_and_slow_broker, crowd_and_stop, native_memory
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

refused_at_once(_Config) ->
    %% With on_full => error a full queue refuses without waiting, and says what
    %% can be done; the option of a call counts more than the producer's.
    P = full(3, #{on_full => error}),
    {Time, Result} = crema_ct:timed(fun() -> put_one(P, #{}) end),
    {error, {queue_full, #{message := Text, retriable := true}}} = Result,
    %% Half of the default of full_timeout.
    ?assert(Time < 5000),
    ?assertMatch({match, _}, re:run(Text, "max_queue_messages")),
    {Waited, {error, {queue_full, _}}} =
        crema_ct:timed(fun() -> put_one(P, #{on_full => wait, full_timeout => 150}) end),
    ?assert(Waited >= 150),
    ?assertMatch(#{waiting_callers := 0, accepted := 3}, crema:info(P)),
    crema_ct:quiet().

native_memory(_Config) ->
    %% What waits in the queue is in what is told of native memory, where anything is, until
    %% it is given up.
    case crema_anchor:allocated() of
        {ok, Before} when is_integer(Before) ->
            P = crema_ct:unreachable(#{}),
            Messages = lists:duplicate(5000, #{topic => t, value => binary:copy(<<0>>, 1000)}),
            ok = crema:produce_many_async(P, Messages, #{report => none}),
            {ok, Full} = crema_anchor:allocated(),
            ?assert(Full - Before > 5000 * 1000, Full - Before),
            ok = crema:purge(P),
            crema_ct:await(fun() -> element(2, crema_anchor:allocated()) < Full - 4000 * 1000 end);
        {ok, none} ->
            {skip, "this allocator does not tell"}
    end.

refused_in_time(_Config) ->
    %% Who waits for a place keeps the deadline, in every form of a call.
    P = full(3, #{full_timeout => 150}),
    Calls = [
        fun() -> put_one(P, #{}) end,
        fun() -> put_one(P, #{report => message}) end,
        fun() -> crema:produce_async(P, message(0)) end,
        fun() -> crema:produce_many_async(P, [message(0), message(1)]) end,
        fun() -> crema:produce(P, message(0)) end,
        fun() -> crema:produce_many(P, [message(0)]) end
    ],
    [
        begin
            {Time, Result} = crema_ct:timed(Call),
            ?assertMatch({error, {queue_full, _}}, Result),
            ?assert(Time >= 150 andalso Time < 5000, Time)
        end
     || Call <- Calls
    ],
    ?assertMatch(#{waiting_callers := 0, accepted := 3}, crema:info(P)),
    crema_ct:quiet().

refused_synchronous(_Config) ->
    %% A synchronous call that was admitted late still has its own time for the
    %% report.
    P = full(1, #{full_timeout => 10000}),
    Waiter = call(fun() -> crema:produce(P, message(0), #{timeout => 2000}) end),
    waiting(P, 1),
    ok = crema:purge(P),
    accepted(P, 2),
    ?assertMatch({error, {purge_queue, _}}, purged_result(P, Waiter)).

whole_or_not_at_all(_Config) ->
    %% A call's messages are admitted together or not at all.
    P = full(3, #{max_queue_messages => 5, on_full => error}),
    Many = fun(N) ->
        Messages = [message(I) || I <- lists:seq(1, N)],
        crema:produce_many_async(P, Messages, #{report => none})
    end,
    ?assertMatch({error, {queue_full, #{retriable := true}}}, Many(3)),
    ?assertMatch(#{accepted := 3, queue_messages := 3}, crema:info(P)),
    ?assertEqual(ok, Many(2)),
    ?assertMatch(#{accepted := 5, queue_messages := 5}, crema:info(P)),
    ?assertMatch({error, {queue_full, _}}, Many(1)).

batch_too_large(_Config) ->
    %% More than the whole queue holds is refused at once, even by an empty one
    %% and by one that would wait: it could never be admitted.
    P = crema_ct:unreachable(#{max_queue_messages => 10, max_queue_bytes => 1000}),
    Eleven = [message(N) || N <- lists:seq(1, 11)],
    Heavy = [(message(0))#{value => binary:copy(<<"x">>, 600)} || _ <- [1, 2]],
    [
        begin
            {Time, Result} = crema_ct:timed(fun() -> crema:Function(P, Messages) end),
            {error, {batch_too_large, #{message := Text}}} = Result,
            ?assertMatch({match, _}, re:run(Text, "send fewer")),
            ?assert(Time < 5000)
        end
     || Messages <- [Eleven, Heavy], Function <- [produce_many, produce_many_async]
    ],
    ?assertMatch({error, {batch_too_large, _}},
        crema:produce_async(P, #{topic => t, value => binary:copy(<<"x">>, 100000)})),
    ?assertMatch(#{accepted := 0, queue_bytes := 0}, crema:info(P)).

limit_in_bytes(_Config) ->
    %% The bytes of keys, values and headers count, and are given back.
    P = crema_ct:unreachable(#{max_queue_bytes => 1000, on_full => error}),
    Message = #{
        topic => t,
        key => binary:copy(<<"k">>, 100),
        value => binary:copy(<<"v">>, 300),
        headers => [{<<"h">>, binary:copy(<<"h">>, 100)}]
    },
    ok = crema:produce_async(P, Message, #{report => none}),
    #{queue_bytes := Bytes} = crema:info(P),
    ?assert(Bytes >= 501 andalso Bytes =< 600, Bytes),
    ?assertMatch({error, {queue_full, _}}, crema:produce_async(P, Message, #{report => none})),
    ok = crema:purge(P),
    crema_ct:await(fun() -> maps:get(queue_messages, crema:info(P)) =:= 0 end),
    ?assertMatch(#{queue_bytes := 0}, crema:info(P)),
    ?assertEqual(ok, crema:produce_async(P, Message, #{report => none})).

what_a_reference_keeps(_Config) ->
    %% A value by reference counts as the binary that it keeps alive; a small
    %% part of a large binary does not keep it.
    P = crema_ct:unreachable(#{}),
    Whole = crypto:strong_rand_bytes(1000000),
    Put = fun(From, Size) ->
        Value = binary:part(Whole, From, Size),
        ok = crema:produce_async(P, #{topic => t, value => Value}, #{report => none}),
        maps:get(queue_bytes, crema:info(P))
    end,
    Most = Put(100, 600000),
    ?assert(Most >= 1000000, Most),
    Little = Put(100, 20000) - Most,
    ?assert(Little >= 20000 andalso Little < 30000, Little).

woken_in_order(_Config) ->
    %% Freed places go to those that wait in the order in which they came.
    P = full(1, #{}),
    Waiters = [
        begin
            Waiter = call(fun() -> put_one(P, #{}) end),
            waiting(P, N),
            Waiter
        end
     || N <- lists:seq(1, 5)
    ],
    Order = [
        begin
            ok = crema:purge(P),
            accepted(P, 1 + N),
            next_result(Waiters)
        end
     || N <- lists:seq(1, 5)
    ],
    ?assertEqual([{Waiter, ok} || Waiter <- Waiters], Order).

nobody_overtakes(_Config) ->
    %% A small call does not overtake a large one that waits, but gets its place
    %% when the large one gives up.
    P = full(3, #{max_queue_messages => 4}),
    Large = call(fun() ->
        Messages = [message(N) || N <- [1, 2]],
        crema:produce_many_async(P, Messages, #{report => none, full_timeout => 2000})
    end),
    waiting(P, 1),
    ?assertMatch({error, {queue_full, _}}, put_one(P, #{on_full => error})),
    Small = call(fun() -> put_one(P, #{}) end),
    waiting(P, 2),
    {First, {error, {queue_full, _}}} = next_result([Large, Small]),
    ?assertEqual({Large, {Small, ok}}, {First, next_result([Small])}).

deadline_of_the_first(_Config) ->
    %% A deadline concerns only its own call: the others keep their turn.
    P = full(1, #{}),
    First = call(fun() -> put_one(P, #{full_timeout => 2000}) end),
    waiting(P, 1),
    Second = call(fun() -> put_one(P, #{}) end),
    waiting(P, 2),
    ?assertMatch({First, {error, {queue_full, _}}}, next_result([First, Second])),
    ?assertMatch(#{waiting_callers := 1}, crema:info(P)),
    ok = crema:purge(P),
    ?assertEqual({Second, ok}, next_result([Second])).

killed_waiter(_Config) ->
    %% A caller that dies while it waits leaves the line; its message is not
    %% accepted.
    P = full(1, #{}),
    First = call(fun() -> put_one(P, #{}) end),
    waiting(P, 1),
    Second = call(fun() -> put_one(P, #{}) end),
    waiting(P, 2),
    true = exit(First, kill),
    waiting(P, 1),
    ok = crema:purge(P),
    ?assertEqual({Second, ok}, next_result([Second])),
    ?assertMatch(#{accepted := 2, waiting_callers := 0}, crema:info(P)).

killed_callers_keep_their_places(_Config) ->
    %% What was accepted from a caller that is dead now still counts, until it is
    %% reported.
    P = full(2, #{on_full => error}),
    ?assertMatch(#{queue_messages := 2}, crema:info(P)),
    ?assertMatch({error, {queue_full, _}}, put_one(P, #{})),
    ok = crema:purge(P),
    crema_ct:await(fun() -> maps:get(queue_messages, crema:info(P)) =:= 0 end),
    ?assertEqual(ok, put_one(P, #{})).

large_values_wait(Config) ->
    %% Large values, which come by reference, wait like others, and are whole
    %% when their turn has come.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config, #{max_queue_bytes => 1000000}),
    Caller = fun(N) ->
        fun() ->
            Value = binary:copy(<<N>>, 300000),
            {ok, _} = crema:produce(P, #{topic => Topic, partition => 0, value => Value})
        end
    end,
    _ = crema_ct:spawned([Caller(N) || N <- lists:seq(1, 12)]),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    Values = [Value || {_, #{value := Value}} <- crema_ct:handled(12)],
    true = crema_ct_consume:all_acknowledged(C),
    ?assertEqual([], crema_ct_consume:handled_so_far()),
    ?assertEqual(
        lists:sort([erlang:md5(binary:copy(<<N>>, 300000)) || N <- lists:seq(1, 12)]),
        lists:sort([erlang:md5(Value) || Value <- Values])
    ).

woken_by_reports(Config) ->
    %% With a queue far smaller than the load everybody gets through, woken by
    %% the reports of others.
    Topic = crema_ct:topic(Config, 4),
    P = crema_ct:producer(Config, #{max_queue_messages => 10}),
    Caller = fun() ->
        Calls = [fun crema:produce/2, fun crema:produce_async/2],
        [(lists:nth(1 + N rem 2, Calls))(P, #{topic => Topic}) || N <- lists:seq(1, 200)]
    end,
    Results = lists:append(crema_ct:spawned(lists:duplicate(16, Caller))),
    ?assertEqual(#{ok => 3200}, crema_ct:results(Results)),
    ok = crema:flush(P, 10000),
    ?assertMatch(#{accepted := 3200, reported := 3200, queue_messages := 0}, crema:info(P)).

others_go_on(Config) ->
    %% Callers that wait for one producer do not hold up another.
    Full = full(1, #{}),
    Waiters = [call(fun() -> put_one(Full, #{}) end) || _ <- lists:seq(1, 50)],
    waiting(Full, 50),
    P = crema_ct:producer(Config),
    {Time, {ok, _}} = crema_ct:timed(fun() -> crema:produce(P, #{topic => t}) end),
    ?assert(Time < 2000, Time),
    [exit(Waiter, kill) || Waiter <- Waiters],
    waiting(Full, 0).

crowd(Config) ->
    %% Of 64 processes that wait for their reports and 32 that do not, on a queue
    %% that is full most of the time, none waits longer than its deadline.
    P = crema_ct:producer(Config, #{max_queue_messages => 60, max_queue_bytes => 200000}),
    Ended = crema_ct_crowd:keeps_deadlines(P, crema_ct:topic(Config, 4), fun() ->
        crema_ct:await(fun() -> maps:get(reported, crema:info(P)) > 50000 end, 60000)
    end),
    ?assertMatch(#{ok := _}, Ended),
    all_reported(P).

crowd_and_slow_broker(Config) ->
    %% The same while the broker leaves requests unanswered for some time.
    {ok, Cluster} = crema_cluster:start_link(),
    Own = [{bootstrap, crema_cluster:bootstrap_servers(Cluster)} | Config],
    P = crema_ct:producer(Own, #{max_queue_messages => 60, max_queue_bytes => 200000}),
    Ended = crema_ct_crowd:keeps_deadlines(P, crema_ct:unique(<<"topic">>), fun() ->
        [
            begin
                ok = crema_cluster:fail(Cluster, produce, lists:duplicate(3, {no_error, 700})),
                #{reported := Before} = crema:info(P),
                crema_ct:await(fun() -> maps:get(reported, crema:info(P)) > Before + 5000 end)
            end
         || _ <- [1, 2]
        ]
    end),
    ?assertMatch(#{ok := _, queue_full := _, timeout := _}, Ended),
    all_reported(P).

crowd_and_stop(_Config) ->
    %% The same when nobody takes messages, and the producer is stopped under them.
    P = crema_ct:unreachable(#{max_queue_messages => 60, max_queue_bytes => 200000}),
    Ended = crema_ct_crowd:keeps_deadlines(P, <<"t">>, fun() ->
        crema_ct:await(fun() -> maps:get(waiting_callers, crema:info(P)) > 50 end),
        {error, {timeout, _}} = crema:flush(P, 500),
        ok = crema_producer:stop(P, 0)
    end),
    ?assertMatch(#{queue_full := _, closed := _}, Ended).

all_reported(P) ->
    ok = crema:flush(P, 20000),
    #{accepted := Accepted, reported := Reported, waiting_callers := Waiting} = crema:info(P),
    ?assertEqual({Accepted, 0}, {Reported, Waiting}).

%% A producer whose queue is filled with so many messages, by somebody who is
%% dead; its limit is that number unless Options say otherwise.
full(Count, Options) ->
    P = crema_ct:unreachable(maps:merge(#{max_queue_messages => Count}, Options)),
    Fill = fun() -> [put_one(P, #{}) || _ <- lists:seq(1, Count)] end,
    ?assertEqual([lists:duplicate(Count, ok)], crema_ct:spawned([Fill])),
    P.

put_one(P, Options) ->
    crema:produce_async(P, message(0), maps:merge(#{report => none}, Options)).

message(N) ->
    #{topic => t, value => integer_to_binary(N)}.

%% A process that sends what the function returns.
call(Fun) ->
    Self = self(),
    spawn(fun() -> Self ! {result, self(), Fun()} end).

next_result(Callers) ->
    receive
        {result, Caller, Result} ->
            true = lists:member(Caller, Callers),
            {Caller, Result}
    after 10000 -> error(no_result)
    end.

%% Purges until the caller has its result.
purged_result(P, Caller) ->
    ok = crema:purge(P),
    receive
        {result, Caller, {error, {timeout, #{ref := _}}}} -> error(too_early);
        {result, Caller, Result} -> Result
    after 10000 -> error(no_result)
    end.

waiting(P, Count) ->
    crema_ct:await(fun() -> maps:get(waiting_callers, crema:info(P)) =:= Count end).

accepted(P, Count) ->
    crema_ct:await(fun() -> maps:get(accepted, crema:info(P)) =:= Count end).
