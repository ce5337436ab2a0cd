%% What is done with a running consumer: pauses, seeks, commits, questions,
%% changes of the subscription.
%%
%% The cases run side by side, for the first member of a group waits three
%% seconds.
-module(crema_control_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    pause_is_in_force/1, pause_survives/1, pause_of_batches/1, pause_of_concurrency/1,
    seek_everywhere/1, seek_while_handling/1, seek_out_of_range/1, seek_is_committed/1,
    commit_has_no_gap/1, commit_fails/1, questions/1, external_offsets/1, bad_start/1,
    subscription_changes/1, stop_in_a_change/1, pattern_finds_new_topics/1, from_anywhere/1
]).

-import(crema_ct_consume, [
    filled/2, quick/0, values/1, number/1, partition/2, all_acknowledged/1, listen/2, heard/1,
    event_is_as_told/3
]).

suite() -> [{timetrap, {seconds, 90}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            pause_is_in_force, pause_survives, pause_of_batches, pause_of_concurrency,
            seek_everywhere, seek_while_handling, seek_out_of_range, seek_is_committed,
            commit_has_no_gap, commit_fails, questions, external_offsets, bad_start,
            subscription_changes, stop_in_a_change, pattern_finds_new_topics, from_anywhere
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

%% ---- pause ---------------------------------------------------------------------------

pause_is_in_force(Config) ->
    %% When pause/2 has returned the handler finishes its message and gets no other,
    %% though its process has them; other partitions go on. After resume/2 comes
    %% the next one, none is lost or comes again.
    Topic = crema_ct:topic(Config, 2),
    [crema_ct:fill(Config, Topic, P, lists:seq(1, 50)) || P <- [0, 1]],
    Self = self(),
    Handle = fun
        (#{partition := 0} = Message, State) ->
            Self ! {handled, self(), Message},
            receive
                continue -> {ack, State}
            end;
        (Message, State) ->
            Self ! {other, number(Message)},
            {ack, State}
    end,
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, #{}),
    [{Worker, One}] = crema_ct:handled(1),
    ?assertEqual(1, number(One)),
    ok = crema:pause(C, {Topic, 0}),
    Worker ! continue,
    [told(other) || _ <- lists:seq(1, 50)],
    crema_ct:await(fun() -> maps:get(stored, partition(C, 0)) =:= 1 end),
    ?assertMatch(#{paused := [{Topic, 0}]}, crema:status(C)),
    ok = crema:pause(C, [{Topic, 0}]),
    crema_ct:fill(Config, Topic, 1, [51]),
    told(other),
    crema_ct:none_handled(20),
    ok = crema:resume(C, {Topic, 0}),
    ?assertEqual(lists:seq(2, 50), [stepped() || _ <- lists:seq(2, 50)]),
    ?assertMatch(#{paused := []}, crema:status(C)),
    true = all_acknowledged(C).

told(Tag) ->
    receive
        Message when element(1, Message) =:= Tag -> Message
    after 20000 -> error({nothing, Tag})
    end.

stepped() ->
    [{Worker, Message}] = crema_ct:handled(1),
    Worker ! continue,
    number(Message).

pause_survives(Config) ->
    %% A pause of all is of those that come later too; it outlives a crash of the
    %% handler, a seek and a rebalance, until what it named is resumed.
    Topic = crema_ct:topic(Config, 2),
    [crema_ct:fill(Config, Topic, P, lists:seq(1, 5)) || P <- [0, 1]],
    Self = self(),
    Handle = fun
        (#{value := <<"3">>}, _) ->
            Self ! {crashing, self()},
            receive
                crash -> exit(planned)
            end;
        (Message, State) ->
            Self ! {handled, self(), Message},
            {ack, State}
    end,
    Group = #{group => crema_ct:unique(<<"group">>)},
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, maps:merge(quick(), Group)),
    _ = crema_ct:handled(4),
    Crashing = [told(crashing), told(crashing)],
    ok = crema:pause(C, all),
    [Pid ! crash || {_, Pid} <- Crashing],
    %% Each handler starts again, and gets nothing.
    crema_ct:await(fun() ->
        [P || #{handler := true, unacknowledged := 3} = P <- crema_ct_consume:partitions(C)] =/= []
    end),
    {ok, _} = crema:seek(C, all, 3),
    Other = crema_ct:consumer(Config, Topic, #{to => Self}, Group),
    [{_, #{partition := Gone}} | _] = crema_ct:handled(2),
    ?assertMatch(#{paused := [{Topic, _}]}, crema:status(C)),
    ok = crema_consumer:stop(Other),
    crema_ct:await(fun() -> length(maps:get(paused, crema:status(C))) =:= 2 end),
    Stays = 1 - Gone,
    crema_ct:none_handled(20),
    ok = crema:resume(C, {Topic, Stays}),
    ?assertEqual([{Stays, 4}, {Stays, 5}], places(crema_ct:handled(2))),
    crema_ct:fill(Config, Topic, Gone, [6]),
    crema_ct:none_handled(20),
    ok = crema:resume(C, all),
    ?assertEqual([{Gone, 6}], places(crema_ct:handled(1))).

places(Handled) ->
    [{P, number(Message)} || {_, #{partition := P} = Message} <- Handled].

pause_of_batches(Config) ->
    %% Of a handler of batches the batch under way is the last.
    Topic = filled(Config, 40),
    Self = self(),
    Handle = fun(Messages, State) ->
        Self ! {batch, self(), Messages},
        receive
            continue -> {ack, State}
        end
    end,
    Batches = {crema_ct_batch_handler, #{handle => Handle}},
    C = crema_ct:consumer(Config, Topic, none, #{handler => Batches, batch_messages => 10}),
    {batch, Worker, First} = told(batch),
    ok = crema:pause(C, {Topic, 0}),
    Worker ! continue,
    crema_ct:await(fun() -> maps:get(stored, partition(C, 0)) =:= length(First) end),
    receive
        {batch, _, _} -> error(not_paused)
    after 20 -> ok
    end,
    ok = crema:resume(C, {Topic, 0}),
    {batch, _, [Next | _]} = told(batch),
    ?assertEqual(length(First) + 1, number(Next)),
    Worker ! continue.

pause_of_concurrency(Config) ->
    %% Of handlers side by side each finishes its message.
    Topic = filled(Config, 30),
    Handle = crema_ct_consume:step_by_step(self()),
    Options = #{concurrency => {any, 3}},
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => self()}, Options),
    Three = crema_ct:handled(3),
    ok = crema:pause(C, {Topic, 0}),
    [Worker ! continue || {Worker, _} <- Three],
    crema_ct:await(fun() -> maps:get(unacknowledged, partition(C, 0)) =:= 27 end),
    crema_ct:none_handled(20),
    ok = crema:resume(C, {Topic, 0}),
    Rest = [stepped() || _ <- lists:seq(4, 30)],
    ?assertEqual(lists:seq(1, 30), lists:sort(values(Three) ++ Rest)).

%% ---- seek ----------------------------------------------------------------------------

seek_everywhere(Config) ->
    %% A seek leads to an offset, the beginning or the end, and says where that is.
    %% The handler begins anew there, in a process of its own.
    Topic = filled(Config, 100),
    Sought = listen(Topic, [crema, consumer, sought]),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    _ = crema_ct:handled(100),
    true = all_acknowledged(C),
    Place = {Topic, 0},
    At = fun(Offset) -> {ok, [#{topic => Topic, partition => 0, offset => Offset}]} end,
    ?assertEqual(At(90), crema:seek(C, Place, 90)),
    ?assertEqual(lists:seq(91, 100), values(crema_ct:handled(10))),
    {#{from := 100, to := 90} = Measured, Metadata} = heard(Sought),
    event_is_as_told([crema, consumer, sought], Measured, Metadata),
    true = all_acknowledged(C),
    ?assertEqual(At(0), crema:seek(C, all, earliest)),
    ?assertEqual(lists:seq(1, 100), values(crema_ct:handled(100))),
    true = all_acknowledged(C),
    ?assertEqual(At(100), crema:seek(C, [Place], 'end')),
    crema_ct:fill(Config, Topic, 0, [101]),
    ?assertEqual([101], values(crema_ct:handled(1))),
    true = all_acknowledged(C),
    ?assertMatch({error, {not_assigned, #{topic := Topic, partition := 7}}},
        crema:seek(C, [Place, {Topic, 7}], 0)),
    ?assertError(badarg, crema:seek(C, Place, somewhere)),
    crema_ct:none_handled(20),
    ?assertEqual({ok, []}, crema:seek(C, [], 0)).

seek_while_handling(Config) ->
    %% A call under way is finished first, and what it acknowledges of before is
    %% refused; so is every older token.
    Topic = filled(Config, 20),
    Self = self(),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        receive
            continue -> {ack, State}
        end
    end,
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, #{}),
    [1, 2] = [stepped(), stepped()],
    [{Worker, Three}] = crema_ct:handled(1),
    {ok, [#{offset := 10}]} = crema:seek(C, {Topic, 0}, 10),
    {ok, [#{offset := 15}]} = crema:seek(C, {Topic, 0}, 15),
    crema_ct:none_handled(20),
    Monitor = erlang:monitor(process, Worker),
    Worker ! continue,
    receive
        {'DOWN', Monitor, _, _, Reason} -> ?assertEqual(normal, Reason)
    after 10000 -> error(not_finished)
    end,
    ?assertEqual(lists:seq(16, 20), [stepped() || _ <- lists:seq(16, 20)]),
    ?assertMatch({error, {stale_assignment, _}}, crema:ack(Three)),
    true = all_acknowledged(C),
    ?assertMatch(#{stored := 20, delivered := 20}, partition(C, 0)).

seek_out_of_range(Config) ->
    %% An offset that is not in the log ends, with out_of_range => error, in an
    %% error that is told; another seek makes the partition go on.
    Topic = filled(Config, 10),
    Told = listen(Topic, [crema, client, error]),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{out_of_range => error}),
    _ = crema_ct:handled(10),
    {ok, _} = crema:seek(C, {Topic, 0}, 1000),
    ?assertMatch({_, #{code := offset_out_of_range, partition := 0}}, heard(Told)),
    {ok, _} = crema:seek(C, {Topic, 0}, 5),
    ?assertEqual(lists:seq(6, 10), values(crema_ct:handled(5))),
    true = all_acknowledged(C).

seek_is_committed(Config) ->
    %% Where a seek leads is committed, also when that is below what was stored or
    %% committed before: the next owner begins there.
    Topic = filled(Config, 50),
    Group = #{group => crema_ct:unique(<<"group">>)},
    First = crema_ct:consumer(Config, Topic, #{to => self()}, Group),
    _ = crema_ct:handled(50),
    true = all_acknowledged(First),
    ok = crema:pause(First, all),
    {ok, _} = crema:seek(First, all, 30),
    ok = crema_consumer:stop(First),
    Second = crema_ct:consumer(Config, Topic, #{to => self()}, Group),
    ?assertEqual(lists:seq(31, 50), values(crema_ct:handled(20))),
    true = all_acknowledged(Second),
    {ok, [#{offset := 50}]} = crema:commit(Second),
    ok = crema:pause(Second, all),
    {ok, _} = crema:seek(Second, all, 10),
    ?assertEqual({ok, [offset(Topic, 0, 10)]}, crema_control:committed(Second)),
    exit(Second, kill),
    _ = crema_ct:consumer(Config, Topic, #{to => self()}, Group),
    ?assertEqual(lists:seq(11, 50), values(crema_ct:handled(40))).

%% ---- commit and questions ------------------------------------------------------------------

commit_has_no_gap(Config) ->
    %% A commit commits what is acknowledged without a gap, and nothing else; of
    %% the partitions that it names.
    Topic = crema_ct:topic(Config, 2),
    [crema_ct:fill(Config, Topic, P, lists:seq(1, 10)) || P <- [0, 1]],
    Self = self(),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        {noack, State}
    end,
    Options = #{kafka => #{'auto.commit.interval.ms' => 600000}},
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, Options),
    Messages = [M || {_, M} <- crema_ct:handled(20)],
    ?assertEqual({ok, []}, crema:commit(C)),
    [ok = crema:ack(M) || M <- Messages, number(M) =/= 5],
    ?assertEqual({ok, [offset(Topic, 1, 4)]}, crema:commit(C, {Topic, 1})),
    ?assertEqual({ok, [offset(Topic, 0, 0), offset(Topic, 1, 4)]}, crema_control:committed(C)),
    [ok = crema:ack(M) || #{partition := 0} = M <- Messages],
    ok = crema_control:commit_async(C),
    crema_ct:await(fun() ->
        {ok, [offset(Topic, 0, 10), offset(Topic, 1, 4)]} =:= crema_control:committed(C)
    end),
    ?assertMatch({error, {not_assigned, #{topic := <<"elsewhere">>, partition := 0}}},
        crema:commit(C, [{"elsewhere", 0}])),
    ?assertEqual({ok, []}, crema:commit(C, [])).

commit_fails(Config) ->
    %% A commit that is refused says of which partition and why; one that nobody
    %% waits for is an event. It can be tried again.
    {Holder, {Cluster, Servers}} = crema_ct:hold(fun() ->
        {ok, Pid} = crema_cluster:start_link(#{topics => #{<<"t">> => 1}}),
        {Pid, crema_cluster:bootstrap_servers(Pid)}
    end),
    Own = [{bootstrap, Servers} | Config],
    ok = crema_ct:fill(Own, <<"t">>, 0, [1, 2]),
    Failed = listen(any, [crema, consumer, commit_failed]),
    Options = #{kafka => #{'auto.commit.interval.ms' => 600000}},
    C = crema_ct:consumer(Own, <<"t">>, #{to => self()}, Options),
    _ = crema_ct:handled(2),
    true = all_acknowledged(C),
    ok = crema_cluster:fail(Cluster, offset_commit, lists:duplicate(2, group_authorization_failed)),
    ?assertMatch(
        {error, {group_authorization_failed, #{
            results := [{error, {group_authorization_failed, #{topic := <<"t">>, partition := 0}}}]
        }}},
        crema:commit(C)
    ),
    ok = crema_control:commit_async(C, {<<"t">>, 0}),
    {_, Told} = heard(Failed),
    ?assertMatch(#{client := C, code := group_authorization_failed, partitions := [{<<"t">>, 0}]}, Told),
    ?assertEqual({ok, [offset(<<"t">>, 0, 2)]}, crema:commit(C)),
    ok = crema_consumer:stop(C),
    ok = crema_cluster:stop(Cluster),
    crema_ct:let_go(Holder).

offset(Topic, Partition, Offset) ->
    #{topic => Topic, partition => Partition, offset => Offset}.

questions(Config) ->
    %% Positions, watermarks and lag are those of what is acknowledged; when all
    %% is, lag is 0.
    Topic = crema_ct:topic(Config, 2),
    crema_ct:fill(Config, Topic, 1, lists:seq(1, 10)),
    Self = self(),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        {noack, State}
    end,
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, #{}),
    Messages = [M || {_, M} <- crema_ct:handled(10)],
    [ok = crema:ack(M) || M <- Messages, lists:member(number(M), [1, 2, 3, 7])],
    Of = #{topic => Topic, partition => 1},
    ?assertEqual(
        {ok, [Of#{delivered => 10, acknowledged => 3, stored => 3}]},
        crema_control:position(C, {Topic, 1})
    ),
    ?assertMatch({ok, [#{partition := 0, delivered := 0}, #{partition := 1}]},
        crema_control:position(C)),
    ?assertEqual({ok, [Of#{low => 0, high => 10}]}, crema_control:watermarks(C, {Topic, 1})),
    ?assertMatch({ok, [#{partition := 0, high := 0}, #{partition := 1}]},
        crema_control:watermarks(C)),
    ?assertMatch({ok, [#{partition := 0, lag := 0}, #{partition := 1, lag := 7, high := 10}]},
        crema_control:lag(C)),
    crema_ct:await(fun() -> maps:get(lag, crema:status(C)) =:= 7 end),
    ?assertMatch(#{lag := 7, high := 10, acknowledged := 3}, partition(C, 1)),
    ?assertMatch({error, {not_assigned, #{partition := 9}}}, crema_control:position(C, {Topic, 9})),
    [ok = crema:ack(M) || M <- Messages],
    ?assertMatch({ok, [#{lag := 0}, #{lag := 0}]}, crema_control:lag(C)),
    ?assertMatch(#{lag := 0}, crema:status(C)),
    ?assertMatch({error, {unknown_partition, _}}, crema_control:watermarks(C, {Topic, 9}, 1000)).

external_offsets(Config) ->
    %% A handler that keeps its offset with its data goes on exactly behind it,
    %% after a crash as after a kill of its consumer; the group has no offset.
    Topic = filled(Config, 30),
    Data = ets:new(data, [public, ordered_set]),
    Self = self(),
    Once = crema_ct_consume:once([10, 20]),
    Init = fun(_, Args) -> {ok, Args, #{start => next(Data)}} end,
    Handle = fun(#{offset := Offset} = Message, State) ->
        Number = number(Message),
        true = ets:insert_new(Data, {Offset, Number}),
        %% What is stored is not acknowledged yet.
        Number =:= 10 andalso Once(10) andalso exit(planned),
        Self ! {handled, self(), Message},
        Number =:= 20 andalso Once(20) andalso receive never -> ok end,
        {ack, State}
    end,
    Args = #{init => Init, handle => Handle},
    Options = (quick())#{group => crema_ct:unique(<<"group">>), commit => external},
    First = crema_ct:consumer(Config, Topic, Args, Options),
    _ = crema_ct:handled(19),
    ?assertMatch({error, {commits_nothing, _}}, crema:commit(First)),
    ?assertEqual({ok, [offset(Topic, 0, none)]}, crema_control:committed(First)),
    exit(First, kill),
    Second = crema_ct:consumer(Config, Topic, Args, Options),
    ?assertEqual(lists:seq(21, 30), values(crema_ct:handled(10))),
    ?assertEqual(lists:seq(1, 30), [Number || {_, Number} <- ets:tab2list(Data)]),
    ?assertEqual({ok, [offset(Topic, 0, none)]}, crema_control:committed(Second)),
    %% It says where it begins after a seek as well: back to what it has not.
    true = ets:delete(Data, 29),
    {ok, _} = crema:seek(Second, all, 3),
    ?assertEqual([30], values(crema_ct:handled(1))).

next(Data) ->
    case ets:last(Data) of
        '$end_of_table' -> earliest;
        Last -> Last + 1
    end.

bad_start(Config) ->
    %% What init/2 gives as its start is checked; a wrong one is a crash that says so.
    Topic = filled(Config, 1),
    Crashed = listen(Topic, [crema, consumer, handler_crashed]),
    Init = fun(_, Args) -> {ok, Args, #{start => tomorrow}} end,
    _ = crema_ct:consumer(Config, Topic, #{init => Init, to => self()}, quick()),
    ?assertMatch({_, #{reason := {bad_return, {_, init, _}}}}, heard(Crashed)).

%% ---- subscription ------------------------------------------------------------------------

subscription_changes(Config) ->
    %% A subscription can be replaced, added to and taken from while it runs; what
    %% was handled of a topic does not come again when it comes back.
    [A, B] = [filled(Config, 3), filled(Config, 3)],
    C = crema_ct:consumer(Config, A, #{to => self()}, #{}),
    [{A, 1}, {A, 2}, {A, 3}] = topics(crema_ct:handled(3)),
    true = all_acknowledged(C),
    ok = crema_control:add_topics(C, [B]),
    ?assertEqual([{B, 1}, {B, 2}, {B, 3}], topics(crema_ct:handled(3))),
    ?assertEqual({ok, [A, B]}, crema_control:subscription(C)),
    true = all_acknowledged(C),
    ok = crema_control:remove_topics(C, A),
    crema_ct:await(fun() -> maps:get(assigned, crema:status(C)) =:= [{B, 0}] end),
    [crema_ct:fill(Config, T, 0, [4]) || T <- [A, B]],
    ?assertEqual([{B, 4}], topics(crema_ct:handled(1))),
    true = all_acknowledged(C),
    ok = crema_control:subscribe(C, [A]),
    ?assertEqual([{A, 4}], topics(crema_ct:handled(1))),
    ?assertEqual({ok, [A]}, crema_control:subscription(C)),
    ok = crema_control:subscribe(C, []),
    crema_ct:await(fun() -> maps:get(assigned, crema:status(C)) =:= [] end),
    ?assertError(badarg, crema_control:subscribe(C, {1})).

topics(Handled) ->
    [{T, number(Message)} || {_, #{topic := T} = Message} <- Handled].

stop_in_a_change(Config) ->
    %% A stop that falls into a rebalance, with another subscription waiting behind
    %% it, ends as any other. (librdkafka aborted the VM then.)
    [A, B] = [filled(Config, 1), filled(Config, 1)],
    Members = [crema_ct:consumer(Config, A, #{to => self()}, #{}) || _ <- [1, 2]],
    _ = crema_ct:handled(2),
    [
        begin
            ok = crema_control:add_topics(C, [B]),
            ok = crema_control:remove_topics(C, [B]),
            ok = crema_control:subscribe(C, Topics),
            ok = crema_consumer:stop(C)
        end
     || {C, Topics} <- lists:zip(Members, [[A, <<"^none-.*">>], []])
    ].

pattern_finds_new_topics(Config) ->
    %% A topic that matches a pattern and is made later is taken up.
    Prefix = crema_ct:unique(<<"pattern">>),
    New = fun(Name) ->
        Topic = <<Prefix/binary, Name/binary>>,
        ok = crema_ct:create_topic(Config, Topic, 1),
        ok = crema_ct:fill(Config, Topic, 0, [1]),
        Topic
    end,
    One = New(<<"-one">>),
    Options = #{
        topics => [<<"^", Prefix/binary, "-.*">>],
        kafka => #{'topic.metadata.refresh.interval.ms' => 500}
    },
    _ = crema_ct:consumer(Config, none, #{to => self()}, Options),
    ?assertEqual([{One, 1}], topics(crema_ct:handled(1))),
    Two = New(<<"-two">>),
    ?assertEqual([{Two, 1}], topics(crema_ct:handled(1))).

%% ---- callers --------------------------------------------------------------------------

from_anywhere(Config) ->
    %% The calls take a name, a name on a node and a pid, and come from the handler
    %% itself too; without a consumer they are errors that say so.
    Topic = filled(Config, 3),
    Self = self(),
    Handle = fun(#{value := Value} = Message, State) ->
        Self ! {handled, self(), Message},
        Value =:= <<"2">> andalso (ok = crema:pause(?FUNCTION_NAME, {Topic, 0})),
        {ack, State}
    end,
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, #{name => ?FUNCTION_NAME}),
    ?assertEqual([1, 2], values(crema_ct:handled(2))),
    crema_ct:none_handled(20),
    Own = {?FUNCTION_NAME, node()},
    [?assertEqual({ok, [Topic]}, crema_control:subscription(R)) || R <- [C, ?FUNCTION_NAME, Own]],
    ok = crema:resume(Own, all),
    ?assertEqual([3], values(crema_ct:handled(1))),
    true = all_acknowledged(C),
    ?assertMatch({ok, [#{lag := 0}]}, crema_control:lag(C, infinity)),
    ok = crema_consumer:stop(C),
    ?assertMatch({error, {not_found, _}}, crema:pause(?FUNCTION_NAME, all)),
    ?assertMatch({error, {closed, _}}, crema:commit(C)),
    ?assertMatch({error, {_, _}}, crema:seek({?FUNCTION_NAME, 'nobody@nowhere'}, all, 0)),
    ?assertError(badarg, crema:pause(?FUNCTION_NAME, [Topic])),
    ?assertError(badarg, crema_control:lag(C, soon)),
    receive
        {started, _, _} -> crema_ct:quiet()
    end.
