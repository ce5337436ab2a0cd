/* What becomes of a call whose messages nobody hears of, and have nothing but values and keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../core/produce.h"
#include "support/cluster.h"

/* PRODUCE of so many messages, which are to follow. */
static void start(bytes_t *command, uint8_t mode, uint32_t count) {
        put_produce(command, mode, CR_POLICY_REFUSE, mode == CR_MODE_NONE ? 0 : 1, "", 0);
        command->size -= 4;
        put_uint(command, count, 4);
}

static void put_sized(bytes_t *command, const char *text) {
        put_uint(command, strlen(text), 4);
        put_text(command, text);
}

/* One more, to topic t when it is the first; key and value are left out where they are NULL. */
static void put_message(bytes_t *command, bool first, uint32_t partition, const char *key,
                        const char *value) {
        put_uint(command,
                 (uint64_t)((first ? CR_MESSAGE_TOPIC : 0) | (key ? CR_MESSAGE_KEY : 0) |
                            (value ? CR_MESSAGE_VALUE : 0) |
                            (partition != UINT32_MAX ? CR_MESSAGE_PARTITION : 0)),
                 1);
        if (first) {
                put_uint(command, 1, 2);
                put_text(command, "t");
        }
        if (partition != UINT32_MAX)
                put_uint(command, partition, 4);
        if (key)
                put_sized(command, key);
        if (value)
                put_sized(command, value);
}

static bool unpack(test_host_t *host, const bytes_t *command, cr_produce_t *produce) {
        cr_input_t in = {.data = command->data, .size = command->size};
        cr_error_t error = {0};
        return cr_produce_decode(host->client, &in, produce, &error);
}

/* Whether it was unpacked into what librdkafka takes. */
static bool is_plain(test_host_t *host, const bytes_t *command) {
        cr_produce_t produce;
        assert_true(unpack(host, command, &produce));
        return !produce.messages;
}

/* Proves that each message is what was sent: its key, which may be none or empty, and its
 * value; and that they stick as librdkafka has it. */
static void plain_calls_keep_their_messages(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        const rd_kafka_message_t *batch;
        bytes_t command = {.size = 0};
        cr_produce_t produce;
        (void)state;
        start(&command, CR_MODE_NONE, 4);
        put_message(&command, true, UINT32_MAX, NULL, "one");
        put_message(&command, false, UINT32_MAX, "k", "second");
        put_message(&command, false, UINT32_MAX, "", "3");
        put_message(&command, false, UINT32_MAX, NULL, "");
        assert_true(unpack(host, &command, &produce));
        assert_null(produce.messages);
        assert_int_equal(produce.count, 4);
        assert_int_equal(produce.cost, 3 + 1 + 6 + 1);
        assert_false(produce.stick);
        assert_string_equal(produce.topic->name, "t");
        batch = host->client->delivery->batch;
        assert_null(batch[0].key);
        assert_int_equal(batch[0].len, 3);
        assert_memory_equal(batch[0].payload, "one", 3);
        assert_int_equal(batch[1].key_len, 1);
        assert_memory_equal(batch[1].key, "k", 1);
        assert_memory_equal(batch[1].payload, "second", 6);
        assert_non_null(batch[2].key);
        assert_int_equal(batch[2].key_len, 0);
        assert_non_null(batch[3].payload);
        assert_int_equal(batch[3].len, 0);
        test_host_free(host);
}

/* Proves that messages without keys stick together. */
static void those_without_keys_stick(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        bytes_t command = {.size = 0};
        cr_produce_t produce;
        (void)state;
        put_produce(&command, CR_MODE_NONE, CR_POLICY_REFUSE, 0, "", 3);
        assert_true(unpack(host, &command, &produce));
        assert_true(produce.stick);
        test_host_free(host);
}

/* Proves that whatever a plain call cannot have is not lost: such a call is unpacked as any
 * other. */
