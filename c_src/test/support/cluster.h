/*
 * The embedded cluster of a test program, around its group of tests, and plain
 * producers on it.
 */
#ifndef CREMA_TEST_CLUSTER_H
#define CREMA_TEST_CLUSTER_H

#include "test_host.h"

/* From start_cluster() to stop_cluster(): a cluster with a topic "t" of 4
 * partitions, and its address. */
extern test_host_t *cluster;
extern char bootstrap[64];

/* The same with so many partitions, for a program that has no group of tests. */
void cluster_of(int partitions);
/* Set-up and tear-down of a group; the latter fails when a block has leaked. */
int start_cluster(void **state);
int stop_cluster(void **state);

test_host_t *plain_producer(const char *servers);
/* Produces as put_produce() has it, refused when the queue is full; the answer. */
const char *plain_produce(test_host_t *host, uint8_t mode, uint64_t call, const char *tag,
                          uint32_t count);
/* The error of a packed report. */
int16_t report_error(const unsigned char *report);

#endif
