%% The demo's story: a text is streamed into a topic, a group of two members counts its words, one
%% handler crashes, one member leaves half way, and in the end the count must be exact.
-module(demo).

-export([start/0]).

-define(READY_MS, 20_000).
-define(MEMBERS, [demo_member_1, demo_member_2]).

%% Called by `erl -s demo'. The exit status of the VM tells how it went.
-spec start() -> pid().
start() ->
    spawn(fun() -> init:stop(run()) end).

run() ->
    try
        ok = io:setopts([{encoding, unicode}]),
        ok = log_to_display(),
        Config = config(),
        introduce(Config),
        Partitions = story(Config),
        demo_verdict:tell(Partitions, Config)
    catch
        throw:{failed, Reason} ->
            io:format(standard_error, "demo: ~ts~n", [Reason]),
            1;
        Class:Reason:Stacktrace ->
            io:format(standard_error, "demo: ~p~n", [{Class, Reason, Stacktrace}]),
            1
    end.

log_to_display() ->
    ok = logger:remove_handler(default),
    ok = logger:add_handler(demo, demo_display, #{level => warning}).

config() ->
    #{lines := Lines} = Text = demo_text:open(),
    Name = ["crema-demo-", integer_to_list(os:system_time(millisecond))],
    #{
        text => Text,
        bootstrap => bootstrap(os:getenv("BOOTSTRAP", "")),
        topic => iolist_to_binary(Name),
        group => iolist_to_binary(Name),
        crash_at => (Lines + 3) div 4,
        display => display(os:getenv("DEMO_COLUMNS", ""))
    }.

bootstrap("") -> embedded;
bootstrap(Brokers) -> Brokers.

display("") -> plain;
display(Columns) -> list_to_integer(Columns).

introduce(#{text := Text, bootstrap := Bootstrap, topic := Topic}) ->
    #{name := Name, passes := Passes, lines := Lines, bytes := Bytes} = Text,
    io:format("~ts, ~s: ~s lines, ~s bytes~n", [
        Name, times(Passes), demo_display:number(Lines), demo_display:number(Bytes)
    ]),
    case Bootstrap of
        embedded -> io:format("through topic ~ts of an embedded cluster~n", [Topic]);
        _Brokers -> io:format("through topic ~ts of ~ts~n", [Topic, Bootstrap])
    end.

times(1) -> "once";
times(Passes) -> io_lib:format("~b times over", [Passes]).

%% Returns what was counted in each partition.
story(#{text := #{lines := Lines}} = Config) ->
    ok = application:set_env(demo, config, Config),
    case application:ensure_all_started(demo) of
        {ok, _Started} -> ok;
        {error, Reason} -> fail("not started", Reason)
    end,
    _ = monitor(process, demo_sup),
    {ok, Source} = demo_sup:start_source(Config),
    _ = monitor(process, Source),
    demo_display:event("the members of the group wait for their partitions", []),
    lists:foreach(fun await_ready/1, ?MEMBERS),
    await_acknowledged(Lines div 2),
    demo_display:event("half way: demo_member_2 is stopped, its partitions move", []),
    ok = demo_clients_sup:stop_member(demo_member_2),
    await_acknowledged(Lines),
    Partitions = demo_counter:partitions(),
    ok = application:stop(demo),
    Partitions.

await_ready(Member) ->
    case crema:await_ready(Member, ?READY_MS) of
        ok -> ok;
        {error, Reason} -> fail([atom_to_list(Member), " is not ready"], Reason)
    end.

%% The source and the supervisor are monitored: without them the lines would be waited for in vain.
await_acknowledged(Lines) ->
    ok = demo_counter:notify(Lines),
    await_told(Lines).

await_told(Lines) ->
    receive
        {acknowledged, Lines} -> ok;
        {'DOWN', _Monitor, process, _Source, normal} -> await_told(Lines);
        {'DOWN', _Monitor, process, _Source, {shutdown, {What, Reason}}} -> fail(What, Reason);
        {'DOWN', _Monitor, process, _Pid, Reason} -> fail("stopped", Reason)
    end.

-spec fail(iodata(), term()) -> no_return().
fail(What, {Code, #{message := Message}}) ->
    throw({failed, io_lib:format("~ts: ~ts (~ts)", [What, Message, Code])});
fail(What, Reason) ->
    throw({failed, io_lib:format("~ts: ~0tp", [What, Reason])}).
