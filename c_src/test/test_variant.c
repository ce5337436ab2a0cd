/* Topics' configurations: their numbers, what is refused, what they do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../core/delivery.h"
#include "support/cluster.h"

static test_host_t *producer(const char *servers, const char *idempotence) {
        const char *const properties[] = {"bootstrap.servers",  servers,     "log.queue", "true",
                                          "enable.idempotence", idempotence, NULL};
        test_host_t *host = test_host_new();
        assert_string_equal(test_open(host, "producer", properties), "ok");
        return host;
}

/* TOPIC_CONFIG of one property, which may come with another value again; its
 * number, or -1 when it was refused. */
static int64_t config_twice(test_host_t *host, const char *key, const char *value,
                            const char *again) {
        const char *const values[] = {value, again};
        int count = again ? 2 : 1;
        cr_writer_t out = cr_writer();
        cr_reader_t answer;
        const unsigned char *bytes;
        char ok[8];
        size_t size;
        cr_write_list(&out, count);
        for (int i = 0; i < count; i++) {
                cr_write_tuple(&out, 2);
                cr_write_text(&out, key);
                cr_write_text(&out, values[i]);
        }
        cr_write_list_end(&out);
        (void)test_command(host, CR_CMD_TOPIC_CONFIG, out.x.buff, (size_t)out.x.index);
        cr_writer_discard(&out);
        bytes = test_answer(&size);
        answer = cr_reader(bytes, size);
        cr_read_tuple(&answer, 2);
        cr_read_atom(&answer, ok, sizeof(ok));
        return strcmp(ok, "ok") == 0 ? cr_read_integer(&answer) : -1;
}

static int64_t config(test_host_t *host, const char *key, const char *value) {
        return config_twice(host, key, value, NULL);
}

/* Whether the last answer has that text in it. */
static bool told(const char *text) {
        size_t size;
        const unsigned char *bytes = test_answer(&size);
        return memmem(bytes, size, text, strlen(text)) != NULL;
}

/* A waiting call of one message, by a variant. */
static const char *produce(test_host_t *host, const char *topic, int64_t variant, uint8_t policy,
                           const char *tag) {
        static uint64_t call;
        bytes_t out = {.size = 0};
        put_uint(&out, CR_MODE_WAIT, 1);
        put_uint(&out, policy | CR_POLICY_VIA, 1);
        put_uint(&out, ++call, 8);
        put_uint(&out, 0, 8);
        put_uint(&out, 0, 4);
        put_uint(&out, (uint64_t)variant, 4);
        put_uint(&out, strlen(tag), 2);
        put_text(&out, tag);
        put_uint(&out, 1, 4);
        put_uint(&out, CR_MESSAGE_TOPIC, 1);
        put_uint(&out, strlen(topic), 2);
        put_text(&out, topic);
        return test_command(host, CR_CMD_PRODUCE, out.data, out.size);
}

/* The offset of a report, which is behind error, status and partition. */
static int64_t offset_of(const packet_t *packet) {
        cr_bytes_t bytes = cr_bytes(packet->bytes + 7, 8);
        return cr_take_i64(&bytes);
}

/* Proves that equal configurations are one number, however they are spelt, and
 * that the client's own is 0. */
static void equals_are_one(void **state) {
        test_host_t *host = producer("127.0.0.1:1", "false");
        int64_t one = config(host, "acks", "1");
        (void)state;
        assert_int_equal(one, 1);
        assert_int_equal(config(host, "acks", "0"), 2);
        assert_int_equal(config(host, "acks", "1"), one);
        assert_int_equal(config(host, "acks", "all"), 0);
        assert_int_equal(config(host, "acks", "-1"), 0);
        assert_int_equal(config(host, "message.timeout.ms", "300000"), 0);
        test_host_free(host);
}

