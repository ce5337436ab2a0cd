%% @private What becomes of messages when they have been handled. The worker
%% calls the handler and keeps the time; here is what each verdict means.
-module(crema_verdict).

-include("crema_worker.hrl").

-export([apply/4]).

-export_type([next/0]).

-type worker() :: #worker{}.

%% What the worker does next: its next message; nothing for so many
%% milliseconds; its end.
-type next() ::
    {next, worker()}
    | {wait, Millis :: non_neg_integer(), worker()}
    | {stop, Reason :: term(), worker()}.

%% @doc The verdict on the messages from the first to do up to `Last', behind
%% which follow `Rest'.
-spec apply(
    crema_handler:verdict(),
    Last :: crema_consumer:message(),
    Rest :: [crema_consumer:message()],
    worker()
) -> next().
apply({ack, State}, Last, Rest, Worker) ->
    Acked = acknowledged(Last, Worker),
    {next, Worker#worker{todo = Rest, acked = Acked, handler_state = State, failures = 0}};
apply({noack, State}, _Last, Rest, #worker{acked = Acked} = Worker) ->
    Separated = crema_runs:separate(Acked),
    {next, Worker#worker{todo = Rest, acked = Separated, handler_state = State, failures = 0}};
apply({error, Reason, State}, _Last, _Rest, Worker) ->
    failed(Reason, Worker#worker{handler_state = State});
%% Shutdown reasons make no crash report: the group logs it, with its place.
apply({crash, Class, Reason, Stack}, _Last, _Rest, Worker) ->
    {stop, {shutdown, {handler, Class, Reason, Stack}}, Worker}.

%% Offsets between those of a share may be others' messages.
-spec acknowledged(Last :: crema_consumer:message(), worker()) -> crema_runs:runs().
acknowledged(#{offset := To}, #worker{parallel = none, acked = Acked, todo = [First | _]}) ->
    crema_runs:add(maps:get(offset, First), To, Acked);
acknowledged(#{offset := To}, #worker{acked = Acked, todo = Todo}) ->
    Done = [Offset || #{offset := Offset} <- Todo, Offset =< To],
    lists:foldl(fun crema_runs:add_one/2, Acked, Done).

%% The same comes again after a back-off.
-spec failed(term(), worker()) -> next().
failed(Reason, #worker{failures = Before, todo = [#{offset := Offset} | _]} = Worker) ->
    Failures = Before + 1,
    {Min, Max} = maps:get(backoff, Worker#worker.options),
    Delay = crema_backoff:delay(Failures, Min, Max),
    Report = #{attempt => Failures, delay => Delay, reason => Reason, offset => Offset},
    Worker#worker.group ! {crema_handler_error, Worker#worker.slot, Report},
    {wait, Delay, Worker#worker{failures = Failures}}.
