/* From librdkafka's JSON to the event of the statistics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../core/statistics.h"
#include "support/test_host.h"

static test_host_t *producer(const char *interval) {
        const char *const properties[] = {
                "bootstrap.servers",      "127.0.0.1:1", "log.queue", "true",
                "statistics.interval.ms", interval,      NULL};
        test_host_t *host = test_host_new();
        assert_string_equal(test_open(host, "producer", properties), "ok");
        return host;
}

/* Proves that the event holds every kind of JSON value, in the term format. */
static void every_value_is_written(void **state) {
        test_host_t *host = producer("0");
        packet_t *packet;
        cr_writer_t expected = cr_writer();
        (void)state;
        cr_statistics_event(host->client, "{\"a\":[1,-2.5,\"x\",true,null,{}]}");
        packet = test_host_event(host, "statistics");
        assert_non_null(packet);
        cr_write_tuple(&expected, 2);
        cr_write_atom(&expected, "statistics");
        cr_write_map(&expected, 1);
        cr_write_text(&expected, "a");
        cr_write_list(&expected, 6);
        cr_write_integer(&expected, 1);
        cr_write_double(&expected, -2.5);
        cr_write_text(&expected, "x");
        cr_write_bool(&expected, true);
        cr_write_atom(&expected, "undefined");
        cr_write_map(&expected, 0);
        cr_write_list_end(&expected);
        assert_int_equal(packet->size, expected.x.index);
        assert_memory_equal(packet->bytes, expected.x.buff, packet->size);
        cr_writer_discard(&expected);
        packet_free(packet);
        test_host_free(host);
        assert_int_equal(test_blocks_alive(), 0);
}

/* Proves that what is not understood gives no event, and that the next is read. */
static void what_is_not_understood_is_passed_over(void **state) {
        const char *const wrong[] = {"", "{", "17x", "{\"a\":}", "{\"a\":\"\xff\"}", NULL};
        test_host_t *host = producer("0");
        packet_t *packet;
        (void)state;
        for (int i = 0; wrong[i]; i++) {
                cr_statistics_event(host->client, wrong[i]);
                while (host->client->reading_statistics)
                        cr_client_drain(host->client);
        }
        cr_statistics_event(host->client, "{\"ok\":1}");
        packet = test_host_event(host, "statistics");
        assert_non_null(packet);
        assert_non_null(memmem(packet->bytes, packet->size, "ok", 2));
        packet_free(packet);
        test_host_free(host);
        assert_int_equal(test_blocks_alive(), 0);
}

/* Proves that a client closes, and leaks nothing, whatever of them is under way,
 * and that no thread is there for those that do not come. */
static void closes_while_reading(void **state) {
        (void)state;
        for (int i = 0; i < 10; i++) {
                test_host_t *host = producer(i % 2 ? "1" : "0");
                if (i % 2) {
                        packet_free(test_host_event(host, "statistics"));
                } else {
                        assert_false(host->client->statistics_lane.started);
                        cr_statistics_event(host->client, "{\"a\":1}");
                }
                assert_true(host->client->statistics_lane.started);
                test_host_free(host);
        }
        assert_int_equal(test_blocks_alive(), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(every_value_is_written),
                                           cmocka_unit_test(what_is_not_understood_is_passed_over),
                                           cmocka_unit_test(closes_while_reading)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
