%% Sends the ages of its messages, those of a batch at once.
-module(crema_bench_ages_handler).

-behaviour(crema_consumer).

-export([init/2]).
-export([handle_messages/2]).

-spec init(map(), map()) -> {ok, pid()}.
init(_Info, #{ages_to := Pid}) -> {ok, Pid}.

-spec handle_messages([map()], pid()) -> {ack, pid()}.
handle_messages(Messages, Pid) ->
    Now = erlang:monotonic_time(nanosecond),
    Pid ! {ages, [Now - Sent || #{value := <<Sent:64/signed, _/binary>>} <- Messages]},
    {ack, Pid}.
