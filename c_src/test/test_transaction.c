/* Transactions: which PRODUCE is taken when, and closing in the middle of one. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "../core/stage.h"
#include "../core/transaction.h"
#include "support/cluster.h"

#define FIND_COORDINATOR 10
#define END_TXN 26
/* Clients that are closed in the middle. */
#define ENDS 300

/* Connections that are idle for so long are closed: 0 never. */
static test_host_t *idle_producer(const char *servers, const char *idle) {
        const char *const properties[] = {"bootstrap.servers",
                                          servers,
                                          "log.queue",
                                          "true",
                                          "transactional.id",
                                          "t",
                                          "linger.ms",
                                          "40000",
                                          "message.timeout.ms",
                                          "50000",
                                          "connections.max.idle.ms",
                                          idle,
                                          NULL};
        test_host_t *host = test_host_new();
        assert_string_equal(test_open(host, "producer", properties), "ok");
        return host;
}

static test_host_t *producer(const char *servers) {
        return idle_producer(servers, "0");
}

static const char *transact(test_host_t *host, uint8_t what, uint32_t epoch, const char *tag) {
        bytes_t out = {.size = 0};
        put_uint(&out, what, 1);
        put_uint(&out, epoch, 4);
        put_text(&out, tag);
        return test_command(host, CR_CMD_TRANSACT, out.data, out.size);
}

/* The same, and its answer: ok or {error, {Name, ...}}. */
static bool succeeds(test_host_t *host, uint8_t what, uint32_t epoch) {
        packet_t *packet;
        cr_reader_t term;
        char ok[8] = "";
        assert_string_equal(transact(host, what, epoch, "step"), "");
        packet = test_host_reply(host, "step");
        assert_non_null(packet);
        term = cr_reader(packet->bytes, packet->size);
        cr_read_atom(&term, ok, sizeof(ok));
        packet_free(packet);
        return strcmp(ok, "ok") == 0;
}

static test_host_t *begin(test_host_t *host, uint32_t epoch) {
        assert_true(succeeds(host, CR_TRANSACT_INIT, 0));
        assert_true(succeeds(host, CR_TRANSACT_BEGIN, epoch));
        return host;
}

static test_host_t *with_transaction(uint32_t epoch) {
        return begin(producer(bootstrap), epoch);
}

static const char *produce_in(test_host_t *host, uint32_t epoch, const bytes_t *plain) {
        bytes_t out = {.size = 0};
        memcpy(out.data, plain->data, 10);
        out.size = 10;
        put_uint(&out, 0, 8);
        put_uint(&out, epoch, 4);
        put_uint(&out, 0, 4);
        memcpy(out.data + out.size, plain->data + 10, plain->size - 10);
        out.size += plain->size - 10;
        return test_command(host, CR_CMD_PRODUCE, out.data, out.size);
}

/* A message that nobody hears of. */
static const char *produce(test_host_t *host, uint32_t epoch) {
        bytes_t plain = {.size = 0};
        put_produce(&plain, CR_MODE_NONE, CR_POLICY_VIA, 0, "", 1);
        return produce_in(host, epoch, &plain);
}

/* One that is not sent. */
static const char *produce_none(test_host_t *host, uint32_t epoch) {
        bytes_t plain = {.size = 0};
        put_produce(&plain, CR_MODE_NONE, CR_POLICY_VIA, 0, "", 0);
        plain.data[plain.size - 1] = 1;
        put_uint(&plain, CR_MESSAGE_PARTITION, 1);
        put_uint(&plain, (uint32_t)CR_PARTITION_SKIP, 4);
        return produce_in(host, epoch, &plain);
}

/* The cluster's next answer of that kind, so many milliseconds late. */
static void answer(int api, const char *error, int millis) {
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, 2);
        cr_write_integer(&out, api);
        cr_write_list(&out, 1);
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, error);
        cr_write_integer(&out, millis);
        cr_write_list_end(&out);
        assert_string_equal(
                test_command(cluster, CR_CMD_MOCK_ERRORS, out.x.buff, (size_t)out.x.index), "");
        cr_writer_discard(&out);
}

/* Proves that a PRODUCE is taken with the open transaction's epoch only, from
 * the begin until the commit is asked for. */
