%% Variants that have a client of their own.
-module(crema_own_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    own_client/1, own_clients_are_shared/1, own_client_restarts/1, own_client_is_away/1,
    own_client_is_flushed/1,
    own_client_ends_with_its_producer/1, own_client_is_refused/1, own_client_keeps_ending/1
]).

-import(crema_ct_variant, [loose/1, loose/2, variant/2, message/0]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        own_client, own_clients_are_shared, own_client_restarts, own_client_is_away,
        own_client_is_flushed,
        own_client_ends_with_its_producer, own_client_is_refused, own_client_keeps_ending
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

own_client(Config) ->
    %% A variant with a client of its own uses a topic as it likes; its calls,
    %% flushes and counts are that client's.
    P = loose(Config),
    V = variant(P, #{client => own, topic_config => #{acks => 0}, timeout => 20000}),
    Topic = crema_ct:topic(Config, 1),
    {ok, #{offset := 0}} = crema:produce(P, #{topic => Topic, partition => 0}),
    {ok, #{offset := None}} = crema:produce(V, #{topic => Topic, partition => 0}),
    ?assert(None < 0),
    crema_ct:await(fun() ->
        {ok, #{offset := Offset}} = crema:produce(P, #{topic => Topic, partition => 0}),
        Offset >= 2
    end),
    ?assertMatch(#{accepted := 1}, crema:info(V)),
    ok = crema:flush(V, 10000),
    ok = crema:await_ready(V, 10000),
    ?assertNotEqual(crema_registry:whereis_name(V), P),
    Nested = variant(V, #{timeout => 10000}),
    ?assertEqual(crema_registry:whereis_name(V), crema_registry:whereis_name(Nested)),
    Shared = variant(V, #{client => shared}),
    ?assertMatch({error, {topic_config_conflict, _}}, crema:produce(Shared, #{topic => Topic})).

own_clients_are_shared(Config) ->
    %% Variants of one configuration have one client, whoever asks first.
    P = loose(Config),
    Options = #{client => own, topic_config => #{acks => 1}},
    Pids = crema_ct:spawned([
        fun() -> crema_registry:whereis_name(variant(P, Options)) end
     || _ <- lists:seq(1, 20)
    ]),
    ?assertMatch([Own] when Own =/= P, lists:usort(Pids)),
    Other = variant(P, #{client => own, topic_config => #{acks => 0}}),
    ?assertNot(lists:member(crema_registry:whereis_name(Other), Pids)).

own_client_restarts(Config) ->
    %% A client of its own that dies is started again, and the producer and its
    %% variant go on.
    P = loose(Config),
    V = variant(P, #{client => own, topic_config => #{acks => 1}}),
    Message = #{topic => crema_ct:topic(Config, 1)},
    {ok, _} = crema:produce(V, Message),
    Own = crema_registry:whereis_name(V),
    Monitor = erlang:monitor(process, Own),
    exit(Own, kill),
    receive
        {'DOWN', Monitor, _, _, _} -> ok
    end,
    crema_ct:await(fun() ->
        case crema:produce(V, Message) of
            {ok, _} -> true;
            {error, {Code, _}} -> Code
        end
    end),
    ?assertNotEqual(Own, crema_registry:whereis_name(V)),
    %% Also when it was stopped, and nobody starts it.
    ok = crema_producer:stop(crema_registry:whereis_name(V)),
    crema_ct:await(fun() -> element(1, crema:produce(V, Message)) =:= ok end),
    ?assert(is_process_alive(P)).

own_client_is_away(Config) ->
    %% While a client of its own is started again a variant stands for nothing else: what
    %% is asked of it, a stop say, is not asked of the producer.
    P = loose(Config),
    V = variant(P, #{client => own, topic_config => #{acks => 1}}),
    Own = crema_registry:whereis_name(V),
    {dictionary, Dictionary} = process_info(Own, dictionary),
    [Supervisor | _] = proplists:get_value('$ancestors', Dictionary),
    ok = sys:suspend(Supervisor),
    exit(Own, kill),
    crema_ct:await(fun() -> crema_registry:owns(P) =:= [] end),
    ?assertEqual(crema:status(no_such_producer), crema:status(V)),
    [
        ?assertMatch({error, {closed, #{message := <<"the variant's client", _/binary>>}}}, Answer)
     || Answer <- [
            crema:queue_size(V), crema:disconnect(V), crema:await_ready(V, 0), crema_renewal:renew(V)
        ]
    ],
    ?assertMatch({error, {not_found, _}}, crema:pause(V, all)),
    ok = crema_producer:stop(V),
    ?assert(is_process_alive(P)),
    ok = sys:resume(Supervisor),
    crema_ct:await(fun() -> element(1, crema:produce(V, message())) =:= ok end),
    ok = crema_producer:stop(V),
    ?assert(is_process_alive(P)).

own_client_is_flushed(Config) ->
    %% Stopping a producer flushes the clients of its variants as well: nothing
    %% that was accepted is lost.
    P = loose(Config, #{kafka => #{'linger.ms' => 500}}),
    V = variant(P, #{client => own, topic_config => #{acks => 1}}),
    Topic = crema_ct:topic(Config, 1),
    Messages = [#{topic => Topic, partition => 0} || _ <- lists:seq(1, 100)],
    ok = crema:produce_many_async(V, Messages, #{report => message}),
    ok = crema_producer:stop(P),
    ?assertEqual(#{ok => 100}, crema_ct:results([R || {_, R} <- crema_ct:reports(100)])).

own_client_ends_with_its_producer(Config) ->
    %% However a producer ends, the clients of its variants do, and leave nothing.
    Ends = [fun(P) -> crema_producer:stop(P) end, fun(P) -> exit(P, kill) end],
    [
        begin
            P = loose(Config),
            V = variant(P, #{client => own, topic_config => #{acks => 1}}),
            Own = crema_registry:whereis_name(V),
            Monitor = erlang:monitor(process, Own),
            _ = End(P),
            receive
                {'DOWN', Monitor, _, _, _} -> ok
            after 10000 -> error({alive, Own})
            end,
            crema_ct:await(fun() -> crema_registry:own(P, #{<<"acks">> => <<"1">>}) =:= none end),
            ?assertMatch({error, {closed, _}}, crema:produce(V, message()))
        end
     || End <- Ends
    ].

own_client_is_refused(Config) ->
    %% A second client is told what is wrong with it, and one that would fence the
    %% first is not started.
    Strict = crema_ct:producer(Config),
    Own = fun(P, Properties) -> crema:variant(P, #{client => own, topic_config => Properties}) end,
    {error, {bad_options, #{message := Text}}} = Own(Strict, #{acks => 1}),
    ?assertMatch({match, _}, re:run(Text, "ordering")),
    ?assertMatch({error, {bad_options, _}}, Own(Strict, #{'compression.type' => fast})),
    Transactional = crema_ct:producer(Config, #{
        kafka => #{'transactional.id' => crema_ct:unique(<<"id">>)}
    }),
    {error, {bad_options, #{message := Why}}} = Own(Transactional, #{'compression.type' => gzip}),
    ?assertMatch({match, _}, re:run(Why, "fence")),
    ?assertMatch({ok, _}, Own(Strict, #{'compression.type' => gzip})).

own_client_keeps_ending(Config) ->
    %% A client of its own that ends again and again ends its producer as well, for
    %% their supervisor to judge; what that has accepted is still delivered.
    P = loose(Config, #{kafka => #{'linger.ms' => 300}}),
    _ = variant(P, #{client => own, topic_config => #{acks => 1}}),
    Monitor = erlang:monitor(process, P),
    ok = crema:produce_async(P, #{topic => crema_ct:topic(Config, 1)}, #{report => message}),
    Kill = fun Kill() ->
        _ = [exit(Own, kill) || {_, Own} <- crema_registry:owns(P)],
        receive
            {'DOWN', Monitor, _, _, Reason} -> Reason
        after 20 -> Kill()
        end
    end,
    %% Not `shutdown', after which none would start it again.
    ?assertEqual({own_clients, shutdown}, Kill()),
    ?assertMatch([{_, {ok, _}}], crema_ct:reports(1)).
