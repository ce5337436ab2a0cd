%% @private librdkafka's calls for transactions, as commands of the port. Each is
%% answered later.
-module(crema_transaction_step).

-include("../port/crema_commands.hrl").

-export([ask/2, patience/3, offsets_wait/1]).

-export_type([step/0, offsets/0]).

-type step() ::
    init
    | {'begin', Epoch :: pos_integer()}
    | {send_offsets, offsets()}
    | commit
    | first_report
    | abort.
-type offsets() ::
    {Metadata :: binary(), [{Topic :: binary(), Partition :: integer(), Next :: integer()}]}.

%% The longest that librdkafka works on offsets; its requests have 60 s.
-define(OFFSETS_MS, 60000).
-define(REQUEST_MS, 60000).
-define(MARGIN_MS, 5000).

-spec ask(crema_port:client(), step()) -> {ok, crema_port:tag()} | crema_error:error().
ask(Port, {send_offsets, {Metadata, Offsets}}) ->
    crema_port:ask_async(Port, ?CMD_SEND_OFFSETS, fun(Tag) ->
        term_to_binary({Tag, Metadata, Offsets, ?OFFSETS_MS})
    end);
ask(Port, {'begin', Epoch}) ->
    transact(Port, ?TRANSACT_BEGIN, Epoch);
ask(Port, init) ->
    transact(Port, ?TRANSACT_INIT, 0);
ask(Port, commit) ->
    transact(Port, ?TRANSACT_COMMIT, 0);
ask(Port, abort) ->
    transact(Port, ?TRANSACT_ABORT, 0);
ask(Port, first_report) ->
    %% It would not come before the linger; the answer is of no interest.
    _ = crema_port:ask_async(Port, ?CMD_FLUSH, fun(Tag) -> Tag end),
    transact(Port, ?TRANSACT_FIRST_REPORT, 0).

-spec transact(crema_port:client(), byte(), non_neg_integer()) ->
    {ok, crema_port:tag()} | crema_error:error().
transact(Port, What, Epoch) ->
    crema_port:ask_async(Port, ?CMD_TRANSACT, fun(Tag) -> <<What, Epoch:32, Tag/binary>> end).

%% @doc How long it may take, where librdkafka knows no end.
-spec patience(step(), crema_port:tag(), crema_transactions:options()) -> [gen_statem:action()].
patience({send_offsets, _}, Ref, #{offsets_wait := Wait}) -> [{{timeout, offsets}, Wait, Ref}];
patience(_, _, _) -> [].

%% @doc What librdkafka needs at most for offsets: what it works on them, which a
%% transaction's time-out bounds, and a last request. Only for the search for the
%% group's coordinator it knows no end.
-spec offsets_wait(crema_properties:properties()) -> pos_integer().
offsets_wait(Kafka) ->
    Works = min(?OFFSETS_MS, known(<<"transaction.timeout.ms">>, Kafka, ?OFFSETS_MS)),
    Works + known(<<"socket.timeout.ms">>, Kafka, ?REQUEST_MS) + ?MARGIN_MS.

-spec known(binary(), crema_properties:properties(), pos_integer()) -> integer().
known(Name, Kafka, Default) ->
    case crema_properties:integer(Name, Kafka, Default) of
        unknown -> Default;
        Value -> Value
    end.
