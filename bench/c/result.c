#include "result.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

int64_t clock_ns(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double seconds_of(struct timeval t) {
        return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

struct moment moment_now(void) {
        struct rusage usage;

        getrusage(RUSAGE_SELF, &usage);
        return (struct moment){clock_ns(), seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime)};
}

static double elapsed(struct moment from, struct moment to) {
        return (double)(to.ns - from.ns) / 1e9;
}

/* Opens the object with what all results have in common. */
static void print_head(const struct options *o, int64_t messages, double seconds) {
        printf("{\"workload\":\"%s\",\"client\":\"c\",\"messages\":%lld,"
               "\"size\":%zu,\"seconds\":%.4f",
               o->workload, (long long)messages, o->value_size, seconds);
}

void result_rate(const struct options *o, int64_t messages, struct moment from, struct moment to,
                 int64_t max_gap_ns) {
        double seconds = elapsed(from, to);

        print_head(o, messages, seconds);
        printf(",\"rate\":%.0f,\"cpu_seconds_per_million\":%.4f", (double)messages / seconds,
               (to.cpu - from.cpu) * 1e6 / (double)messages);
        if (max_gap_ns >= 0)
                printf(",\"max_gap_ms\":%.3f", (double)max_gap_ns / 1e6);
        printf("}\n");
}

static int by_size(const void *a, const void *b) {
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

        return (x > y) - (x < y);
}

void result_latency(const struct options *o, int64_t *ns, size_t count) {
        int64_t sum = 0;

        qsort(ns, count, sizeof *ns, by_size);
        for (size_t i = 0; i < count; i++)
                sum += ns[i];
        print_head(o, (int64_t)count, (double)sum / 1e9);
        printf(",\"median_ms\":%.3f,\"p90_ms\":%.3f,\"p99_ms\":%.3f,"
               "\"max_ms\":%.3f}\n",
               (double)ns[count / 2] / 1e6, (double)ns[count * 9 / 10] / 1e6,
               (double)ns[count * 99 / 100] / 1e6, (double)ns[count - 1] / 1e6);
}

void result_idle(const struct options *o, struct moment from, struct moment to) {
        double seconds = elapsed(from, to);

        print_head(o, 0, seconds);
        printf(",\"cpu_percent\":%.3f}\n", (to.cpu - from.cpu) * 100 / seconds);
}
