%% @private The librdkafka properties that crema sets itself and a user may not:
%% one table, with what to use instead.
-module(crema_owned).

-export([table/1, refusal/2, doc/1]).

-export_type([row/0]).

-type row() :: {Property :: binary(), Reason :: binary()}.

%% @doc The owned properties of a scope, and what to do instead of setting each.
-spec table(crema_properties:scope()) -> [row()].
table(producer) ->
    [
        {<<"queue.buffering.max.messages">>, <<"use the option max_queue_messages">>},
        {<<"queue.buffering.max.kbytes">>, <<"use the option max_queue_bytes">>},
        {<<"enable.idempotence">>, <<"use the option ordering (strict or loose)">>},
        {<<"delivery.report.only.error">>,
            <<"every message is reported; produce with report => none to get no report">>}
        | common()
    ];
table(consumer) ->
    [
        {<<"group.id">>, <<"use the option group">>},
        {<<"auto.offset.reset">>, <<"use the option start">>},
        {<<"enable.auto.offset.store">>,
            <<"offsets are stored once messages are acknowledged; the handler's return decides">>},
        {<<"enable.auto.commit">>, commits()},
        {<<"auto.commit.enable">>, commits()},
        {<<"offset.store.method">>, <<"offsets are always kept by the broker">>},
        {<<"enable.partition.eof">>, <<"crema needs the end of a partition to report lag">>}
        | common()
    ];
table(reader) ->
    Alone = <<"a reader is in no group and commits nothing">>,
    [{Name, Alone} || Name <- [
        <<"group.id">>,
        <<"enable.auto.offset.store">>,
        <<"enable.auto.commit">>,
        <<"auto.commit.enable">>,
        <<"offset.store.method">>
    ]] ++
        [
            {<<"auto.offset.reset">>, <<"use the option from">>},
            {<<"enable.partition.eof">>, <<"crema needs the end of a partition to end there">>}
            | common()
        ].

-spec commits() -> binary().
commits() ->
    <<"acknowledged offsets are always committed; auto.commit.interval.ms says how often">>.

-spec common() -> [row()].
common() ->
    [
        {<<"log.queue">>, <<"logs go to the logger and to the event [crema,client,log]">>},
        {<<"enabled_events">>, <<"attach to crema's events instead (crema_events:attach/4)">>},
        {<<"opaque">>, no_text()},
        {<<"default_topic_conf">>, <<"give the topic's properties directly under kafka">>},
        {<<"interceptors">>, no_text()},
        {<<"msg_order_cmp">>, no_text()},
        {<<"ssl_key">>, <<"use ssl.key.pem or ssl.key.location">>},
        {<<"ssl_certificate">>, <<"use ssl.certificate.pem or ssl.certificate.location">>},
        {<<"ssl_ca">>, <<"use ssl.ca.pem or ssl.ca.location">>},
        {<<"ssl_engine_callback_data">>, no_text()}
    ].

-spec no_text() -> binary().
no_text() ->
    <<"it is a pointer in C and cannot be given as text">>.

%% @doc Why a property may not be set, or `none' when it may.
-spec refusal(crema_properties:scope(), Property :: binary()) -> Reason :: binary() | none.
refusal(Scope, Property) ->
    case lists:keyfind(Property, 1, table(Scope)) of
        {Property, Reason} -> <<"belongs to crema: ", Reason/binary>>;
        false -> callback(Property)
    end.

%% rebalance_cb, dr_msg_cb, stats_cb, ssl.certificate.verify_cb...
-spec callback(binary()) -> binary() | none.
callback(Property) ->
    case binary:longest_common_suffix([Property, <<"_cb">>]) of
        3 ->
            <<"belongs to crema: it is a callback in C; use the handler, the reports or the "
                "events (crema_events:attach/4)">>;
        _ ->
            none
    end.

%% @doc A markdown table of the owned properties of a scope.
-spec doc(crema_properties:scope()) -> binary().
doc(Scope) ->
    Rows = [["| `", Property, "` | ", Reason, " |\n"] || {Property, Reason} <- table(Scope)],
    iolist_to_binary(["| Property | Instead |\n|---|---|\n" | Rows]).
