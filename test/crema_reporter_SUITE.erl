%% What becomes of callbacks when producers stop, clients are exchanged and processes
%% are killed.
-module(crema_reporter_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    stop_runs_callbacks/1, stop_by_deadline/1, stop_without_callbacks/1, reporter_killed/1,
    owner_killed/1, port_closed/1, next_client/1, next_producer/1,
    disconnected/1
]).

-import(crema_ct_callbacks, [to/1, held_callback/1, told/0, tolds/1, told_already/0, settled/1]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        stop_runs_callbacks, stop_by_deadline, stop_without_callbacks, reporter_killed,
        owner_killed, port_closed, next_client, next_producer,
        disconnected
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

stop_runs_callbacks(_Config) ->
    %% A stop ends when the callbacks of what it gave up have returned.
    P = crema_ct:unreachable(#{}),
    Self = self(),
    ok = crema:produce_many_async(P, lists:duplicate(1000, #{topic => t}), #{report => to(Self)}),
    ok = crema_producer:stop(P, 100),
    Tolds = told_already(),
    ?assertEqual(#{purge_queue => 1000}, crema_ct:results([Result || {_, Result} <- Tolds])),
    [{Reporter, _} | _] = Tolds,
    ?assertNot(is_process_alive(Reporter)).

stop_by_deadline(_Config) ->
    %% One that does not return is not waited for for ever: it is killed, and the
    %% log tells of how many.
    P = crema_ct:unreachable(#{}),
    Report = #{report => held_callback(self())},
    ok = crema:produce_many_async(P, lists:duplicate(10, #{topic => t}), Report),
    ok = crema_ct_callbacks:listen(warning),
    try
        {Time, ok} = crema_ct:timed(fun() -> crema_producer:stop(P, 100) end),
        ?assert(Time < 2000, Time),
        {Reporter, held} = told(),
        ?assertNot(is_process_alive(Reporter)),
        Stopped = fun(Text) -> string:find(Text, "before 9 callbacks were run") =/= nomatch end,
        ?assertMatch([_], lists:filter(Stopped, crema_ct_callbacks:logged()))
    after
        crema_ct_callbacks:deaf()
    end.

stop_without_callbacks(Config) ->
    %% A producer without them has a reporter that costs no time and is gone with
    %% it.
    Before = length(processes()),
    Times = [
        begin
            P = crema_ct:producer(Config),
            {ok, _} = crema:produce(P, #{topic => t}),
            Tables = length(ets:all()),
            {Time, ok} = crema_ct:timed(fun() -> crema_producer:stop(P) end),
            ?assertEqual(Tables - 1, length(ets:all())),
            Time
        end
     || _ <- [1, 2, 3]
    ],
    ?assert(lists:min(Times) < 500, Times),
    crema_ct:await(fun() -> length(processes()) =< Before end).

reporter_killed(Config) ->
    %% When the reporter is killed another goes on: each callback is run once, but
    %% that which was running is not repeated, and no place is lost.
    P = crema_ct:producer(Config, #{max_queue_messages => 100}),
    Self = self(),
    Report = fun({ok, #{label := N}} = Result) ->
        Self ! {told, self(), Result},
        N rem 25 =:= 7 andalso exit(self(), kill)
    end,
    [
        ok = crema:produce_async(P, #{topic => t, label => N}, #{report => Report})
     || N <- lists:seq(1, 500)
    ],
    Tolds = tolds(500),
    ?assertEqual(lists:seq(1, 500), lists:sort([N || {_, {ok, #{label := N}}} <- Tolds])),
    ?assert(length(lists:usort([Reporter || {Reporter, _} <- Tolds])) >= 20),
    settled(P),
    ?assert(is_process_alive(P)),
    crema_ct:quiet().

owner_killed(_Config) ->
    %% Callbacks are run also when the producer's process is killed, and the
    %% reporter ends then.
    P = crema_ct:unreachable(#{max_queue_messages => 20}),
    Self = self(),
    ok = crema:produce_many_async(P, lists:duplicate(20, #{topic => t}), #{report => to(Self)}),
    Wait = fun() -> crema:produce_async(P, #{topic => t}, #{report => to(Self)}) end,
    Kill = fun() ->
        crema_ct:await(fun() -> maps:get(waiting_callers, crema:info(P)) =:= 1 end),
        exit(P, kill)
    end,
    [{error, {closed, _}}, true] = crema_ct:spawned([Wait, Kill]),
    Tolds = tolds(20),
    ?assertEqual(#{purge_queue => 20}, crema_ct:results([Result || {_, Result} <- Tolds])),
    {Reporter, _} = hd(Tolds),
    crema_ct:await(fun() -> not is_process_alive(Reporter) end),
    crema_ct:quiet().

port_closed(_Config) ->
    %% The same when the port is closed, and before the producer's process ends.
    P = crema_ct:unreachable(#{flush_timeout => 10000}),
    Monitor = erlang:monitor(process, P),
    ok = crema:produce_many_async(P, lists:duplicate(20, #{topic => t}), #{report => to(self())}),
    {ok, producer, Port, _, _} = crema_registry:lookup(P),
    exit(Port, kill),
    receive
        {'DOWN', Monitor, _, _, {port_closed, _}} -> ok
    end,
    ?assertEqual(#{purge_queue => 20}, crema_ct:results([R || {_, R} <- told_already()])).

next_client(Config) ->
    %% A client that was lost leaves its callbacks to its reporter, also those of
    %% callers that are dead, and the next has one of its own; a call that waits for
    %% the next client is called back for once.
    P = crema_ct:producer(Config, #{on_fatal => reload, reload_backoff => {500, 500}}),
    Self = self(),
    ok = crema:produce_async(P, #{topic => t, label => 0}, #{report => held_callback(Self)}),
    {First, held} = told(),
    Caller = fun() -> crema:produce_async(P, #{topic => t, label => 1}, #{report => to(Self)}) end,
    [ok] = crema_ct:spawned([Caller]),
    crema_ct:await(fun() -> maps:get(delivered, crema:info(P)) =:= 2 end),
    crema_ct_life:fatal(P),
    crema_ct:await(fun() -> crema_ct_life:port(P) =:= none end),
    ok = crema:produce_async(P, #{topic => t, label => 2}, #{report => to(Self)}),
    {Second, {ok, #{label := 2}}} = told(),
    ?assertNotEqual(First, Second),
    First ! go_on,
    ?assertMatch({First, {ok, #{label := 1}}}, told()),
    crema_ct:await(fun() -> not is_process_alive(First) end),
    settled(P),
    ok = crema:produce_async(P, #{topic => t}, #{report => to(Self)}),
    ?assertMatch({Second, {ok, _}}, told()),
    crema_ct:quiet().

next_producer(Config) ->
    %% A caller that knows a producer by its name is called back for by the next
    %% of that name.
    Self = self(),
    [
        begin
            P = crema_ct:producer(Config, #{name => ?MODULE}),
            ok = crema:produce_async(?MODULE, #{topic => t}, #{report => to(Self)}),
            ?assertMatch({_, {ok, _}}, told()),
            settled(P),
            ok = crema_producer:stop(P)
        end
     || _ <- [1, 2, 3]
    ],
    crema_ct:quiet().

disconnected(Config) ->
    %% A producer is not disconnected while callbacks are to be run; the reporter
    %% of the client that goes ends, and the first call of the next has one.
    P = crema_ct:producer(Config, #{connect => use}),
    ok = crema:produce_async(P, #{topic => t}, #{report => held_callback(self())}),
    {First, held} = told(),
    ?assertMatch({error, {busy, _}}, crema:disconnect(P)),
    First ! go_on,
    settled(P),
    ok = crema:disconnect(P),
    crema_ct:await(fun() -> not is_process_alive(First) end),
    ok = crema:produce_async(P, #{topic => t}, #{report => to(self())}),
    ?assertMatch({Second, {ok, _}} when Second =/= First, told()),
    settled(P).
