%% A broker that is killed, or stopped, while many processes produce: what they
%% were told of their messages is compared with what the log holds, and nobody
%% waits for longer than asked for.
-module(crema_outage_kafka_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([killed/1, killed_and_timed_out/1, stopped_and_timed_out/1]).
-export([purged/1, deadlines/1]).

-define(PROCESSES, 16).
-define(EACH, 62500).
-define(PARTITIONS, 4).
-define(CHUNK, 100).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [killed, killed_and_timed_out, stopped_and_timed_out, purged, deadlines].

init_per_suite(Config) -> crema_ct:start(Config, crema_ct_kafka:bootstrap()).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

killed(Config) ->
    %% The broker is killed and started again, twice, and no message fails: their
    %% time is longer than the outages.
    Counts = outage(Config, 120000, fun kill_and_restart/0),
    ?assertEqual(#{delivered => ?PROCESSES * ?EACH}, Counts).

killed_and_timed_out(Config) ->
    %% The same with messages whose time ends during the outage: what was said of
    %% each of them holds. Those in doubt then are sent again and may be there twice
    %% (docs/producer.md, order and duplicates).
    Counts = outage(Config, 1500, fun kill_and_restart/0),
    ?assertMatch(#{delivered := _, not_persisted := _}, Counts).

stopped_and_timed_out(Config) ->
    %% The same with a broker that does nothing for a while, and then what it was
    %% asked for before.
    Counts = outage(Config, 1500, fun pause_and_resume/0),
    ?assertMatch(#{delivered := _, not_persisted := _, possibly_persisted := _}, Counts).

kill_and_restart() ->
    crema_ct_kafka:brokers("kill"),
    crema_ct_kafka:brokers("restart").

pause_and_resume() ->
    crema_ct_kafka:brokers("pause"),
    receive
    after 5000 -> crema_ct_kafka:brokers("resume")
    end.

%% Counts what the processes were told of their messages, which the log bears out.
outage(Config, MessageTimeout, Disturb) ->
    Topic = crema_ct:topic(Config, ?PARTITIONS),
    P = crema_ct:producer(Config, #{
        ordering => strict,
        full_timeout => 120000,
        kafka => #{'message.timeout.ms' => MessageTimeout}
    }),
    Callers = [spawn_monitor(caller(P, Topic, Process)) || Process <- lists:seq(1, ?PROCESSES)],
    Times = [
        begin
            Reported = fun() -> maps:get(reported, crema:info(P)) > Part * ?EACH end,
            crema_ct:await(Reported, 60000),
            element(1, crema_ct:timed(Disturb))
        end
     || Part <- [?PROCESSES div 5, ?PROCESSES div 2]
    ],
    Outcomes = lists:append([outcomes(Caller) || Caller <- Callers]),
    ct:pal("disturbed for ~w ms", [Times]),
    judge(Config, Topic, Outcomes).

judge(Config, Topic, Told) ->
    Outcomes = maps:from_list(Told),
    ?assertEqual(length(Told), map_size(Outcomes)),
    Log = [
        {Partition, [{Offset, message(Value)} || {Offset, Value} <- Entries]}
     || {Partition, Entries} <- crema_ct_kafka:log(proplists:get_value(priv_dir, Config), Topic)
    ],
    Counts = crema_ct_accounts:count(Outcomes),
    Faults = crema_ct_accounts:faults(Outcomes, Log),
    ct:pal("~p, ~b faults", [Counts, length(Faults)]),
    ?assertEqual([], lists:sublist(Faults, 100)),
    Counts.

outcomes({Pid, Monitor}) ->
    receive
        {'DOWN', Monitor, process, Pid, {outcomes, Outcomes}} -> Outcomes;
        {'DOWN', Monitor, process, Pid, Reason} -> error(Reason)
    after 200000 -> error({unfinished, Pid, crema_ct:state_of_clients()})
    end.

message(Value) ->
    [Process, Number] = binary:split(Value, <<"/">>),
    {binary_to_integer(Process), binary_to_integer(Number)}.

purged(Config) ->
    %% While the broker does nothing a flush ends at its deadline, and a purge ends
    %% all messages: what it says of each holds, and those after it are delivered.
    Topic = crema_ct:topic(Config, ?PARTITIONS),
    P = crema_ct:producer(Config),
    Chunks = fun(From, To) -> told(P, Topic, 1, lists:seq(From, To - 1, ?CHUNK)) end,
    ok = Chunks(0, 10000),
    crema_ct:await(fun() -> maps:get(reported, crema:info(P)) > 1000 end),
    crema_ct_kafka:brokers("pause"),
    ok = Chunks(10000, 30000),
    {Time, Result} = crema_ct:timed(fun() -> crema:flush(P, 500) end),
    ?assertMatch({error, {timeout, _}}, Result),
    ?assert(Time >= 500 andalso Time < 10000, Time),
    ok = Chunks(30000, 40000),
    ok = crema:purge(P),
    ?assertEqual(ok, crema:flush(P, 5000)),
    crema_ct_kafka:brokers("resume"),
    ok = Chunks(40000, 50000),
    Counts = judge(Config, Topic, [{{1, Number}, Outcome} || {Number, Outcome} <- reports(50000)]),
    ?assertMatch(#{delivered := _, not_persisted := _, possibly_persisted := _}, Counts).

deadlines(Config) ->
    %% A crowd of callers keeps its deadlines on a queue that is mostly full,
    %% while the broker is stopped for some seconds too.
    P = crema_ct:producer(Config, #{max_queue_messages => 100, max_queue_bytes => 300000}),
    Reported = fun(More) ->
        #{reported := Before} = crema:info(P),
        crema_ct:await(fun() -> maps:get(reported, crema:info(P)) > Before + More end, 60000)
    end,
    Ended = crema_ct_crowd:keeps_deadlines(P, crema_ct:topic(Config, ?PARTITIONS), fun() ->
        Reported(20000),
        pause_and_resume(),
        Reported(20000)
    end),
    ?assertMatch(#{ok := _, queue_full := _, timeout := _}, Ended),
    ok = crema:flush(P, 20000).

%% ---- the processes ------------------------------------------------------------------

%% Each produces in one of four ways, and ends with what it was told.
caller(P, Topic, Process) ->
    fun() ->
        Firsts = lists:seq(0, ?EACH - 1, ?CHUNK),
        Told =
            case Process rem 4 of
                0 -> waiting(P, Topic, Process, Firsts);
                1 -> told_later(P, Topic, Process, Firsts);
                2 -> one_by_one(P, Topic, Process, lists:seq(0, ?EACH - 1));
                3 -> awaiting(P, Topic, Process, Firsts)
            end,
        exit({outcomes, [{{Process, Number}, Outcome} || {Number, Outcome} <- Told]})
    end.

waiting(P, Topic, Process, Firsts) ->
    lists:append([
        results(First, crema:produce_many(P, chunk(Topic, Process, First)))
     || First <- Firsts
    ]).

told_later(P, Topic, Process, Firsts) ->
    ok = told(P, Topic, Process, Firsts),
    reports(?EACH).

told(P, Topic, Process, Firsts) ->
    Tell = fun(First) ->
        Options = #{report => message, tag => First},
        ok = crema:produce_many_async(P, chunk(Topic, Process, First), Options)
    end,
    lists:foreach(Tell, Firsts).

one_by_one(P, Topic, Process, Numbers) ->
    [
        ok = crema:produce_async(P, message(Topic, Process, Number), #{
            report => message, tag => Number
        })
     || Number <- Numbers
    ],
    reports(?EACH).

awaiting(_P, _Topic, _Process, []) ->
    [];
awaiting(P, Topic, Process, Firsts) ->
    {Now, Later} = lists:split(min(20, length(Firsts)), Firsts),
    Refs = [
        begin
            {ok, Ref} = crema:produce_many_async(P, chunk(Topic, Process, First)),
            {First, Ref}
        end
     || First <- Now
    ],
    Told = lists:append([results(First, crema:await(Ref, 150000)) || {First, Ref} <- Refs]),
    Told ++ awaiting(P, Topic, Process, Later).

chunk(Topic, Process, First) ->
    [message(Topic, Process, Number) || Number <- lists:seq(First, First + ?CHUNK - 1)].

message(Topic, Process, Number) ->
    #{
        topic => Topic,
        partition => Number rem ?PARTITIONS,
        key => <<0:640>>,
        value => iolist_to_binary([integer_to_list(Process), $/, integer_to_list(Number)])
    }.

results(First, {ok, Results}) ->
    [
        {Number, outcome(Result)}
     || {Number, Result} <- lists:zip(lists:seq(First, First + ?CHUNK - 1), Results)
    ].

reports(0) ->
    [];
reports(Left) ->
    receive
        {crema_reports, _, _} = Message ->
            Reports = crema:reports(Message),
            [{Tag, outcome(Result)} || {Tag, Result} <- Reports] ++ reports(Left - length(Reports))
    after 150000 -> error({missing_reports, Left})
    end.

outcome({ok, #{partition := Partition, offset := Offset}}) -> {delivered, Partition, Offset};
outcome({error, {Code, #{status := Status}}}) -> {failed, Status, Code}.
