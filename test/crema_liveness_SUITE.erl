%% Handlers that take too long, and what their consumer does about it.
%%
%% The cases run side by side, for the first member of a group waits three
%% seconds.
-module(crema_liveness_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    hanging/1, hanging_without_end/1, hanging_init/1, slow_but_alive/1, waiting_is_no_hanging/1,
    leaves_the_group/1, stop_by_a_handler/1
]).

-import(crema_ct_consume, [
    filled/2, quick/0, values/1, number/1, once/1, all_acknowledged/1, listen/2, heard/1,
    event_is_as_told/3
]).

suite() -> [{timetrap, {seconds, 90}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            hanging, hanging_without_end, hanging_init, slow_but_alive, waiting_is_no_hanging,
            leaves_the_group, stop_by_a_handler
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

hang() ->
    receive
        never_comes -> ok
    end.

hanging(Config) ->
    %% A handler that hangs is killed when its time is over, not before; its message
    %% comes again; no other partition notices, nor does the group.
    Topic = crema_ct:topic(Config, 2),
    [crema_ct:fill(Config, Topic, P, lists:seq(1, 5)) || P <- [0, 1]],
    Self = self(),
    Once = once([3]),
    Handle = fun
        (#{partition := 0} = Message, State) ->
            Self ! {at, self(), number(Message), crema_ct:now_ms()},
            Once(number(Message)) andalso hang(),
            {ack, State};
        (Message, State) ->
            Self ! {handled, self(), Message},
            {ack, State}
    end,
    Killed = listen(Topic, [crema, consumer, handler_timeout]),
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, (quick())#{
        handler_timeout => 700
    }),
    Handled = crema_ct:handled(5),
    ?assertMatch([_], lists:usort([W || {W, _} <- Handled])),
    {#{attempt := 1} = Measured, #{offset := 2, action := retry} = Metadata} = heard(Killed),
    event_is_as_told([crema, consumer, handler_timeout], Measured, Metadata),
    Before = at_until(3),
    After = at_until(5),
    {First, Began} = lists:last(Before),
    [{_, _} | _] = Again = lists:dropwhile(fun({W, _}) -> W =:= First end, After),
    {_, Came} = hd(Again),
    ?assert(Came - Began >= 700, Came - Began),
    true = all_acknowledged(C),
    ?assertMatch(#{rebalances := 1, assigned := [_, _]}, crema:info(C)),
    crema_ct:fill(Config, Topic, 1, [6]),
    ?assertEqual([6], values(crema_ct:handled(1))).

%% Who handled what in partition 0, up to that number, and when.
at_until(Number) ->
    receive
        {at, Worker, Number, Time} -> [{Worker, Time}];
        {at, Worker, _, Time} -> [{Worker, Time} | at_until(Number)]
    after 20000 -> error({not_handled, Number})
    end.

hanging_without_end(Config) ->
    %% One that hangs at a message every time follows the policy for time-outs: here
    %% the message becomes a dead letter.
    [Topic, Dead] = [crema_ct:topic(Config, 1) || _ <- [1, 2]],
    ok = crema_ct:fill(Config, Topic, 0, [1, 2, 3]),
    Self = self(),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        number(Message) =:= 2 andalso hang(),
        {ack, State}
    end,
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, (quick())#{
        handler_timeout => 150,
        failures => [{timeout, #{retries => 1, then => dead_letter}}],
        dead_letter => #{topic => Dead}
    }),
    _ = crema_ct:consumer(Config, Dead, #{to => self()}, #{}),
    Handled = until_dead(Dead),
    ?assertEqual(2, length([M || #{topic := T} = M <- Handled, T =:= Topic, number(M) =:= 2])),
    {ok, Origin} = crema_dead_letter:origin(lists:last(Handled)),
    ?assertMatch(#{offset := 1, attempts := 2, failure := <<"timeout">>}, Origin),
    true = all_acknowledged(C).

until_dead(Dead) ->
    case crema_ct:handled(1) of
        [{_, #{topic := Dead} = Message}] -> [Message];
        [{_, Message}] -> [Message | until_dead(Dead)]
    end.

hanging_init(Config) ->
    %% So is an init/2 that hangs: it is called again.
    Topic = filled(Config, 1),
    Once = once([init]),
    Init = fun(_, Args) ->
        Once(init) andalso hang(),
        {ok, Args}
    end,
    Killed = listen(Topic, [crema, consumer, handler_timeout]),
    _ = crema_ct:consumer(Config, Topic, #{init => Init, to => self()}, (quick())#{
        handler_timeout => 150
    }),
    {_, Metadata} = heard(Killed),
    ?assertNot(is_map_key(offset, Metadata)),
    ?assertEqual([1], values(crema_ct:handled(1))).

slow_but_alive(Config) ->
    %% The time is that of one call: a handler that is always busy, for much longer in
    %% all, is left alone.
    Topic = filled(Config, 30),
    Self = self(),
    Handle = fun(Message, State) ->
        receive
        after 40 -> ok
        end,
        Self ! {handled, self(), Message},
        {ack, State}
    end,
    Killed = listen(Topic, [crema, consumer, handler_timeout]),
    _ = crema_ct:consumer(Config, Topic, #{handle => Handle, to => self()}, #{
        handler_timeout => 600
    }),
    Handled = crema_ct:handled(30),
    ?assertEqual(lists:seq(1, 30), values(Handled)),
    ?assertMatch([_], lists:usort([W || {W, _} <- Handled])),
    receive
        {Killed, _, _} -> error(killed)
    after 0 -> ok
    end.

waiting_is_no_hanging(Config) ->
    %% A worker that waits before it tries again, or has nothing to do, is not late.
    Topic = filled(Config, 1),
    Self = self(),
    Once = once([1]),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        case Once(number(Message)) of
            true -> {error, later, State};
            false -> {ack, State}
        end
    end,
    Killed = listen(Topic, [crema, consumer, handler_timeout]),
    _ = crema_ct:consumer(Config, Topic, #{handle => Handle, to => self()}, #{
        handler_timeout => 600, backoff => {1800, 1800}
    }),
    [{Worker, _}, {Worker, _}] = crema_ct:handled(2),
    crema_ct:none_handled(1200),
    crema_ct:fill(Config, Topic, 0, [2]),
    ?assertMatch([{Worker, _}], crema_ct:handled(1)),
    receive
        {Killed, _, _} -> error(killed)
    after 0 -> ok
    end.

leaves_the_group(Config) ->
    %% Where no handler is killed for its time, the member leaves the group at
    %% max.poll.interval.ms, says so, and begins anew; what other partitions had
    %% handled is committed before.
    Topic = crema_ct:topic(Config, 2),
    [crema_ct:fill(Config, Topic, P, [1]) || P <- [0, 1]],
    Self = self(),
    Once = once([hang]),
    Handle = fun(#{partition := P} = Message, State) ->
        Self ! {handled, self(), Message},
        P =:= 0 andalso Once(hang) andalso hang(),
        {ack, State}
    end,
    Stuck = listen(Topic, [crema, consumer, handler_stuck]),
    Revoked = listen(Topic, [crema, consumer, revoked]),
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, #{
        handler_timeout => infinity,
        drain_timeout => 500,
        kafka => #{'max.poll.interval.ms' => 4000}
    }),
    ?assertEqual([0, 1], lists:sort([P || {_, #{partition := P}} <- crema_ct:handled(2)])),
    {#{limit := 4000} = Measured, #{partition := 0, offset := 0} = Metadata} = heard(Stuck),
    event_is_as_told([crema, consumer, handler_stuck], Measured, Metadata),
    _ = heard(Revoked),
    %% Only what was not acknowledged comes again.
    ?assertMatch([{_, #{partition := 0, offset := 0}}], crema_ct:handled(1)),
    true = all_acknowledged(C),
    crema_ct:none_handled(20).

stop_by_a_handler(Config) ->
    %% A handler may stop its consumer: the call returns at once, its message is
    %% acknowledged, and nobody waits for the end of a drain.
    Topic = filled(Config, 3),
    Self = self(),
    Handle = fun(Message, #{info := #{consumer := C}} = State) ->
        Self ! {handled, self(), Message},
        number(Message) =:= 2 andalso (ok = crema_consumer:stop(C)),
        {ack, State}
    end,
    Group = crema_ct:unique(<<"group">>),
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, #{
        group => Group, drain_timeout => 15000, stop_timeout => 20000
    }),
    Monitor = erlang:monitor(process, C),
    ?assertEqual([1, 2], values(crema_ct:handled(2))),
    receive
        {'DOWN', Monitor, _, _, Reason} -> ?assertEqual(shutdown, Reason)
    after 10000 -> error(not_stopped)
    end,
    _ = crema_ct:consumer(Config, Topic, #{to => self()}, #{group => Group}),
    ?assertEqual([3], values(crema_ct:handled(1))).
