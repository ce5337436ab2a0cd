%% The application's top: an embedded cluster where no brokers are named, then the clients.
-module(cafe_sup).
-behaviour(supervisor).

-export([start_link/0, init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% rest_for_one: the clients know the address of what was started before them.
-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    {ok, {#{strategy => rest_for_one}, cluster() ++ [subscribers(), clients()] ++ selftest()}}.

cluster() ->
    case cafe_config:bootstrap_servers() of
        embedded ->
            Opts = #{name => cafe_cluster, topics => #{cafe_config:topic() => 4}},
            [#{id => cafe_cluster, start => {crema_cluster, start_link, [Opts]}}];
        _Brokers ->
            []
    end.

subscribers() ->
    #{id => cafe_subscribers, start => {pg, start_link, [cafe_subscribers]}}.

clients() ->
    #{id => cafe_clients_sup, start => {cafe_clients_sup, start_link, []}, type => supervisor}.

selftest() ->
    case cafe_config:selftest() of
        true ->
            [
                #{
                    id => cafe_selftest,
                    start => {cafe_selftest, start_link, []},
                    restart => temporary
                }
            ];
        false ->
            []
    end.
