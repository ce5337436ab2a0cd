#include "prefetch.h"

#include "list_offsets.h"
#include "mem.h"

#define SEEK_MS 1000
/* Slots that are opened at once, at first, and sweeps for which others wait. */
#define PACE 4
#define FRESH 2

/* librdkafka refuses to open a partition that it does not fetch: one that it was
 * just given, for a moment, or one whose offset was out of range. So it is asked
 * again, after so many times with a pause, and then fetching is begun anew. */
#define AT_ONCE 8
#define REFUSALS 16

/* What a slot that lends keeps of its equal part. */
#define KEPT 8

typedef struct gate_job {
        cr_job_t job;
        rd_kafka_topic_partition_list_t *pause, *open; /* owned; opaque is the slot */
        bool slowly;                                   /* one was refused at once too often */
} gate_job_t;

size_t cr_prefetch_share(const cr_group_t *group) {
        size_t slots = group->slots.count;
        return CR_PREFETCH_PART((size_t)group->options.prefetch) / (slots ? slots : 1);
}

/* What of the slot's may wait. */
static size_t half(const cr_slot_t *slot) {
        const cr_group_t *group = slot->client->group;
        size_t equal = cr_prefetch_share(group) / 2, kept = equal / KEPT;
        size_t lenders = group->lenders, slots = group->slots.count;
        if (slot->lends)
                return kept;
        return equal + lenders * (equal - kept) / (slots > lenders ? slots - lenders : 1);
}

void cr_prefetch_lend(cr_slot_t *slot) {
        slot->client->group->lenders += !slot->lends;
        slot->lends = true;
}

static void take_back(cr_slot_t *slot) {
        slot->client->group->lenders--;
        slot->lends = false;
}

static void settle(cr_client_t *client, const cr_slot_t *but);

/* The others have less from now on. Of the slot's own nothing is let go of: it is
 * being filled, and what came first must stay before what follows. */
static void claim(cr_slot_t *slot) {
        take_back(slot);
        settle(slot->client, slot);
}

bool cr_prefetch_has_room(cr_slot_t *slot) {
        if (slot->lends && slot->ready.bytes >= half(slot) / 2)
                claim(slot);
        return slot->ready.bytes < half(slot);
}

size_t cr_prefetch_used(const cr_group_t *group) {
        const cr_slot_t *slot;
        size_t at = 0, used = 0;
        while ((slot = cr_map_next(&group->slots, &at)))
                used += slot->ready.bytes + cr_slot_delivered_cost(slot);
        return used;
}

size_t cr_prefetch_shut_count(const cr_group_t *group) {
        const cr_slot_t *slot;
        size_t at = 0, count = 0;
        while ((slot = cr_map_next(&group->slots, &at)))
                count += slot->shut;
        return count;
}

/* In time for the next; earlier where librdkafka's request may be waiting for one
 * that is at its end. Early is not cheap: less of what is fetched has a place. */
static bool wants_open(const cr_slot_t *slot) {
        return slot->ready.bytes <= half(slot) / (slot->client->group->lenders ? 2 : 4);
}

static bool must_be_told(const cr_slot_t *slot) {
        return slot->shut && !slot->gating && !cr_slot_is_halted(slot) &&
               (!slot->paused || wants_open(slot));
}

static void run_pause(cr_client_t *client, rd_kafka_topic_partition_list_t *list) {
        if (!list->cnt)
                return;
        (void)rd_kafka_pause_partitions(client->rk, list);
        for (int i = 0; i < list->cnt; i++)
                cr_slot_drain(((const cr_slot_t *)list->elems[i].opaque)->queue);
}

/* A partition that is not where it should be must not fetch. */
static void pause_failed(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *list) {
        rd_kafka_topic_partition_list_t *failed = rd_kafka_topic_partition_list_new(list->cnt);
        for (int i = 0; i < list->cnt; i++) {
                if (list->elems[i].err)
                        rd_kafka_topic_partition_list_add(failed, list->elems[i].topic,
                                                          list->elems[i].partition);
        }
        if (failed->cnt)
                (void)rd_kafka_pause_partitions(rk, failed);
        rd_kafka_topic_partition_list_destroy(failed);
}

/* librdkafka's thread notices the seek at once, the resume within a second. A fetch
 * that is made between them is made again. */
static void run_open(cr_client_t *client, rd_kafka_topic_partition_list_t *list) {
        rd_kafka_resp_err_t err;
        if (!list->cnt)
                return;
        err = rd_kafka_resume_partitions(client->rk, list);
        if (err)
                cr_set_err(list, err);
        else
                cr_seek(client->rk, list, SEEK_MS);
        pause_failed(client->rk, list);
}

/* @locality prefetch lane. Of the slots only what is set once is read. */
static void run_gate(cr_client_t *client, cr_job_t *job) {
        gate_job_t *gate = (gate_job_t *)job;
        if (gate->slowly)
                cr_lane_pause(client);
        run_pause(client, gate->pause);
        run_open(client, gate->open);
}

static void gate_free(gate_job_t *gate) {
        rd_kafka_topic_partition_list_destroy(gate->pause);
        rd_kafka_topic_partition_list_destroy(gate->open);
        cr_free(gate);
}

static void refused(cr_slot_t *slot, rd_kafka_resp_err_t err) {
        cr_prefetch_forget(slot);
        if (slot->refused < REFUSALS) {
                slot->refused++;
        } else if (err == RD_KAFKA_RESP_ERR__STATE) {
                slot->refused = 0;
                slot->stalled = true; /* the sweep mends it */
        }
}

/* One that began anew meanwhile was sought to where it was: it stays shut, and
 * is opened again. */
