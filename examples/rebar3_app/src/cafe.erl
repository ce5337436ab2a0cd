%% Guests order, baristas serve, and a Kafka topic lies between them.
-module(cafe).

-export([order/2, subscribe/1, publish/2]).

-define(SUBSCRIBERS, cafe_subscribers).

%% Puts the orders of a batch, {Guest, Drink} each, into the topic and waits until all are there.
%% Orders of one guest are served in their order: the guest is the key.
-spec order(Batch :: binary(), [{Guest :: binary(), Drink :: binary() | undefined}]) ->
    {ok, [{ok, map()} | {error, {atom(), map()}}]} | {error, {atom(), map()}}.
order(Batch, Orders) ->
    Topic = cafe_config:topic(),
    crema:produce_many(cafe_producer, [
        #{topic => Topic, key => Guest, value => Drink, headers => [{<<"batch">>, Batch}]}
     || {Guest, Drink} <- Orders
    ]).

%% From now on the caller is sent {served, Message} for each order of this batch.
-spec subscribe(Batch :: binary()) -> ok.
subscribe(Batch) ->
    pg:join(?SUBSCRIBERS, Batch, self()).

%% Tells those who subscribed to a batch that one of its orders is served.
-spec publish(Batch :: binary(), Message :: map()) -> ok.
publish(Batch, Message) ->
    lists:foreach(
        fun(Subscriber) -> Subscriber ! {served, Message} end,
        pg:get_local_members(?SUBSCRIBERS, Batch)
    ).
