/*
 * A slot: one partition during one assignment. Its number is never used
 * again, in this VM or the next, so it is the generation that tokens and packets
 * carry: whatever comes late finds no slot and is refused.
 *
 * The slot's queue is not forwarded to the consumer's. What comes is taken from
 * it at once and waits here, packed, for the demand of the slot's worker; when
 * that is more than the slot's share of the memory, it is shut: see prefetch.h.
 */
#ifndef CREMA_SLOT_H
#define CREMA_SLOT_H

#include <librdkafka/rdkafka.h>

#include "batch.h"
#include "client.h"
#include "ready.h"
#include "window.h"

/* Taken from librdkafka at once. */
#define CR_SLOT_PULL CR_BATCH_MOST

typedef struct cr_slot {
        uint64_t id;
        cr_client_t *client; /* set once */
        char *topic;         /* owned */
        int32_t partition;
        rd_kafka_queue_t *queue;   /* owned */
        cr_source_t source;        /* of queue */
        cr_recipient_t worker;     /* 0: none at the moment */
        uint32_t credit;           /* messages the worker has asked for */
        bool revoked;              /* nothing is delivered any more */
        bool wants_reset;          /* its offset is out of range: see group_reset.c */
        bool resetting;            /* ... and a job looks into it */
        bool begins;               /* nothing is delivered until its start is committed */
        bool unplaced;             /* ... which is not known yet: group_place.c */
        int32_t mark;              /* of that start: see group_start.c */
        rd_kafka_resp_err_t told;  /* error told, since a message was delivered */
        const void *moving;        /* the seek that librdkafka is carrying out, or NULL */
        bool stalled;              /* ... which has failed, as it fetches nothing: likewise */
        int64_t stored;            /* position stored last */
        int64_t delivered;         /* behind the last message delivered */
        int64_t end;               /* nothing from here on is delivered; INT64_MAX: no end */
        rd_kafka_topic_t *reading; /* owned; NULL but for one of reader.c */
        cr_ready_t ready;          /* pulled and not yet delivered */
        cr_window_t window;        /* delivered and not yet acknowledged */
        bool lends;                /* most of its place is the others': see prefetch.h */
        bool shut;                 /* nothing is kept of what comes: see prefetch.h */
        bool paused;               /* ... and librdkafka knows */
        bool gating;               /* ... or is just being told */
        uint8_t refused;           /* so often in a row: see prefetch.c */
        uint8_t fresh;             /* opened, and nothing has come yet: sweeps to wait */
} cr_slot_t;

/* Takes the queue, also when it fails (NULL: no memory). */
cr_slot_t *cr_slot_new(cr_client_t *client, const char *topic, int32_t partition,
                       rd_kafka_queue_t *queue, int64_t start);
/* Gives the queue back to the caller, without its events, and frees the rest. */
rd_kafka_queue_t *cr_slot_destroy(cr_slot_t *slot);
/* Begins anew at an offset, as a new generation: what was delivered before is
 * nobody's any more, and its worker is told so. */
void cr_slot_restart(cr_slot_t *slot, int64_t offset);
/* The same of a slot without a worker: it keeps its number. */
void cr_slot_rewind(cr_slot_t *slot, int64_t offset);
/* The first message that is not acknowledged, or the next to be delivered. */
int64_t cr_slot_first_unacked(const cr_slot_t *slot);
/* Behind the last message that was taken from librdkafka and kept. */
int64_t cr_slot_position(const cr_slot_t *slot);
/* It goes on elsewhere or not at all, and what is in its queue is of no use. */
bool cr_slot_is_halted(const cr_slot_t *slot);
/* What is delivered and not acknowledged costs. */
size_t cr_slot_delivered_cost(const cr_slot_t *slot);
/* Takes what there is room for, delivers what is asked for; returns what it cost,
 * in messages. */
unsigned cr_slot_serve(cr_client_t *client, cr_slot_t *slot);
/* Nothing of the slot follows this: tells its worker so. */
void cr_slot_revoke(cr_slot_t *slot);
/* Delivers again those of from..to that are delivered and not acknowledged. */
void cr_slot_redeliver(cr_slot_t *slot, int64_t from, int64_t to);
/* How many messages more may be delivered before others are acknowledged. */
uint32_t cr_slot_room(const cr_slot_t *slot);
/* Frees what is in the queue of a slot that was taken back: dropped messages
 * leave memory only when their queue is polled. @locality any */
void cr_slot_drain(rd_kafka_queue_t *queue);
/* Stores the position, if it has moved, for the next commit. */
void cr_slot_store(cr_slot_t *slot);

#endif