/* Proves that names that librdkafka knows for the same are the same here. */
static void aliases_are_known(void **state) {
        test_host_t *host = producer("127.0.0.1:1", "false");
        int64_t one = config(host, "acks", "1");
        (void)state;
        assert_int_equal(config(host, "request.required.acks", "1"), one);
        assert_int_equal(config(host, "delivery.timeout.ms", "300000"), 0);
        assert_int_equal(config(host, "delivery.timeout.ms", "5"), -1);
        test_host_free(host);
        host = producer("127.0.0.1:1", "true");
        assert_int_equal(config(host, "request.required.acks", "1"), -1);
        assert_true(told("idempotent"));
        test_host_free(host);
}

/* Proves that of a property that comes twice the last one counts, also in what
 * tells configurations apart. */
static void the_last_one_counts(void **state) {
        test_host_t *host = producer("127.0.0.1:1", "false");
        (void)state;
        assert_int_equal(config_twice(host, "acks", "1", "all"), 0);
        assert_int_equal(config_twice(host, "acks", "0", "1"), config(host, "acks", "1"));
        test_host_free(host);
}

/* Proves that what is wrong is told in librdkafka's words, and what it would
 * only tell its log, in ours. */
static void wrong_ones_are_refused(void **state) {
        const char *const transactional[] = {"bootstrap.servers",
                                             "127.0.0.1:1",
                                             "log.queue",
                                             "true",
                                             "transactional.id",
                                             "id",
                                             "message.timeout.ms",
                                             "4000",
                                             "transaction.timeout.ms",
                                             "5000",
                                             NULL};
        test_host_t *host = producer("127.0.0.1:1", "true");
        (void)state;
        assert_int_equal(config(host, "compression.type", "fast"), -1);
        assert_true(told("Invalid value"));
        assert_int_equal(config(host, "no.such", "1"), -1);
        assert_int_equal(config(host, "acks", "all"), -1);
        assert_true(told("idempotent"));
        assert_int_equal(config(host, "message.timeout.ms", "5"), -1);
        assert_true(told("linger.ms"));
        assert_int_equal(config(host, "message.timeout.ms", "0"), 1);
        test_host_free(host);
        host = test_host_new();
        assert_string_equal(test_open(host, "producer", transactional), "ok");
        assert_int_equal(config(host, "message.timeout.ms", "5001"), -1);
        assert_true(told("transaction.timeout.ms"));
        assert_int_equal(config(host, "message.timeout.ms", "5000"), 1);
        test_host_free(host);
}

/* Proves that there is a bound to them, and that those that are there stay. */
static void there_are_so_many(void **state) {
        test_host_t *host = producer("127.0.0.1:1", "true");
        char value[16];
        (void)state;
        for (int i = 1; i <= 1000; i++) {
                snprintf(value, sizeof(value), "%d", 1000 + i);
                assert_int_equal(config(host, "message.timeout.ms", value), i);
        }
        assert_int_equal(config(host, "message.timeout.ms", "999"), -1);
        assert_true(told("too_many_variants"));
        assert_int_equal(config(host, "message.timeout.ms", "1500"), 500);
        test_host_free(host);
}

/* Proves that a topic keeps the configuration it was first used with, and that
 * calls with another are refused, whichever was first. */
static void conflicts_are_refused(void **state) {
        test_host_t *host = producer("127.0.0.1:1", "false");
        int64_t one = config(host, "acks", "1"), none = config(host, "acks", "0");
        (void)state;
        assert_string_equal(produce(host, "a", one, 0, "x"), "");
        assert_string_equal(produce(host, "a", none, 0, "x"), "topic_config_conflict");
        assert_true(told("topic a was first used with acks=1, and cannot be used with acks=0"));
        assert_string_equal(produce(host, "a", 0, 0, "x"), "topic_config_conflict");
        assert_true(told("cannot be used with the producer's own configuration"));
        assert_string_equal(produce(host, "a", one, 0, "y"), "");
        assert_string_equal(produce(host, "b", 0, 0, "x"), "");
        assert_string_equal(produce(host, "b", one, 0, "x"), "topic_config_conflict");
        assert_string_equal(produce(host, "c", 77, 0, "x"), "malformed_command");
        assert_string_equal(produce(host, "c", none, 0, "x"), "");
        assert_int_equal(host->client->delivery->messages, 4);
        test_host_free(host);
}

