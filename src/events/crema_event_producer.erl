%% @private The events of producers, their transactions, pools and buffers.
-module(crema_event_producer).

-export([events/0]).
-import(crema_event_row, [event/4, client/0, problem/0, duration/1]).

-type row() :: crema_event_table:row().
-type field() :: crema_event_table:field().

-spec events() -> [row()].
events() ->
    produce_events() ++ producer_events() ++ transaction_events() ++ pool_events() ++ buffer_events().

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
