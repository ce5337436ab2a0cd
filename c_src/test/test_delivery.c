/* From PRODUCE to delivery report, on the embedded cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../core/delivery.h"
#include "support/cluster.h"

/* Proves that a waiting call gets one packet with all its reports, in order. */
static void waiting_gets_all_reports(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        packet_t *packet;
        (void)state;
        assert_string_equal(plain_produce(host, CR_MODE_WAIT, 1, "wait", 100), "");
        packet = test_host_reply(host, "wait");
        assert_non_null(packet);
        assert_int_equal(packet->size, 100 * CR_REPORT_SIZE);
        for (int i = 0; i < 100; i++)
                assert_int_equal(report_error(packet->bytes + i * CR_REPORT_SIZE), 0);
        packet_free(packet);
        test_host_free(host);
}

/* Proves that a value said to be larger than what came behind the command is
 * refused, and that no room is made for it: the test host gives none so large. */
static void lying_size_is_refused(void **state) {
        static const unsigned char little[16];
        test_host_t *host = plain_producer(bootstrap);
        const cr_segment_t segment = {.bytes = little, .size = sizeof(little)};
        bytes_t command = {.size = 0};
        packet_t *packet;
        (void)state;
        put_produce(&command, CR_MODE_WAIT, CR_POLICY_REFUSE, 1, "lie", 0);
        put_uint(&command, CR_MESSAGE_VALUE_BEHIND | CR_MESSAGE_TOPIC, 1);
        put_uint(&command, 1, 2);
        put_text(&command, "t");
        put_uint(&command, UINT32_MAX, 4);
        command.data[10 + 2 + 3 + 3] = 1; /* the count */
        cr_client_produce(host->client, &(cr_input_t){.caller = 1,
                                                      .data = command.data,
                                                      .size = command.size,
                                                      .behind = &segment,
                                                      .behind_count = 1});
        packet = test_host_reply(host, "lie");
        assert_non_null(packet);
        packet_free(packet);
        test_host_free(host);
}

/* Proves that sent reports carry their tags, each message's once. */
static void sent_reports_carry_tags(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        bool seen[50] = {false};
        int count = 0;
        (void)state;
        assert_string_equal(plain_produce(host, CR_MODE_SEND, 1000, "", 50), "");
        while (count < 50) {
                packet_t *packet = test_host_packet(host, CR_PACKET_REPORTS);
                assert_non_null(packet);
                for (size_t at = 0; at < packet->size; at += 8 + CR_REPORT_SIZE, count++) {
                        cr_bytes_t in = cr_bytes(packet->bytes + at, 8);
                        uint64_t tag = cr_take_u64(&in) - 1000;
                        assert_true(tag < 50 && !seen[tag]);
                        seen[tag] = true;
                }
                packet_free(packet);
        }
        test_host_free(host);
}

/* Proves that a kept report waits for whoever may await it, and is given once. */
static void kept_reports_are_given_once(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        const unsigned char await[] = {0, 0, 0, 0, 0, 0, 0, 7, 'a'};
        (void)state;
        assert_string_equal(plain_produce(host, CR_MODE_KEEP, 7, "", 3), "");
        assert_string_equal(test_command(host, CR_CMD_FLUSH, "flush", 5), "");
        packet_free(test_host_reply(host, "flush"));
        assert_string_equal(test_command_as(host, 2, CR_CMD_AWAIT, await, sizeof(await)),
                            "unknown_reference");
        assert_string_equal(test_command(host, CR_CMD_AWAIT, await, sizeof(await)), "packed");
        assert_string_equal(test_command(host, CR_CMD_AWAIT, await, sizeof(await)),
                            "unknown_reference");
        test_host_free(host);
}

/* Proves that a producer is retired only when nothing is outstanding, and takes
 * nothing from then on; a value that comes behind a command is answered, too. */
