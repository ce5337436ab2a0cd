%% What brokers' own files hold of transactions, read where the brokers keep them: markers
%% are not given to clients, and what is given leaves open who decided what.
-module(crema_chaos_segments).

-export([of_topic/3, batches/1]).
-export_type([batch/0, marker/0]).

%% A batch that is part of a transaction; a marker is one of its own.
-type batch() :: {
    First :: integer(), Last :: integer(), Producer :: integer(), Epoch :: integer(),
    data | marker()
}.
%% When it was written, in milliseconds, and in which reign of the coordinator.
-type marker() :: {commit | abort, Millis :: integer(), CoordinatorEpoch :: integer()}.

-define(TRANSACTIONAL, 16#10).
-define(CONTROL, 16#20).

%% @doc Each broker's copy of each partition, below the folder of a cluster (scripts/kafka).
-spec of_topic(file:filename(), binary(), pos_integer()) ->
    [{Broker :: integer(), Partition :: non_neg_integer(), [batch()]}].
of_topic(Cluster, Topic, Partitions) ->
    [
        {list_to_integer(Broker), Partition, lists:append([in_file(File) || File <- Files])}
     || "node-" ++ Broker <- filelib:wildcard("node-*", Cluster),
        Partition <- lists:seq(0, Partitions - 1),
        [_ | _] = Files <- [files(Cluster, Broker, Topic, Partition)]
    ].

%% Named by their first offsets, in digits enough for all.
files(Cluster, Broker, Topic, Partition) ->
    Name = io_lib:format("node-~s/data/~s-~b/*.log", [Broker, Topic, Partition]),
    lists:sort(filelib:wildcard(filename:join(Cluster, lists:flatten(Name)))).

in_file(File) ->
    {ok, Bytes} = file:read_file(File),
    batches(Bytes).

%% @doc Those of a segment, up to one that is not written whole.
-spec batches(binary()) -> [batch()].
batches(<<First:64, Size:32, Batch:Size/binary, Rest/binary>>) ->
    of_transaction(First, Batch) ++ batches(Rest);
batches(_) ->
    [].

of_transaction(First, <<_LeaderEpoch:32, 2, _Crc:32, Attributes:16, Of/binary>>) when
    Attributes band ?TRANSACTIONAL =/= 0
->
    <<Span:32, _Begin:64, Millis:64, Producer:64/signed, Epoch:16/signed, _:32, _Count:32,
        Records/binary>> = Of,
    What =
        case Attributes band ?CONTROL of
            0 -> data;
            _ -> marker(Millis, Records)
        end,
    [{First, First + Span, Producer, Epoch, What}];
of_transaction(_First, _Batch) ->
    [].

%% One small record, whose lengths take a byte each.
marker(Millis, <<_Length, _Attributes, _Time, _Offset, _KeyLength, Key:4/binary, Value/binary>>) ->
    <<_ValueLength, _Version:16, CoordinatorEpoch:32, _/binary>> = Value,
    {decision(Key), Millis, CoordinatorEpoch}.

decision(<<_Version:16, 0:16>>) -> abort;
decision(<<_Version:16, 1:16>>) -> commit.
