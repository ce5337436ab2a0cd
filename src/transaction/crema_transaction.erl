%% @private A transaction, in the process that runs it.
-module(crema_transaction).

-include("../port/crema_commands.hrl").

-export([run/3, abort/2, send_offsets/3, group_metadata/1, group_metadata/2, pushes/2]).
-export([open/2, commit/1, give_up/1, is_open/1]).
-export([sync/4, async/4, worst/2, outside/2]).

-export_type([handle/0, options/0, offset/0, metadata/0]).

%% Usable wherever a producer is, by any process, until the transaction ends.
-type handle() ::
    {crema_transaction, Transactions :: pid(), Owner :: pid(), crema_transactions:epoch(),
        crema_target:client()}.
-type options() :: crema_types:transaction_options().
%% The next message to consume of a partition, or the one consumed last.
-type offset() :: crema_types:offset().
-opaque metadata() :: {crema_group_metadata, binary()}.

%% In the dictionary of the process that runs one: the topic handles that it has
%% pushed to.
-define(PUSHED(Pid, Epoch), {?MODULE, Pid, Epoch}).

%% What abort/2 throws through the function that runs.
-define(ABORTED(Epoch), {crema_transaction_aborted, Epoch}).

-define(METADATA_MS, 10000).
-define(NO_HANDLE, <<"not the handle that the function of a transaction is called with">>).