static void retired_takes_nothing(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        test_host_t *busy = plain_producer("127.0.0.1:1");
        bytes_t behind = {.size = 0};
        packet_t *packet;
        (void)state;
        assert_string_equal(plain_produce(busy, CR_MODE_NONE, 0, "", 1), "");
        assert_string_equal(test_command(busy, CR_CMD_RETIRE, NULL, 0), "busy");
        assert_string_equal(plain_produce(busy, CR_MODE_NONE, 0, "", 1), "");
        test_host_free(busy);
        assert_string_equal(plain_produce(host, CR_MODE_NONE, 0, "", 5), "");
        assert_string_equal(test_command(host, CR_CMD_FLUSH, "flush", 5), "");
        packet_free(test_host_reply(host, "flush"));
        assert_string_equal(test_command(host, CR_CMD_RETIRE, NULL, 0), "");
        assert_string_equal(plain_produce(host, CR_MODE_NONE, 0, "", 1), "closed");
        assert_string_equal(test_command(host, CR_CMD_FLUSH, "flush", 5), "closed");
        put_produce(&behind, CR_MODE_SEND, CR_POLICY_WAIT, 1, "behind", 1);
        cr_client_produce(host->client,
                          &(cr_input_t){.caller = 1, .data = behind.data, .size = behind.size});
        packet = test_host_reply(host, "behind");
        assert_non_null(packet);
        packet_free(packet);
        assert_int_equal(host->client->delivery->accepted, 5);
        test_host_free(host);
}

/* Proves that a producer that is drained takes nothing more, refuses who waits for a
 * place, and goes on with what it has. */
static void drained_goes_on(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        const unsigned char await[] = {0, 0, 0, 0, 0, 0, 0, 7, 't'};
        bytes_t waits = {.size = 0};
        packet_t *packet;
        (void)state;
        assert_string_equal(plain_produce(host, CR_MODE_KEEP, 7, "", 3), "");
        host->client->delivery->options.max_messages = 4;
        put_produce(&waits, CR_MODE_WAIT, CR_POLICY_WAIT, 8, "place", 2);
        assert_string_equal(test_command(host, CR_CMD_PRODUCE, waits.data, waits.size), "wait");
        assert_string_equal(test_command(host, CR_CMD_DRAIN, NULL, 0), "");
        packet = test_host_reply(host, "place");
        assert_non_null(packet);
        packet_free(packet);
        assert_string_equal(plain_produce(host, CR_MODE_NONE, 0, "", 1), "closed");
        assert_string_equal(test_command(host, CR_CMD_FLUSH, "flush", 5), "");
        packet_free(test_host_reply(host, "flush"));
        assert_string_equal(test_command(host, CR_CMD_AWAIT, await, sizeof(await)), "packed");
        assert_int_equal(host->client->delivery->accepted, 3);
        test_host_free(host);
}

static bool is_kind(const packet_t *packet, const void *with) {
        return packet->kind == *(const cr_packet_kind_t *)with;
}

/* One that has been sent. */
static packet_t *sent(test_host_t *host, cr_packet_kind_t kind) {
        packet_t *packet = test_host_find(host, is_kind, &kind);
        assert_non_null(packet);
        return packet;
}

/* Proves that every message accepted by a client that is closed is reported by
 * its reaper, awaited or not, before it says that nothing follows. */
static void reaper_reports_everything(void **state) {
        test_host_t *host = plain_producer("127.0.0.1:1");
        packet_t *packet;
        (void)state;
        assert_string_equal(plain_produce(host, CR_MODE_WAIT, 1, "wait", 10), "");
        assert_string_equal(plain_produce(host, CR_MODE_KEEP, 2, "", 5), "");
        assert_string_equal(plain_produce(host, CR_MODE_SEND, 500, "", 7), "");
        assert_int_equal(cr_reapers_telling(), 0);
        test_host_close(host);
        packet = test_host_packet(host, CR_PACKET_TOLD);
        assert_non_null(packet);
        packet_free(packet);
        assert_int_equal(cr_reapers_telling(), 0);
        packet = sent(host, CR_PACKET_REPLY);
        assert_int_equal(packet->size, 10 * CR_REPORT_SIZE);
        assert_int_equal(report_error(packet->bytes), RD_KAFKA_RESP_ERR__PURGE_QUEUE);
        packet_free(packet);
        packet = sent(host, CR_PACKET_LEFT);
        assert_int_equal(packet->slot, 2);
        assert_int_equal(packet->size, 5 * CR_REPORT_SIZE);
        packet_free(packet);
        packet = sent(host, CR_PACKET_REPORTS);
        assert_int_equal(packet->size, 7 * (8 + CR_REPORT_SIZE));
        packet_free(packet);
        test_host_free(host);
}

