%% Acknowledgements and positions: what is stored and committed, where a
%% partition begins, what a stop leaves behind.
%%
%% The cases run side by side, for the first member of a group waits three
%% seconds.
-module(crema_offsets_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    noack_and_crash/1, ack_from_elsewhere/1, stale_token/1, committed_is_contiguous/1,
    stop_drains/1, stop_comes_before_what_waits/1, stop_kills_late_handlers/1,
    stop_cannot_commit/1, stop_is_refused_its_commit/1, stop_commits_in_silence/1,
    automatic_commit_fails/1, start_latest/1, start_is_committed/1, sought_by_another/1,
    killed_consumer/1, position_at_end/1
]).

-import(crema_ct_consume, [
    filled/2, quick/0, values/1, number/1, partition/2, partitions/1, all_acknowledged/1,
    handled_so_far/0, listen/2, heard/1
]).

suite() -> [{timetrap, {seconds, 90}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            noack_and_crash, ack_from_elsewhere, stale_token, committed_is_contiguous,
            stop_drains, stop_comes_before_what_waits, stop_kills_late_handlers,
            stop_cannot_commit, stop_is_refused_its_commit, stop_commits_in_silence,
            automatic_commit_fails, start_latest, start_is_committed, sought_by_another,
            killed_consumer, position_at_end
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

noack_and_crash(Config) ->
    %% What was acknowledged out of order, by others, does not come again after a
    %% crash; the rest does, in order.
    Topic = filled(Config, 20),
    Self = self(),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        receive
            continue -> {noack, State};
            crash -> exit(planned)
        end
    end,
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, quick()),
    First = [
        begin
            [{Worker, Message}] = crema_ct:handled(1),
            Worker ! if N < 20 -> continue; N =:= 20 -> crash end,
            N rem 3 =:= 0 andalso (ok = crema:ack(Message)),
            Message
        end
     || N <- lists:seq(1, 20)
    ],
    Expected = [N || N <- lists:seq(1, 20), N rem 3 =/= 0],
    Again = [
        begin
            [{Worker, Message}] = crema_ct:handled(1),
            Worker ! continue,
            Message
        end
     || _ <- Expected
    ],
    ?assertEqual(Expected, [number(M) || M <- Again]),
    ?assertMatch(#{unacknowledged := 14, stored := 0}, partition(C, 0)),
    [ok = crema:ack(M) || M <- First],
    true = all_acknowledged(C).

ack_from_elsewhere(Config) ->
    %% A message may be acknowledged later, by any process, by itself or by its
    %% token, which survives becoming a binary; a second time is no fault.
    Topic = filled(Config, 3),
    Self = self(),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        {noack, State}
    end,
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, #{}),
    [One, Two, Three] = [M || {_, M} <- crema_ct:handled(3)],
    ?assertMatch(#{stored := 0, delivered := 3, unacknowledged := 3}, partition(C, 0)),
    Token = term_to_binary(maps:get(token, Three)),
    ?assertEqual([ok], crema_ct:spawned([fun() -> crema:ack(binary_to_term(Token)) end])),
    ?assertMatch(#{stored := 0, unacknowledged := 2}, partition(C, 0)),
    ?assertEqual([ok, ok], [crema:ack(One), crema:ack(maps:get(token, One))]),
    ?assertMatch(#{stored := 1, unacknowledged := 1}, partition(C, 0)),
    ok = crema:ack(Two),
    ?assertMatch(#{stored := 3, unacknowledged := 0}, partition(C, 0)),
    ?assertEqual([ok, ok, ok], [crema:ack(M) || M <- [One, Two, Three]]).

stale_token(Config) ->
    %% A token from before a stop is refused as such, and does no harm to the
    %% member that has the partition now.
    Topic = filled(Config, 2),
    Group = crema_ct:unique(<<"group">>),
    Self = self(),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        {noack, State}
    end,
    First = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, #{group => Group}),
    [Old, _] = [M || {_, M} <- crema_ct:handled(2)],
    ok = crema_consumer:stop(First),
    ?assertMatch({error, {stale_assignment, _}}, crema:ack(Old)),
    Second = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, #{group => Group}),
    [New, _] = [M || {_, M} <- crema_ct:handled(2)],
    {error, {stale_assignment, #{message := Text}}} = crema:ack(Old),
    ?assertMatch({match, _}, re:run(Text, "again")),
    ?assertMatch(#{stored := 0, unacknowledged := 2}, partition(Second, 0)),
    ?assertEqual(ok, crema:ack(New)).

committed_is_contiguous(Config) ->
    %% What is committed never goes beyond the first message that is not
    %% acknowledged: the next owner of the partition begins there.
    Topic = filled(Config, 30),
    Group = crema_ct:unique(<<"group">>),
    Self = self(),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        {noack, State}
    end,
    First = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, #{group => Group}),
    Messages = [M || {_, M} <- crema_ct:handled(30)],
    [ok = crema:ack(M) || M <- Messages, number(M) =/= 8],
    ?assertMatch(#{stored := 7, unacknowledged := 1}, partition(First, 0)),
    ok = crema_consumer:stop(First),
    Second = crema_ct:consumer(Config, Topic, #{to => Self}, #{group => Group}),
    ?assertEqual(lists:seq(8, 30), values(crema_ct:handled(23))),
    true = all_acknowledged(Second),
    ok = crema_consumer:stop(Second),
    _ = crema_ct:consumer(Config, Topic, #{to => Self}, #{group => Group}),
    crema_ct:fill(Config, Topic, 0, [31]),
    ?assertEqual([31], values(crema_ct:handled(1))).

stop_drains(Config) ->
    %% A stop lets the handler finish the message it is at, commits what is
    %% acknowledged, and leaves the rest for later.
    Topic = filled(Config, 100),
    Group = crema_ct:unique(<<"group">>),
    Self = self(),
    Handle = crema_ct_consume:step_by_step(Self),
    First = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, #{group => Group}),
    [{Worker, _}] = crema_ct:handled(1),
    Stopper = spawn_link(fun() -> Self ! {stopped, crema_consumer:stop(First)} end),
    crema_ct:await(fun() -> queued(Worker) >= 1 end),
    Worker ! continue,
    receive
        {stopped, ok} -> ok
    after 15000 -> error({not_stopped, Stopper})
    end,
    Seen = [1 | values(handled_so_far())],
    _ = crema_ct:consumer(Config, Topic, #{to => Self}, #{group => Group}),
    ?assertEqual(lists:seq(1, 100), Seen ++ values(crema_ct:handled(100 - length(Seen)))).

stop_comes_before_what_waits(Config) ->
    %% A stop waits for one message, however many more the handler's process has
    %% got meanwhile, each in a batch of its own.
    Topic = filled(Config, 1),
    Self = self(),
    Handle = crema_ct_consume:step_by_step(Self),
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, #{drain_timeout => 4000}),
    [{Worker, _}] = crema_ct:handled(1),
    [
        begin
            ok = crema_ct:fill(Config, Topic, 0, [N]),
            crema_ct:await(fun() -> queued(Worker) >= N - 1 end)
        end
     || N <- lists:seq(2, 6)
    ],
    Stop = fun() -> Self ! {stopped, crema_ct:timed(fun() -> crema_consumer:stop(C) end)} end,
    Stopper = spawn_link(Stop),
    crema_ct:await(fun() -> queued(Worker) >= 6 end),
    Worker ! continue,
    receive
        {stopped, {Time, ok}} -> ?assert(Time < 3000, Time)
    after 15000 -> error({not_stopped, Stopper})
    end,
    ?assertEqual([], handled_so_far()).

queued(Pid) ->
    {message_queue_len, Length} = erlang:process_info(Pid, message_queue_len),
    Length.

stop_kills_late_handlers(Config) ->
    %% A handler that does not finish within drain_timeout does not hold up the
    %% stop, and its message comes again later.
    Topic = filled(Config, 3),
    Group = crema_ct:unique(<<"group">>),
    Self = self(),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        number(Message) =:= 2 andalso
            receive
                never -> ok
            end,
        {ack, State}
    end,
    Options = #{group => Group, drain_timeout => 300},
    First = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, Options),
    [{Worker, _}, _] = crema_ct:handled(2),
    {Time, ok} = crema_ct:timed(fun() -> crema_consumer:stop(First) end),
    ?assert(Time >= 300 andalso Time < 3000, Time),
    ?assertNot(is_process_alive(Worker)),
    _ = crema_ct:consumer(Config, Topic, #{to => Self}, #{group => Group}),
    %% The first comes again if the process had not told of it when it was killed.
    [{_, Next}] = crema_ct:handled(1),
    ?assert(number(Next) =< 2),
    ?assertEqual(lists:seq(number(Next) + 1, 3), values(crema_ct:handled(3 - number(Next)))).

stop_cannot_commit(_Config) ->
    %% What a stop could not commit until its time was over is told, as that of a rebalance.
    Told = stopped(2000, fun(Cluster) -> ok = crema_cluster:down(Cluster) end),
    ?assertMatch([{revoked, #{count := 1}}, {commit_failed, #{count := 1}}], Told),
    ?assertMatch([_, {_, #{code := timed_out, partitions := [{<<"t">>, 0}]}}], Told).

stop_is_refused_its_commit(_Config) ->
    %% So is what brokers refuse; and a member that was put out of its group has lost its
    %% partitions.
    Refused = stopped(20000, fun(Cluster) ->
        crema_cluster:fail(Cluster, offset_commit, lists:duplicate(9, group_authorization_failed))
    end),
    ?assertMatch(
        [{revoked, #{count := 1}}, {commit_failed, #{count := 1, code := group_authorization_failed}}],
        Refused
    ),
    Evicted = stopped(20000, fun(Cluster) ->
        crema_cluster:fail(Cluster, offset_commit, lists:duplicate(9, illegal_generation))
    end),
    ?assertMatch([{lost, #{partitions := [{<<"t">>, 0}]}}], Evicted).

stop_commits_in_silence(_Config) ->
    %% Nothing is told of what was committed, nor of a stop without anything to commit.
    ?assertMatch([{revoked, #{count := 1}}], stopped(20000, fun(_) -> ok end)).

automatic_commit_fails(_Config) ->
    %% Of an automatic commit that fails the event says which partitions were not committed.
    Topic = <<"automatic">>,
    {Holder, Cluster} = crema_ct:hold(fun() ->
        {ok, Pid} = crema_cluster:start_link(#{topics => #{Topic => 2}}),
        Pid
    end),
    Config = [{bootstrap, crema_cluster:bootstrap_servers(Cluster)}],
    ok = crema_ct:fill(Config, Topic, 1, [1]),
    Failed = listen(Topic, [crema, consumer, commit_failed]),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{kafka => #{'auto.commit.interval.ms' => 100}}),
    _ = crema_ct:handled(1),
    ok = crema_cluster:fail(Cluster, offset_commit, [group_authorization_failed]),
    ok = crema_ct:fill(Config, Topic, 1, [2]),
    ?assertMatch({#{count := 1}, #{client := C, partitions := [{Topic, 1}]}}, heard(Failed)),
    ok = crema_consumer:stop(C),
    ok = crema_cluster:stop(Cluster),
    crema_ct:let_go(Holder).

%% What is told of a stop in so long of a member that has handled two messages, after what
%% befalls its cluster.
stopped(Timeout, Befalls) ->
    {Holder, Cluster} = crema_ct:hold(fun() ->
        {ok, Pid} = crema_cluster:start_link(#{topics => #{<<"t">> => 1}}),
        Pid
    end),
    Config = [{bootstrap, crema_cluster:bootstrap_servers(Cluster)}],
    ok = crema_ct:fill(Config, <<"t">>, 0, [1, 2]),
    Self = self(),
    Options = #{kafka => #{'auto.commit.interval.ms' => 600000, 'session.timeout.ms' => 6000}},
    C = crema_ct:consumer(Config, <<"t">>, #{to => Self}, Options),
    _ = crema_ct:handled(2),
    true = all_acknowledged(C),
    ok = Befalls(Cluster),
    Told = make_ref(),
    Tell = fun([_, _, Event], Measured, #{client := Client} = Metadata, _) ->
        Client =:= C andalso (Self ! {Told, Event, maps:merge(Metadata, Measured)})
    end,
    Names = [[crema, consumer, Event] || Event <- [revoked, lost, commit_failed]],
    ok = crema_events:attach(Told, Names, Tell, none),
    ok = crema_consumer:stop(C, Timeout),
    ok = crema_events:detach(Told),
    ok = crema_cluster:stop(Cluster),
    crema_ct:let_go(Holder),
    told(Told).

told(Ref) ->
    receive
        {Ref, Event, Fields} -> [{Event, Fields} | told(Ref)]
    after 0 -> []
    end.

start_latest(Config) ->
    %% start => latest skips what is in the log already, once for the group: what
    %% comes while nobody is there is handled.
    Topic = filled(Config, 10),
    Options = #{group => crema_ct:unique(<<"group">>), start => latest},
    First = crema_ct:consumer(Config, Topic, #{to => self()}, Options),
    assigned(First),
    ok = crema_ct:fill(Config, Topic, 0, [11, 12]),
    ?assertEqual([11, 12], values(crema_ct:handled(2))),
    true = all_acknowledged(First),
    ok = crema_consumer:stop(First),
    ok = crema_ct:fill(Config, Topic, 0, [13]),
    _ = crema_ct:consumer(Config, Topic, #{to => self()}, Options),
    ?assertEqual([13], values(crema_ct:handled(1))).

start_is_committed(Config) ->
    %% Where a member at latest begins is committed before its first message: one
    %% that dies at once loses nothing of what comes meanwhile.
    Topic = filled(Config, 10),
    Options = #{group => crema_ct:unique(<<"group">>), start => latest},
    First = crema_ct:consumer(Config, Topic, #{to => self()}, Options),
    assigned(First),
    exit(First, kill),
    ok = crema_ct:fill(Config, Topic, 0, [11, 12]),
    _ = crema_ct:consumer(Config, Topic, #{to => self()}, Options),
    ?assertEqual([11, 12], values(crema_ct:handled(2))).

sought_by_another(Config) ->
    %% What is acknowledged of a partition that is back is committed, also where
    %% another member went back to before what this one had committed of it.
    [A, B] = [filled(Config, 10), filled(Config, 1)],
    Group = #{group => crema_ct:unique(<<"group">>)},
    First = crema_ct:consumer(Config, A, #{to => self()}, Group),
    _ = crema_ct:handled(10),
    {ok, [#{offset := 10}]} = crema:commit(First),
    ok = crema_control:subscribe(First, [B]),
    _ = crema_ct:handled(1),
    Never = #{handle => fun(_, State) -> {noack, State} end},
    Second = crema_ct:consumer(Config, A, Never, Group),
    assigned(Second),
    {ok, _} = crema:seek(Second, {A, 0}, 3),
    ok = crema_consumer:stop(Second),
    ok = crema_control:subscribe(First, [A]),
    ?assertEqual(lists:seq(4, 10), values(crema_ct:handled(7))),
    crema_ct:await(fun() ->
        {ok, [#{offset := Offset}]} = crema_control:committed(First),
        Offset =:= 10
    end).

killed_consumer(Config) ->
    %% After a kill everything that was not acknowledged comes again: there may be
    %% repeats, but never a gap.
    Topic = filled(Config, 1000),
    Options = #{group => crema_ct:unique(<<"group">>)},
    Self = self(),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        {case number(Message) of N when N > 500 -> noack; _ -> ack end, State}
    end,
    First = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, Options),
    ?assertEqual(lists:seq(1, 1000), values(crema_ct:handled(1000))),
    exit(First, kill),
    _ = crema_ct:consumer(Config, Topic, #{to => Self}, Options),
    [{_, Next}] = crema_ct:handled(1),
    ?assert(number(Next) =< 501, number(Next)),
    ?assertEqual(lists:seq(number(Next) + 1, 1000), values(crema_ct:handled(1000 - number(Next)))).

position_at_end(Config) ->
    %% When all is acknowledged the position is the end of the log, also in a
    %% partition that has nothing.
    Topic = crema_ct:topic(Config, 2),
    ok = crema_ct:fill(Config, Topic, 1, lists:seq(1, 42)),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    _ = crema_ct:handled(42),
    true = all_acknowledged(C),
    ?assertEqual(
        [{0, 0, 0}, {1, 42, 42}],
        lists:sort([
            {P, Delivered, Stored}
         || #{partition := P, delivered := Delivered, stored := Stored} <- partitions(C)
        ])
    ).

assigned(Consumer) ->
    ok = crema:await_ready(Consumer, 15000),
    ?assertMatch(#{assigned := [_ | _]}, crema:status(Consumer)).
