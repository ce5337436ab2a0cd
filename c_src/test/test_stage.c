/* What a busy producer hands to librdkafka together, on the embedded cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../core/stage.h"
#include "support/cluster.h"
#include "support/memory.h"

/* Those of which nobody hears, in one call. */
static void produce(test_host_t *host, uint32_t count) {
        assert_string_equal(plain_produce(host, CR_MODE_NONE, 0, "", count), "");
}

/* A producer with so many unreported messages that those that follow are staged. As
 * nobody drains, they stay unreported. */
static test_host_t *busy_producer(void) {
        test_host_t *host = plain_producer(bootstrap);
        produce(host, CR_STAGE_FROM);
        return host;
}

/* Accepted, and not given to librdkafka. */
static int staged(const test_host_t *host) {
        const cr_stage_t *stage = host->client->delivery->stage;
        return stage ? stage->count : 0;
}

static void flush(test_host_t *host) {
        assert_string_equal(test_command(host, CR_CMD_FLUSH, "flush", 5), "");
        packet_free(test_host_reply(host, "flush"));
        assert_int_equal(host->client->delivery->messages, 0);
        assert_int_equal(host->client->delivery->bytes, 0);
}

/* A call of one message of so many bytes for a partition. */
static void produce_to(test_host_t *host, uint8_t mode, const char *tag, uint32_t partition,
                       size_t size) {
        bytes_t command = {.size = 0};
        put_produce(&command, mode, *tag ? CR_POLICY_WAIT : CR_POLICY_REFUSE, *tag ? 7 : 0, tag, 0);
        command.size -= 4;
        put_uint(&command, 1, 4);
        put_uint(&command, CR_MESSAGE_VALUE | CR_MESSAGE_TOPIC, 1);
        put_uint(&command, 1, 2);
        put_text(&command, "t");
        put_uint(&command, partition, 4);
        put_uint(&command, size, 4);
        memset(command.data + command.size, 'v', size);
        command.size += size;
        (void)test_command(host, CR_CMD_PRODUCE, command.data, command.size);
}

/* Proves that messages go at once while there are few, and together when there are many. */
static void busy_producers_stage(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        (void)state;
        for (int i = 0; i < CR_STAGE_FROM; i++)
                produce(host, 1);
        assert_int_equal(staged(host), 0);
        for (int i = 1; i < CR_STAGE_MOST; i++) {
                produce(host, 1);
                assert_int_equal(staged(host), i);
        }
        produce(host, 1);
        assert_int_equal(staged(host), 0);
        flush(host);
        test_host_free(host);
}

/* Proves that what is staged waits for a millisecond, not longer. */
static void the_alarm_hands_over(void **state) {
        test_host_t *host = busy_producer();
        (void)state;
        assert_int_equal(host->alarm, 0);
        for (int i = 0; i < 2; i++) {
                produce(host, 1);
                assert_int_equal(staged(host), 1);
                assert_int_equal(host->alarm, CR_STAGE_MS);
                host->alarm = 0;
                cr_client_sweep(host->client);
                assert_int_equal(staged(host), 0);
        }
        flush(host);
        test_host_free(host);
}

/* Proves that whatever is done with the client comes after what is staged. */
static void others_come_behind(void **state) {
        test_host_t *host = busy_producer();
        (void)state;
        produce(host, 1);
        produce(host, 2);
        assert_int_equal(staged(host), 0);
        produce(host, 1);
        produce_to(host, CR_MODE_WAIT, "waits", UINT32_MAX, 1);
        assert_int_equal(staged(host), 0);
        produce(host, 1);
        produce_to(host, CR_MODE_NONE, "", UINT32_MAX, 2000);
        assert_int_equal(staged(host), 0);
        produce(host, 1);
        produce_to(host, CR_MODE_NONE, "", 2, 1);
        assert_int_equal(staged(host), 1);
        (void)test_command(host, CR_CMD_PURGE, "", 0);
        assert_int_equal(staged(host), 0);
        produce(host, 1);
        cr_client_drain(host->client);
        assert_int_equal(staged(host), 0);
        flush(host);
        test_host_free(host);
}

/* Proves that values are copied as far as there is room. */
static void large_values_find_room(void **state) {
        test_host_t *host = busy_producer();
        bool full = false;
        (void)state;
        for (int i = 1; i < CR_STAGE_MOST; i++) {
                produce_to(host, CR_MODE_NONE, "", UINT32_MAX, 1000);
                full |= staged(host) < i;
        }
        assert_true(full);
        flush(host);
        test_host_free(host);
}

static void refused_one_leaves_its_place(bool by_command) {
        const char *const properties[] = {"bootstrap.servers", bootstrap, NULL};
        const test_option_t options[] = {{"max_messages", CR_STAGE_FROM + 1}, {NULL, 0}};
        test_host_t *host = test_host_new();
        packet_t *packet;
        assert_string_equal(test_open_with(host, "producer", properties, options), "ok");
        produce_to(host, CR_MODE_WAIT, "known", 0, 1);
        packet_free(test_host_reply(host, "known"));
        produce(host, CR_STAGE_FROM);
        produce_to(host, CR_MODE_NONE, "", 99, 1);
        produce_to(host, CR_MODE_KEEP, "place", 0, 1);
        assert_int_equal(host->client->delivery->waiting, 1);
        if (by_command)
                assert_string_equal(test_command(host, CR_CMD_INFO, "", 0), "ok");
        cr_client_sweep(host->client);
        assert_int_equal(host->client->delivery->waiting, 0);
        packet = test_host_reply(host, "place");
        assert_non_null(packet);
        packet_free(packet);
        flush(host);
        test_host_free(host);
}

/* Proves that the place of a message that librdkafka refuses later goes to who waits,
 * also when a command had it handed over. */
static void refused_ones_leave_their_places(void **state) {
        (void)state;
        refused_one_leaves_its_place(false);
        refused_one_leaves_its_place(true);
}

/* Proves that a client that is closed reports what it had staged. */
static void the_end_reports_what_is_staged(void **state) {
        test_host_t *host = busy_producer();
        packet_t *packet;
        (void)state;
        produce(host, 1);
        assert_string_equal(test_command(host, CR_CMD_CLOSE, "closed", 6), "");
        produce(host, 1);
        assert_int_equal(staged(host), 1);
        test_host_close(host);
        packet = test_host_reply(host, "closed");
        assert_non_null(packet);
        packet_free(packet);
        test_host_free(host);
}

/* Proves that without memory for the copies a message goes at once. */
static void without_memory_none_is_staged(void **state) {
        test_host_t *host = busy_producer();
        (void)state;
        memory_fails_at(1);
        produce(host, 1);
        memory_fails_at(0);
        assert_int_equal(staged(host), 0);
        produce(host, 1);
        assert_int_equal(staged(host), 1);
        flush(host);
        test_host_free(host);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(busy_producers_stage),
                                           cmocka_unit_test(the_alarm_hands_over),
                                           cmocka_unit_test(others_come_behind),
                                           cmocka_unit_test(large_values_find_room),
                                           cmocka_unit_test(refused_ones_leave_their_places),
                                           cmocka_unit_test(the_end_reports_what_is_staged),
                                           cmocka_unit_test(without_memory_none_is_staged)};
        return cmocka_run_group_tests(tests, start_cluster, stop_cluster);
}
