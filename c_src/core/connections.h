/*
 * The connections to brokers, as librdkafka's log tells of them.
 */
#ifndef CREMA_CONNECTIONS_H
#define CREMA_CONNECTIONS_H

#include <librdkafka/rdkafka.h>

#include <stdbool.h>

/* syslog's LOG_DEBUG: librdkafka's lines of a context that was asked for. */
#define CR_LOG_DEBUG 7

/* Has the log tell of them, when all of the user's properties are set. Returns
 * the level of the last lines that the user wants to see. */
int cr_connections_watch(rd_kafka_conf_t *conf);
/* Whether a line tells that one came up, or failed. */
bool cr_connections_line(int level, const char *facility, const char *text);

#endif
