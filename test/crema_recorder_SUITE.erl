%% A recording producer beside one of a broker's, which is asked the same.
-module(crema_recorder_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([sizes/1, partitioners/1, refused_in_transaction/1, failed_in_transaction/1]).

suite() -> [{timetrap, {seconds, 120}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [sizes, partitioners, refused_in_transaction, failed_in_transaction]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

recording(Options) ->
    crema_ct:started(crema_producer:start_link(Options#{record => maps:get(record, Options, true)})).

sizes(Config) ->
    %% What librdkafka takes for too large is too large here, to the byte.
    Topic = crema_ct:topic(Config, 1),
    Options = #{kafka => #{'message.max.bytes' => 1000}},
    [Real, Recording] = [crema_ct:producer(Config, Options), recording(Options)],
    Messages = [
        #{topic => Topic, key => Key, headers => Headers, value => binary:copy(<<"v">>, Size)}
     || {Key, Headers, Rest} <- [
            {undefined, [], 964}, {<<"key">>, [], 961}, {<<>>, [{"a", <<>>}, {"b", undefined}], 958},
            {undefined, [{binary:copy(<<"n">>, 64), binary:copy(<<"h">>, 63)}], 834}
        ],
        Size <- lists:seq(Rest - 2, Rest + 2)
    ],
    Of = fun(P) ->
        {ok, Results} = crema:produce_many(P, Messages),
        [case Result of {ok, _} -> ok; {error, {Code, #{sent := false}}} -> Code end || Result <- Results]
    end,
    Expected = [ok, ok, ok, msg_size_too_large, msg_size_too_large],
    ?assertEqual(lists:append(lists:duplicate(4, Expected)), Of(Real)),
    ?assertEqual(Of(Real), Of(Recording)).

partitioners(Config) ->
    %% Keys go where librdkafka's partitioners would put them.
    Keys = [rand:bytes(Size) || Size <- lists:seq(1, 40)] ++ [<<"ada">>, <<>>, undefined],
    lists:foreach(
        fun(Name) ->
            Topic = crema_ct:topic(Config, 7),
            Options = #{kafka => #{partitioner => Name}},
            Real = crema_ct:producer(Config, Options),
            Recording = recording(Options#{record => #{Topic => 7}}),
            Messages = [#{topic => Topic, key => Key, value => <<"v">>} || Key <- Keys],
            Of = fun(P) ->
                {ok, Results} = crema:produce_many(P, Messages),
                [N || {ok, #{partition := N}} <- Results]
            end,
            ?assertEqual(Of(Real), Of(Recording))
        end,
        [consistent, murmur2, fnv1a]
    ).

refused_in_transaction(Config) ->
    %% A call that is refused as a whole, here for good, is no part of its transaction, which
    %% is committed.
    Message = #{topic => crema_ct:topic(Config, 1), value => <<"v">>},
    Id = #{'transactional.id' => crema_ct:unique(<<"id">>)},
    Options = #{max_queue_messages => 1, kafka => Id},
    Refused = fun(P) ->
        crema:transaction(P, fun(T) ->
            {ok, _} = crema:produce(T, Message),
            {error, {Code, _}} = crema:produce_many(T, [Message, Message]),
            Code
        end)
    end,
    ?assertEqual({ok, batch_too_large}, Refused(crema_ct:producer(Config, Options))),
    ?assertEqual({ok, batch_too_large}, Refused(recording(Options))),
    ?assertMatch([_], crema_test:produced()).

failed_in_transaction(_Config) ->
    %% A commit fails as it does with a broker: with the broker's error of a message, and
    %% with `inconsistent' where librdkafka has refused one.
    {ok, Cluster} = crema_cluster:start_link(#{topics => #{"t" => 1}}),
    Servers = crema_cluster:bootstrap_servers(Cluster),
    Id = fun() -> #{'transactional.id' => crema_ct:unique(<<"id">>), 'message.max.bytes' => 1000} end,
    Real = crema_ct:started(crema_producer:start_link(#{bootstrap_servers => Servers, kafka => Id()})),
    Recording = recording(#{kafka => Id()}),
    Ended = fun(P, Value) ->
        {error, {Code, #{abortable := true}}} = crema:transaction(P, fun(T) ->
            crema:produce_async(T, #{topic => t, value => Value}, #{report => none})
        end),
        Code
    end,
    ok = crema_cluster:fail(Cluster, produce, [topic_authorization_failed]),
    ok = crema_test:fail(topic_authorization_failed),
    [?assertEqual(topic_authorization_failed, Ended(P, <<"v">>)) || P <- [Real, Recording]],
    Large = binary:copy(<<"v">>, 1000),
    [?assertEqual(inconsistent, Ended(P, Large)) || P <- [Real, Recording]],
    {ok, ok} = crema:transaction(Recording, fun(T) ->
        crema:produce_async(T, #{topic => t, value => <<"v">>}, #{report => none})
    end).
