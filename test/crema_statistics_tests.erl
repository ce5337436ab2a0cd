%% Statistics: deltas, frozen durations and metrics are functions of the maps.
-module(crema_statistics_tests).

-include_lib("eunit/include/eunit.hrl").

first_are_unchanged_test() ->
    %% The first statistics have no change, and nothing of theirs is lost.
    First = #{<<"ts">> => 1000, <<"tx">> => 5, <<"name">> => <<"x">>},
    ?assertEqual(
        First#{<<"tx_d">> => 0, <<"tx_fd">> => 0},
        crema_statistics:decorate(First, none, [<<"tx">>])
    ).

changes_and_frozen_durations_test() ->
    %% A change is the difference; the frozen duration counts the milliseconds
    %% for which there was none, over several statistics, and begins anew.
    Seen = [{0, 5}, {1000, 8}, {2000, 8}, {3500, 8}, {4000, 7}, {5000, 7}],
    Decorated = decorated([#{<<"ts">> => Ms * 1000 + 7, <<"tx">> => Tx} || {Ms, Tx} <- Seen], all),
    ?assertEqual(
        [{0, 0}, {3, 0}, {0, 1000}, {0, 2500}, {-1, 0}, {0, 1000}],
        [{D, Fd} || #{<<"tx_d">> := D, <<"tx_fd">> := Fd} <- Decorated]
    ).

inner_maps_test() ->
    %% Numbers are decorated wherever they are; what appears later begins at 0,
    %% what disappears is gone, and text, flags and lists are left as they are.
    Broker = fun(Tx) -> #{<<"tx">> => Tx, <<"state">> => <<"UP">>, <<"ok">> => true} end,
    Given = [
        #{<<"ts">> => 0, <<"brokers">> => #{<<"a">> => Broker(1), <<"gone">> => Broker(1)}},
        #{<<"ts">> => 9000, <<"brokers">> => #{<<"a">> => Broker(3), <<"new">> => Broker(7)}}
    ],
    [_, #{<<"brokers">> := Brokers}] = decorated(Given, [<<"tx">>]),
    ?assertEqual(
        #{
            <<"a">> => (Broker(3))#{<<"tx_d">> => 2, <<"tx_fd">> => 0},
            <<"new">> => (Broker(7))#{<<"tx_d">> => 0, <<"tx_fd">> => 0}
        },
        Brokers
    ).

which_keys_test() ->
    %% all takes every number, a list those it names, metrics what metrics/1 needs.
    Map = #{<<"ts">> => 0, <<"tx">> => 1, <<"rx">> => 1.5, <<"x">> => <<"1">>},
    Added = fun(Deltas) ->
        lists:sort(maps:keys(crema_statistics:decorate(Map, none, Deltas)) -- maps:keys(Map))
    end,
    ?assertEqual(
        [<<"rx_d">>, <<"rx_fd">>, <<"ts_d">>, <<"ts_fd">>, <<"tx_d">>, <<"tx_fd">>], Added(all)
    ),
    ?assertEqual([<<"rx_d">>, <<"rx_fd">>], Added([<<"rx">>, <<"x">>, <<"absent">>])),
    ?assertEqual([<<"tx_d">>, <<"tx_fd">>], Added(metrics)),
    ?assertEqual([], Added([])).

of_another_type_test() ->
    %% A field that was no number before counts as seen for the first time.
    [_, Second] = decorated([#{<<"x">> => <<"1">>}, #{<<"x">> => 1}], all),
    ?assertEqual(#{<<"x">> => 1, <<"x_d">> => 0, <<"x_fd">> => 0}, Second),
    [_, Third] = decorated([#{<<"x">> => 1}, #{<<"x">> => #{}}], all),
    ?assertEqual(#{<<"x">> => #{}}, Third).

metrics_test() ->
    %% The metrics have WaterDrop's names, those of brokers a tag; bootstrap
    %% addresses and the coordinator's second entry have none.
    Window = #{<<"avg">> => 1, <<"p95">> => 2, <<"p99">> => 3},
    Broker = #{
        <<"nodeid">> => 1,
        <<"nodename">> => <<"b:1">>,
        <<"source">> => <<"learned">>,
        <<"txretries">> => 0,
        <<"txerrs">> => 0,
        <<"rxerrs">> => 0,
        <<"outbuf_latency">> => Window,
        <<"rtt">> => Window
    },
    Statistics = fun(Ts, Tx) ->
        #{
            <<"ts">> => Ts,
            <<"tx">> => Tx,
            <<"msg_cnt">> => 9,
            <<"brokers">> => #{
                <<"b:1/1">> => Broker#{<<"txerrs">> := Tx},
                <<"b:1/bootstrap">> => Broker#{<<"nodeid">> := -1},
                <<"GroupCoordinator">> => Broker#{<<"source">> := <<"logical">>}
            }
        }
    end,
    [_, Decorated] = decorated([Statistics(0, 1), Statistics(1000, 4)], metrics),
    Tags = [{<<"broker">>, <<"b:1">>}],
    ?assertEqual(
        [
            {counter, <<"calls">>, 3, []},
            {histogram, <<"queue.size">>, 9, []},
            {counter, <<"deliver.attempts">>, 0, Tags},
            {counter, <<"deliver.errors">>, 3, Tags},
            {counter, <<"receive.errors">>, 0, Tags},
            {gauge, <<"queue.latency.avg">>, 1, Tags},
            {gauge, <<"queue.latency.p95">>, 2, Tags},
            {gauge, <<"queue.latency.p99">>, 3, Tags},
            {gauge, <<"network.latency.avg">>, 1, Tags},
            {gauge, <<"network.latency.p95">>, 2, Tags},
            {gauge, <<"network.latency.p99">>, 3, Tags}
        ],
        crema_statistics:metrics(Decorated)
    ),
    ?assertEqual([], crema_statistics:metrics(#{})).

decorated(Maps, Deltas) ->
    {Decorated, _} = lists:mapfoldl(
        fun(Map, Previous) ->
            New = crema_statistics:decorate(Map, Previous, Deltas),
            {New, New}
        end,
        none,
        Maps
    ),
    Decorated.
