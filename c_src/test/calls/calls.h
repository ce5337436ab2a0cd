/*
 * The calls that the core makes into librdkafka, and a few into the system, any of which can
 * be made to fail: the core is linked with each of them renamed to call_*, so that one that
 * is not in this table is a fault of the link.
 */
#ifndef CREMA_TEST_CALLS_H
#define CREMA_TEST_CALLS_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdbool.h>

/* How a failure looks:
 *   CODE      an rd_kafka_resp_err_t
 *   ERROR     an rd_kafka_error_t
 *   NOTHING   NULL, and rd_kafka_last_error()
 *   TAKING    NULL, and the configuration is gone as in a success
 *   MINUS     -1, and the same
 *   PROPERTY  an rd_kafka_conf_res_t
 *   BATCH     in each message
 *   NUMBER    an errno
 *   OWN       it tells of those before
 *   NEVER     there is none: it ends the process, or what it is given is known to be right
 */
#define CALLS                                                                                      \
        CODE(rd_kafka_AdminOptions_set_request_timeout)                                            \
        CODE(rd_kafka_assign)                                                                      \
        CODE(rd_kafka_commit_queue)                                                                \
        CODE(rd_kafka_committed)                                                                   \
        CODE(rd_kafka_flush)                                                                       \
        CODE(rd_kafka_get_watermark_offsets)                                                       \
        CODE(rd_kafka_message_headers)                                                             \
        CODE(rd_kafka_metadata)                                                                    \
        CODE(rd_kafka_mock_broker_push_request_error_rtts)                                         \
        CODE(rd_kafka_mock_broker_set_down)                                                        \
        CODE(rd_kafka_mock_broker_set_rtt)                                                         \
        CODE(rd_kafka_mock_broker_set_up)                                                          \
        CODE(rd_kafka_mock_topic_create)                                                           \
        CODE(rd_kafka_oauthbearer_set_token)                                                       \
        CODE(rd_kafka_offsets_for_times)                                                           \
        CODE(rd_kafka_offsets_store)                                                               \
        CODE(rd_kafka_pause_partitions)                                                            \
        CODE(rd_kafka_poll_set_consumer)                                                           \
        CODE(rd_kafka_purge)                                                                       \
        CODE(rd_kafka_resume_partitions)                                                           \
        CODE(rd_kafka_subscribe)                                                                   \
        CODE(rd_kafka_unsubscribe)                                                                 \
        ERROR(rd_kafka_abort_transaction)                                                          \
        ERROR(rd_kafka_begin_transaction)                                                          \
        ERROR(rd_kafka_commit_transaction)                                                         \
        ERROR(rd_kafka_consumer_close_queue)                                                       \
        ERROR(rd_kafka_consumer_group_metadata_read)                                               \
        ERROR(rd_kafka_consumer_group_metadata_write)                                              \
        ERROR(rd_kafka_incremental_assign)                                                         \
        ERROR(rd_kafka_incremental_unassign)                                                       \
        ERROR(rd_kafka_init_transactions)                                                          \
        ERROR(rd_kafka_produceva)                                                                  \
        ERROR(rd_kafka_sasl_set_credentials)                                                       \
        ERROR(rd_kafka_seek_partitions)                                                            \
        ERROR(rd_kafka_send_offsets_to_transaction)                                                \
        CODE(rd_kafka_set_log_queue)                                                               \
        NOTHING(open_memstream)                                                                    \
        NOTHING(rd_kafka_consumer_group_metadata)                                                  \
        NOTHING(rd_kafka_memberid)                                                                 \
        NOTHING(rd_kafka_mock_cluster_new)                                                         \
        NOTHING(rd_kafka_new)                                                                      \
        NOTHING(rd_kafka_queue_get_consumer)                                                       \
        NOTHING(rd_kafka_rebalance_protocol)                                                       \
        TAKING(rd_kafka_topic_new)                                                                 \
        MINUS(eventfd)                                                                             \
        MINUS(rd_kafka_consume_start_queue)                                                        \
        MINUS(rd_kafka_consume_stop)                                                               \
        MINUS(rd_kafka_produce)                                                                    \
        PROPERTY(rd_kafka_conf_get)                                                                \
        PROPERTY(rd_kafka_conf_set)                                                                \
        PROPERTY(rd_kafka_conf_set_ssl_cert_verify_cb)                                             \
        PROPERTY(rd_kafka_topic_conf_get)                                                          \
        PROPERTY(rd_kafka_topic_conf_set)                                                          \
        BATCH(rd_kafka_produce_batch)                                                              \
        NUMBER(pthread_create)                                                                     \
        NEVER(rd_kafka_AdminOptions_destroy)                                                       \
        NEVER(rd_kafka_AdminOptions_new)                                                           \
        NEVER(rd_kafka_assignment_lost)                                                            \
        NEVER(rd_kafka_conf)                                                                       \
        NEVER(rd_kafka_conf_destroy)                                                               \
        NEVER(rd_kafka_conf_new)                                                                   \
        NEVER(rd_kafka_conf_properties_show)                                                       \
        NEVER(rd_kafka_conf_set_closesocket_cb)                                                    \
        NEVER(rd_kafka_conf_set_events)                                                            \
        NEVER(rd_kafka_conf_set_opaque)                                                            \
        NEVER(rd_kafka_conf_set_socket_cb)                                                         \
        NEVER(rd_kafka_consume_batch_queue)                                                        \
        NEVER(rd_kafka_consume_queue)                                                              \
        NEVER(rd_kafka_consumer_closed)                                                            \
        NEVER(rd_kafka_consumer_group_metadata_destroy)                                            \
        NEVER(rd_kafka_consumer_group_state_name)                                                  \
        NEVER(rd_kafka_ConsumerGroupDescription_coordinator)                                       \
        NEVER(rd_kafka_ConsumerGroupDescription_error)                                             \
        NEVER(rd_kafka_ConsumerGroupDescription_member)                                            \
        NEVER(rd_kafka_ConsumerGroupDescription_member_count)                                      \
        NEVER(rd_kafka_ConsumerGroupDescription_partition_assignor)                                \
        NEVER(rd_kafka_ConsumerGroupDescription_state)                                             \
        NEVER(rd_kafka_ConsumerGroupListing_group_id)                                              \
        NEVER(rd_kafka_ConsumerGroupListing_state)                                                 \
        NEVER(rd_kafka_default_topic_conf_dup)                                                     \
        NEVER(rd_kafka_DescribeConsumerGroups)                                                     \
        NEVER(rd_kafka_DescribeConsumerGroups_result_groups)                                       \
        NEVER(rd_kafka_destroy)                                                                    \
        NEVER(rd_kafka_destroy_flags)                                                              \
        NEVER(rd_kafka_err2name)                                                                   \
        NEVER(rd_kafka_err2str)                                                                    \
        NEVER(rd_kafka_error_code)                                                                 \
        NEVER(rd_kafka_error_destroy)                                                              \
        NEVER(rd_kafka_error_is_fatal)                                                             \
        NEVER(rd_kafka_error_is_retriable)                                                         \
        NEVER(rd_kafka_error_string)                                                               \
        NEVER(rd_kafka_error_txn_requires_abort)                                                   \
        NEVER(rd_kafka_event_DescribeConsumerGroups_result)                                        \
        NEVER(rd_kafka_event_destroy)                                                              \
        NEVER(rd_kafka_event_error)                                                                \
        NEVER(rd_kafka_event_error_is_fatal)                                                       \
        NEVER(rd_kafka_event_error_string)                                                         \
        NEVER(rd_kafka_event_ListConsumerGroupOffsets_result)                                      \
        NEVER(rd_kafka_event_ListConsumerGroups_result)                                            \
        NEVER(rd_kafka_event_log)                                                                  \
        NEVER(rd_kafka_event_message_next)                                                         \
        NEVER(rd_kafka_event_stats)                                                                \
        NEVER(rd_kafka_event_topic_partition_list)                                                 \
        NEVER(rd_kafka_event_type)                                                                 \
        NEVER(rd_kafka_fatal_error)                                                                \
        NEVER(rd_kafka_get_err_descs)                                                              \
        NEVER(rd_kafka_group_result_error)                                                         \
        NEVER(rd_kafka_group_result_partitions)                                                    \
        NEVER(rd_kafka_header_add)                                                                 \
        NEVER(rd_kafka_header_cnt)                                                                 \
        NEVER(rd_kafka_header_get_all)                                                             \
        NEVER(rd_kafka_headers_destroy)                                                            \
        NEVER(rd_kafka_headers_new)                                                                \
        OWN(rd_kafka_last_error)                                                                   \
        NEVER(rd_kafka_ListConsumerGroupOffsets)                                                   \
        NEVER(rd_kafka_ListConsumerGroupOffsets_destroy)                                           \
        NEVER(rd_kafka_ListConsumerGroupOffsets_new)                                               \
        NEVER(rd_kafka_ListConsumerGroupOffsets_result_groups)                                     \
        NEVER(rd_kafka_ListConsumerGroups)                                                         \
        NEVER(rd_kafka_ListConsumerGroups_result_errors)                                           \
        NEVER(rd_kafka_ListConsumerGroups_result_valid)                                            \
        NEVER(rd_kafka_mem_free)                                                                   \
        NEVER(rd_kafka_mem_malloc)                                                                 \
        NEVER(rd_kafka_MemberAssignment_partitions)                                                \
        NEVER(rd_kafka_MemberDescription_assignment)                                               \
        NEVER(rd_kafka_MemberDescription_client_id)                                                \
        NEVER(rd_kafka_MemberDescription_group_instance_id)                                        \
        NEVER(rd_kafka_MemberDescription_host)                                                     \
        NEVER(rd_kafka_message_destroy)                                                            \
        NEVER(rd_kafka_message_errstr)                                                             \
        NEVER(rd_kafka_message_status)                                                             \
        NEVER(rd_kafka_message_timestamp)                                                          \
        NEVER(rd_kafka_metadata_destroy)                                                           \
        NEVER(rd_kafka_mock_cluster_bootstraps)                                                    \
        NEVER(rd_kafka_mock_cluster_destroy)                                                       \
        NEVER(rd_kafka_msg_partitioner_consistent)                                                 \
        NEVER(rd_kafka_msg_partitioner_consistent_random)                                          \
        NEVER(rd_kafka_msg_partitioner_fnv1a)                                                      \
        NEVER(rd_kafka_msg_partitioner_fnv1a_random)                                               \
        NEVER(rd_kafka_msg_partitioner_murmur2)                                                    \
        NEVER(rd_kafka_msg_partitioner_murmur2_random)                                             \
        NEVER(rd_kafka_msg_partitioner_random)                                                     \
        NEVER(rd_kafka_Node_host)                                                                  \
        NEVER(rd_kafka_Node_id)                                                                    \
        NEVER(rd_kafka_Node_port)                                                                  \
        NEVER(rd_kafka_queue_cb_event_enable)                                                      \
        NEVER(rd_kafka_queue_destroy)                                                              \
        NEVER(rd_kafka_queue_forward)                                                              \
        NEVER(rd_kafka_queue_get_main)                                                             \
        NEVER(rd_kafka_queue_get_partition)                                                        \
        NEVER(rd_kafka_queue_new)                                                                  \
        NEVER(rd_kafka_queue_poll)                                                                 \
        NEVER(rd_kafka_thread_cnt)                                                                 \
        NEVER(rd_kafka_topic_conf_destroy)                                                         \
        NEVER(rd_kafka_topic_conf_dup)                                                             \
        NEVER(rd_kafka_topic_conf_set_opaque)                                                      \
        NEVER(rd_kafka_topic_conf_set_partitioner_cb)                                              \
        NEVER(rd_kafka_topic_destroy)                                                              \
        NEVER(rd_kafka_topic_name)                                                                 \
        NEVER(rd_kafka_topic_partition_available)                                                  \
        NEVER(rd_kafka_topic_partition_list_add)                                                   \
        NEVER(rd_kafka_topic_partition_list_copy)                                                  \
        NEVER(rd_kafka_topic_partition_list_del_by_idx)                                            \
        NEVER(rd_kafka_topic_partition_list_destroy)                                               \
        NEVER(rd_kafka_topic_partition_list_find)                                                  \
        NEVER(rd_kafka_topic_partition_list_new)                                                   \
        NEVER(rd_kafka_topic_partition_list_set_offset)                                            \
        NEVER(rd_kafka_topic_partition_list_sort)                                                  \
        NEVER(rd_kafka_version)                                                                    \
        NEVER(rd_kafka_version_str)

