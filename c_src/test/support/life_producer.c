/* The lives of producers: each accepted message is reported exactly once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../core/stage.h"
#include "life.h"
#include "memory.h"
#include "trial.h"

#define GROUPED (8 + CR_REPORT_SIZE)
#define REPORTER 2

static bool answered(const char *answer, const char *expected) {
        return strcmp(answer, expected) == 0;
}

static const char *produce(life_t *life, uint8_t mode, uint8_t policy, uint64_t call,
                           const char *tag, uint32_t count, const char *expected) {
        bytes_t command = {.size = 0};
        put_produce(&command, mode, policy, call, tag, count);
        return life_do(life, CR_CMD_PRODUCE, command.data, command.size, expected);
}

/* A reply to the tag, with so many reports. */
static void expect_reports(life_t *life, const char *tag, size_t count) {
        packet_t *reply = life_reply(life, tag);
        if (reply->size != count * CR_REPORT_SIZE)
                trial_fail("%s has %zu bytes of %zu reports", tag, reply->size, count);
        packet_free(reply);
}

static void produce_and_wait(life_t *life, uint64_t call, uint32_t count) {
        if (answered(produce(life, CR_MODE_WAIT, CR_POLICY_REFUSE, call, "waits", count, ""), ""))
                expect_reports(life, "waits", count);
}

static bool flush(life_t *life) {
        return life_ask(life, CR_CMD_FLUSH, "flushed", 7, "flushed");
}

/* Those of a call that is complete. */
static void fetch(life_t *life, uint64_t call, size_t count) {
        bytes_t command = {.size = 0};
        size_t size;
        put_uint(&command, call, 8);
        (void)life_do(life, CR_CMD_LOOK, command.data, command.size, "");
        put_text(&command, "fetched");
        if (!answered(life_do(life, CR_CMD_AWAIT, command.data, command.size, "packed"), "packed"))
                trial_fail("what is kept cannot be fetched");
        (void)test_answer(&size);
        if (size != count * CR_REPORT_SIZE)
                trial_fail("%zu bytes of %zu reports were kept", size, count);
}

static void produce_and_fetch(life_t *life, uint64_t call, uint32_t count) {
        if (!answered(produce(life, CR_MODE_KEEP, CR_POLICY_REFUSE, call, "", count, ""), ""))
                return;
        (void)flush(life);
        life_settle(life);
        fetch(life, call, count);
}

/* All that a message may have, by its own topic and configuration. */
static void produce_full(life_t *life, uint64_t call, uint32_t variant) {
        bytes_t command = {.size = 0};
        put_uint(&command, CR_MODE_WAIT, 1);
        put_uint(&command, CR_POLICY_REFUSE | CR_POLICY_VIA, 1);
        put_uint(&command, call, 8);
        put_uint(&command, CR_TO_CALLER, 8);
        put_uint(&command, 0, 4);
        put_uint(&command, variant, 4);
        put_uint(&command, 5, 2);
        put_text(&command, "waits");
        put_uint(&command, 1, 4);
        put_uint(&command,
                 CR_MESSAGE_TOPIC | CR_MESSAGE_HASH | CR_MESSAGE_TIMESTAMP | CR_MESSAGE_KEY |
                         CR_MESSAGE_VALUE | CR_MESSAGE_HEADERS,
                 1);
        put_uint(&command, 2, 2);
        put_text(&command, variant ? "t5" : "t4"); /* t5 is made by being asked for */
        put_uint(&command, CR_HASH_MURMUR2, 1);
        put_uint(&command, 4, 4);
        put_uint(&command, 3, 4);
        put_text(&command, "key");
        put_uint(&command, 1234, 8);
        put_uint(&command, 3, 4);
        put_text(&command, "key");
        put_uint(&command, 5, 4);
        put_text(&command, "value");
        put_uint(&command, 1, 2);
        put_uint(&command, 1, 2);
        put_text(&command, "n");
        put_uint(&command, UINT32_MAX, 4);
        if (answered(life_do(life, CR_CMD_PRODUCE, command.data, command.size, ""), ""))
                expect_reports(life, "waits", 1);
}

