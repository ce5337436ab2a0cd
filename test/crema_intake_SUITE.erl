%% Single messages of many callers at once, which come in beside a busy producer's port
%% (crema_intake): each is in the topic once, in order, and within the limits.
-module(crema_intake_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include("../src/port/crema_commands.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    accepted_once/1, in_the_order_of_causes/1, flushed_with_the_others/1, within_the_limits/1,
    topics_in_turn/1, what_is_left_alone/1, of_variants/1, disconnected/1, without_the_ports/1,
    a_port_is_closed/1
]).

-define(CALLERS, 16).
-define(EACH, 2000).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [
        accepted_once, in_the_order_of_causes, flushed_with_the_others, within_the_limits,
        topics_in_turn, what_is_left_alone, of_variants, disconnected, without_the_ports,
        a_port_is_closed
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) ->
    _ = erlang:trace_pattern({crema_port, command, 3}, false, [call_count]),
    crema_ct:cleanup().

accepted_once(Config) ->
    %% What many callers were told is accepted is in the topic once, each caller's messages in
    %% its order; most of them came in without a command of the producer's port.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config),
    ok = keep_busy(P, Topic),
    Commands = commands(fun() ->
        _ = crema_ct:spawned([fun() -> burst(P, Topic, C, ?EACH) end || C <- lists:seq(1, ?CALLERS)])
    end),
    ok = crema:flush(P, 30000),
    All = values(Config, Topic),
    [
        ?assertEqual(lists:seq(1, ?EACH), [N || {Of, N} <- All, Of =:= C])
     || C <- lists:seq(1, ?CALLERS)
    ],
    ?assert(Commands < ?CALLERS * ?EACH div 2, Commands),
    ?assertEqual(0, crema:queue_size(P)).

