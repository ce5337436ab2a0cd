/*
 * Partitions by librdkafka's own functions, for keys that are not the
 * message's and for strategies that are not its topic's.
 */
#ifndef CREMA_PARTITION_H
#define CREMA_PARTITION_H

#include <stddef.h>
#include <stdint.h>

/* The partition of a key, one of CR_HASH_*; -1 when there is no such hash or no
 * partition. The key is not NULL; that of nothing is empty. */
int32_t cr_partition(uint8_t hash, const void *key, size_t size, int32_t partitions);

#endif