/* A value that comes behind the command, in pieces, and has to be copied. */
static void produce_behind(life_t *life, uint64_t call) {
        static const unsigned char half[50];
        const cr_segment_t behind[] = {{.bytes = half, .size = 50}, {.bytes = half, .size = 50}};
        bytes_t command = {.size = 0};
        cr_input_t in = {.caller = 1, .behind = behind, .behind_count = 2};
        packet_t *reply;
        put_uint(&command, CR_MODE_WAIT, 1);
        put_uint(&command, CR_POLICY_REFUSE, 1);
        put_uint(&command, call, 8);
        put_uint(&command, 6, 2);
        put_text(&command, "behind");
        put_uint(&command, 1, 4);
        put_uint(&command, CR_MESSAGE_TOPIC | CR_MESSAGE_VALUE_BEHIND, 1);
        put_uint(&command, 1, 2);
        put_text(&command, "t");
        put_uint(&command, 100, 4);
        in.data = command.data;
        in.size = command.size;
        cr_client_produce(life->host->client, &in);
        reply = life_reply(life, "behind");
        if (trial_is_faultless() && reply->size != CR_REPORT_SIZE)
                trial_fail("a value behind the command is refused");
        packet_free(reply);
}

/* The reporter's, and what is sent to the caller; how many the latter are. */
static uint32_t produce_and_send(life_t *life) {
        uint32_t sent = 0;
        if (answered(produce(life, CR_MODE_SEND, CR_POLICY_REFUSE, 100, "", 3, ""), ""))
                sent += 3;
        if (answered(produce(life, CR_MODE_SEND, CR_POLICY_REFUSE, 200, "", 90, ""), ""))
                sent += 90;
        return sent;
}

static uint32_t produce_and_report(life_t *life) {
        bytes_t command = {.size = 0}, message = {.size = 0};
        const char *answer = test_command_as(life->host, REPORTER, CR_CMD_REPORTER, NULL, 0);
        if (answer[0])
                trial_fail("there is no reporter: %s", answer);
        put_produce(&message, CR_MODE_SEND, CR_POLICY_VIA, 300, "", 2);
        /* Behind the call's number stands who hears of it. */
        memcpy(command.data, message.data, 10);
        command.size = 10;
        put_uint(&command, CR_TO_REPORTER, 8);
        put_uint(&command, 0, 8);
        memcpy(command.data + command.size, message.data + 10, message.size - 10);
        command.size += message.size - 10;
        return answered(life_do(life, CR_CMD_PRODUCE, command.data, command.size, ""), "") ? 2 : 0;
}

/* The queue has a hundred places, some of which the reporter holds. */
static void wait_for_place(life_t *life, uint64_t call, uint32_t reported) {
        (void)produce(life, CR_MODE_NONE, CR_POLICY_REFUSE, 0, "", 100 - reported, "");
        if (answered(produce(life, CR_MODE_KEEP, CR_POLICY_WAIT, call, "placed", 5, "wait"),
                     "wait")) {
                packet_t *reply = life_reply(life, "placed");
                bool placed = reply->size && memmem(reply->bytes, reply->size, "ok", 2);
                packet_free(reply);
                (void)flush(life);
                life_settle(life);
                if (placed)
                        fetch(life, call, 5);
                else if (trial_is_faultless())
                        trial_fail("who waits gets no place");
        }
        (void)flush(life);
}

/* Calls of one message, of a producer that is busy. */
static void stage(life_t *life) {
        (void)produce(life, CR_MODE_NONE, CR_POLICY_REFUSE, 0, "", CR_STAGE_FROM, "");
        for (int i = 0; i < 3; i++)
                (void)produce(life, CR_MODE_NONE, CR_POLICY_REFUSE, 0, "", 1, "");
}

