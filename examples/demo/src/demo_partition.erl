%% The account of one partition: plain data, kept by demo_counter.
%%
%% Delivery is at least once: after a crash or a rebalance a line may come again. Within a partition
%% offsets only rise, so a line whose offset is not above the newest counted one was counted before;
%% it is a redelivery, and is not counted twice.
-module(demo_partition).

-export([new/0, count/3, acknowledge/2, summary/1]).

-export_type([partition/0, line/0, summary/0]).

-type line() :: #{number := pos_integer(), bytes := non_neg_integer(), words := [binary()]}.

-record(partition, {
    %% The newest offsets counted and acknowledged, and the number of the newest line.
    counted = -1 :: integer(),
    acknowledged = -1 :: integer(),
    number = 0 :: non_neg_integer(),
    lines = 0 :: non_neg_integer(),
    redelivered = 0 :: non_neg_integer(),
    disordered = 0 :: non_neg_integer(),
    words = #{} :: demo_text:counts()
}).

-opaque partition() :: #partition{}.

-type summary() :: #{
    lines := non_neg_integer(),
    redelivered := non_neg_integer(),
    %% Lines that came after one that the source sent later.
    disordered := non_neg_integer(),
    words := demo_text:counts()
}.

-spec new() -> partition().
new() ->
    #partition{}.

%% Counts a line that is seen for the first time.
-spec count(Offset :: non_neg_integer(), line(), partition()) -> {first | again, partition()}.
count(Offset, _Line, #partition{counted = Counted} = P) when Offset =< Counted ->
    {again, P#partition{redelivered = P#partition.redelivered + 1}};
count(Offset, #{number := Number, words := Words}, #partition{number = Newest} = P) ->
    Late =
        case Number > Newest of
            true -> 0;
            false -> 1
        end,
    {first, P#partition{
        counted = Offset,
        number = Number,
        lines = P#partition.lines + 1,
        disordered = P#partition.disordered + Late,
        words = lists:foldl(fun count_word/2, P#partition.words, Words)
    }}.

%% A word is a part of the batch that its message came in, and would keep it all in memory.
count_word(Word, Counts) ->
    case Counts of
        #{Word := Times} -> Counts#{Word := Times + 1};
        #{} -> Counts#{binary:copy(Word) => 1}
    end.

-spec acknowledge(Offset :: non_neg_integer(), partition()) -> {first | again, partition()}.
acknowledge(Offset, #partition{acknowledged = Newest} = P) when Offset =< Newest ->
    {again, P};
acknowledge(Offset, P) ->
    {first, P#partition{acknowledged = Offset}}.

-spec summary(partition()) -> summary().
summary(#partition{lines = Lines, redelivered = Again, disordered = Late, words = Words}) ->
    #{lines => Lines, redelivered => Again, disordered => Late, words => Words}.
