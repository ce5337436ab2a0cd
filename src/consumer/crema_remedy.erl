%% @private What a worker does about a message, or a batch, that failed: tries it
%% again, skips it, sends it on to another topic, or ends for the group's member
%% to stop the consumer or let the partition rest.
%%
%% A message that is sent on is delivered before it is acknowledged. Until then
%% the partition holds.
-module(crema_remedy).

-include("crema_worker.hrl").

-export([returned/3, dead_letter/3, crashed/5]).
-export([first/1, before/2, sent/3, is_sending/1, killed/4, reason/1]).

-export_type([action/0, failed/0, sending/0]).

-type worker() :: #worker{}.
-type action() :: retry | crema_failure:then().
%% A failure at which a worker ended, and what follows. `judged': whether the
%% option `fatal' was asked.
-type failed() :: {crema_failure:failure(), action(), Judged :: boolean()}.

-record(sending, {
    letters :: [crema_dead_letter:letter(), ...],
    %% the messages behind those that are sent on
    rest :: [crema_consumer:message()],
    failure :: crema_failure:failure(),
    action :: dead_letter | retry_topic,
    failures = 0 :: non_neg_integer(),
    %% none while it waits to be sent again
    monitor = none :: none | reference()
}).
-opaque sending() :: #sending{}.

%% ---- failures ----------------------------------------------------------------------

%% @doc The handler returned an error for the messages to do before `Rest'.
-spec returned(term(), Rest :: [crema_consumer:message()], worker()) -> crema_verdict:next().
returned(Reason, Rest, Worker) ->
    Failure = failure(returned, Reason, last(Rest, Worker), Worker),
    {Action, Delay} = judge(Failure, Worker),
    ok = tell({failed, Failure, Action, Delay}, Worker),
    act(Action, Delay, Failure, Rest, Worker).

%% @doc The handler wants them to be dead letters.
-spec dead_letter(term(), Rest :: [crema_consumer:message()], worker()) -> crema_verdict:next().
dead_letter(_Reason, Rest, #worker{options = #{dead_letter := undefined}} = Worker) ->
    Why = "is for a consumer with the option dead_letter",
    {stop, crashed(error, {bad_return, dead_letter, Why}, [], last(Rest, Worker), Worker), Worker};
dead_letter(Reason, Rest, Worker) ->
    Failure = failure(returned, Reason, last(Rest, Worker), Worker),
    ok = tell({failed, Failure, dead_letter, 0}, Worker),
    act(dead_letter, 0, Failure, Rest, Worker).

%% @doc The handler raised, at the messages to do up to `Last', if at any; the reason to
%% end with. Shutdown reasons make no crash report: the group's member tells it, with its
%% place.
-spec crashed(error | exit | throw, term(), list(), Last, worker()) -> {shutdown, term()} when
    Last :: crema_consumer:message() | none.
crashed(Class, Reason, Stack, Last, #worker{options = #{fatal := Fatal}} = Worker) ->
    Failure = (failure(crash, Reason, Last, Worker))#{
        class => Class, stacktrace => crema_events:without_arguments(Stack)
    },
    IsFatal = crema_failure:is_fatal(Failure, Fatal),
    Shown = Failure#{shown => crema_crash:format(Class, Reason, Stack)},
    case IsFatal of
        true ->
            ok = tell({failed, Shown, stop, 0}, Worker),
            {shutdown, {ends, stop, Shown}};
        false ->
            {shutdown, {failed, Shown}}
    end.

%% @doc The failure of a worker that was killed, for time or by somebody else, at
%% those messages, of which the first had failed so often before.
-spec killed(for_time | Reason :: term(), crema_group_events:place(), Given, Tries) ->
    crema_failure:failure()
when
    Given :: crema_liveness:given(),
    Tries :: non_neg_integer().
killed(Why, {Topic, Partition}, Given, Tries) ->
    At = Given#{topic => Topic, partition => Partition, attempts => Tries + 1},
    case Why of
        for_time -> At#{kind => timeout, reason => handler_timeout};
        Reason -> At#{kind => crash, class => exit, reason => Reason}
    end.

