%% @private Hands messages over to a producer in a process of its own, which may
%% wait for a place in the queue and runs what users have given (middleware,
%% partitioners): whoever started it is never held up, and a crash is one call's.
%%
%% It is monitored. First comes `{crema_dispatch, Pid, Accepted, Refusal}': so
%% many messages from the first on are in the producer's queue, the others were
%% refused and are not sent. The reason of the `'DOWN'' holds the results of
%% those accepted: see {@link results/2}.
-module(crema_dispatch).

-export([start/2, results/2, hand_over/3]).

%% Messages for one target, which are accepted all or none.
-type run() :: {crema_target:target(), [crema_packet:message()]}.
-type refusal() :: none | crema_error:error().

-export_type([run/0, refusal/0]).

%% @doc To that producer, also where a target is a pool: order is one client's.
-spec start(Producer :: pid(), [run()]) -> {pid(), Monitor :: reference()}.
start(Producer, Runs) ->
    spawn_monitor(?MODULE, hand_over, [Producer, Runs, self()]).

%% @private The process.
-spec hand_over(pid(), [run()], pid()) -> no_return().
hand_over(Producer, Runs, Parent) ->
    %% Whoever looks for a caller finds the producer.
    _ = put('$callers', [Producer]),
    Pinned = [{crema_target:at(Target, Producer), Messages} || {Target, Messages} <- Runs],
    {Refs, Refusal} = submit(Pinned, []),
    Accepted = lists:sum([Count || {Count, _} <- Refs]),
    Parent ! {?MODULE, self(), Accepted, Refusal},
    %% The messages are the driver's now.
    true = erlang:garbage_collect(),
    exit({?MODULE, lists:append([await(Count, Ref) || {Count, Ref} <- Refs])}).

%% In order; behind a refused run none is sent, unless it is one that can never
%% be: of a transaction that has ended. Its refusal is its report.
-spec submit([run()], Acc) -> {Acc, refusal()} when
    Acc :: [{pos_integer(), crema_await:ref() | [crema_report:result()]}].
submit([{Target, Messages} | Runs], Acc) ->
    case produce(Target, Messages) of
        {ok, Ref} ->
            submit(Runs, [{length(Messages), Ref} | Acc]);
        {error, {stale_transaction, _}} = Error ->
            Results = [crema_report:refused(Error, Message) || Message <- Messages],
            submit(Runs, [{length(Messages), Results} | Acc]);
        {error, _} = Refusal ->
            {lists:reverse(Acc), Refusal}
    end;
submit([], Acc) ->
    {lists:reverse(Acc), none}.

-spec produce(crema_target:target(), [crema_packet:message()]) ->
    {ok, crema_await:ref()} | crema_error:error().
produce(Target, Messages) ->
    try
        crema_produce:async(Target, {many, Messages}, #{})
    catch
        Class:Reason:Stack -> crashed(Class, Reason, Stack)
    end.

%% @doc The error for a user's function that raised.
-spec crashed(atom(), term(), term()) -> crema_error:error().
crashed(Class, Reason, Stack) ->
    Text = io_lib:format("~s: ~0tP", [Class, Reason, 20]),
    crema_error:make(callback_failed, Text, #{
        class => Class, reason => Reason, stacktrace => Stack, status => not_persisted
    }).

-spec await(pos_integer(), crema_await:ref() | [crema_report:result()]) ->
    [crema_report:result()].
await(_Count, Results) when is_list(Results) ->
    Results;
await(Count, Ref) ->
    case crema_await:await(Ref, infinity) of
        {ok, Results} -> Results;
        {error, _} = Error -> lists:duplicate(Count, Error)
    end.

%% @doc The results of the messages accepted, by the reason with which the
%% process has ended.
-spec results(Reason :: term(), Accepted :: non_neg_integer()) -> [crema_report:result()].
results({?MODULE, Results}, _Accepted) ->
    Results;
results(Reason, Accepted) ->
    Text = io_lib:format("the process that waited for the report ended: ~0tP", [Reason, 10]),
    Error = crema_error:make(closed, Text, #{status => possibly_persisted}),
    lists:duplicate(Accepted, Error).
