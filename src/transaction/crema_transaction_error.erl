%% @private The errors of transactions.
-module(crema_transaction_error).

-export([stale/0, closed/0, nested/0, not_transactional/0, no_turn/0, not_ready/1]).
-export([commit_timeout/0, commit_lost/0, commit_failed/3, offsets_lost/0]).

%% librdkafka may have sent a commit again that takes longer.
-define(ONE_TRY_MS, 1000).

-spec stale() -> crema_error:error().
stale() ->
    crema_error:make(stale_transaction, "the transaction has ended", #{}).

-spec closed() -> crema_error:error().
closed() ->
    crema_error:make(closed, "the producer was closed: the transaction is not committed", #{}).

%% @doc What a process may not do while it runs a transaction.
-spec nested() -> crema_error:error().
nested() ->
    crema_error:make(in_transaction, "the calling process is in a transaction", #{}).

-spec not_transactional() -> crema_error:error().
not_transactional() ->
    crema_error:make(not_transactional, "the producer has no transactional.id", #{}).

-spec no_turn() -> crema_error:error().
no_turn() ->
    Text = "the producer was in other transactions until the deadline",
    crema_error:make(transaction_busy, Text, #{retriable => true}).

%% @doc Why it is not initialised yet, if that is known.
-spec not_ready(none | crema_error:reason()) -> crema_error:error().
not_ready(none) ->
    not_ready_because("");
not_ready({_, #{message := Text}}) ->
    not_ready_because([": ", Text]).

-spec not_ready_because(unicode:chardata()) -> crema_error:error().
not_ready_because(Why) ->
    Text = ["the producer's transactions are not initialised yet", Why],
    crema_error:make(not_ready, Text, #{retriable => true}).

-spec commit_timeout() -> crema_error:error().
commit_timeout() ->
    crema_error:make(timeout, "the commit is still under way", #{}).

-spec commit_lost() -> crema_error:error().
commit_lost() ->
    crema_error:make(commit_unknown, "the producer was closed during the commit", #{}).

%% @doc What a commit failed of for good that began then. When it was tried but
%% once, nobody can have taken over the transactional.id between the commit and
%% its answer: then a refusal says that nothing was committed.
-spec commit_failed(crema_error:reason(), Began :: integer(), Attempt :: pos_integer()) ->
    crema_error:error().
commit_failed({Code, #{message := Text} = Details} = Reason, Began, Attempt) ->
    case crema_deadline:now() - Began < ?ONE_TRY_MS andalso Attempt =:= 1 of
        true when Code =/= closed ->
            {error, Reason};
        _ ->
            Extra = (maps:with([fatal], Details))#{cause => Code},
            crema_error:make(commit_unknown, ["the commit failed after a while: ", Text], Extra)
    end.

%% @doc librdkafka is not heard of again: its client is given up.
-spec offsets_lost() -> crema_error:reason().
offsets_lost() ->
    Text = "librdkafka does not come back with the offsets of a transaction",
    {error, Reason} = crema_error:make(timed_out, Text, #{fatal => true}),
    Reason.
