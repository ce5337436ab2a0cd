%% @private Processes that wait for their turn in a producer's transactions, in
%% the order of arrival. Each is monitored while it waits.
-module(crema_turns).

-export([new/0, add/4, first/1, drop/2, all/1, clear/1, refusals/2]).

-export_type([turns/0, turn/0]).

-type turn() :: #{
    from := gen_statem:from(),
    pid := pid(),
    monitor := reference(),
    abort_wait := non_neg_integer(),
    since := integer()
}.
-opaque turns() :: [turn()].

-spec new() -> turns().
new() -> [].

-spec add(gen_statem:from(), pid(), AbortWait :: non_neg_integer(), turns()) -> {turn(), turns()}.
add(From, Pid, AbortWait, Turns) ->
    Turn = #{
        from => From,
        pid => Pid,
        monitor => erlang:monitor(process, Pid),
        abort_wait => AbortWait,
        since => crema_deadline:now()
    },
    {Turn, Turns ++ [Turn]}.

%% @doc Whose turn it is. Its monitor stays.
-spec first(turns()) -> {turn(), turns()} | none.
first([First | Rest]) -> {First, Rest};
first([]) -> none.

%% @doc One that waits no longer.
-spec drop(Monitor :: reference(), turns()) -> {turn(), turns()} | none.
drop(Monitor, Turns) ->
    case lists:partition(fun(#{monitor := Of}) -> Of =:= Monitor end, Turns) of
        {[Turn], Rest} ->
            true = erlang:demonitor(Monitor, [flush]),
            {Turn, Rest};
        {[], _} ->
            none
    end.

-spec all(turns()) -> [turn()].
all(Turns) -> Turns.

%% @doc Nobody waits any longer.
-spec clear(turns()) -> turns().
clear(Turns) ->
    _ = [erlang:demonitor(Monitor, [flush]) || #{monitor := Monitor} <- Turns],
    new().

%% @doc What they wait for will not come.
-spec refusals([turn()], crema_error:error()) -> [gen_statem:action()].
refusals(Turns, Error) ->
    [{{timeout, {turn, Monitor}}, cancel} || #{monitor := Monitor} <- Turns] ++
        [{reply, From, Error} || #{from := From} <- Turns].