static void only_the_open_one_takes(void **state) {
        test_host_t *host = producer(bootstrap);
        (void)state;
        assert_true(succeeds(host, CR_TRANSACT_INIT, 0));
        assert_string_equal(produce(host, 7), "stale_transaction");
        assert_true(succeeds(host, CR_TRANSACT_BEGIN, 7));
        assert_string_equal(produce(host, 0), "stale_transaction");
        assert_string_equal(produce(host, 8), "stale_transaction");
        assert_string_equal(produce(host, 7), "");
        assert_string_equal(transact(host, CR_TRANSACT_COMMIT, 0, "commit"), "");
        assert_string_equal(produce(host, 7), "stale_transaction");
        packet_free(test_host_reply(host, "commit"));
        assert_true(succeeds(host, CR_TRANSACT_BEGIN, 8));
        assert_string_equal(produce(host, 7), "stale_transaction");
        assert_true(succeeds(host, CR_TRANSACT_ABORT, 0));
        assert_string_equal(produce(host, 8), "stale_transaction");
        test_host_free(host);
}

/* Whether a reply with that tag is here already. */
static bool is_answered(test_host_t *host, const char *tag) {
        bool found = false;
        pthread_mutex_lock(&host->lock);
        for (const packet_t *packet = host->first; packet && !found; packet = packet->next)
                found = packet->kind == CR_PACKET_REPLY && packet->tag_size == strlen(tag) &&
                        memcmp(packet->tag, tag, packet->tag_size) == 0;
        pthread_mutex_unlock(&host->lock);
        return found;
}

/* Proves that whoever waits for the first report has it at once when nothing was
 * produced, and else when it comes: here by an abort, since all lingers. What was
 * not given to librdkafka is none. */
static void first_report(void **state) {
        test_host_t *host = with_transaction(1);
        (void)state;
        assert_true(succeeds(host, CR_TRANSACT_FIRST_REPORT, 0));
        assert_string_equal(produce(host, 1), "");
        assert_string_equal(produce_none(host, 1), "");
        assert_string_equal(transact(host, CR_TRANSACT_FIRST_REPORT, 0, "first"), "");
        assert_false(is_answered(host, "first"));
        assert_true(succeeds(host, CR_TRANSACT_ABORT, 0));
        packet_free(test_host_reply(host, "first"));
        test_host_free(host);
}

/* Proves that a purge is refused while a transaction is open, and a retirement
 * until it has ended. */
static void open_one_is_kept(void **state) {
        test_host_t *host = with_transaction(1);
        (void)state;
        assert_string_equal(test_command(host, CR_CMD_PURGE, NULL, 0), "in_transaction");
        assert_string_equal(test_command(host, CR_CMD_RETIRE, NULL, 0), "busy");
        assert_string_equal(test_command(host, CR_CMD_DRAIN, NULL, 0), "busy");
        assert_true(succeeds(host, CR_TRANSACT_COMMIT, 0));
        assert_string_equal(test_command(host, CR_CMD_DRAIN, NULL, 0), "");
        assert_string_equal(transact(host, CR_TRANSACT_BEGIN, 2, "drained"), "closed");
        assert_string_equal(test_command(host, CR_CMD_RETIRE, NULL, 0), "");
        assert_string_equal(transact(host, CR_TRANSACT_BEGIN, 2, "late"), "closed");
        test_host_free(host);
}

static bool is_told(test_host_t *host, const char *tag) {
        packet_t *packet = test_host_reply(host, tag);
        packet_free(packet);
        return packet != NULL;
}

/* Proves that a client can be closed while it initialises without a broker, while
 * a commit waits for messages, and while one waits for its answer; whoever
 * waits is told, and the reaper takes no longer than a call is tried. */
static void closes_under_way(void **state) {
        struct timespec before, after;
        test_host_t *hosts[3];
        (void)state;
        clock_gettime(CLOCK_MONOTONIC, &before);
        hosts[0] = producer("127.0.0.1:1");
        assert_string_equal(transact(hosts[0], CR_TRANSACT_INIT, 0, "end"), "");
        hosts[1] = with_transaction(1);
        assert_string_equal(produce(hosts[1], 1), "");
        assert_string_equal(transact(hosts[1], CR_TRANSACT_COMMIT, 0, "end"), "");
        hosts[2] = with_transaction(1);
        answer(END_TXN, "no_error", 60000);
        assert_string_equal(produce(hosts[2], 1), "");
        assert_string_equal(transact(hosts[2], CR_TRANSACT_COMMIT, 0, "end"), "");
        for (int i = 0; i < 3; i++) {
                test_host_close(hosts[i]);
                assert_true(is_told(hosts[i], "end"));
                test_host_free(hosts[i]);
        }
        clock_gettime(CLOCK_MONOTONIC, &after);
        assert_true(after.tv_sec - before.tv_sec < 20);
}

