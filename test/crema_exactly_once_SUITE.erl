%% Consume, transform, produce on the embedded cluster, whose readers see what is
%% aborted, too, and where no offset of a transaction is stored: what concerns the
%% consumer's side. What readers find: crema_exactly_once_kafka_SUITE.
-module(crema_exactly_once_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([flow/1, misuse/1, delegated/1, large_dead_letter/1, crash_in_commit/1, metadata/1]).
-export([given_up/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [flow, misuse, delegated, large_dead_letter, crash_in_commit, metadata, given_up].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

-define(COUNT, 1000).

exactly_once() ->
    #{
        commit => exactly_once,
        transactional_id => crema_ct:unique(<<"id">>),
        backoff => {1, 20},
        transaction_interval => 50
    }.

flow(Config) ->
    %% What handlers return is produced, in order, and what they only acknowledge is
    %% done with; a message that is refused is its handler's error, and middleware
    %% that raises too; a handler that raises is started again. None of it aborts, and a
    %% stop commits what is left.
    Source = crema_ct:topic(Config, 2),
    To = crema_ct:topic(Config, 1),
    [
        ok = crema_ct:fill(Config, Source, P, lists:seq(1 + P * ?COUNT, (1 + P) * ?COUNT))
     || P <- [0, 1]
    ],
    [Committed, Aborted, Errors, Crashes] = [
        crema_ct_consume:listen(Source, [crema, consumer, Event])
     || Event <- [transaction_committed, transaction_aborted, handler_error, handler_crashed]
    ],
    Reader = crema_ct:consumer(Config, To, #{to => self()}, #{}),
    Writer = crema_ct:consumer(Config, Source, #{to => self(), handle => handle(To)}, (exactly_once())#{
        producer => #{middleware => [fun middleware/1]}
    }),
    Copies = [crema_ct_consume:number(M) || {_, M} <- crema_ct:handled(2 * ?COUNT div 2)],
    {First, Second} = lists:partition(fun(N) -> N =< ?COUNT end, Copies),
    ?assertEqual([N || N <- lists:seq(1, ?COUNT), N rem 2 =:= 0], First),
    ?assertEqual([N || N <- lists:seq(?COUNT + 1, 2 * ?COUNT), N rem 2 =:= 0], Second),
    ok = crema_ct:none_handled(200),
    crema_ct_consume:all_acknowledged(Writer),
    {_, #{reason := {bad_message, _}}} = crema_ct_consume:heard(Errors),
    {_, #{reason := {middleware, _}}} = crema_ct_consume:heard(Errors),
    {_, #{reason := {badmatch, true}}} = crema_ct_consume:heard(Crashes),
    {ok, _, _, _, Member} = crema_registry:lookup(Writer),
    ?assertMatch({error, {bad_call, _}}, crema:ack({crema_token, Member, 1, 1})),
    ?assertMatch([{error, {bad_call, _}}], gen_server:call(Member, {tokens, ack, [{1, [{1, 1}]}]})),
    ?assertEqual(2 * ?COUNT div 2, counted(Committed)),
    receive
        {Aborted, _, Metadata} -> error({aborted, Metadata})
    after 0 -> ok
    end,
    ok = crema_ct:fill(Config, Source, 0, [2]),
    _ = crema_ct:handled(1),
    ok = crema_consumer:stop(Writer),
    ?assertEqual(1, counted(Committed)),
    ok = crema_consumer:stop(Reader).

handle(To) ->
    Refused = crema_ct_consume:once([100]),
    Raises = crema_ct_consume:once([200]),
    Crashes = crema_ct_consume:once([300]),
    fun(#{value := Value} = Message, State) ->
        N = crema_ct_consume:number(Message),
        false = Crashes(N),
        case {N rem 2, Refused(N), Raises(N)} of
            {1, _, _} -> {ack, State};
            {0, true, _} -> {produce, [#{topic => To, value => not_iodata}], State};
            {0, _, true} -> {produce, [#{topic => To, value => <<"raise">>}], State};
            {0, _, _} -> {produce, [#{topic => To, value => Value}], State}
        end
    end.

middleware(#{value := <<"raise">>}) -> error(planned);
middleware(Message) -> {ok, Message}.

%% Messages of the transactions that were committed so far.
counted(Committed) ->
    receive
        {Committed, #{count := Count} = Measured, Metadata} ->
            crema_ct_consume:event_is_as_told(
                [crema, consumer, transaction_committed], Measured, Metadata
            ),
            Count + counted(Committed)
    after 0 -> 0
    end.

misuse(Config) ->
    %% What belongs to the other kind of consumer is told as a crash of the handler.
    Cases = [
        {produce, fun(_, State) -> {produce, [], State} end, #{}},
        {noack, fun(_, State) -> {noack, State} end, exactly_once()}
    ],
    Heard = [
        begin
            Topic = crema_ct_consume:filled(Config, 1),
            Crashed = crema_ct_consume:listen(Topic, [crema, consumer, handler_crashed]),
            _ = crema_ct:consumer(Config, Topic, #{to => self(), handle => Handle}, Options),
            {Crashed, Named}
        end
     || {Named, Handle, Options} <- Cases
    ],
    [
        {_, #{reason := {bad_return, Named, _}}} = crema_ct_consume:heard(Crashed)
     || {Crashed, Named} <- Heard
    ].

delegated(Config) ->
    %% What is in a transaction does not come again because somebody died to whom it
    %% was left.
    [Source, To] = [crema_ct:topic(Config, 1) || _ <- [1, 2]],
    ok = crema_ct:fill(Config, Source, 0, [1, 2, 3]),
    {Dead, Monitor} = spawn_monitor(fun() -> ok end),
    receive
        {'DOWN', Monitor, process, Dead, _} -> ok
    end,
    Self = self(),
    Handle = fun(#{value := Value} = Message, State) ->
        Self ! {handled, self(), Message},
        ok = crema:delegate(Message, Dead),
        {produce, [#{topic => To, value => Value}], State}
    end,
    Committed = crema_ct_consume:listen(Source, [crema, consumer, transaction_committed]),
    C = crema_ct:consumer(Config, Source, #{to => Self, handle => Handle}, (exactly_once())#{
        transaction_interval => 1000
    }),
    _ = crema_ct:handled(3),
    crema_ct_consume:all_acknowledged(C),
    ok = crema_ct:none_handled(50),
    ?assertEqual(3, counted(Committed)).

large_dead_letter(Config) ->
    %% A message that is larger than what a producer takes by default is sent on all the
    %% same, and its partition goes on.
    [Source, Dead] = [crema_ct:topic(Config, 1) || _ <- [1, 2]],
    Large = binary:copy(<<0>>, 1500000),
    P = crema_ct:producer(Config, #{
        max_payload_size => 2000000, kafka => #{'message.max.bytes' => 2000000}
    }),
    {ok, _} = crema:produce(P, #{topic => Source, value => Large}),
    {ok, _} = crema:produce(P, #{topic => Source, value => <<"next">>}),
    Self = self(),
    Handle = fun
        (#{value := <<"next">>} = Message, State) ->
            Self ! {handled, self(), Message},
            {ack, State};
        (_, State) ->
            {dead_letter, too_large, State}
    end,
    _ = crema_ct:consumer(Config, Dead, #{to => Self}, #{}),
    _ = crema_ct:consumer(Config, Source, #{to => Self, handle => Handle}, (exactly_once())#{
        dead_letter => #{topic => Dead}
    }),
    Values = [Value || {_, #{value := Value}} <- crema_ct:handled(2)],
    ?assertEqual([Large, <<"next">>], lists:sort(Values)).

crash_in_commit(Config) ->
    %% A handler that raises while a commit is under way has crashed: the wait for that is
    %% no time of its own, after which its message would be skipped here.
    [Source, To] = [crema_ct:topic(Config, 1) || _ <- [1, 2]],
    ok = crema_ct:fill(Config, Source, 0, [1]),
    Self = self(),
    Crashes = crema_ct_consume:once([3]),
    Handle = fun(#{value := Value} = Message, State) ->
        false = Crashes(crema_ct_consume:number(Message)),
        Self ! {handled, self(), Message},
        case crema_ct_consume:number(Message) of
            1 -> {produce, [#{topic => To, value => Value}], State};
            _ -> {ack, State}
        end
    end,
    Crashed = crema_ct_consume:listen(Source, [crema, consumer, handler_crashed]),
    Committed = crema_ct_consume:listen(Source, [crema, consumer, transaction_committed]),
    ok = crema_cluster:fail(proplists:get_value(cluster, Config), end_txn, [{no_error, 2000}]),
    _ = crema_ct:consumer(Config, Source, #{to => Self, handle => Handle}, (exactly_once())#{
        handler_timeout => 500,
        failures => [{timeout, #{retries => 0, then => skip}}]
    }),
    _ = crema_ct:handled(1),
    %% Later than the interval, and long before the commit has ended.
    ok = crema_ct:none_handled(300),
    ok = crema_ct:fill(Config, Source, 0, [2, 3]),
    Numbers = [crema_ct_consume:number(M) || {_, M} <- crema_ct:handled(2)],
    ?assertEqual([2, 3], Numbers),
    _ = crema_ct_consume:heard(Crashed),
    _ = crema_ct_consume:heard(Committed).

metadata(Config) ->
    %% There is none before the consumer is a member of its group, nor for slots that
    %% it does not have.
    Topic = crema_ct_consume:filled(Config, 1),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{commit => transaction}),
    ?assertMatch({error, {unknown_member_id, _}}, crema:group_metadata(C)),
    [{_, #{token := {_, _, Slot, _}}}] = crema_ct:handled(1),
    {ok, consumer, Port, _, _} = crema_registry:lookup(C),
    Ask = fun(Slots) -> crema_transaction:group_metadata(Port, Slots) end,
    ?assertMatch({ok, _}, Ask([])),
    ?assertMatch({ok, _}, Ask([Slot])),
    [
        ?assertMatch({error, {stale_assignment, _}}, Ask(Slots))
     || Slots <- [[Slot, Slot + 1000], [0]]
    ].

given_up(Config) ->
    %% What was handed over when its partition was another's already is not taken, though
    %% what the member is in its group has been asked anew meanwhile, for others.
    Topic = crema_ct:topic(Config, 2),
    [ok = crema_ct:fill(Config, Topic, P, [1]) || P <- [0, 1]],
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{commit => transaction}),
    Slots = #{0 := Gone, 1 := Kept} = maps:from_list([
        {P, Slot}
     || {_, #{partition := P, token := {_, _, Slot, _}}} <- crema_ct:handled(2)
    ]),
    {ok, consumer, Port, _, _} = crema_registry:lookup(C),
    Producer = crema_ct:producer(Config, #{
        kafka => #{'transactional.id' => crema_ct:unique(<<"id">>)}
    }),
    {ok, Server} = crema_exactly_once:start_link(C, Producer, #{
        group => <<"group">>, name => undefined, backoff => {1, 20},
        transaction_interval => 60000, transaction_bytes => 1 bsl 20
    }),
    [ok = crema_exactly_once:enter(Server, S, {Topic, P}, Port) || {P, S} <- maps:to_list(Slots)],
    {ok, _} = crema:seek(C, {Topic, 0}, earliest),
    Copy = [#{topic => Topic, partition => 1, value => <<"copy">>}],
    ?assertEqual(ok, crema_exactly_once:add(Server, Kept, {0, 0}, Copy)),
    ?assertEqual(aborted, crema_exactly_once:add(Server, Gone, {0, 0}, Copy)),
    true = unlink(Server),
    ok = gen_statem:stop(Server).
