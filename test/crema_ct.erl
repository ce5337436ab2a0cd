%% What the suites share: the application and an embedded cluster around a
%% suite, clients that are stopped after a case, and waiting for conditions.
-module(crema_ct).

-include_lib("stdlib/include/assert.hrl").
-include("../src/port/crema_commands.hrl").

%% Around a suite and its cases.
-export([start/1, start/2, brokers/0, embedded/0, stop/1, cleanup/0, hold/1, let_go/1]).
%% Clients and topics.
-export([bootstrap/1, producer/1, producer/2, unreachable/1, consumer/4, started/1]).
-export([topic/2, create_topic/3, unique/1, fill/4]).
%% Waiting.
-export([await/1, await/2, state_of_clients/0, now_ms/0, timed/1]).
%% What comes in.
-export([reports/1, results/1, handled/1, handled/2, none_handled/1, spawned/1, quiet/0]).

-define(DEADLINE, 15000).

%% @doc The application, an embedded cluster of one broker, and a watch for what
%% holds a scheduler.
start(Config) ->
    Watched = start(Config, none),
    {Holder, Brokers} = hold(fun brokers/0),
    [{holder, Holder} | Brokers] ++ lists:keydelete(bootstrap, 1, Watched).

%% @doc The same with brokers that run elsewhere, or with none.
start(Config, Bootstrap) ->
    %% Not watched: the first start has libraries read from the disk.
    {ok, _} = application:ensure_all_started(crema),
    Watch = crema_ct_watch:start(),
    [{watch, Watch}, {bootstrap, Bootstrap} | Config].

