/*
 * What becomes of the connections to brokers. librdkafka has no event for a
 * connection that came up, and tells only some of those that failed; its log
 * has both when it is asked for the context "broker", which is quiet while
 * nothing changes. So that context is always on, and what the user did not ask
 * for is taken out here.
 */
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "connections.h"

#define CONTEXT "broker"

int cr_connections_watch(rd_kafka_conf_t *conf) {
        char debug[512] = "", contexts[sizeof(debug) + sizeof(CONTEXT) + 1], level[16] = "";
        size_t debug_size = sizeof(debug), level_size = sizeof(level);
        bool asked =
                rd_kafka_conf_get(conf, "debug", debug, &debug_size) == RD_KAFKA_CONF_OK && *debug;
        contexts[0] = '\0';
        if (asked) {
                strcat(contexts, debug);
                strcat(contexts, ",");
        }
        strcat(contexts, CONTEXT);
        (void)rd_kafka_conf_set(conf, "debug", contexts, NULL, 0);
        if (asked || rd_kafka_conf_get(conf, "log_level", level, &level_size) != RD_KAFKA_CONF_OK)
                return CR_LOG_DEBUG;
        return atoi(level);
}

static bool ends_with(const char *text, const char *end) {
        size_t size = strlen(text), end_size = strlen(end);
        return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

bool cr_connections_line(int level, const char *facility, const char *text) {
        return level == CR_LOG_DEBUG &&
               (strcmp(facility, "FAIL") == 0 ||
                (strcmp(facility, "STATE") == 0 && ends_with(text, " -> UP")));
}
