%% @private Stops the clients that are still there when the application stops. An
%% application that names crema among its own has ended by then; one that does not would
%% be left with clients that nobody finds, and whose last reports reach nobody.
-module(crema_shutdown).

-export([clients/0]).

%% @doc In order, by the deadline of each: who may use others ends before them.
-spec clients() -> ok.
clients() ->
    lists:foreach(fun stopped/1, [
        {alias, fun crema_consumer:stop/1},
        {reader, fun crema_reader_server:close/1},
        {pool, fun crema_pool:stop/1},
        {producer, fun(Pid) -> crema_child:stop(Pid, default) end},
        {cluster, fun crema_cluster:stop/1}
    ]),
    last_reports(crema_deadline:in(crema_port:reaper_time())).

%% Those whose deadline has passed, or who were killed, still report what they had. That goes
%% through the anchor, which is about to end.
-spec last_reports(crema_deadline:deadline()) -> ok.
last_reports(Deadline) ->
    Monitors = [crema_port:monitor(Port) || Port <- crema_port:orphans()],
    lists:foreach(
        fun(Monitor) ->
            receive
                {'DOWN', Monitor, port, _, _} -> ok
            after crema_deadline:left(Deadline) -> erlang:demonitor(Monitor, [flush])
            end
        end,
        Monitors
    ),
    _ = crema_anchor:all_told(crema_deadline:left(Deadline)),
    ok.

%% Side by side. One that ends meanwhile, or fails to, is not this process's business.
-spec stopped({alias | pool | crema_registry:kind(), fun((pid()) -> ok)}) -> ok.
stopped({Kind, Stop}) ->
    Monitors = [
        element(2, spawn_monitor(fun() -> Stop(Pid) end))
     || Pid <- crema_registry:all(Kind), is_process_alive(Pid)
    ],
    lists:foreach(
        fun(Monitor) ->
            receive
                {'DOWN', Monitor, process, _, _} -> ok
            end
        end,
        Monitors
    ).
