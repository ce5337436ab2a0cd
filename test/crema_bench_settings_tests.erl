%% The raw C half of the benchmark has crema's defaults.
-module(crema_bench_settings_tests).

-include_lib("eunit/include/eunit.hrl").

-export([handle_message/2]).

handle_message(_Message, State) -> {ack, State}.

%% A consumer's, but for where it begins, and what tells it of a partition's end.
consumer_test() ->
    Own = #{group => <<"g">>, topics => [<<"t">>], handler => ?MODULE},
    Left = [<<"group.id">>, <<"auto.offset.reset">>, <<"enable.partition.eof">>],
    Other = #{<<"auto.offset.reset">> => <<"earliest">>},
    ?assertEqual(maps:merge(maps:without(Left, properties(consumer, Own)), Other), file(consumer)).

%% A producer's, with the limits of its queue, which crema keeps itself.
producer_test() ->
    {ok, #{max_queue_messages := Messages, max_queue_bytes := Bytes}} = parse(producer, #{}),
    Other = #{
        <<"queue.buffering.max.messages">> => integer_to_binary(Messages),
        <<"queue.buffering.max.kbytes">> => integer_to_binary(Bytes div 1024)
    },
    ?assertEqual(maps:merge(properties(producer, #{}), Other), file(producer)).

%% Of a client with default options, but for those that are each client's own.
properties(Scope, Own) ->
    {ok, Parsed} = parse(Scope, Own),
    Known = #{known => fun(_) -> true end},
    maps:without(
        [<<"bootstrap.servers">>, <<"client.id">>, <<"log.queue">>],
        maps:from_list(crema_properties:kafka_properties(Scope, Parsed, Known))
    ).

parse(Scope, Own) -> crema_options:parse(Scope, Own#{bootstrap_servers => <<"h:1">>}).

file(Scope) ->
    {ok, Text} = file:read_file(crema_ct_documents:path(["bench/settings/", atom_to_list(Scope), ".conf"])),
    Lines = [L || <<C, _/binary>> = L <- binary:split(Text, <<"\n">>, [global]), C =/= $#],
    maps:from_list([list_to_tuple(binary:split(Line, <<"=">>)) || Line <- Lines]).
