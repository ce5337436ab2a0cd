%% A broker that is asked to let clients in, and never does: it writes down what they log in
%% by, and closes the connection. librdkafka comes again.
-module(crema_ct_login).

-export([start/1, stop/1, properties/2, seen/1]).

%% @doc Tells the calling process of each log-in, `{login, Server, Bytes}'. Its address.
start(Owner) ->
    {ok, Listen} = gen_tcp:listen(0, [
        binary, {active, false}, {packet, 4}, {ip, {127, 0, 0, 1}}, {backlog, 50}
    ]),
    {ok, Port} = inet:port(Listen),
    Server = spawn(fun() -> serve(Listen, Owner) end),
    ok = gen_tcp:controlling_process(Listen, Server),
    {Server, <<"127.0.0.1:", (integer_to_binary(Port))/binary>>}.

stop({Server, _}) ->
    true = exit(Server, kill),
    ok.

%% @doc What makes a client ask for nothing but to be let in, and often.
properties(Mechanism, More) ->
    maps:merge(
        #{
            'security.protocol' => sasl_plaintext,
            'sasl.mechanism' => Mechanism,
            'reconnect.backoff.ms' => 20,
            'reconnect.backoff.max.ms' => 20
        },
        More
    ).

%% @doc Waits for a log-in with these bytes in it.
seen(Bytes) ->
    receive
        {login, _, Frame} ->
            case binary:match(Frame, Bytes) of
                nomatch -> seen(Bytes);
                _ -> Frame
            end
    after 15000 -> error({not_seen, Bytes})
    end.

serve(Listen, Owner) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    Guest = spawn(fun() ->
        receive
            go -> let_in(Socket, Owner)
        end
    end),
    ok = gen_tcp:controlling_process(Socket, Guest),
    Guest ! go,
    serve(Listen, Owner).

%% It knows next to nothing.
-define(APIS, [{0, 0, 3}, {1, 0, 4}, {3, 0, 1}, {17, 0, 0}, {18, 0, 3}]).

let_in(Socket, Owner) ->
    case gen_tcp:recv(Socket, 0, 5000) of
        {ok, <<18:16, Version:16, Correlation:32, _/binary>>} ->
            ok = gen_tcp:send(Socket, [<<Correlation:32, 0:16>>, apis(Version)]),
            let_in(Socket, Owner);
        %% SaslHandshake: what follows is the mechanism's own.
        {ok, <<17:16, _:16, Correlation:32, Length:16, _:Length/binary, Name/binary>>} ->
            ok = gen_tcp:send(Socket, <<Correlation:32, 0:16, 1:32, Name/binary>>),
            case gen_tcp:recv(Socket, 0, 5000) of
                {ok, Frame} -> Owner ! {login, self(), Frame};
                {error, _} -> ok
            end,
            gen_tcp:close(Socket);
        _ ->
            gen_tcp:close(Socket)
    end.

%% A client asks by version 3, a check by 0.
apis(0) ->
    [<<(length(?APIS)):32>>, [<<Api:16, Min:16, Max:16>> || {Api, Min, Max} <- ?APIS]];
apis(3) ->
    [length(?APIS) + 1, [<<Api:16, Min:16, Max:16, 0>> || {Api, Min, Max} <- ?APIS], <<0:32, 0>>].
