%% Another client takes the place of a producer's or a consumer's, while messages go
%% through it.
-module(crema_renewal_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    every_message_once/1, refused/1, unreachable/1, late_broker/1, reads_anew/1, transaction/1,
    own_client/1, pool/1, old_without_brokers/1, killed/1,
    workers_live_on/1, late_acknowledgements/1, several_workers/1,
    stuck_handler/1, two_members/1, stopped_meanwhile/1, refused_of_a_consumer/1, dead_letters/1,
    own_positions/1
]).

-import(crema_ct_consume, [filled/2, values/1, all_acknowledged/1, listen/2, heard/1]).

suite() -> [{timetrap, {seconds, 90}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            every_message_once, refused, unreachable, late_broker, reads_anew, transaction, own_client, pool,
            old_without_brokers, killed,
            workers_live_on, late_acknowledgements, several_workers,
            stuck_handler, two_members, stopped_meanwhile, refused_of_a_consumer, dead_letters,
            own_positions
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

%% ---- producers -----------------------------------------------------------------------

every_message_once(Config) ->
    %% 100,000 messages through ten renewals: each is reported once, in order, and the
    %% process is the same.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config, #{max_queue_messages => 5000}),
    Self = self(),
    _ = spawn_link(fun() ->
        Sent = [
            crema:produce_many_async(
                P,
                [#{topic => Topic, partition => 0, value => integer_to_binary(N)}
                 || N <- lists:seq(From, From + 99)],
                #{report => message, tag => From}
            )
         || From <- lists:seq(0, 99999, 100)
        ],
        Self ! {all_sent, lists:usort(Sent)},
        Self ! {all_reported, [{Tag, R} || {Tag, R} <- crema_ct:reports(100000)]}
    end),
    Ports = [renewed(P) || _ <- lists:seq(1, 10)],
    ?assertEqual(10, length(lists:usort(Ports))),
    receive {all_sent, Sent} -> ?assertEqual([ok], Sent) after 60000 -> error(not_sent) end,
    Reports = receive {all_reported, R} -> R after 60000 -> error(not_reported) end,
    ?assertEqual(lists:seq(0, 99999), lists:sort([Tag || {Tag, _} <- Reports])),
    Offsets = [Offset || {_, {ok, #{offset := Offset}}} <- lists:sort(Reports)],
    ?assertEqual(lists:seq(0, 99999), Offsets).

renewed(Client) ->
    ok = crema_renewal:renew(Client),
    {ok, _, Port, _, _} = crema_registry:lookup(Client),
    Port.

refused(Config) ->
    %% What cannot be changed, or is wrong, is told, and the client is the same.
    P = crema_ct:producer(Config),
    Port = port(P),
    Of = fun(Changes) ->
        {error, {bad_options, #{message := Text}}} = crema_renewal:renew(P, Changes),
        Text
    end,
    Texts = [
        Of(Changes)
     || Changes <- [
            #{name => other}, #{kafka => #{'transactional.id' => x}}, #{kafka => [1]}, 7,
            #{kafka => #{'no.such.property' => 1}}, #{bootstrap_servers => <<>>},
            #{kafka => #{'ssl.key.pem' => fun() -> error(secret) end}}
        ]
    ],
    [?assert(is_binary(Text)) || Text <- Texts],
    ?assertEqual(Port, port(P)),
    ?assertError(badarg, crema_renewal:renew(P, #{}, 0)),
    ?assertMatch({error, {not_found, _}}, crema_renewal:renew(nobody)),
    {ok, _} = crema:produce(P, #{topic => crema_ct:topic(Config, 1)}).

unreachable(Config) ->
    %% A new client that reaches no broker takes no place: the old one goes on. The error
    %% says what was heard of the connection; a refusal is told at once.
    P = crema_ct:producer(Config),
    Port = port(P),
    Login = [
        {'security.protocol', sasl_plaintext}, {'sasl.mechanism', 'PLAIN'},
        {'sasl.username', me}, {'sasl.password', none}
    ],
    [
        begin
            {error, {_, #{message := Text} = Details}} = crema_renewal:renew(P, Changes, Time),
            ?assertNotEqual(nomatch, binary:match(Text, <<"all is as it was">>)),
            ?assertMatch(#{cause := Cause, broker := _}, Details)
        end
     || {Cause, Changes, Time} <- [
            {refused, #{bootstrap_servers => "127.0.0.1:1"}, 500},
            {authentication, #{kafka => Login}, 16#7FFFFFFF}
        ]
    ],
    ?assertEqual(Port, port(P)),
    {ok, _} = crema:produce(P, #{topic => crema_ct:topic(Config, 1)}).

late_broker(Config) ->
    %% Who reaches no broker at first tries again, as long as there is time.
    [Host, Port] = string:split(crema_ct:bootstrap(Config), ":"),
    {ok, Listening} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, binary]),
    {ok, Number} = inet:port(Listening),
    _ = spawn_link(fun() ->
        {ok, First} = gen_tcp:accept(Listening),
        ok = gen_tcp:close(First),
        {ok, Client} = gen_tcp:accept(Listening),
        {ok, Broker} = gen_tcp:connect(binary_to_list(Host), binary_to_integer(Port), [binary]),
        relay(Client, Broker)
    end),
    P = crema_ct:producer(Config),
    ok = crema_renewal:renew(P, #{bootstrap_servers => "127.0.0.1:" ++ integer_to_list(Number)}).

%% When one of them has closed there may be something left for it.
relay(Client, Broker) ->
    receive
        {tcp, Client, Bytes} -> _ = gen_tcp:send(Broker, Bytes), relay(Client, Broker);
        {tcp, Broker, Bytes} -> _ = gen_tcp:send(Client, Bytes), relay(Client, Broker);
        {tcp_closed, _} -> ok
    end.

reads_anew(Config) ->
    %% Functions are called, and addresses taken, by each renewal; the event tells.
    Calls = counters:new(1, []),
    Secret = fun() -> counters:add(Calls, 1, 1), <<"x">> end,
    P = crema_ct:producer(Config, #{kafka => #{'sasl.password' => Secret}}),
    Told = listen(any, [crema, client, renewed]),
    ok = crema_renewal:renew(P),
    ok = crema_renewal:renew(P, #{bootstrap_servers => crema_ct:bootstrap(Config)}),
    ?assertEqual(3, counters:get(Calls, 1)),
    {Measured, Metadata} = heard(Told),
    crema_ct_consume:event_is_as_told([crema, client, renewed], Measured, Metadata),
    ?assertMatch(#{connected := true, state := connected}, crema:status(P)).

transaction(Config) ->
    %% Not while a transaction is open; afterwards transactions go on with the new one.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config, #{kafka => #{'transactional.id' => crema_ct:unique("tx")}}),
    Produce = fun(T) -> {ok, _} = crema:produce(T, #{topic => Topic}), done end,
    ?assertMatch({ok, done}, crema:transaction(P, Produce)),
    Self = self(),
    Holder = spawn_link(fun() ->
        {ok, done} = crema:transaction(P, fun(T) ->
            Self ! open,
            receive go_on -> Produce(T) end
        end),
        Self ! committed
    end),
    receive open -> ok end,
    ?assertMatch({error, {busy, _}}, crema_renewal:renew(P)),
    Holder ! go_on,
    receive committed -> ok end,
    ok = crema_renewal:renew(P),
    ?assertMatch({ok, done}, crema:transaction(P, Produce)),
    ?assertMatch({ok, _}, crema:produce(P, #{topic => Topic})).

own_client(Config) ->
    %% A variant's own client is renewed, too.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config),
    {ok, V} = crema:variant(P, #{topic_config => #{'compression.type' => gzip}, client => own}),
    {ok, _} = crema:produce(V, #{topic => Topic}),
    [{_, Own}] = crema_registry:owns(P),
    Before = {port(P), port(Own)},
    ok = crema_renewal:renew(P, #{kafka => #{'client.id' => <<"other">>}}),
    {Mine, Theirs} = Before,
    ?assert(port(P) =/= Mine andalso port(Own) =/= Theirs),
    {ok, _} = crema:produce(V, #{topic => Topic}).

pool(Config) ->
    %% Of a pool each producer is renewed.
    {ok, Pool} = crema_pool:start_link(#{size => 3, bootstrap_servers => crema_ct:bootstrap(Config)}),
    {ok, _, _, Members} = crema_registry:pool(Pool),
    Before = [port(Member) || Member <- tuple_to_list(Members)],
    ok = crema_renewal:renew(Pool),
    After = [port(Member) || Member <- tuple_to_list(Members)],
    ?assertEqual(6, length(lists:usort(Before ++ After))),
    {ok, _} = crema:produce(Pool, #{topic => crema_ct:topic(Config, 1)}),
    ok = crema_pool:stop(Pool).

old_without_brokers(Config) ->
    %% What the old client cannot send any more is reported when flush_timeout is over,
    %% and only then does the new one take calls.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:unreachable(#{flush_timeout => 500}),
    ok = crema:produce_many_async(P, crema_ct_life:messages(10), #{report => message}),
    Self = self(),
    Renewal = fun() ->
        crema_renewal:renew(P, #{bootstrap_servers => crema_ct:bootstrap(Config)})
    end,
    _ = spawn_link(fun() -> Self ! {renewed, Renewal()} end),
    receive {renewed, Result} -> ?assertEqual(ok, Result) after 20000 -> error(not_renewed) end,
    ?assertMatch({ok, #{offset := 0}}, crema:produce(P, #{topic => Topic})),
    Reports = crema_ct:reports(10),
    ?assertEqual(#{purge_queue => 10}, crema_ct:results([R || {_, R} <- Reports])).

killed(Config) ->
    %% An owner that is killed in the middle of a renewal leaves nothing behind; a consumer
    %% is started again by its supervisor, with what it had before.
    {ok, Silent} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Number} = inet:port(Silent),
    Changes = #{bootstrap_servers => "127.0.0.1:" ++ integer_to_list(Number)},
    P = crema_ct:producer(Config),
    Topic = crema_ct:topic(Config, 1),
    C = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    Self = self(),
    [
        begin
            _ = spawn_link(fun() -> Self ! {answer, crema_renewal:renew(Client, Changes)} end),
            true = crema_ct:await(fun() -> is_renewing(Client) end),
            {ok, _, _, _, Owner} = crema_registry:lookup(Client),
            true = exit(Owner, kill),
            receive
                {answer, Answer} -> ?assertMatch({error, {closed, _}}, Answer)
            after 10000 -> error(no_answer)
            end
        end
     || Client <- [P, C]
    ],
    ok = crema_ct:fill(Config, Topic, 0, [1]),
    ?assertMatch([{_, #{value := <<"1">>}}], crema_ct:handled(1)),
    ok = gen_tcp:close(Silent).

port(Client) ->
    {ok, _, Port, _, _} = crema_registry:lookup(Client),
    Port.

%% ---- consumers -----------------------------------------------------------------------

workers_live_on(Config) ->
    %% Four renewals in a row while messages come: each is handled once, by the same
    %% process of its partition, whose handler keeps its state and hears of nothing.
    Topic = crema_ct:topic(Config, 2),
    C = crema_ct:consumer(Config, Topic, counting(), #{}),
    ok = crema:await_ready(C, 20000),
    Self = self(),
    _ = spawn_link(fun() -> Self ! {produced, produced(Config, Topic, 2, 50)} end),
    [
        begin
            ok = crema_renewal:renew(C),
            ok = crema:await_ready(C, 30000)
        end
     || _ <- lists:seq(1, 4)
    ],
    Last = receive {produced, Number} -> Number after 30000 -> error(not_produced) end,
    Handled = crema_ct:handled(2 * Last),
    [?assertEqual(lists:seq(1, Last), in_order(P, Handled)) || P <- [0, 1]],
    ?assertEqual([started, started], lists:sort(lives())),
    true = all_acknowledged(C),
    ok = crema_consumer:stop(C),
    ?assertEqual([stopped, stopped], lives()).

%% A handler that counts what it has handled, and tells of its beginning and end.
counting() ->
    Self = self(),
    #{
        init => fun(_, Args) -> Self ! {life, started}, {ok, Args#{count => 1}} end,
        handle => fun(Message, #{count := Count} = State) ->
            Self ! {handled, self(), Message#{count => Count}},
            {ack, State#{count := Count + 1}}
        end,
        terminate => fun(Why) -> Self ! {life, Why} end
    }.

lives() ->
    receive
        {life, What} -> [What | lives()]
    after 0 -> []
    end.

%% The numbers of a partition's messages, which one process has handled and counted.
in_order(Partition, Handled) ->
    Of = [{W, M} || {W, #{partition := P} = M} <- Handled, P =:= Partition],
    ?assertMatch([_], lists:usort([W || {W, _} <- Of])),
    ?assertEqual(lists:seq(1, length(Of)), [Count || {_, #{count := Count}} <- Of]),
    values(Of).

%% Fills partitions with numbers from 1 on, so many at a time, while renewals go on.
produced(Config, Topic, Partitions, Times) ->
    P = crema_ct:started(crema_producer:start_link(#{
        bootstrap_servers => crema_ct:bootstrap(Config)
    })),
    [
        begin
            {ok, _} = crema:produce_many(P, [
                #{topic => Topic, partition => Partition, value => integer_to_binary(N)}
             || N <- lists:seq(10 * Time + 1, 10 * Time + 10),
                Partition <- lists:seq(0, Partitions - 1)
            ]),
            timer:sleep(100)
        end
     || Time <- lists:seq(0, Times - 1)
    ],
    ok = crema_producer:stop(P),
    10 * Times.

late_acknowledgements(Config) ->
    %% What is acknowledged in time from elsewhere is waited for, and does not come again.
    %% What is not comes again, to the same process, and its token is stale.
    Topic = filled(Config, 2),
    C = crema_ct:consumer(Config, Topic, noack(), #{drain_timeout => 2000}),
    [{W, First}, {W, Second}] = crema_ct:handled(2),
    Self = self(),
    Renew = fun() -> Self ! {renewed, crema_renewal:renew(C)} end,
    _ = spawn_link(Renew),
    ok = crema:ack(First),
    receive {renewed, ok} -> ok after 20000 -> error(not_renewed) end,
    ?assertMatch([{W, #{value := <<"2">>}}], crema_ct:handled(1)),
    ?assertMatch({error, {stale_assignment, _}}, crema:ack(Second)),
    ok = crema_ct:fill(Config, Topic, 0, [3]),
    [{W, #{value := <<"3">>} = Third}] = crema_ct:handled(1),
    ?assertMatch({error, {stale_assignment, _}}, crema:ack(Second)),
    ok = crema:ack(Third),
    ok.

noack() ->
    Self = self(),
    #{to => Self, handle => fun(Message, State) ->
        Self ! {handled, self(), Message},
        {noack, State}
    end}.

several_workers(Config) ->
    %% The workers of one partition live on as well, and each key's messages stay in order.
    Topic = crema_ct:topic(Config, 1),
    C = crema_ct:consumer(Config, Topic, counting(), #{concurrency => {any, 3}}),
    ok = crema:await_ready(C, 20000),
    ok = crema_ct:fill(Config, Topic, 0, lists:seq(1, 500)),
    ok = crema_renewal:renew(C),
    ok = crema_ct:fill(Config, Topic, 0, lists:seq(501, 1000)),
    Handled = crema_ct:handled(1000),
    ?assertEqual(lists:seq(1, 1000), lists:sort(values(Handled))),
    ?assertEqual([started, started, started], lives()),
    ?assertEqual(3, length(lists:usort([W || {W, _} <- Handled]))),
    true = all_acknowledged(C).

stuck_handler(Config) ->
    %% A handler that does not return is not killed for a renewal, nor waited for for ever.
    %% It goes on with the new client when it returns; what it was at comes again.
    Topic = filled(Config, 3),
    C = crema_ct:consumer(
        Config, Topic, #{to => self(), handle => crema_ct_consume:step_by_step(self())},
        #{drain_timeout => 200}
    ),
    [{W, #{value := <<"1">>}}] = crema_ct:handled(1),
    ok = crema_renewal:renew(C),
    ok = crema:await_ready(C, 20000),
    crema_ct:none_handled(100),
    [
        begin
            W ! continue,
            ?assertMatch([{W, #{value := V}}], crema_ct:handled(1))
        end
     || V <- [<<"1">>, <<"2">>, <<"3">>]
    ],
    W ! continue,
    true = all_acknowledged(C),
    %% Its time is limited as ever.
    ?assert(is_process_alive(W)).

two_members(Config) ->
    %% A member that is renewed while another joins: each partition has one handler at a
    %% time, and each message is handled.
    Topic = crema_ct:topic(Config, 4),
    Group = #{group => crema_ct:unique(<<"group">>)},
    C = crema_ct:consumer(Config, Topic, #{to => self()}, Group),
    ok = crema:await_ready(C, 20000),
    D = crema_ct:consumer(Config, Topic, #{to => self()}, Group),
    ok = crema_renewal:renew(C),
    [ok = crema_ct:fill(Config, Topic, P, lists:seq(1, 50)) || P <- lists:seq(0, 3)],
    [ok = crema:await_ready(M, 30000) || M <- [C, D]],
    ok = crema_renewal:renew(D),
    Handled = all_handled(200, []),
    [
        begin
            Of = [H || {_, #{partition := N}} = H <- Handled, N =:= P],
            ?assertEqual(lists:seq(1, 50), lists:usort(values(Of)))
        end
     || P <- lists:seq(0, 3)
    ].

%% So many different ones, some of them maybe more than once.
all_handled(Count, Handled) ->
    Different = lists:usort([{P, V} || {_, #{partition := P, value := V}} <- Handled]),
    case length(Different) of
        Count -> Handled;
        Less -> all_handled(Count, Handled ++ crema_ct:handled(Count - Less))
    end.

stopped_meanwhile(Config) ->
    %% A stop in the middle of a renewal ends both clients; whoever waits is told.
    Topic = filled(Config, 1),
    C = crema_ct:consumer(
        Config, Topic, #{to => self(), handle => crema_ct_consume:step_by_step(self())}, #{}
    ),
    [{W, _}] = crema_ct:handled(1),
    Self = self(),
    _ = spawn_link(fun() -> Self ! {renewed, crema_renewal:renew(C)} end),
    true = crema_ct:await(fun() -> is_renewing(C) end),
    ?assertMatch({error, {busy, _}}, crema_renewal:renew(C)),
    W ! continue,
    ok = crema_consumer:stop(C, 5000),
    receive
        {renewed, Result} -> ?assert(Result =:= ok orelse element(1, Result) =:= error, Result)
    after 10000 -> error(no_answer)
    end,
    ?assert(not is_process_alive(W)).

%% Its state has a field with the new client.
is_renewing(Client) ->
    {ok, _, _, _, Owner} = crema_registry:lookup(Client),
    Fields = tuple_to_list(sys:get_state(Owner)),
    [] =/= [Trial || {_, _, Trial} <- Fields, is_tuple(Trial), element(1, Trial) =:= trial].

refused_of_a_consumer(Config) ->
    %% A renewal that fails leaves the consumer as it was, and so does one that is not
    %% for it.
    Topic = crema_ct:topic(Config, 1),
    Self = self(),
    Handle = fun(#{value := Value} = Message, #{info := #{consumer := Consumer}} = State) ->
        Value =:= <<"2">> andalso (Self ! {within, crema_renewal:renew(Consumer)}),
        Self ! {handled, self(), Message},
        {ack, State}
    end,
    C = crema_ct:consumer(Config, Topic, #{to => Self, handle => Handle}, #{}),
    ok = crema:await_ready(C, 20000),
    ok = crema_ct:fill(Config, Topic, 0, [1]),
    [{W, _}] = crema_ct:handled(1),
    {error, {_, _}} = crema_renewal:renew(C, #{kafka => #{'security.protocol' => ssl}}, 500),
    {error, {bad_options, _}} = crema_renewal:renew(C, #{kafka => #{'group.instance.id' => a}}),
    ok = crema_ct:fill(Config, Topic, 0, [2]),
    [{W, _}] = crema_ct:handled(1),
    receive {within, Within} -> ?assertMatch({error, {bad_call, _}}, Within) end,
    [
        begin
            E = crema_ct:consumer(Config, Topic, #{to => Self}, Options),
            ?assertMatch({error, {unsupported_feature, _}}, crema_renewal:renew(E))
        end
     || Options <- [
            #{commit => exactly_once, transactional_id => crema_ct:unique("id")},
            #{commit => external, concurrency => {any, 2}}
        ]
    ].

dead_letters(Config) ->
    %% The producer of a consumer's dead letters is renewed with it; and a member that is
    %% started again by its supervisor has the options of the renewal.
    Topic = crema_ct:topic(Config, 1),
    Dead = crema_ct:topic(Config, 1),
    Handle = fun(_, State) -> {dead_letter, bad, State} end,
    C = crema_ct:consumer(Config, Topic, #{to => self(), handle => Handle}, #{
        dead_letter => #{topic => Dead}
    }),
    ok = crema:await_ready(C, 20000),
    Producer = crema_dead_letter_sup:producer(C),
    Before = port(Producer),
    ok = crema_renewal:renew(C, #{kafka => #{'client.id' => <<"renewed">>}}),
    ?assertNotEqual(Before, port(Producer)),
    {ok, _, _, _, Group} = crema_registry:lookup(C),
    true = exit(Group, kill),
    true = crema_ct:await(fun() ->
        case crema_registry:lookup(C) of
            {ok, _, _, _, Other} -> Other =/= Group;
            not_started -> false
        end
    end),
    ?assertMatch(#{kafka := #{<<"client.id">> := <<"renewed">>}}, (crema_group:renewed(C))()),
    _ = crema_ct:consumer(Config, Dead, #{to => self()}, #{}),
    ok = crema_ct:fill(Config, Topic, 0, [1]),
    ?assertMatch([{_, #{topic := Dead, value := <<"1">>}}], crema_ct:handled(1)).

own_positions(Config) ->
    %% A handler that keeps its offsets itself goes on behind what it has done, though
    %% nothing is committed.
    Topic = filled(Config, 5),
    C = crema_ct:consumer(Config, Topic, counting(), #{commit => external}),
    Before = crema_ct:handled(5),
    ok = crema_renewal:renew(C),
    ok = crema_ct:fill(Config, Topic, 0, [6, 7]),
    ?assertEqual(lists:seq(1, 7), in_order(0, Before ++ crema_ct:handled(2))),
    ?assertEqual([started], lives()).
