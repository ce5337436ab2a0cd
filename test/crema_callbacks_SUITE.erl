%% Callbacks of delivery reports: who is called with what, and how a slow one holds
%% up those who produce.
-module(crema_callbacks_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    called_back/1, called_back_for_each/1, wrong_callbacks/1, crashes/1,
    refused_calls/1, slow_callback/1, callback_that_stops/1,
    callback_that_produces/1, variants/1,
    topic_handles/1, pools/1, transactions/1,
    many_callers/1, callers_killed/1, waiting_caller_killed/1
]).
-export([tell/3]).

-import(crema_ct_callbacks, [to/1, held_callback/1, told/0, tolds/1, rows/1, settled/1]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        called_back, called_back_for_each, wrong_callbacks, crashes,
        refused_calls, slow_callback, callback_that_produces, callback_that_stops, variants,
        topic_handles, pools, transactions,
        many_callers, callers_killed, waiting_caller_killed
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

called_back(Config) ->
    %% A function, or a function's name with arguments, gets the result of its
    %% message, with topic and label, in a process of its own.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Label = {self(), make_ref(), fun() -> ok end},
    Message = #{topic => binary_to_list(Topic), partition => 0, label => Label},
    ok = crema:produce_async(P, Message, #{report => to(self())}),
    {Reporter, Result} = told(),
    ?assertMatch({ok, #{topic := Topic, partition := 0, offset := 0, label := Label}}, Result),
    ?assertNot(lists:member(Reporter, [self(), P])),
    ok = crema:produce_async(P, Message, #{report => {?MODULE, tell, [self(), extra]}}),
    ?assertMatch({Reporter, {{ok, #{offset := 1}}, extra}}, told()),
    ok = crema:tombstone_async(P, Topic, <<"k">>, #{report => to(self())}),
    ?assertMatch({Reporter, {ok, #{offset := 2}}}, told()),
    Large = Message#{value => binary:copy(<<"x">>, 50000)},
    ok = crema:produce_async(P, Large, #{report => to(self()), on_full => error}),
    ?assertMatch({Reporter, {ok, #{offset := 3}}}, told()),
    settled(P),
    crema_ct:quiet().

called_back_for_each(Config) ->
    %% Each message of a call is called back for, those that were refused at once
    %% and those that failed later too; those of a partition in their order.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 1),
    {ok, _} = crema:produce(P, #{topic => Topic}),
    Partition = fun(7) -> 50; (_) -> 0 end,
    Messages = [#{topic => Topic, partition => Partition(N), label => N} || N <- lists:seq(1, 1000)],
    ok = crema:produce_many_async(P, Messages, #{report => to(self())}),
    Results = [Result || {_, Result} <- tolds(1000)],
    ?assertEqual(#{ok => 999, unknown_partition => 1}, crema_ct:results(Results)),
    ?assertMatch(
        [{error, {unknown_partition, #{label := 7, sent := false, topic := Topic}}}],
        [Result || {error, _} = Result <- Results]
    ),
    Delivered = [{Offset, N} || {ok, #{offset := Offset, label := N}} <- Results],
    ?assertEqual(lists:seq(1, 1000) -- [7], [N || {_, N} <- Delivered]),
    ?assertEqual(lists:seq(1, 999), [Offset || {Offset, _} <- Delivered]),
    settled(P),
    Dead = crema_ct:unreachable(#{}),
    ok = crema:produce_many_async(Dead, lists:sublist(Messages, 10), #{report => to(self())}),
    ok = crema:purge(Dead),
    ?assertEqual(#{purge_queue => 10}, crema_ct:results([Result || {_, Result} <- tolds(10)])),
    settled(Dead),
    crema_ct:quiet().

wrong_callbacks(Config) ->
    %% What cannot be called is refused before anything is sent.
    P = crema_ct:producer(Config),
    [
        ?assertMatch(
            {error, {bad_call, #{field := report}}},
            crema:produce_async(P, #{topic => t}, #{report => Report})
        )
     || Report <- [
            fun() -> ok end, fun(_, _) -> ok end, {?MODULE, tell}, {?MODULE, tell, [a | b]},
            {?MODULE, "tell", []}, {?MODULE, tell, none}, self(), []
        ]
    ],
    ?assertMatch(#{accepted := 0}, crema:info(P)).

crashes(Config) ->
    %% A callback that raises is told by an event and by the log, where nothing of
    %% the message stands; it is not called again, and the others are.
    P = crema_ct:producer(Config, #{name => ?MODULE}),
    Self = self(),
    Event = [crema, producer, callback_crashed],
    ok = crema_events:attach(
        ?MODULE, Event,
        fun(_, Measurements, Metadata, _) ->
            ok = crema_event_table:check(Event, Measurements, Metadata),
            Self ! {event, Metadata}
        end,
        none
    ),
    ok = crema_ct_callbacks:listen(error),
    try
        Crash =
            fun
                ({ok, #{label := {N, _}}}) when N rem 3 =:= 0 -> throw({thrown, N});
                ({ok, #{label := {N, _}}}) when N rem 3 =:= 1 -> exit(gone);
                ({ok, #{label := {_, Text}}}) -> atom_to_binary(Text)
            end,
        Messages = [#{topic => t, label => {N, <<"secret">>}} || N <- [0, 1, 2]],
        ok = crema:produce_many_async(P, Messages, #{report => Crash}),
        ok = crema:produce_async(P, #{topic => t}, #{report => {no_module, none, [<<"secret">>]}}),
        ok = crema:produce_async(P, #{topic => t}, #{report => to(Self)}),
        {Reporter, {ok, _}} = told(),
        ?assert(is_process_alive(Reporter)),
        Events = [receive {event, Metadata} -> Metadata end || _ <- lists:seq(1, 4)],
        ?assertEqual([P], lists:usort([Client || #{client := Client} <- Events])),
        ?assertEqual([?MODULE], lists:usort([Name || #{name := Name} <- Events])),
        ?assertEqual(
            [{error, badarg}, {error, undef}, {exit, gone}, {throw, {thrown, 0}}],
            lists:sort([{Class, Reason} || #{class := Class, reason := Reason} <- Events])
        ),
        Logged = [receive {log, Text} -> Text end || _ <- lists:seq(1, 4)],
        ?assertEqual([], [Text || Text <- Logged, string:find(Text, "secret") =/= nomatch]),
        ?assertEqual([], [Text || Text <- Logged, string:find(Text, "callback failed") =:= nomatch])
    after
        ok = crema_ct_callbacks:deaf(),
        ok = crema_events:detach(?MODULE)
    end,
    settled(P).

refused_calls(Config) ->
    %% A call that returns an error is not called back for, and nothing of it is
    %% kept.
    P = crema_ct:unreachable(#{max_queue_messages => 2}),
    Report = #{report => to(self())},
    ok = crema:produce_many_async(P, [#{topic => t}, #{topic => t}], Report),
    ?assertEqual(2, rows(P)),
    Refused = [
        {bad_message, [#{topic => t}, #{value => <<>>}], Report},
        {bad_message, [#{topic => t}, #{topic => t, key => {}}], Report},
        {bad_message, [#{topic => t} | none], Report},
        {bad_message, none, Report},
        {batch_too_large, lists:duplicate(3, #{topic => t}), Report},
        {queue_full, [#{topic => t}], Report#{on_full => error}},
        {queue_full, [#{topic => t}], Report#{full_timeout => 20}},
        {queue_full, [#{topic => t, value => binary:copy(<<"x">>, 20000)}], Report#{
            full_timeout => 20
        }}
    ],
    [
        begin
            ?assertMatch({error, {Code, _}}, crema:produce_many_async(P, Messages, Options)),
            ?assertEqual(2, rows(P))
        end
     || {Code, Messages, Options} <- Refused
    ],
    ok = crema:purge(P),
    ?assertEqual(#{purge_queue => 2}, crema_ct:results([Result || {_, Result} <- tolds(2)])),
    settled(P),
    ok = crema_producer:stop(P, 0),
    ?assertMatch({error, {closed, _}}, crema:produce_async(P, #{topic => t}, Report)),
    ?assertMatch({error, {not_found, _}}, crema:produce_async(no_producer, #{topic => t}, Report)),
    Live = crema_ct:producer(Config),
    ok = crema:produce_async(Live, #{topic => t}, Report),
    ?assertMatch({_, {ok, _}}, told()),
    crema_ct:quiet().

slow_callback(Config) ->
    %% A message keeps its place until its callback has returned: whoever produces
    %% waits for a callback that is slow, and is woken by each that returns.
    P = crema_ct:producer(Config, #{max_queue_messages => 10}),
    Slow = held_callback(self()),
    ok = crema:produce_many_async(P, lists:duplicate(10, #{topic => t}), #{report => Slow}),
    {Reporter, held} = told(),
    ok = crema:flush(P, 10000),
    ?assertMatch(#{queue_messages := 0, uncalled_reports := 10}, crema:info(P)),
    Refuse = #{on_full => error},
    ?assertMatch({error, {queue_full, _}}, crema:produce(P, #{topic => t}, Refuse)),
    ?assertMatch(
        {error, {queue_full, _}}, crema:produce_async(P, #{topic => t}, Refuse#{report => Slow})
    ),
    {Waiting, Monitor} = spawn_monitor(fun() -> {ok, _} = crema:produce(P, #{topic => t}) end),
    crema_ct:await(fun() -> maps:get(waiting_callers, crema:info(P)) =:= 1 end),
    Reporter ! go_on,
    receive
        {'DOWN', Monitor, _, Waiting, Reason} -> ?assertEqual(normal, Reason)
    after 10000 -> error({not_admitted, crema:info(P)})
    end,
    [
        begin
            {Reporter, held} = told(),
            Reporter ! go_on
        end
     || _ <- lists:seq(2, 10)
    ],
    settled(P),
    ?assertMatch(#{uncalled_reports := 0, accepted := 11}, crema:info(P)).

callback_that_produces(Config) ->
    %% A callback may produce, also with a callback; one that waits for a place
    %% that only its return would free waits no longer than its deadline.
    P = crema_ct:producer(Config, #{max_queue_messages => 1}),
    Self = self(),
    Report = fun(Result) ->
        Full = crema:produce_async(P, #{topic => t}, #{full_timeout => 100, report => none}),
        Self ! {told, self(), {Result, Full}}
    end,
    ok = crema:produce_async(P, #{topic => t}, #{report => Report}),
    ?assertMatch({_, {{ok, _}, {error, {queue_full, _}}}}, told()),
    settled(P),
    Roomy = crema_ct:producer(Config),
    Again = fun(_) -> ok = crema:produce_async(Roomy, #{topic => t}, #{report => to(Self)}) end,
    ok = crema:produce_async(Roomy, #{topic => t}, #{report => Again}),
    ?assertMatch({_, {ok, _}}, told()),
    settled(Roomy).

callback_that_stops(Config) ->
    %% A callback may stop its producer, which waits for callbacks: it returns at
    %% once. Nor can one that undoes its links keep the producer from its end.
    Self = self(),
    P = crema_ct:producer(Config),
    Stop = fun(_) -> Self ! {stopped, crema_producer:stop(P)} end,
    {Time, down} = crema_ct:timed(fun() -> down(P, Stop) end),
    ?assert(Time < 5000),
    ?assertEqual(ok, receive {stopped, Result} -> Result after 0 -> nothing end),
    Q = crema_ct:producer(Config),
    Hold = fun(_) ->
        true = unlink(Q),
        ok = crema_producer:stop(Q, 300),
        receive never -> ok end
    end,
    ?assertEqual(down, down(Q, Hold)).

down(P, Callback) ->
    Monitor = erlang:monitor(process, P),
    ok = crema:produce_async(P, #{topic => t}, #{report => Callback}),
    receive
        {'DOWN', Monitor, process, P, _} -> down
    after 10000 -> up
    end.

variants(Config) ->
    %% A variant's calls are called back for like its producer's, also where it has
    %% a client of its own.
    P = crema_ct:producer(Config),
    [
        begin
            {ok, V} = crema:variant(P, #{client => Client, topic_config => #{'compression.type' => gzip}}),
            ok = crema:produce_async(V, #{topic => Topic, label => l}, #{report => to(self())}),
            ?assertMatch({_, {ok, #{label := l}}}, told())
        end
     || {Client, Topic} <- [{shared, shared_topic}, {own, own_topic}], _ <- [1, 2]
    ],
    settled(P),
    crema_ct:quiet().

waiting_caller_killed(_Config) ->
    %% A caller that is killed waiting for a place sends nothing, and its callback
    %% is told so.
    P = crema_ct:unreachable(#{max_queue_messages => 2}),
    Self = self(),
    ok = crema:produce_many_async(P, [#{topic => t}, #{topic => t}], #{report => none}),
    Messages = [#{topic => t, label => N} || N <- [1, 2]],
    Caller = spawn(fun() -> crema:produce_many_async(P, Messages, #{report => to(Self)}) end),
    crema_ct:await(fun() -> maps:get(waiting_callers, crema:info(P)) =:= 1 end),
    ?assertEqual(2, rows(P)),
    exit(Caller, kill),
    ?assertMatch(
        [
            {error, {purge_queue, #{label := 1, sent := false, status := not_persisted}}},
            {error, {purge_queue, #{label := 2}}}
        ],
        [Result || {_, Result} <- tolds(2)]
    ),
    settled(P),
    ?assertMatch(#{accepted := 2, queue_messages := 2}, crema:info(P)).

topic_handles(Config) ->
    %% The same by a topic handle.
    P = crema_ct:producer(Config),
    {ok, Handle} = crema:topic(P, crema_ct:topic(Config, 1), #{serializer => json}),
    ok = crema:produce_async(Handle, #{value => [1], label => l}, #{report => to(self())}),
    ?assertMatch({_, {ok, #{label := l}}}, told()),
    settled(P).

pools(Config) ->
    %% And by a pool, whose members have a reporter each.
    {ok, Pool} = crema_pool:start_link(#{bootstrap_servers => crema_ct:bootstrap(Config), size => 3}),
    Labels = lists:seq(1, 300),
    [
        ok = crema:produce_async(Pool, #{topic => t, label => N}, #{report => to(self())})
     || N <- Labels
    ],
    Tolds = tolds(300),
    ?assertEqual(Labels, lists:sort([N || {_, {ok, #{label := N}}} <- Tolds])),
    ok = crema_pool:stop(Pool),
    [?assertNot(is_process_alive(Reporter)) || Reporter <- lists:usort([R || {R, _} <- Tolds])].

transactions(Config) ->
    %% Messages of a transaction are called back for, those of one that is aborted
    %% too; outside one each call is a transaction.
    P = crema_ct_transaction:producer(Config),
    Report = #{report => to(self())},
    Topic = crema_ct:topic(Config, 1),
    Produce = fun(Tx, Label) ->
        ok = crema:produce_async(Tx, #{topic => Topic, label => Label}, Report)
    end,
    {ok, ok} = crema:transaction(P, fun(Tx) -> Produce(Tx, inside) end),
    ?assertMatch({_, {ok, #{label := inside}}}, told()),
    {aborted, enough} = crema:transaction(P, fun(Tx) ->
        Produce(Tx, aborted),
        crema:abort(Tx, enough)
    end),
    ?assertMatch({_, {_, #{}}}, told()),
    Produce(P, alone),
    ?assertMatch({_, {ok, #{label := alone}}}, told()),
    settled(P),
    crema_ct:quiet().

many_callers(Config) ->
    %% Sixty-four processes at once, half of them called back: each message is
    %% reported once, and nothing is left.
    P = crema_ct:producer(Config, #{max_queue_messages => 500}),
    Message = #{topic => crema_ct:topic(Config, 8), value => binary:copy(<<"x">>, 100)},
    Self = self(),
    Back = fun(Caller) ->
        [
            ok = crema:produce_async(P, Message#{label => {Caller, N}}, #{report => to(Self)})
         || N <- lists:seq(1, 100)
        ],
        ok = crema:produce_many_async(
            P, [Message#{label => {Caller, N}} || N <- lists:seq(101, 200)], #{report => to(Self)}
        ),
        []
    end,
    Plain = fun() -> [crema:produce(P, Message) || _ <- lists:seq(1, 100)] end,
    Callers = [fun() -> Back(Caller) end || Caller <- lists:seq(1, 32)],
    Results = lists:append(crema_ct:spawned(Callers ++ lists:duplicate(32, Plain))),
    Backs = [Result || {_, Result} <- tolds(6400)],
    ?assertEqual(#{ok => 9600}, crema_ct:results(Results ++ Backs)),
    ?assertEqual(6400, length(lists:usort([Label || {ok, #{label := Label}} <- Backs]))),
    settled(P),
    ?assertMatch(
        #{accepted := 9600, reported := 9600, queue_messages := 0, uncalled_reports := 0},
        crema:info(P)
    ),
    crema_ct:quiet().

callers_killed(Config) ->
    %% Callers that are killed at any moment leave nothing behind, and what they
    %% have sent is called back for.
    P = crema_ct:producer(Config, #{max_queue_messages => 50}),
    Count = counters:new(1, []),
    Report =
        fun
            ({ok, _}) -> counters:add(Count, 1, 1);
            %% A caller that waited for a place.
            ({error, {purge_queue, #{sent := false}}}) -> ok
        end,
    Caller = fun Loop() ->
        ok = crema:produce_async(P, #{topic => t}, #{report => Report}),
        Loop()
    end,
    [
        begin
            Pids = [spawn(Caller) || _ <- lists:seq(1, 10)],
            crema_ct:await(fun() -> maps:get(accepted, crema:info(P)) > Round * 20 end),
            [exit(Pid, kill) || Pid <- Pids]
        end
     || Round <- lists:seq(1, 30)
    ],
    %% Rows of callers that were about to produce are found when the client is idle.
    Self = self(),
    Last = fun(Result) ->
        ok = Report(Result),
        Self ! {told, self(), last}
    end,
    ok = crema:flush(P, 10000),
    ok = crema:produce_async(P, #{topic => t}, #{report => Last}),
    {_, last} = told(),
    settled(P),
    ?assertEqual(maps:get(accepted, crema:info(P)), counters:get(Count, 1)),
    crema_ct:quiet().

tell(Result, Pid, Extra) ->
    Pid ! {told, self(), {Result, Extra}}.