/* Proves that every cut of a produce is refused, and nothing of it is sent. */
static void cut_commands_are_refused(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        bytes_t command = {.size = 0};
        (void)state;
        put_produce(&command, CR_MODE_NONE, CR_POLICY_REFUSE, 0, "", 3);
        for (size_t size = 0; size < command.size; size++) {
                unsigned char *exact = malloc(size ? size : 1);
                memcpy(exact, command.data, size);
                assert_string_equal(test_command(host, CR_CMD_PRODUCE, exact, size),
                                    "malformed_command");
                free(exact);
        }
        assert_int_equal(host->client->group == NULL, 1);
        test_host_free(host);
}

/* Where a produce of two messages puts the second: by hash, or nowhere. */
static void put_second(bytes_t *command, const char *tag, uint8_t flags, int32_t partition) {
        put_produce(command, CR_MODE_WAIT, CR_POLICY_REFUSE, 1, tag, 1);
        command->data[2 + 8 + 2 + strlen(tag) + 3] = 2; /* the count */
        put_uint(command, flags, 1);
        if (flags & CR_MESSAGE_PARTITION)
                put_uint(command, (uint32_t)partition, 4);
}

static void put_hash(bytes_t *command, uint8_t hash, uint32_t partitions, const char *key) {
        put_uint(command, hash, 1);
        put_uint(command, partitions, 4);
        put_uint(command, strlen(key), 4);
        put_text(command, key);
}

/* Proves that a key to hash decides the partition and is not sent, and that
 * what is no hash, or has a partition as well, is refused. */
static void hashed_keys_choose(void **state) {
        const uint8_t both = CR_MESSAGE_HASH | CR_MESSAGE_PARTITION;
        const struct {
                uint8_t flags, hash;
                int32_t partition;
                uint32_t partitions;
        } wrong[] = {{CR_MESSAGE_HASH, 3, -1, 4},
                     {CR_MESSAGE_HASH, 0, -1, 0},
                     {CR_MESSAGE_HASH, 0, -1, UINT32_MAX},
                     {both, 0, -1, 4},
                     {both, 0, 0, 4},
                     {both, 0, -3, 4}};
        test_host_t *host = plain_producer(bootstrap);
        bytes_t command = {.size = 0};
        packet_t *packet;
        cr_bytes_t report;
        (void)state;
        put_second(&command, "wait", CR_MESSAGE_HASH, -1);
        put_hash(&command, CR_HASH_MURMUR2, 4, "giberish123456789");
        assert_string_equal(test_command(host, CR_CMD_PRODUCE, command.data, command.size), "");
        packet = test_host_reply(host, "wait");
        assert_non_null(packet);
        report = cr_bytes(packet->bytes + CR_REPORT_SIZE, CR_REPORT_SIZE);
        assert_int_equal(cr_take_u16(&report), 0);
        (void)cr_take_u8(&report);
        assert_int_equal(cr_take_i32(&report), 0x0f552b0c % 4);
        packet_free(packet);
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                command.size = 0;
                put_second(&command, "wait", wrong[i].flags, wrong[i].partition);
                put_hash(&command, wrong[i].hash, wrong[i].partitions, "key");
                assert_string_equal(test_command(host, CR_CMD_PRODUCE, command.data, command.size),
                                    "malformed_command");
        }
        test_host_free(host);
}

/* Proves that a message which is skipped has its report, in its place, and that
 * partitions below 0 mean nothing else. */
