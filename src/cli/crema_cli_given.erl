%% @private What clients are started with: the options that are typed, over what
%% variables say.
-module(crema_cli_given).

-export([client/1, client/2, milliseconds/3]).

%% @doc The options of the client that a command needs.
-spec client(crema_cli_arguments:given()) -> map().
client(Given) ->
    client(Given, []).

%% @doc The same; these properties are set unless the user sets them.
-spec client(crema_cli_arguments:given(), [{binary(), binary()}]) -> map().
client(Given, Properties) ->
    Typed = maps:get(config, Given, []),
    Kafka = [Own || {Name, _} = Own <- Properties, not lists:keymember(Name, 1, Typed)] ++ Typed,
    maps:merge(
        maps:from_list([{kafka, Kafka} || Kafka =/= []]),
        maps:merge(
            maps:from_list([{bootstrap_servers, S} || {ok, S} <- [maps:find(bootstrap, Given)]]),
            env(Given)
        )
    ).

%% Those that the user need not ask for: nobody has them by accident.
-spec env(crema_cli_arguments:given()) -> map().
env(#{env := none}) ->
    #{};
env(#{env := Env}) ->
    #{env => Env};
env(_) ->
    case os:getenv("KAFKA_URL", "") of
        "" -> #{env => {prefix, <<"KAFKA">>}};
        _ -> #{env => heroku}
    end.

%% @doc A time that is given, or this many seconds.
-spec milliseconds(atom(), crema_cli_arguments:given(), pos_integer()) -> pos_integer().
milliseconds(Name, Given, Seconds) ->
    maps:get(Name, Given, Seconds * 1000).
