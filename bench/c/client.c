#include "client.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fail(const char *format, ...) {
        va_list args;

        va_start(args, format);
        fputs("raw: ", stderr);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
        va_end(args);
        exit(1);
}

void check(rd_kafka_resp_err_t err, const char *what) {
        if (err)
                fail("%s: %s", what, rd_kafka_err2str(err));
}

/* Sets one property; false if this librdkafka has none of that name. */
static bool set(rd_kafka_conf_t *conf, const char *key, const char *value) {
        char why[512];
        rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, key, value, why, sizeof why);

        if (result == RD_KAFKA_CONF_INVALID)
                fail("%s", why);
        return result == RD_KAFKA_CONF_OK;
}

/* Sets one "key=value"; as above. */
static bool set_line(rd_kafka_conf_t *conf, const char *line) {
        const char *equals = strchr(line, '=');
        char key[128];

        if (!equals || (size_t)(equals - line) >= sizeof key)
                fail("key=value is expected: %s", line);
        memcpy(key, line, (size_t)(equals - line));
        key[equals - line] = '\0';
        return set(conf, key, equals + 1);
}

/* What an older librdkafka lacks is left out. */
static void set_file(rd_kafka_conf_t *conf, const char *folder, const char *name) {
        char path[4096], line[512];
        FILE *file;

        snprintf(path, sizeof path, "%s/%s", folder, name);
        if (!(file = fopen(path, "r")))
                fail("cannot read %s", path);
        while (fgets(line, sizeof line, file)) {
                line[strcspn(line, "\n")] = '\0';
                if (line[0] != '\0' && line[0] != '#')
                        set_line(conf, line);
        }
        fclose(file);
}

rd_kafka_conf_t *client_conf(const struct options *o, rd_kafka_type_t type) {
        int producer = type == RD_KAFKA_PRODUCER;
        const struct properties *own = producer ? &o->producer : &o->consumer;
        const char *name = producer ? "producer.conf" : "consumer.conf";
        rd_kafka_conf_t *conf = rd_kafka_conf_new();

        rd_kafka_conf_set_log_cb(conf, NULL);
        set(conf, "bootstrap.servers", o->bootstrap);
        if (o->settings)
                set_file(conf, o->settings, name);
        for (size_t i = 0; i < own->count; i++) {
                if (!set_line(conf, own->lines[i]))
                        fail("unknown property: %s", own->lines[i]);
        }
        return conf;
}

static rd_kafka_t *client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf) {
        char why[512];
        rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof why);

        if (!rk)
                fail("%s", why);
        return rk;
}

rd_kafka_t *producer_new(rd_kafka_conf_t *conf, report_cb report, void *opaque) {
        rd_kafka_conf_set_opaque(conf, opaque);
        rd_kafka_conf_set_dr_msg_cb(conf, report);
        return client_new(RD_KAFKA_PRODUCER, conf);
}

rd_kafka_t *consumer_new(rd_kafka_conf_t *conf) {
        char group[64];

        snprintf(group, sizeof group, "bench-raw-%ld", (long)getpid());
        set(conf, "group.id", group);
        return client_new(RD_KAFKA_CONSUMER, conf);
}

void subscribe(rd_kafka_t *rk, const char *topic) {
        rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);

        rd_kafka_topic_partition_list_add(topics, topic, RD_KAFKA_PARTITION_UA);
        check(rd_kafka_subscribe(rk, topics), "subscribe");
        rd_kafka_topic_partition_list_destroy(topics);
}

rd_kafka_topic_partition_list_t *all_partitions(const struct options *o) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(o->partitions);

        for (int32_t p = 0; p < o->partitions; p++)
                rd_kafka_topic_partition_list_add(list, o->topic, p)->offset =
                        RD_KAFKA_OFFSET_BEGINNING;
        return list;
}

char *value_new(size_t size) {
        char *value = malloc(size);

        if (!value)
                fail("out of memory");
        return memset(value, 'x', size);
}

int keep_refused(rd_kafka_message_t *batch, int count) {
        int kept = 0;

        for (int i = 0; i < count; i++) {
                if (batch[i].err == RD_KAFKA_RESP_ERR__QUEUE_FULL)
                        batch[kept++] = batch[i];
                else
                        check(batch[i].err, "produce");
        }
        return kept;
}