static void skipped_messages_are_reported(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        bytes_t command = {.size = 0};
        packet_t *packet;
        (void)state;
        put_second(&command, "wait", CR_MESSAGE_PARTITION, CR_PARTITION_SKIP);
        assert_string_equal(test_command(host, CR_CMD_PRODUCE, command.data, command.size), "");
        packet = test_host_reply(host, "wait");
        assert_non_null(packet);
        assert_int_equal(packet->size, 2 * CR_REPORT_SIZE);
        assert_int_equal(report_error(packet->bytes), 0);
        assert_int_equal(report_error(packet->bytes + CR_REPORT_SIZE), CR_REPORT_SKIPPED);
        packet_free(packet);
        command.size = 0;
        put_second(&command, "wait", CR_MESSAGE_VALUE | CR_MESSAGE_PARTITION, CR_PARTITION_SKIP);
        put_uint(&command, 0, 4);
        assert_string_equal(test_command(host, CR_CMD_PRODUCE, command.data, command.size),
                            "malformed_command");
        assert_int_equal(host->client->delivery->messages, 0);
        test_host_free(host);
}

/* Proves that a death forgets what the dead process waited for. */
static void death_forgets(void **state) {
        test_host_t *host = plain_producer("127.0.0.1:1");
        (void)state;
        assert_string_equal(plain_produce(host, CR_MODE_WAIT, 1, "wait", 10), "");
        assert_string_equal(plain_produce(host, CR_MODE_KEEP, 2, "", 5), "");
        cr_client_recipient_gone(host->client, 1);
        test_host_close(host);
        test_host_free(host);
}

/* What a first message with that linger wakes, and that it is reported. */
static bool nudges_with(const char *linger) {
        const char *const properties[] = {"bootstrap.servers", bootstrap, "linger.ms", linger,
                                          "log.queue",         "true",    NULL};
        test_host_t *host = test_host_new();
        packet_t *packet;
        bool nudged;
        assert_string_equal(test_open(host, "producer", properties), "ok");
        assert_string_equal(plain_produce(host, CR_MODE_WAIT, 1, "wait", 1), "");
        nudged = host->client->flush_lane.started;
        packet = test_host_reply(host, "wait");
        assert_non_null(packet);
        assert_int_equal(report_error(packet->bytes), 0);
        packet_free(packet);
        test_host_free(host);
        return nudged;
}

/* Proves that whoever died before its call was carried out leaves nothing, not the
 * tag that it would have waited with. */
static void nobody_waits(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        bytes_t command = {.size = 0};
        (void)state;
        put_produce(&command, CR_MODE_WAIT, CR_POLICY_REFUSE, 1, "wait", 1);
        for (int i = 0; i < 3; i++)
                assert_string_equal(
                        test_command_as(host, 0, CR_CMD_PRODUCE, command.data, command.size), "");
        assert_int_equal(host->client->delivery->messages, 3);
        test_host_free(host);
}

/* Proves that the first message is flushed only under a short linger. */
static void only_a_short_linger_is_nudged(void **state) {
        (void)state;
        assert_true(nudges_with("0.1"));
        assert_false(nudges_with("0"));
        assert_true(nudges_with("1"));
        assert_false(nudges_with("5"));
}

static size_t pending_calls(const test_host_t *host) {
        const cr_call_t *call;
        size_t count = 0;
        TAILQ_FOREACH(call, &host->client->delivery->pending, in_delivery) {
                count++;
        }
        return count;
}

/* Proves that messages nobody hears of share a call, but that a flush does not
 * wait for what comes after it, and that all of their cost is given back. */
