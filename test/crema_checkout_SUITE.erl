%% Members of a pool for one process alone, and for its transactions.
-module(crema_checkout_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    checkout/1, waiters_in_order/1, deadline/1, dead_holder/1, dead_waiter/1,
    killed_while_held/1, with_a_member/1, not_the_holder/1, events/1, transactions/1,
    one_deadline/1, nested_transactions/1, killed_transaction/1
]).

-import(crema_ct_pool, [pool/2, members/1]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        checkout, waiters_in_order, deadline, dead_holder, dead_waiter, killed_while_held,
        with_a_member, not_the_holder, events, transactions, one_deadline, nested_transactions,
        killed_transaction
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct_pool:cleanup().

checkout(Config) ->
    %% A member is one process's alone until it is given back; ordinary calls go to
    %% it all the same.
    Pool = pool(Config, #{size => 2}),
    {ok, One} = crema_pool:checkout(Pool),
    {ok, Two} = crema_pool:checkout(Pool, infinity),
    ?assertEqual(lists:sort([One, Two]), lists:sort(members(Pool))),
    ?assertEqual(#{size => 2, available => 0, waiting => 0, checked_out => 2}, crema_pool:stats(Pool)),
    {ok, _} = crema:produce(One, #{topic => t}),
    {ok, _} = crema:produce(Pool, #{topic => t}),
    ?assertMatch({error, {pool_timeout, _}}, crema_pool:checkout(Pool, 0)),
    ok = crema_pool:checkin(Pool, One),
    ?assertEqual({ok, One}, crema_pool:checkout(Pool, 0)),
    ok = crema_pool:checkin(Pool, One),
    ok = crema_pool:checkin(Pool, Two),
    ?assertMatch(#{available := 2, checked_out := 0}, crema_pool:stats(Pool)),
    crema_ct:quiet().

waiters_in_order(Config) ->
    %% Who waits gets a member in the order of arrival.
    Pool = pool(Config, #{size => 1}),
    {ok, Member} = crema_pool:checkout(Pool),
    Self = self(),
    Waiters = [
        begin
            Pid = spawn_link(fun() ->
                {ok, Got} = crema_pool:checkout(Pool, 30000),
                Self ! {got, N, Got},
                crema_pool:checkin(Pool, Got)
            end),
            crema_ct:await(fun() -> maps:get(waiting, crema_pool:stats(Pool)) =:= N end),
            Pid
        end
     || N <- lists:seq(1, 5)
    ],
    ok = crema_pool:checkin(Pool, Member),
    Order = [
        receive
            {got, N, Member} -> N
        after 10000 -> error(nobody)
        end
     || _ <- Waiters
    ],
    ?assertEqual([1, 2, 3, 4, 5], Order).

deadline(Config) ->
    %% Who waits in vain is told at the deadline: the call's, else the pool's.
    Pool = pool(Config, #{size => 1, checkout_timeout => 200}),
    {ok, Member} = crema_pool:checkout(Pool),
    [
        begin
            [{Time, Result}] = crema_ct:spawned([fun() -> crema_ct:timed(Wait) end]),
            ?assertMatch({error, {pool_timeout, _}}, Result),
            ?assert(Time >= Least andalso Time < Least + 2000, Time)
        end
     || {Least, Wait} <- [
            {200, fun() -> crema_pool:checkout(Pool) end},
            {100, fun() -> crema_pool:checkout(Pool, 100) end},
            {300, fun() -> crema_pool:with(Pool, fun(_) -> ok end, #{timeout => 300}) end}
        ]
    ],
    ?assertMatch(#{waiting := 0}, crema_pool:stats(Pool)),
    ok = crema_pool:checkin(Pool, Member),
    ?assertError(badarg, crema_pool:checkout(Pool, soon)).

dead_holder(Config) ->
    %% A member comes back when the process that has it dies.
    Pool = pool(Config, #{size => 1}),
    Self = self(),
    Holder = spawn(fun() ->
        Self ! crema_pool:checkout(Pool),
        receive
            never -> ok
        end
    end),
    Member = receive {ok, Pid} -> Pid after 5000 -> error(no_member) end,
    Waiter = spawn_link(fun() -> Self ! {waiter, crema_pool:checkout(Pool, 20000)} end),
    crema_ct:await(fun() -> maps:get(waiting, crema_pool:stats(Pool)) =:= 1 end),
    exit(Holder, kill),
    receive
        {waiter, Got} -> ?assertEqual({ok, Member}, Got)
    after 10000 -> error({nothing_for, Waiter})
    end,
    crema_ct:await(fun() -> maps:get(available, crema_pool:stats(Pool)) =:= 1 end).

dead_waiter(Config) ->
    %% A process that dies waiting is passed over.
    Pool = pool(Config, #{size => 1}),
    {ok, Member} = crema_pool:checkout(Pool),
    Waiter = spawn(fun() -> crema_pool:checkout(Pool, infinity) end),
    crema_ct:await(fun() -> maps:get(waiting, crema_pool:stats(Pool)) =:= 1 end),
    exit(Waiter, kill),
    crema_ct:await(fun() -> maps:get(waiting, crema_pool:stats(Pool)) =:= 0 end),
    ok = crema_pool:checkin(Pool, Member),
    ?assertMatch(#{available := 1}, crema_pool:stats(Pool)).

killed_while_held(Config) ->
    %% A member that dies is still its holder's, who gives back the place; the one
    %% started in its stead is then given out.
    Pool = pool(Config, #{size => 1}),
    {ok, Member} = crema_pool:checkout(Pool),
    exit(Member, kill),
    crema_ct:await(fun() -> members(Pool) =/= [Member] end),
    ?assertMatch({error, {pool_timeout, _}}, crema_pool:checkout(Pool, 50)),
    ?assertMatch({error, {closed, _}}, crema:produce(Member, #{topic => t})),
    ok = crema_pool:checkin(Pool, Member),
    {ok, New} = crema_pool:checkout(Pool, 10000),
    ?assertEqual([New], members(Pool)),
    {ok, _} = crema:produce(New, #{topic => t}),
    %% One that nobody has is not given out before it runs again.
    ok = crema_pool:checkin(Pool, New),
    exit(New, kill),
    {ok, Third} = crema_pool:checkout(Pool, 10000),
    ?assertMatch({ok, _}, crema:produce(Third, #{topic => t})).

with_a_member(Config) ->
    %% A function has a member to itself, also within itself, and gives it back
    %% however it ends.
    Pool = pool(Config, #{size => 1, name => ?FUNCTION_NAME}),
    Result = crema_pool:with(Pool, fun(Member) ->
        ?assertMatch(#{available := 0}, crema_pool:stats(Pool)),
        {ok, Same} = crema_pool:with(?FUNCTION_NAME, fun(Inner) -> Inner end, #{timeout => 0}),
        ?assertEqual(Member, Same),
        {done, Member}
    end),
    ?assertEqual({ok, {done, hd(members(Pool))}}, Result),
    [
        ?assertException(Class, reason, crema_pool:with(Pool, fun(_) -> erlang:raise(Class, reason, []) end))
     || Class <- [throw, error, exit]
    ],
    ?assertMatch(#{available := 1, checked_out := 0}, crema_pool:stats(Pool)),
    ?assertEqual([], [Key || {{crema_pool, _} = Key, _} <- get()]).

not_the_holder(Config) ->
    %% Only who has a member may give it back, and only once.
    Pool = pool(Config, #{size => 1}),
    {ok, Member} = crema_pool:checkout(Pool),
    [Other] = crema_ct:spawned([fun() -> crema_pool:checkin(Pool, Member) end]),
    ?assertMatch({error, {not_found, _}}, Other),
    ok = crema_pool:checkin(Pool, Member),
    ?assertMatch({error, {not_found, _}}, crema_pool:checkin(Pool, Member)),
    ?assertMatch({error, {not_found, _}}, crema_pool:checkin(Pool, self())).

events(Config) ->
    %% A pool tells of its start, its end, and of who waited in vain.
    Self = self(),
    Names = [[crema, pool, started], [crema, pool, stopped], [crema, pool, checkout_timeout]],
    Tell = fun(Name, Measurements, Metadata, _) ->
        Right = crema_event_table:check(Name, Measurements, Metadata),
        Self ! {lists:last(Name), Measurements, Metadata, Right}
    end,
    ok = crema_events:attach(?FUNCTION_NAME, Names, Tell, none),
    Pool = pool(Config, #{size => 1, name => ?FUNCTION_NAME}),
    Metadata = #{pool => Pool, name => ?FUNCTION_NAME},
    told({started, #{size => 1}, Metadata, ok}),
    {ok, _} = crema_pool:checkout(Pool),
    {error, _} = crema_pool:checkout(Pool, 0),
    receive
        {checkout_timeout, #{waited := _, waiting := 0}, Metadata, ok} -> ok
    after 5000 -> error(not_told)
    end,
    ok = crema_pool:stop(Pool),
    told({stopped, #{}, Metadata, ok}),
    ok = crema_events:detach(?FUNCTION_NAME).

told(Message) ->
    receive
        Message -> ok
    after 5000 -> error({not_told, Message})
    end.

transactions(Config) ->
    %% As many transactions run side by side as there are members; who comes then
    %% waits for one of them to end, up to the deadline.
    Pool = transactional(Config, 2),
    Topic = crema_ct:topic(Config, 1),
    {One, TxOne} = crema_ct_transaction:holder(Pool, Topic),
    {Two, TxTwo} = crema_ct_transaction:holder(Pool, Topic),
    {ok, _} = crema:produce(TxOne, #{topic => Topic}),
    {ok, _} = crema:produce(TxTwo, #{topic => Topic}),
    ?assertMatch(#{available := 0, checked_out := 2}, crema_pool:stats(Pool)),
    Run = fun(Tx) -> crema:produce(Tx, #{topic => Topic}) end,
    ?assertMatch({error, {pool_timeout, _}}, crema:transaction(Pool, Run, #{timeout => 100})),
    ?assertMatch({ok, _}, crema_ct_transaction:let_end(One)),
    ?assertMatch({ok, {ok, _}}, crema:transaction(Pool, Run)),
    ?assertMatch({ok, _}, crema_ct_transaction:let_end(Two)),
    {ok, V} = crema:variant(Pool, #{topic_config => #{'compression.type' => gzip}}),
    Other = crema_ct:topic(Config, 1),
    ?assertMatch(
        {ok, {ok, _}}, crema:transaction(V, fun(Tx) -> crema:produce(Tx, #{topic => Other}) end)
    ),
    ?assertEqual({aborted, why}, crema:transaction(Pool, fun(Tx) -> crema:abort(Tx, why) end)),
    ?assertMatch(#{available := 2}, crema_pool:stats(Pool)),
    %% Who wants none has one for each call, on the member that comes.
    ?assertMatch({ok, _}, crema:produce(Pool, #{topic => Topic})).

one_deadline(Config) ->
    %% The wait for a member and that for the turn, which somebody may have who uses
    %% the member without a checkout, have one deadline together.
    Pool = transactional(Config, 1),
    Topic = crema_ct:topic(Config, 1),
    [Member] = crema_ct_pool:members(Pool),
    {Turn, _} = crema_ct_transaction:holder(Member, Topic),
    Self = self(),
    Holder = spawn_link(fun() ->
        {ok, Member} = crema_pool:checkout(Pool),
        Self ! held,
        timer:sleep(1800),
        ok = crema_pool:checkin(Pool, Member)
    end),
    receive
        held -> ok
    end,
    {Time, Result} = crema_ct:timed(fun() ->
        crema:transaction(Pool, fun(_) -> ok end, #{timeout => 2500})
    end),
    ?assertMatch({error, {transaction_busy, _}}, Result),
    %% Not the one after the other.
    ?assert(Time < 1800 + 2500, Time),
    ?assertNot(is_process_alive(Holder)),
    ?assertMatch({ok, _}, crema_ct_transaction:let_end(Turn)).

nested_transactions(Config) ->
    %% A transaction of a pool within one is part of it.
    Pool = transactional(Config, 1),
    Topic = crema_ct:topic(Config, 1),
    Inner = fun(Tx) -> crema:produce(Tx, #{topic => Topic}) end,
    ?assertMatch(
        {ok, {{ok, _}, {ok, {ok, _}}}},
        crema:transaction(Pool, fun(Tx) ->
            {Inner(Tx), crema:transaction(Pool, Inner, #{timeout => 1000})}
        end)
    ).

killed_transaction(Config) ->
    %% The member of a process that dies in its transaction goes on with the next.
    Pool = transactional(Config, 1),
    Topic = crema_ct:topic(Config, 1),
    {Holder, _} = crema_ct_transaction:holder(Pool, Topic),
    exit(Holder, kill),
    ?assertMatch(
        {ok, {ok, _}},
        crema:transaction(Pool, fun(Tx) -> crema:produce(Tx, #{topic => Topic}) end)
    ),
    ?assertMatch(#{available := 1}, crema_pool:stats(Pool)).

transactional(Config, Size) ->
    pool(Config, #{size => Size, kafka => #{'transactional.id' => crema_ct:unique(<<"id">>)}}).
