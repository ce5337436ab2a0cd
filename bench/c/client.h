/* Making librdkafka clients with the benchmark's settings. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include "options.h"

#include <librdkafka/rdkafka.h>

typedef void (*report_cb)(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque);

/* Prints what failed and ends the program: a benchmark has nothing to rescue. */
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Ends the program unless err is RD_KAFKA_RESP_ERR_NO_ERROR. */
void check(rd_kafka_resp_err_t err, const char *what);

/* The settings for that type of client, with logging off; owned by the
 * caller. */
rd_kafka_conf_t *client_conf(const struct options *o, rd_kafka_type_t type);

/* Calls report for each final delivery report, from rd_kafka_poll; takes conf. */
rd_kafka_t *producer_new(rd_kafka_conf_t *conf, report_cb report, void *opaque);

/* A consumer in a group that all of this process are in, without an assignment; takes conf. */
rd_kafka_t *consumer_new(rd_kafka_conf_t *conf);

void subscribe(rd_kafka_t *rk, const char *topic);

/* All partitions of the topic from the first offset; owned by the caller. */
rd_kafka_topic_partition_list_t *all_partitions(const struct options *o);

/* A value of so many bytes; owned by the caller. */
char *value_new(size_t size);

/* After rd_kafka_produce_batch: moves what the full queue refused to the front; returns how
 * many that are. */
int keep_refused(rd_kafka_message_t *batch, int count);

#endif