%% @doc Runs a function in a transaction: see `crema:transaction/3'.
-spec run(crema_target:target(), fun((handle()) -> Result), options()) ->
    {ok, Result} | {aborted, term()} | crema_error:error().
run({crema_transaction, _, _, _, _} = Handle, Fun, Options) when is_function(Fun, 1) ->
    case {fault(Options), is_open(Handle)} of
        {none, true} -> {ok, Fun(Handle)};
        {none, false} -> crema_transaction_error:stale();
        {Error, _} -> Error
    end;
run(Producer, Fun, Options) when is_function(Fun, 1) ->
    case fault(Options) of
        none ->
            case open(Producer, Options) of
                {ok, Handle} -> run_new(Handle, Fun);
                {joined, Handle} -> {ok, Fun(Handle)};
                {error, _} = Error -> Error
            end;
        Error ->
            Error
    end;
run(_, _, _) ->
    erlang:error({badarg, <<"a transaction is a function of its handle">>}).

%% ---- step by step ------------------------------------------------------------------

%% @doc Waits for the caller's turn and begins. `joined': it is in a transaction
%% already. Whoever opens one ends it by {@link commit/1} or {@link give_up/1},
%% also when that has failed of itself.
-spec open(crema_target:target(), options()) -> {ok | joined, handle()} | crema_error:error().
open(Producer, Options) ->
    case crema_target:client(Producer) of
        {_, _, #{transactions := Pid}} = Client ->
            Wait = maps:get(timeout, Options, default),
            AbortWait = maps:get(abort_wait, Options, default),
            Entered = crema_transactions:enter(Producer, Pid, join, Wait, AbortWait),
            handle(Entered, Producer, Pid, Client);
        _ ->
            without_transactions(Producer)
    end.

%% @doc Commits, and waits for the outcome.
-spec commit(handle()) -> ok | crema_transactions:outcome().
commit({crema_transaction, Pid, _, Epoch, _}) ->
    crema_transactions:commit(Pid, Epoch, infinity).

%% @doc Ends it without a commit, and waits until that is done.
-spec give_up(handle()) -> crema_transactions:outcome().
give_up({crema_transaction, Pid, _, Epoch, _}) ->
    crema_transactions:abort(Pid, Epoch).

%% @doc Whether it takes messages.
-spec is_open(handle()) -> boolean().
is_open({crema_transaction, Pid, _, Epoch, _}) ->
    crema_transactions:is_current(Pid, Epoch).

%% One that has ended has no transactions either, as long as its row is there.
-spec without_transactions(crema_registry:ref()) -> crema_error:error().
without_transactions(Producer) ->
    case {crema_registry:lookup(Producer), crema_registry:status(Producer)} of
        {{ok, producer, _, _, _}, {ok, _}} -> crema_transaction_error:not_transactional();
        _ -> crema_registry:missing(producer, Producer)
    end.

-spec fault(term()) -> none | crema_error:error().
fault(Options) ->
    crema_call:fault_of("a transaction", Options, fun is_option/2).

-spec is_option(term(), term()) -> boolean().
is_option(timeout, Time) -> crema_call:is_timeout(Time);
is_option(abort_wait, Time) -> is_integer(Time) andalso crema_call:is_timeout(Time);
is_option(_, _) -> false.

%% What is sent by its client is part of the transaction. It is that of the
%% process that gives the turns: the caller may have known another.
-spec handle(Entered, crema_target:target(), pid(), crema_target:client()) ->
    {ok | joined, handle()} | crema_error:error()
when
    Entered :: {ok | joined, crema_transactions:epoch(), crema_port:client()} | crema_error:error().
handle({How, Epoch, Port}, _Producer, Pid, {Port, Via, Settings}) ->
    Client = {Port, crema_packet:in_transaction(Via, Epoch), maps:remove(transactions, Settings)},
    {How, {crema_transaction, Pid, self(), Epoch, Client}};
handle({_, Epoch, Port} = Entered, Producer, Pid, _Client) ->
    case crema_target:find(Producer) of
        {ok, {Port, _, _} = Found} ->
            handle(Entered, Producer, Pid, Found);
        Other ->
            _ = crema_transactions:abort(Pid, Epoch),
            hd([Error || {error, _} = Error <- [Other]] ++ [crema_transaction_error:closed()])
    end;
handle({error, _} = Error, _Producer, _Pid, _Client) ->
    Error.

-spec run_new(handle(), fun((handle()) -> Result)) ->
    {ok, Result} | {aborted, term()} | crema_error:error().
run_new({crema_transaction, Pid, _, Epoch, _} = Handle, Fun) ->
    _ = put(?PUSHED(Pid, Epoch), []),
    try
        run_open(Handle, Fun)
    after
        erase(?PUSHED(Pid, Epoch))
    end.

-spec run_open(handle(), fun((handle()) -> Result)) ->
    {ok, Result} | {aborted, term()} | crema_error:error().
run_open({crema_transaction, Pid, _, Epoch, _} = Handle, Fun) ->
    try Fun(Handle) of
        Result ->
            ok = hand_over(get(?PUSHED(Pid, Epoch))),
            case commit(Handle) of
                ok -> {ok, Result};
                Other -> Other
            end
    catch
        throw:?ABORTED(Epoch) ->
            give_up(Handle);
        Class:Reason:Stack ->
            _ = give_up(Handle),
            erlang:raise(Class, Reason, Stack)
    end.

%% What was pushed goes before the commit, or it would be refused behind it.
-spec hand_over([{crema_target:target(), crema_topic:topic()}] | undefined) -> ok.
hand_over(undefined) ->
    ok;
hand_over(Pushed) ->
    lists:foreach(fun({Target, Topic}) -> crema_push:hand_over(Target, Topic) end, Pushed).

%% @doc Notes that the calling process pushes to that topic handle, if it is one
%% of the transaction that the process runs.
-spec pushes(crema_target:target(), crema_topic:topic()) -> ok.
pushes({crema_transaction, Pid, _, Epoch, _} = Target, Topic) ->
    noted(get(?PUSHED(Pid, Epoch)), ?PUSHED(Pid, Epoch), {Target, Topic});
pushes({crema_variant, {crema_transaction, Pid, _, Epoch, _}, _, _, _} = Target, Topic) ->
    noted(get(?PUSHED(Pid, Epoch)), ?PUSHED(Pid, Epoch), {Target, Topic});
pushes({crema_topic, Target, _}, Topic) ->
    pushes(Target, Topic);
pushes(_, _) ->
    ok.

-spec noted(undefined | [Pushed], term(), Pushed) -> ok when
    Pushed :: {crema_target:target(), crema_topic:topic()}.
noted(undefined, _Key, _Pushed) ->
    ok;
noted(Known, Key, Pushed) ->
    _ = lists:member(Pushed, Known) orelse put(Key, [Pushed | Known]),
    ok.

%% @doc Aborts. In the process that runs the transaction it does not return.
-spec abort(handle(), Reason :: term()) -> ok | crema_error:error().
abort({crema_transaction, Pid, Owner, Epoch, _}, Reason) ->
    case crema_transactions:abort(Pid, Epoch, Reason) of
        ok when Owner =:= self() -> throw(?ABORTED(Epoch));
        Answer -> Answer
    end;
abort(Other, Reason) ->
    erlang:error(badarg, [Other, Reason], crema_error:badarg(#{1 => ?NO_HANDLE})).

%% ---- calls that are transactions of their own --------------------------------------

%% @doc A synchronous call outside any transaction. Its messages go when it is
%% committed, which waits for their reports.
-spec sync(
    crema_target:target(), crema_target:client(), crema_produce:call(), crema_call:options()
) -> crema_report:result() | {ok, [crema_report:result()]} | crema_error:error().
sync(Producer, Client, Call, Options) ->
    case alone(Producer, Client, Call, Options#{report => await}) of
        {committed, {ok, Ref}} -> crema_await:await(Ref, infinity);
        {failed, {ok, Ref}, Error} -> worst(crema_await:await(Ref, 0), Error);
        {error, _} = Error -> Error
    end.

%% @doc An asynchronous one.
-spec async(
    crema_target:target(), crema_target:client(), crema_produce:call(), crema_call:options()
) -> ok | {ok, crema_await:ref()} | crema_error:error().
async(Producer, Client, Call, Options) ->
    case alone(Producer, Client, Call, Options) of
        {committed, Result} -> Result;
        {failed, _, Error} -> Error;
        {error, _} = Error -> Error
    end.

-spec alone(
    crema_target:target(), crema_target:client(), crema_produce:call(), crema_call:options()
) ->
    {committed, Accepted} | {failed, Accepted, crema_error:error()} | crema_error:error()
when
    Accepted :: ok | {ok, crema_await:ref()}.
alone(Producer, {_, _, #{transactions := Pid}} = Client, Call, Options) ->
    Deadline = crema_deadline:in(crema_call:setting(timeout, Options, Client)),
    Wait = crema_deadline:left(Deadline),
    Entered = crema_transactions:enter(Producer, Pid, alone, Wait, default),
    case handle(Entered, Producer, Pid, Client) of
        {ok, {_, _, _, Epoch, Inside} = Handle} ->
            try crema_produce:async_by(Inside, Handle, Call, Options) of
                Accepted -> alone_end(Pid, Epoch, Accepted, Deadline)
            catch
                Class:Reason:Stack ->
                    _ = crema_transactions:abort(Pid, Epoch),
                    erlang:raise(Class, Reason, Stack)
            end;
        {error, _} = Error ->
            Error
    end.

-spec alone_end(
    pid(),
    crema_transactions:epoch(),
    ok | {ok, crema_await:ref()} | crema_error:error(),
    crema_deadline:deadline()
) ->
    {committed, Accepted} | {failed, Accepted, crema_error:error()} | crema_error:error()
when
    Accepted :: ok | {ok, crema_await:ref()}.
alone_end(Pid, Epoch, {error, _} = Error, _Deadline) ->
    _ = crema_transactions:abort(Pid, Epoch),
    Error;
alone_end(Pid, Epoch, Accepted, Deadline) ->
    case crema_transactions:commit(Pid, Epoch, crema_deadline:left(Deadline)) of
        ok -> {committed, Accepted};
        {error, _} = Error -> {failed, Accepted, Error};
        {aborted, _} -> {failed, Accepted, crema_transaction_error:stale()}
    end.

%% @doc Why a message was not delivered, of what was reported of all: it tells more
%% than that one was not.
-spec worst(
    crema_report:result() | {ok, [crema_report:result()]} | crema_error:error(),
    crema_error:error()
) -> crema_error:error().
worst(Reported, {error, {inconsistent, _}} = Error) ->
    Results =
        case Reported of
            {ok, Many} when is_list(Many) -> Many;
            One -> [One]
        end,
    Failed = [{is_purged(Code), E} || {error, {Code, _}} = E <- Results],
    element(2, hd(lists:keysort(1, Failed) ++ [{true, Error}]));
worst(_, Error) ->
    Error.

%% The others went with the one that failed.
-spec is_purged(crema_error:code()) -> boolean().
is_purged(Code) -> Code =:= purge_queue orelse Code =:= purge_inflight.

%% @doc Does something that ends a producer, but not inside a transaction.
-spec outside(crema_registry:ref(), fun(() -> ok)) -> ok | crema_error:error().
outside(Producer, Fun) ->
    case crema_registry:lookup(Producer) of
        {ok, producer, _, #{transactions := Pid}, _} ->
            case crema_transactions:is_owner(Pid) of
                true -> crema_transaction_error:nested();
                false -> Fun()
            end;
        _ ->
            Fun()
    end.

%% ---- offsets -----------------------------------------------------------------------

%% @doc Sends offsets as part of a transaction: see `crema:send_offsets/3'.
-spec send_offsets(handle(), metadata() | crema_registry:ref(), [offset()]) ->
    ok | crema_error:error().
send_offsets({crema_transaction, Pid, _, Epoch, _}, {crema_group_metadata, Metadata}, Offsets) ->
    case offsets(Offsets, #{}) of
        {ok, List} -> crema_transactions:send_offsets(Pid, Epoch, {Metadata, List});
        {error, _} = Error -> Error
    end;
send_offsets({crema_transaction, _, _, _, _} = Handle, Consumer, Offsets) ->
    case group_metadata(Consumer) of
        {ok, Metadata} -> send_offsets(Handle, Metadata, Offsets);
        {error, _} = Error -> Error
    end;
send_offsets(Other, Consumer, Offsets) ->
    erlang:error(badarg, [Other, Consumer, Offsets], crema_error:badarg(#{1 => ?NO_HANDLE})).

%% The furthest of each partition.
-spec offsets([offset()], #{{binary(), non_neg_integer()} => non_neg_integer()}) ->
    {ok, [{binary(), non_neg_integer(), non_neg_integer()}]} | crema_error:error().
offsets([#{topic := Topic, partition := Partition, offset := Offset} | Rest], Acc) when
    is_integer(Offset)
->
    offsets([{Topic, Partition, Offset + 1} | Rest], Acc);
offsets([{Topic, Partition, Next} | Rest], Acc) when
    is_binary(Topic), is_integer(Partition), is_integer(Next),
    Partition >= 0, Partition < 1 bsl 31, Next >= 0, Next < 1 bsl 63
->
    Key = {Topic, Partition},
    offsets(Rest, Acc#{Key => max(Next, maps:get(Key, Acc, 0))});
offsets([{Topic, Partition, Next} | Rest], Acc) when is_atom(Topic) ->
    offsets([{atom_to_binary(Topic), Partition, Next} | Rest], Acc);
offsets([], Acc) ->
    {ok, [{Topic, Partition, Next} || {{Topic, Partition}, Next} <- maps:to_list(Acc)]};
offsets([Wrong | _], _Acc) ->
    Text = io_lib:format("~0tP is no offset of a partition", [Wrong, 10]),
    crema_error:make(bad_call, Text, #{field => offsets}).

%% @doc A member's part in its group, now: see `crema:group_metadata/1'.
-spec group_metadata(crema_registry:ref()) -> {ok, metadata()} | crema_error:error().
group_metadata(Consumer) ->
    case crema_registry:lookup(Consumer) of
        {ok, consumer, Port, _, _} -> group_metadata(Port, []);
        _ -> crema_registry:missing(consumer, Consumer)
    end.

%% @doc The same for work on some of its slots: `stale_assignment' when the member
%% does not have them all any more.
-spec group_metadata(crema_port:client(), [crema_slots:id()]) -> {ok, metadata()} | crema_error:error().
group_metadata(Port, Slots) ->
    Packed = <<(length(Slots)):32, <<<<Slot:64>> || Slot <- Slots>>/binary>>,
    Command = fun(Tag) -> {?CMD_GROUP_METADATA, [Packed, Tag]} end,
    case crema_port:ask(Port, Command, ?METADATA_MS, none) of
        {ok, Bytes} -> {ok, {crema_group_metadata, Bytes}};
        {error, _} = Error -> Error
    end.
