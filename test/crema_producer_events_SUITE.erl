%% The events of produce calls, delivery reports, flushes and purges: each is as
%% the table of events says, and none comes that was not asked for.
-module(crema_producer_events_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_testcase/2, end_per_testcase/2]).
-export([
    off_by_default/1, calls/1, calls_of_a_transaction/1, failed_calls/1, reports/1,
    failed_reports/1, reports_of_a_stop/1, reports_of_a_reload/1,
    reports_are_bounded/1, a_slow_listener/1, nobody_listens/1, flush_and_purge/1
]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        off_by_default, calls, calls_of_a_transaction, failed_calls, reports, failed_reports,
        reports_of_a_stop, reports_of_a_reload,
        reports_are_bounded, a_slow_listener, nobody_listens, flush_and_purge
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

init_per_testcase(_, Config) ->
    Names = [
        [crema, producer, Name]
     || Name <- [produced, produce_failed, reported, flushed, purged]
    ],
    ok = crema_events:attach(?MODULE, Names, fun tell/4, self()),
    Config.

end_per_testcase(_, _) ->
    _ = crema_events:detach(?MODULE),
    crema_ct:cleanup().

tell(Name, Measurements, Metadata, Case) ->
    Case ! {event, lists:last(Name), crema_event_table:check(Name, Measurements, Metadata),
        Measurements, Metadata, self()}.

%% The next event of that name, as {Measurements, Metadata}.
next(Name) ->
    receive
        {event, Name, Checked, Measurements, Metadata, _} ->
            ?assertEqual(ok, Checked),
            {Measurements, Metadata}
    after 15000 -> error({no_event, Name})
    end.

%% Reports until so many messages were acknowledged, failed or purged.
reported(Count) when Count > 0 ->
    {#{acknowledged := A, failed := F, purged := P}, _} = Event = next(reported),
    [Event | reported(Count - A - F - P)];
reported(0) ->
    [].

total(Field, Events) ->
    lists:sum([maps:get(Field, Measurements) || {Measurements, _} <- Events]).

listed(Events) ->
    lists:append([Reports || {_, #{reports := Reports}} <- Events]).

off_by_default(Config) ->
    %% Without the option calls and reports tell nothing, whoever listens.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config),
    {ok, _} = crema:produce(P, #{topic => Topic, value => <<"v">>}),
    ok = crema:produce_async(P, #{topic => Topic}, #{report => none}),
    {error, _} = crema:produce(P, #{}),
    ok = crema_producer:stop(P),
    crema_ct:quiet().

calls(Config) ->
    %% Each call tells what it was given and how long it took, in the process that
    %% made it, under the name of the client.
    Topic = crema_ct:topic(Config, 1),
    Other = crema_ct:topic(Config, 1),
    Options = #{events => [calls], name => ?FUNCTION_NAME},
    P = crema_ct:producer(Config, Options),
    One = #{topic => Topic, value => <<"v">>},
    {ok, _} = crema:produce(?FUNCTION_NAME, One),
    Self = self(),
    receive
        {event, produced, ok, #{count := 1, failed := 0, duration := Us}, Metadata, Self} ->
            ?assert(Us > 0),
            ?assertEqual(
                #{
                    client => P,
                    name => ?FUNCTION_NAME,
                    call => sync,
                    topics => #{Topic => 1},
                    messages => [One]
                },
                Metadata
            )
    after 15000 -> error(no_event)
    end,
    {ok, Ref} = crema:produce_async(P, One),
    ?assertMatch({#{count := 1}, #{call := async}}, next(produced)),
    {ok, _} = crema:await(Ref),
    Many = [One, One#{topic := binary_to_list(Other)}, One],
    {ok, _} = crema:produce_many(P, Many),
    Topics = #{Topic => 2, Other => 1},
    ?assertMatch({#{count := 3}, #{call := sync, topics := Topics}}, next(produced)),
    ok = crema:produce_many_async(P, Many, #{report => none}),
    ?assertMatch({#{count := 3}, #{call := async, messages := Many}}, next(produced)),
    ok = crema:flush(P, 10000),
    _ = next(flushed),
    crema_ct:quiet().

calls_of_a_transaction(Config) ->
    %% In a transaction and as one of its own, a call tells once, of its producer.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config, #{
        events => [calls], kafka => #{'transactional.id' => crema_ct:unique(<<"events">>)}
    }),
    Message = #{topic => Topic, value => <<"v">>},
    {ok, done} = crema:transaction(P, fun(Tx) ->
        {ok, _} = crema:produce(Tx, Message),
        ok = crema:produce_async(Tx, Message, #{report => none}),
        done
    end),
    ?assertMatch({#{count := 1}, #{client := P, call := sync}}, next(produced)),
    ?assertMatch({#{count := 1}, #{client := P, call := async}}, next(produced)),
    {ok, _} = crema:produce(P, Message),
    ?assertMatch({#{count := 1}, #{client := P, call := sync}}, next(produced)),
    crema_ct:quiet().

failed_calls(Config) ->
    %% A call that ends with an error says which: wrong messages, whatever they
    %% are, messages that were not delivered, a wait that was too short. In many
    %% results the errors are counted.
    P = crema_ct:producer(Config, #{events => [calls]}),
    [
        begin
            {error, {bad_message, #{message := Text}}} = crema:produce_many(P, Messages),
            {#{failed := Count}, Metadata} = next(produce_failed),
            ?assertMatch(#{code := bad_message, message := Text, call := sync}, Metadata)
        end
     || {Messages, Count} <- [
            {[], 0}, {[#{}], 1}, {[x, #{topic => {}}], 2}, {[#{topic => <<"t">>} | x], 0}
        ]
    ],
    Topic = crema_ct:topic(Config, 1),
    _ = crema:produce(P, #{topic => Topic}),
    _ = next(produced),
    Wrong = #{topic => Topic, partition => 7},
    {error, {unknown_partition, _}} = crema:produce(P, Wrong),
    ?assertMatch(
        {#{count := 1, failed := 1}, #{code := unknown_partition, topics := #{Topic := 1}}},
        next(produce_failed)
    ),
    {ok, [_, _]} = crema:produce_many(P, [Wrong, Wrong#{partition := 0}]),
    ?assertMatch({#{count := 2, failed := 1}, _}, next(produced)),
    Away = crema_ct:unreachable(#{events => [calls], max_queue_messages => 1}),
    {error, {timeout, _}} = crema:produce(Away, #{topic => Topic}, #{timeout => 10}),
    ?assertMatch({_, #{code := timeout}}, next(produce_failed)),
    {error, {queue_full, _}} = crema:produce_async(Away, #{topic => Topic}, #{on_full => error}),
    ?assertMatch({_, #{code := queue_full, call := async}}, next(produce_failed)),
    crema_ct:quiet().

reports(Config) ->
    %% Delivered messages are told in the producer's process, with where they are,
    %% those that nobody hears of too.
    Topic = crema_ct:topic(Config, 2),
    P = crema_ct:producer(Config, #{events => [reports], name => ?FUNCTION_NAME}),
    Messages = [#{topic => Topic, partition => N rem 2, value => <<"v">>} || N <- lists:seq(1, 100)],
    {ok, Results} = crema:produce_many(P, Messages),
    ok = crema:produce_many_async(P, Messages, #{report => none}),
    Events = [{_, #{client := P, name := ?FUNCTION_NAME, failures := None}} | _] = reported(200),
    ?assertEqual(#{}, None),
    ?assertEqual({200, 0, 0}, {
        total(acknowledged, Events), total(unlisted, Events), total(failed, Events)
    }),
    Listed = listed(Events),
    ?assertEqual(200, length(lists:usort(Listed))),
    Expected = [maps:with([topic, partition, offset], Report) || {ok, Report} <- Results],
    ?assertEqual([], Expected -- Listed).

failed_reports(Config) ->
    %% A message that is refused on its way is told with its code and whether it is
    %% in the log.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config, #{events => [reports]}),
    {ok, _} = crema:produce(P, #{topic => Topic}),
    _ = reported(1),
    {ok, _} = crema:produce_many(P, [#{topic => Topic, partition => N} || N <- [0, 5, 6]]),
    Events = reported(3),
    ?assertEqual({1, 2}, {total(acknowledged, Events), total(failed, Events)}),
    ?assertEqual(
        [{5, unknown_partition}, {6, unknown_partition}],
        lists:sort([
            {Partition, Code}
         || #{topic := T, partition := Partition, code := Code, status := not_persisted} <-
                listed(Events),
            T =:= Topic
        ])
    ).

reports_of_a_stop(_Config) ->
    %% What a stop gives up is told as purged before the producer has ended.
    P = crema_ct:unreachable(#{events => [reports]}),
    ok = crema:produce_many_async(P, [#{topic => <<"t">>} || _ <- lists:seq(1, 10)], #{
        report => none
    }),
    ok = crema_producer:stop(P, 0),
    Events = reported(10),
    ?assertEqual({10, 0}, {total(purged, Events), total(failed, Events)}),
    ?assertMatch([{_, #{failures := #{purge_queue := _}}} | _], Events),
    ?assertMatch(
        [#{topic := <<"t">>, code := purge_queue, status := not_persisted} | _], listed(Events)
    ).

reports_of_a_reload(_Config) ->
    %% So is what a fatal error gives up, although its client is not the producer's
    %% any more.
    P = crema_ct:unreachable(#{
        events => [reports], on_fatal => reload, reload_backoff => {1, 1}
    }),
    ok = crema:produce_many_async(P, crema_ct_life:messages(10), #{report => none}),
    crema_ct_life:fatal(P),
    Events = [{_, #{client := P}} | _] = reported(10),
    ?assertEqual(10, total(purged, Events) + total(failed, Events)),
    ?assertEqual(10, length(listed(Events))).

reports_are_bounded(Config) ->
    %% An event lists no more than it may; the others are counted all the same.
    Topic = crema_ct:topic(Config, 1),
    [
        begin
            P = crema_ct:producer(Config, #{events => [reports], max_event_reports => Most}),
            Messages = [#{topic => Topic} || _ <- lists:seq(1, 500)],
            {ok, _} = crema:produce_many(P, Messages),
            Events = reported(500),
            ?assert(lists:all(fun({_, #{reports := L}}) -> length(L) =< Most end, Events)),
            ?assertEqual(500, total(unlisted, Events) + length(listed(Events)))
        end
     || Most <- [0, 3]
    ].

a_slow_listener(Config) ->
    %% While a handler holds up the producer's process its mailbox does not grow,
    %% and what is reported meanwhile is told at once when it goes on.
    Topic = crema_ct:topic(Config, 1),
    Case = self(),
    P = crema_ct:producer(Config, #{events => [reports]}),
    ok = crema:await_ready(P, 10000),
    Hold = fun(_, _, #{client := Client}, _) when Client =:= P ->
        Case ! {held, self()},
        receive
            go_on -> ok
        end
    end,
    ok = crema_events:attach({?MODULE, hold}, [crema, producer, reported], Hold, none),
    {ok, _} = crema:produce(P, #{topic => Topic}),
    receive
        {held, P} -> ok
    end,
    [{ok, _} = crema:produce(P, #{topic => Topic}) || _ <- lists:seq(1, 50)],
    ?assertEqual({message_queue_len, 0}, process_info(P, message_queue_len)),
    _ = reported(1),
    ok = crema_events:detach({?MODULE, hold}),
    P ! go_on,
    ?assertMatch([{#{acknowledged := 50}, _}], reported(50)).

nobody_listens(Config) ->
    %% With the option but without a handler everything goes on, and a handler that
    %% comes later gets what happens from then on.
    Topic = crema_ct:topic(Config, 1),
    ok = crema_events:detach(?MODULE),
    P = crema_ct:producer(Config, #{events => [calls, reports]}),
    [{ok, _} = crema:produce(P, #{topic => Topic}) || _ <- lists:seq(1, 10)],
    %% What was reported is dealt with.
    _ = sys:get_state(P),
    ok = crema_events:attach(?MODULE, [crema, producer, produced], fun tell/4, self()),
    {ok, _} = crema:produce(P, #{topic => Topic}),
    ?assertMatch({#{count := 1}, _}, next(produced)),
    crema_ct:quiet().

flush_and_purge(Config) ->
    %% Flush and purge are told of every producer, with how they ended.
    P = crema_ct:producer(Config),
    ok = crema:flush(P, 10000),
    ?assertMatch({#{duration := _}, #{client := P, result := ok}}, next(flushed)),
    Away = crema_ct:unreachable(#{name => ?FUNCTION_NAME}),
    ok = crema:produce_async(Away, #{topic => <<"t">>}, #{report => none}),
    {error, {timeout, _}} = crema:flush(Away, 30),
    ?assertMatch({#{duration := Ms}, #{result := timeout}} when Ms >= 30, next(flushed)),
    ok = crema:purge(Away),
    ?assertMatch({_, #{client := Away, name := ?FUNCTION_NAME, result := ok}}, next(purged)),
    {error, {not_found, _}} = crema:purge(nobody),
    {error, {not_found, _}} = crema:flush(nobody, 0),
    crema_ct:quiet().
