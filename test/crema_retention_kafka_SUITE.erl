%% Logs that lose their beginning under a running consumer. Real brokers only: see
%% crema_kafka_SUITE for what must be set.
-module(crema_retention_kafka_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([cut_behind_slow_handlers/1]).

-import(crema_ct_consume, [listen/2]).

-define(PARTITIONS, 12).
-define(COUNT, 1000).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [cut_behind_slow_handlers].

init_per_suite(Config) -> crema_ct:start(Config, crema_ct_kafka:bootstrap()).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

cut_behind_slow_handlers(Config) ->
    %% Messages are deleted that slow handlers have not come to, again and again, while
    %% little is fetched ahead. What a handler had been given by then is handled all
    %% the same, the events name exactly the others, and no partition stops.
    Topic = crema_ct:unique(<<"topic">>),
    ok = crema_ct_kafka:topic(Topic, ?PARTITIONS, []),
    ok = fill(Config, Topic),
    Told = listen(Topic, [crema, consumer, offset_reset]),
    Self = self(),
    Handle = fun(#{partition := Partition, offset := Offset}, State) ->
        receive
        after rand:uniform(30) -> ok
        end,
        Self ! {handled, Partition, Offset},
        {ack, State}
    end,
    _ = crema_ct:consumer(Config, Topic, #{to => self(), handle => Handle}, #{
        prefetch => 8388608, batch_messages => 20
    }),
    Partitions = lists:seq(0, ?PARTITIONS - 1),
    Begun = [handled_to(0, Partition) || Partition <- Partitions],
    [ok = cut(Config, Topic, Offset) || Offset <- [200, 500, 800, 950]],
    Handled = lists:zipwith(
        fun(Partition, First) -> {Partition, First ++ handled_to(?COUNT - 1, Partition)} end,
        Partitions,
        Begun
    ),
    Gone = gone(Told),
    ?assertNotEqual([], Gone),
    [
        ?assertEqual(
            [N || N <- lists:seq(0, ?COUNT - 1), not lists:member({Partition, N}, Gone)], Offsets
        )
     || {Partition, Offsets} <- Handled
    ].

fill(Config, Topic) ->
    P = crema_ct:producer(Config),
    Value = binary:copy(<<"0123456789">>, 1000),
    lists:foreach(
        fun(Partition) ->
            {ok, Results} = crema:produce_many(P, [
                #{topic => Topic, partition => Partition, value => Value}
             || _ <- lists:seq(1, ?COUNT)
            ]),
            ?assertEqual([], [Error || {error, Error} <- Results])
        end,
        lists:seq(0, ?PARTITIONS - 1)
    ).

%% All partitions begin at that offset from now on.
cut(Config, Topic, Offset) ->
    crema_ct_kafka:delete_records(
        proplists:get_value(priv_dir, Config), Topic, lists:seq(0, ?PARTITIONS - 1), Offset
    ).

%% The offsets of a partition that have been handled, up to that one.
handled_to(Last, Partition) ->
    receive
        {handled, Partition, Last} -> [Last];
        {handled, Partition, Offset} -> [Offset | handled_to(Last, Partition)]
    after 30000 -> error({missing, Partition, crema_ct:state_of_clients()})
    end.

%% What the events said is no longer in the log.
gone(Told) ->
    receive
        {Told, #{from := From, to := To}, #{partition := Partition}} ->
            [{Partition, N} || N <- lists:seq(From, To - 1)] ++ gone(Told)
    after 0 -> []
    end.
