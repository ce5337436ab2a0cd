%% Runs on the embedded cluster, or on the brokers of KAFKA_BOOTSTRAP_SERVERS.
-module(cafe_tests).

-include_lib("eunit/include/eunit.hrl").

cafe_test_() ->
    {setup, fun open/0, fun close/1, [
        {"every order is served", {timeout, 60, fun every_order/0}},
        {"the orders of one guest are served in their order", {timeout, 60, fun order_of_guest/0}},
        {"no drink and an empty cup are two things", {timeout, 60, fun null_and_empty/0}},
        {"a bad order says what is wrong with it", fun bad_order/0}
    ]}.

%% Brokers may make the topic when it is first used. A member of a group that starts waits some
%% seconds for its partitions.
open() ->
    {ok, Started} = application:ensure_all_started(cafe),
    {ok, [{ok, _Report}]} = cafe:order(<<"the first">>, [{<<"Ada">>, <<"tea">>}]),
    ok = crema:await_ready(cafe_barista, 30_000),
    Started.

close(Started) ->
    [ok = application:stop(Application) || Application <- lists:reverse(Started)].

every_order() ->
    Batch = subscribe(),
    Orders = [{<<"guest ", (integer_to_binary(N))/binary>>, <<"tea">>} || N <- lists:seq(1, 100)],
    {ok, Results} = cafe:order(Batch, Orders),
    ?assertEqual([], [Error || {error, _} = Error <- Results]),
    Served = [{Guest, Drink} || #{key := Guest, value := Drink} <- served(Batch, 100)],
    ?assertEqual(lists:sort(Orders), lists:sort(Served)).

order_of_guest() ->
    Batch = subscribe(),
    Drinks = [integer_to_binary(N) || N <- lists:seq(1, 50)],
    {ok, _Results} = cafe:order(Batch, [{<<"Ada">>, Drink} || Drink <- Drinks]),
    ?assertEqual(Drinks, [Drink || #{value := Drink} <- served(Batch, 50)]).

null_and_empty() ->
    Batch = subscribe(),
    {ok, _Results} = cafe:order(Batch, [{<<"Ada">>, undefined}, {<<"Ada">>, <<>>}]),
    ?assertEqual([undefined, <<>>], [Drink || #{value := Drink} <- served(Batch, 2)]).

bad_order() ->
    {error, {_Code, #{message := Text}}} = crema:produce(cafe_producer, #{value => <<"tea">>}),
    ?assertMatch({_, _}, binary:match(Text, <<"topic">>)).

subscribe() ->
    Unique = {os:system_time(), erlang:unique_integer([positive])},
    Batch = iolist_to_binary(io_lib:format("test-~p", [Unique])),
    ok = cafe:subscribe(Batch),
    Batch.

served(Batch, Count) ->
    [
        receive
            {served, #{headers := [{<<"batch">>, Batch}]} = Message} -> Message
        after 20_000 -> error({not_served, Batch})
        end
     || _ <- lists:seq(1, Count)
    ].