in_the_order_of_causes(Config) ->
    %% Who produces when he has heard of another's message produces behind it, however the
    %% two do it, and whoever else produces.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config),
    ok = keep_busy(P, Topic),
    _ = [spawn_link(fun() -> burst(P, Topic, others, 10 * ?EACH) end) || _ <- lists:seq(1, 4)],
    Self = self(),
    Ways = [
        fun(M) -> crema:produce_async(P, M, #{report => none}) end,
        fun(M) -> crema:produce_async(P, M, #{report => none}) end,
        fun(M) -> crema:produce_many_async(P, [M, M], #{report => none}) end,
        fun(M) -> crema:produce_async(P, M#{headers => [{<<"h">>, <<"v">>}]}, #{report => none}) end
    ],
    Produce = fun(N) ->
        %% Each way comes before and behind each other.
        Way = lists:nth(1 + (N + N div length(Ways)) rem length(Ways), Ways),
        _ = spawn_link(fun() ->
            ok = Way(message(Topic, cause, N)),
            Self ! {produced, N}
        end),
        receive
            {produced, N} -> ok
        end
    end,
    ok = lists:foreach(Produce, lists:seq(1, ?EACH)),
    ok = crema:flush(P, 30000),
    ?assertEqual(lists:seq(1, ?EACH), without_repeats([N || {cause, N} <- values(Config, Topic)])).

flushed_with_the_others(Config) ->
    %% A flush waits for what has come in before it.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config),
    [
        begin
            ok = keep_busy(P, Topic),
            ok = burst(P, Topic, Round, 10),
            ok = crema:flush(P, 30000),
            ?assertEqual(0, crema:queue_size(P)),
            #{accepted := Accepted, reported := Accepted} = crema:info(P)
        end
     || Round <- lists:seq(1, 20)
    ],
    ?assertEqual(20 * 10, length([N || {Of, N} <- values(Config, Topic), is_integer(Of)])).

within_the_limits(Config) ->
    %% There are never more messages than places, and who is refused has produced nothing.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config, #{max_queue_messages => 300, on_full => error}),
    Produce = fun() ->
        Results = [
            crema:produce_async(P, message(Topic, self(), N), #{report => none})
         || N <- lists:seq(1, ?EACH)
        ],
        ?assert(crema:queue_size(P) =< 300),
        length([ok || ok <- Results])
    end,
    Accepted = lists:sum(crema_ct:spawned([Produce || _ <- lists:seq(1, ?CALLERS)])),
    ok = crema:flush(P, 30000),
    ?assert(Accepted < ?CALLERS * ?EACH),
    ?assertMatch(#{accepted := Accepted, reported := Accepted}, crema:info(P)),
    ?assertEqual(Accepted, length(values(Config, Topic))).

topics_in_turn(Config) ->
    %% Messages of several topics go each to its own, in order.
    Topics = [crema_ct:topic(Config, 1) || _ <- lists:seq(1, 3)],
    P = crema_ct:producer(Config),
    ok = keep_busy(P, hd(Topics)),
    Call = fun(N) ->
        [ok = burst(P, Topic, self(), lists:seq(N, N + N rem 3)) || Topic <- Topics]
    end,
    _ = crema_ct:spawned([
        fun() -> lists:foreach(Call, lists:seq(1, 900, 3)) end
     || _ <- lists:seq(1, 4)
    ]),
    ok = crema:flush(P, 30000),
    Expected = lists:append([lists:seq(N, N + N rem 3) || N <- lists:seq(1, 900, 3)]),
    [
        begin
            All = [{Of, N} || {Of, N} <- values(Config, Topic), is_pid(Of)],
            Callers = lists:usort([Of || {Of, _} <- All]),
            ?assertEqual(4, length(Callers)),
            [?assertEqual(Expected, [N || {Of, N} <- All, Of =:= C]) || C <- Callers]
        end
     || Topic <- Topics
    ].

what_is_left_alone(Config) ->
    %% Of producers that have something to do with a message before, or to tell of, none
    %% comes in past that; nor in a transaction.
    Topic = crema_ct:topic(Config, 1),
    Upper = fun(#{value := Value} = Message) -> Message#{value := string:uppercase(Value)} end,
    [
        begin
            P = crema_ct:producer(Config, Options),
            Offered = crema_intake:offer(message(Topic, P, 1), crema_target:client(P)),
            ?assertEqual(Plain, Offered =/= not_plain, Options)
        end
     || {Plain, Options} <- [
            {true, #{}},
            {false, #{middleware => [Upper]}},
            {false, #{middleware => []}},
            {false, #{prefix => <<"p.">>}},
            {false, #{partitioner => round_robin}},
            {false, #{events => [calls]}},
            {false, #{kafka => #{'transactional.id' => crema_ct:unique(<<"id">>)}}}
        ]
    ],
    P = crema_ct:producer(Config, #{max_payload_size => 20}),
    ok = keep_busy(P, Topic),
    {error, {bad_message, _}} =
        crema:produce_async(P, #{topic => Topic, value => <<0:(21 * 8)>>}, #{report => none}),
    ok = crema:flush(P, 30000).

of_variants(Config) ->
    %% A variant's own partitioner is asked, and what goes to its own client goes nowhere else,
    %% while what it is a variant of is busy with the same topic.
    Topic = crema_ct:topic(Config, 4),
    P = crema_ct:producer(Config),
    Asked = counters:new(1, []),
    Choose = fun(_, _, _, _) ->
        ok = counters:add(Asked, 1, 1),
        3
    end,
    {ok, Choosy} = crema:variant(P, #{partitioner => Choose}),
    ok = keep_busy(P, Topic),
    ok = burst(P, Topic, first, 100),
    ok = burst(Choosy, Topic, choosy, 100),
    ?assertEqual(100, counters:get(Asked, 1)),
    {ok, Own} = crema:variant(P, #{client => own, topic_config => #{'message.timeout.ms' => 20000}}),
    ok = crema:await_ready(Own, 30000),
    #{accepted := Before} = crema:info(Own),
    ok = keep_busy(P, Topic),
    ok = burst(P, Topic, again, 100),
    ok = burst(Own, Topic, own, 1000),
    ?assertEqual(Before + 1000, maps:get(accepted, crema:info(Own))),
    ok = crema:flush(Own, 30000),
    ok = crema:flush(P, 30000).

disconnected(Config) ->
    %% Callers that remember a client that is no more go on with the next.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config),
    Caller = fun Loop(Round) ->
        receive
            {go, From} ->
                ok = burst(P, Topic, Round, 500),
                From ! done,
                Loop(Round + 1)
        end
    end,
    Callers = [spawn_link(fun() -> Caller(1) end) || _ <- lists:seq(1, 4)],
    [
        begin
            ok = keep_busy(P, Topic),
            [C ! {go, self()} || C <- Callers],
            [receive done -> ok end || _ <- Callers],
            ok = crema:flush(P, 30000),
            ok = crema:disconnect(P)
        end
     || _ <- lists:seq(1, 5)
    ],
    ?assertEqual(
        lists:sort([{R, N} || R <- lists:seq(1, 5), N <- lists:seq(1, 500), _ <- Callers]),
        lists:sort([{R, N} || {R, N} <- values(Config, Topic), is_integer(R)])
    ).

without_the_ports(Config) ->
    %% When the process ends that has the ports, callers produce by commands, and use the
    %% new ports when they are there.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config),
    ok = keep_busy(P, Topic),
    Ports = persistent_term:get(crema_intake),
    Anchor = whereis(crema_anchor),
    Killed = crema_ct:spawned([
        fun() -> burst(P, Topic, 1, ?EACH) end,
        fun() -> exit(Anchor, kill) end
    ]),
    ?assertEqual([ok, true], Killed),
    ok = are_others_than(Ports),
    ok = keep_busy(P, Topic),
    Commands = commands(fun() -> burst(P, Topic, 2, ?EACH) end),
    ?assert(Commands < ?EACH div 2, Commands),
    ok = crema:flush(P, 30000),
    ?assertEqual(2 * ?EACH, length([N || {Of, N} <- values(Config, Topic), is_integer(Of)])).

a_port_is_closed(_Config) ->
    %% Whoever closes one of the ports, there is another soon.
    Ports = persistent_term:get(crema_intake),
    true = port_close(element(1, Ports)),
    ok = are_others_than(Ports).

are_others_than(Ports) ->
    _ = crema_ct:await(fun() ->
        New = persistent_term:get(crema_intake),
        New =/= Ports andalso lists:all(fun crema_port:is_open/1, tuple_to_list(New))
    end),
    ok.

%% ---- callers ---------------------------------------------------------------------------

message(Topic, Of, N) ->
    #{topic => Topic, value => term_to_binary({Of, N})}.

burst(P, Topic, Of, Count) when is_integer(Count) ->
    burst(P, Topic, Of, lists:seq(1, Count));
burst(P, Topic, Of, Numbers) ->
    lists:foreach(
        fun(N) -> ok = crema:produce_async(P, message(Topic, Of, N), #{report => none}) end,
        Numbers
    ).

%% So many messages that those behind them come in.
keep_busy(P, Topic) ->
    Many = lists:duplicate(2000, message(Topic, busy, 0)),
    crema:produce_many_async(P, Many, #{report => none}).

%% Commands of ports that are made meanwhile.
commands(Fun) ->
    _ = erlang:trace_pattern({crema_port, command, 3}, true, [call_count]),
    _ = Fun(),
    {call_count, Count} = erlang:trace_info({crema_port, command, 3}, call_count),
    Count.

%% ---- what is in the topic ----------------------------------------------------------------

values(Config, Topic) ->
    {ok, Values, _} = crema:fold(
        #{bootstrap_servers => crema_ct:bootstrap(Config), topic => Topic},
        fun(#{value := Value}, All) -> {ok, [binary_to_term(Value) | All]} end,
        []
    ),
    lists:reverse(Values).

without_repeats([N, N | Rest]) -> without_repeats([N | Rest]);
without_repeats([N | Rest]) -> [N | without_repeats(Rest)];
without_repeats([]) -> [].