-spec failure(crash | returned, term(), Last, worker()) -> crema_failure:failure() when
    Last :: crema_consumer:message() | none.
failure(Kind, Reason, Last, #worker{place = {Topic, Partition, _}, failures = Before} = Worker) ->
    {From, To} =
        case {Last, Worker#worker.todo} of
            {none, _} -> {none, none};
            {#{offset := Until}, [#{offset := First} | _]} -> {First, Until}
        end,
    #{
        kind => Kind,
        reason => Reason,
        topic => Topic,
        partition => Partition,
        offset => From,
        last => To,
        attempts => Before + 1
    }.

-spec judge(crema_failure:failure(), worker()) -> {action(), non_neg_integer()}.
judge(Failure, #worker{from = From, policies = Policies, options = #{fatal := Fatal}}) ->
    case crema_failure:is_fatal(Failure, Fatal) of
        true -> {stop, 0};
        false -> crema_failure:next(Failure, From, Policies)
    end.

-spec act(
    action(), non_neg_integer(), crema_failure:failure(), [crema_consumer:message()], worker()
) -> crema_verdict:next().
act(retry, Delay, #{offset := Offset} = Failure, _Rest, #worker{failed = Failed} = Worker) ->
    {wait, Delay, Worker#worker{failed = Failed#{Offset => {Failure, retry, true}}}};
act(skip, _, #{reason := Reason}, Rest, #worker{handler_state = State} = Worker) ->
    crema_verdict:apply({skip, Reason, State}, last(Rest, Worker), Rest, Worker);
%% The worker is told to end, as all others are.
act(stop, _, Failure, _Rest, #worker{group = Group} = Worker) ->
    Group ! {crema_remedy_stop, Failure},
    {wait, infinity, Worker};
act(pause, _, Failure, _Rest, Worker) ->
    {stop, {shutdown, {ends, pause, Failure}}, Worker};
act(Action, _, Failure, Rest, Worker) ->
    Sending = #sending{
        letters = letters(Action, Failure, Rest, Worker),
        rest = Rest,
        failure = Failure,
        action = Action
    },
    send(Sending, Worker).

-spec last([crema_consumer:message()], worker()) -> crema_consumer:message().
last(Rest, #worker{todo = Todo}) ->
    lists:last(before(Rest, Todo)).

%% @doc The messages to do without those behind.
-spec before(Rest :: Messages, Messages) -> Messages when
    Messages :: [crema_consumer:message()].
before([], Todo) ->
    Todo;
before(Rest, Todo) ->
    lists:sublist(Todo, length(Todo) - length(Rest)).

%% @doc Why a consumer stops after that failure.
-spec reason(crema_failure:failure()) -> crema_error:reason().
reason(#{topic := Topic, partition := Partition, offset := Offset} = Failure) ->
    %% What may be returned is worth its words.
    Bad = [
        [": ", Shown]
     || #{reason := Why, shown := Shown} <- [Failure], crema_failure:tag(Why) =:= bad_return
    ],
    Text = ["the consumer stops by its failure policy: ", crema_failure:text(Failure), Bad],
    Place = #{topic => Topic, partition => Partition, offset => Offset},
    {error, Reason} = crema_error:make(handler_failed, Text, Place),
    Reason.

-spec tell(term(), worker()) -> ok.
tell(Report, #worker{about = About}) ->
    crema_group_events:remedy(Report, About).

%% ---- sending on ----------------------------------------------------------------------

-spec letters(
    dead_letter | retry_topic, crema_failure:failure(), [crema_consumer:message()], worker()
) -> [crema_dead_letter:letter(), ...].
letters(Action, Failure, Rest, #worker{place = {Topic, _, _}, todo = Todo} = Worker) ->
    #{retry_topics := Topics, dead_letter := #{topic := Dead}, group := Group} =
        Worker#worker.options,
    Now = erlang:system_time(millisecond),
    Context = #{group => Group, from => Worker#worker.from, now => Now},
    {To, More} =
        case Action =:= retry_topic andalso crema_retry_topics:next(Topic, Now, Topics) of
            {retry_topic, Next, Due} -> {Next, Context#{due => Due}};
            _ -> {Dead, Context}
        end,
    [crema_dead_letter:letter(To, Message, Failure, More) || Message <- before(Rest, Todo)].

%% With the message's offset, where there is a transaction for both.
-spec send(sending(), worker()) -> crema_verdict:next().
send(#sending{letters = Letters, rest = Rest} = Sending, #worker{exactly_once = Pid} = Worker) when
    is_pid(Pid)
->
    #{offset := To} = last(Rest, Worker),
    case crema_verdict:add(Letters, To, Rest, Worker#worker{sending = none}) of
        {error, Reason} ->
            not_sent(Letters, Reason, Sending, Worker);
        {next, _} = Next ->
            ok = tell_sent(Sending, Worker),
            Next;
        Next ->
            Next
    end;
send(#sending{letters = Letters} = Sending, Worker) ->
    Monitor = crema_dead_letter:send(target(Worker), Letters),
    {hold, Monitor, Worker#worker{sending = Sending#sending{monitor = Monitor}}}.

%% The consumer's own producer may have been started anew.
-spec target(worker()) -> crema:producer().
target(#worker{options = #{dead_letter := #{producer := Own}}, info = Info}) when
    is_function(Own, 0)
->
    crema_dead_letter_sup:producer(maps:get(consumer, Info));
target(#worker{options = #{dead_letter := #{producer := Producer}}}) ->
    Producer.

%% @doc Whether something is under way whose outcome will come.
-spec is_sending(worker()) -> boolean().
is_sending(#worker{sending = #sending{monitor = Monitor}}) -> Monitor =/= none;
is_sending(_) -> false.

%% @doc What became of it, if it is that process that has ended.
-spec sent(Monitor :: reference(), Outcome :: term(), worker()) ->
    unknown | {next, worker()} | {wait, non_neg_integer(), worker()}.
sent(Monitor, Outcome, #worker{sending = #sending{monitor = Monitor} = Sending} = Worker) ->
    #sending{letters = Letters, rest = Rest} = Sending,
    case crema_dead_letter:unsent(Outcome, Letters) of
        [] ->
            ok = tell_sent(Sending, Worker),
            Done = Worker#worker{sending = none, wait = none},
            crema_verdict:apply({ack, Worker#worker.handler_state}, last(Rest, Worker), Rest, Done);
        {Left, Reason} ->
            not_sent(Left, Reason, Sending, Worker)
    end;
sent(_Monitor, _Outcome, _Worker) ->
    unknown.

-spec tell_sent(sending(), worker()) -> ok.
tell_sent(#sending{letters = [#{topic := To} | _]} = Sending, #worker{todo = Todo} = Worker) ->
    #sending{failure = Failure, action = Action, rest = Rest} = Sending,
    tell({sent, Failure, Action, To, length(before(Rest, Todo))}, Worker).

-spec not_sent([crema_dead_letter:letter(), ...], crema_error:reason(), sending(), worker()) ->
    {wait, non_neg_integer(), worker()}.
not_sent([#{topic := To} | _] = Left, Reason, #sending{failures = Before} = Sending, Worker) ->
    Failures = Before + 1,
    #{backoff := {Min, Max}} = Worker#worker.options,
    Delay = crema_backoff:delay(Failures, Min, Max),
    ok = tell({not_sent, Sending#sending.failure, To, Reason, Failures, Delay}, Worker),
    Again = Sending#sending{letters = Left, failures = Failures, monitor = none},
    {wait, Delay, Worker#worker{sending = Again}}.

%% ---- before the handler is called -----------------------------------------------------

%% @doc What is to be done with the first messages to do: `call' says that the
%% handler is to be given those before `Rest' (a single one only the first).
-spec first(worker()) ->
    {call, Rest :: [crema_consumer:message()], worker()} | crema_verdict:next().
first(#worker{sending = #sending{} = Sending} = Worker) ->
    send(Sending, Worker);
%% It was declared failed since it was handled: the first of a batch speaks for all.
first(#worker{found = Found, todo = [#{offset := Offset} | _] = Todo} = Worker) when
    is_map_key(Offset, Found)
->
    {Reason, Before} = maps:get(Offset, Found),
    Rest = rest(Worker),
    Given = [Each || #{offset := Each} <- before(Rest, Todo)],
    returned(Reason, Rest, Worker#worker{found = maps:without(Given, Found), failures = Before});
first(#worker{failed = Failed, todo = [#{offset := Offset} | _]} = Worker) ->
    case maps:take(Offset, Failed) of
        {Known, Rest} -> again(Known, Worker#worker{failed = Rest});
        %% Those before have been acknowledged meanwhile.
        error -> when_due(Worker#worker{failed = maps:filter(fun(At, _) -> At > Offset end, Failed)})
    end.

%% At that message the handler failed, or the worker before this one ended. What killed
%% it could not ask whether that is fatal.
-spec again(failed(), worker()) ->
    {call, Rest :: [crema_consumer:message()], worker()} | crema_verdict:next().
again({Failure, Action, Judged}, #worker{options = #{fatal := Fatal}} = Worker) ->
    #{attempts := Attempts, offset := Offset} = Failure,
    case not Judged andalso crema_failure:is_fatal(Failure, Fatal) of
        true ->
            ok = tell({failed, Failure, stop, 0}, Worker),
            act(stop, 0, Failure, [], Worker);
        false when Action =:= retry ->
            ok = crema_liveness:tried(Worker#worker.cell, Offset, Attempts),
            {call, behind(Failure, Worker), Worker#worker{failures = Attempts}};
        false ->
            act(Action, 0, Failure, unfailed(Failure, Worker), Worker)
    end.

%% What is behind the messages that had failed. Where shares are others than they were,
%% only the first is known to have been among them.
-spec unfailed(crema_failure:failure(), worker()) -> [crema_consumer:message()].
unfailed(_, #worker{options = #{concurrency := {any, _}}, todo = [_ | Rest]}) -> Rest;
unfailed(Failure, Worker) -> behind(Failure, Worker).

%% Others may be due by now than those that the handler had.
-spec behind(crema_failure:failure(), worker()) -> [crema_consumer:message()].
behind(#{last := Last}, #worker{todo = Todo}) ->
    lists:dropwhile(fun(#{offset := Offset}) -> Offset =< Last end, Todo).

%% What the handler would be given.
-spec rest(worker()) -> [crema_consumer:message()].
rest(#worker{handler = Handler, todo = [_ | Rest]}) ->
    case crema_handler:takes_batches(Handler) of
        true -> [];
        false -> Rest
    end.

-spec when_due(worker()) ->
    {call, Rest :: [crema_consumer:message()], worker()} | crema_verdict:next().
when_due(#worker{from = source} = Worker) ->
    {call, rest(Worker), Worker};
when_due(#worker{todo = [First | _] = Todo, handler = Handler} = Worker) ->
    Now = erlang:system_time(millisecond),
    case {wait(First, Now, Worker), crema_handler:takes_batches(Handler)} of
        {0, false} ->
            {call, rest(Worker), Worker};
        {0, true} ->
            IsDue = fun(Message) -> wait(Message, Now, Worker) =:= 0 end,
            {call, lists:dropwhile(IsDue, Todo), Worker};
        {Millis, _} ->
            {wait, Millis, Worker}
    end.

-spec wait(crema_consumer:message(), integer(), worker()) -> non_neg_integer().
wait(Message, Now, #worker{place = {Topic, _, _}, options = #{retry_topics := Topics}}) ->
    crema_retry_topics:wait(Topic, crema_dead_letter:due(Message), Now, Topics).
