%% Clients that end in the middle of their work, many times over: every message
%% that was accepted is reported, and nothing of a client is left behind.
%%
%% CREMA_ROUNDS is the number of rounds (300), shared by what is killed.
-module(crema_lifecycle_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([kills/1, kills_of_consumers/1, kills_while_opening/1, kill_while_renewing/1]).
-export([clients_come_and_go/1]).
-export([init/1]).

%% What a round's callers have done together.
-define(ACCEPTED, 1).
-define(REPORTED, 2).

suite() -> [{timetrap, {minutes, 60}}].

all() ->
    [kills, kills_of_consumers, kills_while_opening, kill_while_renewing, clients_come_and_go].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

kills(Config) ->
    %% Port, client process, caller or supervisor, killed at any moment: what was
    %% accepted is reported to those who live, and descriptors, threads and
    %% reapers are back to where they were.
    Topic = crema_ct:topic(Config, 2),
    Round = fun(N) -> round_of(N, Config, Topic) end,
    leaves_nothing(rounds(), Round).

kills_of_consumers(Config) ->
    %% The same for members of a group, before and after they have joined.
    Topic = crema_ct_consume:filled(Config, 100),
    %% Side by side, for most of a round is waiting for a group.
    Round = fun(N) ->
        Numbers = [10 * N + I || I <- lists:seq(0, 9)],
        crema_ct:spawned([fun() -> consumer_round(I, Config, Topic) end || I <- Numbers])
    end,
    leaves_nothing(max(2, rounds() div 100), Round, 1).

kill_while_renewing(Config) ->
    %% A new client that is killed while the old one is waited for ends the producer when it takes
    %% over, as its client's end does at any time: its supervisor starts it again.
    P = crema_ct:unreachable(#{flush_timeout => 60000}),
    {ok, producer, Old, _, _} = crema_registry:lookup(P),
    ok = crema:produce_async(P, #{topic => t}, #{report => none}),
    Monitor = erlang:monitor(process, P),
    Changes = #{bootstrap_servers => crema_ct:bootstrap(Config)},
    _ = spawn(fun() -> crema_renewal:renew(P, Changes) end),
    Ref = crema_ct:await(fun() ->
        case [Flush || {flushing, Flush, _} <- tuple_to_list(sys:get_state(P))] of
            [Flush] -> {ok, Flush};
            [] -> not_yet
        end
    end),
    {links, Links} = process_info(P, links),
    [true = exit(Port, kill) || Port <- Links, is_port(Port), Port =/= Old],
    %% Its time is over.
    P ! {flush_timeout, Ref},
    receive
        {'DOWN', Monitor, process, P, Reason} -> ?assertMatch({port_closed, _}, Reason)
    after 10000 -> error({goes_on, crema:status(P)})
    end.

kills_while_opening(Config) ->
    %% And for clients whose start is not over yet.
    Starters = [
        fun() -> crema_producer:start_link(#{bootstrap_servers => crema_ct:bootstrap(Config)}) end,
        fun() -> crema_cluster:start_link(#{topics => #{<<"t">> => 3}}) end,
        fun() ->
            crema_consumer:start_link(#{
                bootstrap_servers => crema_ct:bootstrap(Config),
                group => <<"opening">>,
                topics => [<<"t">>],
                handler => crema_ct_plain_handler
            })
        end
    ],
    Round = fun(N) ->
        Start = lists:nth(1 + N rem 3, Starters),
        Pid = spawn(fun() ->
            {ok, _} = Start(),
            receive
                never -> ok
            end
        end),
        spin(rand:uniform(1000000)),
        killed(Pid)
    end,
    leaves_nothing(max(10, rounds() div 3), Round).

clients_come_and_go(Config) ->
    %% And for producers that are disconnected, lose their clients to fatal errors
    %% and are killed at last, while they are used.
    Topic = crema_ct:topic(Config, 2),
    Options = #{
        bootstrap_servers => crema_ct:bootstrap(Config),
        connect => use,
        on_fatal => reload,
        reload_backoff => {1, 1}
    },
    leaves_nothing(max(10, rounds() div 10), fun(_) -> clients_round(Options, Topic) end).

clients_round(Options, Topic) ->
    {ok, P} = crema_producer:start_link(Options),
    true = unlink(P),
    Counts = counters:new(2, []),
    Message = #{topic => Topic, value => <<"v">>},
    Ways = [fun synchronous/3, fun awaited/3, fun told/3, fun many/3],
    Callers = [spawn_monitor(fun() -> Way(P, Message, Counts) end) || Way <- Ways],
    [
        begin
            reach(Counts, N * 50),
            _ = crema:disconnect(P),
            reach(Counts, N * 50 + 25),
            crema_ct_life:fatal(P),
            ok = crema:await_ready(P, 20000)
        end
     || N <- [1, 2, 3]
    ],
    exit(P, kill),
    [
        receive
            {'DOWN', Monitor, _, Pid, Reason} -> ?assertEqual(normal, Reason)
        after 30000 -> error({no_end, erlang:process_info(Pid, current_stacktrace)})
        end
     || {Pid, Monitor} <- Callers
    ],
    ?assertEqual(counters:get(Counts, ?ACCEPTED), counters:get(Counts, ?REPORTED)).

rounds() ->
    list_to_integer(os:getenv("CREMA_ROUNDS", "300")).

leaves_nothing(Count, Round) ->
    leaves_nothing(Count, Round, 8).

%% Runs rounds; the first few only warm up what stays, like the connections of
%% the cluster.
leaves_nothing(Count, Round, First) ->
    lists:foreach(Round, lists:seq(1, First)),
    settled(),
    Before = {Descriptors, Threads} = resources(),
    lists:foreach(Round, lists:seq(1, Count)),
    settled(),
    crema_ct:await(
        fun() ->
            {NowDescriptors, NowThreads} = Now = resources(),
            (NowDescriptors =< Descriptors andalso NowThreads =< Threads) orelse {Before, Now}
        end,
        20000
    ).

settled() ->
    crema_ct:await(fun() -> maps:get(reapers, crema:info()) =:= 0 end, 30000).

resources() ->
    {count("/proc/self/fd"), count("/proc/self/task")}.

count(Folder) ->
    {ok, Names} = file:list_dir(Folder),
    length(Names).

%% ---- producers ---------------------------------------------------------------------

round_of(N, Config, Topic) ->
    Counts = counters:new(2, []),
    {Supervisor, Producer} = supervised(crema_ct:bootstrap(Config)),
    Ways = [fun synchronous/3, fun awaited/3, fun told/3, fun many/3],
    Message = #{topic => Topic, value => <<N:64>>},
    Callers = [spawn_monitor(fun() -> Way(Producer, Message, Counts) end) || Way <- Ways],
    reach(Counts, rand:uniform(600) - 1),
    What = element(1 + N rem 4, {port, client, caller, supervisor}),
    Left = kill(What, Supervisor, Producer, Callers),
    [
        receive
            {'DOWN', Monitor, _, Pid, Reason} -> ?assertEqual(normal, Reason)
        after 30000 -> error({no_end, N, erlang:process_info(Pid, current_stacktrace)})
        end
     || {Pid, Monitor} <- Left
    ],
    %% A caller that was killed may not have counted its last message.
    Accepted = counters:get(Counts, ?ACCEPTED),
    Reported = counters:get(Counts, ?REPORTED),
    ?assert(Accepted =:= Reported orelse length(Left) < length(Callers), {N, Accepted, Reported}),
    killed(Supervisor).

%% A supervisor that does not start its producer again.
supervised(Bootstrap) ->
    Spec = crema_producer:child_spec(#{bootstrap_servers => Bootstrap, flush_timeout => 1000}),
    {ok, Supervisor} = supervisor:start_link(?MODULE, Spec#{restart => temporary}),
    true = unlink(Supervisor),
    [{_, Producer, _, _}] = supervisor:which_children(Supervisor),
    {Supervisor, Producer}.

init(Spec) ->
    {ok, {#{}, [Spec]}}.

%% Waits until so many messages have been accepted: the moment of the kill.
reach(Counts, Number) ->
    case counters:get(Counts, ?ACCEPTED) >= Number of
        true -> ok;
        false -> reach(Counts, Number)
    end.

%% Kills, and returns the callers whose end is awaited.
kill(port, _, Producer, Callers) ->
    {ok, producer, Port, _, _} = crema_registry:lookup(Producer),
    exit(Port, kill),
    Callers;
kill(client, _, Producer, Callers) ->
    exit(Producer, kill),
    Callers;
kill(supervisor, Supervisor, _, Callers) ->
    exit(Supervisor, kill),
    Callers;
kill(caller, Supervisor, Producer, Callers) ->
    {Pid, Monitor} = Caller = lists:nth(rand:uniform(length(Callers)), Callers),
    exit(Pid, kill),
    receive
        {'DOWN', Monitor, _, Pid, _} -> ok
    end,
    %% Of a dead caller only the client can tell that all is reported.
    ok = crema:flush(Producer, 10000),
    exit(Supervisor, kill),
    Callers -- [Caller].

%% The ways to call. Each goes on until the producer is closed.
synchronous(Producer, Message, Counts) ->
    case crema:produce(Producer, Message) of
        {error, {closed, _}} -> ok;
        _ -> accepted(1, Counts), reported(1, Counts), synchronous(Producer, Message, Counts)
    end.

awaited(Producer, Message, Counts) ->
    case crema:produce_async(Producer, Message) of
        {error, {closed, _}} ->
            ok;
        {ok, Ref} ->
            accepted(1, Counts),
            case crema:await(Ref, 20000) of
                {error, {Code, _}} when Code =:= closed; Code =:= timeout -> ok;
                _ -> reported(1, Counts)
            end,
            awaited(Producer, Message, Counts)
    end.

told(Producer, Message, Counts) ->
    told(Producer, Message, Counts, 0).

told(Producer, Message, Counts, Waiting) ->
    case crema:produce_async(Producer, Message, #{report => message}) of
        {error, {closed, _}} ->
            reported(length(crema_ct:reports(Waiting)), Counts);
        ok ->
            accepted(1, Counts),
            Came = reports_so_far(),
            reported(Came, Counts),
            told(Producer, Message, Counts, Waiting + 1 - Came)
    end.

reports_so_far() ->
    receive
        {crema_reports, _, _} = Message -> length(crema:reports(Message)) + reports_so_far()
    after 0 -> 0
    end.

many(Producer, Message, Counts) ->
    Large = Message#{value => binary:copy(<<"x">>, 20000)},
    case crema:produce_many(Producer, [Message, Large, Message#{headers => [{h, <<"1">>}]}]) of
        {error, {closed, _}} ->
            ok;
        {ok, Results} ->
            accepted(3, Counts),
            reported(length(Results), Counts),
            many(Producer, Message, Counts)
    end.

accepted(Number, Counts) -> counters:add(Counts, ?ACCEPTED, Number).

reported(Number, Counts) -> counters:add(Counts, ?REPORTED, Number).

%% ---- consumers ---------------------------------------------------------------------

consumer_round(N, Config, Topic) ->
    %% A member that comes back after a kill waits for the session of the one before, and its
    %% connection is not looked at by the cluster for so long: it has a short one.
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{backoff => {1, 10}}),
    {ok, consumer, Port, _, Owner} = crema_registry:lookup(C),
    case N rem 5 of
        0 -> [{Worker, _} | _] = crema_ct:handled(rand:uniform(50)), killed(Worker);
        1 -> _ = crema_ct:handled(1);
        _ -> spin(rand:uniform(5000000))
    end,
    case N rem 3 of
        0 -> exit(Port, kill);
        1 -> exit(Owner, kill);
        2 -> exit(C, kill)
    end,
    killed(C),
    _ = crema_ct_consume:handled_so_far(),
    ok.

killed(Pid) ->
    Monitor = erlang:monitor(process, Pid),
    exit(Pid, kill),
    receive
        {'DOWN', Monitor, _, _, _} -> ok
    end.

%% A moment whose length is by chance, without waiting.
spin(0) -> ok;
spin(N) -> spin(N - 1).
