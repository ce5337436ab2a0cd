%% @private librdkafka's errors and brokers', by librdkafka's names.
-module(crema_error_kafka).

-export([rows/0]).

-spec rows() -> crema_error_table:rows().
rows() ->
    #{
        fatal =>
            {no,
                <<"The client is in a fatal state: its guarantees are broken.">>,
                <<"The client cannot go on: outstanding messages are reported with their "
                    "status.">>},
        unknown_topic =>
            {no,
                <<"There is no such topic, as far as the client has learnt in time.">>,
                <<"Create the topic, or correct its name; brokers create topics by themselves"
                    " only when auto.create.topics.enable is set there.">>},
        unknown_topic_or_part =>
            {no,
                <<"There is no such topic or partition, or the user may not see it.">>,
                <<"Create the topic, or correct its name; brokers create topics by themselves"
                    " only when auto.create.topics.enable is set there.">>},
        unknown_partition =>
            {no,
                <<"The topic has no such partition.">>,
                <<"Choose a partition the topic has, or leave the choice out.">>},
        topic_exception =>
            {no,
                <<"Brokers take no topic of that name, or nothing may be written to it.">>,
                <<"A topic's name is of letters, digits, dots, dashes and underscores, at "
                    "most 249.">>},
        leader_not_available =>
            {yes,
                <<"The partition has no leader at this moment.">>,
                <<"Check that the brokers with its replicas run; crema goes on asking.">>},
        not_leader_for_partition =>
            {yes,
                <<"The leader has moved.">>,
                <<"crema asks for the new one; nothing is to be done unless it lasts.">>},
        broker_not_available =>
            {yes,
                <<"The broker is not available.">>,
                <<"Check that the brokers run.">>},
        replica_not_available =>
            {yes,
                <<"The replica is not available.">>,
                <<"Check that the brokers run.">>},
        fenced_leader_epoch =>
            {yes,
                <<"The leader has changed since the client asked.">>,
                <<"crema asks for the new one; nothing is to be done unless it lasts.">>},
        unknown_leader_epoch =>
            {yes,
                <<"The broker has not heard of the newest leader yet.">>,
                <<"crema asks again; nothing is to be done unless it lasts.">>},
        kafka_storage_error =>
            {yes,
                <<"The broker's disk failed or is full.">>,
                <<"Check disks and logs of the broker.">>},
        msg_size_too_large =>
            {no,
                <<"The message, or what it makes of its batch, is larger than the client or "
                    "the broker allows.">>,
                <<"Send a smaller message, or raise message.max.bytes under kafka and on the "
                    "broker (for one topic: max.message.bytes).">>},
        invalid_msg_size =>
            {no,
                <<"The broker found the batch too large.">>,
                <<"Send a smaller message, or raise message.max.bytes under kafka and on the "
                    "broker (for one topic: max.message.bytes).">>},
        record_list_too_large =>
            {no,
                <<"The batch is larger than a segment of the log.">>,
                <<"Lower batch.size under kafka, or raise the topic's segment.bytes.">>},
        invalid_msg =>
            {no,
                <<"What came is damaged, or the topic does not take it (a compacted topic: "
                    "without a key).">>,
                <<"Give the message a key if the topic is compacted; else check network and "
                    "disks.">>},
        invalid_record =>
            {no,
                <<"The broker's rules for the topic refuse the message.">>,
                <<"See the topic's configuration: compaction wants keys, and timestamps may "
                    "be bounded.">>},
        invalid_timestamp =>
            {no,
                <<"The message's timestamp is too far from the broker's clock.">>,
                <<"Check the timestamp (milliseconds since 1970), clocks, and the topic's "
                    "message.timestamp settings.">>},
        invalid_required_acks =>
            {no,
                <<"Brokers do not take that value of acks.">>,
                <<"Set acks to all, 1 or 0.">>},
        unsupported_for_message_format =>
            {no,
                <<"The topic's message format is too old for this.">>,
                <<"Upgrade the topic's message format.">>},
        unsupported_compression_type =>
            {no,
                <<"The broker does not know that compression.">>,
                <<"Set compression.type to one that it knows.">>},
        bad_compression =>
            {no,
                <<"A batch cannot be decompressed.">>,
                <<"Check who produced it; this build of librdkafka may lack the codec "
                    "(crema:info/0).">>},
        bad_msg =>
            {no,
                <<"A batch cannot be read.">>,
                <<"Check who produced it, and the broker's disks.">>},
        policy_violation =>
            {no,
                <<"A policy of the brokers refuses it.">>,
                <<"Ask who runs them.">>},
        msg_timed_out =>
            {yes,
                <<"The message has no acknowledgement within message.timeout.ms; its status "
                    "tells whether it may be in the log.">>,
                <<"The message was not acknowledged within message.timeout.ms: check that the"
                    " brokers and the partition's leader can be reached, or allow more time.">>},
        not_enough_replicas =>
            {yes,
                <<"Fewer replicas are in sync than min.insync.replicas: nothing was written.">>,
                <<"Too few replicas are in sync for acks=all: check the brokers, or the "
                    "topic's min.insync.replicas.">>},
        not_enough_replicas_after_append =>
            {yes,
                <<"The message was written, to fewer replicas than min.insync.replicas.">>,
                <<"Too few replicas are in sync for acks=all: check the brokers, or the "
                    "topic's min.insync.replicas.">>},
        isr_insuff =>
            {yes,
                <<"Fewer replicas are in sync than are asked for.">>,
                <<"Check the brokers, or the topic's min.insync.replicas.">>},
        purge_queue =>
            {yes,
                <<"The client stopped or was purged while the message waited: it was not "
                    "sent.">>,
                <<"The client stopped or was purged before a broker acknowledged the message;"
                    " status tells whether it may be in the log.">>},
        purge_inflight =>
            {yes,
                <<"The client stopped or was purged while the message was on its way: it may "
                    "be in the log.">>,
                <<"The client stopped or was purged before a broker acknowledged the message;"
                    " status tells whether it may be in the log.">>},
        out_of_order_sequence_number =>
            {no,
                <<"The broker misses messages before this one.">>,
                <<"The log and the client no longer agree: see what was written, and produce "
                    "the rest anew.">>},
        duplicate_sequence_number =>
            {no,
                <<"The broker has this message already.">>,
                <<"Nothing: it is there, without its offset.">>},
        unknown_producer_id =>
            {no,
                <<"The broker has forgotten this producer.">>,
                <<"The client takes a new id; when it lasts, raise the broker's "
                    "transactional.id.expiration.ms or the topic's retention.">>},
        gapless_guarantee =>
            {no,
                <<"A message failed, and those behind it would leave a gap.">>,
                <<"See enable.gapless.guarantee in librdkafka's configuration; produce what "
                    "failed anew.">>},
        throttling_quota_exceeded =>
            {yes,
                <<"A quota is exceeded.">>,
                <<"Slow down, or have the user's quota raised.">>},
        invalid_arg =>
            {no,
                <<"librdkafka takes no such argument or property.">>,
                <<"Correct the option or argument that the message names.">>},
        inconsistent =>
            {no,
                <<"A message of the transaction could not be delivered.">>,
                <<"The transaction was aborted; the details tell of the message. Begin "
                    "another.">>},
        invalid_txn_state =>
            {no,
                <<"The transaction is in another state than this call needs.">>,
                <<"Begin another transaction.">>},
        invalid_producer_id_mapping =>
            {no,
                <<"The coordinator no longer knows this transactional.id.">>,
                <<"Start the producer again; raise the broker's "
                    "transactional.id.expiration.ms.">>},
        invalid_transaction_timeout =>
            {no,
                <<"transaction.timeout.ms is longer than the brokers allow.">>,
                <<"Lower it, or raise the broker's transaction.max.timeout.ms.">>},
        concurrent_transactions =>
            {yes,
                <<"The transaction before is still being ended.">>,
                <<"crema tries again; nothing is to be done unless it lasts.">>},
        fenced =>
            {no,
                <<"Another client with the same transactional.id is newer.">>,
                <<"Another client uses the same transactional.id: give each its own; or a "
                    "transaction was open for longer than transaction.timeout.ms. The older one"
                    " cannot go on.">>},
        producer_fenced =>
            {no,
                <<"Another client with the same transactional.id is newer.">>,
                <<"Another client uses the same transactional.id: give each its own; or a "
                    "transaction was open for longer than transaction.timeout.ms. The older one"
                    " cannot go on.">>},
        invalid_producer_epoch =>
            {no,
                <<"Another client with the same transactional.id is newer, or the brokers "
                    "have ended the transaction.">>,
                <<"Another client uses the same transactional.id: give each its own; or a "
                    "transaction was open for longer than transaction.timeout.ms. The older one"
                    " cannot go on.">>},
        fenced_instance_id =>
            {no,
                <<"Another member with the same group.instance.id is newer.">>,
                <<"Another member of the group uses the same group.instance.id: give each its"
                    " own.">>},
        unreleased_instance_id =>
            {yes,
                <<"Another member has that group.instance.id. (group.protocol=consumer)">>,
                <<"Another member of the group has the same group.instance.id, or was killed "
                    "and its session has not ended: this one tries again every 12 seconds.">>},
        stale_member_epoch =>
            {yes,
                <<"The member has not heard of the newest assignment. "
                    "(group.protocol=consumer)">>,
                <<"crema commits again; nothing is to be done.">>},
        fenced_member_epoch =>
            {yes,
                <<"The member was put out of its group. (group.protocol=consumer)">>,
                <<"It joins again; if it happens often, look for handlers or networks that "
                    "are held up.">>},
        invalid_regular_expression =>
            {no,
                <<"Brokers cannot read a pattern of topics. (group.protocol=consumer)">>,
                <<"Write it in RE2's syntax, for the whole name.">>},
        unsupported_assignor =>
            {no,
                <<"Brokers do not have that assignor. (group.protocol=consumer)">>,
                <<"Set group.remote.assignor to uniform or range, or leave it out.">>},
        group_id_not_found =>
            {no,
                <<"There is no such group.">>,
                <<"Check the group's name.">>},
        group_max_size_reached =>
            {no,
                <<"The group has as many members as brokers allow.">>,
                <<"Have fewer members, or raise the broker's group.max.size.">>},
        unknown_member_id =>
            {yes,
                <<"The consumer is not in its group at this moment.">>,
                <<"It joins again; what was not acknowledged comes again.">>},
        illegal_generation =>
            {yes,
                <<"The group has gone on without this member.">>,
                <<"It joins again; what was not acknowledged comes again.">>},
        rebalance_in_progress =>
            {yes,
                <<"The group shares out its partitions.">>,
                <<"crema commits again afterwards; nothing is to be done.">>},
        invalid_group_id =>
            {no,
                <<"Brokers take no group of that name.">>,
                <<"Correct the option group.">>},
        invalid_session_timeout =>
            {no,
                <<"session.timeout.ms is not within what brokers allow.">>,
                <<"Set it between the broker's group.min.session.timeout.ms and "
                    "group.max.session.timeout.ms.">>},
        inconsistent_group_protocol =>
            {no,
                <<"Members of the group have no assignment strategy in common.">>,
                <<"Members of the group use assignment strategies that do not go together: "
                    "set partition.assignment.strategy alike in all.">>},
        max_poll_exceeded =>
            {no,
                <<"A member was not asked for messages for max.poll.interval.ms.">>,
                <<"A handler took longer than max.poll.interval.ms: make it faster, or raise "
                    "the interval. Its partitions went to other members.">>},
        assignment_lost =>
            {no,
                <<"The member has lost its partitions.">>,
                <<"It joins again; what was not acknowledged comes again.">>},
        coordinator_load_in_progress =>
            {yes,
                <<"The coordinator is reading its state.">>,
                <<"crema asks again; nothing is to be done unless it lasts.">>},
        coordinator_not_available =>
            {yes,
                <<"There is no coordinator at this moment.">>,
                <<"Check that brokers run and that __consumer_offsets can be made (its "
                    "replication factor).">>},
        not_coordinator =>
            {yes,
                <<"The coordinator has moved.">>,
                <<"crema asks for the new one; nothing is to be done unless it lasts.">>},
        wait_coord =>
            {yes,
                <<"The coordinator is not known yet.">>,
                <<"Check that brokers run; crema goes on asking.">>},
        unstable_offset_commit =>
            {yes,
                <<"A transaction with these offsets is still open.">>,
                <<"crema waits for its end: at most its transaction.timeout.ms.">>},
        offset_metadata_too_large =>
            {no,
                <<"The text that is committed with offsets is larger than brokers allow.">>,
                <<"Raise the broker's offset.metadata.max.bytes.">>},
        auto_offset_reset =>
            {no,
                <<"There is no offset to begin at.">>,
                <<"There is no committed offset to begin at, or it is out of range; start "
                    "decides where the partition begins.">>},
        offset_out_of_range =>
            {no,
                <<"The log does not have this offset.">>,
                <<"The log no longer holds this offset: retention has deleted what was not "
                    "read in time.">>},
        offset_not_available =>
            {yes,
                <<"The leader does not know its end yet.">>,
                <<"crema asks again; nothing is to be done unless it lasts.">>},
        no_offset =>
            {no,
                <<"There was nothing to commit.">>,
                <<"Nothing is to be done.">>},
        unsupported_feature =>
            {no,
                <<"The broker, librdkafka or the option's combination lacks it; the message "
                    "tells which.">>,
                <<"Upgrade what the message names, or do without.">>},
        unsupported_version =>
            {no,
                <<"The broker does not know this request.">>,
                <<"Use a broker that librdkafka supports, or a newer librdkafka.">>},
        not_implemented =>
            {no,
                <<"This build of librdkafka lacks it.">>,
                <<"This build of librdkafka lacks it.">>},
        not_configured =>
            {no,
                <<"A needed property is not set.">>,
                <<"Set what the message names.">>},
        conflict =>
            {no,
                <<"It cannot be combined with what is set or done already.">>,
                <<"Correct what the message names.">>},
        state =>
            {no,
                <<"The client is in a state in which this cannot be done.">>,
                <<"See crema:status/1; start the client again if it stays.">>},
        invalid_config =>
            {no,
                <<"Brokers refuse the configuration.">>,
                <<"Correct what the message names.">>},
        invalid_request =>
            {no,
                <<"The broker does not understand the request.">>,
                <<"Check that broker and librdkafka go together; a proxy may stand between.">>},
        crit_sys_resource =>
            {yes,
                <<"The system gave no memory, thread or file descriptor.">>,
                <<"Raise the limits (ulimit -n, -u), or have fewer clients.">>}
    }.
