%% Members of a group: who has which partitions, and what happens to messages
%% when that changes.
%%
%% The cases run side by side, for a group that changes waits for seconds.
-module(crema_group_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    share_cooperative/1, share_range/1, member_without_partitions/1, member_dies/1,
    handler_finishes_before_it_leaves/1, late_handler_is_killed/1, token_of_a_revoked_partition/1,
    events_of_a_rebalance/1, many_consumers/1, group_process_dies/1
]).
%% For crema_group_kafka_SUITE.
-export([share/2, feed/3, fed/1]).
-import(crema_ct_consume, [
    filled/2, values/1, number/1, all_acknowledged/1, handled_so_far/0,
    listen/2, heard/1, event_is_as_told/3
]).

suite() -> [{timetrap, {seconds, 90}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            share_cooperative, share_range, member_without_partitions, member_dies,
            handler_finishes_before_it_leaves, late_handler_is_killed, token_of_a_revoked_partition,
            events_of_a_rebalance, many_consumers, group_process_dies
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
    One = crema_ct:handled(300),
    Second = Member(),
    assigned(Second, 2),
    assigned(First, 2),
    Two = crema_ct:handled(300),
    ok = crema_consumer:stop(Second),
    assigned(First, 4),
    Fed = fed(Feeder),
    Handled = One ++ Two ++ until_all_saw(Fed, lists:seq(0, 3), []),
    [once_and_in_order(Config, Fed, numbers(P, Handled)) || P <- lists:seq(0, 3)],
    true = all_acknowledged(First),
    ?assertEqual([], handled_so_far()).

%% The mock cluster takes no commit while it rebalances, as real brokers do: with
%% it a partition that moves goes back to the last commit, but never ahead.
once_and_in_order(Config, Last, Numbers) ->
    case proplists:is_defined(cluster, Config) of
        false ->
            ?assertEqual(lists:seq(1, Last), Numbers);
        true ->
            Ahead = fun(Number, Most) ->
                ?assert(Number =< Most + 1),
                max(Number, Most)
            end,
            ?assertEqual(Last, lists:foldl(Ahead, 0, Numbers))
    end.

%% All messages up to the last one of each of the partitions.
until_all_saw(_Last, [], Handled) ->
    lists:reverse(Handled);
until_all_saw(Last, Partitions, Handled) ->
    [{_, #{partition := P} = Message} = One] = crema_ct:handled(1),
    Left = case number(Message) of Last -> lists:delete(P, Partitions); _ -> Partitions end,
    until_all_saw(Last, Left, [One | Handled]).

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
    Handled = until_all_saw(101, [0, 1], []),
    [?assertEqual(lists:seq(1, 101), lists:usort(numbers(P, Handled))) || P <- [0, 1]].

numbers(Partition, Handled) ->
    [number(Message) || {_, #{partition := P} = Message} <- Handled, P =:= Partition].

handler_finishes_before_it_leaves(Config) ->
    %% The handlers of revoked partitions finish their message, which is committed
    %% before the partition goes: the next owner does not get it again.
    {Members, Revoked} = busy_in_a_rebalance(Config, #{}),
    [Worker ! continue || {Worker, _} <- Revoked],
    [assigned(C, 2) || C <- Members],
    [
        begin
            ?assertNot(is_process_alive(Worker)),
            Again = number(Next) =:= number(Message),
            %% See once_and_in_order/3.
            ?assert(not Again orelse proplists:is_defined(cluster, Config), Next)
        end
     || {Worker, Message, Next} <- next_of(Revoked)
    ].

late_handler_is_killed(Config) ->
    %% The handlers of revoked partitions that go on for longer than drain_timeout
    %% are killed, and their message goes to the next owner.
    {Members, Revoked} = busy_in_a_rebalance(Config, #{drain_timeout => 300}),
    [assigned(C, 2) || C <- Members],
    [
        begin
            ?assertNot(is_process_alive(Worker)),
            ?assertEqual(number(Message), number(Next))
        end
     || {Worker, Message, Next} <- next_of(Revoked)
    ].

token_of_a_revoked_partition(Config) ->
    %% A message that is acknowledged after its partition has gone is refused: the
    %% next owner has it already.
    {Members, Revoked} = busy_in_a_rebalance(Config, #{drain_timeout => 100}),
    [assigned(C, 2) || C <- Members],
    [
        begin
            ?assertMatch({error, {stale_assignment, _}}, crema:ack(Message)),
            ?assertEqual(number(Message), number(Next)),
            ?assertEqual(ok, crema:ack(Next))
        end
     || {_, Message, Next} <- next_of(Revoked)
    ].

%% A member whose four handlers wait to be told to go on, and another that comes
%% to the group: the two handlers that are to lose their partition, each with the
%% message it is at.
busy_in_a_rebalance(Config, More) ->
    Topic = crema_ct:topic(Config, 4),
    [ok = crema_ct:fill(Config, Topic, P, lists:seq(1, 10)) || P <- lists:seq(0, 3)],
    Self = self(),
    Handle = crema_ct_consume:step_by_step(Self),
    Options = More#{group => crema_ct:unique(<<"group">>)},
    Args = #{handle => Handle, to => Self},
    Member = fun() -> crema_ct:consumer(Config, Topic, Args, Options) end,
    First = Member(),
    Busy = crema_ct:handled(4),
    Second = Member(),
    Revoked = crema_ct:await(fun() ->
        case [Told || {Worker, _} = Told <- Busy, is_told(Worker)] of
            [_, _] = Two -> {ok, Two};
            _ -> false
        end
    end),
    {[First, Second], Revoked}.

%% The end of its partition waits in the mailbox of the handler's process.
is_told(Worker) ->
    case erlang:process_info(Worker, messages) of
        {messages, Messages} -> lists:keymember(crema_slot_end, 1, Messages);
        undefined -> true
    end.

%% To each of the revoked what the new owner of its partition gets first. Nobody
%% tells the handlers of the others to go on.
next_of(Revoked) ->
    Next = [Message || {_, Message} <- crema_ct:handled(length(Revoked))],
    [
        {Worker, Message, Given}
     || {Worker, #{partition := P} = Message} <- Revoked, #{partition := N} = Given <- Next, N =:= P
    ].

events_of_a_rebalance(Config) ->
    %% Partitions that come and go are events, with what the table of events says.
    Topic = crema_ct:topic(Config, 2),
    Events = [[crema, consumer, Name] || Name <- [assigned, revoked]],
    [Assigned, Revoked] = [listen(Topic, Event) || Event <- Events],
    Group = crema_ct:unique(<<"group">>),
    Member = fun() -> crema_ct:consumer(Config, Topic, #{to => self()}, #{group => Group}) end,
    First = Member(),
    {#{count := 2} = Both, #{client := First, group := Group} = Of} = heard(Assigned),
    event_is_as_told(hd(Events), Both, Of),
    ?assertEqual([{Topic, 0}, {Topic, 1}], lists:sort(maps:get(partitions, Of))),
    _ = Member(),
    {#{count := 1, duration := Time} = One, #{client := First} = Gone} = heard(Revoked),
    event_is_as_told(lists:last(Events), One, Gone),
    ?assert(Time >= 0 andalso Time < 5000, Time).

many_consumers(Config) ->
    %% Many groups live in one node side by side, each with all messages.
    Topic = filled(Config, 50),
    Consumers = [crema_ct:consumer(Config, Topic, #{to => self()}, #{}) || _ <- lists:seq(1, 15)],
    Handled = crema_ct:handled(15 * 50),
    ByWorker = maps:groups_from_list(fun({W, _}) -> W end, fun({_, M}) -> number(M) end, Handled),
    ?assertEqual(lists:duplicate(15, lists:seq(1, 50)), maps:values(ByWorker)),
    [true = all_acknowledged(C) || C <- Consumers].

group_process_dies(Config) ->
    %% When the process that has the membership dies, the member begins anew, with
    %% its name and its pid.
    Topic = filled(Config, 3),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    [{Worker, _} | _] = crema_ct:handled(3),
    {ok, consumer, _, _, Owner} = crema_registry:lookup(C),
    exit(Owner, kill),
    crema_ct:await(fun() -> not is_process_alive(Worker) end),
    assigned(C, 1),
    ok = crema_ct:fill(Config, Topic, 0, [4]),
    ?assertEqual(4, lists:last(values(until(4, crema_ct:handled(1))))).

until(Last, Handled) ->
    case number(element(2, lists:last(Handled))) of
        Last -> Handled;
        _ -> until(Last, Handled ++ crema_ct:handled(1))
    end.

assigned(Consumer, Count) ->
    crema_ct:await(
        fun() -> length(maps:get(assigned, crema:status(Consumer), [])) =:= Count end, 30000
    ).
