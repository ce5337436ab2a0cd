%% The clients that live as long as the run: what an application has in its tree.
-module(crema_soak_clients).
-behaviour(supervisor).

-export([start/1, counted/0, topic/2, options/0]).
-export([init/1]).

-define(TOPICS, [{single, 4}, {batch, 2}, {out, 2}, {dead, 1}, {large, 2}, {sales, 2}]).

%% @doc Makes the topics of this VM, starts all, and waits until each is ready.
start(Name) ->
    Socket = crema_ct_wire:connect(bootstrap()),
    [ok = crema_ct_wire:create_topic(Socket, topic(Name, T), Count) || {T, Count} <- ?TOPICS],
    ok = crema_ct_wire:close(Socket),
    ok = crema_events:attach(?MODULE, events(), fun count/4, numbered()),
    {ok, _} = supervisor:start_link({local, ?MODULE}, ?MODULE, Name),
    lists:foreach(
        fun({Id, _, _, _}) -> ok = crema:await_ready(Id, 60000) end,
        supervisor:which_children(?MODULE)
    ).

events() ->
    [Event || #{name := Event} <- crema_event_table:table()].

numbered() ->
    {maps:from_list(lists:zip(events(), lists:seq(1, length(events())))), counters:new(length(events()), [])}.

count(Event, _, _, {Numbers, Counts}) ->
    counters:add(Counts, map_get(Event, Numbers), 1).

%% @doc How often each event came that came at all.
counted() ->
    [#{config := {Numbers, Counts}} | _] = [H || #{id := ?MODULE} = H <- crema_events:list_handlers()],
    [
        {Event, counters:get(Counts, Number)}
     || {Event, Number} <- lists:sort(maps:to_list(Numbers)), counters:get(Counts, Number) > 0
    ].

%% @doc The topic of that kind, and the group that has its messages.
topic(Name, Kind) ->
    iolist_to_binary([Name, $-, atom_to_list(Kind)]).

%% @doc The brokers, as an option of every client.
options() -> #{bootstrap_servers => bootstrap()}.

bootstrap() -> list_to_binary(os:getenv("KAFKA_BOOTSTRAP")).

init(Name) ->
    {ok, {#{intensity => 100, period => 60}, [Spec || {_, Spec} <- clients(Name)]}}.

clients(Name) ->
    [
        {Id, (Module:child_spec(options(Id, Options)))#{id => Id}}
     || {Id, Module, Options} <- [
            {soak_plain, crema_producer, #{
                events => [calls, reports], on_fatal => reload, reload_backoff => {10, 100}
            }},
            {soak_transactions, crema_producer, #{
                kafka => #{'transactional.id' => topic(Name, one)},
                on_fatal => reload, reload_backoff => {10, 100}
            }},
            {soak_pool, crema_pool, #{
                size => 2, kafka => #{'transactional.id' => topic(Name, pool)}
            }},
            {soak_single, crema_consumer, single(Name)},
            {soak_batch, crema_consumer, #{
                group => topic(Name, batch),
                topics => [topic(Name, batch), topic(Name, large)],
                handler => {crema_soak_batch_handler, none},
                concurrency => {key, 2},
                failures => #{retries => 1, backoff => {5, 20}, then => skip}
            }},
            {soak_exactly, crema_consumer, #{
                group => topic(Name, exactly),
                topics => [topic(Name, batch)],
                handler => fun(#{key := Key, value := Value}) ->
                    {produce, [#{topic => topic(Name, out), key => Key, value => Value}]}
                end,
                commit => exactly_once,
                transactional_id => topic(Name, exactly)
            }}
        ]
    ].

options(Id, Options) ->
    Kafka = maps:merge(#{'statistics.interval.ms' => 5000}, maps:get(kafka, Options, #{})),
    maps:merge(options(), Options#{name => Id, kafka => Kafka}).

%% Of which there are two members at times.
single(Name) ->
    #{
        group => topic(Name, single),
        topics => [topic(Name, single)],
        handler => {crema_soak_handler, none},
        max_in_flight => 100,
        failures => [
            {crash, #{retries => 1, backoff => {5, 20}, then => skip}},
            {default, #{retries => 1, backoff => {5, 20}, then => dead_letter}}
        ],
        dead_letter => topic(Name, dead),
        kafka => #{'session.timeout.ms' => 6000, 'heartbeat.interval.ms' => 500}
    }.
