%% @private librdkafka's calls for transactions, as commands of the port. Each is
%% answered later.
-module(crema_transaction_step).

-include("../port/crema_commands.hrl").

-export([ask/2]).

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

-spec ask(port(), step()) -> {ok, crema_port:tag()} | crema_error:error().
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

-spec transact(port(), byte(), non_neg_integer()) -> {ok, crema_port:tag()} | crema_error:error().
transact(Port, What, Epoch) ->
    crema_port:ask_async(Port, ?CMD_TRANSACT, fun(Tag) -> <<What, Epoch:32, Tag/binary>> end).
