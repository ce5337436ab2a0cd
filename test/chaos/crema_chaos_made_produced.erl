%% Producers of a run that is made up (crema_chaos_made): what they are told, and what
%% the log then holds.
-module(crema_chaos_made_produced).

-export([begun/2, call/2, late/1]).

-include("crema_chaos_made.hrl").
-import(crema_chaos_made, [tell/2, tell_all/2, name/1, one_of/2]).

%% @doc A process and its producer, in a node of their own.
begun(Kind, Run) ->
    {Name, #run{processes = Processes} = Named} = name(Run),
    Node = {node, Name},
    Told = tell_all(
        [
            #{
                what => client, client => {client, Name}, node => Node, timeout => 150000,
                ordering => case Kind of loose -> loose; _ -> strict end,
                transactional => Kind =:= booking
            },
            #{what => process, process => Name, node => Node}
        ],
        Named
    ),
    Told#run{processes = Processes#{Kind => {Name, 0, Node}}}.

%% @doc A call, or a transaction, with any outcome.
call(booking, Run) ->
    one_of(
        [
            {6, fun(R) -> book(committed, true, R) end},
            {2, fun(R) -> book(aborted, false, R) end},
            {1, fun(R) -> book(unknown, rand:uniform(2) =:= 1, R) end},
            {1, fun(R) -> book(killed, rand:uniform(2) =:= 1, R) end},
            {1, fun(R) -> book(killed_before, false, R) end}
        ],
        Run
    );
