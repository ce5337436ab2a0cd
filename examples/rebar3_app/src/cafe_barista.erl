%% Serves the orders of the topic: tells it to those who subscribed to the order's batch.
-module(cafe_barista).
-behaviour(crema_consumer).

-export([handle_message/2]).

-spec handle_message(map(), State) -> {ack, State}.
handle_message(#{headers := Headers} = Message, State) ->
    [cafe:publish(Batch, Message) || {<<"batch">>, Batch} <- Headers],
    {ack, State}.
