%% Those who look on, to tell what is late by itself from what the machine has made late.
%%
%% On each scheduler some processes wait for a moment, act, and note how much longer that
%% took: a thread that the system does not let run, or a line of others, holds up all who
%% are there. What is timed may be as late as that, but no later.
-module(crema_ct_onlookers).

-export([start/1, stop/1, held_up/3, timed/1]).

-define(EACH, 4).
-define(PAUSE, 10).

%% @doc They look on until stop/1; what they do beside waiting should be what those do
%% that are timed.
start(Act) ->
    Done = atomics:new(1, []),
    Look = fun() -> exit({held_up, look_on(Act, Done, [])}) end,
    {Done, [
        [spawn_opt(Look, [monitor, {scheduler, Scheduler}]) || _ <- lists:seq(1, ?EACH)]
     || Scheduler <- lists:seq(1, erlang:system_info(schedulers_online))
    ]}.

%% @doc What they have noted.
stop({Done, Onlookers}) ->
    ok = atomics:put(Done, 1, 1),
    [[noted(Onlooker) || Onlooker <- Some] || Some <- Onlookers].

noted({Pid, Monitor}) ->
    receive
        {'DOWN', Monitor, process, Pid, {held_up, Times}} -> Times;
        {'DOWN', Monitor, process, Pid, Reason} -> error(Reason)
    end.

look_on(Act, Done, Times) ->
    Start = crema_ct:now_ms() + ?PAUSE,
    receive
    after ?PAUSE -> Act()
    end,
    End = crema_ct:now_ms(),
    Noted = [{Start, End} || End > Start] ++ Times,
    case atomics:get(Done, 1) of
        1 -> Noted;
        0 -> look_on(Act, Done, Noted)
    end.

%% @doc For how many milliseconds a process may have been held up in that time, which may
%% have gone from one scheduler to another.
held_up(From, To, Noted) ->
    lists:sum([lists:max([within(From, To, Times) || Times <- Some]) || Some <- Noted]).

within(From, To, Times) ->
    lists:sum([min(To, End) - max(From, Start) || {Start, End} <- Times, Start < To, End > From]).

%% @doc A function's result, and the milliseconds that it took at least by itself and in all.
timed(Fun) ->
    Onlookers = start(fun() -> ok end),
    From = crema_ct:now_ms(),
    Result = Fun(),
    To = crema_ct:now_ms(),
    Time = To - From,
    {{Time - held_up(From, To, stop(Onlookers)), Time}, Result}.
