%% Members that are put out of their group, or never let in; and several clusters in
%% one node.
%%
%% The cases run side by side, for a group that changes waits for seconds, each on an
%% embedded cluster of its own, so that a fault meets no other.
-module(crema_rebalance_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_testcase/2, end_per_testcase/2, init/1]).
-export([
    evicted_while_draining/1, evicted/1, fenced/1, instance_in_use/1, newer_protocol/1,
    newer_protocol_fenced/1, newer_protocol_unreleased/1, several_clusters/1
]).
-import(crema_ct_consume, [values/1, number/1, listen/2, heard/1, event_is_as_told/3]).

suite() -> [{timetrap, {seconds, 90}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            evicted_while_draining, evicted, fenced, instance_in_use, newer_protocol,
            newer_protocol_fenced, newer_protocol_unreleased, several_clusters
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config, none).

end_per_suite(Config) -> crema_ct:stop(Config).

init_per_testcase(_, Config) -> on(crema_ct:brokers(), Config).

%% The cluster ends with the process of the case: not before its members have left.
end_per_testcase(_, _Config) ->
    ok = crema_ct:cleanup(),
    crema_ct:await(fun() -> maps:get(reapers, crema:info()) =:= 0 end, 60000).

on(Brokers, Config) -> Brokers ++ lists:keydelete(bootstrap, 1, Config).

-define(HEARTBEAT, 12).
-define(CONSUMER_HEARTBEAT, 68).

evicted_while_draining(Config) ->
    %% A member that is put out of its group while handlers finish does not wait for
    %% them any longer, and commits nothing: their messages are others' by now.
    Topic = crema_ct:topic(Config, 2),
    [ok = crema_ct:fill(Config, Topic, P, [1, 2]) || P <- [0, 1]],
    Lost = listen(Topic, [crema, consumer, lost]),
    Self = self(),
    Args = #{handle => crema_ct_consume:step_by_step(Self), to => Self},
    Group = crema_ct:unique(<<"group">>),
    Options = #{group => Group, drain_timeout => 60000, stop_timeout => 70000},
    Member = fun() -> crema_ct:consumer(Config, Topic, Args, slow(Options)) end,
    First = Member(),
    Busy = crema_ct:handled(2),
    _ = Member(),
    {Worker, Message} = crema_ct:await(fun() ->
        case [One || {W, _} = One <- Busy, is_told(W)] of
            [One] -> {ok, One};
            Other -> Other
        end
    end),
    Began = crema_ct:now_ms(),
    ok = evict(Config, Group, 2),
    {Measured, #{client := First} = Metadata} = heard(Lost),
    event_is_as_told([crema, consumer, lost], Measured, Metadata),
    ?assertEqual([{Topic, maps:get(partition, Message)}], maps:get(partitions, Metadata)),
    ?assert(crema_ct:now_ms() - Began < 30000),
    ?assertMatch({error, {stale_assignment, _}}, crema:ack(Message)),
    ?assert(is_process_alive(Worker)),
    [Other ! continue || {Other, _} <- Busy],
    ok = go_on([0, 1]).

%% max.poll.interval.ms is to be twice the drain_timeout.
slow(Options) -> Options#{kafka => #{'max.poll.interval.ms' => 200000}}.

%% The end of its partition waits in the mailbox of the handler's process.
is_told(Worker) ->
    case erlang:process_info(Worker, messages) of
        {messages, Messages} -> lists:keymember(crema_slot_end, 1, Messages);
        undefined -> true
    end.

%% Lets all handlers go on until the second message of these partitions was handled.
go_on([]) ->
    ok;
go_on(Partitions) ->
    [{Worker, #{partition := P} = Message}] = crema_ct:handled(1),
    Worker ! continue,
    case number(Message) of
        2 -> go_on(lists:delete(P, Partitions));
        _ -> go_on(Partitions)
    end.

%% The members of a group, who are so many, are none any longer to the brokers.
evict(Config, Group, Count) ->
    case proplists:is_defined(cluster, Config) of
        true ->
            fail(Config, ?HEARTBEAT, lists:duplicate(Count, unknown_member_id));
        false ->
            Socket = crema_ct_wire:connect(crema_ct:bootstrap(Config)),
            ok = crema_ct_wire:evict(Socket, Group),
            crema_ct_wire:close(Socket)
    end.

fail(Config, Request, Errors) ->
    crema_cluster:fail(proplists:get_value(cluster, Config), Request, Errors).

evicted(Config) ->
    %% The partitions of a member that is put out of its group are gone at once, and
    %% with them what was not committed; it joins again, and gets it again.
    Group = crema_ct:unique(<<"group">>),
    lost(Config, #{group => Group}, fun() -> evict(Config, Group, 1) end).

lost(Config, Options, Evict) ->
    Topic = crema_ct:topic(Config, 1),
    ok = crema_ct:fill(Config, Topic, 0, [1, 2]),
    Lost = listen(Topic, [crema, consumer, lost]),
    Self = self(),
    Args = #{handle => crema_ct_consume:step_by_step(Self), to => Self},
    C = crema_ct:consumer(Config, Topic, Args, Options),
    [{Worker, #{offset := 0} = Message}] = crema_ct:handled(1),
    ok = Evict(),
    {#{count := 1}, #{client := C}} = heard(Lost),
    ?assertMatch({error, {stale_assignment, _}}, crema:ack(Message)),
    Worker ! continue,
    [{Next, #{offset := 0}}] = crema_ct:handled(1),
    Next ! continue,
    ?assertEqual([2], values(crema_ct:handled(1))).

fenced(Config) ->
    %% A member that is fenced, because another has its instance id, ends for good,
    %% and says why: started again it would fence the other in turn.
    process_flag(trap_exit, true),
    Topic = crema_ct:topic(Config, 1),
    ok = crema_ct:fill(Config, Topic, 0, [1]),
    Fatal = listen(any, [crema, client, fatal]),
    Lost = listen(Topic, [crema, consumer, lost]),
    Spec = crema_consumer:child_spec(static(Config, Topic)),
    {ok, Supervisor} = supervisor:start_link(?MODULE, [Spec]),
    [_] = crema_ct:handled(1),
    ok = fail(Config, ?HEARTBEAT, [fenced_instance_id]),
    {_, #{code := fenced_instance_id, message := Text}} = heard_of(fenced_instance_id, Fatal),
    ?assertMatch({match, _}, re:run(Text, "fenced")),
    {#{count := 1}, _} = heard(Lost),
    crema_ct:await(fun() ->
        case supervisor:which_children(Supervisor) of
            [{_, undefined, _, _}] -> true;
            Other -> Other
        end
    end),
    exit(Supervisor, shutdown).

%% What a static member is started with.
static(Config, Topic) ->
    #{
        bootstrap_servers => crema_ct:bootstrap(Config),
        group => crema_ct:unique(<<"group">>),
        topics => [Topic],
        handler => {crema_ct_handler, #{to => self()}},
        kafka => #{
            'group.instance.id' => one,
            'session.timeout.ms' => 3600,
            'heartbeat.interval.ms' => 200
        }
    }.

%% A user's supervisor.
init(Children) -> {ok, {#{strategy => one_for_one}, Children}}.

heard_of(Code, Ref) ->
    case heard(Ref) of
        {_, #{code := Code}} = Told -> Told;
        _ -> heard_of(Code, Ref)
    end.

instance_in_use(Config) ->
    %% Two members with one instance id are refused in one node, in one group of one
    %% cluster; when the first has ended, however it did, the next may begin.
    process_flag(trap_exit, true),
    Topic = crema_ct:topic(Config, 1),
    Given = static(Config, Topic),
    {ok, First} = crema_consumer:start_link(Given),
    {error, {instance_in_use, #{message := Text}}} = crema_consumer:start_link(Given),
    ?assertMatch({match, _}, re:run(Text, "group.instance.id one")),
    Next = fun(Options) ->
        {ok, C} = crema_consumer:start_link(Options),
        ok = crema:await_ready(C, 30000),
        ok = crema_consumer:stop(C)
    end,
    ok = Next(Given#{group => crema_ct:unique(<<"group">>)}),
    ok = crema:await_ready(First, 30000),
    exit(First, kill),
    crema_ct:await(fun() -> not is_process_alive(First) end),
    ok = Next(Given),
    ok = Next(Given).

newer_protocol(Config) ->
    %% A librdkafka that does not know the newer protocol is told of in so many words.
    Options = #{
        bootstrap_servers => crema_ct:bootstrap(Config),
        group => crema_ct:unique(<<"group">>),
        topics => [<<"topic">>],
        handler => {crema_ct_handler, #{to => self()}},
        kafka => #{'group.protocol' => consumer}
    },
    process_flag(trap_exit, true),
    Knows = crema_ct_kafka:knows_newer_protocol(),
    case crema_consumer:start_link(Options) of
        {ok, C} when Knows ->
            ok = crema_consumer:stop(C);
        {error, {unsupported_feature, #{message := Text}}} when not Knows ->
            ?assertMatch({match, _}, re:run(Text, "2.12.*CREMA_LIBRDKAFKA"))
    end.

newer_protocol_fenced(Config) ->
    %% By the newer protocol, too, the partitions of a member that is put out of its
    %% group are lost, and it joins again.
    case crema_ct_kafka:knows_newer_protocol() of
        true ->
            lost(Config, #{kafka => #{'group.protocol' => consumer}}, fun() ->
                fail(Config, ?CONSUMER_HEARTBEAT, [fenced_member_epoch])
            end);
        false ->
            {comment, "librdkafka does not know it"}
    end.

newer_protocol_unreleased(Config) ->
    %% By the newer protocol brokers refuse a static member for as long as the one that
    %% was killed has a session. It does not end for that, but has its turn later.
    case crema_ct_kafka:knows_newer_protocol() of
        true ->
            Topic = crema_ct:topic(Config, 1),
            ok = crema_ct:fill(Config, Topic, 0, [1]),
            ok = fail(Config, ?CONSUMER_HEARTBEAT, [unreleased_instance_id]),
            Fatal = listen(any, [crema, client, fatal]),
            Kafka = #{'group.protocol' => consumer, 'group.instance.id' => one},
            C = crema_ct:consumer(Config, Topic, #{to => self()}, #{kafka => Kafka}),
            {_, #{message := Text}} = heard_of(unreleased_instance_id, Fatal),
            ?assertMatch({match, _}, re:run(Text, "tries again")),
            [_] = crema_ct:handled(1),
            ?assert(is_process_alive(C));
        false ->
            {comment, "librdkafka does not know it"}
    end.

several_clusters(Config) ->
    %% Members of groups of the same name on clusters of their own have nothing to do
    %% with each other, nor with other groups beside them.
    Configs = [Config | [on(crema_ct:embedded(), Config) || _ <- [1, 2]]],
    Topic = crema_ct:topic(Config, 2),
    [ok = crema_ct:create_topic(Other, Topic, 2) || Other <- tl(Configs)],
    Groups = [crema_ct:unique(<<"group">>) || _ <- [1, 2]],
    Members = [
        {N, crema_ct:consumer(On, Topic, #{to => self()}, #{group => Group})}
     || {N, On} <- lists:zip([1, 2, 3], Configs), Group <- Groups
    ],
    [ok = crema_ct:fill(On, Topic, N rem 2, [N]) || {N, On} <- lists:zip([1, 2, 3], Configs)],
    Handled = crema_ct:handled(6),
    ?assertEqual([1, 1, 2, 2, 3, 3], lists:sort(values(Handled))),
    [
        ?assertEqual([{Topic, 0}, {Topic, 1}], maps:get(assigned, crema:status(C)))
     || {_, C} <- Members
    ],
    %% Each message came to the members of its cluster.
    Owners = [{number(M), element(2, maps:get(token, M))} || {_, M} <- Handled],
    ?assertEqual(6, length(lists:usort(Owners))).
