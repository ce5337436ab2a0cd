/*
 * One limit for all that a consumer's partitions hold: what waits for a worker's
 * demand, and what is delivered and not acknowledged. Each slot has an equal
 * share of it, half for either. One that is at the end of its partition lends the
 * others what may wait of it, most of that, until more comes than it has kept.
 *
 * librdkafka's own limits are for one partition and fixed when the client is
 * made, so what comes is taken from it at once. A slot whose half is full is
 * shut: what more has come is dropped, librdkafka is paused, which empties its
 * queue, and when the worker has taken most of what was there it is resumed and
 * sought to the slot's own position, which is fast (a resume alone is not).
 *
 * A partition begins shut. So that not all of many are fetched at once, before
 * any of it can be taken, a few are opened, and others when something has come of
 * these: more each time while that is nothing but ends of partitions.
 *
 * Telling librdkafka waits for its main thread, so it is done on a lane, for all
 * slots that need it at the moment, one job at a time. No slot is released while
 * a job is out.
 */
#ifndef CREMA_PREFETCH_H
#define CREMA_PREFETCH_H

#include "group.h"

/* Of the limit. The rest is for what is on its way: responses, librdkafka's
 * messages until they are freed, what workers have not collected yet, and what
 * allocators keep. */
#define CR_PREFETCH_PART(limit) ((limit) / 8 * 3)

/* Of one slot, in bytes. */
size_t cr_prefetch_share(const cr_group_t *group);
/* More of the slot's may wait. What it has lent is its own again if it needs it. */
bool cr_prefetch_has_room(cr_slot_t *slot);
/* The slot is at the end of its partition. */
void cr_prefetch_lend(cr_slot_t *slot);
/* Nothing more is pulled: the slot has its half, or could not keep what came. */
void cr_prefetch_shut(cr_slot_t *slot);
/* Something has come for the slot: messages, or no more than the news that there
 * are none. */
void cr_prefetch_news(cr_slot_t *slot, bool messages);
/* The slot is about to be destroyed. */
void cr_prefetch_forget(cr_slot_t *slot);
/* Tells librdkafka of what has changed, if it must know now. */
void cr_prefetch_serve(cr_slot_t *slot);
/* The shares have changed: there are more slots, or fewer. */
void cr_prefetch_settle(cr_client_t *client);
/* The same, once a second; and those that nothing comes for hold up no others. */
void cr_prefetch_sweep(cr_client_t *client);
/* What all slots hold. */
size_t cr_prefetch_used(const cr_group_t *group);
/* How many of them are shut. */
size_t cr_prefetch_shut_count(const cr_group_t *group);

#endif
