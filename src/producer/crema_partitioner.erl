%% @private Strategies that choose a partition for a message.
%%
%% librdkafka's are computed by librdkafka's own functions, in C: what is chosen
%% here is then not yet a number, but what to hash and over how many partitions.
-module(crema_partitioner).

-include("../port/crema_commands.hrl").

-export([strategy/1, of_client/1, is_librdkafkas/1, choose/5]).

-export_type([strategy/0, hash/0, in_force/0, choice/0]).

%% librdkafka's names; `murmur2_random' is what the Java client does. Without
%% `_random', messages without a key go to one partition: that of an empty key.
-type hash() :: consistent | consistent_random | murmur2 | murmur2_random | fnv1a | fnv1a_random.

%% A function is called in the process that produces, with the topic, its number
%% of partitions, and the key and value as they are in the message (the key is
%% the partition_key, where there is one); `Args' come behind those four.
-type strategy() ::
    hash()
    | random
    | round_robin
    | md5
    | fun((Topic :: binary(), Count :: pos_integer(), Key :: term(), Value :: term()) -> integer())
    | {module(), Function :: atom(), Args :: list()}.

%% A strategy in `librdkafka' is librdkafka's to carry out, unless the key to
%% hash is not the message's own.
-type in_force() :: strategy() | {librdkafka, hash() | random}.

-type choice() ::
    non_neg_integer()
    | {hash, Hash :: byte(), Count :: pos_integer(), Key :: binary()}.

-define(HASHES, [consistent, consistent_random, murmur2, murmur2_random, fnv1a, fnv1a_random]).

%% @doc A strategy as it may be given: names also as text.
-spec strategy(term()) -> {ok, strategy()} | error.
strategy(Fun) when is_function(Fun, 4) ->
    {ok, Fun};
strategy({M, F, A} = Call) when is_atom(M), is_atom(F), is_list(A) ->
    {ok, Call};
strategy(Name) ->
    named(crema_input:text(Name), [random, round_robin, md5 | ?HASHES]).

-spec named({ok, binary()} | error, [atom()]) -> {ok, atom()} | error.
named({ok, Text}, Names) ->
    case [Name || Name <- Names, atom_to_binary(Name) =:= Text] of
        [Name] -> {ok, Name};
        [] -> error
    end;
named(error, _Names) ->
    error.

%% @doc What a producer's parsed options say.
-spec of_client(map()) -> in_force().
of_client(#{partitioner := undefined, kafka := Kafka}) ->
    Text =
        case crema_properties:find(<<"partitioner">>, Kafka) of
            {ok, _, Value} -> crema_secret:reveal(Value);
            none -> {ok, <<"consistent_random">>}
        end,
    case named(Text, [random | ?HASHES]) of
        {ok, Name} -> {librdkafka, Name};
        %% It will not be opened with that.
        error -> {librdkafka, consistent_random}
    end;
of_client(#{partitioner := Strategy}) ->
    case is_librdkafkas(Strategy) of
        true -> {librdkafka, Strategy};
        false -> Strategy
    end.

%% @doc Whether librdkafka has the strategy, by that name and meaning.
-spec is_librdkafkas(strategy() | undefined) -> boolean().
is_librdkafkas(Strategy) ->
    lists:member(Strategy, ?HASHES).

%% @doc Chooses. `skip' leaves a key that is no text for those who check it.
-spec choose(strategy(), {crema_port:client() | none, Topic}, Count :: pos_integer(), term(), term()) ->
    {ok, choice()} | skip | {fault, key, string()} | {bad_partitioner, unicode:chardata()}
when
    Topic :: binary().
choose(random, _, Count, _Key, _Value) ->
    {ok, random(Count)};
choose(round_robin, {Port, Topic}, Count, _Key, _Value) ->
    {ok, crema_partitions:next(Port, Topic) rem Count};
choose(md5, _, _Count, Null, _Value) when Null =:= undefined; Null =:= nil ->
    {fault, key, "is null, and the partitioner md5 needs one, or a partition_key"};
choose(md5, _, Count, Key, _Value) ->
    with_bytes(Key, fun(Bytes) ->
        lists:sum(binary_to_list(erlang:md5(Bytes))) rem Count
    end);
choose(Hash, _, Count, Key, _Value) when is_atom(Hash) ->
    hashed(Hash, Count, Key);
choose({M, F, A}, {_, Topic}, Count, Key, Value) ->
    called(fun() -> apply(M, F, [Topic, Count, Key, Value | A]) end, Count);
choose(Fun, {_, Topic}, Count, Key, Value) ->
    called(fun() -> Fun(Topic, Count, Key, Value) end, Count).

%% Where librdkafka leaves it to chance: without a key, and `consistent_random'
%% with an empty one too.
-spec hashed(hash(), pos_integer(), term()) -> {ok, choice()} | skip.
hashed(Hash, Count, Null) when Null =:= undefined; Null =:= nil ->
    case Hash of
        _ when Hash =:= consistent; Hash =:= murmur2; Hash =:= fnv1a -> hashed(Hash, Count, <<>>);
        _ -> {ok, random(Count)}
    end;
hashed(Hash, Count, Key) ->
    with_bytes(Key, fun
        (<<>>) when Hash =:= consistent_random -> random(Count);
        (Bytes) -> {hash, number(Hash), Count, Bytes}
    end).

-spec number(hash()) -> byte().
number(consistent) -> ?HASH_CONSISTENT;
number(consistent_random) -> ?HASH_CONSISTENT;
number(murmur2) -> ?HASH_MURMUR2;
number(murmur2_random) -> ?HASH_MURMUR2;
number(fnv1a) -> ?HASH_FNV1A;
number(fnv1a_random) -> ?HASH_FNV1A.

-spec random(pos_integer()) -> non_neg_integer().
random(Count) ->
    rand:uniform(Count) - 1.

-spec with_bytes(term(), fun((binary()) -> choice())) -> {ok, choice()} | skip.
with_bytes(Key, Choose) ->
    case crema_packet:bytes(Key) of
        error -> skip;
        Bytes -> {ok, Choose(Bytes)}
    end.

%% A user's function: what it raises must not take the caller down, who would
%% not know whether something was sent.
-spec called(fun(() -> term()), pos_integer()) ->
    {ok, non_neg_integer()} | {bad_partitioner, unicode:chardata()}.
called(Call, Count) ->
    try Call() of
        Partition when is_integer(Partition), Partition >= 0, Partition < Count ->
            {ok, Partition};
        Other ->
            Range = io_lib:format(", not a number from 0 to ~b", [Count - 1]),
            {bad_partitioner, ["it returned ", crema_input:show(Other), Range]}
    catch
        Class:Reason ->
            {bad_partitioner, io_lib:format("it raised ~s: ~ts", [Class, crema_input:show(Reason)])}
    end.
