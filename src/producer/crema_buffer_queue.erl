%% @private What a buffer holds: messages in order, by number and size. No
%% process here. What was taken to be sent may come back, first again, and counts
%% until that is known: with it there is never more than twice the limits.
-module(crema_buffer_queue).

-export([new/1, add/2, is_due/1, take/1, put_back/2, clear/1, count/1, runs/2]).

-export_type([queue/0, item/0]).

-type item() :: {crema_target:target(), crema_packet:message(), Bytes :: non_neg_integer()}.

-record(queue, {
    most :: pos_integer(),
    most_bytes :: pos_integer(),
    items = queue:new() :: queue:queue(item()),
    count = 0 :: non_neg_integer(),
    bytes = 0 :: non_neg_integer(),
    %% of what was taken and may come back
    out = 0 :: non_neg_integer(),
    out_bytes = 0 :: non_neg_integer()
}).
-opaque queue() :: #queue{}.

-spec new({Messages :: pos_integer(), Bytes :: pos_integer()}) -> queue().
new({Messages, Bytes}) ->
    #queue{most = Messages, most_bytes = Bytes}.

%% @doc All of them or none: `full' for now, or `too_large' for any time.
-spec add([item()], queue()) -> {ok, queue()} | full | too_large.
add(Items, #queue{most = Most, most_bytes = MostBytes} = Queue) ->
    Count = length(Items),
    Bytes = bytes(Items),
    #queue{items = Held, count = HeldCount, bytes = HeldBytes} = Queue,
    #queue{out = Out, out_bytes = OutBytes} = Queue,
    Fits =
        HeldCount + Count =< Most andalso HeldBytes + Bytes =< MostBytes andalso
            Out + HeldCount + Count =< 2 * Most andalso
            OutBytes + HeldBytes + Bytes =< 2 * MostBytes,
    case Count > Most orelse Bytes > MostBytes of
        true -> too_large;
        false when Fits -> {ok, more(lists:foldl(fun queue:in/2, Held, Items), Count, Bytes, Queue)};
        false -> full
    end.

%% @doc Whether a limit is reached.
-spec is_due(queue()) -> boolean().
is_due(#queue{most = Most, most_bytes = MostBytes, count = Count, bytes = Bytes}) ->
    Count >= Most orelse Bytes >= MostBytes.

%% @doc Everything, the oldest first, to be sent; {@link put_back/2} must follow
%% before it is called again.
-spec take(queue()) -> {[item()], queue()}.
take(#queue{items = Items, count = Count, bytes = Bytes} = Queue) ->
    {queue:to_list(Items), (clear(Queue))#queue{out = Count, out_bytes = Bytes}}.

%% @doc What of it was not sent.
-spec put_back([item()], queue()) -> queue().
put_back(Items, Queue) ->
    Known = Queue#queue{out = 0, out_bytes = 0},
    All = queue:join(queue:from_list(Items), Queue#queue.items),
    more(All, length(Items), bytes(Items), Known).

%% @doc Drops everything but what was taken.
-spec clear(queue()) -> queue().
clear(Queue) ->
    Queue#queue{items = queue:new(), count = 0, bytes = 0}.

%% @doc Items as calls: each of one target, and of no more than the limits, which
%% a single call may have.
-spec runs([item()], queue()) -> [crema_dispatch:run()].
runs([], _Queue) ->
    [];
runs([{Target, _, _} | _] = Items, #queue{most = Most, most_bytes = MostBytes} = Queue) ->
    {Messages, Rest} = run(Items, Target, Most, MostBytes),
    [{Target, Messages} | runs(Rest, Queue)].

-spec run([item()], crema_target:target(), integer(), integer()) ->
    {[crema_packet:message()], [item()]}.
run([{Target, Message, Bytes} | Items], Target, Most, MostBytes) when
    Most >= 1, Bytes =< MostBytes
->
    {Messages, Rest} = run(Items, Target, Most - 1, MostBytes - Bytes),
    {[Message | Messages], Rest};
run(Items, _Target, _Most, _MostBytes) ->
    {[], Items}.

-spec count(queue()) -> non_neg_integer().
count(#queue{count = Count}) ->
    Count.

-spec more(queue:queue(item()), non_neg_integer(), non_neg_integer(), queue()) -> queue().
more(Items, Count, Bytes, #queue{count = Held, bytes = HeldBytes} = Queue) ->
    Queue#queue{items = Items, count = Held + Count, bytes = HeldBytes + Bytes}.

-spec bytes([item()]) -> non_neg_integer().
bytes(Items) ->
    lists:sum([Bytes || {_, _, Bytes} <- Items]).
