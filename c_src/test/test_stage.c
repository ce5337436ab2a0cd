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
        produce(host, 1); /* what single calls need is there */
        produce(host, CR_STAGE_FROM - 1);
        return host;
}

/* Accepted, and not given to librdkafka. */
static int staged(const test_host_t *host) {
        const cr_stage_t *stage = host->client->delivery->stage;
        return stage && stage->call ? stage->into->count : 0;
}

/* Whether a message of so many bytes for a partition was accepted at the intake. */
static bool put(const test_host_t *host, uint32_t partition, size_t size) {
        const cr_stage_t *stage = host->client->delivery->stage;
        bytes_t message = {.size = 0};
        put_uint(&message, stage ? cr_intake_key(stage->intake) : 0, 8);
        put_plain(&message, partition, size);
        return cr_intake_command(message.data, message.size);
}

/* The same of a small one for whatever partition. */
static bool put_one(const test_host_t *host) {
        return put(host, UINT32_MAX, 1);
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
        put_plain(&command, partition, size);
        (void)test_command(host, CR_CMD_PRODUCE, command.data, command.size);
}

/* Proves that messages go at once while there are few, and together when there are many:
 * then the intake takes them, as many as there is room for. */
static void busy_producers_stage(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        (void)state;
        for (int i = 0; i < CR_STAGE_FROM; i++) {
                assert_false(put_one(host));
                produce(host, 1);
        }
        assert_int_equal(staged(host), 0);
        produce(host, 1);
        for (int i = 1; i < CR_INTAKE_MOST; i++) {
                assert_int_equal(staged(host), i);
                assert_true(put_one(host));
        }
        assert_false(put_one(host));
        assert_int_equal(host->client->delivery->messages, CR_STAGE_FROM);
        produce(host, 1);
        assert_int_equal(staged(host), 1);
        assert_int_equal(host->client->delivery->messages, CR_STAGE_FROM + CR_INTAKE_MOST);
        flush(host);
        assert_int_equal(host->client->delivery->accepted, CR_STAGE_FROM + CR_INTAKE_MOST + 1);
        assert_false(put_one(host));
        test_host_free(host);
}

/* Proves that a command of a message like those that come in joins them, that one unlike them
 * comes behind them, and that all are counted. */
static void commands_join(void **state) {
        test_host_t *host = busy_producer();
        const cr_delivery_t *delivery = host->client->delivery;
        (void)state;
        for (int i = 1; i <= CR_INTAKE_MOST; i++) {
                produce(host, 1);
                assert_int_equal(staged(host), i);
                assert_int_equal(delivery->messages, CR_STAGE_FROM);
        }
        produce(host, 1);
        assert_int_equal(staged(host), 1);
        assert_int_equal(delivery->messages, CR_STAGE_FROM + CR_INTAKE_MOST);
        produce_to(host, CR_MODE_NONE, "", 0, 1);
        assert_int_equal(staged(host), 0);
        assert_int_equal(delivery->messages, CR_STAGE_FROM + CR_INTAKE_MOST + 2);
        flush(host);
        assert_int_equal(delivery->accepted, CR_STAGE_FROM + CR_INTAKE_MOST + 2);
        test_host_free(host);
}

/* Proves that callers are told the key of the intake. */
static void the_key_is_told(void **state) {
        test_host_t *host = busy_producer();
        bytes_t key = {.size = 0};
        const unsigned char *answer;
        size_t size;
        (void)state;
        assert_string_equal(test_command(host, CR_CMD_INTAKE, "", 0), "ok");
        answer = test_answer(&size);
        put_uint(&key, cr_intake_key(host->client->delivery->stage->intake), 8);
        assert_true(size >= 8);
        assert_memory_equal(answer + size - 8, key.data, 8);
        flush(host);
        test_host_free(host);
}

/* Proves that what is staged waits for a millisecond, not longer, and that the intake stays
 * open as long as something comes. */