static void configure_topic(life_t *life) {
        cr_writer_t term = life_writer();
        size_t size;
        const unsigned char *bytes;
        cr_reader_t answer;
        cr_write_list(&term, 1);
        cr_write_tuple(&term, 2);
        cr_write_text(&term, "message.timeout.ms");
        cr_write_text(&term, "12345");
        cr_write_list_end(&term);
        if (!answered(life_do_term(life, CR_CMD_TOPIC_CONFIG, &term, "ok"), "ok"))
                trial_fail("topics have no configuration of their own");
        bytes = test_answer(&size);
        answer = cr_reader(bytes, size);
        (void)cr_read_tuple(&answer, 2);
        cr_read_atom(&answer, (char[8]){0}, 8);
        produce_full(life, 12, (uint32_t)cr_read_integer(&answer));
}

static void ask_topic(life_t *life, unsigned command, const char *topic) {
        cr_writer_t term = life_term(4, "asked");
        cr_write_text(&term, topic);
        cr_write_integer(&term, 0);
        cr_write_integer(&term, 5000);
        (void)life_ask_term(life, command, &term, "asked");
}

static bool is_of(const packet_t *packet, const void *with) {
        return packet->kind == CR_PACKET_REPORTS && packet->to == *(const cr_recipient_t *)with;
}

/* How many reports were sent there. */
static size_t count_reports(life_t *life, cr_recipient_t to) {
        packet_t *packet;
        size_t size = 0;
        while ((packet = test_host_find(life->host, is_of, &to))) {
                size += packet->size;
                packet_free(packet);
        }
        return size / GROUPED;
}

static bool is_left(const packet_t *packet, const void *with) {
        return packet->kind == CR_PACKET_LEFT && packet->slot == *(const uint64_t *)with;
}

/* What is on its way at the end is reported by the reaper. */
static void close_outstanding(life_t *life, uint32_t sent, uint32_t reported) {
        const uint64_t kept = 20, waiting = 21;
        bool waits, keeps;
        packet_t *left;
        waits = answered(produce(life, CR_MODE_WAIT, 0, waiting, "at the end", 2, ""), "");
        keeps = answered(produce(life, CR_MODE_KEEP, 0, kept, "", 2, ""), "");
        if (answered(produce(life, CR_MODE_SEND, 0, 400, "", 4, ""), ""))
                sent += 4;
        life_close(life);
        if (waits) {
                packet_t *reply = test_host_reply(life->host, "at the end");
                if (!reply || reply->size != 2 * CR_REPORT_SIZE)
                        trial_fail("who waits at the end hears nothing");
                packet_free(reply);
        }
        left = test_host_find(life->host, is_left, &kept);
        if (keeps && (!left || left->size != 2 * CR_REPORT_SIZE))
                trial_fail("what was kept at the end is lost");
        packet_free(left);
        if (count_reports(life, 1) != sent)
                trial_fail("%u reports were to be sent", sent);
        if (count_reports(life, REPORTER) != reported)
                trial_fail("%u reports were for the reporter", reported);
}

void life_of_producer(void) {
        static const test_option_t options[] = {
                {"max_messages", 100}, {"tally", 1}, {"tally_listed", 5}, {NULL, 0}};
        life_t life = life_begin();
        const char *const properties[] = {"bootstrap.servers",
                                          rd_kafka_mock_cluster_bootstraps(life.member->mock),
                                          "log.queue",
                                          "true",
                                          "linger.ms",
                                          "1",
                                          "statistics.interval.ms",
                                          "100",
                                          NULL};
        uint32_t sent, reported;
        life_open(&life, "producer", properties, options);
        produce_and_fetch(&life, 1, 3);
        produce_and_wait(&life, 2, 4);
        sent = produce_and_send(&life);
        (void)flush(&life);
        reported = produce_and_report(&life);
        produce_full(&life, 3, 0);
        produce_behind(&life, 4);
        wait_for_place(&life, 5, reported);
        stage(&life);
        configure_topic(&life);
        ask_topic(&life, CR_CMD_METADATA, "t");
        ask_topic(&life, CR_CMD_WATERMARKS, "t");
        (void)life_do(&life, CR_CMD_INFO, NULL, 0, "ok");
        (void)life_do(&life, CR_CMD_PURGE, NULL, 0, "");
        (void)life_event(&life, "statistics");
        (void)life_event(&life, "reports");
        (void)life_do(&life, CR_CMD_TALLIED, NULL, 0, "");
        (void)flush(&life);
        stage(&life);
        close_outstanding(&life, sent, reported);
        life_end(&life);
}

