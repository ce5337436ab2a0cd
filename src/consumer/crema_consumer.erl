%% @doc A member of a consumer group, as a supervisor for a supervision tree,
%% and the behaviour of its handlers.
%%
%% ```
%% -module(orders_handler).
%% -behaviour(crema_consumer).
%% -export([init/2, handle_message/2]).
%%
%% init(#{topic := _, partition := _}, _Args) -> {ok, 0}.
%%
%% handle_message(#{value := Value}, Count) ->
%%     io:format("~s~n", [Value]),
%%     {ack, Count + 1}.
%% '''
%% Each assigned partition has a process of its own, which calls the handler
%% with one message after another. A handler that crashes is started again,
%% after a back-off, with what is not acknowledged; other partitions and the
%% group notice nothing.
%%
%% An offset is committed when every message delivered before it from that
%% partition has been acknowledged: at least once, never a gap.
-module(crema_consumer).

-export([start_link/1, child_spec/1, stop/1, stop/2]).

-export_type([info/0, why/0, message/0, token/0, state/0, verdict/0, handler/0]).

-type handler() ::
    module()
    | {module(), Args :: term()}
    | {module(), Function :: atom()}
    | fun((message()) -> term()).
%% `{Module, Atom}' is a module and its argument if the module is a handler, else a function.

-type info() :: #{
    topic := binary(),
    partition := non_neg_integer(),
    consumer := pid(),
    %% with the option concurrency: the number of the state's worker, from 1 on
    worker => pos_integer()
}.
%% What a handler is started for, and told of.

-type why() ::
    revoked
    | lost
    | reset
    | stopped
    | {crash, error | exit | throw, Reason :: term()}.
%% Why a handler ends: `reset' begins again at another offset, a crash after a
%% back-off.

-type message() :: #{
    topic := binary(),
    partition := non_neg_integer(),
    offset := non_neg_integer(),
    key := binary() | undefined | nil,
    value := binary() | undefined | nil,
    headers := [{binary(), binary() | undefined | nil}],
    timestamp := integer(),
    timestamp_type := create | append | undefined,
    token := token(),
    %% with the option message => struct
    '__struct__' => 'Elixir.Crema.Message'
}.
-type token() :: {crema_token, Consumer :: pid(), Slot :: pos_integer(), Offset :: integer()}.
%% For `crema:ack/1', from any process. It survives `term_to_binary/1'.

-type state() :: term().
%% The handler's own.

-type verdict() ::
    %% Done with; `ok' leaves the state as it is.
    {ack, state()}
    | ok
    %% Done with, and this came of it: exactly once.
    | {produce, [map()], state()}
    %% Somebody acknowledges it later, by its token.
    | {noack, state()}
    %% Of a batch: done with up to that offset. The rest comes again at once.
    | {ack, UpTo :: integer(), state()}
    %% It comes again after so many milliseconds, which counts as no failure.
    | {retry, Millis :: non_neg_integer(), state()}
    %% Done with; an event tells that it was not handled.
    | {skip, state()}
    | {skip, Reason :: term(), state()}
    %% It goes to the dead-letter topic (option `dead_letter'), and is done with then.
    | {dead_letter, Reason :: term(), state()}
    %% Done with; nothing more of the partition for so many milliseconds.
    | {pause, Millis :: non_neg_integer(), state()}
    %% Not done with, and the whole consumer stops, as by stop/1. Its supervisor
    %% does not start it again.
    | {stop, Reason :: term(), state()}
    %% It failed: it comes again after a back-off, and before any other.
    | {error, Reason :: term(), state()}.
%% What becomes of a message, or of all messages of a batch.

-type told() :: {ok, state()} | {stop, Reason :: term(), state()}.
%% What the callbacks return that only change the state.

%% Called in the partition's process before its first message, and again after
%% a crash. Without it the state is what was given as Args. `start': where the
%% partition begins, from now on, instead of what is committed or was not
%% acknowledged before the crash.
-callback init(info(), Args :: term()) ->
    {ok, state()}
    | {ok, state(), #{start := crema_control:where()} | [{start, crema_control:where()}]}.
-callback handle_message(message(), state()) -> verdict().
%% The same for a whole batch, in order, instead of handle_message/2.
-callback handle_messages([message(), ...], state()) -> verdict().
%% The partition was assigned: once, after the first init/2.
-callback handle_assigned(info(), state()) -> told().
%% It is given up: what is acknowledged is committed after this.
-callback handle_revoked(info(), state()) -> told().
%% It was taken away: nothing can be committed any more.
-callback handle_lost(info(), state()) -> told().
%% An error of the partition; each once until messages come again.
-callback handle_error(crema_error:reason(), state()) -> told().
%% Any other message to the partition's process.
-callback handle_info(term(), state()) -> told().
%% The last call, also after a crash, then with the state before it.
-callback terminate(why(), state()) -> term().
-optional_callbacks([
    init/2,
    handle_message/2,
    handle_messages/2,
    handle_assigned/2,
    handle_revoked/2,
    handle_lost/2,
    handle_error/2,
    handle_info/2,
    terminate/2
]).

%% @doc Starts a member. It does not wait for a broker or for partitions: see
%% `crema:await_ready/2'. The options are those of {@link crema_options}, scope
%% `consumer'; `handler' is a module, `{Module, Args}', a function of one argument
%% or `{Module, Function}'.
-spec start_link(Options :: map() | list()) ->
    {ok, pid()} | {error, crema_error:reason() | {already_started, pid()}}.
start_link(Options) ->
    case crema_settings:parse(consumer, Options) of
        {ok, Parsed} -> crema_consumer_sup:start_link(crema_prefix:names(Parsed));
        {error, _} = Error -> Error
    end.

%% @doc A child specification. Its `shutdown' is infinity, as for supervisors:
%% the member keeps its own `stop_timeout'.
-spec child_spec(Options :: map() | list()) -> supervisor:child_spec().
child_spec(Options) ->
    crema_child:spec(consumer, ?MODULE, supervisor, Options, fun(_) -> infinity end).

%% @doc Stops a member: its handlers finish their message, what they have
%% acknowledged is committed, and the group is left; all within `stop_timeout'.
-spec stop(crema_types:client()) -> ok.
stop(Consumer) ->
    stop(Consumer, default).

%% @doc The same with another deadline, in milliseconds.
-spec stop(crema_types:client(), default | timeout()) -> ok.
stop(Consumer, Timeout) ->
    crema_child:stop(Consumer, Timeout).
