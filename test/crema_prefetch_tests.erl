-module(crema_prefetch_tests).

-include_lib("eunit/include/eunit.hrl").

-define(MB, 1048576).

%% What librdkafka may fetch at once follows from the limit, within bounds.
derived_test() ->
    ?assertEqual({<<"262144">>, <<"2097152">>, <<"8192">>}, derived(64 * ?MB, #{})),
    ?assertEqual({<<"65536">>, <<"1000000">>, <<"1024">>}, derived(8 * ?MB, #{})),
    ?assertEqual({<<"1048576">>, <<"52428800">>, <<"1048576">>}, derived(8192 * ?MB, #{})).

%% A response is not smaller than a message may be.
large_messages_test() ->
    User = #{<<"message.max.bytes">> => <<"5000000">>},
    ?assertMatch({_, <<"5000000">>, _}, derived(64 * ?MB, User)).

%% The room for partitions follows from what one of them is fetched, by whichever
%% name the user gave that.
room_test() ->
    ?assertEqual(256, crema_prefetch:room(options(64 * ?MB, #{}))),
    ?assertEqual(
        64, crema_prefetch:room(options(64 * ?MB, #{<<"fetch.message.max.bytes">> => <<"1048576">>}))
    ).

%% What the user gave stays, with a warning where it may break the limit.
warnings_test() ->
    Breaks = #{<<"fetch.max.bytes">> => <<"52428800">>},
    ?assertMatch([{warning, _}], crema_prefetch:rules(options(64 * ?MB, Breaks))),
    ?assertEqual([], crema_prefetch:rules(options(1024 * ?MB, Breaks))),
    ?assertEqual([], crema_prefetch:rules(options(64 * ?MB, #{}))).

options(Limit, User) -> #{prefetch => Limit, kafka => User}.

derived(Limit, User) ->
    Properties = crema_prefetch:properties(options(Limit, User)),
    list_to_tuple([
        proplists:get_value(Key, Properties)
     || Key <- [
            <<"max.partition.fetch.bytes">>, <<"fetch.max.bytes">>, <<"queued.max.messages.kbytes">>
        ]
    ]).
