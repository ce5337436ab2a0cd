%% Transactions on real brokers, as readers with read_committed see them (kcat, whose
%% isolation.level that is, and a consumer's): see crema_kafka_SUITE.
-module(crema_transaction_kafka_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([embedded/1, visible/1, plain/1, fencing/1, offsets/1, evicted_member/1]).
-export([abort_at_once/1, abort_after_refusal/1, commit_unknown/1, two_hundred/1]).

-import(crema_ct_transaction, [producer/1, producer/2, listen/2]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        embedded, visible, plain, fencing, offsets, evicted_member,
        abort_at_once, abort_after_refusal, commit_unknown, two_hundred
    ].

init_per_suite(Config) -> crema_ct:start(Config, crema_ct_kafka:bootstrap()).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

embedded(Config) ->
    %% What crema_transaction_SUITE proves of turns and calls.
    [
        begin
            ct:log("~s", [Case]),
            _ = crema_transaction_SUITE:Case(Config),
            crema_ct:cleanup()
        end
     || Case <- [commit, exceptions, caller_dies, nested, turns, stale, refused_message]
    ],
    _ = crema_transaction_life_SUITE:stop_by_another(Config),
    ok.

%% What readers see of a topic: numbers that were its messages' values.
seen(Config, Topic) ->
    Log = crema_ct_kafka:log(proplists:get_value(priv_dir, Config), Topic),
    lists:sort([binary_to_integer(V) || {_, Entries} <- Log, {_, V} <- Entries]).

number(Topic, N) -> #{topic => Topic, value => integer_to_binary(N)}.

visible(Config) ->
    %% Readers see what was committed, when it was, and nothing of what was not.
    Topic = crema_ct:topic(Config, 4),
    P = producer(Config),
    C = reader(Config, Topic),
    {ok, _} = crema:transaction(P, fun(Tx) ->
        {ok, Results} = crema:produce_many(Tx, [number(Topic, N) || N <- lists:seq(1, 20)]),
        ?assertEqual(#{ok => 20}, crema_ct:results(Results)),
        crema_ct:none_handled(500)
    end),
    ?assertEqual(lists:seq(1, 20), handled(20)),
    {aborted, _} = crema:transaction(P, fun(Tx) ->
        {ok, _} = crema:produce(Tx, number(Topic, 21)),
        crema:abort(Tx, why)
    end),
    {ok, _} = crema:transaction(P, fun(Tx) -> {ok, _} = crema:produce(Tx, number(Topic, 22)) end),
    ?assertEqual([22], handled(1)),
    ?assertEqual(lists:seq(1, 20) ++ [22], seen(Config, Topic)),
    ok = crema_consumer:stop(C).

reader(Config, Topic) ->
    %% Brokers that went away may cost it a request's time (docs/connections.md).
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{
        kafka => #{'isolation.level' => read_committed, 'socket.timeout.ms' => 10000}
    }),
    crema_ct:await(fun() -> length(maps:get(assigned, crema:status(C), [])) =:= 4 end, 30000),
    C.

handled(Count) ->
    lists:sort(crema_ct_consume:values(crema_ct:handled(Count))).

plain(Config) ->
    %% Calls outside any transaction are seen when they have returned.
    Topic = crema_ct:topic(Config, 4),
    P = producer(Config),
    {ok, _} = crema:produce(P, number(Topic, 1)),
    ?assertEqual([1], seen(Config, Topic)),
    {ok, _} = crema:produce_many(P, [number(Topic, N) || N <- [2, 3]]),
    {ok, _} = crema:produce_async(P, number(Topic, 4)),
    ok = crema:produce_async(P, number(Topic, 5), #{report => none}),
    ?assertEqual([1, 2, 3, 4, 5], seen(Config, Topic)).

fencing(Config) ->
    %% A second producer with the same transactional.id ends the first for good,
    %% whose open transaction is never seen.
    Topic = crema_ct:topic(Config, 4),
    Id = #{kafka => #{'transactional.id' => crema_ct:unique(<<"same">>)}},
    First = producer(Config, Id#{on_fatal => reload}),
    Monitor = erlang:monitor(process, First),
    Result = crema:transaction(First, fun(Tx) ->
        {ok, _} = crema:produce(Tx, number(Topic, 1)),
        Second = producer(Config, Id),
        {ok, _} = crema:produce(Second, number(Topic, 2)),
        _ = crema:produce(Tx, number(Topic, 3))
    end),
    ?assertMatch({error, {Code, #{fatal := true}}} when
        Code =:= fenced; Code =:= producer_fenced; Code =:= invalid_producer_epoch, Result),
    receive
        {'DOWN', Monitor, _, _, Reason} -> ?assertMatch({shutdown, {fatal, _}}, Reason)
    after 10000 -> error(lives)
    end,
    ?assertMatch({error, {closed, _}}, crema:transaction(First, fun(_) -> ok end)),
    ?assertEqual([2], seen(Config, Topic)).

offsets(Config) ->
    %% Offsets are committed with their transaction, and not without it.
    Topic = crema_ct:topic(Config, 4),
    ok = crema_ct:fill(Config, Topic, 0, lists:seq(1, 10)),
    Group = #{group => crema_ct:unique(<<"group">>), commit => transaction},
    P = producer(Config),
    Read = fun(Count) ->
        C = crema_ct:consumer(Config, Topic, #{to => self()}, Group),
        Messages = [Message || {_, Message} <- crema_ct:handled(Count)],
        {ok, Metadata} = crema:group_metadata(C),
        {C, Metadata, Messages}
    end,
    {First, Metadata, Messages} = Read(10),
    {aborted, _} = crema:transaction(P, fun(Tx) ->
        ok = crema:send_offsets(Tx, Metadata, Messages),
        crema:abort(Tx, why)
    end),
    {ok, _} = crema:transaction(P, fun(Tx) ->
        {ok, _} = crema:produce(Tx, (number(Topic, 11))#{partition => 1}),
        ok = crema:send_offsets(Tx, First, lists:sublist(Messages, 4))
    end),
    ok = crema_consumer:stop(First),
    %% It may have been given the last message as well.
    _ = crema_ct_consume:handled_so_far(),
    {Second, _, Rest} = Read(7),
    ?assertEqual(lists:seq(5, 11), lists:sort([crema_ct_consume:number(M) || M <- Rest])),
    ok = crema_consumer:stop(Second).

evicted_member(Config) ->
    %% With metadata of a member that is no longer one, the offsets are refused and
    %% the transaction is aborted.
    Topic = crema_ct:topic(Config, 4),
    ok = crema_ct:fill(Config, Topic, 0, [1]),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{commit => transaction}),
    [{_, Message}] = crema_ct:handled(1),
    {ok, Old} = crema:group_metadata(C),
    ok = crema_consumer:stop(C),
    P = producer(Config),
    Aborted = listen(P, aborted),
    Result = crema:transaction(P, fun(Tx) ->
        {ok, _} = crema:produce(Tx, number(Topic, 2)),
        {error, {unknown_member_id, #{abortable := true}}} =
            crema:send_offsets(Tx, Old, [Message]),
        {error, {stale_transaction, _}} = crema:produce(Tx, number(Topic, 3))
    end),
    ?assertMatch({error, {unknown_member_id, _}}, Result),
    ?assertMatch(#{cause := error}, crema_ct_transaction:heard(Aborted, aborted)),
    {ok, _} = crema:produce(P, number(Topic, 4)),
    ?assertEqual([1, 4], seen(Config, Topic)).

abort_at_once(Config) ->
    %% An abort right after the first message of a transaction does not ruin the
    %% client (librdkafka's issue 4849), because it waits for a report.
    Topic = crema_ct:topic(Config, 4),
    P = producer(Config, #{kafka => #{'linger.ms' => 0}}),
    [
        begin
            {aborted, N} = crema:transaction(P, fun(Tx) ->
                {ok, _} = crema:produce_async(Tx, number(Topic, N)),
                crema:abort(Tx, N)
            end),
            {ok, {ok, _}} = crema_ct_transaction:one_message(P, Topic)
        end
     || N <- lists:seq(1, 100)
    ].

abort_after_refusal(Config) ->
    %% Nor does one when another message was refused at once, which is no proof that
    %% the broker knows of the transaction; by whatever it is aborted.
    Topic = crema_ct:topic(Config, 1),
    P = producer(Config, #{kafka => #{'linger.ms' => 0}}),
    {ok, _} = crema:partition_count(P, Topic),
    Run = fun(End) ->
        crema:transaction(P, fun(Tx) ->
            {ok, _} = crema:produce_async(Tx, (number(Topic, 1))#{partition => 0}),
            {ok, _} = crema:produce_async(Tx, (number(Topic, 2))#{partition => 99}),
            End(Tx)
        end)
    end,
    [
        begin
            {error, {inconsistent, _}} = Run(fun(_) -> ok end),
            {ok, {ok, _}} = crema_ct_transaction:one_message(P, Topic),
            {aborted, N} = Run(fun(Tx) -> crema:abort(Tx, N) end),
            {ok, {ok, _}} = crema_ct_transaction:one_message(P, Topic)
        end
     || N <- lists:seq(1, 100)
    ].

commit_unknown(Config) ->
    %% A commit that brokers do not answer ends with the producer: its outcome is
    %% unknown, and the stop keeps its deadline.
    Topic = crema_ct:topic(Config, 4),
    P = producer(Config),
    Self = self(),
    Pid = spawn_link(fun() ->
        Result = crema:transaction(P, fun(Tx) ->
            {ok, _} = crema:produce(Tx, number(Topic, 1)),
            crema_ct_kafka:brokers("pause")
        end),
        Self ! {self(), Result}
    end),
    try
        crema_ct:await(fun() -> process_info(Pid, current_function) =:= waiting(Pid) end),
        receive
            {Pid, Early} -> error({early, Early})
        after 1500 -> ok
        end,
        {Time, ok} = crema_ct:timed(fun() -> crema_producer:stop(P, 1000) end),
        ?assert(Time < 10000, Time),
        receive
            {Pid, Result} -> ?assertMatch({error, {commit_unknown, _}}, Result)
        after 5000 -> error(no_result)
        end
    after
        crema_ct_kafka:brokers("resume")
    end.

%% In a call of another process.
waiting(Pid) ->
    {current_function, Function} = process_info(Pid, current_function),
    case Function of
        {gen, do_call, 4} -> {current_function, Function};
        _ -> not_yet
    end.

%% ---- must hold ------------------------------------------------------------------------

-define(TRANSACTIONS, 200).
-define(EACH, 5).

two_hundred(Config) ->
    %% 200 transactions of four processes, a third of them aborted in every way, and
    %% the brokers stopped, and killed, in the middle: readers see exactly what was
    %% committed, all of it, and nothing hangs.
    Topic = crema_ct:topic(Config, 4),
    %% Longer than the brokers need to come back.
    P = producer(Config, #{abort_wait => 60000, on_fatal => reload}),
    C = reader(Config, Topic),
    Done = counters:new(1, []),
    Faults = spawn_monitor(fun() ->
        done(Done, 60),
        crema_ct_kafka:brokers("pause"),
        %% So long they are silent.
        receive
        after 1000 -> ok
        end,
        crema_ct_kafka:brokers("resume"),
        done(Done, 120),
        crema_ct_kafka:brokers("kill"),
        crema_ct_kafka:brokers("restart")
    end),
    Run = fun(Worker) ->
        fun() ->
            [
                {N, transaction(P, Topic, N, Done)}
             || N <- lists:seq(Worker, ?TRANSACTIONS, 4)
            ]
        end
    end,
    {Time, Results} = crema_ct:timed(fun() ->
        lists:append(crema_ct:spawned([Run(Worker) || Worker <- [1, 2, 3, 4]]))
    end),
    {Pid, Monitor} = Faults,
    receive
        {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(normal, Reason)
    after 60000 -> error(faults)
    end,
    Outcomes = [{N, outcome(Result)} || {N, Result} <- Results],
    Committed = [N || {N, committed} <- Outcomes],
    Counts = lists:foldl(
        fun({_, O}, Acc) -> maps:update_with(O, fun(X) -> X + 1 end, 1, Acc) end, #{}, Outcomes
    ),
    ct:pal("~b ms, ~p", [Time, Counts]),
    ?assertEqual([], [Other || {_, {other, _}} = Other <- Outcomes]),
    ?assert(length(Committed) >= ?TRANSACTIONS div 2, Counts),
    Expected = seen(Config, Topic),
    Unknown = [N || {N, unknown} <- Outcomes, lists:member(N * ?EACH, Expected)],
    ?assertEqual(
        Expected,
        lists:sort([N * ?EACH + I || N <- Committed ++ Unknown, I <- lists:seq(0, ?EACH - 1)])
    ),
    Read = read(#{}, length(Expected)),
    ?assertEqual(Expected, lists:sort(maps:values(Read))),
    crema_ct:await(fun() ->
        [] =:= [N || #{unacknowledged := N} <- crema_ct_consume:partitions(C), N > 0]
    end),
    ?assertEqual(Read, lists:foldl(fun add/2, Read, crema_ct_consume:handled_so_far())),
    ok = crema_consumer:stop(C).

%% By place: what a member had not committed comes again when its brokers do.
read(Read, Count) when map_size(Read) =:= Count -> Read;
read(Read, Count) -> read(lists:foldl(fun add/2, Read, crema_ct:handled(1)), Count).

add({_, #{partition := Partition, offset := Offset} = Message}, Read) ->
    Read#{{Partition, Offset} => crema_ct_consume:number(Message)}.

done(Done, Count) ->
    crema_ct:await(fun() -> counters:get(Done, 1) >= Count end, 120000).

%% Every third is aborted, each in its way.
transaction(P, Topic, N, Done) ->
    Messages = [number(Topic, N * ?EACH + I) || I <- lists:seq(0, ?EACH - 1)],
    Produce = fun(Tx) ->
        case N rem 2 of
            0 -> crema:produce_many(Tx, Messages);
            1 -> crema:produce_many_async(Tx, Messages)
        end
    end,
    Fail = fun(How) ->
        try
            crema:transaction(P, fun(Tx) ->
                _ = Produce(Tx),
                How(Tx)
            end)
        catch
            _:planned -> planned
        end
    end,
    Result =
        case N rem 18 of
            0 -> Fail(fun(_) -> throw(planned) end);
            3 -> Fail(fun(_) -> exit(planned) end);
            6 -> Fail(fun(_) -> error(planned) end);
            9 -> Fail(fun(Tx) -> crema:abort(Tx, planned) end);
            12 -> killed(fun() -> Fail(fun(_) -> exit(self(), kill) end) end);
            15 -> killed(fun() -> Fail(fun(Tx) -> killed_by_another(Tx) end) end);
            _ -> crema:transaction(P, Produce)
        end,
    ok = counters:add(Done, 1, 1),
    Result.

killed(Fun) ->
    {Pid, Monitor} = spawn_monitor(Fun),
    receive
        %% Or it did not come so far.
        {'DOWN', Monitor, _, Pid, _} -> planned
    after 120000 -> hangs
    end.

killed_by_another(_Tx) ->
    Self = self(),
    _ = spawn(fun() -> exit(Self, kill) end),
    receive
        never -> ok
    end.

outcome({ok, {ok, _}}) -> committed;
outcome({aborted, planned}) -> planned;
outcome(planned) -> planned;
%% The brokers' faults.
outcome({error, {commit_unknown, _}}) -> unknown;
outcome({error, {Code, #{abortable := true}}}) -> {aborted, Code};
outcome({error, {Code, #{fatal := true}}}) -> {fatal, Code};
outcome(Other) -> {other, Other}.
