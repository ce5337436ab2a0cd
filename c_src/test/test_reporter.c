/* Reports for the client's reporter, on the embedded cluster, and looking at those
 * that are kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../core/stage.h"
#include "support/cluster.h"

/* PRODUCE of `count` messages of which the reporter hears, by that caller. */
static const char *produce_reported(test_host_t *host, cr_recipient_t caller, uint8_t policy,
                                    uint64_t call, uint32_t count) {
        bytes_t command = {.size = 0}, plain = {.size = 0};
        const size_t start = 1 + 1 + 8;
        put_produce(&plain, CR_MODE_SEND, policy, call, "tag", count);
        memcpy(command.data, plain.data, start);
        command.data[1] |= CR_POLICY_VIA;
        command.size = start;
        put_uint(&command, CR_TO_REPORTER, 8);
        put_uint(&command, 0, 8);
        memcpy(command.data + command.size, plain.data + start, plain.size - start);
        command.size += plain.size - start;
        return test_command_as(host, caller, CR_CMD_PRODUCE, command.data, command.size);
}

#define REPORT (8 + CR_REPORT_SIZE)

/* The next reports are those of so many tags, each once, to that recipient. */
static void expect_tags(test_host_t *host, cr_recipient_t to, uint64_t first, uint32_t count) {
        bool seen[16] = {false};
        uint32_t left = count;
        while (left) {
                packet_t *packet = test_host_packet(host, CR_PACKET_REPORTS);
                assert_non_null(packet);
                assert_int_equal(packet->to, to);
                assert_true(packet->size && packet->size / REPORT <= left);
                for (size_t at = 0; at < packet->size; at += REPORT, left--) {
                        cr_bytes_t in = cr_bytes(packet->bytes + at, 8);
                        uint64_t tag = cr_take_u64(&in) - first;
                        assert_true(tag < count && !seen[tag]);
                        seen[tag] = true;
                }
                packet_free(packet);
        }
}

static const char *reported(test_host_t *host, cr_recipient_t reporter, uint32_t count) {
        bytes_t command = {.size = 0};
        put_uint(&command, count, 4);
        return test_command_as(host, reporter, CR_CMD_REPORTED, command.data, command.size);
}

static test_host_t *small_producer(void) {
        test_host_t *host = plain_producer(bootstrap);
        host->client->delivery->options.max_messages = 10;
        return host;
}

/* Proves that reports keep their places until the reporter has done with them,
 * which admits who waits, and that only what it was sent can be done with. */
static void reporter_holds_places(void **state) {
        test_host_t *host = small_producer();
        (void)state;
        assert_string_equal(test_command_as(host, 7, CR_CMD_REPORTER, NULL, 0), "");
        assert_string_equal(produce_reported(host, 1, CR_POLICY_REFUSE, 100, 10), "");
        expect_tags(host, 7, 100, 10);
        assert_int_equal(host->client->delivery->messages, 0);
        assert_int_equal(cr_reporter_holds(host->client->delivery), 10);
        assert_string_equal(plain_produce(host, CR_MODE_NONE, 0, "", 1), "queue_full");
        assert_string_equal(reported(host, 7, 11), "malformed_command");
        assert_string_equal(reported(host, 1, 1), "malformed_command");
        assert_string_equal(produce_reported(host, 1, CR_POLICY_WAIT, 200, 3), "wait");
        assert_string_equal(reported(host, 7, 2), "");
        assert_int_equal(host->client->delivery->waiting, 1);
        assert_string_equal(reported(host, 7, 1), "");
        assert_int_equal(host->client->delivery->waiting, 0);
        expect_tags(host, 7, 200, 3);
        assert_string_equal(reported(host, 7, 9), "");
        assert_string_equal(reported(host, 7, 1), "ok");
        assert_int_equal(cr_reporter_holds(host->client->delivery), 0);
        test_host_free(host);
}

