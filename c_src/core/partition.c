/*
 * librdkafka's partitioners, called as they are: those that leave nothing to
 * chance look at neither topic nor opaque.
 */
#include "partition.h"

#include <librdkafka/rdkafka.h>

#include "commands.h"

int32_t cr_partition(uint8_t hash, const void *key, size_t size, int32_t partitions) {
        if (partitions < 1)
                return -1;
        switch (hash) {
        case CR_HASH_CONSISTENT:
                return rd_kafka_msg_partitioner_consistent(NULL, key, size, partitions, NULL, NULL);
        case CR_HASH_MURMUR2:
                return rd_kafka_msg_partitioner_murmur2(NULL, key, size, partitions, NULL, NULL);
        case CR_HASH_FNV1A:
                return rd_kafka_msg_partitioner_fnv1a(NULL, key, size, partitions, NULL, NULL);
        default:
                return -1;
        }
}
