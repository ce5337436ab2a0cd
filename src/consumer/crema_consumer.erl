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

-export_type([info/0, message/0, token/0, state/0]).

%% What a handler is started for.
-type info() :: #{
    topic := binary(),
    partition := non_neg_integer(),
    consumer := pid(),
    %% with the option concurrency: the number of the state's worker, from 1 on
    worker => pos_integer()
}.
-type message() :: #{
    topic := binary(),
    partition := non_neg_integer(),
    offset := non_neg_integer(),
    key := binary() | undefined | nil,
    value := binary() | undefined | nil,
    headers := [{binary(), binary() | undefined | nil}],
    timestamp := integer(),
    timestamp_type := create | append | undefined,
    token := token()
}.
%% For `crema:ack/1', from any process. It survives `term_to_binary/1'.
-type token() :: {crema_token, Consumer :: pid(), Slot :: pos_integer(), Offset :: integer()}.
%% The handler's own.
-type state() :: term().

%% Called in the partition's process before its first message, and again after
%% a crash. Without it the state is what was given as Args.
-callback init(info(), Args :: term()) -> {ok, state()}.
%% `ack': done with. `noack': somebody acknowledges it later, by its token.
%% `error': it comes again after a back-off, and before any other.
-callback handle_message(message(), state()) ->
    {ack, state()} | {noack, state()} | {error, Reason :: term(), state()}.
%% The same for a whole batch, in order, instead of handle_message/2.
-callback handle_messages([message(), ...], state()) ->
    {ack, state()} | {noack, state()} | {error, Reason :: term(), state()}.
-optional_callbacks([init/2, handle_message/2, handle_messages/2]).

%% @doc Starts a member. It does not wait for a broker or for partitions: see
%% `crema:await_ready/2'. The options are those of {@link crema_options}, scope
%% `consumer'; `handler' is a module, or `{Module, Args}'.
-spec start_link(Options :: map() | list()) ->
    {ok, pid()} | {error, crema_error:reason() | {already_started, pid()}}.
start_link(Options) ->
    case crema_options:parse(consumer, Options) of
        {ok, Parsed} -> crema_consumer_sup:start_link(Parsed);
        {error, _} = Error -> Error
    end.

%% @doc A child specification. Its `shutdown' is infinity, as for supervisors:
%% the member keeps its own `stop_timeout'.
-spec child_spec(Options :: map() | list()) -> supervisor:child_spec().
child_spec(Options) ->
    crema_child:spec(consumer, ?MODULE, supervisor, Options, fun(_) -> infinity end).

%% @doc Stops a member: its handlers finish their message, what they have
%% acknowledged is committed, and the group is left; all within `stop_timeout'.
-spec stop(crema_registry:ref()) -> ok.
stop(Consumer) ->
    stop(Consumer, default).

%% @doc The same with another deadline, in milliseconds.
-spec stop(crema_registry:ref(), default | timeout()) -> ok.
stop(Consumer, Timeout) ->
    crema_child:stop(Consumer, Timeout).
