%% A run of chaos: three brokers behind proxies, three applications, a plan of what is done to
%% them, and at the end a verdict. See docs/building.md, and test/chaos for its parts.
-module(crema_chaos).

-export([main/0]).
-export([lane/3]).

%% The time that groups have for forming, before the plan begins.
-define(WARM_UP_MS, 10000).
%% How long is waited for lag 0.
-define(DRAIN_MS, 120000).
%% Violations of a kind, at most.
-define(SHOWN, 5).

%% @doc Arguments: folder, scripts/kafka, seed, seconds.
main() ->
    [Folder, Script | Numbers] = init:get_plain_arguments(),
    [Seed, Seconds] = [list_to_integer(N) || N <- Numbers],
    try run(Folder, Script, Seed, Seconds) of
        Violations ->
            io:format("violations: ~b~n", [Violations]),
            halt(min(1, Violations))
    catch
        Class:Reason:Stack ->
            io:format("~p: ~0p~n~p~n", [Class, Reason, Stack]),
            halt(2)
    end.

run(Folder, Script, Seed, Seconds) ->
    Plan = crema_chaos_plan:make(Seed, Seconds),
    io:format("seed ~b, ~b seconds; the plan:~n", [Seed, Seconds]),
    ok = crema_chaos_plan:print(Plan),
    Writer = crema_chaos_history:open(Folder),
    crema_chaos_history:write(Writer, [#{what => run, seed => Seed} | entries()]),
    Brokers = crema_chaos_brokers:start(Script),
    [ok = crema_chaos_brokers:create_topic(Topic) || Topic <- crema_chaos_setup:topics()],
    Apps = apps(Folder, Seed),
    say("applications are up"),
    timer:sleep(?WARM_UP_MS),
    ok = disturb(Plan, Seconds, {Folder, Brokers, Apps}),
    ok = crema_chaos_brokers:calm(Brokers),
    crema_chaos_history:write(Writer, #{what => calm}),
    say("calm"),
    settle(Apps),
    ok = drain(Folder),
    crema_chaos_history:write(Writer, #{what => drained}),
    stop(Apps),
    look(Folder, Writer),
    judge(Folder).

judge(Folder) ->
    {Found, Counts} = crema_chaos_checker:judge_folder(Folder),
    say(io_lib:format("judged ~0p", [Counts])),
    Kinds = maps:groups_from_list(fun({Kind, _}) -> Kind end, Found),
    [
        io:format("~ts~n", [crema_chaos_checker:sentence(Violation)])
     || Of <- maps:values(Kinds), Violation <- lists:sublist(Of, ?SHOWN)
    ],
    [io:format("~b ~s~n", [length(Of), Kind]) || {Kind, Of} <- maps:to_list(Kinds)],
    [keep_proof(Folder) || maps:with([torn, aborted_visible, contradicted], Kinds) =/= #{}],
    length(lists:filter(fun crema_chaos_checker:is_violation/1, Found)).

%% What brokers logged, and their files of who decided what of transactions.
keep_proof(Folder) ->
    Cluster = os:getenv("KAFKA_DIR"),
    Topics = [<<"__transaction_state">> | crema_chaos_setup:transactional()],
    [
        begin
            Copy = filename:join([Folder, "brokers", File]),
            ok = filelib:ensure_dir(Copy),
            %% One may have gone meanwhile.
            _ = file:copy(filename:join(Cluster, File), Copy)
        end
     || Pattern <- ["log*" | [["data/", Topic, "-*/*.log"] || Topic <- Topics]],
        File <- filelib:wildcard(lists:flatten(io_lib:format("node-*/~s", [Pattern])), Cluster)
    ].

entries() ->
    [crema_chaos_setup:topic_entry(Topic) || Topic <- crema_chaos_setup:topics()] ++
        [crema_chaos_setup:group_entry(Group) || Group <- crema_chaos_setup:groups()].

say(What) -> io:format("~s: ~ts~n", [calendar:system_time_to_rfc3339(os:system_time(second)), What]).

%% ---- applications ------------------------------------------------------------------------

apps(Folder, Seed) ->
    About = #{
        folder => Folder, bootstrap => os:getenv("KAFKA_PROXY"), seed => Seed,
        lives => atomics:new(1, [])
    },
    Apps = maps:from_list([
        {App, element(2, crema_chaos_vm:start_link(App, About))}
     || App <- [1, 2, 3]
    ]),
    [ready = crema_chaos_vm:start(Vm) || Vm <- maps:values(Apps)],
    Apps.

settle(Apps) ->
    Vms = maps:values(Apps),
    [crema_chaos_vm:tell(Vm, settle) || Vm <- Vms],
    say(io_lib:format("producers: ~0p", [[crema_chaos_vm:await(Vm, settled) || Vm <- Vms]])).

stop(Apps) ->
    Vms = maps:values(Apps),
    [crema_chaos_vm:tell(Vm, stop) || Vm <- Vms],
    say(io_lib:format("applications: ~0p", [[crema_chaos_vm:await(Vm, stopped) || Vm <- Vms]])).

%% ---- the plan ------------------------------------------------------------------------------

%% The lanes run beside each other.
disturb(Plan, Seconds, Run) ->
    Begun = now_ms(),
    Lanes = [spawn_monitor(?MODULE, lane, [Lane, {Begun, Seconds}, Run]) || Lane <- Plan],
    [
        receive
            {'DOWN', Monitor, _, _, normal} -> ok;
            {'DOWN', Monitor, _, _, Reason} -> error(Reason)
        end
     || {_, Monitor} <- Lanes
    ],
    ok.

%% @private One fault after another. What a broker's start takes delays those behind it.
lane({Lane, Steps}, {Begun, Seconds}, {Folder, _, _} = Run) ->
    Writer = crema_chaos_history:open(Folder),
    [
        begin
            timer:sleep(max(0, Begun + At - now_ms())),
            now_ms() < Begun + Seconds * 1000 andalso
                step({Lane, Number}, Fault, Lasts, {Writer, Run})
        end
     || {Number, {At, Fault, Lasts}} <- lists:zip(lists:seq(1, length(Steps)), Steps)
    ],
    crema_chaos_history:close(Writer).

step(Name, Fault, Lasts, {Writer, {_, Brokers, Apps}}) ->
    [Kind | Target] = tuple_to_list(Fault),
    Entry = #{what => fault, fault => Name, kind => Kind, target => Target},
    crema_chaos_history:write(Writer, Entry),
    Undo = disturbed(Fault, Writer, Brokers, Apps),
    timer:sleep(Lasts),
    ok = Undo(),
    crema_chaos_history:write(Writer, #{what => fault_over, fault => Name}).

disturbed({Kind, App}, Writer, _Brokers, Apps) when Kind =:= kill_app; Kind =:= pause_app ->
    of_app(Kind, maps:get(App, Apps), Writer);
disturbed({leave, App, Draw}, _Writer, _Brokers, Apps) ->
    Vm = maps:get(App, Apps),
    crema_chaos_vm:tell(Vm, {leave, Draw}),
    fun() -> crema_chaos_vm:tell(Vm, {come, Draw}) end;
disturbed({add_partition, Topic} = Fault, Writer, Brokers, _Apps) ->
    Undo = crema_chaos_brokers:disturb(Fault, Brokers),
    Entry = crema_chaos_setup:topic_entry(Topic),
    Count = crema_chaos_brokers:partitions(Brokers),
    crema_chaos_history:write(Writer, Entry#{partitions := Count}),
    Undo;
disturbed({Kind, App, Draw}, _Writer, _Brokers, Apps) when Kind =/= delay ->
    crema_chaos_vm:tell(maps:get(App, Apps), {Kind, Draw}),
    fun() -> ok end;
disturbed(Fault, _Writer, Brokers, _Apps) ->
    crema_chaos_brokers:disturb(Fault, Brokers).

of_app(kill_app, Vm, Writer) ->
    crema_chaos_history:write(Writer, #{
        what => killed, kind => node, who => crema_chaos_vm:node(Vm)
    }),
    _ = crema_chaos_vm:kill(Vm),
    fun() -> ready = crema_chaos_vm:start(Vm), ok end;
of_app(pause_app, Vm, _Writer) ->
    _ = crema_chaos_vm:pause(Vm),
    fun() -> _ = crema_chaos_vm:resume(Vm), ok end.

%% ---- the end -------------------------------------------------------------------------------

%% Until each group has committed the end of what it can see.
drain(Folder) ->
    Wanted = [
        {Group, {Topic, Partition}, Last + 1}
     || #{group := Group, topics := Topics, isolation := Isolation} <-
            [crema_chaos_setup:group_entry(Of) || Of <- crema_chaos_setup:groups()],
        Topic <- Topics,
        {Partition, Entries} <- crema_chaos_seen:log(Folder, Topic, Isolation),
        {Last, _} <- [lists:last(Entries)]
    ],
    drain(Folder, Wanted, now_ms() + ?DRAIN_MS).

drain(Folder, Wanted, Deadline) ->
    Committed = maps:from_list([
        {{Group, Place}, Offset}
     || {_, Group, Place, Offset} <- crema_chaos_seen:commits(Folder)
    ]),
    Left = [
        {Group, Place, {End, Offset}}
     || {Group, Place, End} <- Wanted,
        Offset <- [maps:get({Group, Place}, Committed, none)],
        Offset =:= none orelse Offset < End
    ],
    case Left =:= [] orelse now_ms() > Deadline of
        true ->
            say(io_lib:format("drained but for ~0p", [Left]));
        false ->
            timer:sleep(1000),
            drain(Folder, Wanted, Deadline)
    end.

%% What brokers hold at the end.
look(Folder, Writer) ->
    [
        [
            crema_chaos_history:write(Writer, #{
                what => log, topic => Topic, partition => Partition, isolation => Isolation,
                entries => Entries
            })
         || {Partition, Entries} <- crema_chaos_seen:log(Folder, Topic, Isolation)
        ]
     || Topic <- crema_chaos_setup:topics(), Isolation <- [uncommitted, committed]
    ],
    [
        crema_chaos_history:write(Writer, #{
            what => batches, broker => Broker, topic => Topic, partition => Partition,
            batches => Batches
        })
     || Topic <- crema_chaos_setup:transactional(),
        {Broker, Partition, Batches} <- crema_chaos_segments:of_topic(
            os:getenv("KAFKA_DIR"), Topic, crema_chaos_setup:partitions()
        )
    ],
    %% Each group's are in one partition of theirs, and so in order.
    [
        %% Milliseconds are cut off: it was before the next.
        crema_chaos_history:write(Writer, #{
            what => commit_seen, group => Group, topic => Topic, partition => Partition,
            offset => Offset, time => Millis * 1000 + 999
        })
     || {Millis, Group, {Topic, Partition}, Offset} <- crema_chaos_seen:commits(Folder)
    ],
    ok.

now_ms() -> erlang:monotonic_time(millisecond).
