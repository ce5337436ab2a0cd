%% @private Messages that wait for somebody's acknowledgement, and until when: the
%% option `ack_timeout'. What is acknowledged meanwhile is found out by the driver,
%% when it is asked to deliver the rest again.
-module(crema_expiry).

-export([new/2, add/2, expired/2]).

-export_type([expiry/0]).

-record(expiry, {
    timeout :: pos_integer(),
    %% offsets between those of a run may be others' messages
    alone :: boolean(),
    %% in order; the deadline is that of the last message of the run
    waiting = queue:new() :: queue:queue({Deadline :: integer(), crema_runs:run()}),
    %% until when the run that comes last grows
    grows = 0 :: integer(),
    timer = none :: none | reference()
}).

-opaque expiry() :: #expiry{}.

%% @doc With a time-out of 0 there is nothing to keep.
-spec new(Timeout :: non_neg_integer(), Alone :: boolean()) -> expiry() | none.
new(0, _Alone) -> none;
new(Timeout, Alone) -> #expiry{timeout = Timeout, alone = Alone}.

%% @doc The time of these messages, in order, begins now. Its message is
%% `{crema_expired, Timer}', for expired/2.
-spec add([crema_consumer:message(), ...], expiry()) -> expiry().
add(Messages, #expiry{alone = true} = Expiry) ->
    #{offset := From} = hd(Messages),
    #{offset := To} = lists:last(Messages),
    run({From, To}, crema_deadline:now(), Expiry);
add(Messages, #expiry{alone = false} = Expiry) ->
    Now = crema_deadline:now(),
    Runs = lists:reverse(crema_runs:of_offsets([Offset || #{offset := Offset} <- Messages])),
    lists:foldl(fun(Run, Acc) -> run(Run, Now, Acc#expiry{grows = 0}) end, Expiry, Runs).

%% Runs grow for a tenth of the time: so much later what is first in one may expire.
-spec run(crema_runs:run(), integer(), expiry()) -> expiry().
run({From, To}, Now, #expiry{waiting = Waiting, timeout = Timeout, grows = Until} = Expiry) ->
    case queue:out_r(Waiting) of
        {{value, {_, {First, _}}}, Before} when Now < Until, First =< From ->
            started(Expiry#expiry{waiting = queue:in({Now + Timeout, {First, To}}, Before)});
        _ ->
            New = queue:in({Now + Timeout, {From, To}}, Waiting),
            started(Expiry#expiry{waiting = New, grows = Now + Timeout div 10})
    end.

-spec started(expiry()) -> expiry().
started(#expiry{timer = none, waiting = Waiting} = Expiry) ->
    case queue:peek(Waiting) of
        {value, {Deadline, _}} ->
            Timer = make_ref(),
            _ = erlang:send_after(Deadline, self(), {crema_expired, Timer}, [{abs, true}]),
            Expiry#expiry{timer = Timer};
        empty ->
            Expiry
    end;
started(Expiry) ->
    Expiry.

%% @doc What has waited long enough.
-spec expired(reference(), expiry() | none) -> {[crema_runs:run()], expiry() | none}.
expired(Timer, #expiry{timer = Timer} = Expiry) ->
    {Runs, Left} = take(crema_deadline:now(), [], Expiry#expiry{timer = none}),
    {Runs, started(Left)};
expired(_, Expiry) ->
    {[], Expiry}.

-spec take(integer(), [crema_runs:run()], expiry()) -> {[crema_runs:run()], expiry()}.
take(Now, Taken, #expiry{waiting = Waiting} = Expiry) ->
    case queue:out(Waiting) of
        {{value, {Deadline, Run}}, Rest} when Deadline =< Now ->
            take(Now, [Run | Taken], Expiry#expiry{waiting = Rest, grows = 0});
        _ ->
            {Taken, Expiry}
    end.
