%% The application is stopped and started a thousand times, over clients of every kind
%% that are in the middle of something: all end in order, and nothing is left behind.
%%
%% CREMA_RESTARTS is the number of times (1000).
-module(crema_restart_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([again_and_again/1, at_work/1, last_reports/1]).
-export([log/2]).

%% What is made once is made by then.
-define(WARM, 64).
-define(EVERY, 5).
%% Of memory, for each time: less than a sixteenth of what any client has, of which there
%% are so many kinds. What malloc has is uneven.
-define(MOST_BYTES, [{total, 512}, {binary, 512}, {ets, 512}, {processes, 512}, {native, 4096}]).

suite() -> [{timetrap, {minutes, 8}}].

all() -> [again_and_again, at_work, last_reports].

%% The cluster, which is of crema too, is in another VM.
init_per_suite(Config) ->
    {ok, Peer, _} = peer:start(#{connection => standard_io, args => ["-pa" | code:get_path()]}),
    {ok, _} = peer:call(Peer, application, ensure_all_started, [crema]),
    {_, Brokers} = peer:call(Peer, crema_ct, hold, [fun crema_ct:embedded/0]),
    Topic = peer:call(Peer, crema_ct_consume, filled, [Brokers, 10]),
    {ok, _} = application:ensure_all_started(crema),
    [{peer, Peer}, {topic, Topic} | lists:keydelete(cluster, 1, Brokers) ++ Config].

end_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(crema),
    peer:stop(proplists:get_value(peer, Config)).

init_per_testcase(_, Config) ->
    true = register(?MODULE, self()),
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => error}),
    #{level := Level} = logger:get_primary_config(),
    %% Each stop is a notice, and a broker that is not there a warning.
    ok = logger:set_primary_config(level, error),
    [{level, Level} | Config].

end_per_testcase(_, Config) ->
    ok = logger:set_primary_config(level, proplists:get_value(level, Config)),
    ok = logger:remove_handler(?MODULE).

