/* What the owner hears of delivery reports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../core/delivery.h"
#include "../core/tally.h"
#include "support/cluster.h"

/* A producer whose owner hears of reports, `listed` of them one by one. */
static test_host_t *producer(const char *servers, int64_t listed) {
        const cr_options_t options = {.tally = 1, .tally_listed = listed};
        test_host_t *host = plain_producer(servers);
        host->client->delivery->tally = cr_tally_new(&options);
        return host;
}

static void produce(test_host_t *host, uint32_t count) {
        assert_string_equal(plain_produce(host, CR_MODE_NONE, 0, "", count), "");
}

static void flush(test_host_t *host) {
        assert_string_equal(test_command(host, CR_CMD_FLUSH, "flush", 5), "");
        packet_free(test_host_reply(host, "flush"));
}

typedef struct event {
        int64_t acknowledged, failed, unlisted, listed;
        int errors;
        int64_t first_error;
} event_t;

/* The reports of a list, each with a topic of its own or that of the one before. */
static int64_t read_list(cr_text_t list) {
        cr_bytes_t in = cr_bytes(list.bytes, list.size);
        int64_t count = 0;
        while (in.at < in.size) {
                size_t size;
                (void)cr_take(&in, 15);
                size = cr_take_u16(&in);
                assert_int_equal(size, count == 0 ? 1 : 0);
                (void)cr_take(&in, size);
                count++;
        }
        assert_false(in.failed);
        return count;
}

static event_t next(test_host_t *host) {
        packet_t *packet = test_host_event(host, "reports");
        cr_reader_t in;
        event_t event = {0};
        char name[16];
        assert_non_null(packet);
        in = cr_reader(packet->bytes, packet->size);
        assert_true(cr_read_tuple(&in, 5));
        cr_read_atom(&in, name, sizeof(name));
        event.acknowledged = cr_read_integer(&in);
        event.errors = cr_read_list(&in);
        for (int i = 0; i < event.errors; i++) {
                int64_t error;
                assert_true(cr_read_tuple(&in, 2));
                error = cr_read_integer(&in);
                event.first_error = i ? event.first_error : error;
                event.failed += cr_read_integer(&in);
        }
        cr_read_list_end(&in, event.errors);
        event.unlisted = cr_read_integer(&in);
        event.listed = read_list(cr_read_binary(&in));
        assert_true(cr_reader_done(&in));
        packet_free(packet);
        return event;
}

/* Proves that reports are counted and listed, and beyond the bound only counted. */
static void counts_and_lists(void **state) {
        test_host_t *host = producer(bootstrap, 3);
        event_t event;
        (void)state;
        host->client->delivery->tally->sent = true;
        produce(host, 5);
        flush(host);
        assert_string_equal(test_command(host, CR_CMD_TALLIED, NULL, 0), "");
        event = next(host);
        assert_int_equal(event.acknowledged, 5);
        assert_int_equal(event.errors, 0);
        assert_int_equal(event.listed, 3);
        assert_int_equal(event.unlisted, 2);
        test_host_free(host);
}

/* Proves that nothing follows an event before the owner has dealt with it, and
 * that nothing of the time between is lost. */
static void one_at_a_time(void **state) {
        test_host_t *host = producer(bootstrap, 100);
        int64_t seen;
        (void)state;
        produce(host, 1);
        seen = next(host).acknowledged;
        for (int i = 0; i < 5; i++)
                produce(host, 10);
        flush(host);
        assert_true(host->client->delivery->tally->sent);
        assert_int_equal(host->client->delivery->tally->acknowledged, 51 - seen);
        assert_string_equal(test_command(host, CR_CMD_TALLIED, NULL, 0), "");
        assert_int_equal(next(host).listed, 51 - seen);
        assert_string_equal(test_command(host, CR_CMD_TALLIED, NULL, 0), "");
        assert_false(host->client->delivery->tally->sent);
        test_host_free(host);
}

/* Proves that the reaper tells what it has reported, also an owner that has not
 * dealt with the event before. */
static void the_end_is_told(void **state) {
        test_host_t *host = producer("127.0.0.1:1", 2);
        event_t event;
        (void)state;
        produce(host, 7);
        host->client->delivery->tally->sent = true;
        test_host_close(host);
        event = next(host);
        assert_int_equal(event.acknowledged, 0);
        assert_int_equal(event.failed, 7);
        assert_int_equal(event.first_error, RD_KAFKA_RESP_ERR__PURGE_QUEUE);
        assert_int_equal(event.listed, 2);
        assert_int_equal(event.unlisted, 5);
        test_host_free(host);
}

/* Proves that more kinds of errors than there is room for are still counted. */
static void many_errors(void **state) {
        test_host_t *host = producer("127.0.0.1:1", 0);
        event_t event;
        (void)state;
        for (int16_t i = 1; i <= 2 * CR_TALLY_ERRORS; i++) {
                const rd_kafka_message_t report = {.err = i};
                cr_tally_add(host->client->delivery->tally, &report, report.err,
                             CR_STATUS_NOT_PERSISTED);
        }
        cr_tally_more(host->client);
        event = next(host);
        assert_int_equal(event.errors, CR_TALLY_ERRORS);
        assert_int_equal(event.failed, 2 * CR_TALLY_ERRORS);
        test_host_free(host);
}

/* Proves that what could not be told for want of memory is told later. */
static void memory_runs_out(void **state) {
        test_host_t *host = producer("127.0.0.1:1", 0);
        const rd_kafka_message_t report = {.err = RD_KAFKA_RESP_ERR__MSG_TIMED_OUT};
        (void)state;
        cr_tally_add(host->client->delivery->tally, &report, report.err, CR_STATUS_NOT_PERSISTED);
        test_blocks_run_out(true);
        cr_client_drain(host->client);
        test_blocks_run_out(false);
        cr_client_drain(host->client);
        assert_int_equal(next(host).failed, 1);
        test_host_free(host);
}

/* Proves that a producer whose owner did not ask for it tells nothing. */
static void nobody_asked(void **state) {
        const char *const properties[] = {"bootstrap.servers", bootstrap, "log.queue", "true",
                                          NULL};
        test_host_t *host = test_host_new();
        (void)state;
        assert_string_equal(test_open(host, "producer", properties), "ok");
        assert_null(host->client->delivery->tally);
        produce(host, 3);
        flush(host);
        assert_string_equal(test_command(host, CR_CMD_TALLIED, NULL, 0), "");
        test_host_free(host);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(counts_and_lists), cmocka_unit_test(one_at_a_time),
                cmocka_unit_test(the_end_is_told),  cmocka_unit_test(many_errors),
                cmocka_unit_test(nobody_asked),     cmocka_unit_test(memory_runs_out)};
        return cmocka_run_group_tests(tests, start_cluster, stop_cluster);
}
