%% @private The events of consumers, their handlers and what follows failures.
-module(crema_event_consumer).

-export([events/0]).
-import(crema_event_row, [event/4, client/0, problem/0]).

-type row() :: crema_event_table:row().
-type field() :: crema_event_table:field().

-spec events() -> [row()].
events() -> group_events() ++ handler_events() ++ failure_events().

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
            <<"Offsets were not committed, or not until a stop had to end; their messages may come again.">>,
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

-spec member() -> [field()].
member() -> client() ++ [{group, binary, <<"the consumer group">>}].

-spec place() -> [field()].
place() ->
    [
        {topic, binary, <<"the topic">>},
        {partition, integer, <<"the partition">>},
        {offset, {optional, integer}, <<"the message">>}
    ].

-spec partitions() -> [field()].
partitions() -> [{partitions, list, <<"the partitions, as {Topic, Partition}">>}].

-spec count(binary()) -> field().
count(Doc) -> {count, integer, Doc}.
