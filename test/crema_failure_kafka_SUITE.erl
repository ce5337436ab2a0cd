%% Dead letters and retry topics on real brokers. See crema_kafka_SUITE for what
%% must be set.
-module(crema_failure_kafka_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([retry_topics_and_dead_letters/1, stuck_handler/1]).

-import(crema_ct_consume, [quick/0, number/1, all_acknowledged/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [{group, side_by_side}].

groups() ->
    [{side_by_side, [parallel], [retry_topics_and_dead_letters, stuck_handler]}].

init_per_suite(Config) -> crema_ct:start(Config, crema_ct_kafka:bootstrap()).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

retry_topics_and_dead_letters(Config) ->
    %% Messages that fail go through the retry topics, each after its delay, and are
    %% dead letters then; all others are handled once, and nothing is left.
    [Topic, Soon, Later, Dead] = [crema_ct:topic(Config, 4) || _ <- [1, 2, 3, 4]],
    [crema_ct:fill(Config, Topic, P, lists:seq(P * 100 + 1, P * 100 + 100)) || P <- lists:seq(0, 3)],
    Self = self(),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        case number(Message) rem 50 of
            0 -> {error, {refused, Message}, State};
            _ -> {ack, State}
        end
    end,
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, (quick())#{
        failures => #{retries => 1, then => retry_topic},
        retry_topics => [{Soon, 500}, {Later, 1500}],
        dead_letter => #{topic => Dead}
    }),
    _ = crema_ct:consumer(Config, Dead, #{to => self()}, #{}),
    %% 392 good ones; eight bad ones twice at the source, and once in each topic.
    Handled = [M || {_, M} <- crema_ct:handled(392 + 8 * 5, 60000)],
    In = fun(T) -> lists:sort([number(M) || #{topic := Of} = M <- Handled, Of =:= T]) end,
    Bad = [50, 100, 150, 200, 250, 300, 350, 400],
    ?assertEqual([Bad, Bad, Bad], [In(Soon), In(Later), In(Dead)]),
    ?assertEqual(lists:sort(lists:seq(1, 400) ++ Bad), In(Topic)),
    Letters = [M || #{topic := T} = M <- Handled, T =:= Dead],
    [
        begin
            {ok, Origin} = crema_dead_letter:origin(Letter),
            ?assertMatch(#{topic := Topic, attempts := 4, reason := <<"returned refused">>}, Origin),
            #{partition := P, offset := Offset, timestamp := Sent, time := Died} = Origin,
            ?assertEqual(number(Letter), P * 100 + Offset + 1),
            ?assert(Died - Sent >= 2000)
        end
     || Letter <- Letters
    ],
    true = all_acknowledged(C).

stuck_handler(Config) ->
    %% A handler that hangs is killed and its message becomes a dead letter; the
    %% others go on, and the group sees no rebalance.
    [Topic, Dead] = [crema_ct:topic(Config, 4) || _ <- [1, 2]],
    [crema_ct:fill(Config, Topic, P, lists:seq(1, 50)) || P <- lists:seq(0, 3)],
    Self = self(),
    Handle = fun
        (#{partition := 2, offset := 25}, _) ->
            receive
                never_comes -> ok
            end;
        (Message, State) ->
            Self ! {handled, self(), Message},
            {ack, State}
    end,
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, (quick())#{
        handler_timeout => 500,
        failures => #{retries => 0, then => dead_letter},
        dead_letter => #{topic => Dead}
    }),
    _ = crema_ct:consumer(Config, Dead, #{to => self()}, #{}),
    Letter = letter(Dead),
    ?assertMatch(
        {ok, #{partition := 2, offset := 25, failure := <<"timeout">>}},
        crema_dead_letter:origin(Letter)
    ),
    true = all_acknowledged(C),
    ?assertMatch(#{rebalances := 1}, crema:info(C)).

letter(Dead) ->
    case crema_ct:handled(1) of
        [{_, #{topic := Dead} = Message}] -> Message;
        _ -> letter(Dead)
    end.
