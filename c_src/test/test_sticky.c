/* Where messages without a key go, on the embedded cluster; and that those with one go
 * where librdkafka's own partitioner would have them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../core/delivery.h"
#include "support/cluster.h"

#define PARTITIONS 4
#define COUNT 40

static test_host_t *producer(const char *partitioner, const char *linger) {
        const char *const properties[] = {"bootstrap.servers",
                                          bootstrap,
                                          "log.queue",
                                          "true",
                                          "partitioner",
                                          partitioner,
                                          "sticky.partitioning.linger.ms",
                                          linger,
                                          NULL};
        test_host_t *host = test_host_new();
        assert_string_equal(test_open(host, "producer", properties), "ok");
        return host;
}

static cr_sticky_t *sticky_of(test_host_t *host) {
        size_t at = 0;
        cr_topic_t *topic = cr_map_next(&host->client->delivery->topics, &at);
        assert_non_null(topic);
        return &topic->sticky;
}

/* Waits for the call's reports, all of success; counts where they went. */
static void count_partitions(test_host_t *host, unsigned counts[PARTITIONS]) {
        packet_t *packet = test_host_reply(host, "wait");
        assert_non_null(packet);
        for (size_t at = 0; at < packet->size; at += CR_REPORT_SIZE) {
                assert_int_equal(report_error(packet->bytes + at), 0);
                assert_in_range(packet->bytes[at + 6], 0, PARTITIONS - 1);
                counts[packet->bytes[at + 6]]++;
        }
        packet_free(packet);
}

/* The number of partitions that calls of one message, and of many, went to. */
static unsigned partitions_of_calls(test_host_t *host) {
        unsigned counts[PARTITIONS] = {0}, used = 0;
        for (int i = 0; i < COUNT; i++) {
                assert_string_equal(plain_produce(host, CR_MODE_WAIT, 1, "wait", i % 2 ? 1 : COUNT),
                                    "");
                count_partitions(host, counts);
        }
        for (int i = 0; i < PARTITIONS; i++)
                used += counts[i] > 0;
        return used;
}

/* Once it is known where the leaders are: until then no partition is stayed with. */
static void meet_leaders(test_host_t *host) {
        unsigned counts[PARTITIONS] = {0};
        assert_string_equal(plain_produce(host, CR_MODE_WAIT, 1, "wait", COUNT), "");
        count_partitions(host, counts);
}

/* Proves that without a key messages stay together as long as the property says, and
 * go where they like when it says 0. */
static void they_stay_together(void **state) {
        static const char *const names[] = {"consistent_random", "random", "murmur2_random",
                                            "fnv1a_random"};
        (void)state;
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                test_host_t *staying = producer(names[i], "600000");
                test_host_t *loose = producer(names[i], "0");
                meet_leaders(staying);
                assert_int_equal(partitions_of_calls(staying), 1);
                assert_int_not_equal(partitions_of_calls(loose), 1);
                test_host_free(staying);
                test_host_free(loose);
        }
}

/* Proves that after its time a partition is left for the next, and the last for the first. */
static void they_move_on(void **state) {
        test_host_t *host = producer("consistent_random", "600000");
        cr_sticky_t *sticky;
        (void)state;
        meet_leaders(host);
        sticky = sticky_of(host);
        for (int turn = 0; turn < 2 * PARTITIONS; turn++) {
                int last = sticky->partition;
                atomic_store(&sticky->since, -600000);
                atomic_store(&sticky->until, 0);
                assert_int_equal(partitions_of_calls(host), 1);
                assert_int_equal(sticky->partition, (last + 1) % PARTITIONS);
        }
        test_host_free(host);
}

/* Proves that a partition that is no more is not kept to, and that nothing is lost nor
 * sent twice by that. */
static void what_is_gone_is_left(void **state) {
        test_host_t *host = producer("consistent_random", "600000");
        unsigned counts[PARTITIONS] = {0}, sum = 0;
        cr_sticky_t *sticky;
        (void)state;
        meet_leaders(host);
        sticky = sticky_of(host);
        atomic_store(&sticky->partition, PARTITIONS);
        atomic_store(&sticky->until, INT64_MAX);
        assert_string_equal(plain_produce(host, CR_MODE_WAIT, 1, "wait", COUNT), "");
        count_partitions(host, counts);
        for (int i = 0; i < PARTITIONS; i++)
                sum += counts[i];
        assert_int_equal(sum, COUNT);
        assert_int_equal(host->client->delivery->answered, 2 * COUNT);
        assert_in_range(atomic_load(&sticky->partition), 0, PARTITIONS - 1);
        test_host_free(host);
}

/* Produces one message with that key, NULL for none; where it went. */
static int partition_of(test_host_t *host, const char *key) {
        unsigned counts[PARTITIONS] = {0};
        bytes_t command = {.size = 0};
        int at = 0;
        put_produce(&command, CR_MODE_WAIT, CR_POLICY_REFUSE, 1, "wait", 0);
        command.data[2 + 8 + 2 + 4 + 3] = 1; /* the count */
        put_uint(&command, CR_MESSAGE_TOPIC | (key ? CR_MESSAGE_KEY : 0), 1);
        put_uint(&command, 1, 2);
        put_text(&command, "t");
        if (key) {
                put_uint(&command, strlen(key), 4);
                put_text(&command, key);
        }
        assert_string_equal(test_command(host, CR_CMD_PRODUCE, command.data, command.size), "");
        count_partitions(host, counts);
        while (!counts[at])
                at++;
        return at;
}

/* Proves that with each partitioner a key decides as librdkafka has it, also an empty
 * one, and that of those that leave nothing to chance none does as well. */
static void keys_decide(void **state) {
        static const struct {
                const char *name;
                cr_partitioner_t partitioner;
                bool of_none;
        } partitioners[] = {
                {"consistent", rd_kafka_msg_partitioner_consistent, true},
                {"murmur2", rd_kafka_msg_partitioner_murmur2, true},
                {"fnv1a", rd_kafka_msg_partitioner_fnv1a, true},
                {"consistent_random", rd_kafka_msg_partitioner_consistent, false},
                {"murmur2_random", rd_kafka_msg_partitioner_murmur2, false},
                {"fnv1a_random", rd_kafka_msg_partitioner_fnv1a, false},
        };
        static const char *const keys[] = {"a", "bean", "crema", "doppio", ""};
        (void)state;
        for (size_t i = 0; i < sizeof(partitioners) / sizeof(partitioners[0]); i++) {
                test_host_t *host = producer(partitioners[i].name, "600000");
                bool crc_random = strcmp(partitioners[i].name, "consistent_random") == 0;
                for (size_t k = 0; k < (crc_random ? 4u : 5u); k++)
                        assert_int_equal(partition_of(host, keys[k]),
                                         partitioners[i].partitioner(NULL, keys[k], strlen(keys[k]),
                                                                     PARTITIONS, NULL, NULL));
                if (partitioners[i].of_none)
                        assert_int_equal(
                                partition_of(host, NULL),
                                partitioners[i].partitioner(NULL, NULL, 0, PARTITIONS, NULL, NULL));
                if (crc_random)
                        assert_int_equal(partition_of(host, ""), partition_of(host, NULL));
                test_host_free(host);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(they_stay_together), cmocka_unit_test(they_move_on),
                cmocka_unit_test(what_is_gone_is_left), cmocka_unit_test(keys_decide)};
        return cmocka_run_group_tests(tests, start_cluster, stop_cluster);
}