%% @doc An embedded cluster, linked to the caller. Below `scripts/kafka run' the
%% brokers there stand for one.
brokers() ->
    case os:getenv("CREMA_TEST_BOOTSTRAP") of
        false -> embedded();
        Bootstrap -> [{bootstrap, list_to_binary(Bootstrap)}]
    end.

embedded() ->
    {ok, Cluster} = crema_cluster:start_link(),
    [{cluster, Cluster}, {bootstrap, crema_cluster:bootstrap_servers(Cluster)}].

%% @doc All clients are wound up by now, and nothing has held a scheduler.
stop(Config) ->
    reaped(),
    [ok = crema_cluster:stop(Cluster) || {cluster, Cluster} <- Config],
    [ok = let_go(Holder) || {holder, Holder} <- Config],
    Held = crema_ct_watch:stop(proplists:get_value(watch, Config)),
    reaped(),
    ?assertEqual([], Held).

%% A member that was stopped while it joined may have to wait for what it is given: so
%% before its cluster goes.
reaped() ->
    await(fun() -> maps:get(reapers, crema:info()) =:= 0 end, 30000).

%% @doc Runs a function in a process that stays: what it starts is linked to
%% that process and not to the one that Common Test ends after the set-up.
hold(Fun) ->
    Self = self(),
    {Holder, Monitor} = spawn_monitor(fun() ->
        process_flag(trap_exit, true),
        Self ! {self(), Fun()},
        receive
            let_go -> ok
        end
    end),
    receive
        {Holder, Result} ->
            erlang:demonitor(Monitor, [flush]),
            {Holder, Result};
        {'DOWN', Monitor, _, _, Reason} ->
            error({not_held, Reason})
    end.

let_go(Holder) ->
    Holder ! let_go,
    ok.

%% @doc Stops what this process has started by producer/1 and the like, side by side. For
%% end_per_testcase, which runs in the process of the case.
cleanup() ->
    _ = spawned([fun() -> Module:stop(Pid, 1000) end || {Module, Pid} <- clients()]),
    _ = erase(?MODULE),
    ok.

clients() ->
    case get(?MODULE) of
        undefined -> [];
        Clients -> Clients
    end.

%% @doc What the clients of this process say of themselves, for a case that fails.
state_of_clients() ->
    [{Pid, crema:info(Pid)} || {_, Pid} <- clients()].

%% @doc Notes a client of this process for cleanup/0.
started({ok, Pid}) ->
    true = unlink(Pid),
    Module =
        case crema_registry:lookup(Pid) of
            {ok, consumer, _, _, _} -> crema_consumer;
            {ok, _, _, _, _} -> crema_producer
        end,
    _ = put(?MODULE, [{Module, Pid} | clients()]),
    Pid.

bootstrap(Config) ->
    proplists:get_value(bootstrap, Config).

%% @doc A producer on the suite's brokers, stopped after the case.
producer(Config) ->
    producer(Config, #{}).

producer(Config, Options) ->
    Given = maps:merge(#{bootstrap_servers => bootstrap(Config)}, Options),
    started(crema_producer:start_link(Given)).

%% @doc A producer with nobody at the other end.
unreachable(Options) ->
    producer([], Options#{bootstrap_servers => <<"127.0.0.1:1">>}).

%% @doc A member of a group that has what crema_ct_handler makes of Args.
consumer(Config, Topic, Args, Options) ->
    Given = #{
        bootstrap_servers => bootstrap(Config),
        group => unique(<<"group">>),
        topics => [Topic],
        handler => {crema_ct_handler, Args}
    },
    Kafka = membership(Config, maps:get(kafka, Options, #{})),
    All = maps:merge(Given, Options#{kafka => Kafka}),
    started(crema_consumer:start_link(All)).

%% The mock cluster waits for a second less than the session before it gives
%% partitions anew, but for three seconds before the first time, which members
%% must survive. Heartbeats tell members of a change. Real brokers do not wait
%% for the session, which may then last as long as their machine may be slow.
membership(_Config, #{'group.protocol' := _} = Kafka) ->
    %% Brokers decide this by the newer protocol.
    Kafka;
membership(Config, Kafka) ->
    Session =
        case proplists:get_value(cluster, Config) of
            undefined -> 10000;
            _ -> 3600
        end,
    maps:merge(#{'session.timeout.ms' => Session, 'heartbeat.interval.ms' => 200}, Kafka).

%% @doc A new topic.
topic(Config, Partitions) ->
    Topic = unique(<<"topic">>),
    ok = create_topic(Config, Topic, Partitions),
    Topic.

create_topic(Config, Topic, Partitions) ->
    case proplists:get_value(cluster, Config) of
        undefined ->
            Socket = crema_ct_wire:connect(bootstrap(Config)),
            ok = crema_ct_wire:create_topic(Socket, Topic, Partitions),
            ok = crema_ct_wire:close(Socket),
            has_partitions(Config, Topic, Partitions);
        Cluster ->
            crema_cluster:create_topic(Cluster, Topic, Partitions)
    end.

%% What the controller has made is known to all brokers a little later.
has_partitions(Config, Topic, Partitions) ->
    {ok, Producer} = crema_producer:start_link(#{bootstrap_servers => bootstrap(Config)}),
    {ok, producer, Port, _, _} = crema_registry:lookup(Producer),
    Ask = fun(Tag) -> {?CMD_METADATA, term_to_binary({Tag, Topic, 0, 5000})} end,
    await(fun() ->
        case crema_port:ask(Port, Ask, 10000, none) of
            {ok, {_, [{Topic, Count}]}} -> Count =:= Partitions;
            Other -> Other
        end
    end),
    crema_producer:stop(Producer).

unique(Prefix) ->
    Number = erlang:unique_integer([positive, monotonic]),
    iolist_to_binary([Prefix, $-, os:getpid(), $-, integer_to_list(Number)]).

%% @doc Produces numbers as values to a partition, in order.
fill(Config, Topic, Partition, Numbers) ->
    {ok, Producer} = crema_producer:start_link(#{bootstrap_servers => bootstrap(Config)}),
    {ok, Results} = crema:produce_many(Producer, [
        #{topic => Topic, partition => Partition, value => integer_to_binary(N)}
     || N <- Numbers
    ]),
    ?assertEqual([], [Error || {error, Error} <- Results]),
    crema_producer:stop(Producer).

%% @doc Waits for a condition: true, or {ok, Value}.
await(Condition) ->
    await(Condition, ?DEADLINE).

await(Condition, Timeout) ->
    await_until(Condition, now_ms() + Timeout).

await_until(Condition, Deadline) ->
    Last = Condition(),
    Late = now_ms() > Deadline,
    case Last of
        true -> true;
        {ok, Value} -> Value;
        _ when Late -> error({not_in_time, Last, state_of_clients()});
        _ -> look_again(Condition, Deadline)
    end.

look_again(Condition, Deadline) ->
    receive
    after 5 -> await_until(Condition, Deadline)
    end.

now_ms() ->
    erlang:monotonic_time(millisecond).

%% @doc A function's result, and the milliseconds it took.
timed(Fun) ->
    Start = now_ms(),
    Result = Fun(),
    {now_ms() - Start, Result}.

%% @doc So many reports that were sent to this process, in order of arrival.
reports(0) ->
    [];
reports(Count) when Count > 0 ->
    receive
        {crema_reports, _, _} = Message ->
            Reports = crema:reports(Message),
            Reports ++ reports(Count - length(Reports))
    after ?DEADLINE -> error({missing_reports, Count, state_of_clients()})
    end.

%% @doc What results say, code by code.
results(Results) ->
    lists:foldl(
        fun(Result, Counts) ->
            Key =
                case Result of
                    {ok, _} -> ok;
                    {error, {Code, _}} -> Code
                end,
            maps:update_with(Key, fun(N) -> N + 1 end, 1, Counts)
        end,
        #{},
        Results
    ).

%% @doc So many messages that crema_ct_handler has told this process of, with
%% the process that handled each.
handled(Count) ->
    handled(Count, 30000).

handled(Count, Timeout) ->
    handled_until(Count, now_ms() + Timeout).

handled_until(0, _Deadline) ->
    [];
handled_until(Left, Deadline) ->
    receive
        {handled, Worker, Message} -> [{Worker, Message} | handled_until(Left - 1, Deadline)]
    after max(0, Deadline - now_ms()) -> error({missing_messages, Left, state_of_clients()})
    end.

%% @doc For that long nothing is handled.
none_handled(Time) ->
    receive
        {handled, _, Message} -> error({unexpected, Message})
    after Time -> ok
    end.

%% @doc The results of functions that are run side by side.
spawned(Funs) ->
    Self = self(),
    Pids = [
        spawn_link(fun() ->
            Result = Fun(),
            Self ! {self(), Result}
        end)
     || Fun <- Funs
    ],
    [
        receive
            {Pid, Result} -> Result
        after 60000 -> error({no_result, Pid})
        end
     || Pid <- Pids
    ].

%% @doc Nothing is left in the mailbox.
quiet() ->
    receive
        Message -> error({stray_message, Message})
    after 0 -> ok
    end.
