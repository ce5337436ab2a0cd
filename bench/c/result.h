/* Clocks, and the one JSON line that a run prints. */
#ifndef BENCH_RESULT_H
#define BENCH_RESULT_H

#include "options.h"

#include <stddef.h>
#include <stdint.h>

/* A moment: wall time in ns on the monotonic clock, CPU time of all threads
 * of the process in seconds. */
struct moment {
        int64_t ns;
        double cpu;
};

int64_t clock_ns(void);
struct moment moment_now(void);

/* Throughput between two moments. max_gap_ns < 0: not measured. */
void result_rate(const struct options *o, int64_t messages, struct moment from, struct moment to,
                 int64_t max_gap_ns);

/* Percentiles of latencies in ns; sorts them. */
void result_latency(const struct options *o, int64_t *ns, size_t count);

/* CPU between two moments in which nothing was asked for. */
void result_idle(const struct options *o, struct moment from, struct moment to);

#endif
