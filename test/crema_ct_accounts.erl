%% Compares what producers were told of their messages with what the log holds.
-module(crema_ct_accounts).

-export([faults/2, last_copies/1, count/1]).

%% A message names its process and its number in that process, from 0 on.
-type message() :: {Process :: integer(), Number :: non_neg_integer()}.

%% What its process was told of it; `refused' when the call was not accepted.
-type outcome() ::
    {delivered, partition(), Offset :: integer()} | not_persisted | possibly_persisted | refused.

-type partition() :: non_neg_integer().

-type fault() ::
    {lost, message()}
    | {repeated, message()}
    | {refuted, message()}
    | {elsewhere, message(), At :: {partition(), integer()}}
    | {overtaken, message(), By :: message()}
    | {unknown, message()}.

%% @doc What does not fit. Delivered messages are in the log once, and where they
%% were said to be (no offset is known of one whose answer was lost); those not
%% persisted are not there; those possibly persisted are there once or not; what
%% is there of a process is in its order in each partition.
-spec faults(#{message() => outcome()}, [{partition(), [{Offset :: integer(), message()}]}]) ->
    [fault()].
faults(Outcomes, Log) ->
    {Seen, Found} = lists:foldl(fun(Partition, Acc) -> read(Partition, Outcomes, Acc) end,
        {#{}, []}, Log),
    Lost = [
        {lost, Message}
     || {Message, {delivered, _, _}} <- maps:to_list(Outcomes), not is_map_key(Message, Seen)
    ],
    lists:reverse(Found, lists:sort(Lost)).

%% @doc A partition's entries without those that come again: what is sent again after
%% messages have timed out may be there twice, and is reported where it is last.
-spec last_copies([{Offset :: integer(), message()}]) -> [{Offset :: integer(), message()}].
last_copies(Entries) ->
    Keep = fun({_, Message} = Entry, {Later, Kept}) ->
        case Later of
            #{Message := _} -> {Later, Kept};
            #{} -> {Later#{Message => true}, [Entry | Kept]}
        end
    end,
    {_, Kept} = lists:foldr(Keep, {#{}, []}, Entries),
    Kept.

read({Partition, Entries}, Outcomes, {Seen, Found}) ->
    {AllSeen, AllFound, _} = lists:foldl(
        fun({Offset, Message}, {SeenNow, FoundNow, Last}) ->
            New =
                repeated(Message, SeenNow) ++
                    refuted(Message, {Partition, Offset}, Outcomes) ++
                    overtaken(Message, Last),
            {SeenNow#{Message => true}, New ++ FoundNow, last(Message, Last)}
        end,
        {Seen, Found, #{}},
        Entries
    ),
    {AllSeen, AllFound}.

repeated(Message, Seen) ->
    [{repeated, Message} || is_map_key(Message, Seen)].

refuted(Message, {Partition, Offset} = At, Outcomes) ->
    case Outcomes of
        #{Message := {delivered, Partition, Offset}} -> [];
        #{Message := {delivered, Partition, None}} when None < 0 -> [];
        #{Message := {delivered, _, _}} -> [{elsewhere, Message, At}];
        #{Message := possibly_persisted} -> [];
        #{Message := _} -> [{refuted, Message}];
        #{} -> [{unknown, Message}]
    end.

%% A repetition is told as such only.
overtaken({Process, Number} = Message, Last) ->
    case Last of
        #{Process := Later} when Later > Number -> [{overtaken, Message, {Process, Later}}];
        #{} -> []
    end.

last({Process, Number}, Last) ->
    maps:update_with(Process, fun(Before) -> max(Before, Number) end, Number, Last).

%% @doc How many messages had each kind of outcome.
-spec count(#{message() => outcome()}) -> #{atom() => pos_integer()}.
count(Outcomes) ->
    maps:fold(
        fun(_, Outcome, Counts) ->
            Kind =
                case Outcome of
                    {delivered, _, _} -> delivered;
                    _ -> Outcome
                end,
            maps:update_with(Kind, fun(N) -> N + 1 end, 1, Counts)
        end,
        #{},
        Outcomes
    ).
