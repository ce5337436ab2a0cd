%% @private The other end of crema_packet, where a process stands in for a producer's
%% port: what the core does in produce_decode.c, and librdkafka's partitioners.
-module(crema_recorded_call).

-include("../port/crema_commands.hrl").

-export([decode/1, behind/1, place/4, pack/1, tagged/2, listed/1]).

-export_type([call/0, message/0, entry/0]).

-type call() :: #{
    mode := byte(),
    number := non_neg_integer(),
    to := non_neg_integer(),
    epoch := non_neg_integer(),
    variant := non_neg_integer(),
    tag := binary(),
    messages := [message() | skipped]
}.
-type choice() :: integer() | {Hash :: byte(), Count :: pos_integer(), Key :: binary()}.
%% As it would be sent.
-type message() :: #{
    topic := binary(),
    partition := choice(),
    key := binary() | undefined,
    value := binary() | undefined,
    headers := [{binary(), binary() | undefined}],
    timestamp := integer()
}.
-type entry() :: crema_packet:report().

%% @doc The argument of PRODUCE.
-spec decode(binary()) -> call().
decode(Data) ->
    decode(Data, <<>>).

%% @doc The same with values behind it.
-spec behind(binary()) -> call().
behind(<<Size:32, Data:Size/binary, Values/binary>>) ->
    decode(Data, Values).

-spec decode(binary(), binary()) -> call().
decode(<<Mode, Policy, Number:64, Rest/binary>>, Values) when Policy band ?POLICY_VIA =/= 0 ->
    <<To:64, Epoch:32, Variant:32, Tagged/binary>> = Rest,
    call(Mode, Number, {To, Epoch, Variant}, Tagged, Values);
decode(<<Mode, _Policy, Number:64, Tagged/binary>>, Values) ->
    call(Mode, Number, {0, 0, 0}, Tagged, Values).

-spec call(byte(), non_neg_integer(), Via, binary(), binary()) -> call() when
    Via :: {non_neg_integer(), non_neg_integer(), non_neg_integer()}.
call(Mode, Number, {To, Epoch, Variant}, Tagged, Values) ->
    <<Size:16, Tag:Size/binary, _Count:32, Packed/binary>> = Tagged,
    #{
        mode => Mode,
        number => Number,
        to => To,
        epoch => Epoch,
        variant => Variant,
        tag => Tag,
        messages => messages(Packed, <<>>, Values, erlang:system_time(millisecond))
    }.

-spec messages(binary(), binary(), binary(), integer()) -> [message() | skipped].
messages(<<>>, _Topic, _Values, _Now) ->
    [];
messages(<<?MESSAGE_PARTITION, ?PARTITION_SKIP:32/signed, Rest/binary>>, Topic, Values, Now) ->
    [skipped | messages(Rest, Topic, Values, Now)];
messages(<<Flags, Packed/binary>>, Before, Values, Now) ->
    {Topic, AfterTopic} = topic(Flags band ?MESSAGE_TOPIC, Packed, Before),
    {Partition, AfterPartition} = partition(
        Flags band (?MESSAGE_HASH bor ?MESSAGE_PARTITION), AfterTopic
    ),
    {Timestamp, AfterTime} = timestamp(Flags band ?MESSAGE_TIMESTAMP, AfterPartition, Now),
    {Key, AfterKey} = sized(Flags band ?MESSAGE_KEY, AfterTime),
    {Value, AfterValue, Left} = value(Flags, AfterKey, Values),
    {Headers, Rest} = headers(Flags band ?MESSAGE_HEADERS, AfterValue),
    Message = #{
        topic => Topic,
        partition => Partition,
        key => Key,
        value => Value,
        headers => Headers,
        timestamp => Timestamp
    },
    [Message | messages(Rest, Topic, Left, Now)].

-spec topic(byte(), binary(), binary()) -> {binary(), binary()}.
topic(0, Rest, Before) -> {Before, Rest};
topic(_, <<Size:16, Topic:Size/binary, Rest/binary>>, _) -> {Topic, Rest}.

-spec partition(byte(), binary()) -> {choice(), binary()}.
partition(0, Rest) ->
    {-1, Rest};
partition(?MESSAGE_PARTITION, <<Partition:32/signed, Rest/binary>>) ->
    {Partition, Rest};
partition(?MESSAGE_HASH, <<Hash, Count:32, Size:32, Key:Size/binary, Rest/binary>>) ->
    {{Hash, Count, Key}, Rest}.

-spec timestamp(byte(), binary(), integer()) -> {integer(), binary()}.
timestamp(0, Rest, Now) -> {Now, Rest};
timestamp(_, <<Timestamp:64, Rest/binary>>, _) -> {Timestamp, Rest}.

-spec sized(byte(), binary()) -> {binary() | undefined, binary()}.
sized(0, Rest) -> {undefined, Rest};
sized(_, <<Size:32, Bytes:Size/binary, Rest/binary>>) -> {Bytes, Rest}.

-spec value(byte(), binary(), binary()) -> {binary() | undefined, binary(), binary()}.
value(Flags, <<Size:32, Rest/binary>>, Values) when Flags band ?MESSAGE_VALUE_BEHIND =/= 0 ->
    <<Value:Size/binary, Left/binary>> = Values,
    {Value, Rest, Left};
value(Flags, Packed, Values) ->
    {Value, Rest} = sized(Flags band ?MESSAGE_VALUE, Packed),
    {Value, Rest, Values}.

