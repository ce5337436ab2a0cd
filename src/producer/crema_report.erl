%% @private Delivery reports, as whoever waits for them gets them.
-module(crema_report).

-include("../port/crema_commands.hrl").

-export([origin/1, result/2, results/2, refused/2, tagged/1, status/1, not_final/2]).

-export_type([origin/0, origins/0, report/0, result/0]).

%% What a report says of its message beside what the driver reports.
-type origin() :: {Topic :: term(), Label :: {label, term()} | none}.
-type origins() :: {one | many, [origin()]}.
-type report() :: crema_types:report().
%% `skipped': a middleware left the message out.
-type result() :: {ok, report() | skipped} | crema_error:error().

-spec origin(crema_prepare:prepared()) -> origin().
origin(skipped) -> {undefined, none};
origin(#{topic := Topic, label := Label}) -> {Topic, {label, Label}};
origin(#{topic := Topic}) -> {Topic, none}.

%% @doc The results of a call: what came for it is packed reports, or a term
%% that says why there are none.
-spec results(binary(), origins()) -> result() | {ok, [result()]}.
results(<<131, _/binary>> = Term, _Origins) ->
    crema_port:answer(Term);
results(Packed, {one, [Origin]}) ->
    [Report] = crema_packet:reports(Packed),
    result(Report, Origin);
results(Packed, {many, Origins}) ->
    {ok, lists:zipwith(fun result/2, crema_packet:reports(Packed), Origins)}.

%% @doc The result of one message.
-spec result(crema_packet:report(), origin()) -> result().
result({0, _Status, Partition, Offset, Timestamp}, Origin) ->
    Report = #{partition => Partition, offset => Offset, timestamp => Timestamp},
    {ok, with_origin(Report, Origin)};
result({?REPORT_SKIPPED, _Status, _Partition, _Offset, _Timestamp}, _Origin) ->
    {ok, skipped};
result({Code, Status, Partition, _Offset, _Timestamp}, {Topic, _} = Origin) ->
    Details = sent(Status, #{partition => Partition, status => status(Status)}),
    {error, {Known, _}} = Error = crema_anchor:error_of(Code, with_origin(Details, Origin)),
    ok = doubt(Known, Topic),
    Error.

%% @doc The result of a message whose call was refused.
-spec refused(crema_error:error(), crema_packet:message()) -> crema_error:error().
refused({error, {Code, Details}}, Message) ->
    Origin =
        case Message of
            #{topic := _} -> origin(Message);
            #{} -> {undefined, none}
        end,
    Of = with_origin(#{status => not_persisted, sent => false}, Origin),
    {error, {Code, maps:merge(Of, Details)}}.

-spec sent(byte(), map()) -> map().
sent(?STATUS_NOT_SENT, Details) -> Details#{sent => false};
sent(_Status, Details) -> Details.

%% What says that a topic is not as it was.
-spec doubt(crema_error:code(), term()) -> ok.
doubt(Code, Topic) when
    Code =:= unknown_partition; Code =:= unknown_topic; Code =:= unknown_topic_or_part
->
    case Topic of
        undefined -> crema_partitions:doubt(any);
        _ -> crema_partitions:doubt(topic(Topic))
    end;
doubt(_Code, _Topic) ->
    ok.

-spec with_origin(map(), origin()) -> map().
with_origin(Map, {undefined, none}) -> Map;
with_origin(Map, {Topic, none}) -> Map#{topic => topic(Topic)};
with_origin(Map, {Topic, {label, Label}}) -> Map#{topic => topic(Topic), label => Label}.

-spec topic(iodata() | atom()) -> binary().
topic(Topic) when is_binary(Topic) -> Topic;
topic(Topic) when is_atom(Topic) -> atom_to_binary(Topic);
topic(Topic) -> iolist_to_binary(Topic).

%% @doc Whether a message that failed is in the log.
-spec status(byte()) -> not_persisted | possibly_persisted | persisted.
status(?STATUS_NOT_SENT) -> not_persisted;
status(?STATUS_NOT_PERSISTED) -> not_persisted;
status(?STATUS_POSSIBLY_PERSISTED) -> possibly_persisted;
status(?STATUS_PERSISTED) -> persisted.

%% @doc What a `{crema_reports, _, _}' message holds.
-spec tagged(term()) -> [{Tag :: non_neg_integer(), result()}] | ignored.
tagged({crema_reports, Client, Packed}) when
    is_port(Client) orelse is_pid(Client), is_binary(Packed)
->
    [
        {Tag, result(Report, {undefined, none})}
     || {Tag, Report} <- crema_packet:tagged_reports(Packed)
    ];
tagged(_) ->
    ignored.

%% @doc Time was up before the verdict; the reference stays good. With what is known, if
%% anything, of why.
-spec not_final(crema_await:ref() | crema_claims:ref(), Why :: iodata()) -> crema_error:error().
not_final(Ref, Why) ->
    Text = [
        "the delivery report has not come yet",
        Why,
        "; await the ref in these details to learn more"
    ],
    crema_error:make(timeout, Text, #{ref => Ref}).
