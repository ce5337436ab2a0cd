%% @private Acknowledged messages that the driver has not been told of yet, as
%% runs of offsets: a few words, however many messages.
-module(crema_runs).

-export([new/0, add/3, add_one/2, separate/1, bounds/1, pack/1]).

-export_type([runs/0]).

%% The last one first. A separator ends the run below it.
-type runs() :: [{From :: integer(), To :: integer()} | separator].

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
