%% Producers that end with 100,000 messages outstanding: each message is accounted
%% for by exactly one report, and the memory is back to where it was.
%%
%% CREMA_ACCOUNT_ROUNDS is the number of rounds over which memory is watched (5).
-module(crema_accounting_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    purged/1, full/1, stopped/1, stopped_at_once/1, killed/1, port_killed/1, reloaded/1,
    delivered/1, node_stopped/1
]).

-define(TOTAL, 100000).
%% What may be more after the rounds than before, in bytes: less than the messages
%% of one round take in any form (a hundred thousand of a hundred bytes and more).
-define(MORE_BINARIES, 1 bsl 20).
-define(MORE_TOTAL, 4 bsl 20).
%% The C library keeps up to 32 MiB that are free (c_src/core/mem.c).
-define(MORE_RESIDENT, 48 bsl 20).

suite() -> [{timetrap, {minutes, 10}}].

all() ->
    [
        purged, full, stopped, stopped_at_once, killed, port_killed, reloaded, delivered,
        node_stopped
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

purged(_Config) ->
    %% A purge; the driver's counts are as before, too.
    P = crema_ct:unreachable(limits()),
    Before = counts(P),
    leaves_no_memory(fun() ->
        Callers = outstanding(P),
        ok = crema:purge(P),
        crema_ct:await(fun() -> crema:queue_size(P) =:= 0 end),
        all_purged(Callers),
        ?assertEqual(Before, counts(P)),
        ok = crema:disconnect(P)
    end).

%% What is in the driver at present.
counts(P) ->
    Keys = [queue_messages, queue_bytes, waiting_callers, unclaimed_reports],
    maps:with(Keys, crema:info(P)).

full(_Config) ->
    %% A full queue: who does not wait is refused, who gives up waiting has sent
    %% nothing, and who waits long enough gets a place.
    leaves_no_memory(fun() ->
        P = crema_ct:unreachable(limits()),
        Callers = outstanding(P),
        Messages = lists:duplicate(1000, #{topic => t, value => <<"v">>}),
        Call = fun(Options) ->
            spawn_monitor(fun() -> exit(crema:produce_many(P, Messages, Options)) end)
        end,
        Refused = [Call(#{on_full => error}) || _ <- lists:seq(1, 25)],
        Late = [Call(#{full_timeout => 100}) || _ <- lists:seq(1, 25)],
        Patient = [Call(#{full_timeout => infinity}) || _ <- lists:seq(1, 25)],
        [?assertMatch({error, {queue_full, _}}, end_of(Caller)) || Caller <- Refused ++ Late],
        ?assertMatch(#{accepted := ?TOTAL, waiting_callers := 25}, crema:info(P)),
        ok = crema:purge(P),
        crema_ct:await(fun() -> maps:get(accepted, crema:info(P)) =:= ?TOTAL + 25000 end),
        ok = crema_producer:stop(P, 100),
        all_purged(Callers),
        [
            begin
                {ok, Results} = end_of(Caller),
                ?assertEqual(#{purge_queue => 1000}, crema_ct:results(Results))
            end
         || Caller <- Patient
        ]
    end).

end_of({Pid, Monitor}) ->
    receive
        {'DOWN', Monitor, process, Pid, Reason} -> Reason
    after 60000 -> error({still_alive, process_info(Pid)})
    end.

stopped(_Config) ->
    %% A stop whose flush is in vain.
    ends(#{}, fun(P) -> ok = crema_producer:stop(P, 100) end).

stopped_at_once(_Config) ->
    %% A stop without a flush.
    ends(#{}, fun(P) -> ok = crema_producer:stop(P, 0) end).

killed(_Config) ->
    %% The owner is killed.
    ends(#{}, fun(P) -> exit(P, kill) end).

port_killed(_Config) ->
    %% The port is killed.
    ends(#{}, fun(P) -> exit(crema_ct_life:port(P), kill) end).

reloaded(_Config) ->
    %% A fatal error, after which there is a new client.
    ends(#{on_fatal => reload, reload_backoff => {1, 1}}, fun(P) ->
        ok = crema_ct_life:fatal(P),
        crema_ct:await(fun() -> maps:get(accepted, crema:info(P), none) =:= 0 end),
        ok = crema_producer:stop(P, 0)
    end).

ends(Options, End) ->
    leaves_no_memory(fun() ->
        P = crema_ct:unreachable(maps:merge(limits(), Options)),
        Callers = outstanding(P),
        End(P),
        crema_ct:await(fun() -> maps:get(reapers, crema:info()) =:= 0 end, 60000),
        all_purged(Callers)
    end).

delivered(Config) ->
    %% A stop whose flush is not in vain: all are delivered.
    P = crema_ct:producer(Config, (limits())#{kafka => #{'linger.ms' => 100000}}),
    Callers = outstanding(P),
    ok = crema_producer:stop(P, 120000),
    ?assertEqual(#{ok => ?TOTAL}, crema_ct_outstanding:reports(Callers)).

node_stopped(Config) ->
    %% init:stop/0 in a node of its own: all are reported before it ends.
    File = filename:join(proplists:get_value(priv_dir, Config), "reports"),
    Modules = [crema, ?MODULE],
    Folders = lists:usort([filename:dirname(code:which(Module)) || Module <- Modules]),
    Paths = lists:append([["-pa", Folder] || Folder <- Folders]),
    Main = ["-run", "crema_ct_outstanding", "main", integer_to_list(?TOTAL), File],
    Port = open_port({spawn_executable, filename:join([code:root_dir(), "bin", "erl"])}, [
        {args, ["-noshell" | Paths ++ Main]}, exit_status, stderr_to_stdout, binary
    ]),
    ?assertMatch({0, _}, end_of_node(Port, <<>>)),
    ?assertEqual({ok, [#{purge_queue => ?TOTAL}]}, file:consult(File)).

end_of_node(Port, Output) ->
    receive
        {Port, {data, Data}} -> end_of_node(Port, <<Output/binary, Data/binary>>);
        {Port, {exit_status, Status}} -> {Status, Output}
    after 120000 -> error({hangs, Output})
    end.

%% ---- what the cases share --------------------------------------------------------------

limits() ->
    #{max_queue_messages => ?TOTAL, max_queue_bytes => 1 bsl 40}.

outstanding(P) ->
    crema_ct_outstanding:callers(P, ?TOTAL).

all_purged(Callers) ->
    ?assertEqual(#{purge_queue => ?TOTAL}, crema_ct_outstanding:reports(Callers)).

%% Runs rounds, of which the first two only warm up what stays.
leaves_no_memory(Round) ->
    _ = [Round(), Round()],
    Before = memory(),
    _ = [Round() || _ <- lists:seq(1, list_to_integer(os:getenv("CREMA_ACCOUNT_ROUNDS", "5")))],
    crema_ct:await(
        fun() ->
            After = memory(),
            More = maps:map(fun(Kind, Size) -> Size - maps:get(Kind, Before) end, After),
            #{binary := Binary, total := Total, resident := Resident} = More,
            (Binary =< ?MORE_BINARIES andalso Total =< ?MORE_TOTAL andalso
                Resident =< ?MORE_RESIDENT) orelse {Before, After}
        end,
        20000
    ).

memory() ->
    crema_ct:await(fun() -> maps:get(reapers, crema:info()) =:= 0 end, 60000),
    _ = [erlang:garbage_collect(Pid) || Pid <- processes()],
    #{
        binary => erlang:memory(binary),
        total => erlang:memory(total),
        resident => resident()
    }.

%% AddressSanitizer has an allocator of its own in the C library's place: it gives back what
%% is free when it likes, and looks for leaks itself.
resident() ->
    case os:getenv("ASAN_OPTIONS") of
        false ->
            {ok, Text} = file:read_file("/proc/self/statm"),
            [_, Pages | _] = binary:split(Text, <<" ">>, [global]),
            binary_to_integer(Pages) * 4096;
        _ ->
            0
    end.
