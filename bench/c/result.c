#include "result.h"
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

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

double elapsed(struct moment from, struct moment to) {
        return (double)(to.ns - from.ns) / 1e9;
}

double cpu_percent(struct moment from, struct moment to) {
        return (to.cpu - from.cpu) * 100 / elapsed(from, to);
}

static double peak_mb(void) {
        struct rusage usage;

        getrusage(RUSAGE_SELF, &usage);
        return (double)usage.ru_maxrss / 1024;
}

double resident_mb(void) {
        long pages = 0;
        FILE *file = fopen("/proc/self/statm", "r");

        if (!file || fscanf(file, "%*s %ld", &pages) != 1)
                fail("cannot read /proc/self/statm");
        fclose(file);
        return (double)pages * (double)sysconf(_SC_PAGESIZE) / (1024 * 1024);
}

void result_begin(const struct options *o, int64_t messages, double seconds) {
        printf("{\"workload\":\"%s\",\"client\":\"%s\",\"messages\":%lld,"
               "\"size\":%zu,\"seconds\":%.4f",
               o->workload, o->client, (long long)messages, o->value_size, seconds);
        result_field("peak_mb", peak_mb());
}

void result_rate(const struct options *o, int64_t messages, struct moment from, struct moment to) {
        double seconds = elapsed(from, to);

        result_begin(o, messages, seconds);
        result_field("rate", (double)messages / seconds);
        result_field("cpu_seconds_per_million", (to.cpu - from.cpu) * 1e6 / (double)messages);
}

void result_field(const char *name, double value) {
        printf(",\"%s\":%.4f", name, value);
}

static int by_size(const void *a, const void *b) {
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

        return (x > y) - (x < y);
}

void result_percentiles(int64_t *ns, size_t count) {
        static const struct {
                const char *name;
                size_t permille;
        } all[] = {{"p50_ms", 500}, {"p99_ms", 990}, {"p999_ms", 999}};

        qsort(ns, count, sizeof *ns, by_size);
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
                result_field(all[i].name, (double)ns[count * all[i].permille / 1000] / 1e6);
        result_field("max_ms", (double)ns[count - 1] / 1e6);
}

void result_end(void) {
        printf("}\n");
}
