%% Processes, messages and rows that must not be left behind, and calls that must
%% not wait for themselves.
-module(crema_leftover_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    encoders/1, pushed_after_close/1, remembered_producers/1, buffered_note/1, pool_rows/1,
    consumer_not_started/1,
    pool_stop_messages/1, ready_message/1, ready_handler/1,
    stop_in_transaction_event/1, slow_transaction_event/1, pool_stop_in_event/1, link_in_event/1,
    given_up/1, asker_killed/1, transaction_on_reload/1, stop_in_callback/1,
    wrong_times/1, longest_times/1, wrong_secrets/1, options_that_are_no_map/1
]).

suite() -> [{timetrap, {seconds, 120}}].

all() ->
    [
        encoders, pushed_after_close, remembered_producers, buffered_note, pool_rows,
        consumer_not_started,
        pool_stop_messages, ready_message, ready_handler,
        stop_in_transaction_event, slow_transaction_event, pool_stop_in_event, link_in_event,
        given_up, asker_killed, transaction_on_reload, stop_in_callback,
        wrong_times, longest_times, wrong_secrets, options_that_are_no_map
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) ->
    _ = crema_events:detach(?MODULE),
    crema_ct:cleanup().

%% ---- processes, rows, memory -----------------------------------------------------

encoders(Config) ->
    %% A handle's encoders end with it.
    P = crema_ct:producer(Config),
    Before = length(processes()),
    {ok, Handle} = crema:topic(P, crema_ct:topic(Config, 1), #{pipeline => 8}),
    {ok, Ref} = crema:push(Handle, #{value => <<>>}),
    {ok, _} = crema:await(Ref, 5000),
    ?assert(length(processes()) >= Before + 8),
    ok = crema:close_topic(Handle, 5000),
    crema_ct:await(fun() -> length(processes()) =< Before end).

pushed_after_close(Config) ->
    %% A handle that has just been closed can be used again at once.
    P = crema_ct:producer(Config),
    {ok, Handle} = crema:topic(P, crema_ct:topic(Config, 1), #{pipeline => 2}),
    [
        begin
            ?assertMatch({ok, _}, crema:push(Handle, #{value => <<>>})),
            ok = crema:close_topic(Handle, 5000)
        end
     || _ <- lists:seq(1, 300)
    ].

remembered_producers(Config) ->
    %% A process that uses many producers does not remember them all.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 1),
    lists:foreach(
        fun(Timeout) ->
            {ok, V} = crema:variant(P, #{timeout => Timeout}),
            ok = crema:produce_async(V, #{topic => Topic}, #{report => none})
        end,
        lists:seq(1, 500)
    ),
    ?assert(length(get()) < 300),
    ?assertMatch({ok, _}, crema:produce(P, #{topic => Topic})).

buffered_note(Config) ->
    %% A buffer that hears late of its producer's end leaves no row behind.
    P = crema_ct:producer(Config),
    Message = #{topic => crema_ct:topic(Config, 1)},
    ok = crema:buffer(P, Message),
    Buffer = crema_registry:noted(P, buffer, none),
    ok = sys:suspend(Buffer),
    {_, Monitor} = spawn_monitor(fun() -> crema:buffer(P, Message) end),
    crema_ct:await(fun() -> process_info(Buffer, message_queue_len) >= {message_queue_len, 1} end),
    exit(P, kill),
    crema_ct:await(fun() -> rows(P) =:= [] end),
    ok = sys:resume(Buffer),
    receive
        {'DOWN', Monitor, _, _, _} -> ok
    end,
    crema_ct:await(fun() -> not is_process_alive(Buffer) end),
    ?assertEqual([], rows(P)).

consumer_not_started(Config) ->
    %% A consumer that fails to start when it has a producer already leaves no row behind.
    Rows = fun() -> [Row || {{note, _, crema_dead_letter_sup}, _} = Row <- ets:tab2list(crema_registry)] end,
    Options = #{
        bootstrap_servers => crema_ct:bootstrap(Config),
        group => g,
        topics => [crema_ct:topic(Config, 1)],
        handler => fun(_) -> ok end,
        dead_letter => #{topic => dead},
        kafka => #{'group.instance.id' => one}
    },
    One = crema_ct:started(crema_consumer:start_link(Options)),
    {Holder, Failed} = crema_ct:hold(fun() -> crema_consumer:start_link(Options) end),
    ok = crema_ct:let_go(Holder),
    ?assertMatch({error, {instance_in_use, _}}, Failed),
    crema_ct:await(fun() -> [One] =:= [Owner || {{note, Owner, _}, _} <- Rows()] end),
    ok = crema_consumer:stop(One),
    crema_ct:await(fun() -> Rows() =:= [] end).

rows(Owner) ->
    [Row || {{note, Of, _}, _} = Row <- ets:tab2list(crema_registry), Of =:= Owner].

pool_rows(Config) ->
    %% The registry's process knows of pools also when it was started again.
    Pool = pool(Config),
    Registry = whereis(crema_registry),
    exit(Registry, kill),
    crema_ct:await(fun() -> not lists:member(whereis(crema_registry), [Registry, undefined]) end),
    ok = crema_pool:stop(Pool),
    crema_ct:await(fun() -> crema_registry:pool(Pool) =:= none end).

pool(Config) ->
    {ok, Pool} = crema_pool:start_link(#{
        size => 2, bootstrap_servers => crema_ct:bootstrap(Config)
    }),
    true = unlink(Pool),
    Pool.

%% ---- messages --------------------------------------------------------------------

pool_stop_messages(Config) ->
    %% Who stops a pool gets no messages for it.
    ok = crema_pool:stop(pool(Config), 1000),
    receive
        Message -> error(Message)
    after 100 -> ok
    end.

ready_message(_Config) ->
    %% Who no longer waits for a client gets no message when it is ready.
    Self = self(),
    ok = crema_events:attach(
        ?MODULE,
        [crema, client, connected],
        fun(_, _, _, _) ->
            Self ! {held, self()},
            receive
                go -> ok
            end
        end,
        none
    ),
    P = crema_ct:unreachable(#{}),
    Holder = spawn_link(fun() ->
        receive
            connect -> crema_events:execute([crema, client, connected], #{}, #{})
        end
    end),
    {Waiter, Monitor} = spawn_monitor(fun() ->
        {error, {timeout, _}} = crema:await_ready(P, 500),
        Self ! waited,
        receive
            Message -> exit(Message)
        end
    end),
    crema_ct:await(fun() -> length(crema_events:list_handlers()) > 1 end),
    Holder ! connect,
    receive
        {held, Holder} -> ok
    end,
    receive
        waited -> ok
    end,
    Holder ! go,
    crema_ct:await(fun() -> not is_process_alive(Holder) end),
    Waiter ! nothing_else,
    receive
        {'DOWN', Monitor, _, _, Reason} -> ?assertEqual(nothing_else, Reason)
    end.

ready_handler(Config) ->
    %% One that is killed while it waits has its handler taken away.
    P = crema_ct:unreachable(#{}),
    Before = crema_events:list_handlers(),
    Waiter = spawn(fun() -> crema:await_ready(P, infinity) end),
    crema_ct:await(fun() -> length(crema_events:list_handlers()) > length(Before) end),
    exit(Waiter, kill),
    Connected = crema_ct:producer(Config),
    ok = crema:await_ready(Connected, 5000),
    crema_ct:await(fun() -> crema_events:list_handlers() -- Before =:= [] end).

%% ---- event handlers --------------------------------------------------------------

stop_in_transaction_event(Config) ->
    %% The process of a producer's transactions may stop the producer.
    P = transactional(Config, #{}),
    on([crema, transaction, committed], fun() -> crema_producer:stop(P) end),
    Topic = crema_ct:topic(Config, 1),
    ?assertMatch({ok, ok}, crema:transaction(P, fun(T) ->
        crema:produce_async(T, #{topic => Topic}, #{report => none})
    end)),
    crema_ct:await(fun() -> not is_process_alive(P) end).

slow_transaction_event(Config) ->
    %% One that does not end its handler does not hold up a stop for ever.
    P = transactional(Config, #{flush_timeout => 500}),
    on([crema, transaction, started], fun() -> timer:sleep(infinity) end),
    Caller = spawn(fun() -> crema:transaction(P, fun(_) -> ok end) end),
    crema_ct:await(fun() ->
        process_info(Caller, current_function) =:= {current_function, {gen, do_call, 4}}
    end),
    timer:sleep(500),
    {Time, ok} = timer:tc(fun() -> crema_producer:stop(P) end),
    ?assert(Time < 5000000).

transactional(Config, Options) ->
    Kafka = #{'transactional.id' => crema_ct:unique(<<"leftover">>)},
    P = crema_ct:producer(Config, Options#{kafka => Kafka}),
    ok = crema:await_ready(P, 5000),
    P.

pool_stop_in_event(Config) ->
    %% A member of a pool may stop the pool.
    Pool = pool(Config),
    on([crema, producer, disconnected], fun() -> crema_pool:stop(Pool) end),
    Monitor = erlang:monitor(process, Pool),
    ok = crema:await_ready(Pool, 5000),
    {ok, Member} = crema_pool:checkout(Pool),
    ok = crema:disconnect(Member),
    receive
        {'DOWN', Monitor, _, _, Reason} -> ?assertEqual(shutdown, Reason)
    after 3000 -> error(runs)
    end.

transaction_on_reload(Config) ->
    %% In a producer's own process its transactions are not waited for when they
    %% wait for it.
    Self = self(),
    P = transactional(Config, #{on_fatal => reload, reload_backoff => {1, 1}, on_reload => fun(_) ->
        Self ! {told, crema:transaction(self(), fun(_) -> ok end)},
        keep
    end}),
    gen_server:cast(P, {fatal, {fatal, #{message => <<"a test's">>, fatal => true}}}),
    receive
        {told, Answer} -> ?assertMatch({error, {not_connected, _}}, Answer)
    end,
    ?assertEqual({ok, done}, crema:transaction(P, fun(_) -> done end)).

stop_in_callback(Config) ->
    %% A callback may stop its producer, and those after it are run.
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 1),
    Self = self(),
    Callback = fun(_) -> Self ! {called, crema_producer:stop(P)} end,
    Message = #{topic => Topic, value => <<>>},
    {ok, _} = crema:produce(P, Message),
    [ok = crema:produce_async(P, Message, #{report => Callback}) || _ <- [1, 2, 3]],
    [
        receive
            {called, ok} -> ok
        end
     || _ <- [1, 2, 3]
    ],
    crema_ct:await(fun() -> not is_process_alive(P) end).

link_in_event(Config) ->
    %% What an event handler has started and linked may end.
    Self = self(),
    on([crema, client, connected], fun() -> Self ! {started, spawn_link(fun() -> ok end)} end),
    P = crema_ct:producer(Config),
    receive
        {started, Pid} -> crema_ct:await(fun() -> not is_process_alive(Pid) end)
    end,
    ?assertMatch({ok, _}, crema:produce(P, #{topic => crema_ct:topic(Config, 1)})).

on(Event, Do) ->
    ok = crema_events:attach(?MODULE, Event, fun(_, _, _, _) -> Do() end, none).

%% ---- the end of others -----------------------------------------------------------

given_up(Config) ->
    %% A pool or a consumer that starts its processes again and again crashes:
    %% whoever supervises it would take an end with `shutdown' for a stop.
    Brokers = #{bootstrap_servers => crema_ct:bootstrap(Config)},
    Consumer = Brokers#{
        group => <<"given_up">>, topics => [crema_ct:topic(Config, 1)],
        handler => {crema_ct_handler, self()}
    },
    [
        begin
            {ok, Pid} = Module:start_link(Options),
            true = unlink(Pid),
            Monitor = erlang:monitor(process, Pid),
            kill_within(Of, Pid),
            receive
                {'DOWN', Monitor, _, _, Reason} -> ?assertEqual({Module, killed}, {Module, Reason})
            end
        end
     || {Module, Options, Of} <- [
            {crema_pool, Brokers#{size => 1}, fun checkout/1},
            {crema_consumer, Consumer, fun group/1}
        ]
    ].

kill_within(Of, Pid) ->
    case Of(Pid) of
        none ->
            is_process_alive(Pid) andalso kill_within(Of, Pid);
        Part ->
            exit(Part, kill),
            crema_ct:await(fun() -> not is_process_alive(Part) end),
            kill_within(Of, Pid)
    end.

checkout(Pool) ->
    case crema_registry:pool(Pool) of
        {ok, _, Checkout, _} -> alive(Checkout);
        none -> none
    end.

group(Consumer) ->
    case crema_registry:lookup(Consumer) of
        {ok, consumer, _, _, Group} -> alive(Group);
        not_started -> none
    end.

alive(Pid) ->
    case is_process_alive(Pid) of
        true -> Pid;
        false -> none
    end.

asker_killed(Config) ->
    %% Who waits for a number of partitions is told that it may try again.
    P = crema_ct:producer(Config, #{partitioner => round_robin}),
    Topic = crema_ct:topic(Config, 1),
    Asker = whereis(crema_partitions),
    ok = sys:suspend(Asker),
    {Pid, Monitor} = spawn_monitor(fun() -> exit({told, crema:produce(P, #{topic => Topic})}) end),
    crema_ct:await(fun() -> process_info(Asker, message_queue_len) >= {message_queue_len, 1} end),
    exit(Asker, kill),
    receive
        {'DOWN', Monitor, _, Pid, {told, Answer}} ->
            ?assertMatch({error, {timed_out, #{retriable := true}}}, Answer)
    end,
    crema_ct:await(fun() -> is_pid(whereis(crema_partitions)) end),
    ?assertMatch({ok, _}, crema:produce(P, #{topic => Topic})).

%% ---- misuse ----------------------------------------------------------------------

wrong_times(Config) ->
    %% A time that is none raises, and no client hears of it.
    P = crema_ct:producer(Config),
    Pool = pool(Config),
    {ok, Handle} = crema:topic(P, <<"any">>),
    ?assertError(badarg, crema_producer:stop(P, soon)),
    ?assertError(badarg, crema_pool:stop(Pool, -1)),
    ?assertError(badarg, crema:await_ready(P, soon)),
    ?assertError(badarg, crema:close_topic(Handle, soon)),
    ?assert(is_process_alive(P)),
    ok = crema_pool:stop(Pool).

options_that_are_no_map(Config) ->
    %% Options of calls are maps, messages come in lists: otherwise an error tells.
    P = crema_ct:producer(Config),
    Pool = pool(Config),
    Message = #{topic => crema_ct:topic(Config, 1)},
    Fun = fun(_) -> error(called) end,
    List = [{timeout, 1000}],
    ?assertMatch({error, {bad_call, _}}, crema:produce(P, Message, List)),
    ?assertMatch({error, {bad_call, _}}, crema:transaction(P, Fun, List)),
    ?assertMatch({error, {bad_call, _}}, crema:transaction(Pool, Fun, List)),
    ?assertMatch({error, {bad_call, _}}, crema_pool:with(Pool, Fun, List)),
    ?assertMatch({error, {bad_call, #{field := timout}}}, crema_pool:with(Pool, Fun, #{timout => 1})),
    ?assertMatch({error, {bad_message, _}}, crema:buffer_many(P, Message)),
    ?assertMatch({error, {bad_message, _}}, crema:buffer_many(P, [Message | Message])),
    ok = crema_pool:stop(Pool).

longest_times(Config) ->
    %% With the longest times that options take, supervisors end as with any other.
    Longest = 16#FFFFFFFF,
    Options = #{
        bootstrap_servers => crema_ct:bootstrap(Config),
        group => crema_ct:unique(<<"group">>),
        topics => [crema_ct:topic(Config, 1)],
        handler => fun(_) -> ok end,
        stop_timeout => Longest,
        dead_letter => #{topic => dead, producer => #{flush_timeout => Longest}}
    },
    ?assertMatch(#{shutdown := Longest}, crema_producer:child_spec(#{
        bootstrap_servers => crema_ct:bootstrap(Config), flush_timeout => Longest
    })),
    {Holder, C} = crema_ct:hold(fun() ->
        {ok, Started} = crema_consumer:start_link(Options),
        Started
    end),
    Monitor = erlang:monitor(process, C),
    ok = crema_ct:let_go(Holder),
    receive
        {'DOWN', Monitor, process, C, Reason} -> ?assertEqual(normal, Reason)
    end.

wrong_secrets(Config) ->
    %% A secret's function that raises, or returns no text, is a wrong option of every
    %% client, whose error does not tell what it was.
    Given = #{bootstrap_servers => crema_ct:bootstrap(Config)},
    Consumer = #{group => g, topics => [t], handler => fun(_) -> ok end},
    {Holder, Answers} = crema_ct:hold(fun() ->
        [
            Open((maps:merge(Given, More))#{kafka => #{'ssl.key.password' => Secret}})
         || Secret <- [fun() -> error(hunter2) end, fun() -> {hunter2} end],
            {Open, More} <- [
                {fun crema_producer:start_link/1, #{}},
                {fun crema_consumer:start_link/1, Consumer},
                {fun crema_reader:open/1, #{topic => t}}
            ]
        ]
    end),
    [
        ?assertMatch(
            {error, {bad_options, #{faults := [#{option := {kafka, <<"ssl.key.password">>}}]}}}, Answer
        )
     || Answer <- Answers
    ],
    ok = crema_ct:let_go(Holder),
    ?assertEqual(nomatch, re:run(io_lib:format("~p", [Answers]), "hunter2")).
