%% @private How often a partition's worker has ended against its will, at which
%% messages, and what follows: kept by the group's member, so that it survives the
%% worker. Pure.
-module(crema_restarts).

-export([new/0, started/2, failed/1, crashed/5]).

-export_type([restarts/0, work/0]).

-record(restarts, {
    %% by offset, the last first: what the next worker is to know when it comes to
    %% that message
    failed = [] :: [{integer(), crema_remedy:failed()}],
    %% in a row without a message, and when the worker was started
    row = 0 :: non_neg_integer(),
    since = 0 :: integer(),
    %% of the budget's period (milliseconds)
    times = [] :: [integer()]
}).
-opaque restarts() :: #restarts{}.

-type work() :: #{policies := crema_failure:policies(), options := map(), _ => _}.

%% A partition has no more than one, or one for each of its workers.
-define(REMEMBERED, 100).

-spec new() -> restarts().
new() -> #restarts{}.

-spec started(Now :: integer(), restarts()) -> restarts().
started(Now, Restarts) -> Restarts#restarts{since = Now}.

%% @doc What the next worker is told, by offset.
-spec failed(restarts()) -> #{integer() => crema_remedy:failed()}.
failed(#restarts{failed = Failed}) -> maps:from_list(Failed).

%% @doc The worker has ended of that: what follows, and after how long it is
%% started again if that is not `stop' or `pause'. `exhausted': because it was too
%% often, not by the policy. `Judged': whether the option `fatal' was asked.
-spec crashed(crema_failure:failure(), Judged :: boolean(), Now :: integer(), work(), restarts()) ->
    {crema_failure:failure(), crema_remedy:action(), Delay, policy | exhausted, restarts()}
when
    Delay :: non_neg_integer().
crashed(Given, Judged, Now, #{options := Options} = Work, Before) ->
    Failure = counted(Given, Now, Options, Before),
    {Action, Delay} = next(Failure, Work),
    After = noted(Failure, {Failure, Action, Judged}, Before),
    case budget(maps:get(max_restarts, Options), Now, [Now | Before#restarts.times]) of
        {ok, Recent} -> {Failure, Action, Delay, policy, After#restarts{times = Recent}};
        {exhausted, Then} -> {Failure, Then, 0, exhausted, After}
    end.

%% A message's attempts the worker knows. Without one, a worker that ran for
%% longer than any back-off has made a new start.
-spec counted(crema_failure:failure(), integer(), map(), restarts()) -> crema_failure:failure().
counted(#{offset := none} = Failure, Now, #{backoff := {_, Max}}, Restarts) ->
    case Restarts of
        #restarts{since = Since} when Now - Since > Max -> Failure#{attempts := 1};
        #restarts{row = Row} -> Failure#{attempts := Row + 1}
    end;
counted(Failure, _Now, _Options, _Restarts) ->
    Failure.

-spec noted(crema_failure:failure(), crema_remedy:failed(), restarts()) -> restarts().
noted(#{offset := none, attempts := Attempts}, _Failed, Restarts) ->
    Restarts#restarts{row = Attempts};
noted(#{offset := Offset}, Failed, #restarts{failed = Before} = Restarts) ->
    Others = lists:sublist(lists:keydelete(Offset, 1, Before), ?REMEMBERED - 1),
    Restarts#restarts{failed = [{Offset, small(Failed)} | Others], row = 0}.

%% It is kept for as long as the partition is, and must not keep a whole batch alive,
%% of which its reason may have a part. Who tries again asks only how often it was tried.
-spec small(crema_remedy:failed()) -> crema_remedy:failed().
small({Failure, retry, true}) -> {maps:remove(stacktrace, Failure#{reason := told}), retry, true};
small(Failed) -> binary_to_term(term_to_binary(Failed)).

%% Without a message there is nothing to be skipped or sent on.
-spec next(crema_failure:failure(), work()) -> {crema_remedy:action(), non_neg_integer()}.
next(#{topic := Topic, offset := Offset, attempts := Attempts} = Failure, Work) ->
    #{policies := Policies, options := #{retry_topics := Topics, backoff := {Min, Max}}} = Work,
    case crema_failure:next(Failure, crema_retry_topics:from(Topic, Topics), Policies) of
        {Then, _} when Offset =:= none, Then =/= retry, Then =/= stop, Then =/= pause ->
            {retry, crema_backoff:delay(Attempts, Min, Max)};
        Next ->
            Next
    end.

-spec budget(infinity | {non_neg_integer(), pos_integer(), stop | pause}, integer(), [integer()]) ->
    {ok, [integer()]} | {exhausted, stop | pause}.
budget(infinity, _Now, _Times) ->
    {ok, []};
budget({Count, Period, Then}, Now, Times) ->
    Recent = [Time || Time <- Times, Now - Time < Period],
    case length(Recent) > Count of
        true -> {exhausted, Then};
        false -> {ok, Recent}
    end.
