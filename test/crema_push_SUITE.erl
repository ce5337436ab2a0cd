%% Messages that are pushed through topic handles: their pipelines, their batches,
%% and what becomes of them at the end of a producer.
-module(crema_push_SUITE).

-include_lib("stdlib/include/assert.hrl").

-behaviour(crema_validator).
-behaviour(crema_middleware).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    strict_pipeline/1, loose_pipeline/1, dropped_in_turn/1, crashing_encoder/1, full_pipeline/1,
    full_batches/1, forced_batches/1, adaptive_batches/1, places_in_batches/1, awaited/1,
    refused_batch/1, raising_batch/1,
    stopped_producer/1, killed_producer/1, killed_process/1, producer_anew/1, closed/1,
    many_callers/1
]).
-export([validate/3, handle_message/2]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        strict_pipeline, loose_pipeline, dropped_in_turn, crashing_encoder, full_pipeline,
        full_batches, forced_batches, adaptive_batches, places_in_batches, awaited,
        refused_batch, raising_batch,
        stopped_producer, killed_producer, killed_process, producer_anew, closed,
        many_callers
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

validate({bad, Reason}, _Data, _Args) -> {error, Reason};
validate(_, _, _) -> ok.

handle_message(#{label := skip}, _Args) -> skip;
handle_message(#{label := {no, Reason}}, _Args) -> {error, Reason};
handle_message(Message, _Args) -> {ok, Message}.

%% ---- pipelines -----------------------------------------------------------------

strict_pipeline(Config) ->
    %% Messages that are encoded in the reverse order are sent in the order in
    %% which they were pushed.
    {Refs, Encoders} = four_in_the_pipeline(Config, strict),
    [release(maps:get(N, Encoders)) || N <- [3, 2, 1, 0]],
    ?assertEqual([0, 1, 2, 3], offsets(Refs)).

loose_pipeline(Config) ->
    %% Unless order is given up: then they are sent as they are ready.
    {Refs, Encoders} = four_in_the_pipeline(Config, loose),
    Offsets = [
        begin
            release(maps:get(N, Encoders)),
            offsets([lists:nth(N + 1, Refs)])
        end
     || N <- [3, 2, 1, 0]
    ],
    ?assertEqual([[0], [1], [2], [3]], Offsets).

%% Each held by an encoder until it is let go.
four_in_the_pipeline(Config, Ordering) ->
    {P, Topic} = start(Config, #{}),
    {ok, Handle} = crema:topic(P, Topic, gated(#{pipeline => 4, ordering => Ordering})),
    Refs = [pushed(Handle, N) || N <- [0, 1, 2, 3]],
    Encoders = maps:from_list([encoding() || _ <- Refs]),
    ?assertEqual([0, 1, 2, 3], maps:keys(Encoders)),
    {Refs, Encoders}.

dropped_in_turn(Config) ->
    %% A message that is refused or skipped in the pipeline gets its verdict and
    %% lets the next pass.
    {P, Topic} = start(Config, #{}),
    {ok, Handle} = crema:topic(P, Topic, #{
        pipeline => 2, serializer => term, validator => ?MODULE, prepend => [?MODULE]
    }),
    Push = fun(Value, Label) ->
        {ok, Ref} = crema:push(Handle, #{value => Value, partition => 0, label => Label}),
        Ref
    end,
    Refs = [Push(1, l), Push({bad, taste}, l), Push(2, skip), Push(3, {no, reason}), Push(4, l)],
    [First, Refused, Skipped, No, Last] = [crema:await(Ref, 10000) || Ref <- Refs],
    ?assertMatch({ok, #{offset := 0, label := l}}, First),
    {error, {bad_message, Details}} = Refused,
    ?assertMatch(
        #{topic := Topic, label := l, status := not_persisted, reason := taste}, Details
    ),
    ?assertEqual({ok, skipped}, Skipped),
    ?assertMatch({error, {middleware, #{label := {no, reason}}}}, No),
    ?assertMatch({ok, #{offset := 1}}, Last),
    crema_ct:quiet().

crashing_encoder(Config) ->
    %% A crash in the pipeline, of any kind, fails its one message with the
    %% reason; the others are sent, in order, and the encoder is replaced.
    {P, Topic} = start(Config, #{}),
    Crash = fun
        (crash, _) -> error(on_purpose);
        (exit, _) -> exit(on_purpose);
        (kill, _) -> exit(self(), kill);
        (_, _) -> ok
    end,
    {ok, Handle} = crema:topic(P, Topic, #{pipeline => 2, serializer => term, validator => Crash}),
    Values = [1, crash, 2, exit, 3, kill, 4, crash, crash, crash, 5],
    Refs = [pushed(Handle, Value) || Value <- Values],
    Results = [crema:await(Ref, 10000) || Ref <- Refs],
    ?assertEqual([0, 1, 2, 3, 4], [Offset || {ok, #{offset := Offset}} <- Results]),
    ?assertEqual(#{ok => 5, callback_failed => 6}, crema_ct:results(Results)),
    ?assertMatch({error, {callback_failed, #{reason := {on_purpose, _}}}}, lists:nth(2, Results)),
    ?assertMatch({error, {callback_failed, #{reason := on_purpose}}}, lists:nth(4, Results)),
    ?assertMatch({error, {callback_failed, #{reason := killed}}}, lists:nth(6, Results)),
    ?assertMatch(#{connected := _}, crema:status(P)),
    crema_ct:quiet().

full_pipeline(Config) ->
    %% As many as the batches hold are in the pipeline at once; then a push
    %% waits up to its deadline, or is refused at once.
    {P, Topic} = start(Config, #{full_timeout => 1000}),
    Options = gated(#{pipeline => 1, batch => {fixed, 1}, max_batches => 2}),
    {ok, Handle} = crema:topic(P, Topic, Options),
    Refs = [pushed(Handle, N) || N <- [0, 1]],
    {Time, {error, {queue_full, _}}} = crema_ct:timed(fun() -> crema:push(Handle, #{value => 2}) end),
    ?assert(Time >= 1000 andalso Time < 3000, Time),
    Waiting = async(fun() -> crema:await(pushed(Handle, 3), 10000) end),
    [release(element(2, encoding())) || _ <- Refs],
    ?assertEqual([0, 1], offsets(Refs)),
    release(element(2, encoding())),
    ?assertMatch({ok, #{offset := 2}}, result(Waiting)),
    {Q, _} = start(Config, #{on_full => error}),
    {ok, Impatient} = crema:topic(Q, Topic, Options),
    _ = [pushed(Impatient, N) || N <- [0, 1]],
    ?assertMatch({error, {queue_full, _}}, crema:push(Impatient, #{value => 2})).

%% ---- batches -------------------------------------------------------------------

full_batches(Config) ->
    %% A batch of a fixed size goes when it is full, and not before.
    {P, Topic} = start(Config, #{}),
    {ok, Handle} = crema:topic(P, Topic, #{batch => {fixed, 3}, max_batches => 3}),
    Refs = [pushed(Handle, N) || N <- lists:seq(0, 6)],
    crema_ct:await(fun() -> lists:all(fun crema:completed/1, lists:sublist(Refs, 6)) end),
    ?assertMatch(#{accepted := 6, reported := 6}, crema:info(P)),
    ?assertNot(crema:completed(lists:last(Refs))),
    ?assertEqual(lists:seq(0, 6), offsets(Refs)),
    crema_ct:quiet().

forced_batches(Config) ->
    %% One that is not full goes when somebody awaits one of its messages, and
    %% on a flush, after which every message has its verdict.
    {P, Topic} = start(Config, #{kafka => #{'linger.ms' => 500}}),
    {ok, Handle} = crema:topic(P, Topic, #{batch => {fixed, 100}}),
    [First, Second | _] = [pushed(Handle, N) || N <- [0, 1, 2]],
    ?assertMatch(#{accepted := 0}, crema:info(P)),
    ?assertMatch({ok, #{offset := 1}}, crema:await(Second)),
    ?assertMatch({ok, #{offset := 0}}, crema:await(First, 0)),
    Later = [pushed(Handle, N) || N <- [3, 4]],
    ok = crema:flush(Handle, 10000),
    ?assertEqual([3, 4], [Offset || {ok, #{offset := Offset}} <- [crema:await(R, 0) || R <- Later]]),
    ok = crema:flush(Handle, 10000),
    U = crema_ct:unreachable(#{}),
    {ok, Stuck} = crema:topic(U, <<"t">>, #{batch => {fixed, 2}}),
    _ = pushed(Stuck, 0),
    ?assertMatch({error, {timeout, _}}, crema:flush(Stuck, 100)),
    crema_producer:stop(U, 0),
    crema_ct:quiet().

adaptive_batches(_Config) ->
    %% What has come together goes as soon as there is room: one message, then
    %% all that have waited for a report.
    P = crema_ct:unreachable(#{}),
    {ok, Handle} = crema:topic(P, <<"t">>, #{batch => adaptive, max_batches => 2}),
    Refs = [pushed_and_accepted(Handle, P, N) || N <- [1, 2]],
    Waiting = [pushed(Handle, N) || N <- lists:seq(3, 50)],
    ?assertMatch(#{accepted := 2}, crema:info(P)),
    ok = crema:purge(P),
    ?assertEqual(#{purge_queue => 2}, crema_ct:results([crema:await(Ref) || Ref <- Refs])),
    crema_ct:await(fun() -> maps:get(accepted, crema:info(P)) =:= 50 end),
    ok = crema:purge(P),
    ?assertEqual(#{purge_queue => 48}, crema_ct:results([crema:await(Ref) || Ref <- Waiting])),
    crema_ct:quiet().

pushed_and_accepted(Handle, P, N) ->
    Ref = pushed(Handle, N),
    crema_ct:await(fun() -> maps:get(accepted, crema:info(P)) =:= N end),
    Ref.

places_in_batches(_Config) ->
    %% With max_batches without their reports callers wait, in turn, as long as
    %% they may; a report makes room for a batch. An adaptive handle has a bound
    %% as well.
    P = crema_ct:unreachable(#{full_timeout => 1000}),
    {ok, Handle} = crema:topic(P, <<"t">>, #{batch => {fixed, 2}, max_batches => 2}),
    Refs = [pushed(Handle, N) || N <- [1, 2, 3, 4]],
    crema_ct:await(fun() -> maps:get(accepted, crema:info(P)) =:= 4 end),
    Calls = lists:duplicate(5, fun() ->
        crema_ct:timed(fun() -> crema:push(Handle, #{value => <<>>}) end)
    end),
    Answers = crema_ct:spawned(Calls),
    ?assertEqual(#{queue_full => 5}, crema_ct:results([Answer || {_, Answer} <- Answers])),
    ?assert(lists:max([Time || {Time, _} <- Answers]) < 2000),
    Test = self(),
    Waiting = async(fun() ->
        Test ! waiting,
        crema:push(Handle, #{value => <<>>})
    end),
    waiting = received(),
    ok = crema:purge(P),
    ?assertEqual(#{purge_queue => 4}, crema_ct:results([crema:await(Ref) || Ref <- Refs])),
    ?assertMatch({ok, _}, result(Waiting)),
    {ok, Adaptive} = crema:topic(P, <<"t">>, #{batch => adaptive, max_batches => 1}),
    _ = [pushed(Adaptive, N) || N <- lists:seq(1, 1000)],
    ?assertMatch({error, {queue_full, _}}, crema:push(Adaptive, #{value => <<>>})),
    crema_producer:stop(P, 0).

awaited(_Config) ->
    %% References of pushed messages are like any other: a time-out is not final,
    %% only the caller awaits, once.
    P = crema_ct:unreachable(#{kafka => #{'message.timeout.ms' => 1000}}),
    {ok, Handle} = crema:topic(P, <<"t">>, #{batch => {fixed, 10}, max_batches => 1}),
    {ok, Ref} = crema:push(Handle, #{value => <<>>, label => l}),
    {error, {timeout, #{ref := Ref}}} = crema:await(Ref, 0),
    ?assertNot(crema:completed(Ref)),
    Other = fun() -> crema:await(Ref, 10) end,
    ?assertMatch([{error, {unknown_reference, _}}], crema_ct:spawned([Other])),
    ?assertMatch(
        {error, {msg_timed_out, #{topic := <<"t">>, label := l, status := not_persisted}}},
        crema:await(Ref)
    ),
    ?assert(crema:completed(Ref)),
    ?assertMatch({error, {unknown_reference, _}}, crema:await(Ref)),
    ?assertError(badarg, crema:await(Ref, -1)),
    %% Of what nobody awaits the newest are kept; all is dropped with its caller.
    Q = crema_ct:unreachable(#{max_unclaimed => 2}),
    {ok, Few} = crema:topic(Q, <<"t">>, #{batch => {fixed, 5}}),
    Refs = [pushed(Few, N) || N <- lists:seq(1, 5)],
    crema_ct:await(fun() -> maps:get(accepted, crema:info(Q)) =:= 5 end),
    ok = crema:purge(Q),
    crema_ct:await(fun() -> lists:all(fun crema:completed/1, Refs) end),
    Kept = [crema:await(R) || R <- Refs],
    ?assertEqual(#{unknown_reference => 3, purge_queue => 2}, crema_ct:results(Kept)),
    ?assertEqual(#{unknown_reference => 3}, crema_ct:results(lists:sublist(Kept, 3))),
    [_] = crema_ct:spawned([fun() -> pushed(Handle, 0) end]),
    ok = crema:flush(Handle, 10000),
    crema_ct:await(fun() -> erlang:process_info(process_of(Handle), monitors) =:= {monitors, []} end),
    crema_ct:quiet().

refused_batch(_Config) ->
    %% A batch that the queue refuses fails each of its messages, none of which
    %% was sent.
    P = crema_ct:unreachable(#{max_queue_messages => 2, on_full => error}),
    {ok, _} = crema:produce_async(P, #{topic => t}),
    {ok, Handle} = crema:topic(P, <<"t">>, #{batch => {fixed, 2}}),
    Refs = [pushed(Handle, N) || N <- [1, 2]],
    [
        ?assertMatch(
            {error, {queue_full, #{status := not_persisted, topic := <<"t">>}}}, crema:await(Ref)
        )
     || Ref <- Refs
    ],
    ok = crema:purge(P),
    crema_ct:await(fun() -> maps:get(reported, crema:info(P)) =:= 1 end),
    [_, _] = More = [pushed(Handle, N) || N <- [1, 2]],
    crema_ct:await(fun() -> maps:get(accepted, crema:info(P)) =:= 3 end),
    ok = crema:purge(P),
    ?assertEqual(#{purge_queue => 2}, crema_ct:results([crema:await(Ref) || Ref <- More])).

raising_batch(Config) ->
    %% A bad message among others fails its batch, and nothing else.
    {P, Topic} = start(Config, #{}),
    {ok, Handle} = crema:topic(P, Topic, #{batch => {fixed, 2}}),
    {ok, Good} = crema:push(Handle, #{value => <<>>}),
    {ok, Bad} = crema:push(Handle, #{value => <<>>, timestamp => soon}),
    ?assertMatch({error, {bad_message, #{status := not_persisted}}}, crema:await(Good)),
    ?assertMatch({error, {bad_message, #{field := timestamp}}}, crema:await(Bad)),
    ?assertEqual([0], offsets([pushed(Handle, 0)])).

%% ---- life ----------------------------------------------------------------------

stopped_producer(Config) ->
    %% A producer that is stopped sends what was pushed; its verdicts can be
    %% awaited afterwards, also those of what it could not send.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config),
    {ok, Handle} = crema:topic(P, Topic, #{batch => {fixed, 100}, pipeline => 2}),
    Refs = [pushed(Handle, N) || N <- lists:seq(0, 9)],
    ok = crema_producer:stop(P),
    ?assertEqual(lists:seq(0, 9), offsets(Refs)),
    ?assertMatch({error, {closed, _}}, crema:push(Handle, #{value => <<>>})),
    U = crema_ct:unreachable(#{}),
    {ok, Stuck} = crema:topic(U, <<"t">>, #{batch => {fixed, 2}}),
    Lost = [pushed(Stuck, N) || N <- [1, 2, 3]],
    ok = crema_producer:stop(U, 200),
    Results = [crema:await(Ref, 10000) || Ref <- Lost],
    ?assertEqual(#{purge_queue => 3}, crema_ct:results(Results)),
    crema_ct:quiet().

killed_producer(_Config) ->
    %% Every reference of a producer that is killed gets its verdict: what was
    %% sent its report, what was not that it was not.
    P = crema_ct:unreachable(#{}),
    {ok, Handle} = crema:topic(P, <<"t">>, gated(#{pipeline => 1, batch => {fixed, 1}})),
    Sent = pushed(Handle, 0),
    release(element(2, encoding())),
    crema_ct:await(fun() -> maps:get(accepted, crema:info(P)) =:= 1 end),
    Encoding = pushed(Handle, 1),
    _ = encoding(),
    %% Where the end of the first is heard of before the producer's, it is taken.
    Waiting = async(fun() -> verdict(crema:push(Handle, #{value => 2})) end),
    Asking = async_await(Sent),
    %% Before a question to that process: nothing else tells that the monitor is set.
    Monitor = erlang:monitor(process, process_of(Handle)),
    crema_ct:await(fun() -> waiting_here(Handle) =:= 1 end),
    exit(P, kill),
    ?assertMatch({error, {closed, #{status := not_persisted}}}, result(Waiting)),
    ?assertMatch({error, {unknown_reference, _}}, result(Asking)),
    ?assertMatch({error, {purge_queue, _}}, crema:await(Sent, 10000)),
    ?assertMatch({error, {closed, #{status := not_persisted}}}, crema:await(Encoding, 10000)),
    receive
        {'DOWN', Monitor, _, _, Reason} -> ?assertEqual(normal, Reason)
    after 10000 -> error(still_there)
    end,
    crema_ct:quiet().

killed_process(Config) ->
    %% When a handle's process is killed its references fail, the producer lives,
    %% and the next push has a new one.
    {P, Topic} = start(Config, #{}),
    {ok, Handle} = crema:topic(P, Topic, #{batch => {fixed, 2}}),
    Ref = pushed(Handle, 0),
    Process = process_of(Handle),
    exit(Process, kill),
    crema_ct:await(fun() -> process_of(Handle) =:= undefined end),
    ?assertMatch({error, {unknown_reference, _}}, crema:await(Ref, 10)),
    [_, _] = Refs = [pushed(Handle, N) || N <- [1, 2]],
    ?assertEqual([0, 1], offsets(Refs)),
    ?assertMatch(#{accepted := 2}, crema:info(P)).

producer_anew(Config) ->
    %% A handle of a named producer is good for the next of that name.
    Topic = crema_ct:topic(Config, 1),
    {ok, Handle} = crema:topic(?FUNCTION_NAME, Topic, #{pipeline => 1}),
    ?assertMatch({error, {not_found, _}}, crema:push(Handle, #{value => <<>>})),
    [
        begin
            P = crema_ct:producer(Config, #{name => ?FUNCTION_NAME}),
            ?assertEqual([N], offsets([pushed(Handle, N)])),
            ok = crema_producer:stop(P)
        end
     || N <- [0, 1]
    ].

closed(Config) ->
    %% A handle's process can be ended: what was pushed is sent and reported
    %% first. Pushing again starts another.
    {P, Topic} = start(Config, #{}),
    {ok, Handle} = crema:topic(P, Topic, #{batch => {fixed, 10}}),
    Refs = [pushed(Handle, N) || N <- [0, 1]],
    Process = process_of(Handle),
    Monitor = erlang:monitor(process, Process),
    ok = crema:close_topic(Handle, 10000),
    receive
        {'DOWN', Monitor, _, _, normal} -> ok
    after 10000 -> error(still_there)
    end,
    ok = crema:close_topic(Handle, 10000),
    ?assertEqual([0, 1], offsets(Refs)),
    ?assertEqual([2], offsets([pushed(Handle, 2)])),
    ?assertNotEqual(Process, process_of(Handle)),
    crema_ct:quiet().

many_callers(Config) ->
    %% Many processes push through one handle with a pipeline and small batches:
    %% every message is delivered once, each process's in its order.
    {P, Topic} = start(Config, #{}),
    {ok, Handle} = crema:topic(P, Topic, #{
        pipeline => 4, batch => {fixed, 7}, max_batches => 3, serializer => term
    }),
    Caller = fun() ->
        Refs = [pushed(Handle, {self(), N}) || N <- lists:seq(1, 300)],
        offsets(Refs)
    end,
    All = crema_ct:spawned(lists:duplicate(8, Caller)),
    [?assertEqual(lists:sort(Offsets), Offsets) || Offsets <- All],
    ?assertEqual(lists:seq(0, 2399), lists:sort(lists:append(All))),
    ?assertMatch(#{accepted := 2400}, crema:info(P)).

%% ---- helpers -------------------------------------------------------------------

start(Config, Options) ->
    {crema_ct:producer(Config, Options), crema_ct:topic(Config, 1)}.

process_of(Handle) ->
    {crema_topic, P, #{id := Id}} = Handle,
    crema_helper:find(P, Id).

%% Callers that wait for a place.
waiting_here(Handle) ->
    queue:len(element(10, sys:get_state(process_of(Handle)))).

pushed(Handle, Value) ->
    Bytes =
        case Handle of
            {crema_topic, _, #{serializer := raw}} -> term_to_binary(Value);
            _ -> Value
        end,
    {ok, Ref} = crema:push(Handle, (to_partition(Handle))#{value => Bytes}),
    Ref.

%% Where there are brokers that know how many partitions there are.
to_partition({crema_topic, _, #{name := <<"t">>}}) -> #{};
to_partition(_Handle) -> #{partition => 0}.

offsets(Refs) ->
    [Offset || {ok, #{offset := Offset}} <- crema:await_many(Refs, 20000)].

%% A handle whose validator waits to be let go.
gated(Options) ->
    Test = self(),
    Options#{
        serializer => term,
        validator => fun(Value, _) ->
            Test ! {encoding, Value, self()},
            receive
                {Test, go} -> ok
            end
        end
    }.

encoding() ->
    receive
        {encoding, Value, Pid} -> {Value, Pid}
    after 10000 -> error(nothing_encoded)
    end.

release(Pid) ->
    Pid ! {self(), go},
    ok.

received() ->
    receive
        Message -> Message
    after 10000 -> error(nothing_received)
    end.

async(Fun) ->
    Test = self(),
    spawn_link(fun() -> Test ! {self(), Fun()} end).

async_await(Ref) ->
    async(fun() -> crema:await(Ref, 5) end).

verdict({ok, Ref}) -> crema:await(Ref, 10000);
verdict({error, _} = Refused) -> Refused.

result(Pid) ->
    receive
        {Pid, Result} -> Result
    after 20000 -> error({no_result, Pid})
    end.
