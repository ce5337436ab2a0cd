%% What is done all the time: each job again and again, in a process of its own.
-module(crema_soak_work).

-export([start/1, stop/1, format/1]).

-define(DEADLINE, 60000).

%% @doc Starts all of it.
start(Name) ->
    [
        {Job, spawn_monitor(fun() -> repeat(Period, Do, 0, #{}) end)}
     || {Job, Period, Do} <- crema_soak_jobs:jobs(Name)
    ].

%% @doc Ends it: how often each job was done, and the errors that it had as answers;
%% and why others have crashed.
stop(Jobs) ->
    [Pid ! stop || {_, {Pid, _}} <- Jobs],
    Ends = [{Job, ended(Monitor)} || {Job, {_, Monitor}} <- Jobs],
    {
        [{Job, Done, Errors} || {Job, {done, Done, Errors}} <- Ends],
        [Crash || {_, Reason} = Crash <- Ends, element(1, Reason) =/= done]
    }.

ended(Monitor) ->
    receive
        {'DOWN', Monitor, _, _, Reason} -> Reason
    after ?DEADLINE -> {stuck}
    end.

repeat(Period, Do, Number, Errors) ->
    Had = noted(Do(Number), Errors),
    receive
        stop -> exit({done, Number + 1 - lists:sum(maps:values(Had)), Had})
    after Period -> repeat(Period, Do, Number + 1, Had)
    end.

noted({error, {Code, _}}, Errors) when is_atom(Code) ->
    maps:update_with(Code, fun(Count) -> Count + 1 end, 1, Errors);
noted(_, Errors) ->
    Errors.

%% @doc As a table.
format(Done) ->
    [
        io_lib:format("~-16s ~10s  ~s~n", ["job", "done", "errors"])
        | [io_lib:format("~-16w ~10b  ~0p~n", [Job, Count, Errors]) || {Job, Count, Errors} <- Done]
    ].