-spec headers(byte(), binary()) -> {[{binary(), binary() | undefined}], binary()}.
headers(0, Rest) -> {[], Rest};
headers(_, <<Count:16, Rest/binary>>) -> headers(Count, Rest, []).

-spec headers(non_neg_integer(), binary(), [Header]) -> {[Header], binary()} when
    Header :: {binary(), binary() | undefined}.
headers(0, Rest, Acc) ->
    {lists:reverse(Acc), Rest};
headers(Left, <<Size:16, Name:Size/binary, -1:32/signed, Rest/binary>>, Acc) ->
    headers(Left - 1, Rest, [{Name, undefined} | Acc]);
headers(Left, <<Size:16, Name:Size/binary, Length:32, Value:Length/binary, Rest/binary>>, Acc) ->
    headers(Left - 1, Rest, [{Name, Value} | Acc]).

%% ---- partitions ---------------------------------------------------------------------

%% @doc The partition that librdkafka would choose, by its partitioner of that name.
-spec place(choice(), Key :: binary() | undefined, Partitioner :: binary(), pos_integer()) ->
    non_neg_integer().
place({Hash, Count, Key}, _Key, _Partitioner, _Count) ->
    hash(Hash, Key) rem Count;
place(-1, Key, Partitioner, Count) ->
    case {Partitioner, Key} of
        {<<"random">>, _} -> random(Count);
        {<<"consistent">>, _} -> place({?HASH_CONSISTENT, Count, bytes(Key)}, Key, Partitioner, Count);
        {<<"murmur2">>, _} -> place({?HASH_MURMUR2, Count, bytes(Key)}, Key, Partitioner, Count);
        {<<"fnv1a">>, _} -> place({?HASH_FNV1A, Count, bytes(Key)}, Key, Partitioner, Count);
        {_, undefined} -> random(Count);
        {<<"murmur2_random">>, _} -> place({?HASH_MURMUR2, Count, Key}, Key, Partitioner, Count);
        {<<"fnv1a_random">>, _} -> place({?HASH_FNV1A, Count, Key}, Key, Partitioner, Count);
        {_, <<>>} -> random(Count);
        {_, _} -> place({?HASH_CONSISTENT, Count, Key}, Key, Partitioner, Count)
    end;
place(Partition, _Key, _Partitioner, _Count) ->
    Partition.

-spec bytes(binary() | undefined) -> binary().
bytes(undefined) -> <<>>;
bytes(Key) -> Key.

-spec random(pos_integer()) -> non_neg_integer().
random(Count) ->
    rand:uniform(Count) - 1.

-spec hash(byte(), binary()) -> non_neg_integer().
hash(?HASH_CONSISTENT, Key) -> erlang:crc32(Key);
hash(?HASH_MURMUR2, Key) -> murmur2(Key) band 16#7FFFFFFF;
hash(?HASH_FNV1A, Key) -> fnv1a(Key, 16#811C9DC5).

%% Of the signed number the absolute value, as Sarama has it.
-spec fnv1a(binary(), non_neg_integer()) -> non_neg_integer().
fnv1a(<<Byte, Rest/binary>>, Hash) ->
    fnv1a(Rest, ((Hash bxor Byte) * 16#01000193) band 16#FFFFFFFF);
fnv1a(<<>>, Hash) when Hash >= 16#80000000 ->
    16#100000000 - Hash;
fnv1a(<<>>, Hash) ->
    Hash.

-define(M, 16#5BD1E995).

%% As Java's clients have it.
-spec murmur2(binary()) -> non_neg_integer().
murmur2(Key) ->
    murmur2(Key, 16#9747B28C bxor byte_size(Key)).

-spec murmur2(binary(), non_neg_integer()) -> non_neg_integer().
murmur2(<<Word:32/little, Rest/binary>>, Hash) ->
    Mixed = mul(Word),
    murmur2(Rest, mul(Hash) bxor mul(Mixed bxor (Mixed bsr 24)));
murmur2(<<>>, Hash) ->
    finish(Hash);
murmur2(Rest, Hash) ->
    Size = bit_size(Rest),
    <<Word:Size/little>> = Rest,
    finish(mul(Hash bxor Word)).

-spec finish(non_neg_integer()) -> non_neg_integer().
finish(Hash) ->
    Mixed = mul(Hash bxor (Hash bsr 13)),
    Mixed bxor (Mixed bsr 15).

-spec mul(non_neg_integer()) -> non_neg_integer().
mul(Number) ->
    (Number * ?M) band 16#FFFFFFFF.

%% ---- reports ------------------------------------------------------------------------

-spec pack([entry()]) -> binary().
pack(Entries) ->
    <<<<(packed(Entry))/binary>> || Entry <- Entries>>.

-spec packed(entry()) -> binary().
packed({Code, Status, Partition, Offset, Timestamp}) ->
    <<Code:16, Status, Partition:32, Offset:64, Timestamp:64>>.

%% @doc As they are sent, the first with that tag.
-spec tagged(non_neg_integer(), [entry()]) -> binary().
tagged(First, Entries) ->
    Tags = lists:seq(First, First + length(Entries) - 1),
    <<<<Tag:64, (packed(Entry))/binary>> || {Tag, Entry} <- lists:zip(Tags, Entries)>>.

%% @doc As an event lists them.
-spec listed([{Topic :: binary(), entry()}]) -> binary().
listed(Entries) ->
    <<
        <<Code:16, Status, Partition:32, Offset:64, (byte_size(Topic)):16, Topic/binary>>
     || {Topic, {Code, Status, Partition, Offset, _}} <- Entries
    >>.
