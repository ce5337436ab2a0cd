%% @private Errors of crema's own, and of its driver.
-module(crema_error_own).

-export([rows/0]).

-spec rows() -> crema_error_table:rows().
rows() ->
    #{
        bad_options =>
            {no,
                <<"Options are wrong, or librdkafka refuses a property; faults has each.">>,
                <<"crema_options:doc/1 describes every option.">>},
        bad_call =>
            {no,
                <<"A call's arguments or options are wrong, or it is not for this client or "
                    "process.">>,
                <<"Correct the call as the message says: nothing was done.">>},
        bad_message =>
            {no,
                <<"A message is wrong; index and field tell which and where.">>,
                <<"Nothing of the call was sent: correct the message and call again.">>},
        bad_partitioner =>
            {no,
                <<"A partitioner raised, or returned no partition.">>,
                <<"Nothing of the call was sent: a partitioner returns a number from 0 to the"
                    " number of partitions less one, and does not raise.">>},
        middleware =>
            {no,
                <<"A middleware refused a message, raised, or returned something else.">>,
                <<"Nothing of the call was sent: the details have the reason.">>},
        unconfirmed =>
            {no,
                <<"A first try of the message failed, the broker took a later one of its "
                    "partition, and it had confirmed none of this producer's there before.">>,
                <<"The message is hardly in the log: produce it again, if it may come behind "
                    "later ones and, at worst, twice.">>},
        queue_full =>
            {yes,
                <<"The producer's queue had no place within full_timeout, or at once with "
                    "on_full => error.">>,
                <<"Brokers take messages more slowly than they are produced: slow down, wait "
                    "longer (full_timeout) or raise max_queue_messages and max_queue_bytes.">>},
        buffer_full =>
            {yes,
                <<"The producer's buffer is full, and what is in it could not be sent.">>,
                <<"Nothing of the call was buffered: flush the buffer, or purge it of what "
                    "cannot be sent.">>},
        callback_failed =>
            {no,
                <<"A function or module of yours raised, or returned something else.">>,
                <<"A function or module given to crema raised: details have class, reason and"
                    " stacktrace.">>},
        batch_too_large =>
            {no,
                <<"A call has more messages or bytes than the limits of the queue allow at "
                    "all.">>,
                <<"A call's messages are admitted whole: send fewer in one call or raise "
                    "max_queue_messages and max_queue_bytes.">>},
        topic_config_conflict =>
            {no,
                <<"The client uses the topic already, with another configuration.">>,
                <<"Nothing of the call was sent: a client keeps the configuration that a "
                    "topic is first used with. Use one variant for the topic, or give the "
                    "variant client => own.">>},
        pool_timeout =>
            {yes,
                <<"No member of the pool was free within checkout_timeout.">>,
                <<"Others have all members: let them end sooner, wait longer "
                    "(checkout_timeout), or give the pool more of them (size).">>},
        too_many_variants =>
            {no,
                <<"The client has as many configurations of topics as it can tell apart.">>,
                <<"Make the variants once, when the producer starts, and keep them.">>},
        busy =>
            {yes,
                <<"A transaction, a renewal, or something that is outstanding is in the way.">>,
                <<"Let what is under way end (for a disconnect: flush or purge), and ask "
                    "again.">>},
        not_connected =>
            {yes,
                <<"The producer has no client at this moment.">>,
                <<"Nothing was accepted: the producer is making a new client; call again, or "
                    "wait longer (full_timeout).">>},
        closed =>
            {no,
                <<"The client has ended, or is about to.">>,
                <<"The client has stopped: start it again, or call it only while its "
                    "supervisor runs it.">>},
        not_enabled =>
            {no,
                <<"The client has no statistics.">>,
                <<"Set statistics.interval.ms under kafka.">>},
        not_yet =>
            {yes,
                <<"There are no statistics yet.">>,
                <<"The first come after statistics.interval.ms.">>},
        not_acknowledged =>
            {no,
                <<"Some of several tokens were refused; the others are acknowledged.">>,
                <<"The details have each token that was refused under failed, with its "
                    "reason.">>},
        not_found =>
            {no,
                <<"Nothing has that name, or it is of another kind.">>,
                <<"Is the client started, and is this the name in its options?">>},
        not_started =>
            {no,
                <<"The application crema does not run.">>,
                <<"Start it first (application:ensure_all_started(crema)), or have it among "
                    "the applications of yours.">>},
        system_limit =>
            {yes,
                <<"The VM has as many ports as it may have.">>,
                <<"Raise the limit of ports (erl +Q), and look for clients that are started "
                    "and never stopped.">>},
        timeout =>
            {yes,
                <<"No answer within the time that was given. With ref among the details: the "
                    "message's report has not come yet, and can still be awaited.">>,
                <<"This is not a final verdict: what was asked for may still happen.">>},
        unknown_reference =>
            {no,
                <<"The reference was awaited already, is another process's, or its report was"
                    " forgotten.">>,
                <<"Await each reference once, in the process that produced; await sooner or "
                    "raise max_unclaimed.">>},
        already_awaited =>
            {no,
                <<"The reference is being awaited already.">>,
                <<"Await each reference once.">>},
        not_waiting =>
            {no,
                <<"What was to be cancelled has been answered. Calls of crema handle it "
                    "themselves.">>,
                <<"Nothing is to be done.">>},
        stale_assignment =>
            {no,
                <<"The token is from before a rebalance, a seek or a reset.">>,
                <<"The partition was reassigned or sought since the message was delivered, "
                    "which comes again, here or at another member: drop this result.">>},
        not_assigned =>
            {no,
                <<"The partition is not assigned to this consumer.">>,
                <<"It went to another member, or was never this one's: crema:status/1 lists "
                    "those that are assigned.">>},
        no_committed_offset =>
            {no,
                <<"The group has no offset for the partition, and start is error.">>,
                <<"Commit one, or let start be earliest, latest or a time.">>},
        commits_nothing =>
            {no,
                <<"The consumer leaves committing to something else.">>,
                <<"Only with the option commit => auto does it.">>},
        handler_failed =>
            {no,
                <<"A failure was followed by a stop: the reason with which the consumer "
                    "ended.">>,
                <<"The options failures, fatal and max_restarts say when a consumer stops for"
                    " good: mend the handler or what it needs, and start it again.">>},
        handler_stuck =>
            {no,
                <<"A handler took max.poll.interval.ms and handler_timeout is infinity: the "
                    "member leaves its group and starts anew.">>,
                <<"Give the consumer a handler_timeout, at which only the handler is ended, "
                    "or a longer max.poll.interval.ms.">>},
        instance_in_use =>
            {no,
                <<"Another member of this node has that group.instance.id.">>,
                <<"Brokers would put the older of the two out of the group for good: give "
                    "each member its own group.instance.id, or stop the other first.">>},
        bad_token =>
            {no,
                <<"A token for OAUTHBEARER, or an extension of it, has characters that cannot"
                    " be sent.">>,
                <<"Of a token and its extensions only printable ASCII characters may be sent.">>},
        token_failed =>
            {yes,
                <<"The function oauth_token raised, took too long, or returned no token.">>,
                <<"Connections that there are live on; the function is called again, after a "
                    "back-off (oauth_backoff).">>},
        no_password =>
            {no,
                <<"The client does not log in by name and password, so that it can have no "
                    "others.">>,
                <<"Set security.protocol and a sasl.mechanism (PLAIN, SCRAM-SHA-256 or SCRAM-"
                    "SHA-512) under kafka; for OAUTHBEARER there is the option oauth_token.">>},
        driver_missing =>
            {no,
                <<"The native part cannot be loaded.">>,
                <<"Build crema's native part (make -C c_src) and install librdkafka (Debian: "
                    "librdkafka1, to build librdkafka-dev).">>},
        driver_version =>
            {no,
                <<"The native part is not that of this crema.">>,
                <<"The driver loaded in this node is of another crema release, and a driver "
                    "cannot be exchanged while the node runs: restart the node.">>},
        not_transactional =>
            {no,
                <<"The producer has no transactional.id.">>,
                <<"Give the producer a transactional.id under kafka.">>},
        stale_transaction =>
            {no,
                <<"The transaction of that handle has ended.">>,
                <<"Nothing of the call was sent: produce with the handle of a transaction "
                    "that is open (crema:transaction/2).">>},
        in_transaction =>
            {no,
                <<"This cannot be done while a transaction is open, or within it.">>,
                <<"Use the transaction's handle, or end the transaction first.">>},
        transaction_busy =>
            {yes,
                <<"Another transaction of the producer went on for all of transaction_wait.">>,
                <<"Keep transactions short, wait longer (transaction_wait), or use another "
                    "producer with a transactional.id of its own.">>},
        not_ready =>
            {yes,
                <<"The producer cannot begin transactions yet: no broker has answered.">>,
                <<"Check bootstrap_servers and that the brokers can keep the state of "
                    "transactions.">>},
        commit_unknown =>
            {no,
                <<"The client ended while a transaction was committed.">>,
                <<"The client died while the transaction was committed: read the topic to "
                    "learn the outcome.">>},
        wrong_state =>
            {no,
                <<"The driver has no use for a command at this moment.">>,
                <<"Report it, with what was called.">>},
        malformed_command =>
            {no,
                <<"The driver does not understand a command.">>,
                <<"Report it, with what was called.">>},
        unknown_command =>
            {no,
                <<"The driver does not know a command.">>,
                <<"Report it, with what was called.">>},
        invalid_topic =>
            {no,
                <<"librdkafka takes no topic of that name or with these properties.">>,
                <<"A topic's name is of letters, digits, dots, dashes and underscores, at "
                    "most 249; the message tells of properties.">>},
        no_memory =>
            {yes,
                <<"The system gave no memory.">>,
                <<"Give the machine more memory, or lower max_queue_bytes and prefetch.">>},
        no_thread =>
            {yes,
                <<"The system gave no thread.">>,
                <<"Raise the limit of threads (ulimit -u, the container's pids limit), or "
                    "have fewer clients.">>},
        unknown =>
            {no,
                <<"librdkafka has no name for the error, or the broker told none.">>,
                <<"The broker's log may tell more.">>}
    }.
