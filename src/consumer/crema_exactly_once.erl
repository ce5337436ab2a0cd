%% @private Consume, transform, produce, exactly once: what workers of a consumer
%% with `commit => exactly_once' ask the process that has its transactions
%% ({@link crema_exactly_once_server}).
%%
%% Handlers run outside of any transaction, each in its worker. What they return
%% is added to the one that is open, in one step with the offsets it was made of:
%% so nothing is half in it, whatever becomes of the worker.
-module(crema_exactly_once).

-export([start_link/3, enter/4, add/4, leave/2, rebalanced/2, no_ack/0]).

-export_type([range/0]).

%% Offsets of the first and the last message.
-type range() :: {From :: non_neg_integer(), To :: non_neg_integer()}.

%% @doc Of a consumer with that producer and these parsed options.
-spec start_link(pid(), pid(), map()) -> gen_statem:start_ret().
start_link(Consumer, Producer, Options) ->
    gen_statem:start_link(crema_exactly_once_server, {Consumer, Producer, Options}, []).

%% @doc The caller is about to take a slot. It waits until what a worker before it
%% has done is committed and acknowledged: the rest is what it is then given.
-spec enter(pid(), crema_slots:id(), crema_group_events:place(), port()) -> ok | aborted.
enter(Pid, Slot, Place, Port) ->
    call(Pid, {enter, self(), Slot, Place, Port}).

%% @doc Messages are done with, and this is what came of them. Waits while a commit
%% is under way. `aborted': the transaction that held those before is gone, and the
%% caller has to begin anew. `{error, _}': nothing was taken of what it gave now.
-spec add(pid(), crema_slots:id(), range(), [crema_packet:message()]) ->
    ok | aborted | crema_error:error().
add(Pid, Slot, Range, Messages) ->
    call(Pid, {add, self(), Slot, Range, Messages}).

%% @doc The caller has done its last. Waits until it is committed, or aborted.
-spec leave(pid(), crema_slots:id()) -> ok | aborted.
leave(Pid, Slot) ->
    call(Pid, {leave, self(), Slot}).

-spec call(pid(), term()) -> term().
call(Pid, Request) ->
    try
        gen_statem:call(Pid, Request, infinity)
    catch
        exit:_ -> aborted
    end.

%% @doc The group has a new generation, in which the consumer has these slots of those
%% that it had before.
-spec rebalanced(pid() | none, [crema_slots:id()]) -> ok.
rebalanced(none, _Slots) -> ok;
rebalanced(Pid, Slots) -> gen_statem:cast(Pid, {rebalanced, Slots}).

%% @doc What would be acknowledged behind a transaction's back would not come again
%% when that is aborted.
-spec no_ack() -> crema_error:error().
no_ack() ->
    Text = "a consumer with commit => exactly_once acknowledges what its handler returns",
    crema_error:make(bad_call, Text, #{}).
