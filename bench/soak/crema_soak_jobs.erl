%% The jobs: what applications do with crema, and what happens to them. Each is done
%% with its number; what it answers is counted, and only an exception is a fault.
-module(crema_soak_jobs).

-export([jobs/1]).

-define(LARGE, 100000).

%% @doc Each with the milliseconds between two times.
jobs(Name) ->
    [
        {produce, 40, fun(N) -> produce(N rem 10, message(Name, single, N)) end},
        {produce_many, 1000, fun(N) -> produce_many(N rem 3, Name) end},
        {large, 1000, fun(N) -> produce(N rem 2, large(Name)) end},
        {push, 500, fun(N) -> push(Name, N) end},
        {buffer, 500, fun(N) -> buffer(Name, N) end},
        {transaction, 1000, fun(N) -> transaction(N rem 5, soak_transactions, Name) end},
        {pool, 1000, fun(N) -> pool(N rem 4, Name) end},
        {refused, 5000, fun(N) -> by_another(fun() -> refused(N rem 3, Name) end) end},
        {read, 5000, fun(N) -> read(N rem 3, Name) end},
        {check, 30000, fun(_) -> crema:check(maps:put(topics, [topic(Name, out)], brokers())) end},
        {ask, 1000, fun(N) -> ask(N rem 6) end},
        {control, 5000, fun(N) -> control(N rem 5, Name) end},
        {member, 10000, fun(N) -> member(N rem 3, Name) end},
        {producer, 3000, fun(N) -> producer(N rem 4, Name) end},
        {renew, 20000, fun(N) -> renew(N rem 4) end},
        {fatal, 30000, fun(_) -> fatal(crema_registry:lookup(soak_plain)) end},
        {kill, 30000, fun(N) -> kill(N rem 3) end},
        {listen, 5000, fun(_) -> listen() end},
        {pause_broker, 120000, fun(_) -> pause_broker() end}
    ].

topic(Name, Kind) -> crema_soak_clients:topic(Name, Kind).

brokers() -> maps:with([bootstrap_servers], crema_soak_clients:options()).

message(Name, Kind, N) ->
    #{
        topic => topic(Name, Kind),
        key => integer_to_binary(N rem 100),
        value => binary:copy(<<"x">>, 100 + N rem 1000),
        headers => [{"n", integer_to_binary(N)}]
    }.

large(Name) ->
    (message(Name, large, 0))#{value := binary:copy(<<"large">>, ?LARGE div 5)}.

%% ---- producing ---------------------------------------------------------------------

produce(0, Message) ->
    crema:produce(soak_plain, Message);
produce(1, Message) ->
    awaited(crema:produce_async(soak_plain, Message));
