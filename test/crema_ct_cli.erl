%% @private Runs the command line as a user does: the file itself, as a process of the
%% system.
-module(crema_ct_cli).

-export([start/1, build/3, run/3, run/4, shell/3, lines/1]).

%% @doc Builds it; the configuration then has where it is.
start(Config) -> build(Config, "crema", code:lib_dir(crema)).

%% @doc The same, of what is in this folder.
build(Config, Name, Lib) ->
    Cli = filename:join(proplists:get_value(priv_dir, Config), Name),
    Source = proplists:get_value(source, ?MODULE:module_info(compile)),
    Build = filename:join([filename:dirname(Source), "..", "scripts", "build-cli"]),
    "" = os:cmd(lists:flatten([Build, " ", Cli, " ", Lib, " 2>&1"])),
    [{cli, Cli} | Config].

%% @doc What it printed, and its exit status; it has the suite's brokers.
run(Config, Arguments, Input) ->
    Servers = binary_to_list(crema_ct:bootstrap(Config)),
    run(Config, Arguments, Input, [{"KAFKA_BOOTSTRAP_SERVERS", Servers}]).

run(Config, Arguments, Input, Variables) ->
    Quoted = lists:join(" ", [quoted(Argument) || Argument <- Arguments]),
    shell(Config, ["crema ", Quoted], {Input, Variables}).

quoted(Argument) ->
    ["'", string:replace(unicode:characters_to_binary(Argument), "'", "'\\''", all), "'"].

%% @doc The same of a shell's command, in which it is `crema'.
shell(Config, Command, {Input, Variables}) ->
    Private = proplists:get_value(priv_dir, Config),
    Name = filename:join(Private, "run-" ++ integer_to_list(erlang:unique_integer([positive]))),
    ok = file:write_file(Name ++ ".in", Input),
    Script = [
        "crema() { timeout 30 ", proplists:get_value(cli, Config), " \"$@\"; }\n",
        "{ ", Command, "\n} <", Name, ".in >", Name, ".out 2>", Name, ".err\n"
    ],
    Port = open_port({spawn_executable, "/bin/bash"}, [
        {args, ["-c", unicode:characters_to_binary(Script)]},
        {env, unset(Variables) ++ [{"XDG_CACHE_HOME", filename:join(Private, "cache")} | Variables]},
        exit_status, binary, in
    ]),
    Status =
        receive
            {Port, {exit_status, Exited}} -> Exited
        end,
    {ok, Out} = file:read_file(Name ++ ".out"),
    {ok, Err} = file:read_file(Name ++ ".err"),
    {Status, Out, Err}.

%% Those of who runs the tests are not the user's.
unset(Variables) ->
    [
        {Name, false}
     || {"KAFKA_" ++ _ = Name, _} <- os:env(), not lists:keymember(Name, 1, Variables)
    ].

%% @doc Without the last line's end.
lines(Bytes) ->
    binary:split(Bytes, <<"\n">>, [global, trim]).
