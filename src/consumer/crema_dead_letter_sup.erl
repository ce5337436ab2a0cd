%% @private A consumer's own producer for dead letters, below a supervisor that
%% starts it again by itself: the consumer goes on meanwhile.
-module(crema_dead_letter_sup).
-behaviour(supervisor).

-export([child_spec/2, start_link/2, start_producer/2, why/1, producer/1, changes/1]).
-export([init/1]).

%% So often within so many seconds it starts again; then the consumer does.
-define(RESTARTS, 3).
-define(PERIOD, 30).

%% @doc Options are in a function: they may hold secrets.
-spec child_spec(pid(), fun(() -> map())) -> supervisor:child_spec().
child_spec(Consumer, Options) ->
    #{
        id => dead_letters,
        start => {?MODULE, start_link, [Consumer, Options]},
        type => supervisor
    }.

-spec start_link(pid(), fun(() -> map())) -> supervisor:startlink_ret().
start_link(Consumer, Options) ->
    supervisor:start_link(?MODULE, {Consumer, Options}).

-spec start_producer(pid(), fun(() -> map())) -> {ok, pid()} | {error, term()}.
start_producer(Consumer, Options) ->
    case crema_producer:start_own((renewed(Consumer, Options))()) of
        {ok, Producer} ->
            ok = crema_registry:note(Consumer, ?MODULE, Producer),
            {ok, Producer};
        {error, _} = Error ->
            Error
    end.

%% Those that follow from the consumer's since its last renewal.
-spec renewed(pid(), Options) -> Options when Options :: fun(() -> map()).
renewed(Consumer, Options) ->
    case crema_group:renewed(Consumer) of
        none ->
            Options;
        OfConsumer ->
            {own, Own} = crema_failure_options:producer(OfConsumer()),
            Own
    end.

%% @doc What a renewal of the consumer changes of it, in a function: it may hold secrets.
-spec changes(pid()) -> fun(() -> crema_renewal:changes()).
changes(Consumer) ->
    Options = renewed(Consumer, fun maps:new/0),
    fun() -> maps:with([kafka, bootstrap_servers], Options()) end.

%% @doc Why it did not start.
-spec why(Reason :: term()) -> term().
why({shutdown, {failed_to_start_child, producer, Reason}}) -> Reason;
why(Reason) -> Reason.

%% @doc The producer of a consumer, as it was started last.
-spec producer(pid()) -> pid() | none.
producer(Consumer) ->
    crema_registry:noted(Consumer, ?MODULE, none).

-spec init({pid(), fun(() -> map())}) ->
    {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({Consumer, Options}) ->
    %% It may end before there is a member of the group.
    ok = crema_registry:watch(Consumer),
    #{shutdown := Shutdown} = crema_producer:child_spec(Options()),
    Producer = #{
        id => producer,
        start => {?MODULE, start_producer, [Consumer, Options]},
        shutdown => Shutdown
    },
    {ok, {#{intensity => ?RESTARTS, period => ?PERIOD}, [Producer]}}.
