%% Leaks that are planted, for the judge to find: a binary of 1 KB is kept each
%% second, a descriptor and an atom each minute, or so many times as often.
-module(crema_soak_leak).

-export([start/2]).

-define(KILOBYTE, 1024).

%% @doc What leaks: none, all, memory, descriptor or atom.
start(none, _Times) -> [];
start(all, Times) -> [start(Kind, Times) || Kind <- [memory, descriptor, atom]];
start(Kind, Times) -> spawn_link(fun() -> leak(Kind, period(Kind) div Times, []) end).

period(memory) -> 1000;
period(descriptor) -> 60000;
period(atom) -> 60000.

leak(Kind, Period, Kept) ->
    receive
    after Period -> leak(Kind, Period, [more(Kind, length(Kept)) | Kept])
    end.

more(memory, _) ->
    binary:copy(<<0>>, ?KILOBYTE);
more(descriptor, _) ->
    {ok, Device} = file:open("/dev/null", [read, raw]),
    Device;
more(atom, Number) ->
    list_to_atom("crema_soak_leak_" ++ integer_to_list(Number)).
