/* What the command line asks for. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#define MAX_PROPERTIES 32

struct properties {
        const char *lines[MAX_PROPERTIES]; /* key=value */
        size_t count;
};

struct options {
        const char *command;        /* the sub-command */
        const char *workload;       /* the name printed in the result */
        const char *client;         /* -c: who it is in the result */
        const char *bootstrap;      /* -b */
        const char *topic;          /* -t */
        const char *settings;       /* -d: where producer.conf and consumer.conf are */
        struct properties producer; /* -P key=value, after the file's */
        struct properties consumer; /* -C key=value, after the file's */
        int64_t messages;           /* -n */
        size_t value_size;          /* -s */
        int partitions;             /* -p */
        int threads;                /* -T */
        int batch;                  /* -B: messages a call */
        int seconds;                /* -S */
        int interval_ms;            /* -i; 0: as fast as the queue takes them */
        int each_tick;              /* -K: messages each interval */
        int clients;                /* -N */
};

/* Fills *o from the command line; on a mistake prints the usage and exits. */
void options_parse(struct options *o, int argc, char **argv);

#endif
