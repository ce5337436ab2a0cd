%% Members of a group that are killed at random, on a real broker, while messages
%% come by the hundred thousand, partitions are added and transactions abort; and
%% beside them a member that begins at the end and dies before its first commit.
%% See docs/building.md, and crema_ct_consumed for what must hold.
-module(crema_long).

-export([main/0]).

-define(MEMBERS, 3).
-define(PARTITIONS, 4).
%% Partitions of the plain topic, when a third and two thirds are produced.
-define(GROWN, [6, 8]).
-define(CHUNK, 200).
%% Every so many transactions one aborts.
-define(ABORTS, 5).
-define(LATE, 5000).
-define(DEADLINE, 180000).

%% @doc Arguments: folder, scripts/kafka, messages, messages a second, kills.
main() ->
    [Folder, Kafka, Count, Rate, Kills] = init:get_plain_arguments(),
    {ok, _} = application:ensure_all_started(crema),
    ok = logger:set_primary_config(level, error),
    try run(Folder, Kafka, [list_to_integer(N) || N <- [Count, Rate, Kills]]) of
        Faults -> halt(min(1, Faults))
    catch
        Class:Reason:Stack ->
            io:format("~p: ~0p~n~p~n", [Class, Reason, Stack]),
            halt(2)
    end.

run(Folder, Kafka, [Count, Rate, Kills]) ->
    Begun = now_ms(),
    [ok = create(Kafka, Topic, ?PARTITIONS) || Topic <- ["plain", "transactional", "late"]],
    Places = [{T, P} || T <- [<<"plain">>, <<"transactional">>], P <- lists:seq(0, ?PARTITIONS - 1)],
    Start = fun() -> member(Folder, "main", "latest", 200, ["plain", "transactional"]) end,
    Members = [Start() || _ <- lists:seq(1, ?MEMBERS)],
    _ = await_commits("main", Places),
    io:format("~b members began after ~b ms~n", [?MEMBERS, now_ms() - Begun]),
    Watcher = watch("main"),
    Produced = counters:new(1, []),
    Producers = [
        spawn_monitor(fun() -> plain(Count div 5 * 4, Rate div 5 * 4, Produced) end),
        spawn_monitor(fun() -> transactional(Count div 5, Rate div 5, Produced) end),
        spawn_monitor(fun() -> grow(Kafka, Watcher, Count, Produced) end)
    ],
    Late = spawn_monitor(fun() -> late(Folder) end),
    {Killed, Left} = kill_at_random(Members, Start, Kills, Count, Produced, []),
    [ended(Process) || Process <- [Late | Producers]],
    io:format("produced after ~b ms, ~b members killed~n", [now_ms() - Begun, length(Killed)]),
    Ends = await_ends("main", all_places()),
    io:format("lag 0 after ~b ms~n", [now_ms() - Begun]),
    [stop(Member) || Member <- Left],
    Commits = watched(Watcher),
    report("main", #{
        log => logs(Folder, [<<"plain">>, <<"transactional">>]),
        starts => #{},
        notes => crema_long_member:notes(notes(Folder, "main")),
        commits => Commits,
        ends => Ends,
        killed => Killed,
        troubled => crema_long_member:troubled(notes(Folder, "main"))
    }) + judge_late(Folder).

all_places() ->
    [{<<"plain">>, P} || P <- lists:seq(0, lists:last(?GROWN) - 1)] ++
        [{<<"transactional">>, P} || P <- lists:seq(0, ?PARTITIONS - 1)].