/* Proves that a call that waits for a place has its topics' configuration when
 * it is admitted, and that nobody takes it meanwhile. */
static void waiting_calls_keep_theirs(void **state) {
        test_host_t *host = producer("127.0.0.1:1", "false");
        int64_t one = config(host, "acks", "1");
        packet_t *packet;
        (void)state;
        host->client->delivery->options.max_messages = 1;
        assert_string_equal(produce(host, "a", 0, 0, "first"), "");
        assert_string_equal(produce(host, "b", one, CR_POLICY_WAIT, "second"), "wait");
        assert_string_equal(produce(host, "b", 0, CR_POLICY_WAIT, "x"), "topic_config_conflict");
        assert_string_equal(test_command(host, CR_CMD_PURGE, NULL, 0), "");
        packet_free(test_host_reply(host, "first"));
        assert_int_equal(host->client->delivery->messages, 1);
        assert_string_equal(test_command(host, CR_CMD_PURGE, NULL, 0), "");
        packet = test_host_reply(host, "second");
        assert_int_equal(report_error(packet->bytes), RD_KAFKA_RESP_ERR__PURGE_QUEUE);
        packet_free(packet);
        test_host_free(host);
}

static void ask_for(test_host_t *host, const char *topic, int64_t variant) {
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, 4);
        cr_write_text(&out, "asked");
        cr_write_text(&out, topic);
        cr_write_integer(&out, variant);
        cr_write_integer(&out, 1000);
        assert_string_equal(test_command(host, CR_CMD_METADATA, out.x.buff, (size_t)out.x.index),
                            "");
        cr_writer_discard(&out);
        packet_free(test_host_reply(host, "asked"));
}

/* Proves that asking for a topic settles its configuration, as using it does. */
static void asked_topics_are_known(void **state) {
        test_host_t *host = producer(bootstrap, "false");
        int64_t one = config(host, "acks", "1");
        (void)state;
        ask_for(host, "a", 0);
        assert_string_equal(produce(host, "a", one, 0, "x"), "topic_config_conflict");
        ask_for(host, "b", one);
        assert_string_equal(produce(host, "b", one, 0, "y"), "");
        packet_free(test_host_reply(host, "y"));
        ask_for(host, "b", 0);
        assert_string_equal(produce(host, "b", 0, 0, "z"), "topic_config_conflict");
        test_host_free(host);
}

/* Proves that a topic has the configuration that its number stands for: without
 * acknowledgements nobody knows an offset. */
static void configurations_work(void **state) {
        test_host_t *host = producer(bootstrap, "false");
        int64_t none = config(host, "acks", "0");
        packet_t *packet;
        (void)state;
        assert_string_equal(produce(host, "t", none, 0, "none"), "");
        packet = test_host_reply(host, "none");
        assert_int_equal(report_error(packet->bytes), 0);
        assert_true(offset_of(packet) < 0);
        packet_free(packet);
        assert_string_equal(produce(host, "u", 0, 0, "all"), "");
        packet = test_host_reply(host, "all");
        assert_int_equal(report_error(packet->bytes), 0);
        assert_true(offset_of(packet) >= 0);
        packet_free(packet);
        test_host_free(host);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(equals_are_one),
                                           cmocka_unit_test(aliases_are_known),
                                           cmocka_unit_test(the_last_one_counts),
                                           cmocka_unit_test(wrong_ones_are_refused),
                                           cmocka_unit_test(there_are_so_many),
                                           cmocka_unit_test(conflicts_are_refused),
                                           cmocka_unit_test(waiting_calls_keep_theirs),
                                           cmocka_unit_test(asked_topics_are_known),
                                           cmocka_unit_test(configurations_work)};
        return cmocka_run_group_tests(tests, start_cluster, stop_cluster);
}
