%% Callers of every kind that have many messages outstanding at once, and account
%% for each of them when their producer has ended: exactly one report.
%%
%% As an application it does so in a node that is stopped: the callers are under
%% the producer's own supervisor, before it, so that they end after it.
-module(crema_ct_outstanding).
-behaviour(application).
-behaviour(supervisor).

-export([callers/2, reports/1]).
-export([main/1, start/2, stop/1, init/1, start_callers/2, run_callers/3]).

-define(CALL, 100).
%% Long enough for a machine that does much else.
-define(PATIENCE, 60000).

%% @doc Has so many messages outstanding at a producer: a fifth in each way that
%% there is to be told of them. Returns when all are accepted.
callers(P, Total) ->
    Calls = Total div 5 div ?CALL,
    Ways = [fun told/2, fun awaited/2, fun kept/2, fun by_reference/2],
    Waiting = [fun() -> waiting(P) end || _ <- lists:seq(1, Calls)],
    Callers = [spawn_monitor(F) || F <- [fun() -> Way(P, Calls) end || Way <- Ways] ++ Waiting],
    crema_ct:await(fun() -> maps:get(accepted, crema:info(P)) =:= Total end, ?PATIENCE),
    Callers.

%% @doc How often each result was reported, once the producer has ended or purged;
%% fails if a message has none, or more than one.
reports(Callers) ->
    [Pid ! ended || {Pid, _} <- Callers],
    Counts = [
        receive
            {'DOWN', Monitor, process, Pid, {reports, Count}} -> Count;
            {'DOWN', Monitor, process, Pid, Other} -> error(Other)
        after ?PATIENCE -> error({no_report, process_info(Pid)})
        end
     || {Pid, Monitor} <- Callers
    ],
    lists:foldl(fun(A, B) -> maps:merge_with(fun(_, X, Y) -> X + Y end, A, B) end, #{}, Counts).

%% Reports as messages, by tags.
told(P, Calls) ->
    [
        ok = crema:produce_many_async(P, messages(<<"v">>), #{report => message, tag => N * ?CALL})
     || N <- lists:seq(0, Calls - 1)
    ],
    Reports = crema_ct:reports(Calls * ?CALL),
    Tags = lists:seq(0, Calls * ?CALL - 1),
    Tags = lists:sort([Tag || {Tag, _} <- Reports]),
    finish([Result || {_, Result} <- Reports]).

%% Awaited while they are outstanding.
awaited(P, Calls) ->
    finish(results([crema:await(Ref) || Ref <- refs(P, Calls, <<"v">>)])).

%% Awaited when the producer has ended.
kept(P, Calls) ->
    Refs = refs(P, Calls, <<"v">>),
    receive
        ended -> self() ! ended
    end,
    finish(results([crema:await(Ref, ?PATIENCE) || Ref <- Refs])).

%% Values that librdkafka sends from the callers' own binary.
by_reference(P, Calls) ->
    Refs = refs(P, Calls, binary:copy(<<"x">>, 20000)),
    finish(results([crema:await(Ref) || Ref <- Refs])).

%% Synchronous, with headers, which go another way through librdkafka.
waiting(P) ->
    Messages = [M#{headers => [{h, <<"1">>}]} || M <- messages(<<"v">>)],
    finish(results([crema:produce_many(P, Messages, #{timeout => infinity})])).

refs(P, Calls, Value) ->
    [
        begin
            {ok, Ref} = crema:produce_many_async(P, messages(Value)),
            Ref
        end
     || _ <- lists:seq(1, Calls)
    ].

messages(Value) ->
    lists:duplicate(?CALL, #{topic => t, value => Value}).

results(Answers) ->
    lists:append([
        begin
            ?CALL = length(Results),
            Results
        end
     || {ok, Results} <- Answers
    ]).

%% Every report is here, and no other has come by the end.
finish(Results) ->
    receive
        ended -> ok
    end,
    receive
        Stray -> exit({stray_message, Stray})
    after 0 -> exit({reports, crema_ct:results(Results)})
    end.

%% ---- in a node that is stopped --------------------------------------------------------

%% @doc The number of messages, the file for what was reported, how to end.
main([Total, File]) ->
    ok = application:load(
        {application, ?MODULE, [
            {applications, [kernel, stdlib, crema]},
            {mod, {?MODULE, {list_to_integer(Total), File}}},
            {registered, [?MODULE]}
        ]}
    ),
    {ok, _} = application:ensure_all_started(?MODULE),
    ?MODULE ! {go_on, self()},
    receive
        accepted -> init:stop()
    end.

start(_Type, {Total, File}) ->
    supervisor:start_link(?MODULE, {Total, File}).

stop(_State) ->
    ok.

init({Total, File}) ->
    Producer = crema_producer:child_spec(#{
        name => outstanding,
        bootstrap_servers => "127.0.0.1:1",
        max_queue_messages => Total,
        max_queue_bytes => 1 bsl 40,
        flush_timeout => 300
    }),
    Callers = #{
        id => callers, start => {?MODULE, start_callers, [Total, File]}, shutdown => 2 * ?PATIENCE
    },
    {ok, {#{}, [Callers, Producer]}}.

start_callers(Total, File) ->
    proc_lib:start_link(?MODULE, run_callers, [self(), Total, File]).

run_callers(Supervisor, Total, File) ->
    process_flag(trap_exit, true),
    true = register(?MODULE, self()),
    proc_lib:init_ack({ok, self()}),
    Main = receive {go_on, Pid} -> Pid end,
    Callers = callers(outstanding, Total),
    Main ! accepted,
    receive
        {'EXIT', Supervisor, shutdown} ->
            ok = file:write_file(File, io_lib:format("~p.~n", [reports(Callers)]))
    end.
