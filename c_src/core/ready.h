/*
 * What a slot has from librdkafka and has not delivered: messages, packed into
 * blocks as they come, and the errors between them, in order.
 *
 * Packed a message takes a third of what librdkafka takes for it, and keeps no
 * response alive that it came in. A block is what is delivered as it is, if it
 * fits what is asked for; otherwise bytes are copied.
 */
#ifndef CREMA_READY_H
#define CREMA_READY_H

#include <librdkafka/rdkafka.h>

#include <sys/queue.h>

#include "host.h"

/* What a message costs beside its packed bytes: while it waits, and once it is
 * delivered, when its worker has made a map of it (measured: see prefetch.h). */
#define CR_WAITING_COST 12
#define CR_DELIVERED_COST 600

typedef struct cr_block {
        TAILQ_ENTRY(cr_block) link;
        cr_buf_t *buf;             /* owned; NULL when an error stands here */
        rd_kafka_message_t *error; /* owned */
        uint32_t next, count;      /* messages before next are taken already */
        uint32_t *ends;            /* where each ends in buf; behind offsets */
        int64_t offsets[];
} cr_block_t;

typedef struct cr_ready {
        const cr_host_ops_t *ops; /* set once */
        TAILQ_HEAD(cr_blocks, cr_block) blocks;
        size_t bytes; /* what all of it costs */
} cr_ready_t;

/* Of a batch, at most; but one message at least. */
typedef struct cr_measure {
        uint32_t messages;
        int64_t below; /* no offset from here on, not even of one */
        size_t bytes;  /* packed */
        size_t cost;   /* once delivered */
} cr_measure_t;

void cr_ready_init(cr_ready_t *ready, const cr_host_ops_t *ops);
void cr_ready_clear(cr_ready_t *ready);
/* Packs messages from the first on into one block, as many as the measure
 * allows; returns how many, 0 when there is no memory. They stay the caller's. */
uint32_t cr_ready_pack(cr_ready_t *ready, rd_kafka_message_t *const *messages, uint32_t count,
                       const cr_measure_t *most);
/* Takes the message, which is an error. False, and nothing done, without memory. */
bool cr_ready_error(cr_ready_t *ready, rd_kafka_message_t *error);
/* The error that is next, now the caller's, or NULL. */
rd_kafka_message_t *cr_ready_take_error(cr_ready_t *ready);
/* The next messages as a block, now the caller's; NULL when there are none, or
 * no memory. offsets has room for most->messages. */
cr_buf_t *cr_ready_take(cr_ready_t *ready, const cr_measure_t *most, size_t *size, int64_t *offsets,
                        uint32_t *count);
/* The offset of what is next, be it a message or the partition's end; -1 when it is
 * neither. */
int64_t cr_ready_next(const cr_ready_t *ready);
/* Behind the last message, or what it is without one. */
int64_t cr_ready_position(const cr_ready_t *ready, int64_t without);
/* Whether it would cost that much without what came last. */
bool cr_ready_is_over(const cr_ready_t *ready, size_t bytes);
/* Lets go of what came last until the rest costs no more than that. */
void cr_ready_trim(cr_ready_t *ready, size_t bytes);
static inline bool cr_ready_is_empty(const cr_ready_t *ready) {
        return TAILQ_EMPTY(&ready->blocks);
}

#endif
