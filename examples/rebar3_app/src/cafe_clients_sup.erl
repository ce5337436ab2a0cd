%% The Kafka clients: one producer, and one member of the group of baristas.
-module(cafe_clients_sup).
-behaviour(supervisor).

-export([start_link/0, init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Bootstrap = bootstrap_servers(),
    Producer = crema_producer:child_spec(#{
        name => cafe_producer,
        bootstrap_servers => Bootstrap
    }),
    Barista = crema_consumer:child_spec(#{
        name => cafe_barista,
        bootstrap_servers => Bootstrap,
        group => cafe_config:group(),
        topics => [cafe_config:topic()],
        start => earliest,
        handler => cafe_barista,
        kafka => kafka(cafe_config:bootstrap_servers())
    }),
    {ok, {#{strategy => one_for_one}, [Producer, Barista]}}.

%% An embedded cluster waits for nearly the session time-out when members change.
kafka(embedded) ->
    #{'session.timeout.ms' => 3000, 'heartbeat.interval.ms' => 500};
%% A topic that comes into being later is noticed within so many milliseconds.
kafka(_Brokers) ->
    #{'topic.metadata.refresh.interval.ms' => 2000}.

bootstrap_servers() ->
    case cafe_config:bootstrap_servers() of
        embedded -> crema_cluster:bootstrap_servers(cafe_cluster);
        Brokers -> Brokers
    end.
