%% What the proxy of a broker does to connections, with a made-up broker that says again what
%% it hears.
-module(crema_chaos_proxy_tests).

-include_lib("eunit/include/eunit.hrl").

%% A message on its way wakes a dozen processes in turn, each of which waits on a busy machine.
-define(SOON, 15000).
%% Long enough for what would come to have come.
-define(HELD, 100).

proxy_test_() ->
    [
        {Name, {timeout, 60, Test}}
     || {Name, Test} <- [
            {"passed", fun passed/0},
            {"cut", fun cut/0},
            {"refused", fun refused/0},
            {"held", fun held/0},
            {"lost", fun lost/0},
            {"slow", fun slow/0}
        ]
    ].

passed() ->
    %% What goes through comes back, of several connections.
    with_proxy(fun(_, Connect) ->
        Sockets = [Connect(), Connect()],
        [ok = gen_tcp:send(Socket, <<"hello">>) || Socket <- Sockets],
        [?assertEqual({ok, <<"hello">>}, gen_tcp:recv(Socket, 5, ?SOON)) || Socket <- Sockets]
    end).

cut() ->
    %% Connections that are cut end, and others may come.
    with_proxy(fun(Proxy, Connect) ->
        Socket = said(Connect),
        ok = crema_chaos_proxy:cut(Proxy),
        ?assertEqual({error, closed}, gen_tcp:recv(Socket, 0, ?SOON)),
        _ = said(Connect)
    end).

refused() ->
    %% None is taken until they are again.
    with_proxy(fun(Proxy, Connect) ->
        Socket = said(Connect),
        ok = crema_chaos_proxy:set(Proxy, refuse),
        ?assertEqual({error, closed}, gen_tcp:recv(Socket, 0, ?SOON)),
        ?assertEqual({error, closed}, gen_tcp:recv(Connect(), 0, ?SOON)),
        ok = crema_chaos_proxy:set(Proxy, open),
        _ = said(Connect)
    end).

held() ->
    %% What is held either way comes when it is let go.
    [
        with_proxy(fun(Proxy, Connect) ->
            Socket = said(Connect),
            ok = crema_chaos_proxy:set(Proxy, {hold, Way}),
            ok = gen_tcp:send(Socket, <<"held">>),
            ?assertEqual({error, timeout}, gen_tcp:recv(Socket, 0, ?HELD)),
            ok = crema_chaos_proxy:set(Proxy, open),
            ?assertEqual({ok, <<"held">>}, gen_tcp:recv(Socket, 4, ?SOON))
        end)
     || Way <- [to, from, both]
    ].

lost() ->
    %% What is held when the connection is cut never comes back: the broker has it when it was
    %% held on its way back, and else not.
    [
        with_proxy(fun(Proxy, Connect) ->
            Socket = said(Connect),
            ok = crema_chaos_proxy:set(Proxy, {hold, Way}),
            ok = gen_tcp:send(Socket, <<"lost">>),
            Time = case Way of from -> ?SOON; _ -> ?HELD end,
            Heard = receive {heard, <<"lost">>} -> true after Time -> false end,
            ?assertEqual(Way =:= from, Heard),
            ok = crema_chaos_proxy:cut(Proxy),
            ?assertEqual({error, closed}, gen_tcp:recv(Socket, 0, ?SOON))
        end)
     || Way <- [to, from, both]
    ].

slow() ->
    %% Each way takes so long.
    with_proxy(fun(Proxy, Connect) ->
        Socket = said(Connect),
        ok = crema_chaos_proxy:set(Proxy, {delay, 50}),
        {Time, _} = timer:tc(fun() ->
            ok = gen_tcp:send(Socket, <<"slow">>),
            {ok, <<"slow">>} = gen_tcp:recv(Socket, 4, ?SOON)
        end),
        ?assert(Time >= 100000, Time)
    end).

said(Connect) ->
    Socket = Connect(),
    ok = gen_tcp:send(Socket, <<"said">>),
    {ok, <<"said">>} = gen_tcp:recv(Socket, 4, ?SOON),
    receive
        {heard, <<"said">>} -> Socket
    after ?SOON -> error(not_heard)
    end.

with_proxy(Fun) ->
    Self = self(),
    {_, Monitor} = spawn_monitor(fun() ->
        Pid = self(),
        Broker = port(crema_ct_peer:start(fun(Socket) -> echo(Socket, Pid) end)),
        %% A port that is free.
        {ok, Free} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {reuseaddr, true}]),
        {ok, Own} = inet:port(Free),
        ok = gen_tcp:close(Free),
        {ok, Proxy} = crema_chaos_proxy:start_link(Own, Broker),
        _ = Fun(Proxy, fun() ->
            {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Own, [binary, {active, false}]),
            Socket
        end),
        unlink(Proxy),
        ok = gen_server:stop(Proxy),
        Self ! passed,
        exit(shutdown)
    end),
    receive
        {'DOWN', Monitor, _, _, Reason} -> ?assertEqual(shutdown, Reason)
    end,
    receive
        passed -> ok
    end.

port(<<"127.0.0.1:", Port/binary>>) -> binary_to_integer(Port).

echo(Socket, Pid) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Bytes} ->
            Pid ! {heard, Bytes},
            ok = gen_tcp:send(Socket, Bytes),
            echo(Socket, Pid);
        {error, _} ->
            ok
    end.