static void others_are_not_plain(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        static const struct {
                uint8_t mode;
                uint32_t count;
                bool topic; /* the last one names it as well */
                uint32_t partition;
                const char *value;
        } cases[] = {{CR_MODE_KEEP, 2, false, UINT32_MAX, "v"},
                     {CR_MODE_NONE, 1, true, UINT32_MAX, "v"},
                     {CR_MODE_NONE, 2, true, UINT32_MAX, "v"},
                     {CR_MODE_NONE, 2, false, 0, "v"},
                     {CR_MODE_NONE, 2, false, UINT32_MAX, NULL}};
        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                bytes_t command = {.size = 0};
                start(&command, cases[i].mode, cases[i].count);
                if (cases[i].count == 2)
                        put_message(&command, true, UINT32_MAX, NULL, "v");
                put_message(&command, cases[i].topic, cases[i].partition, NULL, cases[i].value);
                assert_false(is_plain(host, &command));
        }
        test_host_free(host);
}

/* Proves that no part of a call is taken for all of it. */
static void cut_calls_are_refused(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        bytes_t command = {.size = 0};
        cr_produce_t produce;
        size_t whole;
        (void)state;
        start(&command, CR_MODE_NONE, 2);
        put_message(&command, true, UINT32_MAX, "key", "value");
        put_message(&command, false, UINT32_MAX, NULL, "value");
        assert_true(is_plain(host, &command));
        whole = command.size;
        for (command.size = 0; command.size < whole; command.size++)
                assert_false(unpack(host, &command, &produce));
        command.size = whole;
        put_uint(&command, 0, 1);
        assert_false(unpack(host, &command, &produce));
        test_host_free(host);
}

/* Proves that of a topic that cannot be its error is told, and nothing is accepted. */
static void bad_topics_are_told(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        bytes_t command = {.size = 0};
        (void)state;
        start(&command, CR_MODE_NONE, 2);
        put_uint(&command, CR_MESSAGE_TOPIC | CR_MESSAGE_VALUE, 1);
        put_uint(&command, 600, 2);
        memset(command.data + command.size, 't', 600);
        command.size += 600;
        put_sized(&command, "v");
        put_message(&command, false, UINT32_MAX, NULL, "v");
        assert_string_equal(test_command(host, CR_CMD_PRODUCE, command.data, command.size),
                            "invalid_topic");
        assert_int_equal(host->client->delivery->accepted, 0);
        test_host_free(host);
}

static void serve(test_host_t *host, const char *tag) {
        packet_t *packet = test_host_reply(host, tag);
        assert_non_null(packet);
        packet_free(packet);
}

static void flush(test_host_t *host) {
        assert_string_equal(test_command(host, CR_CMD_FLUSH, "flush", 5), "");
        serve(host, "flush");
        assert_int_equal(host->client->delivery->messages, 0);
        assert_int_equal(host->client->delivery->bytes, 0);
}

/* Proves that a message which librdkafka refuses is reported, and no other of its call; and
 * that whatever the call cost is given back. */
static void one_is_refused(void **state) {
        const char *const properties[] = {"bootstrap.servers", bootstrap, "log.queue", "true",
                                          "message.max.bytes", "1000",    NULL};
        test_host_t *host = test_host_new();
        const cr_delivery_t *delivery;
        bytes_t command = {.size = 0};
        char large[2001] = "";
        (void)state;
        memset(large, 'v', sizeof(large) - 1);
        assert_string_equal(test_open(host, "producer", properties), "ok");
        delivery = host->client->delivery;
        start(&command, CR_MODE_NONE, 4);
        put_message(&command, true, UINT32_MAX, NULL, "v");
        put_message(&command, false, UINT32_MAX, "key", large);
        put_message(&command, false, UINT32_MAX, "key", "v");
        put_message(&command, false, UINT32_MAX, NULL, large);
        assert_true(is_plain(host, &command));
        assert_string_equal(test_command(host, CR_CMD_PRODUCE, command.data, command.size), "");
        assert_int_equal(delivery->accepted, 4);
        assert_int_equal(delivery->reported, 2);
        assert_int_equal(delivery->messages, 2);
        flush(host);
        assert_int_equal(delivery->delivered, 2);
        test_host_free(host);
}

/* Proves that a call that waits for a place is unpacked anew when there is one, of a copy of
 * its bytes. */
static void it_waits_for_a_place(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        cr_delivery_t *delivery = host->client->delivery;
        bytes_t command = {.size = 0};
        (void)state;
        delivery->options.max_messages = 4;
        assert_string_equal(plain_produce(host, CR_MODE_NONE, 0, "", 3), "");
        for (int i = 0; i < 2; i++) {
                command.size = 0;
                put_produce(&command, CR_MODE_NONE, CR_POLICY_WAIT, 0, i ? "two" : "one", 3);
                assert_string_equal(test_command(host, CR_CMD_PRODUCE, command.data, command.size),
                                    "wait");
        }
        memset(command.data, 0xff, command.size);
        assert_int_equal(delivery->waiting, 2);
        serve(host, "one");
        serve(host, "two");
        flush(host);
        assert_int_equal(delivery->delivered, 9);
        test_host_free(host);
}

