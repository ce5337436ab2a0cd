%% @private What becomes of a producer whose client has met a fatal error.
-module(crema_reload).

-export([verdict/3, options/3]).

%% Another client has this transactional.id: each would fence the other in turn.
-define(FENCED, [fenced, producer_fenced, invalid_producer_epoch]).

%% @doc Whether a new client is made, and after which delay (ms), or why the
%% producer stops. A reason of shutdown keeps a supervisor from starting it
%% again, too. `Attempt' counts the clients lost in a row, this one included.
-spec verdict(crema_error:code(), Attempt :: pos_integer(), Options :: map()) ->
    {reload, non_neg_integer()} | {stop, Reason :: term()}.
verdict(Code, Attempt, Options) ->
    #{on_fatal := Policy, never_reload := Never, reload_attempts := Most} = Options,
    {Min, Max} = maps:get(reload_backoff, Options),
    case lists:member(Code, ?FENCED ++ Never) of
        true -> {stop, {shutdown, {fatal, Code}}};
        false when Policy =:= stop; Attempt > Most -> {stop, {fatal, Code}};
        false -> {reload, crema_backoff:delay(Attempt, Min, Max)}
    end.

%% @doc The options of the next client: `on_reload' may give it other properties.
-spec options(crema_error:reason(), pos_integer(), Options :: map()) ->
    {ok, map()} | {error, Reason :: term()}.
options(Reason, Attempt, #{on_reload := Function, kafka := Kafka} = Options) ->
    try call(Function, #{error => Reason, attempt => Attempt, kafka => Kafka}) of
        keep -> {ok, Options};
        {kafka, New} -> crema_options:parse(producer, Options#{kafka := New});
        _ -> {error, {on_reload, bad_return}}
    catch
        Class:Why:Stack ->
            {error, {on_reload, {Class, Why, crema_events:without_arguments(Stack)}}}
    end.

-spec call(undefined | function() | {module(), atom(), list()}, map()) -> term().
call(undefined, _Info) -> keep;
call(Function, Info) -> crema_callbacks:call(Function, Info).
