%% @private Acknowledged messages that the driver has not been told of yet, as
%% runs of offsets: a few words, however many messages.
-module(crema_runs).

-export([new/0, add/3, add_one/2, separate/1, bounds/1, pack/1]).
-export([of_offsets/1, offsets/1, index/1, has/2]).

-export_type([run/0, runs/0, index/0]).

-type run() :: {From :: integer(), To :: integer()}.
-opaque index() :: tuple().

%% The last one first. A separator ends the run below it.
-type runs() :: [run() | separator].

-spec new() -> runs().
new() ->
    [].

%% @doc These follow in the order of handling. A run grows as long as each
%% message after another is acknowledged; offsets in between, if there are any,
%% hold no message.
-spec add(From :: integer(), To :: integer(), runs()) -> runs().
add(_From, To, [{First, _} | Runs]) -> [{First, To} | Runs];
add(From, To, [separator | Runs]) -> [{From, To} | Runs];
add(From, To, []) -> [{From, To}].

%% @doc The same of one message, where what lies between may not be acknowledged.
-spec add_one(integer(), runs()) -> runs().
add_one(Offset, [{First, To} | Runs]) when Offset =:= To + 1 -> [{First, Offset} | Runs];
add_one(Offset, Runs) -> [{Offset, Offset} | Runs].

%% @doc A message that is not acknowledged lies between what was added before
%% and what is added next.
-spec separate(runs()) -> runs().
separate([{_, _} | _] = Runs) -> [separator | Runs];
separate(Runs) -> Runs.

%% @doc The first and the last offset of one run.
-spec bounds(runs()) -> {From :: integer(), To :: integer()}.
bounds([{From, To}]) ->
    {From, To}.

%% @doc As the command ACK has them.
-spec pack(runs()) -> binary().
pack(Runs) ->
    <<<<From:64, To:64>> || {From, To} <- Runs>>.

%% @doc Runs of these offsets and no others.
-spec of_offsets([integer()]) -> runs().
of_offsets(Offsets) ->
    lists:foldl(fun add_one/2, new(), lists:usort(Offsets)).

%% @doc All offsets of such runs, in order.
-spec offsets(runs()) -> [integer()].
offsets(Runs) ->
    lists:append([lists:seq(From, To) || {From, To} <- lists:reverse(Runs)]).

%% @doc For has/2, of runs in order, as the command WAITING answers them.
-spec index([run()]) -> index().
index(Runs) ->
    list_to_tuple(Runs).

%% @doc Whether an offset is in one of the runs.
-spec has(integer(), index()) -> boolean().
has(Offset, Index) ->
    has(Offset, Index, 1, tuple_size(Index)).

-spec has(integer(), index(), pos_integer(), non_neg_integer()) -> boolean().
has(_Offset, _Index, Low, High) when Low > High ->
    false;
has(Offset, Index, Low, High) ->
    Middle = (Low + High) div 2,
    case element(Middle, Index) of
        {From, _} when Offset < From -> has(Offset, Index, Low, Middle - 1);
        {_, To} when Offset > To -> has(Offset, Index, Middle + 1, High);
        _ -> true
    end.
