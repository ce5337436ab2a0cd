/*
 * core/partition.c beside the hashes as their authors define them: of any key, among
 * any number of partitions, the partition is theirs.
 */
#include "../core/partition.h"

#include <stdlib.h>

#include "../core/commands.h"
#include "fuzz.h"

/* CRC 32 of IEEE 802.3, bit by bit. */
static uint32_t crc32(const uint8_t *key, size_t size) {
        uint32_t crc = UINT32_MAX;
        for (size_t i = 0; i < size; i++) {
                crc ^= key[i];
                for (int bit = 0; bit < 8; bit++)
                        crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
        return ~crc;
}

/* FNV-1a of 32 bits; the sign of what Java and Go make of it is dropped. */
static uint32_t fnv1a(const uint8_t *key, size_t size) {
        uint32_t hash = 0x811c9dc5u;
        int32_t number;
        for (size_t i = 0; i < size; i++)
                hash = (hash ^ key[i]) * 0x01000193u;
        number = (int32_t)hash;
        return number < 0 ? 0u - hash : hash;
}

static uint32_t mixed(uint32_t word) {
        word *= 0x5bd1e995u;
        return (word ^ word >> 24) * 0x5bd1e995u;
}

/* MurmurHash2 with Kafka's seed, without its sign. */
static uint32_t murmur2(const uint8_t *key, size_t size) {
        uint32_t hash = 0x9747b28cu ^ (uint32_t)size, rest = 0;
        size_t at = 0;
        for (; size - at >= 4; at += 4)
                hash = hash * 0x5bd1e995u ^
                       mixed(key[at] | (uint32_t)key[at + 1] << 8 | (uint32_t)key[at + 2] << 16 |
                             (uint32_t)key[at + 3] << 24);
        for (size_t i = size; i > at; i--)
                rest = rest << 8 | key[i - 1];
        if (size > at)
                hash = (hash ^ rest) * 0x5bd1e995u;
        hash = (hash ^ hash >> 13) * 0x5bd1e995u;
        return (hash ^ hash >> 15) & INT32_MAX;
}

/* The hash, the number of partitions, the key. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        feed_t feed = {data, size};
        uint8_t hash = feed_u8(&feed) % 5;
        int32_t partitions = (int32_t)(feed_u64(&feed) >> 32), partition;
        size_t got;
        uint8_t *key = feed_bytes(&feed, feed.left, &got);
        partition = cr_partition(hash, key, got, partitions);
        if (partitions < 1 || hash > CR_HASH_FNV1A)
                FUZZ_CHECK(partition == -1);
        else if (hash == CR_HASH_CONSISTENT)
                FUZZ_CHECK((uint32_t)partition == crc32(key, got) % (uint32_t)partitions);
        else if (hash == CR_HASH_FNV1A)
                FUZZ_CHECK((uint32_t)partition == fnv1a(key, got) % (uint32_t)partitions);
        else
                FUZZ_CHECK((uint32_t)partition == murmur2(key, got) % (uint32_t)partitions);
        free(key);
        return 0;
}