%% What is logged goes to the case that runs.
log(#{msg := Message}, _) ->
    case whereis(?MODULE) of
        undefined -> ok;
        Case -> Case ! {logged, Message}
    end.

again_and_again(Config) ->
    %% Each time a client of another kind is alive, and its user at a call. What there is
    %% of descriptors, threads, atoms, processes and the like is the same after a
    %% thousand times, and memory has no slope.
    Clients = clients(Config),
    Round = fun(N) -> restart([lists:nth(1 + N rem length(Clients), Clients)]) end,
    lists:foreach(Round, lists:seq(1, ?WARM)),
    %% What is said of a code is kept, and which of them come is chance.
    _ = [crema_anchor:error_of(Code, #{}) || Code <- lists:seq(-200, 200)],
    Before = settled(),
    Rounds = list_to_integer(os:getenv("CREMA_RESTARTS", "1000")),
    Samples = lists:append([sampled(N, Round) || N <- lists:seq(1, Rounds)]),
    crema_ct:await(fun() -> at_most(counted(), Before) orelse {Before, counted()} end, 20000),
    ?assertEqual([], logged()),
    Slopes = [{Name, Most, slope(Name, Samples)} || {Name, Most} <- most_bytes()],
    ct:pal("~p", [Slopes]),
    ?assertEqual([], [Slope || {_, Most, #{low := Low}} = Slope <- Slopes, is_number(Low), Low > Most]).

%% A sanitizer's malloc keeps records of its own, and tells by itself what is lost.
most_bytes() ->
    case crema_anchor:allocated() of
        {ok, none} -> lists:keydelete(native, 1, ?MOST_BYTES);
        {ok, _} -> ?MOST_BYTES
    end.

at_work(Config) ->
    %% Clients that are at work are stopped as by their own stop: a handler finishes its
    %% message, which is committed, and what a producer has outstanding is delivered.
    Topic = proplists:get_value(topic, Config),
    Brokers = #{bootstrap_servers => crema_ct:bootstrap(Config), kafka => #{'linger.ms' => 5000}},
    {ok, P} = crema_producer:start_link(Brokers),
    {C, Worker, 0} = handling(Config, Topic),
    true = unlink(P),
    Monitors = [erlang:monitor(process, Pid) || Pid <- [P, C]],
    Self = self(),
    Report = fun(Result) -> Self ! {reported, Result} end,
    ok = crema:produce_async(P, #{topic => Topic, value => <<"11">>}, #{report => Report}),
    %% The handler goes on when it is waited for.
    _ = erlang:send_after(300, Worker, go),
    ok = application:stop(crema),
    Ends = [
        receive
            {'DOWN', Monitor, _, _, End} -> End
        after 0 -> runs
        end
     || Monitor <- Monitors
    ],
    ?assertEqual([normal, shutdown], Ends),
    receive
        {reported, Result} -> ?assertMatch({ok, #{offset := _}}, Result)
    after 0 -> error(not_reported)
    end,
    ok = application:start(crema),
    {Next, _, 1} = handling(Config, Topic),
    ok = crema_consumer:stop(Next, 1000).

last_reports(_Config) ->
    %% What a producer that was just killed has to report is reported when the application
    %% has stopped: nobody waits for a report that never comes.
    {ok, P} = crema_producer:start_link(#{
        bootstrap_servers => <<"127.0.0.1:1">>, max_queue_messages => 500001
    }),
    true = unlink(P),
    Message = #{topic => <<"t">>, value => <<>>},
    Many = lists:duplicate(1000, Message),
    _ = [ok = crema:produce_many_async(P, Many, #{report => none}) || _ <- lists:seq(1, 500)],
    {Caller, Monitor} = spawn_monitor(fun() -> exit(crema:produce(P, Message)) end),
    crema_ct:await(fun() -> maps:get(accepted, crema:info(P)) =:= 500001 end, 10000),
    true = exit(P, kill),
    ok = application:stop(crema),
    receive
        {'DOWN', Monitor, process, Caller, Result} ->
            ?assertMatch({error, {purge_queue, #{status := not_persisted}}}, Result)
    after 2000 -> error(not_reported)
    end,
    ok = application:start(crema).

%% A member whose handler has a message, and the offset of that.
handling(Config, Topic) ->
    Self = self(),
    {ok, Consumer} = crema_consumer:start_link(#{
        bootstrap_servers => crema_ct:bootstrap(Config),
        group => <<"at work">>,
        topics => [Topic],
        kafka => #{'session.timeout.ms' => 3600, 'heartbeat.interval.ms' => 200},
        handler => fun(#{offset := Offset}) ->
            Self ! {handling, self(), Offset},
            receive
                go -> ok
            end
        end
    }),
    true = unlink(Consumer),
    receive
        {handling, Worker, Offset} -> {Consumer, Worker, Offset}
    after 30000 -> error(not_handling)
    end.

%% ---- a time ----------------------------------------------------------------------

%% The application stops under these clients.
restart(Clients) ->
    Users = [start(Client) || Client <- Clients],
    ok = application:stop(crema),
    [ok = ended(User) || User <- Users],
    ok = application:start(crema).

%% In a process of its own, which then uses it.
start({Start, Use}) ->
    Self = self(),
    Started = spawn_monitor(fun() ->
        process_flag(trap_exit, true),
        {ok, Client} = Start(),
        Self ! {self(), started},
        _ = Use(Client),
        receive
            {'EXIT', Client, Reason} -> exit({over, Reason})
        after 20000 -> exit({runs, process_info(Client)})
        end
    end),
    {Pid, Monitor} = Started,
    receive
        {Pid, started} -> Started;
        {'DOWN', Monitor, _, _, Reason} -> error({not_started, Reason})
    end.

ended({Pid, Monitor}) ->
    receive
        {'DOWN', Monitor, _, Pid, {over, Reason}} when Reason =:= normal; Reason =:= shutdown -> ok;
        {'DOWN', Monitor, _, Pid, Reason} -> error(Reason)
    after 30000 -> error({hangs, process_info(Pid)})
    end.

%% ---- clients ---------------------------------------------------------------------

%% How each is started, and what its user does meanwhile, whatever the answer.
clients(Config) ->
    Topic = proplists:get_value(topic, Config),
    Message = #{topic => Topic, value => <<"v">>},
    Brokers = #{bootstrap_servers => crema_ct:bootstrap(Config)},
    Nobody = #{bootstrap_servers => <<"127.0.0.1:1">>},
    [
        {Start, Use}
     || {Start, Uses} <- [
            {producer(Brokers#{connect => use}), [fun(_) -> ok end]},
            {producer(Brokers), [
                fun(P) -> crema:produce(P, Message) end,
                fun(P) -> crema:produce_async(P, Message, #{report => fun(_) -> ok end}) end,
                fun(P) -> crema:produce_async(P, Message, #{report => none}), crema:flush(P, 10000) end,
                fun(P) -> pushed(crema:topic(P, Topic, #{pipeline => 2})) end,
                fun(P) -> crema:buffer(P, Message), crema:flush_buffer(P) end,
                fun(P) -> crema:variant(P, #{timeout => 1000}) end,
                fun crema_renewal:renew/1
            ]},
            {producer(Nobody#{flush_timeout => 10}), [
                fun(P) -> crema:produce(P, Message) end,
                fun(P) -> crema:produce_async(P, Message, #{report => fun(_) -> ok end}) end
            ]},
            {producer(transactional(Brokers)), [
                fun(P) -> crema:transaction(P, fun(T) -> crema:produce(T, Message) end) end
            ]},
            {producer(transactional(Nobody#{flush_timeout => 10})), [
                fun(P) -> crema:transaction(P, fun(T) -> crema:produce(T, Message) end) end
            ]},
            {fun() -> crema_pool:start_link(Brokers#{size => 2}) end, [
                fun(P) -> crema_pool:with(P, fun(Member) -> crema:produce(Member, Message) end) end
            ]},
            {consumer(Brokers, Topic), [fun(_) -> ok end, fun(C) -> crema_control:lag(C, 1000) end]},
            %% One that has ended answers nobody.
            {fun crema_cluster:start_link/0, [fun(C) -> catch crema_cluster:bootstrap_servers(C) end]}
        ],
        Use <- Uses
    ].

producer(Options) -> fun() -> crema_producer:start_link(Options) end.

transactional(Options) ->
    Options#{kafka => #{'transactional.id' => crema_ct:unique(<<"restart">>)}}.

consumer(Options, Topic) ->
    More = #{group => <<"restart">>, topics => [Topic], handler => crema_ct_plain_handler},
    fun() -> crema_consumer:start_link(maps:merge(Options, More)) end.

pushed({ok, Handle}) -> crema:push(Handle, #{value => <<>>});
pushed(Error) -> Error.

%% ---- what is left ------------------------------------------------------------------

sampled(N, Round) when N rem ?EVERY =:= 0 ->
    Round(N),
    [{N, crema_ct_resources:take()}];
sampled(N, Round) ->
    Round(N),
    [].

slope(Name, Samples) ->
    crema_ct_slope:judge([{N, proplists:get_value(Name, Taken)} || {N, Taken} <- Samples]).

settled() ->
    crema_ct:await(fun() -> maps:get(reapers, crema:info()) =:= 0 end, 30000),
    counted().

%% What is to be the same at the end.
counted() ->
    Names = [descriptors, threads, atoms, ports, process_count, ets_tables, clients, persistent_terms],
    maps:with(Names, maps:from_list(crema_ct_resources:take())).

at_most(Now, Before) ->
    lists:all(fun(Name) -> map_get(Name, Now) =< map_get(Name, Before) end, maps:keys(Before)).

logged() ->
    receive
        {logged, Message} -> [Message | logged()]
    after 0 -> []
    end.
