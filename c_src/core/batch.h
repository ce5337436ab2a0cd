/* Packs consumed messages into one block: the format is in commands.h. */
#ifndef CREMA_BATCH_H
#define CREMA_BATCH_H

#include <librdkafka/rdkafka.h>

#include "host.h"

#define CR_BATCH_MOST 1000

/* The number of messages, before them. */
#define CR_BATCH_HEAD 4

/* Packs as many of the messages, from the first on, as go into max_bytes, but
 * one at least and CR_BATCH_MOST at most; ends is where each of them ends in the
 * block. Returns an owned block, or NULL without memory. */
cr_buf_t *cr_batch_pack(const cr_host_ops_t *ops, rd_kafka_message_t *const *messages,
                        uint32_t count, size_t max_bytes, uint32_t *ends, uint32_t *packed);

#endif
