%% Leaks that are planted, for the judge to find: each second a binary of 1 KB is kept, and
%% a message of 1 KB by librdkafka, which has no broker for it; each minute a descriptor and
%% an atom; or so many times as often.
-module(crema_soak_leak).

-export([start/2]).

-define(KILOBYTE, 1024).

%% @doc What leaks: none, all, memory, native, descriptor or atom.
start(none, _Times) -> [];
start(all, Times) -> [start(Kind, Times) || Kind <- [memory, native, descriptor, atom]];
start(Kind, Times) -> spawn_link(fun() -> leak(more(Kind), period(Kind) div Times, []) end).

period(memory) -> 1000;
period(native) -> 1000;
period(descriptor) -> 60000;
period(atom) -> 60000.

leak(More, Period, Kept) ->
    receive
    after Period -> leak(More, Period, [More(length(Kept)) | Kept])
    end.

more(memory) ->
    fun(_) -> binary:copy(<<0>>, ?KILOBYTE) end;
more(native) ->
    Options = #{bootstrap_servers => "127.0.0.1:1", kafka => #{'message.timeout.ms' => 0}},
    {ok, Producer} = crema_producer:start_link(Options),
    Message = #{topic => "nowhere", value => binary:copy(<<0>>, ?KILOBYTE)},
    fun(_) -> ok = crema:produce_async(Producer, Message, #{report => none}) end;
more(descriptor) ->
    fun(_) ->
        {ok, Device} = file:open("/dev/null", [read, raw]),
        Device
    end;
more(atom) ->
    fun(Number) -> list_to_atom("crema_soak_leak_" ++ integer_to_list(Number)) end.
