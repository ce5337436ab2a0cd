#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
        "usage: raw COMMAND -b BOOTSTRAP -t TOPIC [options]\n"
        "\n"
        "commands\n"
        "  version        print librdkafka's\n"
        "  create         create TOPIC with -p partitions and wait for its leaders\n"
        "  delete         delete TOPIC\n"
        "  fill           put -n messages into TOPIC, the same number in each partition\n"
        "  count          print the number of messages in TOPIC\n"
        "  produce        one message a call\n"
        "  produce-batch  -B messages a call\n"
        "  produce-threads  -T threads, -B messages a call, over -N clients\n"
        "  produce-sync   -T threads, each waits for the report of each message\n"
        "  consume-batch  -B messages a call, from un-forwarded partition queues\n"
        "  consume-copy   the same, and each value is copied out\n"
        "  consume-poll   one message a call\n"
        "  latency        -K messages every -i ms, produce call to consumption\n"
        "  start          a client's start to its first report, or to its first message\n"
        "  rebalance      a second member's start, and its end, to all being assigned\n"
        "  idle           CPU and memory of a group member without traffic, over -S seconds\n"
        "  idle-both      the same with a producer beside it\n"
        "\n"
        "options\n"
        "  -w NAME   workload name in the result (default: the command)\n"
        "  -d DIR    librdkafka properties: DIR/producer.conf, DIR/consumer.conf;\n"
        "            none: its own defaults\n"
        "  -P K=V    one property of the producer, stronger than the file's\n"
        "  -C K=V    one property of the consumer, stronger than the file's\n"
        "  -n N      messages                 -s BYTES  value size\n"
        "  -p N      partitions (4)           -T N      threads (64)\n"
        "  -B N      messages a call (1000)   -S N      seconds (5)\n"
        "  -i MS     interval (10), 0: none   -K N      messages each interval (1)\n"
        "  -N N      clients (1)              -c NAME   client's name in the result (c)\n";

static void fail_usage(const char *why) {
        fprintf(stderr, "raw: %s\n%s", why, usage);
        exit(2);
}

/* A number that is not less, or the end of the program. */
static int64_t at_least(int64_t least, const char *text) {
        char *end;
        long long value = strtoll(text, &end, 10);

        if (*text == '\0' || *end != '\0' || value < least)
                fail_usage("a number is expected, or a greater one");
        return value;
}

static int64_t positive(const char *text) {
        return at_least(1, text);
}

static void add_property(struct properties *properties, const char *text) {
        if (!strchr(text, '='))
                fail_usage("-P and -C expect key=value");
        if (properties->count == MAX_PROPERTIES)
                fail_usage("too many properties");
        properties->lines[properties->count++] = text;
}

static void parse_one(struct options *o, int letter, const char *arg) {
        switch (letter) {
        case 'b':
                o->bootstrap = arg;
                break;
        case 't':
                o->topic = arg;
                break;
        case 'w':
                o->workload = arg;
                break;
        case 'd':
                o->settings = strcmp(arg, "none") ? arg : NULL;
                break;
        case 'P':
                add_property(&o->producer, arg);
                break;
        case 'C':
                add_property(&o->consumer, arg);
                break;
        case 'n':
                o->messages = positive(arg);
                break;
        case 's':
                o->value_size = (size_t)positive(arg);
                break;
        case 'p':
                o->partitions = (int)positive(arg);
                break;
        case 'T':
                o->threads = (int)positive(arg);
                break;
        case 'B':
                o->batch = (int)positive(arg);
                break;
        case 'S':
                o->seconds = (int)positive(arg);
                break;
        case 'i':
                o->interval_ms = (int)at_least(0, arg);
                break;
        case 'K':
                o->each_tick = (int)positive(arg);
                break;
        case 'N':
                o->clients = (int)positive(arg);
                break;
        case 'c':
                o->client = arg;
                break;
        default:
                fail_usage("unknown option");
        }
}

void options_parse(struct options *o, int argc, char **argv) {
        int letter;

        *o = (struct options){.messages = 100000,
                              .value_size = 100,
                              .partitions = 4,
                              .threads = 64,
                              .batch = 1000,
                              .seconds = 5,
                              .interval_ms = 10,
                              .each_tick = 1,
                              .clients = 1,
                              .client = "c"};
        if (argc < 2)
                fail_usage("a command is expected");
        o->command = o->workload = argv[1];
        optind = 2;
        while ((letter = getopt(argc, argv, "b:t:w:c:d:P:C:n:s:p:T:B:S:i:K:N:")) != -1)
                parse_one(o, letter, optarg);
        if (!o->bootstrap || !o->topic)
                fail_usage("-b and -t are needed");
}
