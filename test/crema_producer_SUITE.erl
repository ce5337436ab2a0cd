%% Produce calls: what they answer, and how their reports come back.
-module(crema_producer_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    sync/1, async/1, many/1, many_async/1, contents/1, large_values/1, labels_and_topics/1,
    await_again/1, await_by_others/1, await_out_of_time/1, no_late_messages/1, unclaimed/1,
    sent_reports/1, sent_reports_of_many/1, no_report/1,
    order/1, order_of_a_hurry/1, mixed_callers/1
]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        sync, async, many, many_async, contents, large_values, labels_and_topics,
        await_again, await_by_others, await_out_of_time, no_late_messages, unclaimed,
        sent_reports, sent_reports_of_many, no_report,
        order, order_of_a_hurry, mixed_callers
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

sync(Config) ->
    %% A synchronous call returns where its message went.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 2),
    Before = erlang:system_time(millisecond) - 60000,
    {ok, First} = crema:produce(P, #{topic => Topic, partition => 1, value => <<"a">>}),
    {ok, Second} = crema:produce(P, #{topic => Topic, partition => 1, value => <<"b">>}, #{}),
    ?assertMatch(#{topic := Topic, partition := 1, offset := 0}, First),
    ?assertMatch(#{topic := Topic, partition := 1, offset := 1}, Second),
    ?assert(is_mock(Config) orelse maps:get(timestamp, First) > Before),
    ?assertNot(is_map_key(label, First)),
    crema_ct:quiet().

%% librdkafka's mock cluster gives a timestamp of its own.
is_mock(Config) ->
    proplists:is_defined(cluster, Config).

async(Config) ->
    %% An asynchronous call returns a reference, by which the report is fetched
    %% once, before or after it has come.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Refs = [
        begin
            {ok, Ref} = crema:produce_async(P, #{topic => Topic, partition => 0, value => <<N>>}),
            Ref
        end
     || N <- lists:seq(0, 9)
    ],
    {Early, Late} = lists:split(5, Refs),
    ?assertEqual([0, 1, 2, 3, 4], offsets([crema:await(Ref) || Ref <- Early])),
    ok = crema:flush(P, 5000),
    ?assertMatch(#{unclaimed_reports := 5}, crema:info(P)),
    ?assertEqual([5, 6, 7, 8, 9], offsets([crema:await(Ref, 0) || Ref <- Late])),
    ?assertMatch(#{unclaimed_reports := 0}, crema:info(P)),
    ?assertMatch({error, {unknown_reference, _}}, crema:await(hd(Refs), 0)),
    crema_ct:quiet().

many(Config) ->
    %% A call with many messages, of several topics, returns a result for each,
    %% in their order.
    P = crema_ct:producer(Config),
    One = crema_ct:topic(Config, 1),
    Two = crema_ct:topic(Config, 1),
    Messages = [
        #{topic => Topic, partition => 0, value => integer_to_binary(N)}
     || N <- lists:seq(1, 500), Topic <- [One, Two]
    ],
    {ok, Results} = crema:produce_many(P, Messages),
    ?assertEqual([T || #{topic := T} <- Messages], [T || {ok, #{topic := T}} <- Results]),
    ?assertEqual(lists:seq(0, 499), [O || {ok, #{topic := T, offset := O}} <- Results, T =:= One]),
    ?assertEqual(lists:seq(0, 499), [O || {ok, #{topic := T, offset := O}} <- Results, T =:= Two]),
    ?assertMatch({ok, [{ok, _}]}, crema:produce_many(P, [hd(Messages)])).

many_async(Config) ->
    %% The results of many messages are awaited together; a bad one of them does
    %% not hide the others.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Partitions = [0, 77, 0],
    {ok, Ref} = crema:produce_many_async(P, [#{topic => Topic, partition => N} || N <- Partitions]),
    ?assertMatch(
        {ok, [{ok, #{offset := 0}}, {error, {unknown_partition, _}}, {ok, #{offset := 1}}]},
        crema:await(Ref, 10000)
    ).

contents(Config) ->
    %% Keys, values, headers and time-stamps arrive as they were sent: null and
    %% empty are kept apart, headers keep their order and repeats.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Sent = [
        {#{key => <<"k">>, value => <<"v">>}, #{key => <<"k">>, value => <<"v">>}},
        {#{}, #{key => undefined, value => undefined, headers => []}},
        {#{key => nil, value => undefined}, #{key => undefined, value => undefined}},
        {#{key => <<>>, value => <<>>}, #{key => <<>>, value => <<>>}},
        {#{key => <<>>}, #{key => <<>>, value => undefined}},
        {#{value => <<>>}, #{key => undefined, value => <<>>}},
        {#{key => ["k", [$e | <<"y">>]], value => [[], 0]}, #{key => <<"key">>, value => <<0>>}},
        {
            #{headers => [{<<"b">>, <<"1">>}, {"a", undefined}, {b, <<>>}, {"b", ["2"]}]},
            #{
                headers => [
                    {<<"b">>, <<"1">>}, {<<"a">>, undefined}, {<<"b">>, <<>>}, {<<"b">>, <<"2">>}
                ]
            }
        },
        {#{headers => #{one => <<"1">>}}, #{key => undefined, headers => [{<<"one">>, <<"1">>}]}},
        {#{headers => [{<<>>, nil}]}, #{headers => [{<<>>, undefined}], value => undefined}},
        {#{value => <<"t">>, timestamp => 1234567890123}, #{timestamp => 1234567890123}},
        {#{value => binary:copy(<<"L">>, 50000)}, #{value => binary:copy(<<"L">>, 50000)}}
    ],
    {ok, Results} = crema:produce_many(P, [M#{topic => Topic, partition => 0} || {M, _} <- Sent]),
    ?assertEqual(#{ok => length(Sent)}, crema_ct:results(Results)),
    _ = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    Handled = [Message || {_, Message} <- crema_ct:handled(length(Sent))],
    [
        ?assertEqual(Expected, maps:with(maps:keys(Expected), Message))
     || {{_, Expected}, Message} <- lists:zip(Sent, Handled)
    ].

large_values(Config) ->
    %% Values that are handed over by reference arrive whole: alone, among small
    %% ones, as parts of larger binaries, with headers, and from callers that are
    %% dead by then.
    P = crema_ct:producer(Config, #{kafka => #{'message.max.bytes' => 4000000}}),
    Topic = crema_ct:topic(Config, 1),
    Bytes = crypto:strong_rand_bytes(1000000),
    Values = [
        Bytes,
        binary:part(Bytes, 10, 20000),
        <<"small">>,
        binary:part(Bytes, 0, 600000),
        binary:part(Bytes, 0, 16384),
        binary:part(Bytes, 1, 16383),
        [binary:part(Bytes, 5, 20000), <<"tail">>]
    ],
    Caller = fun() ->
        ok = crema:produce_many_async(
            P,
            [
                #{topic => Topic, partition => 0, value => V, headers => H}
             || V <- Values, H <- [[], [{h, <<"1">>}]]
            ],
            #{report => none}
        )
    end,
    {Pid, Monitor} = spawn_monitor(Caller),
    receive
        {'DOWN', Monitor, _, Pid, Reason} -> ?assertEqual(normal, Reason)
    end,
    ok = crema:flush(P, 10000),
    _ = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    Handled = crema_ct:handled(2 * length(Values)),
    Expected = [iolist_to_binary(V) || V <- Values, _ <- [1, 2]],
    ?assertEqual(
        [erlang:md5(V) || V <- Expected], [erlang:md5(V) || {_, #{value := V}} <- Handled]
    ).

labels_and_topics(Config) ->
    %% A label, any term, comes back with the report; a topic's name may be
    %% given in any form and comes back as a binary.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Label = {self(), make_ref(), fun() -> ok end},
    {ok, Report} = crema:produce(P, #{topic => binary_to_list(Topic), label => Label}),
    ?assertMatch(#{topic := Topic, label := Label}, Report),
    ?assertMatch({ok, #{topic := <<"by_atom">>, label := undefined}},
        crema:produce(P, #{topic => by_atom, label => undefined})),
    {error, {unknown_partition, Details}} =
        crema:produce(P, #{topic => [<<"by">>, "_atom"], partition => 99, label => Label}),
    ?assertMatch(#{topic := <<"by_atom">>, partition := 99, label := Label}, Details).

await_again(_Config) ->
    %% A time-out is not final: the reference stays good until the report has
    %% been fetched, after synchronous calls as well.
    P = crema_ct:unreachable(#{kafka => #{'message.timeout.ms' => 1000}}),
    {ok, Ref} = crema:produce_async(P, #{topic => t, value => <<"x">>, label => l}),
    ?assertMatch({error, {timeout, #{ref := Ref}}}, crema:await(Ref, 0)),
    {Time, Second} = crema_ct:timed(fun() -> crema:await(Ref, 100) end),
    ?assertMatch({error, {timeout, _}}, Second),
    ?assert(Time >= 100),
    {error, {timeout, #{ref := Of, message := Text}}} =
        crema:produce(P, #{topic => t, value => <<"y">>}, #{timeout => 50}),
    %% What is known of the connection is told with it.
    ?assertNotEqual(nomatch, string:find(Text, "the last trouble was: 127.0.0.1:1")),
    {error, {msg_timed_out, Details}} = crema:await(Ref),
    ?assertMatch(#{label := l, status := not_persisted}, Details),
    ?assertMatch({error, {msg_timed_out, #{topic := <<"t">>}}}, crema:await(Of, infinity)),
    ?assertMatch({error, {unknown_reference, _}}, crema:await(Ref)),
    crema_ct:quiet().

await_by_others(_Config) ->
    %% Only the process that produced may await.
    P = crema_ct:unreachable(#{kafka => #{'message.timeout.ms' => 500}}),
    {ok, Ref} = crema:produce_async(P, #{topic => t}),
    Other = fun() -> crema:await(Ref, 100) end,
    ?assertMatch([{error, {unknown_reference, _}}], crema_ct:spawned([Other])),
    ?assertMatch({error, {msg_timed_out, _}}, crema:await(Ref)).

await_out_of_time(Config) ->
    %% A call whose report is there when its time is over gets it.
    P = crema_ct:producer(Config),
    {ok, Ref} = crema:produce_async(P, #{topic => t}),
    ok = crema:flush(P, 10000),
    ?assertMatch({ok, _}, crema:await(Ref, 0)).

no_late_messages(Config) ->
    %% Giving up leaves no message behind, however close the report was.
    P = crema_ct:producer(Config, #{kafka => #{'linger.ms' => 0}}),
    Topic = crema_ct:topic(Config, 1),
    Outcomes = [
        begin
            Result = crema:produce(P, #{topic => Topic, value => <<"x">>}, #{timeout => N rem 3}),
            crema_ct:quiet(),
            case Result of
                {ok, _} ->
                    in_time;
                {error, {timeout, #{ref := Ref}}} ->
                    ?assertMatch({ok, _}, crema:await(Ref, 10000)),
                    late
            end
        end
     || N <- lists:seq(1, 2000)
    ],
    ?assert(lists:member(late, Outcomes)),
    ?assertMatch(#{unclaimed_reports := 0, accepted := 2000, reported := 2000}, crema:info(P)).

unclaimed(Config) ->
    %% Of the reports that nobody awaits only the newest are kept.
    P = crema_ct:producer(Config, #{max_unclaimed => 5}),
    Topic = crema_ct:topic(Config, 1),
    Refs = [
        begin
            {ok, Ref} = crema:produce_async(P, #{topic => Topic, partition => 0}),
            Ref
        end
     || _ <- lists:seq(1, 8)
    ],
    ok = crema:flush(P, 10000),
    ?assertMatch(#{unclaimed_reports := 5}, crema:info(P)),
    Results = [crema:await(Ref, 1000) || Ref <- Refs],
    ?assertEqual(#{ok => 5, unknown_reference => 3}, crema_ct:results(Results)),
    ?assertEqual(#{unknown_reference => 3}, crema_ct:results(lists:sublist(Results, 3))).

sent_reports(Config) ->
    %% Reports can come as messages, each with the tag of its call.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Send = fun(Options) ->
        ok = crema:produce_async(P, #{topic => Topic, partition => 0}, Options#{report => message})
    end,
    Large = 16#FFFFFFFFFFFF,
    [Send(#{tag => Tag}) || Tag <- [3, 1, Large]],
    Send(#{}),
    ?assertMatch(
        [{3, {ok, #{offset := 0}}}, {1, {ok, _}}, {Large, {ok, _}}, {0, {ok, #{offset := 3}}}],
        crema_ct:reports(4)
    ),
    ?assertEqual(ignored, crema:reports({something, other})),
    crema_ct:quiet().

sent_reports_of_many(Config) ->
    %% The messages of one call have tags one after another, also those that are
    %% refused at once; several reports come in one message.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 1),
    {ok, _} = crema:produce(P, #{topic => Topic}),
    Partition = fun(7) -> 50; (_) -> 0 end,
    ok = crema:produce_many_async(
        P,
        [#{topic => Topic, partition => Partition(N)} || N <- lists:seq(0, 999)],
        #{report => message, tag => 5000}
    ),
    First =
        receive
            {crema_reports, _, _} = Message -> crema:reports(Message)
        after 5000 -> error(no_reports)
        end,
    Reports = First ++ crema_ct:reports(1000 - length(First)),
    ?assertEqual(lists:seq(5000, 5999), lists:sort([Tag || {Tag, _} <- Reports])),
    ?assertMatch({_, {error, {unknown_partition, _}}}, lists:keyfind(5007, 1, Reports)),
    ?assertEqual(999, length([Tag || {Tag, {ok, _}} <- Reports])),
    crema_ct:quiet().

no_report(Config) ->
    %% Who wants no report gets none, and nothing is kept.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Options = #{report => none},
    ok = crema:produce_async(P, #{topic => Topic}, Options),
    ok = crema:produce_many_async(P, [#{topic => Topic} || _ <- lists:seq(1, 99)], Options),
    ok = crema:flush(P, 10000),
    ?assertMatch(
        #{
            accepted := 100, reported := 100, unclaimed_reports := 0, queue_messages := 0,
            queue_bytes := 0
        },
        crema:info(P)
    ),
    crema_ct:quiet().

order(Config) ->
    %% What one process produces to one partition is there in that order, however
    %% the calls are mixed.
    P = crema_ct:producer(Config, #{max_queue_messages => 500}),
    Topic = crema_ct:topic(Config, 2),
    Caller = fun() ->
        Message = #{topic => Topic, partition => erlang:unique_integer([positive]) rem 2},
        Refs = [produce_in_turn(N, P, Message) || N <- lists:seq(1, 300)],
        lists:append([offsets_of(Ref) || Ref <- Refs])
    end,
    [
        ?assertEqual(lists:usort(Offsets), Offsets)
     || Offsets <- crema_ct:spawned(lists:duplicate(8, Caller))
    ].

produce_in_turn(N, P, Message) when N rem 5 =:= 0 ->
    crema:produce_many_async(P, [Message, Message#{headers => [{h, <<>>}]}, Message]);
produce_in_turn(N, P, Message) when N rem 7 =:= 0 ->
    crema:produce_async(P, Message#{value => binary:copy(<<"x">>, 20000)});
produce_in_turn(N, P, Message) when N rem 50 =:= 1 ->
    crema:produce(P, Message);
produce_in_turn(_, P, Message) ->
    crema:produce_async(P, Message).

offsets_of({ok, #{offset := Offset}}) ->
    [Offset];
offsets_of({ok, Ref}) ->
    case crema:await(Ref, 30000) of
        {ok, #{offset := Offset}} -> [Offset];
        {ok, Results} -> offsets(Results)
    end.

order_of_a_hurry(Config) ->
    %% A process that produces as fast as it can, and asks for no reports, has all its
    %% messages in the topic, in their order, whatever else it does between.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Count = 20000,
    [ok = produce_in_a_hurry(N, P, #{topic => Topic, value => <<N:32>>}) || N <- lists:seq(1, Count)],
    ok = crema:flush(P, 30000),
    Read = #{bootstrap_servers => crema_ct:bootstrap(Config), topic => Topic},
    {ok, Numbers, _} = crema:fold(Read, fun number/2, []),
    ?assertEqual(lists:seq(1, Count), lists:reverse(Numbers)).

number(#{value := <<N:32, _/binary>>}, Acc) -> {ok, [N | Acc]}.

produce_in_a_hurry(N, P, #{value := Value} = Message) when N rem 1000 =:= 1 ->
    crema:produce_async(P, Message#{value := <<Value/binary, 0:20000/unit:8>>}, #{report => none});
produce_in_a_hurry(N, P, Message) when N rem 1000 =:= 2 ->
    crema:produce_async(P, Message#{headers => [{h, <<>>}]}, #{report => none});
produce_in_a_hurry(N, P, Message) when N rem 1000 =:= 3 ->
    crema:produce_many_async(P, [Message], #{report => none});
produce_in_a_hurry(N, P, Message) when N rem 1000 =:= 4 ->
    element(1, crema:produce(P, Message));
produce_in_a_hurry(_, P, Message) ->
    crema:produce_async(P, Message, #{report => none}).

mixed_callers(Config) ->
    %% Sixty-four processes at once, in every way of calling: each message has one
    %% report, and nothing is left.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 8),
    Message = #{topic => Topic, value => binary:copy(<<"x">>, 100)},
    Ways = [
        fun() -> [crema:produce(P, Message) || _ <- lists:seq(1, 100)] end,
        fun() ->
            Refs = [crema:produce_async(P, Message) || _ <- lists:seq(1, 100)],
            [crema:await(Ref) || {ok, Ref} <- Refs]
        end,
        fun() ->
            {ok, Results} = crema:produce_many(P, lists:duplicate(100, Message)),
            Results
        end,
        fun() ->
            [
                ok = crema:produce_async(P, Message, #{report => message, tag => N})
             || N <- lists:seq(1, 100)
            ],
            Reports = crema_ct:reports(100),
            ?assertEqual(lists:seq(1, 100), lists:sort([Tag || {Tag, _} <- Reports])),
            [Result || {_, Result} <- Reports]
        end
    ],
    Callers = lists:append(lists:duplicate(16, Ways)),
    Results = crema_ct:spawned([
        fun() ->
            Own = Way(),
            crema_ct:quiet(),
            Own
        end
     || Way <- Callers
    ]),
    ?assertEqual(#{ok => 6400}, crema_ct:results(lists:append(Results))),
    Places = [{N, O} || {ok, #{partition := N, offset := O}} <- lists:append(Results)],
    ?assertEqual(6400, length(lists:usort(Places))),
    ?assertMatch(
        #{accepted := 6400, reported := 6400, queue_messages := 0, unclaimed_reports := 0},
        crema:info(P)
    ).

offsets(Results) ->
    [Offset || {ok, #{offset := Offset}} <- Results].
