%% Recording producers, and what crema_test says of them.
-module(crema_test_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    as_sent/1, functions/1, refused/1, transactions/1, families/1, allowed/1,
    side_by_side/1, waits/1, failures/1, unknown_outcome/1, late/1, purged/1, queue_full/1,
    stopped/1, hurried/1, killed/1, forgotten/1, helpers/1, renewed/1, pools/1,
    variants/1, events/1, says_why/1, reconnected/1
]).

suite() -> [{timetrap, {seconds, 120}}].

all() -> [{group, parallel}].

groups() ->
    [
        {parallel, [parallel], [
            as_sent, functions, refused, transactions, families, allowed,
            side_by_side, waits, failures, unknown_outcome, late, purged, queue_full,
            stopped, hurried, killed, forgotten, helpers, renewed, pools,
            variants, events, says_why, reconnected
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

producer() -> producer(#{}).

producer(Options) ->
    crema_ct:started(crema_producer:start_link(maps:merge(#{record => true}, Options))).

values() -> [Value || #{value := Value} <- crema_test:produced()].

as_sent(_Config) ->
    %% A recording is what a broker would have got: middleware, prefix and partitioner
    %% have done their part, and the report agrees with it.
    Loud = fun(#{value := Value} = M) -> {ok, M#{value := string:uppercase(Value)}} end,
    P = producer(#{middleware => [Loud], prefix => "eu.", record => #{"eu.orders" => 1}}),
    {ok, Report} = crema:produce(P, #{
        topic => orders, key => ["a", "da"], value => <<"one">>, timestamp => 17,
        headers => #{trace => ["x", nil]}
    }),
    Expected = #{
        producer => P, topic => <<"eu.orders">>, partition => 0, offset => 0, key => <<"ada">>,
        value => <<"ONE">>, timestamp => 17,
        headers => [{<<"trace">>, <<"x">>}, {<<"trace">>, undefined}]
    },
    ?assertEqual([Expected], crema_test:produced()),
    ?assertMatch(#{}, crema_test:assert_produced(#{headers => #{"trace" => ["x", nil]}})),
    ?assertMatch(#{partition := 0, offset := 0, timestamp := 17}, Report),
    {ok, #{offset := 1}} = crema:produce(P, #{topic => orders, value => <<>>}),
    ?assertMatch(#{value := <<>>, key := undefined}, lists:last(crema_test:produced())).

functions(_Config) ->
    %% Every way to produce is recorded, and reported in its own way.
    P = producer(),
    Large = binary:copy(<<"l">>, 50000),
    {ok, _} = crema:produce(P, #{topic => t, value => <<"sync">>}),
    {ok, Ref} = crema:produce_async(P, #{topic => t, value => Large}),
    ?assert(crema:completed(Ref)),
    {ok, #{offset := _}} = crema:await(Ref),
    ?assertMatch({error, {unknown_reference, _}}, crema:await(Ref)),
    {ok, [{ok, _}, {ok, _}]} = crema:produce_many(P, [
        #{topic => t, value => <<"m1">>}, #{topic => u, value => Large}
    ]),
    ok = crema:produce_async(P, #{topic => t, value => <<"none">>}, #{report => none}),
    ok = crema:produce_async(P, #{topic => t, value => <<"sent">>}, #{report => message, tag => 7}),
    receive Sent -> ?assertMatch([{7, {ok, #{offset := _}}}], crema:reports(Sent)) end,
    Self = self(),
    ok = crema:produce_async(P, #{topic => t, value => <<"called">>}, #{
        report => fun(Result) -> Self ! {called, Result} end
    }),
    receive {called, {ok, #{topic := <<"t">>}}} -> ok end,
    {ok, _} = crema:tombstone(P, t, <<"gone">>),
    ok = crema:buffer(P, #{topic => t, value => <<"buffered">>}),
    {ok, [{ok, _}]} = crema:flush_buffer(P),
    {ok, Topic} = crema:topic(P, json, #{serializer => json, pipeline => 2}),
    {ok, Pushed} = crema:push(Topic, #{value => #{a => 1}}),
    {ok, _} = crema:await(Pushed),
    ?assertEqual(ok, crema:flush(P, 1000)),
    ?assertEqual(0, crema:queue_size(P)),
    ?assertEqual(
        [
            <<"sync">>, Large, <<"m1">>, Large, <<"none">>, <<"sent">>, <<"called">>, undefined,
            <<"buffered">>, <<"{\"a\":1}">>
        ],
        values()
    ).

refused(_Config) ->
    %% What a real producer refuses is refused here, and not produced.
    P = producer(#{record => #{"two" => 2}, max_payload_size => 2000000}),
    ?assertMatch({error, {bad_message, _}}, crema:produce(P, #{topic => t, value => 1.0})),
    ?assertMatch(
        {error, {unknown_partition, #{sent := false}}},
        crema:produce(P, #{topic => two, partition => 2, value => <<"x">>})
    ),
    Large = binary:copy(<<"l">>, 1500000),
    ?assertMatch({error, {msg_size_too_large, _}}, crema:produce(P, #{topic => t, value => Large})),
    process_flag(trap_exit, true),
    Wrong = #{record => true, kafka => #{'compression.type' => none_such}},
    ?assertMatch({error, {bad_options, _}}, crema_producer:start_link(Wrong)),
    ?assertMatch({error, {bad_options, _}}, crema_producer:start_link(#{record => yes})),
    ?assertEqual([], values()).

transactional() ->
    Id = integer_to_binary(erlang:unique_integer([positive])),
    producer(#{kafka => #{'transactional.id' => Id}}).

transactions(_Config) ->
    %% What is committed was produced; what is aborted is told on its own; until then
    %% it is pending. A message that fails fails the commit.
    P = transactional(),
    {ok, done} = crema:transaction(P, fun(T) ->
        {ok, _} = crema:produce(T, #{topic => t, value => <<"in">>}),
        ?assertMatch([#{value := <<"in">>}], crema_test:pending()),
        ok = crema_test:refute_produced(#{topic => t}),
        done
    end),
    {aborted, why} = crema:transaction(P, fun(T) ->
        {ok, _} = crema:produce(T, #{topic => t, value => <<"out">>}),
        crema:abort(T, why)
    end),
    {ok, _} = crema:produce(P, #{topic => t, value => <<"alone">>}),
    ?assertEqual([<<"in">>, <<"alone">>], values()),
    ?assertMatch([#{value := <<"out">>}], crema_test:aborted()),
    ok = crema_test:fail(topic_authorization_failed),
    {error, {_, _}} = crema:transaction(P, fun(T) ->
        {ok, _} = crema:produce_async(T, #{topic => t, value => <<"fails">>}),
        {ok, _} = crema:produce(T, #{topic => t, value => <<"beside">>})
    end),
    ?assertEqual([<<"in">>, <<"alone">>], values()),
    ?assertMatch([#{error := topic_authorization_failed}], crema_test:failed()),
    ?assertMatch([#{value := <<"out">>}, #{value := <<"beside">>}], crema_test:aborted()),
    %% A call that is refused as a whole is no part of it.
    ok = crema_test:fail(queue_full),
    {ok, {error, {queue_full, _}}} = crema:transaction(P, fun(T) ->
        crema:produce(T, #{topic => t, value => <<"refused">>}, #{on_full => error})
    end),
    Gone = self(),
    spawn_monitor(fun() ->
        crema:transaction(P, fun(T) ->
            {ok, _} = crema:produce(T, #{topic => t, value => <<"dies">>}),
            Gone ! open,
            exit(gone)
        end)
    end),
    receive open -> ok end,
    {ok, _} = crema:produce(P, #{topic => t, value => <<"after">>}),
    ?assertEqual([<<"in">>, <<"alone">>, <<"after">>], values()).

families(_Config) ->
    %% What the processes produce that a test has started, or that work for it, is the
    %% test's; what a stranger produces by the same producer is not.
    P = producer(),
    Self = self(),
    Produce = fun(Value) -> {ok, _} = crema:produce(P, #{topic => t, value => Value}) end,
    proc_lib:spawn_link(fun() ->
        Produce(<<"child">>),
        proc_lib:spawn_link(fun() -> Produce(<<"grandchild">>), Self ! done end)
    end),
    receive done -> ok end,
    {_, Task} = spawn_monitor(fun() -> put('$callers', [Self]), Produce(<<"task">>) end),
    {_, Stranger} = spawn_monitor(fun() -> Produce(<<"stranger">>) end),
    [receive {'DOWN', M, _, _, Why} -> normal = Why end || M <- [Task, Stranger]],
    ?assertEqual([<<"child">>, <<"grandchild">>, <<"task">>], values()).

%% A process that belongs to nobody, and produces when told to.
stranger(P) ->
    spawn(fun() -> stranger_loop(P) end).

stranger_loop(P) ->
    receive
        {produce, Value, From} ->
            From ! {produced, crema:produce(P, #{topic => t, value => Value})},
            stranger_loop(P)
    end.

told(Stranger, Value) ->
    Stranger ! {produce, Value, self()},
    receive {produced, Result} -> Result end.

allowed(_Config) ->
    %% Who is allowed one process sees what that produces; nobody else may be allowed
    %% it meanwhile, and with the test it ends.
    P = producer(),
    Stranger = stranger(P),
    Self = self(),
    {ok, _} = told(Stranger, <<"before">>),
    ok = crema_test:allow(Stranger),
    ok = crema_test:allow(Stranger),
    {ok, _} = told(Stranger, <<"allowed">>),
    ?assertEqual([<<"allowed">>], values()),
    ok = crema_test:fail(msg_timed_out),
    ?assertMatch({error, {msg_timed_out, _}}, told(Stranger, <<"fails">>)),
    Other = fun() ->
        try crema_test:allow(Stranger) catch error:{allowed_already, #{by := By}} -> Self ! {by, By} end
    end,
    spawn(Other),
    receive {by, By} -> ?assertEqual(Self, By) end,
    ?assertError({not_running, none_such}, crema_test:allow(none_such)).

side_by_side(_Config) ->
    %% Fifty tests by one producer see their own messages each, with offsets from 0 on.
    P = producer(),
    Run = fun(N) ->
        Values = [integer_to_binary(N * 1000 + I) || I <- lists:seq(1, 20)],
        Reports = [crema:produce(P, #{topic => t, partition => 0, value => V}) || V <- Values],
        ?assertEqual(lists:seq(0, 19), [O || {ok, #{offset := O}} <- Reports]),
        ?assertEqual(Values, values())
    end,
    Tests = [spawn_monitor(fun() -> Run(N) end) || N <- lists:seq(1, 50)],
    [receive {'DOWN', M, _, _, Why} -> ?assertEqual(normal, Why) end || {_, M} <- Tests].

waits(_Config) ->
    %% An assertion with a time waits for a message and no longer than for it; a
    %% refutation with a time sees what comes within it.
    P = producer(),
    Later = fun(Value) ->
        Self = self(),
        spawn_link(fun() ->
            put('$callers', [Self]),
            receive after 50 -> crema:produce(P, #{topic => t, value => Value}) end
        end)
    end,
    _ = Later(<<"a">>),
    ?assertMatch(#{value := <<"a">>}, crema_test:assert_produced(#{value => "a"}, 10000)),
    _ = Later(<<"b">>),
    ?assertError({produced, _}, crema_test:refute_produced(#{value => "b"}, 10000)),
    ok = crema_test:refute_produced(fun(#{value := V}) -> V =:= <<"c">> end, 1).

failures(_Config) ->
    %% Messages that match fail so many times, with any of librdkafka's codes; then all
    %% is well again.
    P = producer(),
    ok = crema_test:fail(request_timed_out, #{times => 2, match => #{topic => bad}}),
    {ok, _} = crema:produce(P, #{topic => good, value => <<"1">>}),
    {ok, Results} = crema:produce_many(P, [#{topic => T, value => <<"2">>} || T <- [bad, good, bad, bad]]),
    ?assertMatch(
        [{error, {request_timed_out, #{status := not_persisted}}}, {ok, _},
            {error, {request_timed_out, #{topic := <<"bad">>}}}, {ok, _}],
        Results
    ),
    ?assertEqual(3, length(crema_test:produced())),
    ?assertMatch([#{error := request_timed_out}, _], crema_test:failed()),
    ok = crema_test:fail(topic_authorization_failed, #{times => infinity}),
    {error, {topic_authorization_failed, _}} = crema:produce(P, #{topic => t}),
    {error, {topic_authorization_failed, _}} = crema:produce(P, #{topic => t}),
    ok = crema_test:reset(),
    ?assertEqual({[], []}, {crema_test:produced(), crema_test:failed()}),
    {ok, _} = crema:produce(P, #{topic => t}),
    ?assertError({unknown_code, no_such_code}, crema_test:fail(no_such_code)),
    ?assertError({bad_option, {tims, 1}}, crema_test:fail(msg_timed_out, #{tims => 1})).

unknown_outcome(_Config) ->
    %% A failure may leave open whether the message is in the log; a function may
    %% choose, and one that raises chooses nothing.
    P = producer(),
    ok = crema_test:fail(msg_timed_out, #{status => possibly_persisted}),
    ?assertMatch(
        {error, {msg_timed_out, #{status := possibly_persisted}}}, crema:produce(P, #{topic => t})
    ),
    ok = crema_test:fail(msg_timed_out, #{match => fun(_) -> error(oops) end}),
    {ok, _} = crema:produce(P, #{topic => t, value => <<"v">>}),
    ?assertEqual([<<"v">>], values()).

late(_Config) ->
    %% A delayed message is pending until it is reported, which time-outs and flushes have
    %% to do with; others are reported before it.
    P = producer(),
    ok = crema_test:delay(60000, #{times => 1}),
    {error, {timeout, #{ref := Ref}}} =
        crema:produce(P, #{topic => t, value => <<"v">>}, #{timeout => 1}),
    ?assertMatch([#{value := <<"v">>}], crema_test:pending()),
    ?assertNot(crema:completed(Ref)),
    ?assertEqual(1, crema:queue_size(P)),
    ?assertMatch({error, {timeout, _}}, crema:flush(P, 1)),
    ?assertMatch({error, {timeout, #{ref := Ref}}}, crema:await(Ref, 1)),
    {ok, _} = crema:produce(P, #{topic => t, value => <<"w">>}),
    ?assertEqual([<<"w">>], values()),
    ok = crema:purge(P),
    {error, {purge_queue, _}} = crema:await(Ref),
    ok = crema_test:delay(50, #{times => 1}),
    {ok, Flushed} = crema:produce_async(P, #{topic => t, value => <<"x">>}),
    ok = crema:flush(P, 20000),
    ?assert(crema:completed(Flushed)),
    ?assertEqual([<<"w">>, <<"x">>], values()).

purged(_Config) ->
    %% A purge reports what is late as not sent, and nothing of it was produced.
    P = producer(),
    ok = crema_test:delay(60000),
    {ok, Ref} = crema:produce_async(P, #{topic => t, value => <<"v">>}),
    ok = crema:purge(P),
    ?assertMatch({error, {purge_queue, #{status := not_persisted}}}, crema:await(Ref, 0)),
    ?assertMatch([#{error := purge_queue}], crema_test:failed()),
    ?assertEqual([], values()).

queue_full(_Config) ->
    %% With a code that is no report's, the whole call is refused.
    P = producer(),
    ok = crema_test:fail(queue_full, #{match => #{value => "full"}}),
    Messages = [#{topic => t, value => V} || V <- [<<"a">>, <<"full">>]],
    ?assertMatch({error, {queue_full, _}}, crema:produce_many(P, Messages, #{on_full => error})),
    ?assertEqual([], values()),
    {ok, [{ok, _}, {ok, _}]} = crema:produce_many(P, Messages),
    %% So is what would never have a place.
    Small = producer(#{max_queue_messages => 2}),
    {ok, _} = crema:produce_many(Small, Messages),
    ?assertMatch(
        {error, {batch_too_large, _}}, crema:produce_many(Small, Messages ++ Messages)
    ).

stopped(_Config) ->
    %% What was produced can be asserted after the producer's end; what is late then is
    %% flushed, or reported as purged, and can be awaited.
    P = producer(#{flush_timeout => 5000}),
    ok = crema_test:delay(50, #{times => 1}),
    {ok, Flushed} = crema:produce_async(P, #{topic => t, value => <<"flushed">>}),
    ok = crema_producer:stop(P),
    ?assertMatch({ok, _}, crema:await(Flushed, 5000)),
    ?assertMatch({error, {closed, _}}, crema:produce(P, #{topic => t})),
    Q = producer(),
    ok = crema_test:delay(60000),
    {ok, Purged} = crema:produce_async(Q, #{topic => t, value => <<"purged">>}),
    ok = crema_producer:stop(Q, 0),
    ?assertMatch({error, {purge_queue, _}}, crema:await(Purged, 5000)),
    ?assertEqual([<<"flushed">>], values()).

hurried(_Config) ->
    %% A stop that flushes is cut short by another; what is late is purged and reported.
    P = producer(#{flush_timeout => 60000}),
    ok = crema_test:delay(60000),
    {ok, Ref} = crema:produce_async(P, #{topic => t, value => <<"v">>}),
    {_, Monitor} = spawn_monitor(fun() -> crema_producer:stop(P) end),
    crema_ct:await(fun() -> maps:get(state, crema:status(P)) =:= stopping end),
    ok = crema_producer:stop(P, 0),
    receive {'DOWN', Monitor, _, _, Why} -> ?assertEqual(normal, Why) end,
    ?assertMatch({error, {purge_queue, _}}, crema:await(Ref, 5000)).

helpers(_Config) ->
    %% What a buffer sends is the producer's: its test's, or who is allowed it.
    Self = self(),
    {Holder, Monitor} = spawn_monitor(fun() ->
        {ok, P} = crema_producer:start_link(#{record => true}),
        Self ! {producer, P},
        receive stop -> [<<"before">>] = values() end
    end),
    P = receive {producer, Started} -> Started end,
    Buffer = fun(Value) ->
        ok = crema:buffer(P, #{topic => t, value => Value}),
        {ok, [{ok, _}]} = crema:flush_buffer(P)
    end,
    Buffer(<<"before">>),
    ?assertEqual([], values()),
    ok = crema_test:allow(P),
    Buffer(<<"after">>),
    ?assertEqual([<<"after">>], values()),
    ok = crema_test:reset(),
    Holder ! stop,
    receive {'DOWN', Monitor, _, _, Why} -> ?assertEqual(normal, Why) end.

renewed(_Config) ->
    %% Another client in its place records as the one before, and one that cannot be
    %% opened leaves nothing behind.
    P = producer(),
    {ok, _} = crema:produce(P, #{topic => t, value => <<"a">>}),
    ok = crema_renewal:renew(P, #{kafka => #{'linger.ms' => 7}}),
    {ok, _} = crema:produce(P, #{topic => t, value => <<"b">>}),
    ?assertMatch({error, {bad_options, _}}, crema_renewal:renew(P, #{kafka => #{acks => none_such}})),
    {ok, _} = crema:produce(P, #{topic => t, value => <<"c">>}),
    ?assertEqual([<<"a">>, <<"b">>, <<"c">>], values()),
    ?assertMatch(#{queue_messages := 0, delivered := _}, crema:info(P)),
    {links, Links} = process_info(P, links),
    ?assertEqual(1, length([Pid || Pid <- Links, is_recorder(Pid)])).

is_recorder(Pid) when is_pid(Pid) ->
    {dictionary, Known} = process_info(Pid, dictionary),
    proplists:get_value('$initial_call', Known) =:= {crema_recorder, init, 1};
is_recorder(_) ->
    false.

killed(_Config) ->
    %% A producer that is killed leaves what it has recorded, and its reports.
    P = producer(),
    Monitor = erlang:monitor(process, P),
    {ok, Ref} = crema:produce_async(P, #{topic => t, value => <<"v">>}),
    true = exit(P, kill),
    receive {'DOWN', Monitor, _, _, killed} -> ok end,
    ?assertMatch({ok, #{offset := 0}}, crema:await(Ref, 5000)),
    ?assertEqual([<<"v">>], values()).

forgotten(_Config) ->
    %% With a test go its recordings, rules and what it was allowed; what an application
    %% produces by itself is kept up to a bound.
    P = producer(),
    Stranger = stranger(P),
    {_, Monitor} = spawn_monitor(fun() ->
        ok = crema_test:allow(Stranger),
        {ok, _} = told(Stranger, <<"its">>),
        ok = crema_test:fail(msg_timed_out, #{times => infinity}),
        ok = crema_test:delay(60000)
    end),
    receive {'DOWN', Monitor, _, _, Why} -> ?assertEqual(normal, Why) end,
    crema_ct:await(fun() -> not lists:member(Stranger, owners()) end),
    ok = crema_test:allow(Stranger),
    {ok, _} = told(Stranger, <<"mine">>),
    ?assertEqual([<<"mine">>], values()),
    ok = crema_test:reset(),
    Many = [#{topic => t, value => <<>>} || _ <- lists:seq(1, 6000)],
    {ok, _} = crema:produce_many(P, Many),
    {ok, _} = crema:produce_many(P, Many),
    ?assertEqual(10000, length(crema_test:produced())).

%% Of all recordings, by the server's state.
owners() ->
    State = sys:get_state(crema_recordings),
    [element(3, Row) || Row <- maps:values(element(3, State))].

pools(_Config) ->
    %% The members of a pool record as one.
    Name = list_to_atom(atom_to_list(?MODULE) ++ "_pool"),
    {ok, Pool} = crema_pool:start_link(#{name => Name, size => 3, record => true}),
    [{ok, _} = crema:produce(Name, #{topic => t, value => <<N>>}) || N <- lists:seq(1, 9)],
    {ok, _} = crema_pool:with(Pool, fun(Member) ->
        crema:produce(Member, #{topic => t, value => <<10>>})
    end),
    ?assertEqual([<<N>> || N <- lists:seq(1, 10)], values()).

variants(_Config) ->
    %% Variants record as their producer does, also with clients of their own; what
    %% librdkafka refuses of their topics' configuration is refused.
    P = producer(),
    Gzip = #{topic_config => #{'compression.type' => gzip}},
    {ok, Shared} = crema:variant(P, Gzip),
    {ok, Own} = crema:variant(P, Gzip#{client => own}),
    {ok, _} = crema:produce(Shared, #{topic => t, value => <<"shared">>}),
    {ok, _} = crema:produce(Own, #{topic => t, value => <<"own">>}),
    ?assertEqual([<<"shared">>, <<"own">>], values()),
    Wrong = #{topic_config => #{'compression.type' => none_such}},
    ?assertMatch({error, {bad_options, _}}, crema:variant(P, Wrong)).

events(_Config) ->
    %% Reports are told by events as those of real producers.
    P = producer(#{events => [reports]}),
    Self = self(),
    Handler = {?MODULE, P},
    ok = crema_events:attach(Handler, [crema, producer, reported], fun(_, M, #{client := C} = Meta, _) ->
        C =:= P andalso (Self ! {reported, M, Meta})
    end, none),
    ok = crema_test:fail(msg_timed_out, #{match => #{value => "no"}}),
    {ok, _} = crema:produce_many(P, [#{topic => t, value => V} || V <- [<<"yes">>, <<"no">>]]),
    receive
        {reported, Measured, Metadata} ->
            ?assertMatch(#{acknowledged := 1, failed := 1, unlisted := 0}, Measured),
            ?assertMatch(#{failures := #{msg_timed_out := 1}, reports := [_, _]}, Metadata)
    end,
    ok = crema_events:detach(Handler).

says_why(_Config) ->
    %% What is missed is told beside what there is, and a field that is none is refused.
    P = producer(),
    {ok, _} = crema:produce(P, #{topic => t, value => <<"there">>}),
    ok = crema_test:fail(msg_timed_out),
    {error, _} = crema:produce(P, #{topic => t, value => <<"failed">>}),
    Expected = #{value => <<"missed">>},
    ?assertError(
        {not_produced, #{expected := Expected, produced := [#{value := <<"there">>}], failed := [_]}},
        crema_test:assert_produced(Expected)
    ),
    ?assertError(
        {produced, #{message := #{value := <<"there">>}}}, crema_test:refute_produced(#{topic => "t"})
    ),
    ?assertError({not_a_field, vlaue}, crema_test:assert_produced(#{vlaue => 1})).

reconnected(_Config) ->
    %% One that was disconnected, or connects at its first use, records all the same.
    P = producer(#{connect => use}),
    ?assertMatch(#{state := idle}, crema:status(P)),
    {ok, Ref} = crema:produce_async(P, #{topic => t, value => <<"a">>}),
    ok = crema:disconnect(P),
    ?assertMatch({ok, _}, crema:await(Ref, 5000)),
    {ok, _} = crema:produce(P, #{topic => t, value => <<"b">>}),
    ok = crema:await_ready(P, 5000),
    ?assertEqual([<<"a">>, <<"b">>], values()).
