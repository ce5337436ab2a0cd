%% @private Waiting for a client to be ready: on events, not on time.
-module(crema_ready).

-export([await/2, unreached/1]).

%% @doc Attaches first and looks then, so that nothing comes in between.
-spec await(crema_registry:ref(), timeout()) -> ok | crema_error:error().
await(Client, Timeout) ->
    %% A handler may still be running when it has been detached: what it sends by
    %% the alias then is dropped, and never comes to be the caller's.
    Ref = alias(),
    Self = self(),
    Handler = {?MODULE, Ref},
    Events = [[crema, client, connected], [crema, consumer, assigned]],
    Tell = fun(_, _, _, _) ->
        %% Who was killed meanwhile could not detach it.
        _ = is_process_alive(Self) orelse crema_events:detach(Handler),
        Ref ! {Ref, look}
    end,
    ok = crema_events:attach(Handler, Events, Tell, none),
    Monitor = monitor_client(crema_registry:whereis_name(Client), Ref),
    try
        look(Client, Ref, crema_deadline:in(Timeout))
    after
        true = erlang:demonitor(Monitor, [flush]),
        _ = crema_events:detach(Handler),
        _ = unalias(Ref),
        flush(Ref)
    end.

%% When it ends, waiting for it does.
-spec monitor_client(pid() | undefined, reference()) -> reference().
monitor_client(Pid, Ref) when is_pid(Pid) ->
    erlang:monitor(process, Pid, [{tag, {Ref, ended}}]);
monitor_client(undefined, _Ref) ->
    make_ref().

-spec look(crema_registry:ref(), reference(), crema_deadline:deadline()) -> ok | crema_error:error().
look(Client, Ref, Deadline) ->
    case crema_registry:status(Client) of
        {ok, #{kind := consumer, joined := true}} -> ok;
        {ok, #{kind := producer, connected := true}} -> ok;
        {ok, #{kind := cluster}} -> ok;
        {ok, #{state := State}} when State =:= idle; State =:= disconnected ->
            connect(Client, Ref, Deadline);
        {ok, _} -> wait(Client, Ref, Deadline);
        not_started -> crema_registry:missing(client, Client)
    end.

-spec connect(crema_registry:ref(), reference(), crema_deadline:deadline()) ->
    ok | crema_error:error().
connect(Client, Ref, Deadline) ->
    case crema_producer:client(Client, produce, crema_deadline:left(Deadline)) of
        {ok, _} -> look(Client, Ref, Deadline);
        {error, _} = Error -> Error
    end.

%% A name may be another process's by now.
-spec ended(crema_registry:ref(), pid(), crema_deadline:deadline()) -> ok | crema_error:error().
ended(Client, Pid, Deadline) ->
    case crema_registry:whereis_name(Client) of
        New when is_pid(New), New =/= Pid -> await(Client, crema_deadline:left(Deadline));
        _ -> crema_registry:missing(client, Client)
    end.

-spec wait(crema_registry:ref(), reference(), crema_deadline:deadline()) ->
    ok | crema_error:error().
wait(Client, Ref, Deadline) ->
    receive
        {Ref, look} -> look(Client, Ref, Deadline);
        {{Ref, ended}, _, _, Pid, _} -> ended(Client, Pid, Deadline)
    after crema_deadline:left(Deadline) ->
        crema_error:make(timeout, ["not ready in time" | why(crema_registry:status(Client))], #{})
    end.

%% @doc What is known of it while a client has no connection, for the text of an error;
%% else nothing.
-spec unreached(crema_registry:ref()) -> iodata().
unreached(Client) ->
    case crema_registry:status(Client) of
        {ok, #{connected := false}} = Status -> why(Status);
        _ -> []
    end.

-spec why({ok, map()} | not_started) -> iodata().
why({ok, #{last_error := {_, #{message := Text}}}}) ->
    [" (check bootstrap_servers); the last trouble was: ", Text];
why({ok, #{connected := false}}) ->
    ": no broker has answered yet; check bootstrap_servers";
why(_) ->
    [].

-spec flush(reference()) -> ok.
flush(Ref) ->
    receive
        {Ref, look} -> flush(Ref)
    after 0 -> ok
    end.
