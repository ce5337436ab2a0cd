%% @private What a client says of itself: see `crema:info/1'.
-module(crema_info).

-include("../port/crema_commands.hrl").

-export([client/1]).

-spec client(crema_registry:ref()) -> map().
client(Client) ->
    case crema_registry:lookup(Client) of
        {ok, Kind, Port, _, _} ->
            Counts = maps:merge(crema_client:counts(Port), partitions(Kind, Port)),
            maps:merge(crema:status(Client), Counts);
        not_started ->
            crema_pool:info(Client)
    end.

-spec partitions(crema_registry:kind(), port() | none) -> map().
partitions(consumer, Port) ->
    case crema_port:command(Port, ?CMD_SLOTS, <<>>) of
        {ok, Slots} ->
            #{
                partitions => [
                    #{
                        topic => Topic,
                        partition => Partition,
                        delivered => Delivered,
                        stored => Stored,
                        unacknowledged => Unacked,
                        handler => Handler
                    }
                 || {_, Topic, Partition, Delivered, Stored, Unacked, Handler} <- Slots
                ]
            };
        {error, _} ->
            #{}
    end;
partitions(_, _) ->
    #{}.