static void opened(cr_slot_t *slot, rd_kafka_resp_err_t err) {
        slot->paused = err != RD_KAFKA_RESP_ERR_NO_ERROR;
        if (err)
                refused(slot, err);
        else
                slot->refused = 0;
        if (slot->gating && !err)
                slot->shut = false;
        slot->gating = false;
        cr_source_mark(&slot->source); /* its queue has told of news while it was shut */
}

static void tell(cr_client_t *client);

static void done_gate(cr_client_t *client, cr_job_t *job) {
        gate_job_t *gate = (gate_job_t *)job;
        cr_group_t *group = client->group;
        for (int i = 0; i < gate->pause->cnt; i++) {
                cr_slot_t *slot = gate->pause->elems[i].opaque;
                slot->paused = true;
                slot->gating = false;
        }
        for (int i = 0; i < gate->open->cnt; i++)
                opened(gate->open->elems[i].opaque, gate->open->elems[i].err);
        gate_free(gate);
        group->gates_out = false;
        if (cr_client_closing(client))
                return;
        if (group->release_waits)
                cr_group_release(client);
        tell(client);
}

/* Takes a place among those that nothing has come for; false when there is none. */
static bool take_place(cr_group_t *group, cr_slot_t *slot) {
        if (!slot->fresh && group->fresh >= group->pace)
                return false;
        group->fresh += !slot->fresh;
        slot->fresh = FRESH;
        return true;
}

void cr_prefetch_forget(cr_slot_t *slot) {
        slot->client->group->fresh -= slot->fresh != 0;
        slot->fresh = 0;
}

void cr_prefetch_news(cr_slot_t *slot, bool messages) {
        cr_group_t *group = slot->client->group;
        if (!slot->fresh)
                return;
        cr_prefetch_forget(slot);
        group->pace = messages ? PACE : group->pace + 1;
        tell(slot->client);
}

static void list_slot(gate_job_t *gate, cr_slot_t *slot) {
        bool open = wants_open(slot);
        rd_kafka_topic_partition_list_t *list = open ? gate->open : gate->pause;
        rd_kafka_topic_partition_t *at;
        if (open && !take_place(slot->client->group, slot)) {
                if (slot->paused)
                        return;
                list = gate->pause;
        }
        at = rd_kafka_topic_partition_list_add(list, slot->topic, slot->partition);
        at->offset = cr_slot_position(slot);
        at->opaque = slot;
        gate->slowly |= slot->refused >= AT_ONCE;
        slot->gating = true;
}

static void gates_back(rd_kafka_topic_partition_list_t *list) {
        for (int i = 0; i < list->cnt; i++) {
                cr_slot_t *slot = list->elems[i].opaque;
                slot->gating = false;
                cr_prefetch_forget(slot);
        }
}

static bool any_must_be_told(const cr_group_t *group) {
        const cr_slot_t *slot;
        size_t at = 0;
        while ((slot = cr_map_next(&group->slots, &at))) {
                if (must_be_told(slot))
                        return true;
        }
        return false;
}

/* What could not be told is told by the sweep. */
static void tell(cr_client_t *client) {
        cr_group_t *group = client->group;
        gate_job_t *gate;
        cr_slot_t *slot;
        size_t at = 0;
        if (group->gates_out || !any_must_be_told(group) || !(gate = cr_alloc(sizeof(*gate))))
                return;
        if (group->pace < PACE)
                group->pace = PACE;
        gate->job = (cr_job_t){.run = run_gate, .done = done_gate};
        gate->pause = rd_kafka_topic_partition_list_new(0);
        gate->open = rd_kafka_topic_partition_list_new(0);
        while ((slot = cr_map_next(&group->slots, &at))) {
                if (must_be_told(slot))
                        list_slot(gate, slot);
        }
        group->gates_out = (gate->pause->cnt || gate->open->cnt) &&
                           cr_lane_submit(&client->prefetch_lane, &gate->job);
        if (group->gates_out)
                return;
        gates_back(gate->pause);
        gates_back(gate->open);
        gate_free(gate);
}

/* What librdkafka is being told of is not where the slot is any more. */
void cr_prefetch_shut(cr_slot_t *slot) {
        slot->shut = true;
        slot->gating = false;
}

void cr_prefetch_serve(cr_slot_t *slot) {
        if (must_be_told(slot))
                tell(slot->client);
}

/* One block may be more than what a slot that lends has kept. What came last into a
 * half that was not full yet stays, however large: it would only be fetched again. */
static void settle(cr_client_t *client, const cr_slot_t *but) {
        cr_slot_t *slot;
        size_t at = 0;
        while ((slot = cr_map_next(&client->group->slots, &at))) {
                if (slot->lends && slot->ready.bytes > half(slot))
                        take_back(slot);
        }
        at = 0;
        while ((slot = cr_map_next(&client->group->slots, &at))) {
                size_t most = half(slot);
                if (slot == but || !cr_ready_is_over(&slot->ready, most))
                        continue;
                cr_ready_trim(&slot->ready, most);
                cr_prefetch_shut(slot);
        }
        tell(client);
}

void cr_prefetch_settle(cr_client_t *client) {
        settle(client, NULL);
}

void cr_prefetch_sweep(cr_client_t *client) {
        cr_group_t *group = client->group;
        cr_slot_t *slot;
        size_t at = 0;
        while ((slot = cr_map_next(&group->slots, &at))) {
                if (slot->fresh > 1)
                        slot->fresh--;
                else
                        cr_prefetch_news(slot, false);
        }
        cr_prefetch_settle(client);
}
