/*
 * What differs between the librdkafkas we build with, asked once and here
 * only: the rest of the core tests CR_HAVE_* as ordinary constants.
 */
#ifndef CREMA_RDKAFKA_COMPAT_H
#define CREMA_RDKAFKA_COMPAT_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <stdbool.h>

#if RD_KAFKA_VERSION < 0x020002ff
#error "crema needs librdkafka 2.0.2 or later"
#endif

/* Whether crema has brought it (CREMA_LIBRDKAFKA=bundled); config.sh tells. */
#ifndef CR_BUNDLED
#define CR_BUNDLED 0
#endif

/* SCRAM that repeats the nonce as Kafka 4 demands (2.6.1, #4895). */
#define CR_HAVE_SCRAM_KAFKA_4 (RD_KAFKA_VERSION >= 0x020601ff)
/* The consumer group protocol of KIP-848, generally available (2.12). */
#define CR_HAVE_CONSUMER_PROTOCOL (RD_KAFKA_VERSION >= 0x020c00ff)
/* What brokers say to its members, which old headers do not know. */
#define CR_ERR_FENCED_MEMBER_EPOCH ((rd_kafka_resp_err_t)110)
#define CR_ERR_STALE_MEMBER_EPOCH ((rd_kafka_resp_err_t)113)
/* fetch.queue.backoff.ms (2.2): without it a full queue costs a second. */
#define CR_HAVE_FETCH_QUEUE_BACKOFF (RD_KAFKA_VERSION >= 0x020200ff)

/* Before 2.3.0 a consumer with a sticky strategy must not be destroyed between
 * the answer to its join and its first assignment: an assertion then ends the
 * process (#4381). Asked at run time: the library may be newer than its headers. */
static inline bool cr_must_be_assigned_first(void) {
        return rd_kafka_version() < 0x020300ff;
}

/* Whether all of ssl.certificate.pem is sent to brokers (2.8.0, #4894). */
static inline bool cr_sends_chain(void) {
        return rd_kafka_version() >= 0x020800ff;
}

/* The longest time that librdkafka takes for a request to a group's coordinator. Where that
 * is over before the coordinator is found, an assertion ends the process, 2.15.1's too: so
 * the core gives up by itself. */
#define CR_ADMIN_MS 3600000

/* Before 2.10.0 a description of groups that the coordinator cannot give is freed
 * twice, which an assertion answers (#4941). */
static inline bool cr_describes_groups(void) {
        return rd_kafka_version() >= 0x020a00ff;
}

/* What the user may do with a topic or group is told by brokers (2.3). */
#if RD_KAFKA_VERSION >= 0x020300ff
/* The answer comes to the queue; false when it cannot be asked. */
static inline bool cr_ask_operations(rd_kafka_t *rk, const char *name, bool of_group, int millis,
                                     rd_kafka_queue_t *queue) {
        if (of_group && !cr_describes_groups())
                return false;
        rd_kafka_AdminOptions_t *options =
                rd_kafka_AdminOptions_new(rk, of_group ? RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS
                                                       : RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        rd_kafka_TopicCollection_t *topics = rd_kafka_TopicCollection_of_topic_names(&name, 1);
        char text[8];
        rd_kafka_error_t *refused =
                rd_kafka_AdminOptions_set_include_authorized_operations(options, 1);
        bool asked = !refused && rd_kafka_AdminOptions_set_request_timeout(
                                         options, of_group ? CR_ADMIN_MS : millis, text,
                                         sizeof(text)) == RD_KAFKA_RESP_ERR_NO_ERROR;
        if (asked && of_group)
                rd_kafka_DescribeConsumerGroups(rk, &name, 1, options, queue);
        else if (asked)
                rd_kafka_DescribeTopics(rk, topics, options, queue);
        if (refused)
                rd_kafka_error_destroy(refused);
        rd_kafka_TopicCollection_destroy(topics);
        rd_kafka_AdminOptions_destroy(options);
        return asked;
}

/* Borrowed from the event; NULL, and an error or none, where they were not told. */
static inline const rd_kafka_AclOperation_t *cr_operations(rd_kafka_event_t *event, bool of_group,
                                                           size_t *count,
                                                           const rd_kafka_error_t **error) {
        const rd_kafka_DescribeTopics_result_t *of_topics =
                rd_kafka_event_DescribeTopics_result(event);
        const rd_kafka_DescribeConsumerGroups_result_t *of_groups =
                rd_kafka_event_DescribeConsumerGroups_result(event);
        size_t found = 0;
        *count = 0;
        *error = NULL;
        if (of_group && of_groups) {
                const rd_kafka_ConsumerGroupDescription_t **groups =
                        rd_kafka_DescribeConsumerGroups_result_groups(of_groups, &found);
                if (!found)
                        return NULL;
                *error = rd_kafka_ConsumerGroupDescription_error(groups[0]);
                return rd_kafka_ConsumerGroupDescription_authorized_operations(groups[0], count);
        }
        if (!of_group && of_topics) {
                const rd_kafka_TopicDescription_t **topics =
                        rd_kafka_DescribeTopics_result_topics(of_topics, &found);
                if (!found)
                        return NULL;
                *error = rd_kafka_TopicDescription_error(topics[0]);
                return rd_kafka_TopicDescription_authorized_operations(topics[0], count);
        }
        return NULL;
}
#else
static inline bool cr_ask_operations(rd_kafka_t *rk, const char *name, bool of_group, int millis,
                                     rd_kafka_queue_t *queue) {
        (void)rk, (void)name, (void)of_group, (void)millis, (void)queue;
        return false;
}

static inline const rd_kafka_AclOperation_t *cr_operations(rd_kafka_event_t *event, bool of_group,
                                                           size_t *count,
                                                           const rd_kafka_error_t **error) {
        (void)event, (void)of_group;
        *count = 0;
        *error = NULL;
        return NULL;
}
#endif

#endif
