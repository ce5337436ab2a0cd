%% @private The events of transactions.
-module(crema_transaction_event).

-export([started/2, ended/3]).

-type cause() :: abort | exception | caller_died | error | stop.
-type ending() :: committed | {aborted, cause()} | {failed, crema_error:reason()}.

-export_type([cause/0, ending/0]).

%% @doc A transaction begins that was waited for since then.
-spec started(Since :: integer(), Metadata :: map()) -> ok.
started(Since, Metadata) ->
    Measured = #{wait => crema_deadline:now() - Since},
    crema_events:execute([crema, transaction, started], Measured, Metadata).

-spec ended(ending(), Began :: integer(), Metadata :: map()) -> ok.
ended(Ending, Began, Metadata) ->
    Measured = #{duration => crema_deadline:now() - Began},
    case Ending of
        committed ->
            crema_events:execute([crema, transaction, committed], Measured, Metadata);
        {aborted, Cause} ->
            More = Metadata#{cause => Cause},
            crema_events:execute([crema, transaction, aborted], Measured, More);
        {failed, {Code, #{message := Text}}} ->
            More = Metadata#{code => Code, message => Text},
            crema_events:execute([crema, transaction, failed], Measured, More)
    end.