/* Proves that no more single messages come in than the reporter has left places for. */
static void others_have_what_is_left(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        bytes_t message = {.size = 0};
        (void)state;
        host->client->delivery->options.max_messages = 10 + CR_STAGE_FROM + 3;
        assert_string_equal(test_command_as(host, 7, CR_CMD_REPORTER, NULL, 0), "");
        assert_string_equal(produce_reported(host, 1, CR_POLICY_REFUSE, 100, 10), "");
        expect_tags(host, 7, 100, 10);
        assert_string_equal(plain_produce(host, CR_MODE_NONE, 0, "", CR_STAGE_FROM), "");
        assert_string_equal(plain_produce(host, CR_MODE_NONE, 0, "", 1), "");
        put_uint(&message, cr_intake_key(host->client->delivery->stage->intake), 8);
        put_plain(&message, UINT32_MAX, 1);
        assert_true(cr_intake_command(message.data, message.size));
        assert_true(cr_intake_command(message.data, message.size));
        assert_false(cr_intake_command(message.data, message.size));
        assert_string_equal(plain_produce(host, CR_MODE_NONE, 0, "", 1), "queue_full");
        test_host_free(host);
}

/* Proves that reports for which there was no memory are sent when there is some. */
static void memory_runs_out(void **state) {
        test_host_t *host = small_producer();
        (void)state;
        assert_string_equal(test_command_as(host, 7, CR_CMD_REPORTER, NULL, 0), "");
        test_blocks_run_out(true);
        assert_string_equal(produce_reported(host, 1, CR_POLICY_REFUSE, 100, 3), "");
        while (host->client->delivery->messages)
                cr_client_drain(host->client);
        assert_string_equal(reported(host, 7, 3), "no_memory");
        assert_int_equal(cr_reporter_holds(host->client->delivery), 3);
        test_blocks_run_out(false);
        cr_client_drain(host->client);
        expect_tags(host, 7, 100, 3);
        assert_string_equal(reported(host, 7, 3), "ok");
        test_host_free(host);
}

/* Proves that the next reporter gets what the last had not done with, and what
 * came while there was none; a death that is heard of late changes nothing. */
static void next_reporter_gets_the_rest(void **state) {
        test_host_t *host = small_producer();
        (void)state;
        assert_string_equal(test_command_as(host, 7, CR_CMD_REPORTER, NULL, 0), "");
        assert_string_equal(produce_reported(host, 1, CR_POLICY_REFUSE, 100, 1), "");
        expect_tags(host, 7, 100, 1);
        assert_string_equal(produce_reported(host, 1, CR_POLICY_REFUSE, 101, 3), "");
        expect_tags(host, 7, 101, 3);
        assert_string_equal(reported(host, 7, 1), "");
        cr_client_recipient_gone(host->client, 7);
        assert_string_equal(produce_reported(host, 1, CR_POLICY_REFUSE, 104, 2), "");
        assert_string_equal(test_command(host, CR_CMD_FLUSH, "flush", 5), "");
        packet_free(test_host_reply(host, "flush"));
        assert_int_equal(cr_reporter_holds(host->client->delivery), 5);
        assert_string_equal(reported(host, 7, 1), "malformed_command");
        assert_string_equal(test_command_as(host, 8, CR_CMD_REPORTER, NULL, 0), "");
        expect_tags(host, 8, 101, 5);
        assert_string_equal(test_command_as(host, 9, CR_CMD_REPORTER, NULL, 0), "");
        cr_client_recipient_gone(host->client, 8);
        expect_tags(host, 9, 101, 5);
        assert_string_equal(reported(host, 9, 5), "ok");
        test_host_free(host);
}

/* Proves that the reporter hears of a call whose caller died waiting for a
 * place, that its own death frees nothing that others wait for, and that it is
 * told of the end, when all is reported. */
static void reporter_hears_of_the_end(void **state) {
        test_host_t *host = small_producer();
        packet_t *packet;
        (void)state;
        assert_string_equal(test_command_as(host, 7, CR_CMD_REPORTER, NULL, 0), "");
        assert_string_equal(produce_reported(host, 1, CR_POLICY_REFUSE, 100, 10), "");
        assert_string_equal(produce_reported(host, 2, CR_POLICY_WAIT, 110, 5), "wait");
        cr_client_recipient_gone(host->client, 2);
        packet = test_host_packet(host, CR_PACKET_REPORTS);
        assert_non_null(packet);
        assert_int_equal(packet->size, 5 * REPORT);
        assert_int_equal(report_error(packet->bytes + 8), RD_KAFKA_RESP_ERR__PURGE_QUEUE);
        assert_int_equal(packet->bytes[8 + 2], CR_STATUS_NOT_SENT);
        packet_free(packet);
        cr_client_recipient_gone(host->client, 1);
        test_host_close(host);
        expect_tags(host, 7, 100, 10);
        packet = test_host_packet(host, CR_PACKET_REPORTS);
        assert_non_null(packet);
        assert_int_equal(packet->size, 0);
        packet_free(packet);
        test_host_free(host);
}

