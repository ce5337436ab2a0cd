%% A model of one partition: what its members may be given and may commit. It is
%% told everything that is done and seen, in the order of the test's process,
%% and raises {broken, Rule, Details} where a consumer does what it must not.
%%
%% An acknowledgement is `certain' when the member has taken it, and `told' when
%% a handler has answered it: a process that is killed takes those with it.
-module(crema_ct_partition).

-export([new/1, produced/2, moved/2, started/2, ended/3, given/4, answered/2]).
-export([acking/2, acked/2, refused/2]).
-export([paused/2, seeking/1, sought/3]).
-export([committed/2, stored/3, is_expected/1, is_done/1]).
-export([worker/1, at/1, open/1, closed/1, stale/1, log_end/1, certain/1, is_paused/1]).

-record(part, {
    number,
    log_end = 0,
    %% the generation, and what is certain in it: all below `floor'
    slot = none,
    floor = 0,
    acks = #{},
    tokens = #{},
    %% the process of the partition; what it was given last, and what it has at
    %% hand; what it must not be given; what must come again
    worker = none,
    last = -1,
    at = none,
    barred = {0, #{}},
    again = none,
    paused = false,
    %% a seek is asked for, and has begun a generation at that offset; the process
    %% that was there, which may have to finish its call; that call is for nothing
    sought = none,
    overtaken = none,
    void = false,
    %% of generations before
    stale = [],
    gone = 0,
    committed = -1
}).

-define(MOST_STALE, 30).

new(Number) -> #part{number = Number}.

worker(#part{worker = Worker}) -> Worker.
at(#part{at = At}) -> At.
log_end(#part{log_end = End}) -> End.
is_paused(#part{paused = Paused}) -> Paused.

%% @doc All below it is acknowledged for certain, in the generation of now.
certain(#part{slot = none, committed = Committed}) -> Committed;
certain(#part{floor = Floor}) -> Floor.

%% @doc Messages that were given and are not acknowledged, with their tokens.
open(#part{tokens = Tokens} = Part) ->
    [Open || {Offset, _} = Open <- lists:sort(maps:to_list(Tokens)), not is_acked(Offset, Part)].

%% @doc Some that are acknowledged already.
closed(#part{tokens = Tokens} = Part) ->
    [Closed || {Offset, _} = Closed <- lists:sort(maps:to_list(Tokens)), is_acked(Offset, Part)].

is_acked(Offset, #part{floor = Floor, acks = Acks}) ->
    Offset < Floor orelse is_map_key(Offset, Acks).

%% @doc Tokens that nobody may accept any more.
stale(#part{stale = Stale}) -> Stale.

produced(Count, #part{log_end = End} = Part) ->
    Part#part{log_end = End + Count}.

%% @doc The partition has that slot now, or none.
moved(Slot, #part{slot = Slot} = Part) -> Part;
moved(_, Part) -> retired(Part).

retired(#part{tokens = Tokens, stale = Stale, slot = Slot, gone = Gone} = Part) ->
    All = [Token || {_, Token} <- maps:to_list(Tokens)] ++ Stale,
    Part#part{
        slot = none,
        tokens = #{},
        stale = lists:sublist(All, ?MOST_STALE),
        gone = case Slot of none -> Gone; _ -> Slot end
    }.

%% @doc A process begins with the partition. What is acknowledged for certain by
%% now must not come again in this generation.
started(Worker, #part{worker = none, floor = Floor, acks = Acks} = Part) ->
    Certain = maps:filter(fun(_, How) -> How =:= certain end, Acks),
    Part#part{worker = Worker, last = none, barred = {Floor, Certain}, overtaken = none};
started(Worker, #part{worker = Other} = Part) ->
    broken(two_workers, [Worker, Other], Part).

%% @doc It has ended; unless it was killed it has told what it acknowledged.
ended(Worker, Reason, #part{worker = Worker, acks = Acks} = Part) ->
    Told =
        case Reason of
            killed -> Acks;
            _ -> maps:map(fun(_, How) -> heard(Worker, How) end, Acks)
        end,
    advanced(Part#part{worker = none, at = none, again = none, last = none, acks = Told, void = false});
ended(_Worker, _Reason, Part) ->
    Part.

heard(Worker, {told, Worker}) -> certain;
heard(_Worker, How) -> How.

%% @doc The handler has got these messages.
given(Worker, Slot, Messages, #part{gone = Gone, at = none} = Part) when Slot =< Gone ->
    Worker =:= Part#part.overtaken orelse broken(given_by_one_gone, Messages, Part),
    Part#part{at = [Offset || {Offset, _} <- Messages], void = true};
given(_Worker, _Slot, Messages, #part{paused = true} = Part) ->
    broken(given_while_paused, Messages, Part);
given(Worker, Slot, Messages, #part{worker = Worker, slot = Slot, at = none} = Part) ->
    Offsets = [Offset || {Offset, _} <- Messages],
    Checked = in_order(Offsets, Part),
    remembered(Messages, lists:foldl(fun taken_back/2, Checked, Offsets));
given(Worker, Slot, [{First, _} | _] = Messages, #part{worker = Worker, at = none} = Part) ->
    given(Worker, Slot, Messages, begun(Slot, First, Part));
given(Worker, _Slot, Messages, Part) ->
    broken(unexpected, {Worker, Messages}, Part).

%% A generation begins at what was committed, or where a seek has put it.
begun(Slot, First, #part{sought = Sought} = Part) when Sought =/= none ->
    (begun_at(First, Part))#part{slot = Slot, sought = First};
begun(Slot, First, Part) ->
    First =< upper(Part) orelse broken(gap, {First, upper(Part)}, Part),
    First >= Part#part.committed orelse broken(committed_again, First, Part),
    (begun_at(First, Part))#part{slot = Slot}.

begun_at(First, Part) ->
    (retired(Part))#part{floor = First, acks = #{}, last = First - 1, barred = {First, #{}}}.

in_order(Offsets, #part{again = none, last = Last, barred = {Floor, Barred}} = Part) ->
    From = case Last of none -> Floor - 1; _ -> Last end,
    follow(From, Offsets, Part),
    [broken(repeated, O, Part) || O <- Offsets, O < Floor orelse is_map_key(O, Barred)],
    Part;
in_order(Offsets, #part{again = Offsets} = Part) ->
    Part#part{again = none};
in_order(Offsets, Part) ->
    broken(other_than_failed, Offsets, Part).

%% Nothing is passed over that was not acknowledged.
follow(_Last, [], _Part) ->
    ok;
follow(Last, [Offset | Rest], Part) when Offset > Last ->
    Skipped = [O || O <- lists:seq(Last + 1, Offset - 1), not is_acked(O, Part)],
    Skipped =:= [] orelse broken(skipped, Skipped, Part),
    Offset < Part#part.log_end orelse broken(never_produced, Offset, Part),
    follow(Offset, Rest, Part);
follow(Last, [Offset | _], Part) ->
    broken(out_of_order, {Last, Offset}, Part).

%% It comes again, so nobody has heard of its acknowledgement.
taken_back(Offset, #part{acks = Acks} = Part) ->
    case Acks of
        #{Offset := {told, _}} -> Part#part{acks = maps:remove(Offset, Acks)};
        #{} -> Part
    end.

remembered(Messages, #part{tokens = Tokens} = Part) ->
    Part#part{
        at = [Offset || {Offset, _} <- Messages],
        last = element(1, lists:last(Messages)),
        tokens = maps:merge(Tokens, maps:from_list(Messages))
    }.

%% @doc What the handler has answered, and the worker has lived to hear. `up_to'
%% is the first half of a batch.
answered(ack, #part{at = At} = Part) ->
    Tell = fun(Offset, Acc) -> told(Offset, Part#part.worker, Acc) end,
    lists:foldl(Tell, Part#part{at = none}, At);
answered(up_to, #part{at = At} = Part) ->
    {Done, Rest} = lists:split((length(At) + 1) div 2, At),
    Again = case Rest of [] -> none; _ -> Rest end,
    (answered(ack, Part#part{at = Done}))#part{again = Again};
answered(Done, Part) when Done =:= skip; Done =:= pause ->
    answered(ack, Part);
answered(Again, #part{at = At} = Part) when Again =:= error; Again =:= retry ->
    Part#part{at = none, again = At};
answered(Open, Part) when Open =:= noack; Open =:= crash ->
    Part#part{at = none}.

%% @doc An acknowledgement is on its way.
acking(Offset, Part) ->
    told(Offset, by_token, Part).

told(Offset, By, #part{acks = Acks} = Part) ->
    case is_acked(Offset, Part) of
        true -> Part;
        false -> Part#part{acks = Acks#{Offset => {told, By}}}
    end.

%% @doc It was taken.
acked(Offset, #part{acks = Acks, floor = Floor} = Part) when Offset >= Floor ->
    advanced(Part#part{acks = Acks#{Offset => certain}});
acked(_Offset, Part) ->
    Part.

%% @doc It was not: its partition has gone.
refused(Offset, #part{acks = Acks} = Part) ->
    case Acks of
        #{Offset := {told, by_token}} -> Part#part{acks = maps:remove(Offset, Acks)};
        #{} -> Part
    end.

advanced(#part{acks = Acks, floor = Floor, tokens = Tokens} = Part) ->
    case Acks of
        #{Floor := certain} ->
            %% Some tokens of what is done stay, to be acknowledged once more.
            advanced(Part#part{
                acks = maps:remove(Floor, Acks),
                floor = Floor + 1,
                tokens = maps:remove(Floor - 20, Tokens)
            });
        #{} ->
            Part
    end.

%% @doc Nothing is given any more, or again something.
paused(Paused, Part) -> Part#part{paused = Paused}.

%% @doc A seek is asked for: whatever is given from now on may be of either
%% generation.
seeking(Part) -> Part#part{sought = asked}.

%% @doc It has led there, which is committed, with a slot that may have begun
%% already; nothing of before counts.
sought(Offset, Slot, #part{slot = Slot, sought = Offset} = Part) ->
    Part#part{sought = none, committed = Offset};
sought(Offset, Slot, #part{slot = Other, worker = Worker, at = At} = Part) when Slot =/= Other ->
    (begun_at(Offset, Part))#part{
        sought = none,
        gone = Slot - 1,
        overtaken = Worker,
        void = At =/= none,
        again = none,
        committed = Offset
    };
sought(Offset, Slot, Part) ->
    broken(sought_elsewhere, {Offset, Slot}, Part).

%% @doc An offset that the group has committed: never beyond the first message
%% that is not acknowledged, and never back.
committed(Offset, #part{committed = Before} = Part) ->
    Offset =< upper(Part) orelse broken(committed_too_far, {Offset, upper(Part)}, Part),
    Offset >= Before orelse broken(committed_back, {Offset, Before}, Part),
    Part#part{committed = Offset}.

%% @doc What a slot of the group has stored for its next commit: neither beyond
%% what is acknowledged, nor behind.
stored(Slot, Offset, #part{slot = Slot, floor = Floor} = Part) ->
    Offset =< upper(Part) orelse broken(stored_too_far, {Offset, upper(Part)}, Part),
    Offset >= Floor orelse broken(stored_too_little, {Offset, Floor}, Part),
    ok;
stored(_Slot, _Offset, _Part) ->
    ok.

%% The first message that nobody has acknowledged.
upper(#part{floor = Floor, acks = Acks}) -> upper(Floor, Acks).

upper(Offset, Acks) when is_map_key(Offset, Acks) -> upper(Offset + 1, Acks);
upper(Offset, _Acks) -> Offset.

%% @doc Whether the handler will be given something without further ado.
is_expected(#part{at = At, paused = Paused}) when At =/= none; Paused -> false;
is_expected(#part{again = Again}) when Again =/= none -> true;
is_expected(#part{last = none} = Part) -> upper(Part) < Part#part.log_end;
is_expected(#part{last = Last, floor = Floor, acks = Acks, log_end = End}) ->
    upper(max(Last + 1, Floor), Acks) < End.

%% @doc All that was produced is handled, acknowledged and committed.
is_done(#part{log_end = End, committed = Committed, at = At} = Part) ->
    At =:= none andalso upper(Part) =:= End andalso Committed =:= End.

broken(Rule, Details, Part) ->
    error({broken, Rule, Details, Part#part{stale = [], tokens = #{}}}).
