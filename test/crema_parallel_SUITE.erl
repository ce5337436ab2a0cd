%% Several messages of one partition at a time (option concurrency).
%%
%% The cases run side by side, for the first member of a group waits three
%% seconds.
-module(crema_parallel_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    keys_in_order/1, keys_side_by_side/1, any_side_by_side/1, stuck_one/1, crash/1,
    error_of_a_key/1, batches/1, later_acknowledged/1, failed_among_later/1,
    failed_is_skipped_alone/1, crashed_is_skipped_alone/1, drained/1, without_keys/1, numbered/1,
    hanging_end/1, trapping/1, suspended/1
]).

-import(crema_ct_consume, [
    quick/0, values/1, number/1, once/1, partitions/1, all_acknowledged/1
]).

suite() -> [{timetrap, {seconds, 90}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            keys_in_order, keys_side_by_side, any_side_by_side, stuck_one, crash,
            error_of_a_key, batches, later_acknowledged, failed_among_later,
            failed_is_skipped_alone, crashed_is_skipped_alone, drained, without_keys, numbered,
            hanging_end, trapping, suspended
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

keys_in_order(Config) ->
    %% A key's messages are handled in order, each once, and all is acknowledged.
    Topic = keyed(Config, 3000, 17),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{concurrency => {key, 4}}),
    Handled = crema_ct:handled(3000),
    ?assertEqual(lists:seq(1, 3000), lists:sort(values(Handled))),
    [
        begin
            Of = [number(M) || {_, #{key := Key} = M} <- Handled, Key =:= integer_to_binary(K)],
            ?assertEqual(lists:sort(Of), Of)
        end
     || K <- lists:seq(0, 16)
    ],
    Worker = fun(K) ->
        lists:usort([W || {W, #{key := Key}} <- Handled, Key =:= integer_to_binary(K)])
    end,
    [?assertMatch([_], Worker(K)) || K <- lists:seq(0, 16)],
    ?assertEqual(4, length(lists:usort([W || {W, _} <- Handled]))),
    true = all_acknowledged(C).

keys_side_by_side(Config) ->
    %% Messages of different keys are handled at the same time, those of one are not.
    Topic = keyed(Config, 20, 2),
    {Args, Open} = gated(),
    C = crema_ct:consumer(Config, Topic, Args, #{concurrency => {key, distinct(2)}}),
    [{Worker, First}, {Other, _}] = Handled = crema_ct:handled(2),
    ?assertEqual([1, 2], lists:sort(values(Handled))),
    crema_ct:none_handled(50),
    Worker ! continue,
    [{Worker, Second}] = crema_ct:handled(1),
    ?assertEqual(number(First) + 2, number(Second)),
    Open([Worker, Other]),
    true = all_acknowledged(C).

any_side_by_side(Config) ->
    %% With {any, N} so many messages are handled at the same time, of one key too.
    Topic = keyed(Config, 200, 1),
    {Args, Open} = gated(),
    C = crema_ct:consumer(Config, Topic, Args, #{concurrency => {any, 5}}),
    First = crema_ct:handled(5),
    ?assertEqual(5, length(lists:usort([W || {W, _} <- First]))),
    crema_ct:none_handled(50),
    Open([Pid || {Pid, _} <- First]),
    Handled = First ++ crema_ct:handled(195),
    ?assertEqual(lists:seq(1, 200), lists:sort(values(Handled))),
    true = all_acknowledged(C).

stuck_one(Config) ->
    %% Behind a message that is not done nothing is stored, however far others are.
    Topic = keyed(Config, 1000, 10),
    Self = self(),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        number(Message) =:= 3 andalso
            begin
                Self ! {stuck, self()},
                receive
                    continue -> ok
                end
            end,
        {ack, State}
    end,
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => self()}, #{concurrency => {any, 3}}),
    %% When the rest is done its worker may not have begun with it.
    Stuck =
        receive
            {stuck, Pid} -> Pid
        after 10000 -> error(not_stuck)
        end,
    %% It shares out up to 20 at a time, and one of these is stuck.
    crema_ct:await(fun() ->
        [#{stored := Stored, unacknowledged := Left}] = partitions(C),
        Left =< 20 andalso (Stored =< 2 orelse {stored, Stored})
    end),
    Stuck ! continue,
    _ = crema_ct:handled(1000),
    true = all_acknowledged(C),
    ?assertMatch([#{stored := 1000}], partitions(C)).

crash(Config) ->
    %% After a crash of one the others finish their message; then all begin anew
    %% with what is not acknowledged, and keys keep their order.
    Topic = keyed(Config, 400, 8),
    Self = self(),
    Once = once([50, 51, 120, 333]),
    Handle = fun(Message, State) ->
        Number = number(Message),
        Once(Number) andalso error({planned, Number}),
        Self ! {handled, self(), Message},
        {ack, State}
    end,
    Options = (quick())#{concurrency => {key, 4}},
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, Options),
    Handled = crema_ct:handled(400),
    ?assertEqual(lists:seq(1, 400), lists:sort(values(Handled))),
    [
        begin
            Of = [number(M) || {_, #{key := Key} = M} <- Handled, Key =:= integer_to_binary(K)],
            ?assertEqual(lists:sort(Of), Of)
        end
     || K <- lists:seq(0, 7)
    ],
    true = all_acknowledged(C),
    crema_ct:none_handled(50).

error_of_a_key(Config) ->
    %% A key whose message fails again and again does not hold up other keys.
    Topic = keyed(Config, 100, 2),
    Self = self(),
    Gate = atomics:new(1, []),
    Handle = fun(Message, State) ->
        case number(Message) =:= 1 andalso atomics:get(Gate, 1) of
            0 ->
                {error, planned, State};
            _ ->
                Self ! {handled, self(), Message},
                {ack, State}
        end
    end,
    Options = (quick())#{concurrency => {key, distinct(2)}},
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => self()}, Options),
    ?assertEqual(lists:seq(2, 100, 2), values(crema_ct:handled(50))),
    crema_ct:none_handled(50),
    atomics:put(Gate, 1, 1),
    ?assertEqual(lists:seq(1, 99, 2), values(crema_ct:handled(50))),
    true = all_acknowledged(C).

batches(Config) ->
    %% A handler of batches is given shares of them, and acknowledges its share only.
    Topic = keyed(Config, 1000, 10),
    Self = self(),
    Gate = atomics:new(1, []),
    Handle = fun([Message | _] = Messages, State) ->
        case Message of
            #{key := <<"0">>} -> atomics:get(Gate, 1) =:= 0 andalso error(planned);
            _ -> ok
        end,
        Self ! {batch, self(), Messages},
        {ack, State}
    end,
    Key = erlang:phash2(<<"0">>, 4),
    Theirs = [
        N || N <- lists:seq(1, 1000), erlang:phash2(integer_to_binary((N - 1) rem 10), 4) =/= Key
    ],
    C = crema_ct:consumer(Config, Topic, none, (quick())#{
        handler => {crema_ct_batch_handler, #{handle => Handle}}, concurrency => {key, 4}
    }),
    First = lists:append(crema_ct_consume:batches(length(Theirs))),
    ?assertEqual(Theirs, lists:usort([number(M) || M <- First])),
    atomics:put(Gate, 1, 1),
    Second = lists:append(crema_ct_consume:batches(1000 - length(Theirs))),
    ?assertEqual(lists:seq(1, 1000), lists:sort([number(M) || M <- First ++ Second])),
    true = all_acknowledged(C).

later_acknowledged(Config) ->
    %% A message that is acknowledged by its token counts as any other.
    Topic = keyed(Config, 100, 10),
    Handle = crema_ct_consume:telling(self(), noack),
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => self()}, #{concurrency => {key, 3}}),
    Handled = crema_ct:handled(100),
    [#{unacknowledged := 100, stored := 0}] = partitions(C),
    [ok = crema:ack(Token) || {_, #{token := Token}} <- lists:reverse(Handled)],
    true = all_acknowledged(C).

failed_among_later(Config) ->
    %% What has failed and comes again is not acknowledged with later messages, of which
    %% some had no worker yet.
    Topic = keyed(Config, 4, 1),
    {#{handle := Wait} = Args, Open} = gated(),
    Handle = fun(Message, State) ->
        case number(Message) of
            1 -> self() ! continue, {ack, Left} = Wait(Message, State), {noack, Left};
            _ -> Wait(Message, State)
        end
    end,
    C = crema_ct:consumer(Config, Topic, Args#{handle := Handle}, #{
        concurrency => {any, 2}, backoff => {60000, 60000}
    }),
    %% One has 1 and 2, the other 3; and 4 waits for who is free.
    Handled = crema_ct:handled(3),
    [#{token := Token}] = [M || {_, M} <- Handled, number(M) =:= 1],
    [One, Other] = lists:usort([Pid || {Pid, _} <- Handled]),
    {links, [Parallel]} = process_info(One, links),
    ok = crema:nack(Token),
    crema_ct:await(fun() -> length(backlog(Parallel)) =:= 2 end),
    ok = crema_ct:fill(Config, Topic, 0, [5, 6]),
    crema_ct:await(fun() -> length(backlog(Parallel)) =:= 4 end),
    %% Who has 1 now rests until it is due, and nobody waits behind it.
    Failed = crema_ct_consume:listen(Topic, [crema, consumer, handler_error]),
    Open([One, Other]),
    {_, #{offset := 0}} = crema_ct_consume:heard(Failed),
    [receive {handled, _, #{value := Value}} -> ok end || Value <- [<<"4">>, <<"5">>, <<"6">>]],
    crema_ct:await(fun() ->
        [#{unacknowledged := Left, stored := Stored}] = partitions(C),
        {Left, Stored} =:= {1, 0} orelse {Left, Stored}
    end).

failed_is_skipped_alone(Config) ->
    %% What nobody has handled is not skipped with what was declared failed: it does not
    %% get into one batch with that.
    Topic = keyed(Config, 4, 1),
    Self = self(),
    Handle = fun([First | _] = Messages, State) ->
        Self ! {batch, self(), Messages},
        case number(First) of
            N when N =< 3 -> receive continue -> {noack, State} end;
            _ -> {ack, State}
        end
    end,
    _ = crema_ct:consumer(Config, Topic, none, #{
        handler => {crema_ct_batch_handler, #{handle => Handle}},
        concurrency => {any, 2},
        failures => #{retries => 0, then => skip}
    }),
    %% One has 1 and 2, the other 3; and 4 waits for who is free.
    [One, Other] = [receive {batch, Pid, Messages} -> {Pid, Messages} end || _ <- [1, 2]],
    [{Worker, #{token := Token}}] = [{W, M} || {W, Ms} <- [One, Other], M <- Ms, number(M) =:= 1],
    {links, [Parallel]} = process_info(Worker, links),
    ok = crema:nack(Token),
    crema_ct:await(fun() -> length(backlog(Parallel)) =:= 2 end),
    ok = crema_ct:fill(Config, Topic, 0, [5, 6]),
    crema_ct:await(fun() -> length(backlog(Parallel)) =:= 4 end),
    Skipped = crema_ct_consume:listen(Topic, [crema, consumer, skipped]),
    [Pid ! continue || {Pid, _} <- [One, Other]],
    {#{count := 1}, #{offset := 0}} = crema_ct_consume:heard(Skipped),
    ?assertEqual([4, 5, 6], lists:sort(numbers(3))).

crashed_is_skipped_alone(Config) ->
    %% So it is with what was not in the batch that a handler crashed of: shares are
    %% others when all begin anew.
    Topic = keyed(Config, 12, 1),
    Self = self(),
    Calls = atomics:new(1, []),
    Handle = fun(Messages, State) ->
        Self ! {batch, self(), Messages},
        case {atomics:add_get(Calls, 1, 1), Messages} of
            {Call, _} when Call =< 2 -> receive {go_on, Verdict} -> {Verdict, State} end;
            {_, [#{value := <<"1">>}]} -> receive crash -> error(planned) end;
            _ -> {ack, State}
        end
    end,
    _ = crema_ct:consumer(Config, Topic, none, (quick())#{
        handler => {crema_ct_batch_handler, #{handle => Handle}},
        concurrency => {any, 2},
        failures => [{crash, #{retries => 0, then => skip}}]
    }),
    %% One has 1 to 6, the other 7 to 9; and others wait for who is free.
    Shares = [receive {batch, Pid, Messages} -> {Pid, Messages} end || _ <- [1, 2]],
    [{Failing, [#{token := Token} | More]}, {Waiting, [_, _, _]}] =
        lists:sort(fun({_, Some}, {_, Others}) -> length(Some) > length(Others) end, Shares),
    {links, [Parallel]} = process_info(Failing, links),
    ok = crema:nack(Token),
    crema_ct:await(fun() -> length(backlog(Parallel)) =:= 4 end),
    Failing ! {go_on, noack},
    receive {batch, Failing, [#{value := <<"1">>}]} -> ok end,
    [ok = crema:ack(Acked) || #{token := Acked} <- More],
    Skipped = crema_ct_consume:listen(Topic, [crema, consumer, skipped]),
    Failing ! crash,
    crema_ct:await(fun() -> workers(Parallel) =:= [Waiting] end),
    Waiting ! {go_on, ack},
    {#{count := 1}, #{offset := 0}} = crema_ct_consume:heard(Skipped),
    ?assertEqual([10, 11, 12], lists:sort(numbers(3))).

%% Of so many messages in the batches that come.
numbers(Count) when Count =< 0 -> [];
numbers(Count) ->
    receive
        {batch, _, Messages} -> [number(M) || M <- Messages] ++ numbers(Count - length(Messages))
    end.

drained(Config) ->
    %% At a stop each of the workers finishes its message; the next member goes on
    %% with what was not handled, and with nothing else.
    Topic = keyed(Config, 60, 10),
    Group = crema_ct:unique(<<"drained">>),
    {Args, Open} = gated(),
    C = crema_ct:consumer(Config, Topic, Args, #{concurrency => {any, 4}, group => Group}),
    First = crema_ct:handled(4),
    Handlers = [Pid || {Pid, _} <- First],
    Monitors = [erlang:monitor(process, Pid) || Pid <- Handlers],
    {Stopping, Stopped} = spawn_monitor(fun() -> ok = crema_consumer:stop(C) end),
    %% Each has been told to end when the member waits for their end.
    crema_ct:await(fun() -> lists:all(fun is_told/1, Handlers) end),
    Open(Handlers),
    receive
        {'DOWN', Stopped, _, Stopping, Reason} -> ?assertEqual(normal, Reason)
    after 20000 -> error(not_stopped)
    end,
    [
        receive
            {'DOWN', Monitor, _, _, End} -> ?assertEqual(normal, End)
        after 10000 -> error(still_there)
        end
     || Monitor <- Monitors
    ],
    ?assertEqual([], crema_ct_consume:handled_so_far()),
    D = crema_ct:consumer(Config, Topic, #{to => self()}, #{
        concurrency => {any, 4}, group => Group
    }),
    %% What was finished is stored only where nothing before it is missing: shares
    %% were 1 to 15, 16 to 30 and so on.
    Again = values(crema_ct:handled(59)),
    ?assertEqual(lists:seq(2, 60), lists:sort(Again)),
    true = all_acknowledged(D).

without_keys(Config) ->
    %% Messages without a key go round among the workers.
    Topic = crema_ct:topic(Config, 1),
    ok = crema_ct:fill(Config, Topic, 0, lists:seq(1, 40)),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{concurrency => {key, 4}}),
    Handled = crema_ct:handled(40),
    Counts = maps:groups_from_list(fun({W, _}) -> W end, Handled),
    ?assertEqual([10, 10, 10, 10], [length(L) || L <- maps:values(Counts)]),
    true = all_acknowledged(C).

numbered(Config) ->
    %% init/2 is called for each worker, and learns its number.
    Topic = keyed(Config, 1, 1),
    _ = crema_ct:consumer(Config, Topic, #{to => self()}, #{concurrency => {any, 3}}),
    _ = crema_ct:handled(1),
    Infos = [
        receive
            {started, _, Info} -> Info
        after 10000 -> error(not_started)
        end
     || _ <- [1, 2, 3]
    ],
    ?assertEqual([1, 2, 3], lists:sort([N || #{worker := N} <- Infos])).

hanging_end(Config) ->
    %% The end of a worker that hangs, after the crash of another, takes no longer than
    %% a handler may.
    Topic = keyed(Config, 20, 4),
    Self = self(),
    Once = once([crash]),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        number(Message) =:= 5 andalso Once(crash) andalso error(planned),
        {ack, State}
    end,
    Terminate = fun
        (reset) -> receive never_comes -> ok end;
        (_) -> ok
    end,
    Args = #{handle => Handle, terminate => Terminate, to => Self},
    C = crema_ct:consumer(Config, Topic, Args, (quick())#{
        concurrency => {key, 4}, handler_timeout => 200
    }),
    [
        receive
            {handled, _, #{value := Value}} -> ok
        after 10000 -> error({not_handled, Value})
        end
     || Number <- lists:seq(1, 20), Value <- [integer_to_binary(Number)]
    ],
    true = all_acknowledged(C).

trapping(Config) ->
    %% Workers that trap exits and hang end with their partition all the same.
    Topic = keyed(Config, 4, 4),
    Self = self(),
    Handle = fun(Message, _) ->
        process_flag(trap_exit, true),
        Self ! {handled, self(), Message},
        receive never_comes -> ok end
    end,
    C = crema_ct:consumer(Config, Topic, #{handle => Handle, to => Self}, #{
        concurrency => {key, distinct(2)}, drain_timeout => 100
    }),
    [One, Other] = Workers = [Worker || {Worker, _} <- crema_ct:handled(2)],
    Monitors = [erlang:monitor(process, Worker) || Worker <- Workers],
    ok = crema_consumer:stop(C),
    ?assertNot(is_process_alive(One) orelse is_process_alive(Other)),
    [receive {'DOWN', Monitor, _, _, killed} -> ok end || Monitor <- Monitors].

suspended(Config) ->
    %% A stop does not wait for a process that somebody looks into.
    Topic = keyed(Config, 1, 1),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{
        concurrency => {any, 2}, drain_timeout => 100
    }),
    [{Worker, _}] = crema_ct:handled(1),
    {links, [Parallel]} = process_info(Worker, links),
    ok = sys:suspend(Parallel),
    {Stopping, Monitor} = spawn_monitor(fun() -> ok = crema_consumer:stop(C) end),
    receive
        {'DOWN', Monitor, process, Stopping, Reason} -> ?assertEqual(normal, Reason)
    after 10000 -> error(not_stopped)
    end,
    ?assertNot(is_process_alive(Parallel) orelse is_process_alive(Worker)).

%% ---- helpers ---------------------------------------------------------------------

%% A topic of one partition with the numbers from 1 on, under so many keys in turn.
keyed(Config, Count, Keys) ->
    Topic = crema_ct:topic(Config, 1),
    {ok, Producer} = crema_producer:start_link(#{
        bootstrap_servers => crema_ct:bootstrap(Config)
    }),
    {ok, Results} = crema:produce_many(Producer, [
        #{
            topic => Topic,
            partition => 0,
            key => integer_to_binary((N - 1) rem Keys),
            value => integer_to_binary(N)
        }
     || N <- lists:seq(1, Count)
    ]),
    ?assertEqual([], [Error || {error, Error} <- Results]),
    ok = crema_producer:stop(Producer),
    Topic.

%% A handler that waits with each message until it is told to go on, and the
%% function that lets these and all that follow go on.
gated() ->
    Self = self(),
    Gate = atomics:new(1, []),
    Handle = fun(Message, State) ->
        Self ! {handled, self(), Message},
        atomics:get(Gate, 1) =:= 0 andalso
            receive
                continue -> ok
            end,
        {ack, State}
    end,
    Open = fun(Waiting) ->
        ok = atomics:put(Gate, 1, 1),
        [Pid ! continue || Pid <- Waiting]
    end,
    {#{handle => Handle, to => Self}, Open}.

%% The least number of workers among which so many keys have one each.
distinct(Keys) ->
    hd([
        N
     || N <- lists:seq(Keys, 100),
        length(lists:usort([erlang:phash2(integer_to_binary(K), N) || K <- lists:seq(0, Keys - 1)])) =:=
            Keys
    ]).

%% What nobody has a share in yet.
backlog(Parallel) -> element(10, sys:get_state(Parallel)).

workers(Parallel) -> element(8, sys:get_state(Parallel)).

%% Whether something waits to be read by a process that does not read.
is_told(Pid) ->
    {message_queue_len, Length} = erlang:process_info(Pid, message_queue_len),
    Length > 0.
