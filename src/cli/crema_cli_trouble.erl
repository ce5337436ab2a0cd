%% @private What becomes of connections while a command runs, told to whoever waits.
-module(crema_cli_trouble).

-export([tell/0, told/4]).

%% @doc From now on each change is a line on standard error.
-spec tell() -> ok.
tell() ->
    Events = [[crema, client, Name] || Name <- [error, disconnected, connected, certificate]],
    ok = crema_events:attach(?MODULE, Events, fun ?MODULE:told/4, none).

-spec told([atom()], map(), map(), term()) -> ok.
told([crema, client, connected], #{duration := _}, _, _) ->
    crema_cli:tell("connected again");
told([crema, client, connected], _, _, _) ->
    ok;
told([crema, client, certificate], _, #{property := Property, message := Text}, _) ->
    crema_cli:tell([Property, $\s, Text]);
told(_, _, #{message := Text}, _) ->
    crema_cli:tell(Text).
