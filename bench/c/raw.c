/*
 * The peer that crema is measured against: librdkafka used directly from C,
 * with crema's default settings. Each sub-command does one workload once and
 * prints one line of JSON. See ../README.md.
 */
#include "client.h"
#include "commands.h"

#include <stdio.h>
#include <string.h>

static const struct {
        const char *name;
        void (*run)(const struct options *o);
} commands[] = {
        {"create", topic_create},
        {"delete", topic_delete},
        {"count", topic_count},
        {"fill", topic_fill},
        {"produce", produce_one},
        {"produce-batch", produce_batch},
        {"produce-threads", produce_threads},
        {"produce-sync", produce_sync},
        {"consume-batch", consume_batch},
        {"consume-copy", consume_copy},
        {"consume-poll", consume_poll},
        {"latency", latency},
        {"start", start},
        {"rebalance", rebalance},
        {"idle", idle},
        {"idle-both", idle_both},
};

int main(int argc, char **argv) {
        struct options o;

        if (argc == 2 && !strcmp(argv[1], "version")) {
                puts(rd_kafka_version_str());
                return 0;
        }
        options_parse(&o, argc, argv);
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
                if (!strcmp(o.command, commands[i].name)) {
                        commands[i].run(&o);
                        return 0;
                }
        }
        fail("unknown command: %s", o.command);
}
