%% @private What a topic handle's process has in hand, from push to verdict:
%% order, batches and bounds. No process here.
%%
%% Each item has a number, in the order of pushes. It is pushed, then encoded
%% (where there is a pipeline, in any order), then part of a batch that is sent,
%% then done. With `ordering => strict' items enter batches in the order of their
%% numbers; one that is dropped meanwhile lets the next pass.
-module(crema_batch).

-export([new/3, push/1, encoded/3, dropped/2, take/1, accepted/1, done/2]).
-export([force/1, mark/3, reached/1, ready/1, held/1]).

-export_type([batch/0, seq/0, kind/0]).

-type seq() :: non_neg_integer().
%% `sent': every item pushed before the mark was accepted by the producer or
%% dropped; `done': it has its verdict.
-type kind() :: sent | done.

-record(batch, {
    %% a batch goes when it has so many, or is forced to; and has at most so many
    least :: pos_integer(),
    most :: pos_integer(),
    max_batches :: pos_integer(),
    ordering :: strict | loose,
    next = 0 :: seq(),
    %% strict: the number that may be put into a batch next, and those that are
    %% encoded before their turn
    turn = 0 :: seq(),
    early = #{} :: #{seq() => {ok, term()} | dropped},
    ready = queue:new() :: queue:queue({seq(), term()}),
    ready_count = 0 :: non_neg_integer(),
    %% numbers of items that are not accepted yet, and of those without a verdict
    unsent = gb_sets:new() :: gb_sets:set(seq()),
    undone = gb_sets:new() :: gb_sets:set(seq()),
    sending = none :: none | [seq()],
    in_flight = 0 :: non_neg_integer(),
    %% up to this number nothing waits for a full batch
    forced = -1 :: integer(),
    marks = [] :: [{kind(), seq() | -1, Tag :: term()}]
}).
-opaque batch() :: #batch{}.

%% So many go at once at most when a batch takes what has come together.
-define(ADAPTIVE_MOST, 1000).

-spec new(adaptive | {fixed, pos_integer()}, MaxBatches :: pos_integer(), strict | loose) ->
    batch().
new(adaptive, MaxBatches, Ordering) ->
    #batch{least = 1, most = ?ADAPTIVE_MOST, max_batches = MaxBatches, ordering = Ordering};
new({fixed, Count}, MaxBatches, Ordering) ->
    #batch{least = Count, most = Count, max_batches = MaxBatches, ordering = Ordering}.

%% @doc A new item, unless as many as make `max_batches' have no verdict yet.
-spec push(batch()) -> {seq(), batch()} | full.
push(#batch{most = Most, max_batches = Max, next = Seq, unsent = Unsent, undone = Undone} = B) ->
    case gb_sets:size(Undone) < Most * Max of
        true ->
            {Seq, B#batch{
                next = Seq + 1,
                unsent = gb_sets:add(Seq, Unsent),
                undone = gb_sets:add(Seq, Undone)
            }};
        false ->
            full
    end.

