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

/* A result is one line: begun by one of the first two, more fields, the end. */

/* Begins with what all have in common: the peak of the process's resident memory is
 * among it. */
void result_begin(const struct options *o, int64_t messages, double seconds);

/* Begins with throughput and CPU between two moments. */
void result_rate(const struct options *o, int64_t messages, struct moment from, struct moment to);

void result_field(const char *name, double value);

/* Percentiles of latencies in ns; sorts them. */
void result_percentiles(int64_t *ns, size_t count);

void result_end(void);

/* Seconds between two moments, and what share of a core was used, in percent. */
double elapsed(struct moment from, struct moment to);
double cpu_percent(struct moment from, struct moment to);

/* The process's resident memory as it is now, in MB. */
double resident_mb(void);

#endif
