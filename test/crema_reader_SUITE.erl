%% Reading without a group, on the embedded cluster: what is read and where it
%% ends, and that nothing is left when it does.
-module(crema_reader_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([whole_topic/1, contents/1, bounds/1, maps_of_partitions/1, nothing_to_read/1]).
-export([ends_though_producers_go_on/1, follow/1, stop_and_go_on/1, batches/1]).
-export([exceptions/1, caller_dies/1, waiter_dies/1, client_dies/1, many_readers/1]).
-export([demand/1, cursor/1, silence/1, troubled_brokers/1, errors/1, unreachable/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [
        whole_topic, contents, bounds, maps_of_partitions, nothing_to_read,
        ends_though_producers_go_on, follow, stop_and_go_on, batches, exceptions, caller_dies,
        waiter_dies, client_dies, many_readers, demand, cursor, silence, troubled_brokers,
        errors, unreachable
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) ->
    crema_ct:cleanup(),
    crema_ct:quiet().

%% ---- helpers -------------------------------------------------------------------

options(Config, Topic) ->
    #{bootstrap_servers => crema_ct:bootstrap(Config), topic => Topic}.

%% Numbers by partition, in the order in which they came.
read(Options) ->
    {ok, Numbers, Positions} = crema:fold(Options, fun collect/2, #{}),
    {maps:map(fun(_, Reversed) -> lists:reverse(Reversed) end, Numbers), Positions}.

collect(#{partition := P} = Message, Acc) ->
    N = crema_ct_consume:number(Message),
    {ok, maps:update_with(P, fun(Ns) -> [N | Ns] end, [N], Acc)}.

count(_Message, Count) -> {ok, Count + 1}.

%% Partition 0 holds the numbers from 1 to the first count, and so on.
filled(Config, Counts) ->
    Topic = crema_ct:topic(Config, length(Counts)),
    _ = [
        ok = crema_ct:fill(Config, Topic, P, lists:seq(1, Count))
     || {P, Count} <- lists:zip(lists:seq(0, length(Counts) - 1), Counts), Count > 0
    ],
    Topic.

open_ports() -> length([P || P <- erlang:ports(), is_client(erlang:port_info(P, name))]).

is_client({name, Name}) -> lists:prefix("crema_drv client", Name);
is_client(undefined) -> false.

%% The process below a reader.
process(Reader) -> element(2, Reader).

all_ended(Before) ->
    crema_ct:await(fun() ->
        open_ports() =:= Before andalso maps:get(reapers, crema:info()) =:= 0
    end).

%% ---- what is read ----------------------------------------------------------------

whole_topic(Config) ->
    %% All partitions are read to their ends, each in order, and an empty one holds
    %% up nothing; what is returned says where the ends are.
    Topic = filled(Config, [3000, 0, 1500]),
    {Numbers, Positions} = read(options(Config, Topic)),
    ?assertEqual(#{0 => lists:seq(1, 3000), 2 => lists:seq(1, 1500)}, Numbers),
    ?assertEqual(#{{Topic, 0} => 3000, {Topic, 1} => 0, {Topic, 2} => 1500}, Positions).

contents(Config) ->
    %% A message has all that a consumer's has, but no token: there is nothing to
    %% acknowledge. Null and empty are not the same.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config),
    Sent = [
        #{key => <<"k">>, value => <<"v">>, headers => [{<<"h">>, <<"1">>}, {<<"h">>, undefined}]},
        #{key => <<>>, value => undefined, headers => []},
        #{key => undefined, value => <<>>, headers => []}
    ],
    {ok, _} = crema:produce_many(P, [M#{topic => Topic, partition => 0} || M <- Sent]),
    Keep = fun(Message, Acc) -> {ok, [Message | Acc]} end,
    {ok, Got, _} = crema:fold(options(Config, Topic), Keep, []),
    ?assertEqual(Sent, [maps:with([key, value, headers], M) || M <- lists:reverse(Got)]),
    ?assertEqual([0, 1, 2], [Offset || #{offset := Offset} <- lists:reverse(Got)]),
    ?assertMatch(#{topic := Topic, partition := 0, timestamp_type := create}, hd(Got)),
    ?assertNot(is_map_key(token, hd(Got))),
    {ok, [Null | _], _} = crema:fold((options(Config, Topic))#{null => nil}, Keep, []),
    ?assertMatch(#{key := nil}, Null).

bounds(Config) ->
    %% Both ends can be offsets; the beginning can be counted from the end. What is
    %% at the end is not read.
    Topic = filled(Config, [100, 50]),
    Read = fun(More) -> element(1, read(maps:merge(options(Config, Topic), More))) end,
    ?assertEqual(
        #{0 => lists:seq(21, 30), 1 => lists:seq(21, 30)}, Read(#{from => 20, to => 30})
    ),
    ?assertEqual(#{1 => [50]}, Read(#{partitions => [1], from => 49})),
    ?assertEqual(
        #{0 => lists:seq(91, 100), 1 => lists:seq(41, 50)}, Read(#{from => {last, 10}})
    ),
    ?assertEqual(#{1 => lists:seq(1, 50)}, Read(#{partitions => [1], from => {last, 1000}})),
    ?assertEqual(#{0 => [1]}, Read(#{partitions => [0], to => 1})).

maps_of_partitions(Config) ->
    %% Each partition can have ends of its own; those that a map leaves out are read
    %% whole. Partitions may be of several topics.
    Topic = filled(Config, [10, 10, 10]),
    Other = filled(Config, [10]),
    {Numbers, _} = read((options(Config, Topic))#{
        from => #{0 => 8, {Topic, 1} => latest}, to => #{2 => 3}
    }),
    ?assertEqual(#{0 => [9, 10], 2 => [1, 2, 3]}, Numbers),
    {ok, 7, Positions} = crema:fold(
        #{
            bootstrap_servers => crema_ct:bootstrap(Config),
            partitions => [{Topic, 2}, {Other, 0}],
            from => #{{Topic, 2} => 5, {Other, 0} => {last, 2}}
        },
        fun count/2,
        0
    ),
    ?assertEqual(#{{Topic, 2} => 10, {Other, 0} => 10}, Positions).

nothing_to_read(Config) ->
    %% Where there is nothing between the ends, the read is done at once.
    Topic = filled(Config, [10]),
    Empty = crema_ct:topic(Config, 2),
    Fold = fun(Name, More) ->
        crema:fold(maps:merge(options(Config, Name), More), fun count/2, 0)
    end,
    ?assertEqual({ok, 0, #{{Empty, 0} => 0, {Empty, 1} => 0}}, Fold(Empty, #{})),
    ?assertEqual({ok, 0, #{{Topic, 0} => 10}}, Fold(Topic, #{from => latest})),
    ?assertEqual({ok, 0, #{{Topic, 0} => 5}}, Fold(Topic, #{from => 5, to => 5})),
    ?assertEqual({ok, 0, #{{Topic, 0} => 7}}, Fold(Topic, #{from => 7, to => 2})).

ends_though_producers_go_on(Config) ->
    %% The end is where the partition ended when the read began: it is met though
    %% each message that is read makes another.
    Topic = filled(Config, [50]),
    P = crema_ct:producer(Config),
    Echo = fun(_Message, Count) ->
        {ok, _} = crema:produce(P, #{topic => Topic, partition => 0, value => <<"0">>}),
        {ok, Count + 1}
    end,
    ?assertEqual({ok, 50, #{{Topic, 0} => 50}}, crema:fold(options(Config, Topic), Echo, 0)),
    ?assertMatch({ok, 100, _}, crema:fold(options(Config, Topic), fun count/2, 0)).

follow(Config) ->
    %% Without an end a read goes on with what comes, until the function stops it.
    Topic = filled(Config, [5]),
    Self = self(),
    Tell = fun(Message, Acc) ->
        Self ! {got, crema_ct_consume:number(Message)},
        case Message of
            #{value := <<"7">>} -> {stop, [7 | Acc]};
            _ -> {ok, Acc}
        end
    end,
    Follower = spawn_link(fun() ->
        Options = (options(Config, Topic))#{to => infinity, from => 3},
        Self ! {self(), crema:fold(Options, Tell, [])}
    end),
    [4, 5] = [got() || _ <- [1, 2]],
    ok = crema_ct:fill(Config, Topic, 0, [6, 7, 8]),
    [6, 7] = [got() || _ <- [1, 2]],
    receive
        {Follower, Result} -> ?assertEqual({ok, [7], #{{Topic, 0} => 7}}, Result)
    after 10000 -> error(no_result)
    end.

got() ->
    receive
        {got, Number} -> Number
    after 10000 -> error(nothing_came)
    end.

stop_and_go_on(Config) ->
    %% A read that is stopped goes on from its positions without a gap or a repeat.
    Topic = filled(Config, [2500, 2500]),
    Stop = fun(Message, Acc) ->
        {ok, New} = collect(Message, Acc),
        case lists:sum([length(Ns) || Ns <- maps:values(New)]) rem 1234 of
            0 -> {stop, New};
            _ -> {ok, New}
        end
    end,
    Read = go_on(options(Config, Topic), Stop, #{}, 6),
    ?assertEqual([lists:seq(1, 2500), lists:seq(1, 2500)], [lists:reverse(Ns) || Ns <- maps:values(Read)]).

go_on(_Options, _Fun, Acc, 0) ->
    Acc;
go_on(Options, Fun, Acc, Times) ->
    {ok, New, Positions} = crema:fold(Options, Fun, Acc),
    go_on(Options#{from => Positions}, Fun, New, Times - 1).

batches(Config) ->
    %% How much is read at a time changes nothing of what is read.
    Topic = filled(Config, [300]),
    Sizes = [#{batch_messages => 1}, #{batch_messages => 7}, #{batch_bytes => 100}],
    Read = fun(Size) -> element(1, read(maps:merge(options(Config, Topic), Size))) end,
    [?assertEqual(#{0 => lists:seq(1, 300)}, Read(Size)) || Size <- Sizes].

%% ---- ends --------------------------------------------------------------------------

exceptions(Config) ->
    %% An exception of the function is the caller's, and ends the read wholly.
    Topic = filled(Config, [10]),
    Before = open_ports(),
    Fold = fun(Fun) -> crema:fold(options(Config, Topic), Fun, 0) end,
    ?assertThrow(ball, Fold(fun(_, _) -> throw(ball) end)),
    ?assertError(bad, Fold(fun(_, _) -> error(bad) end)),
    ?assertExit(gone, Fold(fun(_, _) -> exit(gone) end)),
    ?assertError({bad_return, 17}, Fold(fun(_, _) -> 17 end)),
    ?assertError(badarg, Fold(fun(_) -> ok end)),
    true = all_ended(Before).

caller_dies(Config) ->
    %% With the process that reads ends all that reads for it: in the middle, and
    %% while it waits for what does not come.
    Topic = filled(Config, [10]),
    Before = open_ports(),
    Self = self(),
    Hang = fun(_, _) ->
        Self ! reading,
        receive
            never -> ok
        end
    end,
    Busy = spawn(fun() -> crema:fold(options(Config, Topic), Hang, 0) end),
    receive
        reading -> ok
    after 10000 -> error(not_reading)
    end,
    Waiting = spawn(fun() ->
        {ok, Reader} = crema_reader:open((options(Config, Topic))#{from => latest, to => infinity}),
        Self ! {waits, process(Reader)},
        crema_reader:next(Reader)
    end),
    Process =
        receive
            {waits, Pid} -> Pid
        after 10000 -> error(not_waiting)
        end,
    Monitor = erlang:monitor(process, Process),
    true = exit(Busy, kill),
    true = exit(Waiting, kill),
    receive
        {'DOWN', Monitor, _, _, normal} -> ok
    after 10000 -> error(reader_lives)
    end,
    true = all_ended(Before).

waiter_dies(Config) ->
    %% What comes is not lost to a process that has died while it waited for it.
    Topic = crema_ct:topic(Config, 1),
    {ok, Reader} = crema_reader:open((options(Config, Topic))#{to => infinity}),
    Waiter = spawn(fun() -> turn(Reader) end),
    Code = fun() -> element(1, element(2, crema_reader:next(Reader, 0))) end,
    crema_ct:await(fun() -> Code() =:= busy end),
    exit(Waiter, kill),
    crema_ct:await(fun() -> Code() =:= timeout end),
    ok = crema_ct:fill(Config, Topic, 0, [1]),
    ?assertMatch({ok, [#{offset := 0}], _}, crema_reader:next(Reader, 20000)),
    ok = crema_reader:close(Reader).

client_dies(Config) ->
    %% A reader whose client is gone says so, and does not wait.
    Topic = filled(Config, [10]),
    {ok, Reader} = crema_reader:open((options(Config, Topic))#{from => latest, to => infinity}),
    {ok, reader, Port, _, _} = crema_registry:lookup(process(Reader)),
    Self = self(),
    Waiter = spawn_link(fun() -> Self ! {self(), crema_reader:next(Reader)} end),
    ok = crema_port:kill(Port),
    receive
        {Waiter, Answer} -> ?assertMatch({error, {closed, _}}, Answer)
    after 10000 -> error(no_answer)
    end,
    ok = crema_reader:close(Reader).

many_readers(Config) ->
    %% Readers side by side, each with a client of its own, disturb nobody.
    Topic = filled(Config, [500, 500]),
    Reads = [fun() -> crema:fold(options(Config, Topic), fun count/2, 0) end || _ <- lists:seq(1, 8)],
    Results = crema_ct:spawned(Reads),
    ?assertEqual(lists:duplicate(8, 1000), [Count || {ok, Count, _} <- Results]).

%% ---- the cursor -----------------------------------------------------------------------

demand(Config) ->
    %% Nothing is delivered that was not asked for: of each partition two batches
    %% wait at most, however long the reader is busy.
    Topic = filled(Config, [1000, 1000]),
    {ok, Reader} = crema_reader:open((options(Config, Topic))#{batch_messages => 10}),
    Delivered = fun() ->
        #{partitions := Partitions} = crema:info(process(Reader)),
        lists:sort([D || #{delivered := D} <- Partitions])
    end,
    true = crema_ct:await(fun() -> Delivered() =:= [20, 20] end),
    {ok, [_ | _] = Messages, Next} = crema_reader:next(Reader),
    10 = length(Messages),
    true = crema_ct:await(fun() -> Delivered() =:= [20, 30] end),
    crema_ct:none_handled(200),
    ?assertEqual([20, 30], Delivered()),
    %% And the driver keeps nothing of it.
    #{partitions := Partitions} = crema:info(process(Next)),
    ?assertEqual([0, 0], [N || #{unacknowledged := N} <- Partitions]),
    ?assertEqual(10, lists:sum(maps:values(crema_reader:positions(Next)))),
    ok = crema_reader:close(Next).

cursor(Config) ->
    %% A cursor tells where it is, is for one process at a time, and can be closed
    %% twice; closed, it says so.
    Topic = filled(Config, [3]),
    {ok, Reader} = crema_reader:open((options(Config, Topic))#{to => infinity}),
    {ok, Messages, Next} = crema_reader:next(Reader),
    [1, 2, 3] = [crema_ct_consume:number(M) || M <- Messages],
    ?assertEqual(#{{Topic, 0} => 0}, crema_reader:positions(Reader)),
    ?assertEqual(#{{Topic, 0} => 3}, crema_reader:positions(Next)),
    Self = self(),
    Waiter = spawn_link(fun() -> Self ! {self(), turn(Next)} end),
    crema_ct:await(fun() -> element(1, element(2, crema_reader:next(Next, 0))) =:= busy end),
    ?assertError(badarg, crema_reader:next(Next, soon)),
    ok = crema_reader:close(Next),
    ok = crema_reader:close(Reader),
    receive
        {Waiter, Answer} -> ?assertMatch({error, {closed, _}}, Answer)
    after 10000 -> error(no_answer)
    end,
    ?assertMatch({error, {closed, _}}, crema_reader:next(Next)).

%% The other process may be before this one.
turn(Reader) ->
    case crema_reader:next(Reader) of
        {error, {busy, _}} -> turn(Reader);
        Other -> Other
    end.

silence(Config) ->
    %% An end that is not there yet is waited for; when nothing comes the error has
    %% what was read until then, and a cursor can still be used.
    Topic = filled(Config, [10]),
    Options = (options(Config, Topic))#{to => 12, timeout => 300},
    {error, {timeout, Details}} = crema:fold(Options, fun count/2, 0),
    ?assertMatch(#{acc := 10, positions := #{{Topic, 0} := 10}, retriable := true}, Details),
    {ok, Reader} = crema_reader:open(Options#{from => 10}),
    ?assertMatch({error, {timeout, _}}, crema_reader:next(Reader)),
    ok = crema_ct:fill(Config, Topic, 0, [11, 12, 13]),
    {ok, Messages, Next} = crema_reader:next(Reader, 10000),
    ?assertEqual(<<"11">>, maps:get(value, hd(Messages))),
    ok = crema_reader:close(Next),
    ?assertMatch({ok, 2, #{{Topic, 0} := 12}}, crema:fold(Options#{from => 10}, fun count/2, 0)).

troubled_brokers(Config) ->
    %% What may pass is waited for, at the start and later, and leaves no gap.
    Topic = filled(Config, [3000]),
    Cluster = proplists:get_value(cluster, Config),
    ListOffsets = 2,
    ok = crema_cluster:fail(Cluster, ListOffsets, [not_leader_for_partition, transport]),
    ok = crema_cluster:fail(Cluster, fetch, [not_leader_for_partition, {no_error, 300}, transport]),
    Trouble = fun(Message, Acc) ->
        case crema_ct_consume:number(Message) rem 1000 of
            0 -> ok = crema_cluster:fail(Cluster, fetch, [transport, request_timed_out]);
            _ -> ok
        end,
        collect(Message, Acc)
    end,
    Options = (options(Config, Topic))#{
        batch_messages => 100,
        kafka => #{<<"max.partition.fetch.bytes">> => 2000, <<"reconnect.backoff.ms">> => 10}
    },
    {ok, #{0 := Numbers}, _} = crema:fold(Options, Trouble, #{}),
    ?assertEqual(lists:seq(1, 3000), lists:reverse(Numbers)),
    %% None of it is left for the next case.
    crema_ct:await(fun() -> element(1, crema:fold(options(Config, Topic), fun count/2, 0)) =:= ok end).

%% ---- errors -----------------------------------------------------------------------------

errors(Config) ->
    %% What cannot be read is said at once, with where it is, and leaves nothing.
    Topic = filled(Config, [10, 0]),
    Before = open_ports(),
    Fold = fun(More) -> crema:fold(maps:merge(options(Config, Topic), More), fun count/2, 0) end,
    {error, {offset_out_of_range, Range}} = Fold(#{partitions => [0], from => 11}),
    ?assertMatch(#{topic := Topic, partition := 0, offset := 11, low := 0, high := 10}, Range),
    ?assertMatch(
        {error, {unknown_partition, #{topic := Topic, partition := 2}}}, Fold(#{partitions => [0, 2]})
    ),
    ?assertMatch({error, {bad_options, #{faults := [_, _]}}}, Fold(#{from => soon, timeout => 0})),
    ?assertMatch({error, {bad_options, _}}, Fold(#{kafka => #{<<"no.such.thing">> => 1}})),
    ?assertMatch({error, {bad_options, _}}, Fold(#{kafka => #{<<"group.id">> => <<"g">>}})),
    true = all_ended(Before).

unreachable(_Config) ->
    %% Brokers that do not answer are waited for no longer than was said, and the
    %% error has the cause.
    Options = #{bootstrap_servers => <<"127.0.0.1:1">>, topic => <<"t">>, timeout => 700},
    {Time, Result} = crema_ct:timed(fun() -> crema:fold(Options, fun count/2, 0) end),
    {error, {timed_out, #{message := Text, retriable := true}}} = Result,
    ?assertMatch({match, _}, re:run(Text, "refused|brokers are down", [])),
    ?assert(Time >= 600 andalso Time < 5000, Time).
