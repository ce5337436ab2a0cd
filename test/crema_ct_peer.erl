%% Made-up servers: whoever may be at the other end of an address.
-module(crema_ct_peer).

-include_lib("public_key/include/public_key.hrl").

-export([start/1, local/1, silent/0, fill/2, tls/2, authority/1, chain/2]).

%% @doc A server here whose every connection is in a process of the function.
-spec start(fun((gen_tcp:socket()) -> term())) -> binary().
start(Fun) ->
    Self = self(),
    Pid = spawn_link(fun() ->
        {ok, Listening} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127, 0, 0, 1}}]),
        {ok, Port} = inet:port(Listening),
        Self ! {self(), local(Port)},
        accept(Listening, Fun)
    end),
    receive
        {Pid, Server} -> Server
    end.

accept(Listening, Fun) ->
    {ok, Socket} = gen_tcp:accept(Listening),
    Pid = spawn_link(fun() ->
        receive
            yours -> Fun(Socket)
        end
    end),
    ok = gen_tcp:controlling_process(Socket, Pid),
    Pid ! yours,
    accept(Listening, Fun).

-spec local(inet:port_number()) -> binary().
local(Port) ->
    <<"127.0.0.1:", (integer_to_binary(Port))/binary>>.

%% @doc One that takes connections and says nothing.
-spec silent() -> binary().
silent() ->
    start(fun(_) ->
        receive
            never -> ok
        end
    end).

%% @doc Connections to a port whose owner takes none, until no more may wait.
-spec fill(inet:ip_address(), inet:port_number()) -> [gen_tcp:socket()].
fill(Address, Port) ->
    case gen_tcp:connect(Address, Port, [], 300) of
        {ok, Socket} -> [Socket | fill(Address, Port)];
        {error, timeout} -> []
    end.

%% @doc One of TLS, with options of ssl; those who are greeted are the function's.
-spec tls([ssl:tls_server_option()], fun((ssl:sslsocket()) -> term())) -> binary().
tls(Options, Fun) ->
    <<"127.0.0.1:", Port/binary>> = start(fun(Socket) ->
        case ssl:handshake(Socket, [{log_level, none} | Options], 60000) of
            {ok, Greeted} -> Fun(Greeted);
            {error, _} -> ok
        end
    end),
    <<"localhost:", Port/binary>>.

%% @doc An authority, and its certificate as PEM.
-spec authority(string()) -> {map(), binary()}.
authority(Name) ->
    #{cert := Der} = Root = public_key:pkix_test_root_cert(Name, settings()),
    {Root, public_key:pem_encode([{'Certificate', Der, not_encrypted}])}.

%% @doc A server's options of TLS: its certificate, of these alternative names, below one
%% between with these settings, below the authority.
-spec chain({map(), binary()}, #{names := [tuple()], between => list()}) ->
    [ssl:tls_server_option()].
chain({Root, _}, #{names := Names} = Given) ->
    Alternative = #'Extension'{
        extnID = ?'id-ce-subjectAltName', critical = false, extnValue = Names
    },
    Chain = #{
        root => Root,
        intermediates => [settings() ++ Between || #{between := Between} <- [Given]],
        peer => [{extensions, [Alternative]} | settings()]
    },
    #{server_config := Config} =
        public_key:pkix_test_data(#{server_chain => Chain, client_chain => Chain}),
    Config.

settings() ->
    [{key, {namedCurve, secp256r1}}, {digest, sha256}].