/* ---- transactions ------------------------------------------------------------- */

static bool transact(life_t *life, uint8_t what, uint32_t epoch) {
        bytes_t command = {.size = 0};
        put_uint(&command, what, 1);
        put_uint(&command, epoch, 4);
        put_text(&command, "done");
        return life_ask(life, CR_CMD_TRANSACT, command.data, command.size, "done");
}

static void produce_in(life_t *life, uint32_t epoch, uint64_t call) {
        bytes_t command = {.size = 0}, message = {.size = 0};
        put_produce(&message, CR_MODE_WAIT, CR_POLICY_VIA, call, "waits", 2);
        memcpy(command.data, message.data, 10);
        command.size = 10;
        put_uint(&command, CR_TO_CALLER, 8);
        put_uint(&command, epoch, 4);
        put_uint(&command, 0, 4);
        memcpy(command.data + command.size, message.data + 10, message.size - 10);
        command.size += message.size - 10;
        if (!answered(life_do(life, CR_CMD_PRODUCE, command.data, command.size, ""), ""))
                return;
        (void)transact(life, CR_TRANSACT_FIRST_REPORT, 0);
        expect_reports(life, "waits", 2);
}

static void send_offsets(life_t *life) {
        rd_kafka_consumer_group_metadata_t *metadata = rd_kafka_consumer_group_metadata_new("g");
        cr_writer_t term = life_term(4, "sent");
        void *bytes;
        size_t size;
        rd_kafka_error_t *failed = rd_kafka_consumer_group_metadata_write(metadata, &bytes, &size);
        if (failed)
                trial_fail("there is no metadata of a group");
        cr_write_binary(&term, bytes, size);
        rd_kafka_mem_free(NULL, bytes);
        rd_kafka_consumer_group_metadata_destroy(metadata);
        cr_write_list(&term, 1);
        cr_write_tuple(&term, 3);
        cr_write_text(&term, "t");
        cr_write_integer(&term, 0);
        cr_write_integer(&term, 2);
        cr_write_list_end(&term);
        cr_write_integer(&term, 5000);
        (void)life_ask_term(life, CR_CMD_SEND_OFFSETS, &term, "sent");
}

void life_of_transactions(void) {
        static const test_option_t none[] = {{NULL, 0}};
        life_t life = life_begin();
        const char *const properties[] = {"bootstrap.servers",
                                          rd_kafka_mock_cluster_bootstraps(life.member->mock),
                                          "log.queue",
                                          "true",
                                          "transactional.id",
                                          "life",
                                          NULL};
        life_open(&life, "producer", properties, none);
        (void)transact(&life, CR_TRANSACT_INIT, 0);
        (void)transact(&life, CR_TRANSACT_BEGIN, 1);
        produce_in(&life, 1, 1);
        send_offsets(&life);
        (void)transact(&life, CR_TRANSACT_COMMIT, 0);
        (void)transact(&life, CR_TRANSACT_BEGIN, 2);
        produce_in(&life, 2, 2);
        (void)transact(&life, CR_TRANSACT_ABORT, 0);
        (void)life_do(&life, CR_CMD_RETIRE, NULL, 0, "");
        life_close(&life);
        life_end(&life);
}
