%% The end of a whole node while messages are outstanding: it neither hangs nor
%% crashes.
%%
%% CREMA_EXITS is the number of nodes for each way to end (10).
-module(crema_exit_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([stop/1, halt/1, halt_without_flush/1, halt_while_opening/1]).
-export([stop_delivers/1, what_is_logged/1]).

-define(FLUSH_MS, 700).
-define(AT_ONCE, 4).

suite() -> [{timetrap, {minutes, 60}}].

all() ->
    [stop, halt, halt_without_flush, halt_while_opening, stop_delivers, what_is_logged].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

stop(_Config) ->
    %% init:stop/0 flushes until the deadline, no longer, and ends well.
    exits("stop", ?FLUSH_MS + 2000).

halt(_Config) ->
    %% halt/0 promises nothing, but ends at once and well.
    exits("halt", 2000).

halt_without_flush(_Config) ->
    %% The same without the emulator's own flush.
    exits("halt_without_flush", 2000).

halt_while_opening(_Config) ->
    %% A VM that halts while clients with TLS are opened ends well, though crypto has
    %% had OpenSSL before, and with it a clean-up at exit.
    exits("halt_while_opening", 2000).

exits(How, Most) ->
    Rounds = list_to_integer(os:getenv("CREMA_EXITS", "10")),
    Arguments = [How, "127.0.0.1:1", integer_to_list(?FLUSH_MS), "0", "t"],
    run_nodes(Rounds, fun() ->
        {Status, Time, Output} = run(Arguments),
        ?assertEqual({0, true}, {Status, Time =< Most}, {Time, Output})
    end).

%% A few at a time: they do little but wait.
run_nodes(Left, Run) when Left > ?AT_ONCE ->
    _ = crema_ct:spawned(lists:duplicate(?AT_ONCE, Run)),
    run_nodes(Left - ?AT_ONCE, Run);
run_nodes(Left, Run) ->
    crema_ct:spawned(lists:duplicate(Left, Run)).

stop_delivers(Config) ->
    %% What lingers when init:stop/0 is called is delivered.
    Topic = crema_ct:topic(Config, 1),
    Bootstrap = binary_to_list(crema_ct:bootstrap(Config)),
    Arguments = ["stop", Bootstrap, "10000", "100000", binary_to_list(Topic)],
    {0, Time, _} = run(Arguments),
    ?assert(Time < 8000, Time),
    _ = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    Handled = crema_ct:handled(1000),
    ?assertEqual(lists:seq(1, 1000), crema_ct_consume:values(Handled)).

what_is_logged(_Config) ->
    %% With the logger as OTP sets it up by itself, an unreachable broker is in
    %% the log, once.
    {0, _, Output} = run(["stop", "127.0.0.1:1", "2000", "0", "t"]),
    ?assertMatch({match, [_]}, re:run(Output, "Connection refused", [global]), Output).

%% Runs a node; its status, the time from its last act to its end, and its output.
run(Arguments) ->
    Folders = lists:usort([filename:dirname(code:which(M)) || M <- [crema, crema_ct_exit]]),
    Given = ["-noshell" | lists:append([["-pa", F] || F <- Folders])],
    Port = open_port({spawn_executable, filename:join([code:root_dir(), "bin", "erl"])}, [
        {args, Given ++ ["-run", "crema_ct_exit", "main" | Arguments]},
        exit_status, stderr_to_stdout, binary
    ]),
    wait_for_end(Port, <<>>, none).

wait_for_end(Port, Output, Ready) ->
    receive
        {Port, {data, Data}} ->
            All = <<Output/binary, Data/binary>>,
            wait_for_end(Port, All, go_on(Port, Ready, All));
        {Port, {exit_status, Status}} ->
            ?assert(is_integer(Ready), Output),
            {Status, crema_ct:now_ms() - Ready, Output}
    after 60000 -> error({hangs, Output})
    end.

%% Lets the node end as soon as it says that it is ready; when that was.
go_on(Port, none, Output) ->
    case binary:match(Output, <<"ready\n">>) of
        nomatch ->
            none;
        _ ->
            true = port_command(Port, <<"go\n">>),
            crema_ct:now_ms()
    end;
go_on(_Port, Since, _Output) ->
    Since.
