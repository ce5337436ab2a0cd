%% That brokers' files of transactions are read as brokers write them.
-module(crema_chaos_segments_tests).

-include_lib("eunit/include/eunit.hrl").

batches_test() ->
    %% Of a segment all that belongs to transactions is found, in order, and nothing else.
    ?assertEqual(read(), crema_chaos_segments:batches(written())).

cut_off_test() ->
    %% Wherever the end of a segment is cut off, the batches before it are read.
    Bytes = written(),
    [
        begin
            Read = crema_chaos_segments:batches(binary:part(Bytes, 0, Size)),
            ?assertEqual(lists:sublist(read(), length(Read)), Read)
        end
     || Size <- lists:seq(0, byte_size(Bytes))
    ].

of_topic_test() ->
    %% Each broker's copy of each partition is read, its segments in their order, and no
    %% other topic's.
    Cluster = filename:join("/tmp", "crema-segments-" ++ os:getpid()),
    Files = [
        {"node-1/data/sales-0/00000000000000000010.log", data(10, 12, 7, 0)},
        {"node-1/data/sales-0/00000000000000000000.log", data(0, 3, 7, 0)},
        {"node-1/data/sales-0/00000000000000000000.index", <<1, 2, 3>>},
        {"node-2/data/sales-1/00000000000000000000.log", marker(5, 7, 1, commit, 3, 99)},
        {"node-2/data/wholesales-1/00000000000000000000.log", data(0, 3, 8, 0)}
    ],
    try
        [
            begin
                Path = filename:join(Cluster, Name),
                ok = filelib:ensure_dir(Path),
                ok = file:write_file(Path, Bytes)
            end
         || {Name, Bytes} <- Files
        ],
        ?assertEqual(
            [
                {1, 0, [{0, 3, 7, 0, data}, {10, 12, 7, 0, data}]},
                {2, 1, [{5, 5, 7, 1, {commit, 99, 3}}]}
            ],
            crema_chaos_segments:of_topic(Cluster, <<"sales">>, 4)
        )
    after
        ok = file:del_dir_r(Cluster)
    end.

written() ->
    iolist_to_binary([
        data(0, 4, 1003, 0),
        %% Outside of transactions.
        batch(5, 5, 0, 1000, -1, -1, <<"record">>),
        data(6, 6, 1003, 0),
        marker(7, 1003, 0, commit, 12, 1795372397000),
        marker(8, 1004, 3, abort, 13, 1795372397001)
    ]).

read() ->
    [
        {0, 4, 1003, 0, data},
        {6, 6, 1003, 0, data},
        {7, 7, 1003, 0, {commit, 1795372397000, 12}},
        {8, 8, 1004, 3, {abort, 1795372397001, 13}}
    ].

data(First, Last, Producer, Epoch) ->
    batch(First, Last, 16#10, 1000, Producer, Epoch, <<"some records">>).

marker(Offset, Producer, Epoch, Marker, Coordinator, Millis) ->
    Type = case Marker of abort -> 0; commit -> 1 end,
    %% Lengths are zigzag numbers.
    Of = <<0, 0, 0, 8, 0:16, Type:16, 12, 0:16, Coordinator:32, 0>>,
    Record = <<(2 * byte_size(Of)), Of/binary>>,
    batch(Offset, Offset, 16#30, Millis, Producer, Epoch, Record).

batch(First, Last, Attributes, Millis, Producer, Epoch, Records) ->
    Batch =
        <<4:32, 2, 0:32, Attributes:16, (Last - First):32, Millis:64, Millis:64, Producer:64, Epoch:16,
            -1:32, (Last - First + 1):32, Records/binary>>,
    <<First:64, (byte_size(Batch)):32, Batch/binary>>.
