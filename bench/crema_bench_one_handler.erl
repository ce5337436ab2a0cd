%% The handler of the workloads that take one message at a time: it counts, or
%% it sends each message's age.
-module(crema_bench_one_handler).

-behaviour(crema_consumer).

-export([init/2]).
-export([handle_message/2]).

-record(counting, {
    main :: pid(),
    partition :: non_neg_integer(),
    last :: integer(),
    handled = 0 :: non_neg_integer()
}).

-record(aging, {ages_to :: pid()}).

-spec init(map(), map()) -> {ok, #counting{} | #aging{}}.
init(_Info, #{ages_to := Pid}) ->
    {ok, #aging{ages_to = Pid}};
init(#{partition := Partition}, #{main := Main, last := Last}) ->
    {ok, #counting{main = Main, partition = Partition, last = Last}}.

-spec handle_message(map(), State) -> {ack, State} when State :: #counting{} | #aging{}.
handle_message(#{value := <<Sent:64/signed, _/binary>>}, #aging{ages_to = Pid} = State) ->
    Pid ! {ages, [erlang:monotonic_time(nanosecond) - Sent]},
    {ack, State};
handle_message(#{offset := Offset}, #counting{handled = Before, last = Last} = State) when
    Before > 0, Offset < Last
->
    {ack, State#counting{handled = Before + 1}};
handle_message(#{offset := Offset}, #counting{main = Main, handled = Before} = State) ->
    _ = Before =:= 0 andalso (Main ! {first, crema_bench_result:moment()}),
    Handled = Before + 1,
    _ =
        Offset >= State#counting.last andalso
            (Main ! {finished, State#counting.partition, Handled, crema_bench_result:moment()}),
    {ack, State#counting{handled = Handled}}.
