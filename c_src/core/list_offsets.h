/*
 * What offset partitions have at their beginning, at their end, or at a time:
 * Kafka's ListOffsets, asked for all of them at once.
 */
#ifndef CREMA_LIST_OFFSETS_H
#define CREMA_LIST_OFFSETS_H

#include <librdkafka/rdkafka.h>

/* Blocks for `millis` at most. `which` is RD_KAFKA_OFFSET_BEGINNING, _END or
 * milliseconds since 1970; a time after the last message has offset -1. All
 * partitions or none have an answer. */
rd_kafka_resp_err_t cr_list_offsets(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions,
                                    int64_t which, int millis);

/* The same, but where all messages are older than a time it is the end. */
rd_kafka_resp_err_t cr_list_positions(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions,
                                      int64_t which, int millis);

/* Sets the offsets of those partitions in the list. */
void cr_take_offsets(rd_kafka_topic_partition_list_t *list,
                     const rd_kafka_topic_partition_list_t *from);

/* Sets the error of all partitions in the list. */
void cr_set_err(rd_kafka_topic_partition_list_t *list, rd_kafka_resp_err_t err);

/* What the group has committed, below 0 where it has nothing. */
rd_kafka_resp_err_t cr_committed(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions,
                                 int millis);

/* How long the next try may take, of a question that was not answered within
 * `millis`. librdkafka forgets what it has asked when a try ends, so a broker
 * slower than all tries would never be heard. */
int cr_longer(int millis);
/* Moves fetching to the offsets; each partition that is not known to have moved has an
 * error. @locality a lane */
void cr_seek(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions, int millis);

#endif
