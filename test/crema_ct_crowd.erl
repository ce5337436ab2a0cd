%% Many processes that produce at once to one producer, each of which measures
%% how late its calls are.
%%
%% A slow machine is late by itself: a call may be as late as whoever looks on was held up
%% during it, and a tenth of a second more. They do what a call does that gives up late: it
%% waits, and commands the port when it comes, for its place and for its report.
-module(crema_ct_crowd).

-include_lib("stdlib/include/assert.hrl").
-include("../src/port/crema_commands.hrl").

-export([keeps_deadlines/3]).

-define(WAITING, 64).
-define(GOING_ON, 32).
%% What a call may be later, in milliseconds.
-define(MARGIN, 100).

%% @doc Runs the crowd for as long as the function runs. Calls are answered in
%% time or at their deadline, whether the queue is full, the broker slow or all
%% is well; nothing comes for a caller that has given up. The producer's queue
%% should be small. Returns how many calls ended how.
keeps_deadlines(P, Topic, During) ->
    Done = atomics:new(1, []),
    Start = fun(Calls) -> spawn_monitor(fun() -> exit({was, calls(Calls, Done, [], #{})}) end) end,
    Waiting = [Start(waiting(P, Topic, N)) || N <- lists:seq(1, ?WAITING)],
    GoingOn = [Start(going_on(P, Topic, N)) || N <- lists:seq(1, ?GOING_ON)],
    {ok, producer, Port, _, _} = crema_registry:lookup(P),
    Onlookers = crema_ct_onlookers:start(fun() ->
        [crema_port:command(Port, ?CMD_LOOK, <<0:64>>) || _ <- [comes, place, report]]
    end),
    During(),
    ok = atomics:put(Done, 1, 1),
    {Calls, Ended} = lists:unzip([end_of(Caller) || Caller <- Waiting ++ GoingOn]),
    Noted = crema_ct_onlookers:stop(Onlookers),
    Late = [
        {Late, Late - crema_ct_onlookers:held_up(From, To, Noted)}
     || {From, To, Late} <- lists:append(Calls)
    ],
    Counts = lists:foldl(fun add_all/2, #{}, Ended),
    ct:pal("late calls, and how much later than onlookers (ms): ~0p~ncalls: ~p", [Late, Counts]),
    ?assertEqual([], [Call || {_, Later} = Call <- Late, Later > ?MARGIN]),
    Counts.

end_of({Pid, Monitor}) ->
    receive
        {'DOWN', Monitor, process, Pid, {was, Ended}} -> Ended;
        {'DOWN', Monitor, process, Pid, Reason} -> error(Reason)
    after 60000 -> error({unfinished, erlang:process_info(Pid, current_stacktrace)})
    end.

add_all(Counts, Sums) ->
    maps:fold(fun add/3, Sums, Counts).

add(Key, Count, Counts) ->
    maps:update_with(Key, fun(N) -> N + Count end, Count, Counts).

%% One that waits for its reports; some by and by, some with values by reference.
waiting(P, Topic, N) ->
    Message = #{topic => Topic, value => binary:copy(<<"x">>, value_size(N))},
    Timeout = 100 + 10 * (N rem 32),
    Produce = fun() -> crema:produce(P, Message, #{timeout => Timeout}) end,
    Many = fun() -> crema:produce_many(P, [Message, Message], #{timeout => Timeout}) end,
    Call = lists:nth(1 + N rem 2, [Produce, Many]),
    {Timeout, Call, fun(Result) -> wait_on(Result, Timeout) end}.

%% One that has its messages accepted only.
going_on(P, Topic, N) ->
    Message = #{topic => Topic, value => binary:copy(<<"x">>, value_size(N))},
    Timeout = 50 + 10 * (N rem 16),
    Report = lists:nth(1 + N rem 2, [none, message]),
    Options = #{report => Report, full_timeout => Timeout},
    Call = fun() -> crema:produce_async(P, Message, Options) end,
    {Timeout, Call, fun(_) -> [] end}.

value_size(N) when N rem 8 =:= 0 -> 20000;
value_size(_) -> 100.

calls({Timeout, Call, Then} = Calls, Done, Late, Ended) ->
    case atomics:get(Done, 1) of
        1 ->
            reports_only(),
            {Late, Ended};
        0 ->
            {Result, Itself} = timed(Timeout, Call),
            calls(Calls, Done, Itself ++ Then(Result) ++ Late, add(code(Result), 1, Ended))
    end.

%% What a call returns; and when it was made, if it is late.
timed(Timeout, Call) ->
    From = crema_ct:now_ms(),
    Result = Call(),
    To = crema_ct:now_ms(),
    {Result, [{From, To, Late} || Late <- [To - From - Timeout], Late > ?MARGIN]}.

%% Waiting again keeps its deadline as well.
wait_on({error, {timeout, #{ref := Ref}}}, Timeout) ->
    {_, Late} = timed(Timeout, fun() -> crema:await(Ref, Timeout) end),
    Late;
wait_on(_, _) ->
    [].

code({error, {Code, _}}) -> Code;
code(_) -> ok.

%% What a caller asked to be sent may still be there, but nothing else.
reports_only() ->
    receive
        {crema_reports, _, _} -> reports_only();
        Message -> error({stray_message, Message})
    after 0 -> ok
    end.
