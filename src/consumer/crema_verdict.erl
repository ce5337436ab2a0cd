%% @private What becomes of messages when they have been handled. The worker
%% calls the handler and keeps the time; here is what each verdict means.
-module(crema_verdict).

-include("crema_worker.hrl").

-export([apply/4, add/4, stop/2]).

-export_type([next/0]).

-type worker() :: #worker{}.

%% What the worker does next: its next message; nothing for so many
%% milliseconds, until it is told to end, or until a monitored process has ended;
%% its end.
-type next() ::
    {next, worker()}
    | {wait, Millis :: non_neg_integer() | infinity, worker()}
    | {hold, Monitor :: reference(), worker()}
    | {stop, Reason :: term(), worker()}.

%% @doc The verdict on the messages from the first to do up to `Last', behind
%% which follow `Rest'.
-spec apply(
    crema_handler:verdict(),
    Last :: crema_consumer:message(),
    Rest :: [crema_consumer:message()],
    worker()
) -> next().
apply({ack, State}, #{offset := To}, Rest, Worker) ->
    {next, acknowledged(To, Rest, State, Worker)};
apply({produce, _, _}, Last, _Rest, #worker{exactly_once = none} = Worker) ->
    misused(produce, "is for a consumer with commit => exactly_once", Last, Worker);
apply({produce, Messages, State}, #{offset := To}, Rest, Worker) ->
    produced(Messages, To, Rest, Worker#worker{handler_state = State});
apply({noack, _}, Last, _Rest, #worker{exactly_once = Pid} = Worker) when is_pid(Pid) ->
    misused(noack, "is not for a consumer with commit => exactly_once", Last, Worker);
apply({noack, State}, Last, Rest, #worker{acked = Acked} = Worker) ->
    Separated = (expires(Last, Worker))#worker{acked = crema_runs:separate(Acked)},
    {next, Separated#worker{todo = Rest, handler_state = State, failures = 0}};
apply({ack, UpTo, State}, Last, Rest, Worker) ->
    {next, up_to(UpTo, Last, Rest, State, Worker)};
apply({retry, Millis, State}, _Last, _Rest, Worker) ->
    {wait, Millis, Worker#worker{handler_state = State}};
apply({skip, Reason, State}, #{offset := To}, Rest, Worker) ->
    ok = crema_group_events:skipped(place(Worker), extent(To, Worker), Reason, Worker#worker.about),
    {next, acknowledged(To, Rest, State, Worker)};
apply({pause, Millis, State}, #{offset := To}, Rest, Worker) ->
    Paused = acknowledged(To, Rest, State, Worker),
    ok = crema_group_events:paused(place(Worker), Millis, Worker#worker.about),
    {wait, Millis, Paused};
apply({stop, Reason, State}, _Last, _Rest, Worker) ->
    stop(Reason, Worker#worker{handler_state = State});
apply({dead_letter, Reason, State}, _Last, Rest, Worker) ->
    crema_remedy:dead_letter(Reason, Rest, Worker#worker{handler_state = State});
apply({error, Reason, State}, _Last, Rest, Worker) ->
    crema_remedy:returned(Reason, Rest, Worker#worker{handler_state = State});
apply({crash, Class, Reason, Stack}, Last, _Rest, Worker) ->
    {stop, crema_remedy:crashed(Class, Reason, Stack, Last, Worker), Worker}.

-spec expires(crema_consumer:message(), worker()) -> worker().
expires(_Last, #worker{expiry = none} = Worker) ->
    Worker;
expires(#{offset := To}, #worker{expiry = Expiry, todo = Todo} = Worker) ->
    Given = lists:takewhile(fun(#{offset := Offset}) -> Offset =< To end, Todo),
    Worker#worker{expiry = crema_expiry:add(Given, Expiry)}.

-spec acknowledged(integer(), [crema_consumer:message()], term(), worker()) -> worker().
acknowledged(To, Rest, State, Worker) ->
    Worker#worker{todo = Rest, acked = runs(To, Worker), handler_state = State, failures = 0}.

%% Offsets between those of a share may be others' messages.
-spec runs(To :: integer(), worker()) -> crema_runs:runs().
runs(To, #worker{parallel = none, acked = Acked, todo = [#{offset := From} | _]}) ->
    crema_runs:add(From, To, Acked);
runs(To, #worker{acked = Acked, todo = Todo}) ->
    Done = [Offset || #{offset := Offset} <- Todo, Offset =< To],
    lists:foldl(fun crema_runs:add_one/2, Acked, Done).

%% Only of what was handled: not of what follows it, and nobody has seen.
-spec up_to(
    integer(), crema_consumer:message(), [crema_consumer:message()], term(), worker()
) -> worker().
up_to(UpTo, #{offset := Last}, Rest, State, Worker) when UpTo >= Last ->
    acknowledged(Last, Rest, State, Worker);
up_to(UpTo, _Last, _Rest, State, #worker{todo = [#{offset := From} | _]} = Worker) when UpTo < From ->
    Worker#worker{handler_state = State};
up_to(UpTo, _Last, _Rest, State, #worker{todo = Todo} = Worker) ->
    Left = lists:dropwhile(fun(#{offset := Offset}) -> Offset =< UpTo end, Todo),
    acknowledged(UpTo, Left, State, Worker).

%% @doc The handler wants the consumer to stop. The worker does nothing more: it
%% is told to end as all others are.
-spec stop(Reason :: term(), worker()) -> {wait, infinity, worker()}.
stop(Reason, #worker{group = Group, about = About} = Worker) ->
    ok = crema_group_events:handler_stopped(place(Worker), Reason, About),
    Group ! {crema_handler_stop, Reason},
    {wait, infinity, Worker}.

-spec place(worker()) -> crema_group_events:place().
place(#worker{place = {Topic, Partition, _}}) ->
    {Topic, Partition}.

%% Where it begins, and how many messages there are up to that one.
-spec extent(integer(), worker()) -> {Offset :: integer(), Count :: pos_integer()}.
extent(To, #worker{todo = [#{offset := From} | _] = Todo}) ->
    {From, length(lists:takewhile(fun(#{offset := Offset}) -> Offset =< To end, Todo))}.

-spec misused(atom(), string(), Last :: crema_consumer:message(), worker()) -> next().
misused(Returned, Why, Last, Worker) ->
    {stop, crema_remedy:crashed(error, {bad_return, Returned, Why}, [], Last, Worker), Worker}.

-spec produced([map()], To :: integer(), [crema_consumer:message()], worker()) -> next().
produced(Messages, To, Rest, Worker) ->
    case add(Messages, To, Rest, Worker) of
        {error, Reason} -> crema_remedy:returned(Reason, Rest, Worker);
        Next -> Next
    end.

%% @doc What came of the messages up to that offset goes with their offsets, and with
%% those of what was only acknowledged before, into the transaction.
-spec add([map()], To :: integer(), [crema_consumer:message()], worker()) ->
    next() | crema_error:error().
add(Messages, To, Rest, #worker{exactly_once = Pid, slot = Slot} = Worker) ->
    Range = crema_runs:bounds(runs(To, Worker)),
    %% That may wait for a commit, which is not the handler's time.
    ok = crema_liveness:idle(Worker#worker.cell),
    Added = crema_exactly_once:add(Pid, Slot, Range, Messages),
    ok = crema_liveness:begins(Worker#worker.cell, Worker#worker.group, Slot),
    case Added of
        ok ->
            {next, Worker#worker{todo = Rest, acked = crema_runs:new(), failures = 0}};
        {error, _} = Error ->
            Error;
        aborted ->
            {stop, {shutdown, {transaction_aborted, Slot}}, Worker#worker{acked = crema_runs:new()}}
    end.
