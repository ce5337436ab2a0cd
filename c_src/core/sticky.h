/*
 * Where messages without a key go: as librdkafka has it they stay with one
 * partition for sticky.partitioning.linger.ms, so that larger batches form; then, unlike
 * there, they go to the next and not to one by chance. librdkafka asks for each message
 * anew whether the partition has a leader and what time it is, which is a quarter of what a
 * small message costs the caller. So its own stickiness is switched off, and ours is its
 * partitioner. What that has chosen is given with the messages that follow, for
 * STICKY_TRUST_MS at most; then librdkafka asks again.
 */
#ifndef CREMA_STICKY_H
#define CREMA_STICKY_H

#include <librdkafka/rdkafka.h>

#include <stdatomic.h>
#include <stdbool.h>

#define STICKY_TRUST_MS 10

typedef int32_t (*cr_partitioner_t)(const rd_kafka_topic_t *rkt, const void *key, size_t size,
                                    int32_t partitions, void *of_topic, void *of_message);

/* A topic's. librdkafka's threads ask too, for messages that came before it was
 * known how many partitions there are. */
typedef struct cr_sticky {
        cr_partitioner_t partitioner; /* librdkafka's, by the topic's property */
        int linger_ms;                /* 0: nothing sticks */
        bool takes_empty;             /* an empty key is as none */
        atomic_int partition;         /* -1: none was chosen yet */
        _Atomic int64_t since;        /* when it was chosen, in ms */
        _Atomic int64_t until;        /* may be given without asking */
} cr_sticky_t;

/* Takes a producer's property into *linger_ms, and leaves librdkafka none. */
void cr_sticky_switch_off(rd_kafka_conf_t *conf, int *linger_ms);
/* Makes it the partitioner of the topics of that configuration: of one. */
void cr_sticky_init(cr_sticky_t *sticky, rd_kafka_topic_conf_t *conf, int linger_ms);
/* Whether a message with that key sticks. */
bool cr_sticky_takes(const cr_sticky_t *sticky, const void *key, size_t size);
/* The partition to give with messages that stick; -1 leaves it to librdkafka. */
int32_t cr_sticky_partition(const cr_sticky_t *sticky);
/* There is no such partition any more. */
void cr_sticky_forget(cr_sticky_t *sticky);

#endif