static void the_alarm_hands_over(void **state) {
        test_host_t *host = busy_producer();
        (void)state;
        assert_int_equal(host->alarm, 0);
        for (int i = 0; i < 2; i++) {
                produce(host, 1);
                assert_int_equal(staged(host), 1);
                assert_int_equal(host->alarm, CR_STAGE_MS);
                for (int k = 0; k < 2; k++) {
                        host->alarm = 0;
                        cr_client_sweep(host->client);
                        assert_int_equal(staged(host), 0);
                        assert_int_equal(host->alarm, CR_STAGE_MS);
                        assert_true(put_one(host));
                }
                for (int k = 0; k < 2; k++) {
                        host->alarm = 0;
                        cr_client_sweep(host->client);
                }
                assert_int_equal(host->alarm, 0);
                assert_false(put_one(host));
        }
        flush(host);
        test_host_free(host);
}

/* Proves that whatever is done with the client comes after what is staged. */
static void others_come_behind(void **state) {
        test_host_t *host = busy_producer();
        const cr_delivery_t *delivery = host->client->delivery;
        (void)state;
        produce(host, 1);
        produce(host, 2);
        assert_int_equal(staged(host), 0);
        produce(host, 1);
        assert_true(put_one(host));
        produce_to(host, CR_MODE_WAIT, "waits", UINT32_MAX, 1);
        assert_int_equal(staged(host), 0);
        assert_int_equal(delivery->messages, CR_STAGE_FROM + 6);
        produce(host, 1);
        produce_to(host, CR_MODE_NONE, "", UINT32_MAX, 2000);
        assert_int_equal(staged(host), 0);
        produce(host, 1);
        produce_to(host, CR_MODE_NONE, "", 2, 1);
        assert_int_equal(staged(host), 0);
        produce_to(host, CR_MODE_NONE, "", 2, 1);
        assert_int_equal(staged(host), 1);
        assert_false(put_one(host));
        assert_true(put(host, 2, 1));
        (void)test_command(host, CR_CMD_PURGE, "", 0);
        assert_int_equal(staged(host), 0);
        assert_false(put(host, 2, 1));
        produce(host, 1);
        assert_int_equal(delivery->messages, CR_STAGE_FROM + 13);
        cr_client_drain(host->client);
        assert_int_equal(staged(host), 0);
        flush(host);
        test_host_free(host);
}

/* Proves that a drain hands over what has come in, and that more comes in afterwards: but
 * not where nothing did. */
static void drains_leave_it_open(void **state) {
        test_host_t *host = plain_producer("127.0.0.1:1");
        (void)state;
        produce(host, CR_STAGE_FROM);
        produce(host, 1);
        for (uint64_t i = 1; i <= 3; i++) {
                cr_client_drain(host->client);
                assert_int_equal(staged(host), 0);
                assert_int_equal(host->client->delivery->messages, CR_STAGE_FROM + i);
                assert_true(put_one(host));
        }
        cr_client_drain(host->client);
        cr_client_drain(host->client);
        assert_false(put_one(host));
        (void)test_command(host, CR_CMD_PURGE, "", 0);
        flush(host);
        test_host_free(host);
}

/* Proves that values are copied as far as there is room, and large ones not at all. */
static void large_values_find_room(void **state) {
        test_host_t *host = busy_producer();
        int taken = 1;
        (void)state;
        produce(host, 1);
        assert_false(put(host, UINT32_MAX, CR_INTAKE_LARGEST + 1));
        while (put(host, UINT32_MAX, CR_INTAKE_LARGEST))
                taken++;
        assert_int_equal(taken, CR_INTAKE_ROOM / CR_INTAKE_LARGEST);
        assert_true(put_one(host));
        produce_to(host, CR_MODE_NONE, "", UINT32_MAX, CR_INTAKE_LARGEST);
        assert_int_equal(staged(host), 1);
        flush(host);
        test_host_free(host);
}

static test_host_t *producer_of(test_option_t option) {
        const char *const properties[] = {"bootstrap.servers", bootstrap, NULL};
        const test_option_t options[] = {option, {NULL, 0}};
        test_host_t *host = test_host_new();
        assert_string_equal(test_open_with(host, "producer", properties, options), "ok");
        return host;
}

/* Proves that no more come in than there are places for, nor more bytes, and that who waits
 * for a place is not overtaken. */
