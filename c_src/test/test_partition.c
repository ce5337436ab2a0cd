/* Partitions by hashes: librdkafka's own numbers, and what is no hash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../core/commands.h"
#include "../core/partition.h"

#define MANY INT32_MAX

static int32_t of(uint8_t hash, const char *key, int32_t partitions) {
        return cr_partition(hash, key, strlen(key), partitions);
}

/* Proves that the hashes are those of librdkafka's own tests (CRC 32 that of
 * everybody), as far as a partition shows them. */
static void hashes_are_librdkafkas(void **state) {
        (void)state;
        assert_int_equal(of(CR_HASH_MURMUR2, "kafka", MANY), 0x5067cf64 % MANY);
        assert_int_equal(of(CR_HASH_MURMUR2, "", MANY), 0x106e08d9 % MANY);
        assert_int_equal(of(CR_HASH_MURMUR2, "giberish123456789", MANY), 0x0f552b0c % MANY);
        assert_int_equal(of(CR_HASH_FNV1A, "kafka", MANY), 0x0d33c4e1 % MANY);
        assert_int_equal(of(CR_HASH_FNV1A, "", MANY), 0x7ee3623b % MANY);
        assert_int_equal(of(CR_HASH_CONSISTENT, "123456789", MANY), 0xcbf43926 % MANY);
        assert_int_equal(of(CR_HASH_CONSISTENT, "", 7), 0);
}

/* Proves that a partition is always one of so many. */
static void partitions_are_in_range(void **state) {
        (void)state;
        for (int32_t partitions = 1; partitions < 100; partitions++) {
                for (uint8_t hash = CR_HASH_CONSISTENT; hash <= CR_HASH_FNV1A; hash++) {
                        int32_t partition =
                                cr_partition(hash, &partitions, sizeof(partitions), partitions);
                        assert_in_range(partition, 0, partitions - 1);
                }
        }
}

/* Proves that there is no partition of none, nor by a hash that is none. */
static void nonsense_is_refused(void **state) {
        (void)state;
        assert_int_equal(of(CR_HASH_MURMUR2, "kafka", 0), -1);
        assert_int_equal(of(CR_HASH_MURMUR2, "kafka", -1), -1);
        assert_int_equal(of(CR_HASH_FNV1A + 1, "kafka", 4), -1);
        assert_int_equal(of(UINT8_MAX, "kafka", 4), -1);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(hashes_are_librdkafkas),
                                           cmocka_unit_test(partitions_are_in_range),
                                           cmocka_unit_test(nonsense_is_refused)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
