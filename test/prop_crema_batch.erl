%% Properties of what a topic handle's process and a buffer have in hand: no item
%% is lost, sent twice or out of order, and the bounds hold, whatever happens.
-module(prop_crema_batch).

-include_lib("proper/include/proper.hrl").

%% What a run has seen: the batch, and beside it what must be.
-record(run, {
    batch,
    kind,
    max,
    ordering,
    %% pushed and not encoded yet; taken and not accepted; in flight
    raw = [],
    sending = none,
    flights = [],
    %% in their order: as they were made ready, as they were sent
    pushed = [],
    encoded = [],
    dropped = [],
    sent = [],
    forced = -1,
    good = true
}).

prop_batches() ->
    %% Every item that is not dropped is sent once, in order, in batches of the
    %% right size, and no more are held than the bound.
    ?FORALL(
        {Kind, Max, Ordering, Steps},
        {kind(), range(1, 4), oneof([strict, loose]), steps(step())},
        begin
            New = #run{
                batch = crema_batch:new(Kind, Max, Ordering),
                kind = Kind,
                max = Max,
                ordering = Ordering
            },
            Run = lists:foldl(fun run/2, New, Steps),
            End = finish(Run),
            Due = [N || N <- order(End), not lists:member(N, End#run.dropped)],
            ?WHENFAIL(
                io:format("~p~n~p~n", [Run, End]),
                End#run.good andalso End#run.sent =:= Due andalso
                    crema_batch:held(End#run.batch) =:= 0
            )
        end
    ).

%% Long enough to come back to where it was full.
steps(Step) -> ?LET(Length, range(0, 200), vector(Length, Step)).

kind() -> oneof([adaptive, {fixed, range(1, 5)}]).

step() ->
    frequency([
        {6, push},
        {6, {encode, non_neg_integer()}},
        {1, {drop, non_neg_integer()}},
        {4, take},
        {4, accept},
        {2, {done, non_neg_integer()}},
        {1, force}
    ]).

order(#run{ordering = strict, pushed = Pushed}) -> lists:reverse(Pushed);
order(#run{ordering = loose, encoded = Encoded}) -> lists:reverse(Encoded).

run(push, #run{batch = Batch, raw = Raw, pushed = Pushed} = Run) ->
    case crema_batch:push(Batch) of
        {Seq, New} ->
            check(Run#run{batch = New, raw = Raw ++ [Seq], pushed = [Seq | Pushed]});
        full ->
            good(crema_batch:held(Batch) =:= bound(Run), Run)
    end;
run({encode, N}, #run{batch = Batch, encoded = Encoded} = Run) ->
    one(N, Run, fun(Seq, Left) ->
        Left#run{batch = crema_batch:encoded(Seq, item(Seq), Batch), encoded = [Seq | Encoded]}
    end);
run({drop, N}, #run{batch = Batch, dropped = Dropped} = Run) ->
    one(N, Run, fun(Seq, Left) ->
        Left#run{batch = crema_batch:dropped(Seq, Batch), dropped = [Seq | Dropped]}
    end);
run(take, #run{batch = Batch, sending = Sending, flights = Flights, sent = Sent} = Run) ->
    case crema_batch:take(Batch) of
        {Items, New} ->
            Seqs = [Seq || {Seq, _} <- Items],
            Right =
                Sending =:= none andalso length(Flights) < Run#run.max andalso
                    Items =:= [{Seq, item(Seq)} || Seq <- Seqs] andalso is_size(length(Items), Run),
            good(Right, Run#run{batch = New, sending = Seqs, sent = Sent ++ Seqs});
        none ->
            Run
    end;
run(accept, #run{sending = none} = Run) ->
    Run;
run(accept, #run{batch = Batch, sending = Seqs, flights = Flights} = Run) ->
    Run#run{batch = crema_batch:accepted(Batch), sending = none, flights = [Seqs | Flights]};
run({done, _}, #run{flights = []} = Run) ->
    Run;
run({done, N}, #run{batch = Batch, flights = Flights} = Run) ->
    Seqs = lists:nth(N rem length(Flights) + 1, Flights),
    Run#run{batch = crema_batch:done(Seqs, Batch), flights = lists:delete(Seqs, Flights)};
run(force, #run{batch = Batch, pushed = Pushed} = Run) ->
    Run#run{batch = crema_batch:force(Batch), forced = length(Pushed) - 1}.

one(_N, #run{raw = []} = Run, _Then) ->
    Run;
one(N, #run{raw = Raw} = Run, Then) ->
    Seq = lists:nth(N rem length(Raw) + 1, Raw),
    Then(Seq, Run#run{raw = lists:delete(Seq, Raw)}).

item(Seq) -> {item, Seq}.

check(Run) ->
    good(crema_batch:held(Run#run.batch) =< bound(Run), Run).

good(Right, #run{good = Good} = Run) ->
    Run#run{good = Good andalso Right}.

bound(#run{kind = adaptive, max = Max}) -> 1000 * Max;
bound(#run{kind = {fixed, N}, max = Max}) -> N * Max.

%% A batch that is not full goes only where somebody wants what was pushed up to
%% some item, and one of those is not sent yet.
is_size(Size, #run{kind = adaptive}) -> Size =< 1000;
is_size(Size, #run{kind = {fixed, Size}}) -> true;
is_size(Size, #run{kind = {fixed, N}, sent = Sent, dropped = Dropped, forced = Forced}) ->
    Size < N andalso lists:seq(0, Forced) -- (Sent ++ Dropped) =/= [].

%% All is encoded, sent and reported, at last; who waits for that is told then
%% and not before.
finish(#run{batch = Batch} = Run) ->
    Marked = crema_batch:mark(done, all_done, crema_batch:mark(sent, all_sent, Batch)),
    Encoded = lists:foldl(fun(_, R) -> run({encode, 0}, R) end,
        run(force, Run#run{batch = Marked}), Run#run.raw),
    empty(Encoded).

empty(#run{sending = none, flights = [], batch = Batch} = Run) ->
    case crema_batch:take(Batch) of
        none ->
            {Reached, Last} = crema_batch:reached(Batch),
            good(lists:sort(Reached) =:= [all_done, all_sent], Run#run{batch = Last});
        _ ->
            {Early, _} = crema_batch:reached(Batch),
            empty(run(accept, run(take, good(Early =:= [], Run))))
    end;
empty(#run{sending = none} = Run) ->
    {Reached, _} = crema_batch:reached(Run#run.batch),
    empty(run({done, 0}, good(not lists:member(all_done, Reached), Run)));
empty(Run) ->
    empty(run(accept, Run)).

prop_buffer() ->
    %% A buffer gives its items in the order in which they were added, whatever
    %% comes back; with what may come back it holds at most twice its limits.
    ?FORALL(
        {Most, Bytes, Steps},
        {range(1, 10), range(1, 100), steps(buffer_step())},
        begin
            Run = fun(Step, State) -> buffer(Step, Most, Bytes, State) end,
            New = {crema_buffer_queue:new({Most, Bytes}), [], [], none, true},
            {_, Added, Sent, Out, Good} = End = lists:foldl(Run, New, Steps),
            {Queue, _, _, none, _} = buffer({back, 0}, Most, Bytes, End),
            Good andalso (Out =:= none orelse length(held(Queue)) >= length(Out)) andalso
                Sent ++ held(Queue) =:= Added
        end
    ).

%% Sizes to add together; a flush; how many of what it took were sent.
buffer_step() ->
    oneof([{add, list(range(0, 30))}, take, {back, non_neg_integer()}]).

buffer({add, Sizes}, Most, Bytes, {Queue, Added, Sent, Out, Good}) ->
    Items = [{target, make_ref(), Size} || Size <- Sizes],
    Held = held(Queue),
    Taken = case Out of none -> []; _ -> Out end,
    Fits =
        not exceeds(Held ++ Items, Most, Bytes) andalso
            not exceeds(Taken ++ Held ++ Items, 2 * Most, 2 * Bytes),
    case crema_buffer_queue:add(Items, Queue) of
        {ok, New} ->
            Now = held(New),
            Due = length(Now) >= Most orelse size_of(Now) >= Bytes,
            Right =
                Fits andalso Now =:= Held ++ Items andalso
                    crema_buffer_queue:is_due(New) =:= Due andalso
                    crema_buffer_queue:count(New) =:= length(Now),
            {New, Added ++ Items, Sent, Out, Good andalso Right};
        full ->
            Right = not Fits andalso not exceeds(Items, Most, Bytes),
            {Queue, Added, Sent, Out, Good andalso Right};
        too_large ->
            {Queue, Added, Sent, Out, Good andalso exceeds(Items, Most, Bytes)}
    end;
buffer(take, _Most, _Bytes, {Queue, Added, Sent, none, Good}) ->
    {Items, Empty} = crema_buffer_queue:take(Queue),
    {Empty, Added, Sent, Items, Good};
buffer({back, N}, _Most, _Bytes, {Queue, Added, Sent, Out, Good}) when Out =/= none ->
    {Gone, Unsent} = lists:split(N rem (length(Out) + 1), Out),
    {crema_buffer_queue:put_back(Unsent, Queue), Added, Sent ++ Gone, none, Good};
buffer(_, _Most, _Bytes, State) ->
    State.

prop_runs() ->
    %% A flush is made of calls within the limits, each for one target, that are
    %% all of its messages in order.
    ?FORALL(
        {Most, Bytes, Given},
        {range(1, 10), range(30, 100), list({oneof([one, two]), range(0, 30)})},
        begin
            Items = [{Target, {make_ref(), Size}, Size} || {Target, Size} <- Given],
            Runs = crema_buffer_queue:runs(Items, crema_buffer_queue:new({Most, Bytes})),
            [{Target, M} || {Target, Messages} <- Runs, M <- Messages] =:=
                [{Target, M} || {Target, M, _} <- Items] andalso
                lists:all(
                    fun({_, Messages}) ->
                        Messages =/= [] andalso length(Messages) =< Most andalso
                            lists:sum([Size || {_, Size} <- Messages]) =< Bytes
                    end,
                    Runs
                )
        end
    ).

held(Queue) ->
    {Items, _} = crema_buffer_queue:take(Queue),
    Items.

exceeds(Items, Most, Bytes) ->
    length(Items) > Most orelse size_of(Items) > Bytes.

size_of(Items) -> lists:sum([Size || {_, _, Size} <- Items]).
