%% A release that is stopped while it works: in order, and nothing is lost.
-module(crema_release_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([stop/1]).

-define(COUNT, 100).
-define(LAST, 20).

suite() -> [{timetrap, {seconds, 90}}].

all() -> [stop].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

stop(Config) ->
    %% At init:stop/0 a handler finishes its message, and none begins another; what
    %% it has produced is flushed, what it has acknowledged is committed, and the
    %% member has left its group.
    [From, To] = [crema_ct:topic(Config, 1) || _ <- [1, 2]],
    Group = crema_ct:unique(<<"group">>),
    ok = crema_ct:fill(Config, From, 0, lists:seq(1, ?COUNT)),
    Arguments = [crema_ct:bootstrap(Config), Group, From, To],
    {Status, Time, Output} = run(release(Config), Arguments),
    ?assertEqual(0, Status, Output),
    ?assert(Time < 15000, {Time, Output}),
    C = crema_ct:consumer(Config, From, #{to => self()}, #{group => Group}),
    Rest = crema_ct_consume:values(crema_ct:handled(?COUNT - ?LAST)),
    ?assertEqual(lists:seq(?LAST + 1, ?COUNT), Rest),
    ok = crema_consumer:stop(C),
    _ = crema_ct:consumer(Config, To, #{to => self()}, #{}),
    ?assertEqual(lists:seq(1, ?LAST), crema_ct_consume:values(crema_ct:handled(?LAST))),
    crema_ct:none_handled(50).

%% A boot script that starts crema_ct_release as a release's application.
release(Config) ->
    Folder = proplists:get_value(priv_dir, Config),
    Application =
        {application, crema_ct_release, [
            {description, ""},
            {vsn, "1"},
            {modules, [crema_ct_release]},
            {registered, [crema_ct_release]},
            {applications, [kernel, stdlib, crema]},
            {mod, {crema_ct_release, []}}
        ]},
    write(Folder, "crema_ct_release.app", Application),
    Beam = code:which(crema_ct_release),
    {ok, _} = file:copy(Beam, filename:join(Folder, filename:basename(Beam))),
    Versions = [{Name, version(Name)} || Name <- [kernel, stdlib, crema]],
    Release =
        {release, {"shop", "1"}, {erts, erlang:system_info(version)}, [
            {crema_ct_release, "1"} | Versions
        ]},
    write(Folder, "shop.rel", Release),
    Path = [Folder, filename:dirname(code:which(crema))],
    ok = systools:make_script(filename:join(Folder, "shop"), [local, {path, Path}, no_warn_sasl]),
    filename:join(Folder, "shop").

write(Folder, Name, Term) ->
    ok = file:write_file(filename:join(Folder, Name), io_lib:format("~p.~n", [Term])).

version(Name) ->
    _ = application:load(Name),
    {ok, Version} = application:get_key(Name, vsn),
    Version.

%% Its status, the time it took, and what it printed.
run(Boot, Arguments) ->
    Began = crema_ct:now_ms(),
    Port = open_port({spawn_executable, filename:join([code:root_dir(), "bin", "erl"])}, [
        {args, ["-noshell", "-noinput", "-boot", Boot, "-extra" | Arguments]},
        exit_status, stderr_to_stdout, binary
    ]),
    {Status, Output} = wait_for_end(Port, <<>>),
    {Status, crema_ct:now_ms() - Began, Output}.

wait_for_end(Port, Output) ->
    receive
        {Port, {data, Data}} -> wait_for_end(Port, <<Output/binary, Data/binary>>);
        {Port, {exit_status, Status}} -> {Status, Output}
    after 60000 -> error({hangs, Output})
    end.