/* In its second transaction, so that the topic is known. */
static test_host_t *in_the_second(void) {
        test_host_t *host = with_transaction(1);
        assert_string_equal(produce(host, 1), "");
        assert_true(succeeds(host, CR_TRANSACT_COMMIT, 0));
        assert_true(succeeds(host, CR_TRANSACT_BEGIN, 2));
        assert_string_equal(produce(host, 2), "");
        return host;
}

/* Proves that a transaction in the middle of which the client is closed is aborted at
 * its coordinator: an error that waits for its EndTxn does not meet the next. */
static void close_aborts(void **state) {
        test_host_t *host = in_the_second();
        (void)state;
        assert_string_equal(test_command(host, CR_CMD_FLUSH, "flushed", 7), "");
        assert_true(succeeds(host, CR_TRANSACT_FIRST_REPORT, 0));
        answer(END_TXN, "invalid_txn_state", 0);
        test_host_free(host);
        host = with_transaction(1);
        assert_string_equal(produce(host, 1), "");
        assert_true(succeeds(host, CR_TRANSACT_COMMIT, 0));
        test_host_free(host);
}

/* Proves that the end may follow a message at once. On one processor librdkafka's
 * threads come to different orders of it, in one of which an assertion of its ended the
 * process about once in a hundred times. */
static void close_follows_message(void **state) {
        cpu_set_t before, one;
        (void)state;
        assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
        CPU_ZERO(&one);
        for (size_t i = 0; !CPU_COUNT(&one); i++) {
                if (CPU_ISSET(i, &before))
                        CPU_SET(i, &one);
        }
        assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
        for (int i = 0; i < ENDS; i++)
                test_host_free(in_the_second());
        assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

static const char *send_offsets(test_host_t *host, const char *tag) {
        rd_kafka_consumer_group_metadata_t *metadata = rd_kafka_consumer_group_metadata_new("g");
        cr_writer_t out = cr_writer();
        const char *answered;
        void *bytes;
        size_t size;
        assert_null(rd_kafka_consumer_group_metadata_write(metadata, &bytes, &size));
        cr_write_tuple(&out, 4);
        cr_write_text(&out, tag);
        cr_write_binary(&out, bytes, size);
        cr_write_list(&out, 1);
        cr_write_tuple(&out, 3);
        cr_write_text(&out, "t");
        cr_write_integer(&out, 0);
        cr_write_integer(&out, 1);
        cr_write_list_end(&out);
        cr_write_integer(&out, 1000);
        answered = test_command(host, CR_CMD_SEND_OFFSETS, out.x.buff, (size_t)out.x.index);
        cr_writer_discard(&out);
        rd_kafka_mem_free(NULL, bytes);
        rd_kafka_consumer_group_metadata_destroy(metadata);
        return answered;
}

/* Proves that whoever closes a client hears of the end also while librdkafka does
 * not come back with offsets, and that the client is freed when it does. */
static void offsets_without_end(void **state) {
        test_host_t *host = begin(idle_producer(bootstrap, "28000"), 1);
        bool told = false;
        (void)state;
        answer(FIND_COORDINATOR, "not_coordinator", 0);
        assert_string_equal(send_offsets(host, "offsets"), "");
        assert_string_equal(test_command(host, CR_CMD_CLOSE, "close", 5), "");
        test_host_close(host);
        for (int i = 0; i < 3 && !told; i++)
                told = is_told(host, "close");
        assert_true(told);
        assert_false(host->gone);
        assert_true(is_told(host, "offsets"));
        test_host_free(host);
}

/* Proves that in a transaction nothing is staged: its messages are librdkafka's before its
 * end is. */
static void none_are_staged(void **state) {
        test_host_t *host = with_transaction(1);
        (void)state;
        for (int i = 0; i < 2 * CR_STAGE_FROM; i++)
                assert_string_equal(produce(host, 1), "");
        assert_true(host->client->delivery->messages > CR_STAGE_FROM);
        assert_null(host->client->delivery->stage);
        test_host_free(host);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(none_are_staged),       cmocka_unit_test(only_the_open_one_takes),
                cmocka_unit_test(first_report),          cmocka_unit_test(open_one_is_kept),
                cmocka_unit_test(closes_under_way),      cmocka_unit_test(close_aborts),
                cmocka_unit_test(close_follows_message), cmocka_unit_test(offsets_without_end)};
        return cmocka_run_group_tests(tests, start_cluster, stop_cluster);
}