produce(2, Message) ->
    reported(crema:produce_async(soak_plain, Message, #{report => message}));
produce(3, Message) ->
    Self = self(),
    Ref = make_ref(),
    called(Ref, crema:produce_async(soak_plain, Message, #{report => fun(_) -> Self ! Ref end}));
produce(4, #{topic := Topic}) ->
    crema:tombstone(soak_plain, Topic, <<"gone">>);
produce(5, Message) ->
    case crema:variant(soak_plain, #{timeout => 20000}) of
        {ok, Variant} -> crema:produce(Variant, Message);
        Error -> Error
    end;
produce(6, Message) ->
    %% A report that nobody asks for is kept as long as its caller lives.
    by_another(fun() -> crema:produce_async(soak_plain, Message) end);
produce(_, Message) ->
    crema:produce_async(soak_plain, Message, #{report => none}).

awaited({ok, Ref}) -> crema:await(Ref, 60000);
awaited(Error) -> Error.

reported(ok) ->
    receive
        {crema_reports, _, _} = Message -> [_ | _] = crema:reports(Message), ok
    after 60000 -> error(no_report)
    end;
reported(Error) ->
    Error.

called(Ref, ok) ->
    receive
        Ref -> ok
    after 60000 -> error(not_called)
    end;
called(_, Error) ->
    Error.

produce_many(0, Name) ->
    crema:produce_many(soak_plain, many(Name));
produce_many(1, Name) ->
    awaited(crema:produce_many_async(soak_plain, many(Name)));
produce_many(2, Name) ->
    %% Its caller dies before the reports.
    by_another(fun() -> crema:produce_many_async(soak_plain, many(Name)) end).

by_another(Fun) ->
    {Pid, Monitor} = spawn_monitor(Fun),
    receive
        {'DOWN', Monitor, process, Pid, _} -> ok
    end.

many(Name) -> [message(Name, batch, N) || N <- lists:seq(1, 100)].

push(Name, N) ->
    case crema:topic(soak_plain, topic(Name, sales), #{serializer => term, pipeline => 2}) of
        {ok, Handle} ->
            Answer = awaited(crema:push(Handle, #{key => <<"k">>, value => {sold, N}})),
            _ = crema:close_topic(Handle, 10000),
            Answer;
        Error ->
            Error
    end.

buffer(Name, N) ->
    case crema:buffer(soak_plain, message(Name, sales, N)) of
        ok when N rem 4 =:= 0 -> crema:flush_buffer(soak_plain);
        Other -> Other
    end.

transaction(0, Producer, Name) ->
    crema:transaction(Producer, fun(T) ->
        _ = crema:produce_async(T, message(Name, sales, 0), #{report => none}),
        crema:abort(T, planned)
    end);
transaction(1, Producer, Name) ->
    %% It crashes within.
    by_another(fun() ->
        crema:transaction(Producer, fun(T) ->
            _ = crema:produce_async(T, message(Name, sales, 0)),
            exit(planned)
        end)
    end);
transaction(_, Producer, Name) ->
    crema:transaction(Producer, fun(T) -> crema:produce_many(T, many(Name)) end).

pool(0, Name) ->
    crema:produce(soak_pool, message(Name, sales, 0));
pool(1, Name) ->
    crema_pool:with(soak_pool, fun(Member) -> crema:produce(Member, message(Name, sales, 1)) end);
pool(N, Name) ->
    transaction(N, soak_pool, Name).

%% ---- errors ------------------------------------------------------------------------

refused(0, _Name) ->
    crema:produce(soak_plain, #{topic => <<"not a topic">>, value => <<>>}, #{timeout => 2000});
refused(1, Name) ->
    %% No such partition.
    crema:produce(soak_plain, (message(Name, out, 0))#{partition => 1000}, #{timeout => 2000});
refused(2, Name) ->
    crema_producer:start_link((brokers())#{name => Name, no_such_option => 1}).

%% ---- reading and asking --------------------------------------------------------------

read(0, Name) ->
    Reading = (brokers())#{topic => topic(Name, single), from => {last, 50}},
    crema:fold(Reading, fun(_, Sum) -> {ok, Sum + 1} end, 0);
read(1, Name) ->
    Reading = (brokers())#{topic => topic(Name, batch), from => {last, 500}},
    crema:fold(Reading, fun(_, Sum) -> {stop, Sum} end, 0);
read(2, Name) ->
    %% It ends with the process that reads.
    by_another(fun() ->
        {ok, Reader} = crema_reader:open((brokers())#{topic => topic(Name, large), to => infinity}),
        crema_reader:next(Reader, 5000)
    end).

ask(0) -> crema:info(soak_single);
ask(1) -> crema:status(soak_plain);
ask(2) -> crema:statistics(soak_batch);
ask(3) -> crema_control:lag(soak_single);
ask(4) -> crema_control:committed(soak_single);
ask(5) -> crema_control:watermarks(soak_batch).

control(0, Name) ->
    _ = crema:pause(soak_single, [{topic(Name, single), 0}]),
    crema:resume(soak_single, [{topic(Name, single), 0}]);
control(1, Name) ->
    crema:seek(soak_batch, [{topic(Name, large), 0}], latest);
control(2, _) ->
    crema:commit(soak_single);
control(3, Name) ->
    crema_control:add_topics(soak_single, [topic(Name, sales)]);
control(4, Name) ->
    crema_control:remove_topics(soak_single, [topic(Name, sales)]).

%% Handlers of events come and go.
listen() ->
    Self = self(),
    Tell = fun(_, _, _, _) -> Self ! listened end,
    _ = crema_events:attach(?MODULE, [crema, producer, reported], Tell, none),
    receive
        listened -> ok
    after 5000 -> ok
    end,
    crema_events:detach(?MODULE).

%% ---- coming and going ------------------------------------------------------------------

%% A second member for a moment, which makes a rebalance.
member(How, Name) ->
    Options = maps:merge(brokers(), #{
        group => topic(Name, single),
        topics => [topic(Name, single)],
        handler => {crema_soak_handler, none},
        kafka => #{'session.timeout.ms' => 6000, 'heartbeat.interval.ms' => 500}
    }),
    ended(How, crema_consumer, Options, fun(Member) -> crema:await_ready(Member, 10000) end).

producer(How, Name) ->
    ended(How, crema_producer, brokers(), fun(Producer) ->
        crema:produce(Producer, message(Name, sales, 0), #{timeout => 10000})
    end).

%% Started, used and ended in a process of its own.
ended(How, Module, Options, Use) ->
    {Pid, Monitor} = spawn_monitor(fun() ->
        {ok, Client} = Module:start_link(Options),
        _ = Use(Client),
        exit(ended(How, Module, Client))
    end),
    receive
        {'DOWN', Monitor, process, Pid, Reason} -> Reason
    end.

ended(0, Module, Client) -> Module:stop(Client);
ended(1, _, _) -> shutdown;
ended(2, _, Client) -> unlink(Client), exit(Client, kill), ok;
ended(3, Module, Client) -> Module:stop(Client, 0).

renew(0) -> crema_renewal:renew(soak_plain);
renew(1) -> crema_renewal:renew(soak_single);
renew(2) -> crema:disconnect(soak_plain);
renew(3) -> crema_renewal:renew(soak_batch).

%% One that was just killed is not there yet.
fatal({ok, producer, _, _, _}) -> crema_ct_life:fatal(soak_plain);
fatal(not_started) -> ok.

%% A supervisor starts it again.
kill(0) -> killed(whereis(soak_plain));
kill(1) -> killed(whereis(soak_batch));
kill(2) -> killed(whereis(soak_transactions)).

killed(undefined) -> {error, not_there};
killed(Pid) -> exit(Pid, kill).

pause_broker() ->
    Kafka = os:getenv("CREMA_KAFKA"),
    _ = os:cmd(lists:join(" ", [Kafka, "pause", os:getenv("KAFKA_DIR")])),
    receive
    after 3000 -> ok
    end,
    os:cmd(lists:join(" ", [Kafka, "resume", os:getenv("KAFKA_DIR")])).