%% @doc The item is as it will be sent.
-spec encoded(seq(), term(), batch()) -> batch().
encoded(Seq, Item, #batch{ordering = loose} = B) ->
    enter(Seq, Item, B);
encoded(Seq, Item, #batch{early = Early} = B) ->
    advance(B#batch{early = Early#{Seq => {ok, Item}}}).

%% @doc The item will not be sent: it was refused or skipped.
-spec dropped(seq(), batch()) -> batch().
dropped(Seq, #batch{ordering = Ordering, early = Early, unsent = Unsent, undone = Undone} = B) ->
    Left = B#batch{
        unsent = gb_sets:del_element(Seq, Unsent), undone = gb_sets:del_element(Seq, Undone)
    },
    case Ordering of
        loose -> Left;
        strict -> advance(Left#batch{early = Early#{Seq => dropped}})
    end.

-spec advance(batch()) -> batch().
advance(#batch{turn = Turn, early = Early} = B) ->
    case maps:take(Turn, Early) of
        {{ok, Item}, Rest} -> advance(enter(Turn, Item, B#batch{turn = Turn + 1, early = Rest}));
        {dropped, Rest} -> advance(B#batch{turn = Turn + 1, early = Rest});
        error -> B
    end.

-spec enter(seq(), term(), batch()) -> batch().
enter(Seq, Item, #batch{ready = Ready, ready_count = Count} = B) ->
    B#batch{ready = queue:in({Seq, Item}, Ready), ready_count = Count + 1}.

%% @doc The next batch to be sent, if one is due and may go: one at a time, until
%% it is accepted, and at most `max_batches' without their reports.
-spec take(batch()) -> {[{seq(), term()}, ...], batch()} | none.
take(#batch{sending = none, in_flight = InFlight, max_batches = Max} = B) when InFlight < Max ->
    #batch{least = Least, most = Most, ready = Ready, ready_count = Count} = B,
    case Count > 0 andalso (Count >= Least orelse is_forced(B)) of
        true ->
            {Batch, Rest} = queue:split(min(Count, Most), Ready),
            Items = queue:to_list(Batch),
            {Items, B#batch{
                ready = Rest,
                ready_count = Count - length(Items),
                sending = [Seq || {Seq, _} <- Items],
                in_flight = InFlight + 1
            }};
        false ->
            none
    end;
take(_) ->
    none.

-spec is_forced(batch()) -> boolean().
is_forced(#batch{unsent = Unsent, forced = Forced}) ->
    is_left(Unsent, Forced).

%% Whether there is one up to that number.
-spec is_left(gb_sets:set(seq()), integer()) -> boolean().
is_left(Set, Mark) ->
    not gb_sets:is_empty(Set) andalso gb_sets:smallest(Set) =< Mark.

%% @doc The batch that was taken is in the producer's queue, or was refused.
-spec accepted(batch()) -> batch().
accepted(#batch{sending = Sending, unsent = Unsent} = B) ->
    B#batch{sending = none, unsent = without(Sending, Unsent)}.

%% @doc A batch has its verdict.
-spec done([seq()], batch()) -> batch().
done(Seqs, #batch{undone = Undone, in_flight = InFlight} = B) ->
    B#batch{undone = without(Seqs, Undone), in_flight = InFlight - 1}.

-spec without([seq()], gb_sets:set(seq())) -> gb_sets:set(seq()).
without(Seqs, Set) ->
    lists:foldl(fun gb_sets:del_element/2, Set, Seqs).

%% @doc What was pushed so far goes as soon as it may, in batches that are not
%% full as well.
-spec force(batch()) -> batch().
force(#batch{next = Next} = B) ->
    B#batch{forced = Next - 1}.

%% @doc {@link reached/1} will give the tag when what was pushed so far is `Kind'.
-spec mark(kind(), Tag :: term(), batch()) -> batch().
mark(Kind, Tag, #batch{next = Next, marks = Marks} = B) ->
    B#batch{marks = [{Kind, Next - 1, Tag} | Marks]}.

-spec reached(batch()) -> {[Tag :: term()], batch()}.
reached(#batch{marks = Marks, unsent = Unsent, undone = Undone} = B) ->
    IsWaiting = fun
        ({sent, Mark, _}) -> is_left(Unsent, Mark);
        ({done, Mark, _}) -> is_left(Undone, Mark)
    end,
    {Waiting, Reached} = lists:partition(IsWaiting, Marks),
    {[Tag || {_, _, Tag} <- Reached], B#batch{marks = Waiting}}.

%% @doc Items that are encoded and in no batch yet.
-spec ready(batch()) -> [{seq(), term()}].
ready(#batch{ready = Ready}) ->
    queue:to_list(Ready).

%% @doc How many items have no verdict yet.
-spec held(batch()) -> non_neg_integer().
held(#batch{undone = Undone}) ->
    gb_sets:size(Undone).