/* ---- plain or not, the same ------------------------------------------------- */

static bool is_same(const void *bytes, size_t size, const void *other, size_t other_size) {
        return size == other_size && !bytes == !other && (!size || !memcmp(bytes, other, size));
}

/* Bytes of any kind in the place of some, or fewer; the start is left as it is. */
static void spoil(bytes_t *command, size_t start) {
        int times = rand() % 3;
        for (int i = 0; i < times; i++)
                command->data[start + (size_t)rand() % (command->size - start)] =
                        (unsigned char)(rand() % 2 ? rand() % 40 : rand());
        if (rand() % 8 == 0)
                command->size -= (size_t)rand() % (command->size - start);
        else if (rand() % 8 == 0)
                put_uint(command, 0, 1);
}

static void put_random(bytes_t *command) {
        static const char *const some[] = {NULL, "", "k", "longer"};
        uint32_t count = 1 + (uint32_t)rand() % 5;
        size_t from;
        start(command, CR_MODE_NONE, count);
        from = command->size;
        for (uint32_t i = 0; i < count; i++)
                put_message(command, !i || rand() % 16 == 0,
                            rand() % 16 ? UINT32_MAX : (uint32_t)rand() % 4, some[rand() % 4],
                            rand() % 16 ? some[1 + rand() % 3] : NULL);
        if (rand() % 2)
                spoil(command, from);
}

/* Somebody hears of it: such a call is never plain. */
static bool unpack_heard(test_host_t *host, const bytes_t *command, cr_produce_t *produce) {
        static bytes_t heard;
        memcpy(heard.data, command->data, heard.size = command->size);
        heard.data[0] = CR_MODE_SEND;
        return unpack(host, &heard, produce);
}

static void assert_same(test_host_t *host, const cr_produce_t *plain, const cr_produce_t *other) {
        const rd_kafka_message_t *batch = host->client->delivery->batch;
        bool stick = true;
        assert_int_equal(plain->count, other->count);
        assert_int_equal(plain->cost, other->cost);
        for (uint32_t i = 0; i < plain->count; i++) {
                const cr_message_t *message = &other->messages[i];
                stick = stick && cr_message_sticks(message);
                assert_true(cr_is_batchable(message));
                assert_int_equal(message->partition, RD_KAFKA_PARTITION_UA);
                assert_ptr_equal(message->topic, plain->topic);
                assert_true(
                        is_same(message->key, message->key_size, batch[i].key, batch[i].key_len));
                assert_true(is_same(message->value, message->value_size, batch[i].payload,
                                    batch[i].len));
        }
        assert_int_equal(plain->stick, stick);
}

/* Proves that the same bytes are taken or refused, and are the same messages, whether they
 * are unpacked as a plain call or as any other. */
static void plain_calls_are_as_others(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        int taken = 0, refused = 0, others = 0;
        (void)state;
        srand(1);
        for (int i = 0; i < 50000; i++) {
                bytes_t command = {.size = 0};
                cr_produce_t produce, other;
                bool good;
                put_random(&command);
                good = unpack(host, &command, &produce);
                assert_int_equal(good, unpack_heard(host, &command, &other));
                refused += !good;
                others += good && produce.messages;
                taken += good && !produce.messages;
                if (good && !produce.messages)
                        assert_same(host, &produce, &other);
        }
        assert_true(taken > 1000 && refused > 1000 && others > 1000);
        test_host_free(host);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(plain_calls_keep_their_messages),
                                           cmocka_unit_test(those_without_keys_stick),
                                           cmocka_unit_test(others_are_not_plain),
                                           cmocka_unit_test(cut_calls_are_refused),
                                           cmocka_unit_test(bad_topics_are_told),
                                           cmocka_unit_test(one_is_refused),
                                           cmocka_unit_test(it_waits_for_a_place),
                                           cmocka_unit_test(plain_calls_are_as_others)};
        return cmocka_run_group_tests(tests, start_cluster, stop_cluster);
}
