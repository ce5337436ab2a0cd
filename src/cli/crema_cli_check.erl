%% @private `crema check': {@link crema_check} for people at a terminal.
-module(crema_cli_check).

-export([run/1]).

-spec run(crema_cli_arguments:given()) -> crema_cli:ended().
run(Given) ->
    Options = maps:merge(
        crema_cli_given:client(Given),
        maps:merge(
            #{deadline => crema_cli_given:milliseconds(timeout, Given, 5)},
            maps:with([topics, group, write], Given)
        )
    ),
    Result = crema_check:check(Options),
    Output = crema_cli_output:open(),
    Text = unicode:characters_to_binary(crema_check:format(Result, style())),
    ok = crema_cli_output:write(Output, Text),
    ok = crema_cli_output:close(Output),
    case Result of
        {ok, _} -> ok;
        {error, _} -> failed
    end.

-spec style() -> plain | colours.
style() ->
    case crema_cli_output:is_terminal() andalso os:getenv("NO_COLOR", "") =:= "" of
        true -> colours;
        false -> plain
    end.
