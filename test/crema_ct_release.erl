%% An application with a producer and a consumer in its own supervision tree, run
%% as a release by crema_release_SUITE. It stops its node while its handler is at
%% the twentieth message.
-module(crema_ct_release).
-behaviour(application).
-behaviour(supervisor).
-behaviour(crema_consumer).

-export([start/2, stop/1, init/1]).
-export([init/2, handle_message/2]).

-define(LAST, 20).

%% The brokers, the group, where messages come from and go to.
start(_Type, _Args) ->
    supervisor:start_link(?MODULE, init:get_plain_arguments()).

stop(_State) ->
    ok.

%% The consumer behind the producer that its handler uses: it stops first.
init([Bootstrap, Group, From, To]) ->
    Producer = crema_producer:child_spec(#{
        name => ?MODULE,
        bootstrap_servers => Bootstrap,
        kafka => #{'linger.ms' => 3000}
    }),
    Consumer = crema_consumer:child_spec(#{
        bootstrap_servers => Bootstrap,
        group => Group,
        topics => [From],
        handler => {?MODULE, list_to_binary(To)},
        kafka => #{'session.timeout.ms' => 3600, 'auto.commit.interval.ms' => 60000}
    }),
    {ok, {#{strategy => rest_for_one}, [Producer, Consumer]}}.

init(_Info, To) ->
    {ok, To}.

handle_message(#{value := Value}, To) ->
    binary_to_integer(Value) =:= ?LAST andalso
        begin
            ok = init:stop(),
            %% Until the stop has come to this consumer, which waits for its handler.
            receive
            after 500 -> ok
            end
        end,
    ok = crema:produce_async(?MODULE, #{topic => To, value => Value}, #{report => none}),
    {ack, To}.
