%% @private Messages that were declared failed, on their way to come again: why,
%% and for the how manieth time. Kept by the process that takes the slot's batches.
-module(crema_nacked).

-include("../port/crema_commands.hrl").

-export([new/1, redeliver/3, found/2]).

-export_type([nacked/0, found/0]).

-record(nacked, {
    at :: {crema_port:client(), Slot :: pos_integer()},
    %% in the order in which they come; what is fresh lies in none
    coming = [] :: [{crema_runs:run(), Reason :: term()}],
    %% how often each has failed
    times = #{} :: #{integer() => pos_integer()}
}).

-opaque nacked() :: #nacked{}.
%% By offset; how often it has failed before.
-type found() :: #{integer() => {Reason :: term(), Before :: non_neg_integer()}}.

%% So many are remembered before those that are done with are looked for.
-define(MANY, 1000).

-spec new({crema_port:client(), Slot :: pos_integer()}) -> nacked().
new(At) ->
    #nacked{at = At}.

%% @doc Asks for those of the runs that are not acknowledged to come again, by the
%% caller, which is the slot's worker.
-spec redeliver(crema_runs:runs(), Reason :: term(), nacked()) -> nacked().
redeliver(Runs, Reason, #nacked{at = {Port, Slot}, coming = Coming} = Nacked) ->
    Again = [
        {Run, Reason}
     || {From, To} <- lists:reverse(Runs),
        {ok, Found} <- [crema_port:command(Port, ?CMD_REDELIVER, <<Slot:64, From:64, To:64>>)],
        Run <- Found
    ],
    Nacked#nacked{coming = Coming ++ Again}.

%% @doc Those of the messages, in order, that come again because they have failed.
-spec found([crema_consumer:message()], nacked()) -> {found(), nacked()}.
found(_Messages, #nacked{coming = []} = Nacked) ->
    {#{}, Nacked};
found(Messages, Nacked) ->
    {Found, New} = lists:foldl(fun find/2, {#{}, Nacked}, Messages),
    {Found, without_done(New)}.

-spec find(crema_consumer:message(), Acc) -> Acc when Acc :: {found(), nacked()}.
find(#{offset := Offset}, {Found, #nacked{coming = [{{From, To}, Reason} | Rest]} = Nacked}) when
    From =< Offset, Offset =< To
->
    Left =
        case Offset of
            To -> Rest;
            _ -> [{{Offset + 1, To}, Reason} | Rest]
        end,
    Before = maps:get(Offset, Nacked#nacked.times, 0),
    Times = (Nacked#nacked.times)#{Offset => Before + 1},
    {Found#{Offset => {Reason, Before}}, Nacked#nacked{coming = Left, times = Times}};
find(_, Acc) ->
    Acc.

-spec without_done(nacked()) -> nacked().
without_done(#nacked{times = Times} = Nacked) when map_size(Times) < ?MANY ->
    Nacked;
without_done(#nacked{at = {Port, Slot}, times = Times} = Nacked) ->
    case crema_port:command(Port, ?CMD_WAITING, <<Slot:64, 0:64, (1 bsl 63 - 1):64>>) of
        {ok, Runs} ->
            Index = crema_runs:index(Runs),
            Left = maps:filter(fun(Offset, _) -> crema_runs:has(Offset, Index) end, Times),
            Nacked#nacked{times = Left};
        {error, _} ->
            Nacked
    end.
