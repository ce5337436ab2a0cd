/* The brokers of the embedded cluster: slow, stopped, and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "support/cluster.h"

static const char *change(int broker, const char *what, int millis) {
        const char *answer;
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, 4);
        cr_write_text(&out, "changed");
        cr_write_integer(&out, broker);
        cr_write_atom(&out, what);
        cr_write_integer(&out, millis);
        answer = test_command(cluster, CR_CMD_MOCK_BROKER, out.x.buff, (size_t)out.x.index);
        cr_writer_discard(&out);
        return answer;
}

static void changed(int broker, const char *what, int millis) {
        assert_string_equal(change(broker, what, millis), "");
        packet_free(test_host_reply(cluster, "changed"));
}

static int64_t now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* How long a message takes that is waited for. */
static int64_t produced_in(test_host_t *host) {
        const int64_t since = now_ms();
        packet_t *packet;
        assert_string_equal(plain_produce(host, CR_MODE_WAIT, 1, "report", 1), "");
        packet = test_host_reply(host, "report");
        assert_non_null(packet);
        assert_int_equal(report_error(packet->bytes), 0);
        packet_free(packet);
        return now_ms() - since;
}

/* Proves that a broker's answers are as late as was said, until it is said otherwise. */
static void answers_late(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        (void)state;
        produced_in(host);
        changed(1, "rtt", 2000);
        assert_true(produced_in(host) >= 2000);
        assert_true(produced_in(host) >= 2000);
        changed(-1, "rtt", 0);
        produced_in(host);
        assert_true(produced_in(host) < 2000);
        test_host_free(host);
}

/* Proves that nothing is delivered while a broker is down, and all of it when it is
 * up again. */
static void is_down_and_up(void **state) {
        test_host_t *host = plain_producer(bootstrap);
        packet_t *packet;
        (void)state;
        produced_in(host);
        changed(-1, "down", 0);
        assert_string_equal(plain_produce(host, CR_MODE_WAIT, 1, "report", 1), "");
        packet = test_host_event(host, "broker");
        assert_non_null(packet);
        packet_free(packet);
        changed(-1, "up", 0);
        packet = test_host_reply(host, "report");
        assert_non_null(packet);
        assert_int_equal(report_error(packet->bytes), 0);
        packet_free(packet);
        test_host_free(host);
}

/* Proves that what is no broker, no change and no time is refused. */
static void refuses(void **state) {
        (void)state;
        assert_string_equal(change(2, "down", 0), "malformed_command");
        assert_string_equal(change(0, "down", 0), "malformed_command");
        assert_string_equal(change(-2, "down", 0), "malformed_command");
        assert_string_equal(change(1, "away", 0), "malformed_command");
        assert_string_equal(change(1, "rtt", -1), "malformed_command");
        assert_string_equal(change(1, "rtt", 60001), "malformed_command");
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(answers_late),
                                           cmocka_unit_test(is_down_and_up),
                                           cmocka_unit_test(refuses)};
        return cmocka_run_group_tests(tests, start_cluster, stop_cluster);
}
