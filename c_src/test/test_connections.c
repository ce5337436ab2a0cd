/*
 * What of librdkafka's log is wanted by the user, and what by crema.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "../core/connections.h"

static int watch(const char *key, const char *value, char *debug, size_t size) {
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        int level;
        if (key)
                assert_int_equal(rd_kafka_conf_set(conf, key, value, NULL, 0), RD_KAFKA_CONF_OK);
        level = cr_connections_watch(conf);
        assert_int_equal(rd_kafka_conf_get(conf, "debug", debug, &size), RD_KAFKA_CONF_OK);
        rd_kafka_conf_destroy(conf);
        return level;
}

/* Brokers are always followed, and the user's own settings hold. */
static void brokers_are_followed(void **state) {
        char debug[512];
        (void)state;
        assert_int_equal(watch(NULL, NULL, debug, sizeof(debug)), 6);
        assert_string_equal(debug, "broker");
        assert_int_equal(watch("log_level", "3", debug, sizeof(debug)), 3);
        assert_string_equal(debug, "broker");
        assert_int_equal(watch("debug", "cgrp,topic", debug, sizeof(debug)), CR_LOG_DEBUG);
        assert_non_null(strstr(debug, "broker"));
        assert_non_null(strstr(debug, "cgrp"));
        assert_int_equal(watch("debug", "all", debug, sizeof(debug)), CR_LOG_DEBUG);
}

/* Of all those lines, connections that came up and those that failed. */
static void lines_of_connections(void **state) {
        (void)state;
        assert_true(cr_connections_line(7, "STATE", "a: Broker changed state AUTH_REQ -> UP"));
        assert_true(cr_connections_line(7, "FAIL", ""));
        assert_false(cr_connections_line(3, "FAIL", "told by 7 already"));
        assert_false(cr_connections_line(7, "STATE", "a: Broker changed state UP -> DOWN"));
        assert_false(cr_connections_line(7, "STATE", "UP"));
        assert_false(cr_connections_line(7, "TOPPAR", "a -> UP"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(brokers_are_followed),
                cmocka_unit_test(lines_of_connections),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
