%% @private A consumer's supervisor: the partitions' processes, and the group
%% member that starts them. The member comes last, so that at a stop it still
%% finds them, to drain them. It cannot outlive them nor they it: one_for_all.
%% With `commit => exactly_once' a producer and who has its transactions stand
%% between them. One for dead letters comes first, so that it is there to the end.
-module(crema_consumer_sup).
-behaviour(supervisor).

-export([start_link/1, start_worker_sup/1, start_worker/2, start_partition/1, kill_partition/2]).
-export([start_producer/1, start_exactly_once/2, start_group/2]).
-export([init/1]).

%% So often within so many seconds it starts its member again.
-define(RESTARTS, 3).
-define(PERIOD, 30).

%% @doc `Options' are parsed ones.
-spec start_link(map()) -> {ok, pid()} | {error, term()}.
start_link(Options) ->
    case crema_child:start_link(supervisor, ?MODULE, Options) of
        {error, {shutdown, {failed_to_start_child, dead_letters, Nested}}} ->
            {error, crema_dead_letter_sup:why(Nested)};
        {error, {shutdown, {failed_to_start_child, Child, Reason}}} when
            Child =:= group; Child =:= producer
        ->
            {error, Reason};
        Other -> Other
    end.

%% @doc Called in the consumer's supervisor, which remembers it for the group: a
%% group that asked for it would wait for a supervisor that may be ending it.
-spec start_worker_sup(Concurrency :: term()) -> supervisor:startlink_ret().
start_worker_sup(Concurrency) ->
    ok = crema_child:restarts(?RESTARTS, ?PERIOD),
    remembered(workers, supervisor:start_link(?MODULE, {workers, Concurrency})).

-spec remembered(atom(), Started) -> Started when Started :: {ok, pid()} | {error, term()}.
remembered(Which, {ok, Pid} = Started) ->
    _ = put({?MODULE, Which}, Pid),
    Started;
remembered(_Which, Error) ->
    Error.

%% @doc The producer of a consumer with these options.
-spec start_producer(fun(() -> map())) -> {ok, pid()} | {error, term()}.
start_producer(Options) ->
    Newest =
        case crema_group:renewed(self()) of
            none -> Options;
            Renewed -> Renewed
        end,
    Own = crema_exactly_once_options:producer(Newest()),
    remembered(producer, crema_producer:start_own(Own)).

%% @doc Who has its transactions.
-spec start_exactly_once(pid(), fun(() -> map())) -> {ok, pid()} | {error, term()}.
start_exactly_once(Consumer, Options) ->
    Producer = get({?MODULE, producer}),
    remembered(exactly_once, crema_exactly_once:start_link(Consumer, Producer, Options())).

%% @doc The options come in a function: supervisors print what they start, and a
%% handler's arguments are nobody's business.
-spec start_group(pid(), fun(() -> map())) -> gen_server:start_ret().
start_group(Consumer, Options) ->
    case crema_child:is_stopping(Consumer) of
        %% It had done so when another child crashed: the consumer ends with this one.
        true -> {ok, proc_lib:spawn_link(erlang, exit, [{shutdown, stopped}])};
        false -> start_member(Consumer, Options)
    end.

-spec start_member(pid(), fun(() -> map())) -> gen_server:start_ret().
start_member(Consumer, Options) ->
    ExactlyOnce =
        case get({?MODULE, exactly_once}) of
            undefined -> none;
            Pid -> Pid
        end,
    crema_group:start_link(Consumer, get({?MODULE, workers}), ExactlyOnce, Options).

%% @doc A partition's process.
-spec start_worker(pid(), map()) -> {ok, pid()} | {error, term()}.
start_worker(Workers, Work) ->
    supervisor:start_child(Workers, [Work]).

%% @private The process that a partition's slot knows.
-spec start_partition(map()) -> gen_server:start_ret().
start_partition(#{options := #{concurrency := 1}} = Work) -> crema_worker:start_link(Work);
start_partition(Work) -> crema_parallel:start_link(Work).

%% @doc Ends it at once, whatever its handlers do.
-spec kill_partition(pid(), Options :: map()) -> ok.
kill_partition(Pid, #{concurrency := 1}) ->
    true = exit(Pid, kill),
    ok;
kill_partition(Pid, _Options) ->
    crema_parallel:kill(Pid).

-spec init(map() | {workers, Concurrency :: term()}) ->
    {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(#{stop_timeout := Stop, concurrency := Concurrency} = Options) ->
    Hidden = fun() -> Options end,
    Workers = #{
        id => workers, start => {?MODULE, start_worker_sup, [Concurrency]}, type => supervisor
    },
    Group = #{
        id => group,
        start => {?MODULE, start_group, [self(), Hidden]},
        shutdown => crema_child:shutdown(Stop),
        significant => true,
        restart => transient
    },
    Flags = #{
        strategy => one_for_all,
        intensity => ?RESTARTS + 1,
        period => ?PERIOD,
        auto_shutdown => any_significant
    },
    Children = dead_letters(Options) ++ [Workers] ++ exactly_once(Hidden, Options) ++ [Group],
    {ok, {Flags, Children}};
init({workers, Concurrency}) ->
    Worker = #{
        id => worker,
        start => {?MODULE, start_partition, []},
        restart => temporary,
        shutdown => shutdown(Concurrency)
    },
    {ok, {#{strategy => simple_one_for_one}, [Worker]}}.

%% One of several kills its workers, and does nothing else that takes time.
-spec shutdown(Concurrency :: term()) -> brutal_kill | infinity.
shutdown(1) -> brutal_kill;
shutdown(_) -> infinity.

-spec dead_letters(map()) -> [supervisor:child_spec()].
dead_letters(Options) ->
    case crema_failure_options:producer(Options) of
        {own, Own} -> [crema_dead_letter_sup:child_spec(self(), Own)];
        _ -> []
    end.

%% A producer that was fenced starts again, with all of the consumer, so often as the
%% supervisor allows: brokers fence it, too, when its transaction took too long.
-spec exactly_once(fun(() -> map()), map()) -> [supervisor:child_spec()].
exactly_once(Hidden, #{commit := exactly_once, stop_timeout := Stop}) ->
    [
        #{
            id => producer,
            start => {?MODULE, start_producer, [Hidden]},
            shutdown => crema_child:shutdown(Stop)
        },
        #{id => exactly_once, start => {?MODULE, start_exactly_once, [self(), Hidden]}}
    ];
exactly_once(_Hidden, _Options) ->
    [].
