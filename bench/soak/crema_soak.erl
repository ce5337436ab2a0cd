%% A VM that does with crema what applications do, for an hour: see
%% bench/README.md. What it takes is sampled, and judged when it is over.
-module(crema_soak).

-export([main/0]).

-define(SAMPLE_MS, 2000).

%% @doc Arguments: the file of samples, that of the plot, seconds, seconds of warming up, what
%% is to leak (none, all, memory, native, descriptor, atom) and how many times as fast, a name.
main() ->
    [File, Plot, Seconds, Warm, Leak, Times, Name] = init:get_plain_arguments(),
    %% What fails on purpose is not shown.
    ok = logger:set_primary_config(level, none),
    {ok, _} = application:ensure_all_started(crema),
    %% As a release does: code that is loaded late is growth as well.
    {ok, Modules} = application:get_key(crema, modules),
    ok = code:ensure_modules_loaded(Modules),
    ok = crema_soak_clients:start(Name),
    Work = crema_soak_work:start(Name),
    ok = pause(list_to_integer(Warm)),
    _ = crema_soak_leak:start(list_to_existing_atom(Leak), list_to_integer(Times)),
    ok = sample(File, list_to_integer(Seconds)),
    {Done, Failures} = crema_soak_work:stop(Work),
    [io:format("~-44w ~10b~n", [Event, Count]) || {Event, Count} <- crema_soak_clients:counted()],
    io:format("~n~ts~n", [crema_soak_work:format(Done)]),
    Unused = [Job || {Job, 0, _} <- Done],
    [io:format("never done: ~p~n", [Job]) || Job <- Unused],
    [io:format("crashed: ~0p~n", [Failure]) || Failure <- Failures],
    Slopes = crema_soak_judge:report(File, Plot),
    halt(min(1, length(Unused) + length(Failures) + Slopes)).

%% A line for each sample: milliseconds since the first, then each figure.
sample(File, Seconds) ->
    {ok, Device} = file:open(File, [write, raw]),
    Names = [Name || {Name, _} <- taken()],
    ok = file:write(Device, row([ms | Names])),
    Began = now_ms(),
    ok = sample_until(Device, Began, Began + Seconds * 1000),
    file:close(Device).

sample_until(Device, Began, End) ->
    case now_ms() of
        Now when Now > End ->
            ok;
        Now ->
            Values = [Value || {_, Value} <- taken()],
            ok = file:write(Device, row([Now - Began | Values])),
            receive
            after ?SAMPLE_MS -> sample_until(Device, Began, End)
            end
    end.

%% What is kept, without what only waits to be collected.
taken() ->
    lists:foreach(fun erlang:garbage_collect/1, processes()),
    crema_ct_resources:take().

row(Terms) ->
    [lists:join($\t, [io_lib:format("~w", [Term]) || Term <- Terms]), $\n].

pause(Seconds) ->
    receive
    after Seconds * 1000 -> ok
    end.

now_ms() -> erlang:monotonic_time(millisecond).
