/*
 * The acknowledgement window of a partition: the batches that were delivered
 * and are not wholly acknowledged, in order, and the position that may be
 * stored: never beyond the first message that is not acknowledged.
 *
 * Offsets have gaps (control records, aborted data, compaction), so a batch
 * remembers each message's distance from its first; where there is no gap it
 * needs to remember nothing.
 */
#ifndef CREMA_WINDOW_H
#define CREMA_WINDOW_H

#include <sys/queue.h>

#include "host.h"

#define CR_NO_POSITION INT64_C(-1)

typedef struct cr_batch {
        TAILQ_ENTRY(cr_batch) link;
        cr_buf_t *buf; /* owned reference: what was delivered, for redelivery */
        size_t size;
        int64_t first, last;
        int64_t since; /* cr_now_ms() when it was delivered */
        uint32_t count;
        uint32_t unacked;
        uint32_t prefix;      /* all messages before it are acknowledged */
        uint32_t *distances;  /* NULL when there are no gaps */
        unsigned char *acked; /* a bit a message; NULL while prefix tells all */
} cr_batch_t;

typedef struct cr_window {
        const cr_host_ops_t *ops; /* set once */
        TAILQ_HEAD(, cr_batch) batches;
        uint64_t unacked; /* messages */
        size_t bytes;     /* of the batches' buffers */
        int64_t position; /* behind what is acknowledged without a gap */
        int64_t end;      /* behind the partition's last message, if it was met */
} cr_window_t;

void cr_window_init(cr_window_t *window, const cr_host_ops_t *ops);
/* Forgets everything that is not acknowledged. */
void cr_window_clear(cr_window_t *window);
/* Appends a batch; offsets ascend, and lie behind those before. Keeps a
 * reference to buf. False when there is no memory. */
bool cr_window_add(cr_window_t *window, cr_buf_t *buf, size_t size, const int64_t *offsets,
                   uint32_t count);
/* All messages from..to are acknowledged; those that are not (or no more) in
 * the window are passed over. False, and nothing done, without memory. */
bool cr_window_ack(cr_window_t *window, int64_t from, int64_t to);
/* The end of the partition was met: everything delivered lies before it. */
void cr_window_end(cr_window_t *window, int64_t end);
/* What may be stored now, or CR_NO_POSITION. */
int64_t cr_window_position(const cr_window_t *window);
/* Of the batch's mask: a bit a message, set when it is not to be handled. */
size_t cr_batch_mask_size(const cr_batch_t *batch);
/* Clears the bits of the messages from..to that are not acknowledged; false
 * when there are none. */
bool cr_batch_mask_clear(const cr_batch_t *batch, unsigned char *mask, int64_t from, int64_t to);
/* Where a look through the window has come to. */
typedef struct cr_window_at {
        const cr_batch_t *batch;
        uint32_t index;
} cr_window_at_t;
/* The next run of messages within from..to none of which is acknowledged: its
 * first and last offset. Begin with {TAILQ_FIRST(&window->batches), 0}; false at
 * the end. The window must not change meanwhile. */
bool cr_window_next_run(cr_window_at_t *at, int64_t from, int64_t to, int64_t *first,
                        int64_t *last);
/* The offset of the first message that is not acknowledged. */
int64_t cr_batch_first_unacked(const cr_batch_t *batch);

#endif
