%% Copies a topic, exactly once, while the consumer and the broker are killed: see
%% bench/exactly_once, which starts this with `main', and this another VM with
%% `copier', the consumer that is killed.
-module(crema_bench_exactly_once).
-behaviour(crema_consumer).

-export([main/0, copier/0]).
-export([init/2, handle_messages/2]).

-define(PARTITIONS, 12).
%% How long each batch is in its handler, so that many are at a time.
-define(HANDLED_MS, 10).
-define(DEADLINE_MS, 300000).

-spec main() -> no_return().
main() ->
    try
        [Count, Kills] = [list_to_integer(A) || A <- init:get_plain_arguments()],
        {ok, _} = application:ensure_all_started(crema),
        ok = fill("whole", Count),
        ok = fill("killed", Count),
        Whole = whole(Count),
        Killed = killed(Count, Kills),
        halt(crema_bench_result:judge(Whole ++ Killed))
    catch
        Class:Reason:Stack ->
            io:format(standard_error, "~p:~tp~n~tp~n", [Class, Reason, Stack]),
            halt(1)
    end.

needed(Name) ->
    true = is_list(os:getenv(Name)),
    os:getenv(Name).

fill(Topic, Count) ->
    {ok, P} = crema_producer:start_link(#{bootstrap_servers => needed("KAFKA_BOOTSTRAP")}),
    lists:foreach(
        fun(Partition) ->
            Numbers = lists:seq(Partition, Count - 1, ?PARTITIONS),
            {ok, Results} = crema:produce_many(P, [message(Topic, Partition, N) || N <- Numbers]),
            [] = [Error || {error, Error} <- Results]
        end,
        lists:seq(0, ?PARTITIONS - 1)
    ),
    crema_producer:stop(P).

%% 100 bytes.
message(Topic, Partition, N) ->
    Value = string:pad(integer_to_list(N), 100, trailing, $.),
    #{topic => Topic, partition => Partition, value => Value}.

%% ---- undisturbed ---------------------------------------------------------------------

whole(Count) ->
    Port = start("whole"),
    %% From the first commit on: joining the group is not copying.
    {First, Flying} = committed(Port),
    Began = erlang:monotonic_time(millisecond),
    Most = progress(Port, Count - First, Flying),
    Took = erlang:monotonic_time(millisecond) - Began,
    ok = kill(Port),
    Rate = (Count - First) * 1000 div Took,
    [
        {io_lib:format("copied over ~b partitions", [?PARTITIONS]), Rate, '>=', 5000, " messages/s"},
        {"batches in flight", Most, '>=', 10, ""},
        faults("undisturbed", "copy-whole", Count)
    ].

progress(_Port, Left, Most) when Left =< 0 ->
    Most;
progress(Port, Left, Most) ->
    {Count, Flying} = committed(Port),
    progress(Port, Left - Count, max(Flying, Most)).

%% ---- killed ---------------------------------------------------------------------------

%% A kill follows each time when a part of all has been committed, at a moment of
%% its own; the broker's in the middle. What is left is copied at the end.
killed(Count, Kills) ->
    Part = Count div (2 * Kills),
    Began = erlang:monotonic_time(millisecond),
    Done = lists:sum([killed_once(Part, Kill, Kills) || Kill <- lists:seq(1, Kills)]),
    Last = start("killed"),
    _ = progress(Last, Count - Done, 0),
    ok = kill(Last),
    Took = erlang:monotonic_time(millisecond) - Began,
    What = io_lib:format("~b messages in ~b s, consumer killed ~b times, broker once", [
        Count, Took div 1000, Kills
    ]),
    [faults(What, "copy-killed", Count)].

killed_once(Part, Kill, Kills) ->
    Port = start("killed"),
    {First, _} = committed(Port),
    ok = at_broker(Kill =:= Kills div 2),
    More = at_least(Port, Part - First),
    receive
    after rand:uniform(60) -> ok
    end,
    ok = kill(Port),
    Done = First + More + rest(Port),
    io:format("killed after ~b messages~n", [Done]),
    Done.

at_broker(true) ->
    ok = broker("kill"),
    ok = broker("restart"),
    io:format("the broker was killed~n");
at_broker(false) ->
    ok.

at_least(_Port, Left) when Left =< 0 -> 0;
at_least(Port, Left) ->
    {Count, _} = committed(Port),
    Count + at_least(Port, Left - Count).

%% What was committed before it died, as far as it could tell.
rest(Port) ->
    receive
        {Port, {data, {eol, Line}}} -> element(1, told(Line)) + rest(Port);
        {Port, {exit_status, _}} -> 0
    after ?DEADLINE_MS -> error(not_killed)
    end.

broker(Command) ->
    "" = os:cmd(needed("KAFKA_SCRIPT") ++ " " ++ Command ++ " " ++ needed("KAFKA_DIR")),
    ok.

%% ---- the consumer's VM ------------------------------------------------------------------

start(Topic) ->
    Paths = lists:append([["-pa", Path] || Path <- code:get_path(), lists:suffix("ebin", Path) orelse
        lists:suffix("build", Path)]),
    open_port({spawn_executable, os:find_executable("erl")}, [
        {line, 1000},
        exit_status,
        {args, ["-noshell", "-noinput", "-kernel", "logger_level", "error"] ++ Paths ++
            ["-run", "crema_bench_exactly_once", "copier", "-extra", Topic]}
    ]).

kill(Port) ->
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    "" = os:cmd("kill -9 " ++ integer_to_list(Pid)),
    ok.

%% The messages of its next transaction, and how many batches were with handlers at a
%% time so far, at most.
committed(Port) ->
    receive
        {Port, {data, {eol, Line}}} ->
            case told(Line) of
                {0, _} -> committed(Port);
                Told -> Told
            end;
        {Port, {exit_status, Status}} ->
            error({ended, Status})
    after ?DEADLINE_MS -> error(no_progress)
    end.

told("committed " ++ Numbers) ->
    [Count, Flying] = [list_to_integer(N) || N <- string:lexemes(Numbers, " ")],
    {Count, Flying};
told(Line) ->
    io:format(standard_error, "~ts~n", [Line]),
    {0, 0}.

-spec copier() -> no_return().
copier() ->
    [Topic] = init:get_plain_arguments(),
    {ok, _} = application:ensure_all_started(crema),
    Flying = atomics:new(2, []),
    Event = [crema, consumer, transaction_committed],
    Tell = fun(_, #{count := Count}, _, _) ->
        io:format("committed ~b ~b~n", [Count, atomics:get(Flying, 2)])
    end,
    ok = crema_events:attach(?MODULE, Event, Tell, none),
    {ok, C} = crema_consumer:start_link(#{
        bootstrap_servers => needed("KAFKA_BOOTSTRAP"),
        group => "copier-" ++ Topic,
        topics => [Topic],
        handler => {?MODULE, {Flying, "copy-" ++ Topic}},
        batch_messages => 100,
        commit => exactly_once,
        transactional_id => "copier-" ++ Topic,
        kafka => #{'session.timeout.ms' => 6000, 'heartbeat.interval.ms' => 1000}
    }),
    Monitor = erlang:monitor(process, C),
    receive
        {'DOWN', Monitor, _, _, Reason} -> error(Reason)
    end.

-spec init(map(), Args) -> {ok, Args}.
init(_Info, Args) ->
    {ok, Args}.

-spec handle_messages([map()], State) -> {produce, [map()], State}.
handle_messages(Messages, {Flying, To} = State) ->
    Now = atomics:add_get(Flying, 1, 1),
    Now > atomics:get(Flying, 2) andalso atomics:put(Flying, 2, Now),
    receive
    after ?HANDLED_MS -> ok
    end,
    ok = atomics:sub(Flying, 1, 1),
    {produce, [#{topic => To, value => Value} || #{value := Value} <- Messages], State}.

%% ---- the reader -------------------------------------------------------------------------

faults(What, Topic, Count) ->
    File = filename:join(needed("KAFKA_DIR"), Topic),
    Command = ["kcat -C -q -e -b ", needed("KAFKA_BOOTSTRAP"), " -o beginning -t ", Topic],
    "" = os:cmd(lists:flatten([Command, " 2>&1 >", File])),
    {ok, Text} = file:read_file(File),
    Lines = binary:split(Text, <<"\n">>, [global, trim_all]),
    Numbers = lists:sort([number(Line) || Line <- Lines]),
    Expected = lists:seq(0, Count - 1),
    Missing = length(Expected -- Numbers),
    Twice = length(Numbers -- lists:usort(Numbers)),
    Faults = io_lib:format("~ts (~b missing, ~b twice)", [What, Missing, Twice]),
    {Faults, Missing + Twice, '=<', 0, " faults"}.

number(Line) ->
    [Digits | _] = binary:split(Line, <<".">>),
    binary_to_integer(Digits).
