%% @private What a caller may produce to, and the client behind it.
%%
%% A process remembers the clients it uses, by what it calls them: the table
%% costs a quarter of a whole call. Neither pids nor ports are used again, so what
%% is remembered can only be closed; then it is forgotten, and looked up again.
-module(crema_target).

-export([client/1, again/4]).

-export_type([target/0, client/0, settings/0]).

-type target() :: crema_registry:ref().
-type settings() :: #{
    on_full := wait | error, full_timeout := timeout(), timeout := timeout()
}.
%% The port, what its calls carry, and what the producer's options say of calls.
-type client() :: {port() | none, crema_packet:via(), settings()}.

%% @doc The client to command. One that is not there has no port: a command is
%% answered as by one that was closed, and {@link again/4} finds the next.
-spec client(target()) -> client().
client(Producer) ->
    Pid = crema_registry:whereis_name(Producer),
    case get(?MODULE) of
        {Producer, Pid, Client} -> Client;
        _ -> remembered(Producer, Pid)
    end.

%% The one used last has a key of its own, which is found faster.
-spec remembered(crema_registry:ref(), pid() | undefined) -> client().
remembered(Producer, Pid) ->
    case get({?MODULE, Producer}) of
        {Producer, Pid, Client} = Known ->
            _ = put(?MODULE, Known),
            Client;
        _ ->
            look_up(Producer, Pid)
    end.

-spec look_up(crema_registry:ref(), pid() | undefined) -> client().
look_up(Producer, Pid) when is_pid(Pid) ->
    case crema_registry:lookup(Pid) of
        {ok, producer, none, Settings, _} ->
            {none, <<>>, Settings};
        {ok, producer, Port, Settings, _} ->
            Client = {Port, <<>>, Settings},
            _ = put({?MODULE, Producer}, {Producer, Pid, Client}),
            Client;
        _ ->
            no_client()
    end;
look_up(_Producer, undefined) ->
    no_client().

-spec no_client() -> client().
no_client() ->
    {none, <<>>, #{on_full => error, full_timeout => 0, timeout => 0}}.

%% @doc The client to go on with when one was closed before it took the call: the
%% next, made if need be, and waited for so long. `none' when there is nothing to
%% be done for that purpose without one.
-spec again(target(), client(), crema_producer:purpose(), timeout()) ->
    {ok, client()} | none | crema_error:error().
again(Producer, {Closed, _, _}, Purpose, Timeout) ->
    _ = erase(?MODULE),
    _ = erase({?MODULE, Producer}),
    case client(Producer) of
        {Port, _, _} = Next when Port =/= none, Port =/= Closed ->
            {ok, Next};
        _ ->
            case crema_producer:client(Producer, Purpose, Timeout) of
                {ok, Closed} -> crema_registry:missing(producer, Producer);
                {ok, _} -> {ok, client(Producer)};
                Other -> Other
            end
    end.
