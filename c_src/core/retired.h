/*
 * Messages that are packed and retired, until librdkafka has time for their end.
 *
 * The messages of a response share its memory, its counter of references and an
 * allocator's lock. Whoever destroys the first of them while the broker's thread still
 * makes those that follow takes the one and the other from it, message by message, and
 * has them taken. So retired messages stay until a request is sent: mostly it is the next
 * fetch, and then that thread has nothing to do but to wait.
 *
 * They may go sooner than that, as any request of the client counts, or later, but before
 * their client. There is a limit, for which the oldest go, and the sweep. Where the system
 * tells nothing none stay.
 */
#ifndef CREMA_RETIRED_H
#define CREMA_RETIRED_H

#include <librdkafka/rdkafka.h>

#include <sys/queue.h>

#include "sockets.h"
#include "wake.h"

/* What librdkafka has for a message beside its bytes. */
#define CR_RETIRED_MESSAGE 450
/* Bytes that stay at most, where a consumer's limit is not less. */
#define CR_RETIRED_MOST ((size_t)16 << 20)
/* Fewer messages do not stay. */
#define CR_RETIRED_FEW 32
/* So many that are due are destroyed in one go, which takes 2 to 6 ms; about. Fewer, with
 * other work in between, and the thread makes messages again before all are gone. */
#define CR_RETIRED_AT_ONCE 16000

typedef struct cr_retired {
        STAILQ_HEAD(cr_retired_runs, cr_retired_run) runs; /* the oldest first */
        unsigned count;                                    /* of runs */
        unsigned due;                                      /* of them: may go */
        size_t bytes;                                      /* of all, about */
        cr_sockets_t *sockets;
        uint64_t sent;      /* there when the first came that is not due */
        cr_source_t source; /* marked while some are due */
} cr_retired_t;

void cr_retired_init(cr_retired_t *retired, cr_wake_t *wake, cr_sockets_t *sockets);
/* Takes messages (NULL: none) of so many bytes packed; no more than `most` stay. */
void cr_retired_add(cr_retired_t *retired, rd_kafka_message_t *const *messages, uint32_t count,
                    size_t bytes, size_t most);
/* If a request was sent since the first of those that stay came, all are due. Destroys
 * those that are, as the next two; returns how many messages. */
unsigned cr_retired_look(cr_retired_t *retired);
/* All are due. */
unsigned cr_retired_release(cr_retired_t *retired);
/* The source is served. */
unsigned cr_retired_serve(cr_retired_t *retired);
/* Destroys all, for good. @precondition their client is there */
void cr_retired_clear(cr_retired_t *retired);

#endif