report(Name, #{log := Log, notes := Notes, commits := Commits} = Case) ->
    {Faults, Repeats} = crema_ct_consumed:judge(Case),
    Handled = [Offset || {_, Of} <- maps:to_list(Notes), {_, handled, _, Offset} <- Of],
    io:format("~s: ~b messages, ~b handled, ~b offsets seen committed~n", [
        Name, lists:sum([length(Of) || Of <- maps:values(Log)]), length(Handled), length(Commits)
    ]),
    io:format("  came again: ~0p~n", [Repeats]),
    io:format("  members that were killed had not committed for ~0p ms~n", [uncommitted(Case)]),
    io:format("  ~b faults ~0p~n", [length(Faults), lists:sublist(Faults, 20)]),
    length(Faults).

%% From the last commit that was seen of any of a member's partitions to its end.
uncommitted(#{killed := Killed} = Case) ->
    [uncommitted(Life, Case) || Life <- Killed].

uncommitted(Life, #{notes := Notes, commits := Commits}) ->
    Held = [{Place, times(Of)} || {{Place, L}, [_ | _] = Of} <- maps:to_list(Notes), L =:= Life],
    End = lists:max([0 | [To || {_, {_, To}} <- Held]]),
    Seen = [
        Time
     || {Time, Place, _} <- Commits,
        {P, {From, _}} <- Held,
        P =:= Place,
        Time >= From,
        Time =< End
    ],
    (End - lists:max([lists:min([End | [From || {_, {From, _}} <- Held]]) | Seen])) div 1000.

times(Notes) ->
    All = [Time || {Time, _, _, _} <- Notes],
    {lists:min(All), lists:max(All)}.

%% ---- members --------------------------------------------------------------------

member(Folder, Group, Start, Interval, Topics) ->
    Own = notes(Folder, Group),
    ok = filelib:ensure_path(Own),
    Paths = lists:append([["-pa", Path] || Path <- code:get_path(), hd(Path) =:= $/]),
    Port = open_port({spawn_executable, os:find_executable("erl")}, [
        {args, Paths ++ ["-noshell", "-run", "crema_long_member", "main", "-extra", Own, Group,
            Start, integer_to_list(Interval) | Topics]},
        exit_status,
        {env, [{"ERL_CRASH_DUMP_SECONDS", "0"}]}
    ]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    {Port, integer_to_list(Pid)}.

notes(Folder, Group) -> filename:join([Folder, "members", Group]).

stop({Port, _} = Member) ->
    true = port_command(Port, "stop\n"),
    0 = exit_status(Member),
    ok.

kill({_, Pid} = Member) ->
    "" = os:cmd("kill -9 " ++ Pid),
    _ = exit_status(Member),
    Pid.

exit_status({Port, _} = Member) ->
    receive
        {Port, {exit_status, Status}} -> Status;
        {Port, {data, Data}} -> io:format("~ts", [Data]), exit_status(Member)
    after ?DEADLINE -> error({member_stuck, Member})
    end.

%% Each a while after the one before, spread over what is produced.
kill_at_random(Members, _Start, 0, _Count, _Produced, Killed) ->
    {Killed, Members};
kill_at_random(Members, Start, Kills, Count, Produced, Killed) ->
    Share = Count div (length(Killed) + Kills + 1) * (length(Killed) + 1),
    await(fun() -> counters:get(Produced, 1) >= Share end),
    Victim = lists:nth(rand:uniform(length(Members)), Members),
    Pid = kill(Victim),
    pause(rand:uniform(3000)),
    Left = [Start() | lists:delete(Victim, Members)],
    kill_at_random(Left, Start, Kills - 1, Count, Produced, [Pid | Killed]).

%% ---- traffic --------------------------------------------------------------------

plain(Count, Rate, Produced) ->
    {ok, Producer} = crema_producer:start_link(#{
        bootstrap_servers => bootstrap(), kafka => #{'topic.metadata.refresh.interval.ms' => 2000}
    }),
    paced(Count div ?CHUNK, Rate, fun(N) ->
        {ok, Results} = crema:produce_many(Producer, messages(<<"plain">>, <<"m">>, N)),
        ?CHUNK = length([ok || {ok, _} <- Results]),
        counters:add(Produced, 1, ?CHUNK)
    end),
    crema_producer:stop(Producer).

%% Messages of those that abort are not counted.
transactional(Count, Rate, Produced) ->
    {ok, Producer} = crema_producer:start_link(#{
        bootstrap_servers => bootstrap(), kafka => #{'transactional.id' => "long"}
    }),
    Transaction = fun(Name, N, End) ->
        crema:transaction(Producer, fun(T) ->
            {ok, _} = crema:produce_many(T, messages(<<"transactional">>, Name, N)),
            End(T)
        end)
    end,
    paced(Count div ?CHUNK, Rate, fun(N) ->
        N rem ?ABORTS =:= 0 andalso
            ({aborted, planned} = Transaction(<<"aborted">>, N, fun(T) -> crema:abort(T, planned) end)),
        {ok, done} = Transaction(<<"m">>, N, fun(_) -> done end),
        counters:add(Produced, 1, ?CHUNK)
    end),
    crema_producer:stop(Producer).

messages(Topic, Name, N) ->
    [
        #{topic => Topic, value => <<Name/binary, (integer_to_binary(N * ?CHUNK + M))/binary>>}
     || M <- lists:seq(0, ?CHUNK - 1)
    ].

paced(Chunks, Rate, Fun) ->
    Begun = now_ms(),
    [
        begin
            Fun(N),
            pause(max(0, Begun + N * ?CHUNK * 1000 div Rate - now_ms()))
        end
     || N <- lists:seq(1, Chunks)
    ].

%% Partitions are added while messages come.
grow(Kafka, Watcher, Count, Produced) ->
    [
        begin
            await(fun() -> counters:get(Produced, 1) >= Count * N div (length(?GROWN) + 1) end),
            Class = "org.apache.kafka.tools.TopicCommand",
            "" = tool(Kafka, [Class, "--bootstrap-server", bootstrap(), "--alter", "--topic", "plain",
                "--partitions", integer_to_list(Partitions)]),
            Watcher ! {partitions, Partitions}
        end
     || {N, Partitions} <- lists:enumerate(?GROWN)
    ].

create(Kafka, Topic, Partitions) ->
    Output = os:cmd(lists:join(" ", [
        Kafka, "topic", os:getenv("KAFKA_DIR"), Topic, integer_to_list(Partitions)
    ])),
    {match, _} = re:run(Output, "Created topic"),
    ok.

tool(Kafka, Arguments) ->
    os:cmd(lists:join(" ", [Kafka, "tool", os:getenv("KAFKA_DIR") | Arguments])).

%% ---- a start at the end -------------------------------------------------------------

%% The first member commits nothing but where it begins, and dies; what comes
%% meanwhile is the next one's.
late(Folder) ->
    process_flag(trap_exit, true),
    {ok, Producer} = crema_producer:start_link(#{bootstrap_servers => bootstrap()}),
    Produce = fun(First) ->
        Chunks = lists:seq(First, First + ?LATE div ?CHUNK - 1),
        [{ok, _} = crema:produce_many(Producer, messages(<<"late">>, <<"m">>, N)) || N <- Chunks]
    end,
    _ = Produce(0),
    Places = late_places(),
    Before = ends(Places),
    First = member(Folder, "late", "latest", 600000, ["late"]),
    Before = await_commits("late", Places),
    _ = Produce(1000),
    Own = notes(Folder, "late"),
    await(fun() -> [Of || {_, [_ | _] = Of} <- maps:to_list(crema_long_member:notes(Own))] =/= [] end),
    Pid = kill(First),
    Before = committed("late", Places),
    _ = Produce(2000),
    Second = member(Folder, "late", "latest", 200, ["late"]),
    Ends = await_ends("late", Places),
    stop(Second),
    Text = io_lib:format("~0p.~n", [{Before, Ends, Pid}]),
    ok = file:write_file(filename:join(Folder, "late.result"), Text),
    crema_producer:stop(Producer).

late_places() -> [{<<"late">>, P} || P <- lists:seq(0, ?PARTITIONS - 1)].

judge_late(Folder) ->
    {ok, [{Before, Ends, Pid}]} = file:consult(filename:join(Folder, "late.result")),
    report("late", #{
        log => logs(Folder, [<<"late">>]),
        starts => Before,
        notes => crema_long_member:notes(notes(Folder, "late")),
        commits => [],
        ends => Ends,
        killed => [Pid],
        troubled => []
    }).

%% ---- what is committed, and what there is ---------------------------------------------

%% Looks ten times a second, until it is asked for what it saw.
watch(Group) ->
    spawn_link(fun() ->
        watching(crema_ct_wire:connect(bootstrap()), Group, ?PARTITIONS, #{}, [])
    end).

watching(Socket, Group, Count, Last, Seen) ->
    Places = [{<<"plain">>, P} || P <- lists:seq(0, Count - 1)] ++
        [{<<"transactional">>, P} || P <- lists:seq(0, ?PARTITIONS - 1)],
    Committed = crema_ct_wire:committed(Socket, Group, Places),
    Now = os:system_time(microsecond),
    New = [
        {Now, Place, Offset}
     || {Place, Offset} <- maps:to_list(Committed),
        Offset >= 0, Offset =/= maps:get(Place, Last, none)
    ],
    receive
        {partitions, More} -> watching(Socket, Group, More, Committed, New ++ Seen);
        {seen, To} -> To ! {self(), New ++ Seen}
    after 100 -> watching(Socket, Group, Count, Committed, New ++ Seen)
    end.

watched(Watcher) ->
    Watcher ! {seen, self()},
    receive
        {Watcher, Seen} -> Seen
    after ?DEADLINE -> error(watcher_stuck)
    end.

committed(Group, Places) ->
    asked(fun(Socket) -> crema_ct_wire:committed(Socket, Group, Places) end).

ends(Places) ->
    asked(fun(Socket) -> crema_ct_wire:ends(Socket, Places) end).

asked(Ask) ->
    Socket = crema_ct_wire:connect(bootstrap()),
    Answer = Ask(Socket),
    crema_ct_wire:close(Socket),
    Answer.

%% The offset where each partition begins is committed before its first message.
await_commits(Group, Places) ->
    await(fun() ->
        Committed = committed(Group, Places),
        lists:min(maps:values(Committed)) >= 0 andalso {ok, Committed}
    end).

%% All that there is is committed.
await_ends(Group, Places) ->
    Ends = ends(Places),
    await(fun() ->
        Committed = committed(Group, Places),
        Committed =:= Ends andalso {ok, maps:map(fun(_, End) -> {End, End} end, Ends)}
    end).

%% As kcat reads it, which leaves out what was aborted.
logs(Folder, Topics) ->
    maps:from_list([
        {{Topic, Partition}, [Offset || {Offset, <<"m", _/binary>>} <- Entries]}
     || Topic <- Topics, {Partition, Entries} <- crema_ct_kafka:log(Folder, Topic)
    ]).

%% ---- waiting ---------------------------------------------------------------------------

ended({Pid, Monitor}) ->
    receive
        {'DOWN', Monitor, _, _, normal} -> ok;
        {'DOWN', Monitor, _, _, Reason} -> error({Pid, Reason})
    after ?DEADLINE -> error({stuck, Pid})
    end.

await(Condition) -> await(Condition, now_ms() + ?DEADLINE).

await(Condition, Deadline) ->
    case Condition() of
        true -> ok;
        {ok, Value} -> Value;
        Other ->
            now_ms() < Deadline orelse error({not_in_time, Other}),
            pause(100),
            await(Condition, Deadline)
    end.

pause(Millis) ->
    receive
    after Millis -> ok
    end.

bootstrap() -> os:getenv("KAFKA_BOOTSTRAP").

now_ms() -> erlang:monotonic_time(millisecond).
