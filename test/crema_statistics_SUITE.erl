%% librdkafka's statistics, from the core to events and crema:statistics/1.
-module(crema_statistics_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    off_by_default/1, producers_have_them/1, consumers_have_them/1, deltas_are_as_asked_for/1,
    who_has_none/1
]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        off_by_default, producers_have_them, consumers_have_them, deltas_are_as_asked_for,
        who_has_none
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _) ->
    _ = crema_events:detach(?MODULE),
    crema_ct:cleanup().

off_by_default(Config) ->
    %% Nobody who has not asked for statistics gets any.
    attach(),
    P = crema_ct:producer(Config),
    ok = crema:await_ready(P, 10000),
    {ok, _} = crema:produce(P, #{topic => <<"t">>, value => <<"v">>}),
    ?assertMatch({error, {not_enabled, #{message := _}}}, crema:statistics(P)),
    crema_ct:quiet().

producers_have_them(Config) ->
    %% The event has totals and the whole document, in which numbers that changed
    %% have their change; crema:statistics/1 has the last; metrics are made of it.
    attach(),
    Topic = crema_ct:topic(Config, 3),
    P = crema_ct:producer(Config, #{kafka => #{'statistics.interval.ms' => 50}}),
    {ok, _} = crema:produce(P, #{topic => Topic, value => <<"v">>}),
    {Totals, #{client := P, statistics := Whole}} = seen(fun(#{txmsgs := N}, _) -> N > 0 end),
    %% More than one where a broker did not lead the partition yet.
    #{txmsgs := Sent} = Totals,
    #{<<"type">> := <<"producer">>, <<"txmsgs">> := Sent, <<"topics">> := Topics} = Whole,
    ?assertMatch(#{Topic := #{<<"partitions">> := #{<<"0">> := _, <<"2">> := _}}}, Topics),
    ?assert(is_integer(maps:get(<<"tx_d">>, Whole))),
    ?assertNot(is_map_key(<<"txmsgs_d">>, Whole)),
    {ok, #{<<"txmsgs">> := Since} = Last} = crema:statistics(P),
    ?assert(Since >= Sent),
    Metrics = crema_statistics:metrics(Last),
    ?assertMatch([{counter, <<"calls">>, _, []}, {histogram, <<"queue.size">>, _, []} | _], Metrics),
    Latencies = [{Us, Tags} || {gauge, <<"network.latency.p99">>, Us, Tags} <- Metrics],
    ?assertMatch([{_, [{<<"broker">>, <<_, _/binary>>}]} | _], Latencies).

consumers_have_them(Config) ->
    %% So has a consumer, whose partitions tell what it has received: as much as it handles, or
    %% more, for a fetch that is faster than the seek after a resume is made again (prefetch.c).
    attach(),
    Topic = crema_ct:topic(Config, 1),
    crema_ct:fill(Config, Topic, 0, lists:seq(1, 20)),
    Kafka = #{'statistics.interval.ms' => 50},
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{kafka => Kafka}),
    Received = fun
        (#{rxmsgs := N}, #{statistics := #{<<"type">> := <<"consumer">>}}) -> N >= 20;
        (_, _) -> false
    end,
    {_, #{client := Owner}} = seen(Received),
    {ok, #{<<"cgrp">> := #{<<"state">> := <<"up">>}}} = crema:statistics(C),
    ?assertMatch({ok, #{<<"rxmsgs">> := N}} when N >= 20, crema:statistics(Owner)),
    ?assertEqual(lists:seq(1, 20), crema_ct_consume:values(crema_ct:handled(20))),
    crema_ct:none_handled(500).

deltas_are_as_asked_for(Config) ->
    %% statistics_deltas says which numbers are decorated; a duration goes on.
    attach(),
    P = crema_ct:producer(Config, #{
        statistics_deltas => [txmsgs, "age"], kafka => #{'statistics.interval.ms' => 20}
    }),
    {ok, _} = crema:produce(P, #{topic => <<"t">>, value => <<"v">>}),
    Frozen = fun(_, #{statistics := #{<<"txmsgs">> := N, <<"txmsgs_fd">> := Ms}}) ->
        N =:= 1 andalso Ms >= 60
    end,
    {_, #{statistics := Whole}} = seen(Frozen),
    ?assertMatch(#{<<"txmsgs_d">> := 0, <<"age_fd">> := 0}, Whole),
    ?assertNot(is_map_key(<<"tx_d">>, Whole)),
    ?assertMatch(
        {error, {bad_options, #{faults := [#{option := statistics_deltas}]}}},
        crema_producer:start_link(#{bootstrap_servers => "h:1", statistics_deltas => some})
    ).

who_has_none(Config) ->
    %% Before the first, and without a client, an error says which it is.
    P = crema_ct:producer(Config, #{kafka => #{'statistics.interval.ms' => 3600000}}),
    ?assertMatch({error, {not_yet, #{retriable := true}}}, crema:statistics(P)),
    ok = crema_producer:stop(P),
    ?assertMatch({error, {closed, _}}, crema:statistics(P)),
    ?assertMatch({error, {not_found, _}}, crema:statistics(nobody)),
    Cluster = proplists:get_value(cluster, Config),
    ?assertMatch({error, {not_found, _}}, crema:statistics(Cluster)).

%% Each event is as the table of events has it.
attach() ->
    Self = self(),
    Name = [crema, client, statistics],
    _ = crema_events:detach(?MODULE),
    ok = crema_events:attach(?MODULE, Name, fun tell/4, Self).

tell(Name, Measurements, Metadata, Pid) ->
    Checked = crema_event_table:check(Name, Measurements, Metadata),
    Pid ! {statistics, Checked, Measurements, Metadata}.

%% The first event that satisfies a condition.
seen(Condition) ->
    receive
        {statistics, Checked, Measurements, Metadata} ->
            ?assertEqual(ok, Checked),
            case Condition(Measurements, Metadata) of
                true -> {Measurements, Metadata};
                false -> seen(Condition)
            end
    after 20000 -> error(no_statistics)
    end.
