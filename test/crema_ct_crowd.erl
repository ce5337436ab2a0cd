%% Many processes that produce at once to one producer, each of which measures
%% how late its calls are.
%%
%% A slow machine is late by itself: processes that only wait tell how late
%% whoever waits is at the time, and callers may be as late as that and a tenth
%% of a second more.
-module(crema_ct_crowd).

-include_lib("stdlib/include/assert.hrl").

-export([keeps_deadlines/3]).

-define(WAITING, 64).
-define(GOING_ON, 32).
-define(ONLOOKERS, 8).
%% What the callers may be later than the onlookers, in milliseconds.
-define(MARGIN, 100).

%% @doc Runs the crowd for as long as the function runs. Calls are answered in
%% time or at their deadline, whether the queue is full, the broker slow or all
%% is well; nothing comes for a caller that has given up. The producer's queue
%% should be small. Returns how many calls ended how.
keeps_deadlines(P, Topic, During) ->
    Done = atomics:new(1, []),
    Start = fun(Fun) -> spawn_monitor(fun() -> exit({was, Fun(Done, 0, #{})}) end) end,
    Waiting = [Start(waiting(P, Topic, N)) || N <- lists:seq(1, ?WAITING)],
    GoingOn = [Start(going_on(P, Topic, N)) || N <- lists:seq(1, ?GOING_ON)],
    Onlookers = [Start(fun look_on/3) || _ <- lists:seq(1, ?ONLOOKERS)],
    During(),
    ok = atomics:put(Done, 1, 1),
    {Late, Ended} = all(Waiting ++ GoingOn),
    {Slow, _} = all(Onlookers),
    ct:pal("callers late by ~b ms, onlookers by ~b ms; calls: ~p", [Late, Slow, Ended]),
    ?assert(Late =< Slow + ?MARGIN, {Late, Slow}),
    Ended.

all(Processes) ->
    lists:foldl(
        fun({Pid, Monitor}, {Latest, Counts}) ->
            receive
                {'DOWN', Monitor, process, Pid, {was, {Late, Ended}}} ->
                    {max(Late, Latest), maps:fold(fun add/3, Counts, Ended)};
                {'DOWN', Monitor, process, Pid, Reason} ->
                    error(Reason)
            after 60000 -> error({unfinished, erlang:process_info(Pid, current_stacktrace)})
            end
        end,
        {0, #{}},
        Processes
    ).

add(Key, Count, Counts) ->
    maps:update_with(Key, fun(N) -> N + Count end, Count, Counts).

%% One that waits for its reports; some by and by, some with values by reference.
waiting(P, Topic, N) ->
    Message = #{topic => Topic, value => binary:copy(<<"x">>, value_size(N))},
    Timeout = 100 + 10 * (N rem 32),
    Produce = fun() -> crema:produce(P, Message, #{timeout => Timeout}) end,
    Many = fun() -> crema:produce_many(P, [Message, Message], #{timeout => Timeout}) end,
    Call = lists:nth(1 + N rem 2, [Produce, Many]),
    fun(Done, Late, Ended) -> calls({Timeout, Call}, fun wait_on/2, Done, Late, Ended) end.

%% One that has its messages accepted only.
going_on(P, Topic, N) ->
    Message = #{topic => Topic, value => binary:copy(<<"x">>, value_size(N))},
    Timeout = 50 + 10 * (N rem 16),
    Report = lists:nth(1 + N rem 2, [none, message]),
    Options = #{report => Report, full_timeout => Timeout},
    Call = fun() -> crema:produce_async(P, Message, Options) end,
    fun(Done, Late, Ended) -> calls({Timeout, Call}, fun(_, _) -> 0 end, Done, Late, Ended) end.

value_size(N) when N rem 8 =:= 0 -> 20000;
value_size(_) -> 100.

calls({Timeout, Call}, Then, Done, Late, Ended) ->
    case atomics:get(Done, 1) of
        1 ->
            reports_only(),
            {Late, Ended};
        0 ->
            {Time, Result} = crema_ct:timed(Call),
            After = Then(Result, Timeout),
            Next = add(code(Result), 1, Ended),
            calls({Timeout, Call}, Then, Done, lists:max([Late, Time - Timeout, After]), Next)
    end.

%% Waiting again keeps its deadline as well.
wait_on({error, {timeout, #{ref := Ref}}}, Timeout) ->
    {Time, _} = crema_ct:timed(fun() -> crema:await(Ref, Timeout) end),
    Time - Timeout;
wait_on(_, _) ->
    0.

code({error, {Code, _}}) -> Code;
code(_) -> ok.

%% What a caller asked to be sent may still be there, but nothing else.
reports_only() ->
    receive
        {crema_reports, _, _} -> reports_only();
        Message -> error({stray_message, Message})
    after 0 -> ok
    end.

look_on(Done, Late, Ended) ->
    Wait = fun() ->
        receive
        after 10 -> ok
        end
    end,
    case atomics:get(Done, 1) of
        1 ->
            {Late, Ended};
        0 ->
            {Time, ok} = crema_ct:timed(Wait),
            look_on(Done, max(Late, Time - 10), Ended)
    end.
