%% @doc Every event crema sends: one table, for documentation and for tests.
%%
%% Attach to them with {@link crema_events:attach/4}, or with `telemetry:attach/4'
%% where the application has telemetry.
-module(crema_event_table).

-export([table/0, fields/1, doc/0, check/3]).

-export_type([row/0, field/0, type/0]).

-type type() ::
    integer
    | binary
    | atom
    | pid
    | list
    | map
    | term
    | {integer, Unit :: ms | us | bytes | messages}
    | {one_of, [atom()]}
    %% May be absent.
    | {optional, type()}.

-type field() :: {Name :: atom(), type(), Doc :: binary()}.

-type row() :: #{
    name := crema_events:event_name(),
    measurements := [field()],
    metadata := [field()],
    doc := binary()
}.

%% @doc The events, by subject.
-spec table() -> [row()].
table() ->
    client_events() ++ produce_events() ++ producer_events() ++ transaction_events() ++
        pool_events() ++ buffer_events() ++ group_events() ++ handler_events() ++
        failure_events().

%% @doc The fields of an event of the table.
-spec fields(crema_events:event_name()) -> [Metadata :: [field()] | Measurements :: [field()]].
fields(Name) ->
    [#{metadata := Described, measurements := Measured}] = rows(Name),
    [Described, Measured].

-spec rows(crema_events:event_name()) -> [row()].
rows(Name) ->
    [Row || #{name := Known} = Row <- table(), Known =:= Name].

-spec event(crema_events:event_name(), binary(), [field()], [field()]) -> row().
event(Name, Doc, Measurements, Metadata) ->
    #{name => Name, measurements => Measurements, metadata => Metadata, doc => Doc}.

-spec client_events() -> [row()].
client_events() ->
    [
        event([crema, client, connected],
            <<"A broker can be reached, at first or again after disconnected.">>,
            [], client()),
        event([crema, client, disconnected],
            <<"No broker can be reached any more; once, not per attempt to reconnect.">>,
            [], client() ++ problem()),
        event([crema, client, error],
            <<"Something failed outside any call: a host not resolved, a log-in refused, an "
                "unknown topic subscribed to. Once per change of state.">>,
            [], client() ++ problem() ++ [
                {topic, {optional, binary}, <<"the topic concerned">>},
                {partition, {optional, integer}, <<"the partition concerned">>}
            ]),
        event([crema, client, fatal],
            <<"The client cannot go on and is rebuilt or stopped.">>,
            [{outstanding, {optional, {integer, messages}}, <<"messages without a report yet">>}],
            client() ++ problem()),
        event([crema, client, renewed],
            <<"A new client has taken the place of the old one: see crema_renewal:renew/3.">>,
            [{duration, {integer, ms}, <<"since it was asked for">>}], client()),
        event([crema, client, log],
            <<"A line of librdkafka's log.">>,
            [{dropped, {integer, messages}, <<"lines dropped since the last, in a storm">>}],
            client() ++ [
                {level, atom, <<"level of OTP's logger">>},
                {facility, binary, <<"the part of librdkafka that speaks">>},
                {message, binary, <<"the line">>}
            ]),
        event([crema, client, certificate],
            <<"A certificate needs attention; told when a client is opened.">>, [],
            [{property, binary, <<"the librdkafka property concerned">>} | client()] ++
                [{message, binary, <<"what is the matter: it will expire, or the like">>}]),
        event([crema, client, statistics],
            <<"librdkafka's statistics, every statistics.interval.ms (under kafka; off by default): "
                "the totals, and all of it.">>,
            statistics(),
            client() ++ [{statistics, map, <<"the whole, as crema:statistics/1 has it">>}])
    ].

-spec produce_events() -> [row()].
produce_events() ->
    [
        event([crema, producer, produced],
            <<"A produce call has returned: its messages are accepted, those of a synchronous one "
                "reported. In the calling process; only with the option events => [calls].">>,
            call_measurements(), call_metadata()),
        event([crema, producer, produce_failed],
            <<"A produce call has returned an error: nothing was accepted, a message was not "
                "delivered, or (code timeout) the outcome is not known yet. Where and when as "
                "produced.">>,
            call_measurements(), call_metadata() ++ problem()),
        event([crema, producer, reported],
            <<"Delivery reports came: one event for all of a drain, and of the drains for which "
                "the producer's process had no time. In that process; only with the option "
                "events => [reports]. Labels do not get there.">>,
            [
                {acknowledged, {integer, messages}, <<"delivered">>},
                {failed, {integer, messages}, <<"not delivered">>},
                {purged, {integer, messages}, <<"given up, by a purge or a stop">>},
                {unlisted, {integer, messages}, <<"of these, not in reports: over max_event_reports">>}
            ],
            client() ++ [
                {failures, map, <<"how many failed or were purged, by code">>},
                {reports, list,
                    <<"maps of topic, partition, and offset or, of a failure, code and status">>}
            ]),
        event([crema, producer, flushed],
            <<"A call of crema:flush/2 has returned.">>,
            [duration(<<"time it took">>)], client() ++ result()),
        event([crema, producer, purged],
            <<"A call of crema:purge/1 has returned: what was outstanding is given up, and "
                "reported.">>,
            [], client() ++ result())
    ].

-spec call_measurements() -> [field()].
call_measurements() ->
    [
        {count, {integer, messages}, <<"messages of the call">>},
        {failed, {integer, messages}, <<"of these, refused or reported as not delivered">>},
        {duration, {integer, us}, <<"time the call took">>}
    ].

-spec call_metadata() -> [field()].
call_metadata() ->
    client() ++ [
        {call, {one_of, [sync, async]}, <<"whether it waited for the reports">>},
        {topics, map, <<"messages by topic">>},
        {messages, list, <<"the messages, as they were given">>}
    ].

-spec result() -> [field()].
result() -> [{result, atom, <<"ok, or the code of the error">>}].

-spec producer_events() -> [row()].
producer_events() ->
    Why = [{reason, {one_of, [request, idle]}, <<"asked for, or by idle_disconnect">>}],
    Attempt = {attempt, integer, <<"new clients in a row, none of which has delivered">>},
    [
        event([crema, producer, disconnecting],
            <<"The connections are closed until the next use.">>,
            [], client() ++ Why),
        event([crema, producer, disconnected],
            <<"The client that was disconnected is gone; there may be another by now.">>,
            [duration(<<"time it took">>)], client() ++ Why),
        event([crema, producer, reload],
            <<"A fatal error ended the client; after the delay there will be a new one. What was "
                "outstanding is reported.">>,
            [Attempt, {delay, {integer, ms}, <<"wait before the new client">>}],
            client() ++ problem()),
        event([crema, producer, reloaded],
            <<"There is a new client.">>,
            [Attempt, duration(<<"time since the fatal error">>)], client()),
        event([crema, producer, closing],
            <<"The producer stops: it flushes, then purges.">>,
            [], client()),
        event([crema, producer, closed],
            <<"The producer has stopped.">>,
            [duration(<<"time it took">>)], client()),
        event([crema, producer, callback_crashed],
            <<"A callback of a delivery report raised; it is not called again.">>,
            [],
            client() ++ [
                {class, {one_of, [error, exit, throw]}, <<"class of the exception">>},
                {reason, term, <<"its reason">>},
                {stacktrace, list, <<"where it was raised">>}
            ])
    ].

-spec duration(binary()) -> field().
duration(Doc) -> {duration, {integer, ms}, Doc}.

-spec transaction_events() -> [row()].
transaction_events() ->
    Duration = {duration, {integer, ms}, <<"since the transaction began">>},
    [
        event([crema, transaction, started],
            <<"A transaction began.">>,
            [{wait, {integer, ms}, <<"time its process waited for its turn">>}], client()),
        event([crema, transaction, committed],
            <<"A transaction was committed.">>, [Duration], client()),
        event([crema, transaction, aborted],
            <<"A transaction was aborted.">>,
            [Duration], client() ++ [
                {cause, {one_of, [abort, exception, caller_died, error, stop]},
                    <<"crema:abort/2, an exception, the death of its process, an error that failed "
                        "tells of, or a stop of the producer">>}
            ]),
        event([crema, transaction, failed],
            <<"A transaction cannot be committed. Unless the client has failed as well, aborted "
                "follows.">>,
            [Duration], client() ++ problem())
    ].

-spec statistics() -> [field()].
statistics() ->
    [
        {Name, {optional, Type}, Doc}
     || {Name, Type, Doc} <- [
            {msg_cnt, {integer, messages}, <<"messages in the producer queue">>},
            {msg_size, {integer, bytes}, <<"their size">>},
            {replyq, integer, <<"events waiting to be served">>},
            {tx, integer, <<"requests sent">>},
            {tx_bytes, {integer, bytes}, <<"bytes sent">>},
            {rx, integer, <<"responses received">>},
            {rx_bytes, {integer, bytes}, <<"bytes received">>},
            {txmsgs, {integer, messages}, <<"messages sent">>},
            {txmsg_bytes, {integer, bytes}, <<"their size">>},
            {rxmsgs, {integer, messages}, <<"messages received">>},
            {rxmsg_bytes, {integer, bytes}, <<"their size">>}
        ]
    ].

-spec pool_events() -> [row()].
pool_events() ->
    [
        event([crema, pool, started],
            <<"A pool has started its producers.">>,
            [{size, integer, <<"how many there are">>}], pool()),
        event([crema, pool, stopped], <<"A pool stops, its producers after it.">>, [], pool()),
        event([crema, pool, checkout_timeout],
            <<"A process waited in vain for a producer for itself alone.">>,
            [
                {waited, {integer, ms}, <<"how long">>},
                {waiting, integer, <<"others that wait">>}
            ],
            pool())
    ].

-spec pool() -> [field()].
pool() ->
    [
        {pool, pid, <<"the pool">>},
        {name, term, <<"its name in the options, undefined without one">>}
    ].

-spec buffer_events() -> [row()].
buffer_events() ->
    [
        event([crema, buffer, added],
            <<"Messages were put into the buffer.">>,
            [
                {count, {integer, messages}, <<"messages added">>},
                {size, {integer, messages}, <<"messages in the buffer then">>}
            ],
            client()),
        event([crema, buffer, purged],
            <<"The buffer was purged.">>,
            [{count, {integer, messages}, <<"messages dropped">>}], client()),
        event([crema, buffer, flushed],
            <<"Messages of the buffer were sent, and all are reported.">>,
            [
                {count, {integer, messages}, <<"messages sent">>},
                {failed, {integer, messages}, <<"of these not delivered">>},
                {duration, {integer, ms}, <<"from the flush to the last report">>}
            ],
            client() ++ [
                {cause, {one_of, [call, limit, age, stop]}, <<"what had the buffer flushed">>}
            ]),
        event([crema, buffer, refused],
            <<"The buffer could not be flushed; what was not sent is in it again.">>,
            [{count, {integer, messages}, <<"messages in the buffer">>}],
            client() ++ problem()),
        event([crema, buffer, lost],
            <<"The producer ended, or the process of its buffer, with messages in the buffer.">>,
            [{count, {integer, messages}, <<"messages lost">>}],
            client() ++
                [{reason, term, <<"why: closed when the producer ended, or what refused its last flush">>}])
    ].

-spec group_events() -> [row()].
group_events() ->
    [
        event([crema, consumer, assigned],
            <<"Partitions came to this member.">>,
            [count(<<"partitions">>)], member() ++ partitions()),
        event([crema, consumer, revoked],
            <<"Partitions were given up after draining and committing.">>,
            [
                count(<<"partitions">>),
                {duration, {integer, ms}, <<"time from the revocation to its answer">>}
            ],
            member() ++ partitions()),
        event([crema, consumer, lost],
            <<"Partitions were taken from this member without a commit: it was evicted.">>,
            [count(<<"partitions">>)], member() ++ partitions()),
        event([crema, consumer, prefetch_short],
            <<"More partitions are assigned than prefetch has room for a fetch of each: what is "
                "fetched of one is more than its share, and some of it is fetched again.">>,
            [
                count(<<"partitions assigned">>),
                {room, integer, <<"partitions that there is room for">>}
            ],
            member()),
        event([crema, consumer, offset_reset],
            <<"A position was not in the log: messages were skipped or come again.">>,
            [
                {from, integer, <<"the offset wanted">>},
                {to, integer, <<"the offset taken instead">>}
            ],
            member() ++ place() ++ [{policy, atom, <<"the option that decided">>}]),
        event([crema, consumer, sought],
            <<"A partition goes on elsewhere: crema:seek/3.">>,
            [
                {from, integer, <<"behind the last message delivered before">>},
                {to, integer, <<"the next to be delivered">>}
            ],
            member() ++ place()),
        event([crema, consumer, commit_failed],
            <<"Offsets were not committed; their messages may come again.">>,
            [count(<<"partitions">>)], member() ++ problem() ++ partitions())
        | exactly_once_events()
    ].

-spec exactly_once_events() -> [row()].
exactly_once_events() ->
    [
        event([crema, consumer, transaction_committed],
            <<"What was produced and how far it had been consumed is committed, exactly once.">>,
            gathered(), member() ++ partitions()),
        event([crema, consumer, transaction_aborted],
            <<"None of it is: what was consumed comes again after the delay.">>,
            gathered() ++ attempts(), member() ++ problem() ++ partitions())
    ].

-spec gathered() -> [field()].
gathered() ->
    [
        count(<<"messages produced">>),
        {duration, {integer, ms}, <<"time since it began">>}
    ].

-spec handler_events() -> [row()].
handler_events() ->
    [
        event([crema, consumer, handler_crashed],
            <<"A handler raised or its process died; it is started again after the delay, with "
                "what was not acknowledged, unless the action is stop or pause.">>,
            attempts(),
            member() ++ failed() ++ exception()),
        event([crema, consumer, handler_timeout],
            <<"A handler took longer than handler_timeout and was killed; it is started again as "
                "after a crash.">>,
            attempts(), member() ++ failed()),
        event([crema, consumer, handler_error],
            <<"A handler returned {error, Reason, State}; with the action retry the message comes "
                "again after the delay.">>,
            attempts(), member() ++ failed() ++ [{reason, term, <<"the handler's reason">>}]),
        event([crema, consumer, callback_crashed],
            <<"A callback raised that is a handler's last: nothing is started again for it.">>, [],
            member() ++ place() ++ [
                {callback, atom, <<"handle_revoked, handle_lost or terminate">>}
                | exception()
            ]),
        event([crema, consumer, handler_stopped],
            <<"A handler returned {stop, Reason, State}; its consumer stops.">>, [],
            member() ++ place() ++ [{reason, term, <<"the handler's reason">>}]),
        event([crema, consumer, handler_paused],
            <<"A handler returned {pause, Millis, State}; nothing of the partition is handled for "
                "so long.">>,
            [{delay, {integer, ms}, <<"for how long">>}], member() ++ place()),
        event([crema, consumer, skipped],
            <<"A handler returned {skip, Reason, State}, or a failure policy says skip; the "
                "messages count as done with.">>,
            [count(<<"messages">>)],
            member() ++ place() ++ [{reason, term, <<"the handler's, undefined without one">>}])
    ].

%% What follows failures.
-spec failure_events() -> [row()].
failure_events() ->
    [
        event([crema, consumer, handler_stuck],
            <<"A handler takes max.poll.interval.ms or longer, and handler_timeout is infinity: the "
                "member leaves the group and starts anew.">>,
            [{limit, {integer, ms}, <<"the time it has taken">>}], member() ++ place()),
        event([crema, consumer, restarts_exhausted],
            <<"A partition's process has ended more often than max_restarts allows.">>,
            [],
            member() ++ place() ++ [{action, {one_of, [stop, pause]}, <<"what follows">>}]),
        event([crema, consumer, sent_on],
            <<"Failed messages are delivered to another topic, and acknowledged for that.">>,
            [count(<<"messages">>)],
            member() ++ place() ++ [
                {action, {one_of, [dead_letter, retry_topic]}, <<"which kind of topic it is">>},
                {to, binary, <<"its name">>},
                {reason, term, <<"why they failed">>}
            ]),
        event([crema, consumer, sending_on_failed],
            <<"Failed messages could not be delivered to another topic: it is tried again after the "
                "delay, and the partition holds.">>,
            attempts(), member() ++ place() ++ problem() ++ [{to, binary, <<"the topic">>}])
    ].

%% Of messages that failed.
-spec failed() -> [field()].
failed() ->
    Actions = [retry, skip, dead_letter, retry_topic, stop, pause],
    place() ++ [{action, {one_of, Actions}, <<"what follows, by the failure policy">>}].

-spec exception() -> [field()].
exception() ->
    [
        {class, {one_of, [error, exit, throw]}, <<"class of the exception">>},
        {reason, term, <<"its reason">>},
        {stacktrace, {optional, list}, <<"where it was raised">>}
    ].

-spec attempts() -> [field()].
attempts() ->
    [
        {attempt, integer, <<"failures in a row, this one included">>},
        {delay, {integer, ms}, <<"wait before the next attempt">>}
    ].

-spec count(binary()) -> field().
count(Doc) -> {count, integer, Doc}.

-spec client() -> [field()].
client() ->
    [
        {client, pid, <<"the producer or consumer">>},
        {name, term, <<"its name in the options, undefined without one">>}
    ].

-spec member() -> [field()].
member() -> client() ++ [{group, binary, <<"the consumer group">>}].

-spec problem() -> [field()].
problem() ->
    [
        {code, atom, <<"code of the error">>},
        {message, binary, <<"what happened and what to do">>}
    ].

-spec place() -> [field()].
place() ->
    [
        {topic, binary, <<"the topic">>},
        {partition, integer, <<"the partition">>},
        {offset, {optional, integer}, <<"the message">>}
    ].

-spec partitions() -> [field()].
partitions() -> [{partitions, list, <<"the partitions, as {Topic, Partition}">>}].

%% @doc Whether an event is as the table has it: its name is there, no field is
%% missing, unknown or of another type. For tests; crema does not call it when
%% it sends.
-spec check(crema_events:event_name(), Measurements :: map(), Metadata :: map()) ->
    ok | {error, [binary(), ...]}.
check(Name, Measurements, Metadata) ->
    case rows(Name) of
        [#{measurements := Measured, metadata := Described}] ->
            Faults =
                crema_event_field:faults("measurement", Measured, Measurements) ++
                    crema_event_field:faults("metadata", Described, Metadata),
            case Faults of
                [] -> ok;
                _ -> {error, Faults}
            end;
        [] ->
            {error, [unicode:characters_to_binary(io_lib:format("~0tp is not in the table", [Name]))]}
    end.

%% @doc The table as markdown, a section for each event.
-spec doc() -> binary().
doc() ->
    iolist_to_binary(lists:join("\n", lists:map(fun doc_row/1, table()))).

-spec doc_row(row()) -> iolist().
doc_row(#{name := Name, doc := Doc, measurements := Measured, metadata := Described}) ->
    [
        io_lib:format("### `~0tp`\n\n~ts\n\n", [Name, Doc]),
        "| Field | Kind | Type | Meaning |\n|---|---|---|---|\n",
        [doc_field("measurement", Field) || Field <- Measured],
        [doc_field("metadata", Field) || Field <- Described]
    ].

-spec doc_field(string(), field()) -> iolist().
doc_field(Kind, {Name, Type, Doc}) ->
    io_lib:format("| `~s` | ~s | ~ts | ~ts |\n", [
        Name, Kind, crema_event_field:describe(Type), Doc
    ]).
