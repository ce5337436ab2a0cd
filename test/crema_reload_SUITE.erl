%% What follows a fatal error of a producer's client: a new one in the same
%% process, with what was outstanding reported, or the end.
-module(crema_reload_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    reloads/1, callers_wait_for_reload/1, deadlines_hold_in_reload/1, attempts_are_limited/1,
    delivery_begins_anew/1, never_reloads/1, reload_changes_options/1, bad_on_reload/1,
    sequence_lost/1, right_taken_away/1, fenced/1, in_a_transaction/1
]).
-export([other_client_id/2]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        reloads, callers_wait_for_reload, deadlines_hold_in_reload, attempts_are_limited,
        delivery_begins_anew, never_reloads, reload_changes_options, bad_on_reload,
        sequence_lost, right_taken_away, fenced, in_a_transaction
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) ->
    ok = crema_ct_life:untold(),
    crema_ct:cleanup().

reloads(_Config) ->
    %% After a fatal error what is outstanding is reported, each message once, and
    %% then a new client is made in the same process. Events tell of both.
    Events = [[crema, client, fatal], [crema, producer, reload], [crema, producer, reloaded]],
    crema_ct_life:told(Events),
    P = crema_ct:unreachable(#{on_fatal => reload, reload_backoff => {50, 50}}),
    ok = crema:produce_many_async(P, crema_ct_life:messages(1000), #{report => message}),
    Port = crema_ct_life:port(P),
    crema_ct_life:fatal(P),
    [Fatal, Reload, Reloaded] = [crema_ct_life:event(Event) || Event <- Events],
    #{client := P, code := fatal} = Fatal,
    #{client := P, code := fatal, attempt := 1, delay := Delay} = Reload,
    #{client := P, attempt := 1, duration := Duration} = Reloaded,
    ?assert(Delay =< 50),
    ?assert(Duration >= Delay, {Duration, Delay}),
    ?assertEqual(lists:seq(0, 999), lists:sort([Tag || {Tag, _} <- reports_so_far()])),
    ?assertMatch(#{state := connecting, fatal := false}, crema:status(P)),
    ?assert(is_port(crema_ct_life:port(P)) andalso crema_ct_life:port(P) =/= Port),
    ?assertMatch(#{accepted := 0}, crema:info(P)),
    crema_ct:quiet().

reports_so_far() ->
    receive
        {crema_reports, _, _} = Message -> crema:reports(Message) ++ reports_so_far()
    after 0 -> []
    end.

callers_wait_for_reload(Config) ->
    %% Callers that come while the client is made anew wait for it, as do those
    %% that wait for it to be ready or flushed.
    P = crema_ct_life:reloading(Config, {1000, 1000}),
    ?assertMatch(#{state := reloading, fatal := {fatal, _}}, crema:status(P)),
    Callers = [
        fun() -> crema_ct_life:produced(P) end,
        fun() -> {ok, Ref} = crema:produce_async(P, #{topic => t}), crema:await(Ref, 10000) end,
        fun() -> {crema:flush(P, 10000), flushed} end,
        fun() -> {crema:await_ready(P, 10000), ready} end
    ],
    ?assertMatch([{ok, _}, {ok, _}, {ok, _}, {ok, _}], crema_ct:spawned(Callers)),
    ?assertMatch(#{accepted := 2, connected := true}, crema:info(P)).

deadlines_hold_in_reload(Config) ->
    %% But not longer than they may, and not at all with on_full => error.
    P = crema_ct_life:reloading(Config, {30000, 30000}),
    Calls = [
        {0, 500, fun() -> crema:produce(P, #{topic => t}, #{on_full => error}) end},
        {300, 2000, fun() -> crema:produce(P, #{topic => t}, #{full_timeout => 300}) end},
        {300, 2000, fun() -> crema:produce(P, #{topic => t}, #{timeout => 300}) end},
        {300, 2000, fun() -> crema:produce_async(P, #{topic => t}, #{full_timeout => 300}) end},
        {300, 2000, fun() -> crema:flush(P, 300) end}
    ],
    [
        begin
            {Time, Result} = crema_ct:timed(Call),
            ?assertMatch({error, {not_connected, #{retriable := true}}}, Result),
            ?assert(Time >= Least andalso Time < Most, {Time, Least})
        end
     || {Least, Most, Call} <- Calls
    ],
    ?assertEqual(ok, crema:purge(P)),
    ?assertMatch({error, {busy, _}}, crema:disconnect(P)),
    {error, {timeout, _}} = crema:await_ready(P, 100),
    crema_ct:quiet().

attempts_are_limited(_Config) ->
    %% So many clients in a row may be lost; then the producer stops, and says of
    %% what. Callers are told that it has.
    P = crema_ct:unreachable(#{
        on_fatal => reload, reload_attempts => 2, reload_backoff => {1, 1}
    }),
    Monitor = erlang:monitor(process, P),
    crema_ct_life:told([[crema, producer, reloaded]]),
    [
        begin
            crema_ct_life:fatal(P),
            #{attempt := N} = crema_ct_life:event([crema, producer, reloaded])
        end
     || N <- [1, 2]
    ],
    crema_ct_life:fatal(P),
    ?assertEqual({fatal, fatal}, crema_ct_life:ended(P, Monitor)),
    ?assertMatch({error, {closed, _}}, crema_ct_life:produced(P)).

delivery_begins_anew(Config) ->
    %% A client that delivered something is the last of its row.
    P = crema_ct:producer(Config, #{
        on_fatal => reload, reload_attempts => 1, reload_backoff => {1, 1}
    }),
    crema_ct_life:told([[crema, producer, reloaded]]),
    [
        begin
            {ok, _} = crema_ct_life:produced(P),
            crema_ct_life:fatal(P),
            #{attempt := 1} = crema_ct_life:event([crema, producer, reloaded])
        end
     || _ <- [1, 2, 3]
    ],
    %% Also when it was disconnected since.
    {ok, _} = crema_ct_life:produced(P),
    ok = crema:disconnect(P),
    ok = crema:await_ready(P, 10000),
    crema_ct_life:fatal(P),
    #{attempt := 1} = crema_ct_life:event([crema, producer, reloaded]).

never_reloads(_Config) ->
    %% Fenced producers, and those that met an error of never_reload, stop for
    %% good, whatever on_fatal says.
    [
        begin
            P = crema_ct:unreachable(#{
                on_fatal => Policy, never_reload => [cluster_authorization_failed]
            }),
            Monitor = erlang:monitor(process, P),
            crema_ct_life:fatal(P, Name),
            ?assertMatch({shutdown, {fatal, _}}, crema_ct_life:ended(P, Monitor))
        end
     || Policy <- [reload, stop],
        Name <- [<<"_FENCED">>, <<"CLUSTER_AUTHORIZATION_FAILED">>, <<"PRODUCER_FENCED">>]
    ].

reload_changes_options(Config) ->
    %% on_reload learns of the error and may give the next client other
    %% properties; both forms of it.
    Self = self(),
    Fun = fun(Info) ->
        Self ! {reload, Info},
        keep
    end,
    P = crema_ct:producer(Config, #{
        on_fatal => reload, on_reload => Fun, reload_backoff => {1, 1},
        kafka => #{'client.id' => first}
    }),
    crema_ct_life:fatal(P),
    receive
        {reload, Info} ->
            ?assertMatch(
                #{error := {fatal, #{}}, attempt := 1, kafka := #{<<"client.id">> := <<"first">>}},
                Info
            )
    end,
    M = crema_ct:producer(Config, #{
        on_fatal => reload, on_reload => {?MODULE, other_client_id, [<<"second">>]},
        reload_backoff => {1, 1}
    }),
    crema_ct_life:told([[crema, producer, reloaded]]),
    crema_ct_life:fatal(M),
    _ = crema_ct_life:event([crema, producer, reloaded]),
    {ok, _} = crema_ct_life:produced(M),
    #{kafka := Kafka} = element(2, sys:get_state(M)),
    ?assertEqual({ok, <<"client.id">>, <<"second">>}, crema_properties:find(<<"client.id">>, Kafka)).

other_client_id(#{kafka := Kafka}, Id) -> {kafka, Kafka#{<<"client.id">> => Id}}.

bad_on_reload(_Config) ->
    %% One that raises, returns something else or gives properties that are wrong
    %% ends the producer, whose supervisor starts it with the options it had.
    Functions = [
        fun(_) -> error(boom) end,
        fun(_) -> other end,
        fun(_) -> {kafka, #{acks => 1}} end,
        fun(_) -> {kafka, #{'compression.codec' => none_such}} end
    ],
    Reasons = [
        begin
            P = crema_ct:unreachable(#{
                on_fatal => reload, on_reload => Function, reload_backoff => {1, 1}
            }),
            Monitor = erlang:monitor(process, P),
            crema_ct_life:fatal(P),
            crema_ct_life:ended(P, Monitor)
        end
     || Function <- Functions
    ],
    ?assertMatch(
        [
            {on_reload, {error, boom, _}}, {on_reload, bad_return}, {bad_options, _},
            {bad_options, _}
        ],
        Reasons
    ).

sequence_lost(_Config) ->
    %% Brokers that no longer know what the producer sent: of what was outstanding
    %% each message is reported, those under way as possibly in the log, and what
    %% comes afterwards is delivered.
    {Cluster, P} = failing(#{kafka => #{'linger.ms' => 50}}),
    {ok, _} = crema_ct_life:produced(P),
    ok = crema_cluster:fail(Cluster, produce, [out_of_order_sequence_number]),
    ok = crema:produce_many_async(P, crema_ct_life:messages(1000), #{report => message}),
    Reports = crema_ct:reports(1000),
    ?assertEqual(lists:seq(0, 999), lists:sort([Tag || {Tag, _} <- Reports])),
    Lost = [Details || {_, {error, {out_of_order_sequence_number, Details}}} <- Reports],
    ?assertMatch([#{status := possibly_persisted} | _], Lost),
    #{attempt := 1} = crema_ct_life:event([crema, producer, reloaded]),
    ?assertMatch({ok, _}, crema_ct_life:produced(P)),
    ok = crema_producer:stop(P),
    ok = crema_cluster:stop(Cluster).

right_taken_away(_Config) ->
    %% Brokers that refuse a producer id, to one client after another, until they
    %% give one: messages meanwhile are reported as not in the log.
    {Cluster, P} = failing(#{connect => use}),
    Refusals = lists:duplicate(3, cluster_authorization_failed),
    ok = crema_cluster:fail(Cluster, init_producer_id, Refusals),
    Results = until_delivered(P),
    ?assertEqual([ok], [ok || {ok, _} <- Results]),
    ?assertEqual([], [Bad || {error, {_, #{status := Bad}}} <- Results, Bad =/= not_persisted]),
    [
        #{attempt := N} = crema_ct_life:event([crema, producer, reloaded])
     || N <- [1, 2, 3]
    ],
    ok = crema_producer:stop(P),
    ok = crema_cluster:stop(Cluster).

until_delivered(P) ->
    case crema:produce(P, #{topic => t}) of
        {ok, _} = Delivered -> [Delivered];
        {error, _} = Error -> [Error | until_delivered(P)]
    end.

fenced(_Config) ->
    %% A producer that brokers call fenced ends, whatever on_fatal says.
    {Cluster, P} = failing(#{connect => use}),
    Monitor = erlang:monitor(process, P),
    ok = crema_cluster:fail(Cluster, init_producer_id, [producer_fenced]),
    ?assertMatch({error, _}, crema:produce(P, #{topic => t})),
    ?assertMatch({shutdown, {fatal, _}}, crema_ct_life:ended(P, Monitor)),
    ok = crema_cluster:stop(Cluster).

in_a_transaction(_Config) ->
    %% A transaction that meets a fatal error fails, and so its messages; the next
    %% is one of the new client's, which may have another transactional.id.
    Rename = fun(#{kafka := Kafka}) -> {kafka, Kafka#{<<"transactional.id">> := <<"second">>}} end,
    {Cluster, P} = failing(#{kafka => #{'transactional.id' => first}, on_reload => Rename}),
    Transaction = fun() ->
        crema:transaction(P, fun(Tx) -> crema:produce(Tx, #{topic => t, partition => 0}) end)
    end,
    {ok, {ok, _}} = Transaction(),
    Refusal = [transactional_id_authorization_failed],
    ok = crema_cluster:fail(Cluster, add_partitions_to_txn, Refusal),
    ?assertMatch({error, {_, #{fatal := true}}}, Transaction()),
    #{attempt := 1} = crema_ct_life:event([crema, producer, reloaded]),
    ?assertMatch({ok, {ok, _}}, Transaction()),
    #{kafka := Kafka} = element(2, sys:get_state(P)),
    ?assertMatch(#{<<"transactional.id">> := <<"second">>}, Kafka),
    ok = crema_producer:stop(P),
    ok = crema_cluster:stop(Cluster).

%% A producer that reloads at once, on a cluster of its own that is to fail.
failing(Options) ->
    {ok, Cluster} = crema_cluster:start_link(),
    crema_ct_life:told([[crema, producer, reloaded]]),
    Given = Options#{
        bootstrap_servers => crema_cluster:bootstrap_servers(Cluster),
        on_fatal => reload,
        reload_backoff => {1, 1}
    },
    {Cluster, crema_ct:producer([], Given)}.
