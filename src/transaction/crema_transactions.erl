%% @private The transactions of one producer, for those who take part: what can be
%% asked of the process that gives them out ({@link crema_transaction_server}).
-module(crema_transactions).

-export([start_link/2, client/2, fatal/2, stop/2]).
-export([enter/5, commit/3, abort/2, abort/3, send_offsets/3, is_current/2, is_owner/1]).

-export_type([epoch/0, options/0, outcome/0]).

-type epoch() :: pos_integer().
-type options() :: #{
    wait := timeout(),
    attempts := pos_integer(),
    backoff := non_neg_integer(),
    abort_wait := non_neg_integer(),
    offsets_wait := pos_integer()
}.
%% What the owner of a transaction that has ended is told.
-type outcome() :: {aborted, term()} | crema_error:error().

%% An answer at a deadline comes a little later.
-define(ANSWER_MS, 1000).

%% ---- for the producer ---------------------------------------------------------

%% @doc Called by a producer; without a transactional.id it needs none. `Metadata'
%% is that of its events.
-spec start_link(Metadata :: map(), crema_options:parsed()) -> pid() | none.
start_link(Metadata, #{kafka := #{<<"transactional.id">> := _} = Kafka} = Options) ->
    Own = #{
        wait => maps:get(transaction_wait, Options),
        attempts => maps:get(transaction_attempts, Options),
        backoff => maps:get(transaction_backoff, Options),
        abort_wait => maps:get(abort_wait, Options),
        offsets_wait => crema_transaction_step:offsets_wait(Kafka)
    },
    {ok, Pid} = gen_statem:start_link(crema_transaction_server, {Metadata, Own}, []),
    Pid;
start_link(_Metadata, _Options) ->
    none.

%% @doc The producer has a new client, or none any more, or could not open one.
-spec client(pid() | none, crema_port:client() | none | crema_error:error()) -> ok.
client(none, _) -> ok;
client(Pid, Client) -> gen_statem:cast(Pid, {client, Client}).

%% @doc The client has failed: whoever it has promised something hears of it.
-spec fatal(pid() | none, crema_error:reason()) -> ok.
fatal(none, _) -> ok;
fatal(Pid, Reason) -> gen_statem:cast(Pid, {fatal, Reason}).

%% @doc Aborts what is open, within so many milliseconds, and ends. An event handler
%% may hold it up, but not for ever.
-spec stop(pid() | none, timeout()) -> ok.
stop(none, _Timeout) ->
    ok;
stop(Pid, Timeout) ->
    try
        gen_statem:call(Pid, {stop, Timeout}, crema_call:more(Timeout, ?ANSWER_MS))
    catch
        exit:_ -> ok
    end.

%% ---- for processes with a transaction ---------------------------------------------------

%% @doc Waits for the caller's turn. `joined': the transaction is the caller's
%% already.
-spec enter(crema_target:target(), pid(), join | alone, Wait, AbortWait) ->
    {ok | joined, epoch(), crema_port:client()} | crema_error:error()
when
    Wait :: default | timeout(),
    AbortWait :: default | non_neg_integer().
enter(Producer, Pid, Nested, Wait, AbortWait) ->
    case crema_registry:lookup(self()) of
        %% The producer's own process, which would wait for itself.
        {ok, producer, none, #{transactions := Pid}, _} ->
            crema_producer:not_connected();
        _ ->
            case call(Pid, {enter, self(), Nested, Wait, AbortWait}) of
                {error, {closed, _}} -> crema_registry:missing(producer, Producer);
                Answer -> Answer
            end
    end.

%% @doc Commits the caller's transaction, and waits so long for the outcome. At
%% the deadline the commit goes on.
-spec commit(pid(), epoch(), timeout()) -> ok | outcome().
commit(Pid, Epoch, Timeout) ->
    try
        gen_statem:call(Pid, {finish, Epoch, commit}, Timeout)
    catch
        exit:{timeout, _} -> crema_transaction_error:commit_timeout();
        exit:{Reason, _} when Reason =:= normal; Reason =:= noproc -> crema_transaction_error:closed();
        exit:_ -> crema_transaction_error:commit_lost()
    end.

%% @doc The caller's transaction has failed: aborts it, if it is not yet.
-spec abort(pid(), epoch()) -> outcome().
abort(Pid, Epoch) ->
    call(Pid, {finish, Epoch, abort}).

%% @doc Aborts a transaction, whoever's it is.
-spec abort(pid(), epoch(), Reason :: term()) -> ok | crema_error:error().
abort(Pid, Epoch, Reason) ->
    call(Pid, {abort, Epoch, Reason}).

-spec send_offsets(pid(), epoch(), crema_transaction_step:offsets()) -> ok | crema_error:error().
send_offsets(Pid, Epoch, Offsets) ->
    call(Pid, {send_offsets, Epoch, Offsets}).

-spec is_current(pid(), epoch()) -> boolean().
is_current(Pid, Epoch) ->
    call(Pid, {is_current, Epoch}) =:= true.

%% @doc Whether the calling process is in a transaction. One whose server is held up
%% by an event handler is not: see {@link stop/2}.
-spec is_owner(pid()) -> boolean().
is_owner(Pid) ->
    call(Pid, {is_owner, self()}, ?ANSWER_MS) =:= true.

-spec call(pid(), term()) -> term() | crema_error:error().
call(Pid, Request) ->
    call(Pid, Request, infinity).

-spec call(pid(), term(), timeout()) -> term() | crema_error:error().
call(Pid, Request, Timeout) ->
    try
        gen_statem:call(Pid, Request, Timeout)
    catch
        exit:_ -> crema_transaction_error:closed()
    end.
