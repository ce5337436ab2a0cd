#include "sticky.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
        const char *name;
        cr_partitioner_t partitioner;
        bool sticks; /* messages without a key do */
} known[] = {{"consistent_random", rd_kafka_msg_partitioner_consistent_random, true},
             {"random", rd_kafka_msg_partitioner_random, true},
             {"consistent", rd_kafka_msg_partitioner_consistent, false},
             {"murmur2", rd_kafka_msg_partitioner_murmur2, false},
             {"murmur2_random", rd_kafka_msg_partitioner_murmur2_random, true},
             {"fnv1a", rd_kafka_msg_partitioner_fnv1a, false},
             {"fnv1a_random", rd_kafka_msg_partitioner_fnv1a_random, true}};
#define KNOWN (sizeof(known) / sizeof(known[0]))

/* Milliseconds of a clock that costs next to nothing, and is some behind. */
static int64_t coarse_ms(void) {
        struct timespec now;
#ifdef CLOCK_MONOTONIC_COARSE
        clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
#else
        clock_gettime(CLOCK_MONOTONIC, &now);
#endif
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#define GET(field) atomic_load_explicit(&sticky->field, memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&sticky->field, value, memory_order_relaxed)

static bool is_due(const cr_sticky_t *sticky, int32_t partition, int32_t partitions, int64_t now) {
        return partition < 0 || partition >= partitions || now >= GET(since) + sticky->linger_ms;
}

/* In turn: of a partition only one request is under way at a time, so that what comes for
 * one that has just been left would wait, and librdkafka's thread look for it again and again. */
static int32_t next(const cr_sticky_t *sticky, const rd_kafka_topic_t *rkt, int32_t partitions) {
        int32_t partition = GET(partition);
        if (partition >= 0) {
                partition = (partition + 1) % partitions;
                if (rd_kafka_topic_partition_available(rkt, partition))
                        return partition;
        }
        return rd_kafka_msg_partitioner_random(rkt, NULL, 0, partitions, NULL, NULL);
}

/* Of one thread at a time nearly always; two may choose differently, once. A partition
 * without a leader is not stayed with. @locality any, the topic is locked */
static int32_t choose(const rd_kafka_topic_t *rkt, const void *key, size_t size, int32_t partitions,
                      void *of_topic, void *of_message) {
        cr_sticky_t *sticky = of_topic;
        int64_t now, until;
        int32_t partition;
        if (!cr_sticky_takes(sticky, key, size))
                return sticky->partitioner(rkt, key, size, partitions, of_topic, of_message);
        now = coarse_ms();
        partition = GET(partition);
        if (!is_due(sticky, partition, partitions, now) &&
            rd_kafka_topic_partition_available(rkt, partition)) {
                until = GET(since) + sticky->linger_ms;
        } else {
                partition = next(sticky, rkt, partitions);
                until = rd_kafka_topic_partition_available(rkt, partition) ? now + sticky->linger_ms
                                                                           : now;
                SET(partition, partition);
                SET(since, now);
        }
        SET(until, until < now + STICKY_TRUST_MS ? until : now + STICKY_TRUST_MS);
        return partition;
}

void cr_sticky_switch_off(rd_kafka_conf_t *conf, int *linger_ms) {
        char value[32] = "", ignored[8];
        size_t size = sizeof(value);
        rd_kafka_conf_get(conf, "sticky.partitioning.linger.ms", value, &size);
        *linger_ms = atoi(value);
        (void)rd_kafka_conf_set(conf, "sticky.partitioning.linger.ms", "0", ignored,
                                sizeof(ignored));
}

void cr_sticky_init(cr_sticky_t *sticky, rd_kafka_topic_conf_t *conf, int linger_ms) {
        char name[32] = "";
        size_t size = sizeof(name), at = 0;
        rd_kafka_topic_conf_get(conf, "partitioner", name, &size);
        for (size_t i = 0; i < KNOWN; i++) {
                if (strcmp(name, known[i].name) == 0)
                        at = i;
        }
        sticky->partitioner = known[at].partitioner;
        sticky->takes_empty = at == 0;
        sticky->linger_ms = known[at].sticks ? linger_ms : 0;
        atomic_init(&sticky->partition, -1);
        atomic_init(&sticky->since, 0);
        atomic_init(&sticky->until, 0);
        rd_kafka_topic_conf_set_opaque(conf, sticky);
        rd_kafka_topic_conf_set_partitioner_cb(conf, choose);
}

bool cr_sticky_takes(const cr_sticky_t *sticky, const void *key, size_t size) {
        return sticky->linger_ms && (!key || (!size && sticky->takes_empty));
}

int32_t cr_sticky_partition(const cr_sticky_t *sticky) {
        return coarse_ms() < GET(until) ? GET(partition) : -1;
}

void cr_sticky_forget(cr_sticky_t *sticky) {
        SET(until, 0);
}
