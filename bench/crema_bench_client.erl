%% The clients of the workloads, with crema's default settings.
-module(crema_bench_client).

-export([producer/1, warm_producer/1]).
-export([consumer/2]).
-export([value/1]).

-spec producer(crema_bench:options()) -> pid().
producer(#{bootstrap := Bootstrap, producer := Properties}) ->
    {ok, P} = crema_producer:start_link(#{bootstrap_servers => Bootstrap, kafka => Properties}),
    P.

%% A producer that has delivered one message already: connection, metadata and
%% producer id are there before a clock starts.
-spec warm_producer(crema_bench:options()) -> pid().
warm_producer(#{topic := Topic} = O) ->
    P = producer(O),
    {ok, _} = crema:produce(P, #{topic => Topic, value => <<"w">>}),
    P.

%% A member of a group that all of this VM are in.
-spec consumer(crema_bench:options(), {module(), term()}) -> pid().
consumer(#{bootstrap := Bootstrap, topic := Topic, consumer := Properties} = O, Handler) ->
    {ok, C} = crema_consumer:start_link((maps:with([prefetch], O))#{
        bootstrap_servers => Bootstrap,
        group => list_to_binary("bench-crema-" ++ os:getpid()),
        topics => [Topic],
        handler => Handler,
        start => earliest,
        kafka => Properties
    }),
    C.

-spec value(crema_bench:options()) -> binary().
value(#{size := Size}) -> binary:copy(<<"x">>, Size).
