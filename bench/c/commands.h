/* The sub-commands, by the file that holds them. */
#ifndef BENCH_COMMANDS_H
#define BENCH_COMMANDS_H

#include "options.h"

/* topic.c */
void topic_create(const struct options *o);
void topic_delete(const struct options *o);
void topic_count(const struct options *o);

/* produce.c */
void topic_fill(const struct options *o);
void produce_one(const struct options *o);
void produce_batch(const struct options *o);

/* produce_threads.c */
void produce_threads(const struct options *o);

/* produce_sync.c */
void produce_sync(const struct options *o);

/* consume.c */
void consume_batch(const struct options *o);
void consume_copy(const struct options *o);
void consume_poll(const struct options *o);

/* latency.c */
void latency(const struct options *o);

/* idle.c */
void idle(const struct options *o);
void idle_both(const struct options *o);

/* start.c */
void start(const struct options *o);

/* rebalance.c */
void rebalance(const struct options *o);

#endif
