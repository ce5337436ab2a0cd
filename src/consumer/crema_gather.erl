%% @private Batches that were delivered and not begun with. They are given as they
%% came, or gathered: until there are as many messages as wanted, or bytes, or
%% until the oldest is as old as wanted.
-module(crema_gather).

-export([new/3, add/2, next/1, timer/1, due/2]).

-export_type([gathered/0, batch/0]).

%% Packed, as the driver sends it; or a share of what crema_parallel has taken,
%% which is not gathered.
-type batch() ::
    {Packed :: binary(), Mask :: binary()}
    | {share, [crema_consumer:message(), ...], Fresh :: non_neg_integer(), crema_nacked:found()}.

-record(gathered, {
    batches = queue:new() :: queue:queue(batch()),
    %% of all of them, if they are gathered
    count = 0 :: non_neg_integer(),
    bytes = 0 :: non_neg_integer(),
    %% batches that come again
    again = 0 :: non_neg_integer(),
    %% 0: as they come
    age :: non_neg_integer(),
    most_messages :: pos_integer(),
    most_bytes :: pos_integer(),
    %% runs since the oldest came, or has run out
    timer = none :: none | reference() | due
}).

-opaque gathered() :: #gathered{}.

%% @doc Nothing yet. With an age of 0 nothing is gathered.
-spec new(Age :: non_neg_integer(), Messages :: pos_integer(), Bytes :: pos_integer()) -> gathered().
new(Age, Messages, Bytes) ->
    #gathered{age = Age, most_messages = Messages, most_bytes = Bytes}.

-spec add(batch(), gathered()) -> gathered().
add(Batch, #gathered{batches = Batches, age = 0} = Gathered) ->
    Gathered#gathered{batches = queue:in(Batch, Batches)};
add({Packed, _} = Batch, #gathered{batches = Batches, count = Count, bytes = Bytes} = Gathered) ->
    Gathered#gathered{
        batches = queue:in(Batch, Batches),
        count = Count + crema_record_batch:count(Packed),
        bytes = Bytes + byte_size(Packed),
        again = Gathered#gathered.again + again(Batch)
    }.

-spec again(batch()) -> 0..1.
again({_, <<>>}) -> 0;
again(_) -> 1.

%% @doc What is to be handled at once, in order; nothing while more may come. What
%% comes again comes alone, and at once.
-spec next(gathered()) -> {[batch()], gathered()}.
next(#gathered{batches = Batches, age = 0} = Gathered) ->
    case queue:out(Batches) of
        {{value, Batch}, Rest} -> {[Batch], Gathered#gathered{batches = Rest}};
        {empty, _} -> {[], Gathered}
    end;
next(#gathered{count = Count, most_messages = Messages, bytes = Bytes, most_bytes = Most} = Gathered) ->
    #gathered{timer = Timer, again = Again} = Gathered,
    Full = Count >= Messages orelse Bytes >= Most,
    case Count > 0 andalso (Full orelse Timer =:= due orelse Again > 0) of
        true -> take(Messages, Most, [], Gathered);
        false -> {[], Gathered}
    end.

%% No more than was wanted, but one.
-spec take(integer(), integer(), [batch()], gathered()) -> {[batch()], gathered()}.
take(Messages, Bytes, Taken, #gathered{batches = Batches} = Gathered) ->
    case queue:out(Batches) of
        {{value, {_, Mask} = Again}, Rest} when Mask =/= <<>>, Taken =:= [] ->
            {[Again], without([Again], Rest, Gathered)};
        {{value, {Packed, <<>>} = Batch}, Rest} ->
            Left = Messages - crema_record_batch:count(Packed),
            LeftBytes = Bytes - byte_size(Packed),
            case Taken =:= [] orelse (Left >= 0 andalso LeftBytes >= 0) of
                true -> take(Left, LeftBytes, [Batch | Taken], Gathered#gathered{batches = Rest});
                false -> {lists:reverse(Taken), without(Taken, Batches, Gathered)}
            end;
        _ ->
            {lists:reverse(Taken), without(Taken, Batches, Gathered)}
    end.

-spec without([batch()], queue:queue(batch()), gathered()) -> gathered().
without(Taken, Rest, #gathered{count = Count, bytes = Bytes} = Gathered) ->
    Gathered#gathered{
        batches = Rest,
        count = Count - lists:sum([crema_record_batch:count(Packed) || {Packed, _} <- Taken]),
        bytes = Bytes - lists:sum([byte_size(Packed) || {Packed, _} <- Taken]),
        again = Gathered#gathered.again - lists:sum(lists:map(fun again/1, Taken)),
        timer = none
    }.

%% @doc Starts the timer, if something is gathered and it does not run yet. Its
%% message is `{crema_due, Timer}', for due/2.
-spec timer(gathered()) -> gathered().
timer(#gathered{age = Age, count = Count, timer = none} = Gathered) when Age > 0, Count > 0 ->
    Timer = make_ref(),
    _ = erlang:send_after(Age, self(), {crema_due, Timer}),
    Gathered#gathered{timer = Timer};
timer(Gathered) ->
    Gathered.

-spec due(reference(), gathered()) -> gathered().
due(Timer, #gathered{timer = Timer} = Gathered) -> Gathered#gathered{timer = due};
due(_, Gathered) -> Gathered.