#if RD_KAFKA_VERSION >= 0x020300ff
#define NEWER_CALLS                                                                                \
        ERROR(rd_kafka_AdminOptions_set_include_authorized_operations)                             \
        NEVER(rd_kafka_AclOperation_name)                                                          \
        NEVER(rd_kafka_ConsumerGroupDescription_authorized_operations)                             \
        NEVER(rd_kafka_DescribeTopics)                                                             \
        NEVER(rd_kafka_DescribeTopics_result_topics)                                               \
        NEVER(rd_kafka_event_DescribeTopics_result)                                                \
        NEVER(rd_kafka_TopicCollection_destroy)                                                    \
        NEVER(rd_kafka_TopicCollection_of_topic_names)                                             \
        NEVER(rd_kafka_TopicDescription_authorized_operations)                                     \
        NEVER(rd_kafka_TopicDescription_error)
#else
#define NEWER_CALLS
#endif

/* From now on, of each call counted by itself. */
void calls_begin(void);
/* The call with that number among all that were counted in a life without a fault: the
 * first of each of those of the table, the second, and so on; 0: none. */
void calls_fail(long number);
/* Whether there is such a call. */
bool calls_have(long number);
/* Its name, and its number among those of that name, as "name 2". */
const char *calls_name(long number);

#endif