/* Proves that the reporter hears of a call that is carried out when its caller is
 * dead already. */
static void reporter_hears_of_the_dead(void **state) {
        test_host_t *host = small_producer();
        (void)state;
        assert_string_equal(test_command_as(host, 7, CR_CMD_REPORTER, NULL, 0), "");
        assert_string_equal(produce_reported(host, 0, CR_POLICY_REFUSE, 100, 10), "");
        assert_string_equal(produce_reported(host, 0, CR_POLICY_WAIT, 110, 2), "wait");
        expect_tags(host, 7, 100, 10);
        assert_string_equal(reported(host, 7, 2), "");
        expect_tags(host, 7, 110, 2);
        test_host_free(host);
}

/* Proves that only sent reports can be for the reporter. */
static void only_sent_reports_are_for_others(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        bytes_t command = {.size = 0};
        (void)state;
        for (uint8_t mode = 0; mode <= CR_MODE_SEND; mode++) {
                for (uint64_t to = 0; to <= 2; to++) {
                        bool right = to == CR_TO_CALLER ||
                                     (to == CR_TO_REPORTER && mode == CR_MODE_SEND);
                        command.size = 0;
                        put_uint(&command, mode, 1);
                        put_uint(&command, CR_POLICY_VIA, 1);
                        put_uint(&command, 17 + mode, 8);
                        put_uint(&command, to, 8);
                        put_uint(&command, 0, 8);
                        put_uint(&command, 1, 2);
                        put_text(&command, "t");
                        put_uint(&command, 1, 4);
                        put_uint(&command, CR_MESSAGE_TOPIC, 1);
                        put_uint(&command, 1, 2);
                        put_text(&command, "t");
                        assert_string_equal(
                                test_command(host, CR_CMD_PRODUCE, command.data, command.size),
                                right ? "" : "malformed_command");
                }
        }
        test_host_free(host);
}

/* Proves that a look tells whether an await would be answered at once, and takes
 * nothing. */
static void look_takes_nothing(void **state) {
        test_host_t *host = plain_producer("127.0.0.1:1");
        const unsigned char look[] = {0, 0, 0, 0, 0, 0, 0, 7, 'a'};
        (void)state;
        assert_string_equal(plain_produce(host, CR_MODE_KEEP, 7, "", 3), "");
        assert_string_equal(test_command(host, CR_CMD_LOOK, look, 8), "wait");
        assert_string_equal(test_command_as(host, 2, CR_CMD_LOOK, look, 8), "");
        assert_string_equal(test_command(host, CR_CMD_LOOK, look, 9), "malformed_command");
        assert_string_equal(test_command(host, CR_CMD_LOOK, look, 7), "malformed_command");
        assert_string_equal(test_command(host, CR_CMD_PURGE, NULL, 0), "");
        assert_string_equal(test_command(host, CR_CMD_FLUSH, "flush", 5), "");
        packet_free(test_host_reply(host, "flush"));
        assert_string_equal(test_command(host, CR_CMD_LOOK, look, 8), "");
        assert_string_equal(test_command(host, CR_CMD_LOOK, look, 8), "");
        assert_string_equal(test_command(host, CR_CMD_AWAIT, look, 9), "packed");
        test_host_free(host);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(reporter_holds_places),
                                           cmocka_unit_test(others_have_what_is_left),
                                           cmocka_unit_test(memory_runs_out),
                                           cmocka_unit_test(next_reporter_gets_the_rest),
                                           cmocka_unit_test(reporter_hears_of_the_end),
                                           cmocka_unit_test(reporter_hears_of_the_dead),
                                           cmocka_unit_test(only_sent_reports_are_for_others),
                                           cmocka_unit_test(look_takes_nothing)};
        return cmocka_run_group_tests(tests, start_cluster, stop_cluster);
}
