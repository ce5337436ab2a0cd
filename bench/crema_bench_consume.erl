%% Consuming a filled topic. The clock runs from the first arrival to the last: joining the
%% group is not counted.
-module(crema_bench_consume).

-export([run/2]).

-spec run(crema_bench:options(), module()) -> ok.
run(#{messages := Count, partitions := Partitions} = O, Handler) ->
    Gaps = crema_bench_handler:new_gaps(),
    Last = Count div Partitions - 1,
    C = crema_bench_client:consumer(O, {Handler, #{main => self(), last => Last, gaps => Gaps}}),
    Firsts = [receive {first, Moment} -> Moment end || _ <- lists:seq(1, Partitions)],
    Ends = [await_end(Partition) || Partition <- lists:seq(0, Partitions - 1)],
    %% A moment begins with its time, so terms order as time does.
    From = lists:min(Firsts),
    To = lists:max([Moment || {_, Moment} <- Ends]),
    Handled = lists:sum([Number || {Number, _} <- Ends]),
    true = Handled >= Count,
    crema_bench_result:rate(O, Handled, From, To, crema_bench_handler:max_gap(Gaps)),
    ok = crema_consumer:stop(C).

await_end(Partition) ->
    receive
        {finished, Partition, Number, Moment} -> {Number, Moment}
    end.