static void unheard_messages_share_a_call(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        packet_t *packet;
        (void)state;
        assert_string_equal(plain_produce(host, CR_MODE_NONE, 0, "", 7), "");
        assert_string_equal(plain_produce(host, CR_MODE_NONE, 0, "", 1), "");
        assert_int_equal(pending_calls(host), 1);
        assert_string_equal(test_command(host, CR_CMD_FLUSH, "flush", 5), "");
        assert_string_equal(plain_produce(host, CR_MODE_NONE, 0, "", 1), "");
        assert_string_equal(plain_produce(host, CR_MODE_NONE, 0, "", 1), "");
        assert_int_equal(pending_calls(host), 2);
        packet = test_host_reply(host, "flush");
        assert_non_null(packet);
        packet_free(packet);
        assert_string_equal(test_command(host, CR_CMD_FLUSH, "again", 5), "");
        packet = test_host_reply(host, "again");
        assert_non_null(packet);
        packet_free(packet);
        assert_int_equal(pending_calls(host), 0);
        assert_int_equal(host->client->delivery->bytes, 0);
        assert_int_equal(host->client->delivery->messages, 0);
        test_host_free(host);
}

static void put_to_partition(bytes_t *command, uint32_t partition, bool topic) {
        put_uint(command, CR_MESSAGE_VALUE | CR_MESSAGE_PARTITION | (topic ? CR_MESSAGE_TOPIC : 0),
                 1);
        if (topic) {
                put_uint(command, 1, 2);
                put_text(command, "t");
        }
        put_uint(command, partition, 4);
        put_uint(command, 1, 4);
        put_text(command, "v");
}

/* Proves that of a call for several partitions each message is reported with its own,
 * and that librdkafka has none left of those whose partition there is not. */
static void partitions_that_are_none_leave_nothing(void **state) {
        static const uint32_t partitions[] = {9, 0, 9, 1, 0, 9};
        const size_t count = sizeof(partitions) / sizeof(partitions[0]);
        test_host_t *host = plain_producer(bootstrap);
        bytes_t command = {.size = 0};
        packet_t *packet;
        (void)state;
        assert_string_equal(plain_produce(host, CR_MODE_WAIT, 1, "known", 1), "");
        packet_free(test_host_reply(host, "known"));
        put_produce(&command, CR_MODE_WAIT, CR_POLICY_REFUSE, 2, "some", 0);
        command.size -= 4;
        put_uint(&command, count, 4);
        for (size_t i = 0; i < count; i++)
                put_to_partition(&command, partitions[i], i == 0);
        assert_string_equal(test_command(host, CR_CMD_PRODUCE, command.data, command.size), "");
        packet = test_host_reply(host, "some");
        assert_non_null(packet);
        assert_int_equal(packet->size, count * CR_REPORT_SIZE);
        for (size_t i = 0; i < count; i++) {
                cr_bytes_t report = cr_bytes(packet->bytes + i * CR_REPORT_SIZE, CR_REPORT_SIZE);
                assert_int_equal((int16_t)cr_take_u16(&report),
                                 partitions[i] == 9 ? RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION : 0);
                (void)cr_take_u8(&report);
                assert_int_equal(cr_take_u32(&report), partitions[i]);
        }
        packet_free(packet);
        assert_int_equal(rd_kafka_outq_len(host->client->rk), 0);
        test_host_free(host);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(waiting_gets_all_reports),
                                           cmocka_unit_test(lying_size_is_refused),
                                           cmocka_unit_test(sent_reports_carry_tags),
                                           cmocka_unit_test(kept_reports_are_given_once),
                                           cmocka_unit_test(retired_takes_nothing),
                                           cmocka_unit_test(drained_goes_on),
                                           cmocka_unit_test(reaper_reports_everything),
                                           cmocka_unit_test(cut_commands_are_refused),
                                           cmocka_unit_test(hashed_keys_choose),
                                           cmocka_unit_test(skipped_messages_are_reported),
                                           cmocka_unit_test(death_forgets),
                                           cmocka_unit_test(nobody_waits),
                                           cmocka_unit_test(partitions_that_are_none_leave_nothing),
                                           cmocka_unit_test(only_a_short_linger_is_nudged),
                                           cmocka_unit_test(unheard_messages_share_a_call)};
        return cmocka_run_group_tests(tests, start_cluster, stop_cluster);
}
