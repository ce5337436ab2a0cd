%% Members of a group: who has which partitions, what happens to messages when
%% that changes, and how a member's own life begins and ends.
-module(crema_group_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    share_cooperative/1, share_range/1, member_without_partitions/1, member_dies/1,
    handler_finishes_before_it_leaves/1, late_handler_is_killed/1, token_of_a_revoked_partition/1,
    events_of_a_rebalance/1, many_consumers/1, group_process_dies/1,
    ready_and_status/1, no_broker/1, unknown_topic/1, wrong_options/1, names/1, supervised/1,
    stop_by_its_parent/1, stop_again/1, stop_at_once/1
]).
-export([init/1]).

-import(crema_ct_consume, [
    filled/2, values/1, number/1, telling/2, partitions/1, all_acknowledged/1, handled_so_far/0,
    listen/2, heard/1, event_is_as_told/3
]).

suite() -> [{timetrap, {seconds, 90}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            share_cooperative, share_range, member_without_partitions, member_dies,
            handler_finishes_before_it_leaves, late_handler_is_killed, token_of_a_revoked_partition,
            events_of_a_rebalance, many_consumers, group_process_dies,
            ready_and_status, no_broker, unknown_topic, wrong_options, names, supervised,
            stop_by_its_parent, stop_again, stop_at_once
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

share_cooperative(Config) ->
    %% A second member takes over half of the partitions, and gives them back when
    %% it leaves; meanwhile each message is handled once, in order.
    share(Config, #{}).

share_range(Config) ->
    %% The same with an eager strategy.
    share(Config, #{'partition.assignment.strategy' => range}).

share(Config, Kafka) ->
    Topic = crema_ct:topic(Config, 4),
    Options = #{group => crema_ct:unique(<<"group">>), kafka => Kafka},
    Member = fun() -> crema_ct:consumer(Config, Topic, #{to => self()}, Options) end,
    First = Member(),
    assigned(First, 4),
    Feeder = feed(Config, Topic, 4),
    One = crema_ct:handled(1000),
    Second = Member(),
    assigned(Second, 2),
    assigned(First, 2),
    Two = crema_ct:handled(1000),
    ok = crema_consumer:stop(Second),
    assigned(First, 4),
    Three = crema_ct:handled(1000),
    Fed = fed(Feeder),
    Rest = crema_ct:handled(4 * Fed - 3000),
    Handled = One ++ Two ++ Three ++ Rest,
    [
        ?assertEqual(
            lists:seq(1, Fed), [number(M) || {_, #{partition := N} = M} <- Handled, N =:= P]
        )
     || P <- lists:seq(0, 3)
    ],
    true = all_acknowledged(First),
    ?assertEqual([], handled_so_far()).

%% Produces to every partition, one number after another, until told to stop.
feed(Config, Topic, Partitions) ->
    P = crema_ct:producer(Config),
    spawn_link(fun() -> feed(P, Topic, Partitions, 1) end).

feed(P, Topic, Partitions, Number) ->
    {ok, Results} = crema:produce_many(P, [
        #{topic => Topic, partition => N, value => integer_to_binary(Number)}
     || N <- lists:seq(0, Partitions - 1)
    ]),
    #{ok := Partitions} = crema_ct:results(Results),
    receive
        {stop, From} -> From ! {self(), Number}
    after 2 -> feed(P, Topic, Partitions, Number + 1)
    end.

fed(Feeder) ->
    Feeder ! {stop, self()},
    receive
        {Feeder, Number} -> Number
    after 10000 -> error(feeder_stuck)
    end.

member_without_partitions(Config) ->
    %% A member that has nothing to do is ready and well, and takes over when the
    %% other leaves.
    Topic = filled(Config, 3),
    Options = #{group => crema_ct:unique(<<"group">>)},
    Member = fun() -> crema_ct:consumer(Config, Topic, #{to => self()}, Options) end,
    First = Member(),
    ?assertEqual([1, 2, 3], values(crema_ct:handled(3))),
    Second = Member(),
    ?assertEqual(ok, crema:await_ready(Second, 20000)),
    [Idle] = [C || C <- [First, Second], maps:get(assigned, crema:status(C)) =:= []],
    ?assertMatch(#{joined := true, connected := true, fatal := false}, crema:status(Idle)),
    [Busy] = [First, Second] -- [Idle],
    ok = crema_consumer:stop(Busy),
    assigned(Idle, 1),
    ok = crema_ct:fill(Config, Topic, 0, [4]),
    ?assertEqual([4], values(crema_ct:handled(1))).

member_dies(Config) ->
    %% The partitions of a member that is killed go to the others, and with them
    %% what was not committed: repeats, but no gap.
    Topic = crema_ct:topic(Config, 2),
    Options = #{group => crema_ct:unique(<<"group">>)},
    Member = fun() -> crema_ct:consumer(Config, Topic, #{to => self()}, Options) end,
    Members = [Member(), Member()],
    [assigned(C, 1) || C <- Members],
    [ok = crema_ct:fill(Config, Topic, P, lists:seq(1, 100)) || P <- [0, 1]],
    exit(hd(Members), kill),
    assigned(lists:last(Members), 2),
    [ok = crema_ct:fill(Config, Topic, P, [101]) || P <- [0, 1]],
    Handled = until_both_saw(101, []),
    [
        ?assertEqual(
            lists:seq(1, 101), lists:usort([number(M) || {_, #{partition := N} = M} <- Handled, N =:= P])
        )
     || P <- [0, 1]
    ].

until_both_saw(Last, Handled) ->
    case length(lists:usort([P || {_, #{partition := P} = M} <- Handled, number(M) =:= Last])) of
        2 -> Handled;
        _ -> until_both_saw(Last, Handled ++ crema_ct:handled(1))
    end.

handler_finishes_before_it_leaves(Config) ->
    %% The handler of a revoked partition finishes its message, which is committed
    %% before the partition goes: the next owner does not get it again.
    {First, Second, Worker, Message} = busy_in_a_rebalance(Config, #{}),
    crema_ct:await(fun() -> erlang:process_info(Worker, message_queue_len) =/= {message_queue_len, 0} end),
    Worker ! continue,
    assigned(First, 1),
    assigned(Second, 1),
    ?assertNot(is_process_alive(Worker)),
    Partition = maps:get(partition, Message),
    Next = [M || {_, #{partition := P} = M} <- [next_handled(), next_handled()], P =:= Partition],
    ?assertEqual([number(Message) + 1], [number(M) || M <- Next]).

late_handler_is_killed(Config) ->
    %% The handler of a revoked partition that goes on for longer than
    %% drain_timeout is killed, and its message goes to the next owner.
    {First, Second, Worker, Message} = busy_in_a_rebalance(Config, #{drain_timeout => 300}),
    assigned(First, 1),
    assigned(Second, 1),
    ?assertNot(is_process_alive(Worker)),
    Partition = maps:get(partition, Message),
    Next = [M || {_, #{partition := P} = M} <- [next_handled(), next_handled()], P =:= Partition],
    ?assertEqual([number(Message)], [number(M) || M <- Next]).

%% A member whose handlers wait to be told to go on, and another that comes to
%% the group; the handler that is to lose its partition, and its message.
busy_in_a_rebalance(Config, More) ->
    Topic = crema_ct:topic(Config, 2),
    [ok = crema_ct:fill(Config, Topic, P, lists:seq(1, 10)) || P <- [0, 1]],
    Self = self(),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        receive
            continue -> {ack, State}
        end
    end,
    Options = More#{group => crema_ct:unique(<<"group">>)},
    Member = fun() -> crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, Options) end,
    Revoked = listen(Topic, [crema, consumer, revoked]),
    First = Member(),
    Busy = crema_ct:handled(2),
    Second = Member(),
    %% The group's process has heard of the revocation, its worker will.
    Lost = crema_ct:await(fun() ->
        Assigned = maps:get(assigned, crema:status(First)),
        Gone = [{W, M} || {W, #{partition := P} = M} <- Busy, not lists:member({Topic, P}, Assigned)],
        Told = [W || {W, _} <- Busy, not is_process_alive(W) orelse queued(W) > 0],
        case {Gone, Told} of
            {[One], _} -> {ok, One};
            {[], [W]} -> {ok, lists:keyfind(W, 1, Busy)};
            _ -> false
        end
    end),
    _ = Revoked,
    {Worker, Message} = Lost,
    {First, Second, Worker, Message}.

queued(Pid) ->
    case erlang:process_info(Pid, message_queue_len) of
        {message_queue_len, Length} -> Length;
        undefined -> 1
    end.

next_handled() ->
    [Next] = crema_ct:handled(1),
    {Worker, _} = Next,
    Worker ! continue,
    Next.