static void no_more_than_places(void **state) {
        test_host_t *host = producer_of((test_option_t){"max_messages", CR_STAGE_FROM + 3});
        (void)state;
        produce(host, CR_STAGE_FROM);
        produce(host, 1);
        assert_true(put_one(host));
        assert_true(put_one(host));
        assert_false(put_one(host));
        assert_string_equal(plain_produce(host, CR_MODE_NONE, 0, "", 1), "queue_full");
        produce_to(host, CR_MODE_KEEP, "place", 0, 1);
        assert_int_equal(host->client->delivery->waiting, 1);
        assert_false(put_one(host));
        packet_free(test_host_reply(host, "place"));
        flush(host);
        assert_int_equal(host->client->delivery->accepted, CR_STAGE_FROM + 4);
        test_host_free(host);

        host = producer_of((test_option_t){"max_bytes", CR_STAGE_FROM + 10});
        produce(host, CR_STAGE_FROM);
        produce(host, 1);
        assert_false(put(host, UINT32_MAX, 10));
        assert_true(put(host, UINT32_MAX, 9));
        assert_false(put_one(host));
        flush(host);
        test_host_free(host);
}

/* Proves that of those who wait for a place none lets others in before the next, and that
 * no place is given that is there no more. */
static void who_waits_comes_first(void **state) {
        test_host_t *host = plain_producer("127.0.0.1:1");
        cr_delivery_t *delivery = host->client->delivery;
        (void)state;
        delivery->options.max_messages = CR_STAGE_FROM;
        produce(host, CR_STAGE_FROM);
        produce_to(host, CR_MODE_NONE, "first", UINT32_MAX, 1);
        produce_to(host, CR_MODE_NONE, "second", UINT32_MAX, 1);
        assert_int_equal(delivery->waiting, 2);
        delivery->options.max_messages = 1000;
        cr_client_drain(host->client);
        assert_int_equal(delivery->waiting, 0);
        assert_int_equal(delivery->messages, CR_STAGE_FROM + 2);
        assert_int_equal(staged(host), 0);
        assert_false(put_one(host));
        produce(host, 1);
        assert_true(put_one(host));
        delivery->options.max_messages = CR_STAGE_FROM;
        cr_client_drain(host->client);
        assert_int_equal(delivery->messages, CR_STAGE_FROM + 4);
        assert_false(put_one(host));
        (void)test_command(host, CR_CMD_PURGE, "", 0);
        flush(host);
        test_host_free(host);
}

static void refused_one_leaves_its_place(bool by_command) {
        test_host_t *host = producer_of((test_option_t){"max_messages", CR_STAGE_FROM + 1});
        packet_t *packet;
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

/* Proves that a client that is closed reports what it had staged, and takes nothing from
 * the moment on when its host has closed it. */
static void the_end_reports_what_is_staged(void **state) {
        test_host_t *host = busy_producer();
        bytes_t message = {.size = 0};
        packet_t *packet;
        (void)state;
        produce(host, 1);
        assert_string_equal(test_command(host, CR_CMD_CLOSE, "closed", 6), "");
        produce(host, 1);
        assert_true(put_one(host));
        assert_int_equal(staged(host), 2);
        put_uint(&message, cr_intake_key(host->client->delivery->stage->intake), 8);
        put_plain(&message, UINT32_MAX, 1);
        test_host_close(host);
        assert_false(cr_intake_command(message.data, message.size));
        packet = test_host_reply(host, "closed");
        assert_non_null(packet);
        packet_free(packet);
        test_host_free(host);
}

/* Proves that without memory for the copies a message goes at once. */
static void without_memory_none_is_staged(void **state) {
        test_host_t *host = busy_producer();
        (void)state;
        for (int i = 1; i <= 2; i++) {
                memory_fails_at(i);
                produce(host, 1);
                memory_fails_at(0);
                assert_int_equal(staged(host), 0);
        }
        produce(host, 1);
        assert_int_equal(staged(host), 1);
        flush(host);
        test_host_free(host);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(busy_producers_stage),
                                           cmocka_unit_test(commands_join),
                                           cmocka_unit_test(the_key_is_told),
                                           cmocka_unit_test(the_alarm_hands_over),
                                           cmocka_unit_test(others_come_behind),
                                           cmocka_unit_test(drains_leave_it_open),
                                           cmocka_unit_test(large_values_find_room),
                                           cmocka_unit_test(no_more_than_places),
                                           cmocka_unit_test(who_waits_comes_first),
                                           cmocka_unit_test(refused_ones_leave_their_places),
                                           cmocka_unit_test(the_end_reports_what_is_staged),
                                           cmocka_unit_test(without_memory_none_is_staged)};
        return cmocka_run_group_tests(tests, start_cluster, stop_cluster);
}