call(Kind, #run{doubtful = Doubtful} = Run) ->
    Again = case lists:member(Kind, Doubtful) orelse Kind =:= loose of true -> 3; false -> 0 end,
    %% One lives to the end and has nothing in doubt, so that faults can be planted there.
    Doubt = case Kind of first -> 0; _ -> 1 end,
    Usual = [delivered, delivered_later, unanswered, refused, not_persisted, in_doubt, in_vain, killed],
    Weights = [20, 6, 1, 1, 1, Doubt, Doubt, Doubt],
    one_of(
        [{Again, fun(R) -> called(again, Kind, R) end}] ++
            [
                {Weight, fun(R) -> called(What, Kind, R) end}
             || {Weight, What} <- lists:zip(Weights, Usual)
            ],
        Run
    ).

%% A call of some messages to one partition.
called(What, Kind, Run) ->
    Place = {lists:nth(rand:uniform(2), [?PLAIN, ?BOOKED]), rand:uniform(?PARTITIONS) - 1},
    {Numbers, Intended} = intend(Kind, Place, none, Run),
    came(What, Kind, Place, Numbers, Intended).

intend(Kind, {Topic, _}, Transaction, #run{processes = Processes} = Run) ->
    #{Kind := {Process, Next, Node}} = Processes,
    Numbers = lists:seq(Next, Next + rand:uniform(4) - 1),
    Told = tell(
        #{
            what => produce, process => Process, client => {client, Process}, topic => Topic,
            numbers => Numbers, transaction => Transaction
        },
        Run#run{processes = Processes#{Kind := {Process, lists:last(Numbers) + 1, Node}}}
    ),
    {Numbers, Told}.

came(delivered, Kind, Place, Numbers, Run) ->
    {Reports, Logged} = append(Kind, Place, Numbers, true, Run),
    report(Kind, Reports, Logged);
came(delivered_later, Kind, Place, Numbers, Run) ->
    {Reports, #run{late = Late} = Logged} = append(Kind, Place, Numbers, true, Run),
    Report = #{what => reported, process => process_of(Kind, Run), reports => Reports},
    (accept(Kind, Numbers, Logged))#run{late = [Report | Late]};
came(unanswered, Kind, {_, Partition} = Place, Numbers, Run) ->
    {_, Logged} = append(Kind, Place, Numbers, true, Run),
    report(Kind, [{N, {delivered, Partition, -1}} || N <- Numbers], accept(Kind, Numbers, Logged));
came(refused, Kind, _Place, Numbers, Run) ->
    tell(
        #{
            what => refused, process => process_of(Kind, Run), numbers => Numbers,
            reason => queue_full
        },
        Run
    );
came(not_persisted, Kind, _Place, Numbers, Run) ->
    report(Kind, [{N, {failed, not_persisted, purge_queue}} || N <- Numbers], Run);
came(in_doubt, Kind, Place, Numbers, #run{doubtful = Doubtful} = Run) ->
    {_, Logged} = append(Kind, Place, Numbers, true, Run),
    came(in_vain, Kind, Place, Numbers, Logged#run{doubtful = [Kind | Doubtful]});
came(in_vain, Kind, _Place, Numbers, #run{doubtful = Doubtful} = Run) ->
    Reports = [{N, {failed, possibly_persisted, msg_timed_out}} || N <- Numbers],
    report(Kind, Reports, Run#run{doubtful = [Kind | Doubtful]});
came(again, Kind, Place, Numbers, Run) ->
    {_, Once} = append(Kind, Place, Numbers, true, Run),
    {Reports, Twice} = append(Kind, Place, Numbers, true, Once),
    report(Kind, Reports, Twice);
came(killed, Kind, Place, Numbers, Run) ->
    {There, _} = lists:split(rand:uniform(length(Numbers) + 1) - 1, Numbers),
    {_, Logged} = append(Kind, Place, There, true, Run),
    kill_producer(Kind, Logged).

%% With or without its node; another takes its place, and those late are not heard of.
kill_producer(Kind, #run{late = Late, processes = Processes, doubtful = Doubtful} = Run) ->
    #{Kind := {Process, _, Node}} = Processes,
    {What, Who} = lists:nth(rand:uniform(2), [{node, Node}, {process, Process}]),
    {Fault, Named} = name(Run),
    Told = tell_all(
        [
            #{what => fault, fault => Fault, kind => kill},
            #{what => killed, kind => What, who => Who}
        ],
        Named#run{
            late = [Report || #{process := Of} = Report <- Late, Of =/= Process],
            doubtful = [Other || Other <- Doubtful, Other =/= Kind]
        }
    ),
    begun(Kind, Told).

accept(Kind, Numbers, Run) ->
    tell(#{what => accepted, process => process_of(Kind, Run), numbers => Numbers}, Run).

report(Kind, Reports, Run) ->
    tell(#{what => reported, process => process_of(Kind, Run), reports => Reports}, Run).

%% @doc Reports what is not reported yet.
late(#run{late = Late} = Run) -> tell_all(lists:reverse(Late), Run#run{late = []}).

process_of(Kind, #run{processes = Processes}) -> element(1, maps:get(Kind, Processes)).

%% A loose producer's messages come in any order.
append(Kind, {_, Partition} = Place, Numbers, IsVisible, #run{log = Log} = Run) ->
    {End, Entries} = maps:get(Place, Log, {0, []}),
    Process = process_of(Kind, Run),
    InOrder =
        case Kind of
            loose -> [N || {_, N} <- lists:sort([{rand:uniform(), N} || N <- Numbers])];
            _ -> Numbers
        end,
    Placed = lists:zip(lists:seq(End, End + length(Numbers) - 1), InOrder),
    New = lists:reverse([{Offset, {Process, N}, IsVisible} || {Offset, N} <- Placed]),
    {
        [{N, {delivered, Partition, Offset}} || {Offset, N} <- Placed],
        Run#run{log = Log#{Place => {End + length(Numbers), New ++ Entries}}}
    }.

%% A transaction, with a control record in each partition.
book(Outcome, IsVisible, Run) ->
    {Number, Named} = name(Run),
    Name = {transaction, Number},
    Begun = tell(
        #{
            what => begun, transaction => Name, process => process_of(booking, Run),
            client => {client, process_of(booking, Run)}
        },
        Named
    ),
    Partitions = lists:sublist([0, 1, 2], rand:uniform(?PARTITIONS)),
    Filled = lists:foldl(fun(P, Acc) -> booked(P, Name, IsVisible, Acc) end, Begun, Partitions),
    Ended = book_end(Outcome, Name, Filled),
    #run{log = Log} = Ended,
    Controlled = maps:map(
        fun
            ({?BOOKED, P}, {End, Entries}) ->
                {End + case lists:member(P, Partitions) of true -> 1; false -> 0 end, Entries};
            (_, Of) ->
                Of
        end,
        Log
    ),
    Ended#run{log = Controlled}.

booked(Partition, Name, IsVisible, Run) ->
    Place = {?BOOKED, Partition},
    {Numbers, Intended} = intend(booking, Place, Name, Run),
    {Reports, Logged} = append(booking, Place, Numbers, IsVisible, Intended),
    report(booking, Reports, Logged).

book_end(killed_before, _Name, Run) ->
    kill_producer(booking, Run);
book_end(killed, Name, Run) ->
    kill_producer(booking, tell(#{what => commit_asked, transaction => Name}, Run));
book_end(Outcome, Name, Run) ->
    Asked = case Outcome of aborted -> abort_asked; _ -> commit_asked end,
    tell_all(
        [
            #{what => Asked, transaction => Name},
            #{what => ended, transaction => Name, outcome => Outcome}
        ],
        Run
    ).
