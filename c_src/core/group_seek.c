/*
 * Seeks: a partition goes on elsewhere, as a new generation of its slot, and
 * that position is committed, for librdkafka passes over stored offsets below
 * the committed one.
 *
 * Where it leads is asked for first, if it is not an offset. It waits while a
 * rebalance is under way. Then, under the host's lock, the slots begin anew and deliver nothing; a
 * job moves librdkafka's fetching and commits; and the slots deliver. Should librdkafka not fetch
 * the partition (its offset was out of range), its fetching is begun anew.
 *
 * START_AT is a seek of a slot that has no worker yet. Nobody has a claim on
 * what it had delivered, so it keeps its number.
 */
#include "group.h"
#include "list_offsets.h"
#include "mem.h"

/* librdkafka's main thread answers at once, unless it is held up. */
#define MOVE_MS 1000
#define COMMIT_MS 5000
/* A handler that could not begin by then fails, and is started again. */
#define START_MS 60000

typedef enum cr_stage { STAGE_RESOLVE, STAGE_MOVE, STAGE_COMMIT } cr_stage_t;

typedef struct cr_seek {
        cr_job_t job;
        struct cr_seek *next; /* in group->seeks */
        cr_tag_t tag;
        rd_kafka_topic_partition_list_t *list; /* owned: where to; with what came of it */
        uint64_t slot;                         /* of START_AT, else 0 */
        cr_recipient_t worker;                 /* of that slot before, if it had one */
        int64_t which;                         /* to be resolved */
        int64_t deadline;
        cr_stage_t stage;
        bool all;     /* what is no longer assigned is left out */
        bool commits; /* positions are committed */
        rd_kafka_resp_err_t err;
} cr_seek_t;

/* ---- the answer ----------------------------------------------------------- */

static void seek_free(cr_seek_t *seek) {
        cr_tag_clear(&seek->tag);
        rd_kafka_topic_partition_list_destroy(seek->list);
        cr_free(seek);
}

static void refuse(cr_client_t *client, cr_seek_t *seek, const char *name, const char *text) {
        cr_error_t error;
        cr_error_own(&error, name, "%s", text);
        cr_reply_error(client, &seek->tag, &error);
        seek_free(seek);
}

static void answer(cr_client_t *client, cr_seek_t *seek) {
        cr_writer_t out = cr_writer();
        cr_error_t error;
        if (seek->err) {
                cr_error_code(&error, seek->err, NULL);
                cr_write_error(&out, &error);
        } else if (seek->slot) {
                cr_write_tuple(&out, 2);
                cr_write_atom(&out, "ok");
                cr_write_integer(&out, seek->list->elems[0].offset);
        } else {
                cr_write_offsets(&out, seek->list);
        }
        cr_reply_writer(client, &seek->tag, &out);
        seek_free(seek);
}

/* ---- on the lanes ------------------------------------------------------------ */

static void commit(cr_client_t *client, cr_seek_t *seek) {
        int64_t left = seek->deadline - cr_now_ms();
        rd_kafka_topic_partition_list_t *list;
        if (!seek->commits || !seek->list->cnt)
                return;
        /* A copy: the results are not those of the move. */
        list = rd_kafka_topic_partition_list_copy(seek->list);
        seek->err = cr_commit_wait(client, list, left < COMMIT_MS ? (int)left : COMMIT_MS);
        rd_kafka_topic_partition_list_destroy(list);
}

/* @locality query lane to resolve, group lane else */
static void run_seek(cr_client_t *client, cr_job_t *job) {
        cr_seek_t *seek = (cr_seek_t *)job;
        seek->err = RD_KAFKA_RESP_ERR_NO_ERROR;
        switch (seek->stage) {
        case STAGE_RESOLVE:
                seek->err = cr_ask_positions(client, seek->list, seek->which, seek->deadline);
                break;
        case STAGE_MOVE:
                cr_seek(client->rk, seek->list, MOVE_MS);
                commit(client, seek);
                break;
        case STAGE_COMMIT:
                cr_lane_pause(client);
                commit(client, seek);
                break;
        }
}

/* Rebalances do not wait for brokers to say where something is. */
static void submit(cr_client_t *client, cr_seek_t *seek, cr_stage_t stage) {
        cr_lane_t *lane = stage == STAGE_RESOLVE ? &client->query_lane : &client->group_lane;
        seek->stage = stage;
        if (!cr_lane_submit(lane, &seek->job))
                refuse(client, seek, "closed", "the consumer is being closed");
}

/* ---- under the lock ----------------------------------------------------------- */

/* A handler that wanted to begin elsewhere may have died, and the next one have
 * taken the slot as it is. */
static cr_slot_t *slot_of(const cr_client_t *client, const cr_seek_t *seek, int i) {
        const rd_kafka_topic_partition_t *at = &seek->list->elems[i];
        cr_slot_t *slot;
        if (!seek->slot)
                return cr_group_find(client->group, at->topic, at->partition);
        slot = cr_map_get(&client->group->slots, seek->slot);
        if (!slot || slot->revoked || (slot->worker && slot->worker != seek->worker))
                return NULL;
        return slot;
}

/* The first that is not assigned, if that is a fault; else it is left out. */
static const rd_kafka_topic_partition_t *missing(const cr_client_t *client, cr_seek_t *seek) {
        for (int i = seek->list->cnt - 1; i >= 0; i--) {
                if (slot_of(client, seek, i))
                        continue;
                if (!seek->all)
                        return &seek->list->elems[i];
                rd_kafka_topic_partition_list_del_by_idx(seek->list, i);
        }
        return NULL;
}

static void write_sought(cr_writer_t *out, const cr_slot_t *slot, uint64_t old, int64_t from) {
        cr_write_list(out, 1);
        cr_write_tuple(out, 6);
        cr_write_integer(out, (int64_t)old);
        cr_write_integer(out, (int64_t)slot->id);
        cr_write_text(out, slot->topic);
        cr_write_integer(out, slot->partition);
        cr_write_integer(out, from);
        cr_write_integer(out, slot->delivered);
}

/* {sought, [{OldSlot, NewSlot, Topic, Partition, From, To}]} */
static void begin_anew(cr_client_t *client, cr_seek_t *seek) {
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "sought");
        for (int i = 0; i < seek->list->cnt; i++) {
                cr_slot_t *slot = slot_of(client, seek, i);
                uint64_t old = slot->id;
                int64_t from = slot->delivered;
                if (seek->slot)
                        cr_slot_rewind(slot, seek->list->elems[i].offset);
                else
                        cr_group_renew(client, slot, seek->list->elems[i].offset);
                slot->moving = seek;
                write_sought(&out, slot, old, from);
        }
        cr_write_list_end(&out);
        if (client->group->options.commits == CR_COMMITS_ACKNOWLEDGED)
                (void)rd_kafka_offsets_store(client->rk, seek->list);
        if (seek->slot)
                cr_writer_discard(&out);
        else
                cr_tell_owner(client, &out);
}

/* What was acknowledged meanwhile is committed with it. Each slot has a position
 * that was stored, the one that it began at if no other. */
static void take_positions(const cr_client_t *client, cr_seek_t *seek) {
        for (int i = 0; i < seek->list->cnt; i++)
                seek->list->elems[i].offset = slot_of(client, seek, i)->stored;
}

static void wait_for_rebalance(cr_group_t *group, cr_seek_t *seek) {
        cr_seek_t **last = &group->seeks;
        while (*last)
                last = &(*last)->next;
        seek->next = NULL;
        *last = seek;
}

/* What comes next under the lock: the slots begin anew, or what they stand at is
 * committed, if a rebalance does not hold it up. */
static void go_on(cr_client_t *client, cr_seek_t *seek) {
        const rd_kafka_topic_partition_t *gone;
        if (cr_client_closing(client)) {
                refuse(client, seek, "closed", "the consumer is being closed");
        } else if ((gone = missing(client, seek)) && seek->slot) {
                refuse(client, seek, "stale_assignment", "the partition is being taken away");
        } else if (gone) {
                cr_writer_t out = cr_writer();
                cr_write_not_assigned(&out, gone);
                cr_reply_writer(client, &seek->tag, &out);
                seek_free(seek);
        } else if (cr_now_ms() >= seek->deadline) {
                refuse(client, seek, "timeout", "a rebalance took too long");
        } else if (!cr_group_is_settled(client->group)) {
                wait_for_rebalance(client->group, seek);
        } else if (seek->stage == STAGE_COMMIT) {
                take_positions(client, seek);
                submit(client, seek, STAGE_COMMIT);
        } else {
                begin_anew(client, seek);
                submit(client, seek, STAGE_MOVE);
        }
}

void cr_group_seeks(cr_client_t *client) {
        cr_seek_t *seek = client->group->seeks, *next;
        client->group->seeks = NULL;
        for (; seek; seek = next) {
                next = seek->next;
                go_on(client, seek);
        }
}

void cr_group_unstall(cr_client_t *client, cr_slot_t *slot) {
        cr_error_t error = {0};
        if (slot->revoked || slot->moving || !cr_group_is_settled(client->group))
                return;
        if (slot->reading) { /* only an offset that is gone ends its fetching */
                slot->stalled = false;
                cr_group_reset(client, slot);
                return;
        }
        cr_group_start_again(client, slot, cr_slot_position(slot), &error);
        slot->stalled = error.set;
        cr_source_mark(&slot->source);
}

/* librdkafka has moved, or failed to: the slots deliver again. */
static void moved(cr_client_t *client, const cr_seek_t *seek) {
        for (int i = 0; i < seek->list->cnt; i++) {
                const rd_kafka_topic_partition_t *at = &seek->list->elems[i];
                cr_slot_t *slot = cr_group_find(client->group, at->topic, at->partition);
                /* A later seek may be under way. */
                if (!slot || slot->moving != seek)
                        continue;
                slot->moving = NULL;
                slot->stalled = at->err != RD_KAFKA_RESP_ERR_NO_ERROR;
                cr_source_mark(&slot->source);
                if (slot->stalled && !cr_client_closing(client))
                        cr_group_unstall(client, slot);
        }
}

static void done_seek(cr_client_t *client, cr_job_t *job) {
        cr_seek_t *seek = (cr_seek_t *)job;
        if (seek->stage == STAGE_MOVE)
                moved(client, seek);
        if (seek->stage == STAGE_RESOLVE && !seek->err) {
                go_on(client, seek);
        } else if (seek->stage != STAGE_RESOLVE && seek->err && cr_now_ms() < seek->deadline) {
                /* Mostly a rebalance that has begun, of which this hears soon. */
                seek->stage = STAGE_COMMIT;
                go_on(client, seek);
        } else {
                answer(client, seek);
        }
}

/* ---- commands -------------------------------------------------------------- */

/* Takes the list. */
static void begin(cr_client_t *client, cr_seek_t given, bool is_offset, cr_recipient_t to,
                  cr_text_t tag, cr_reply_t *reply) {
        cr_seek_t *seek = cr_alloc(sizeof(*seek));
        if (seek)
                *seek = given;
        if (!seek || !cr_tag_set(&seek->tag, to, tag.bytes, tag.size)) {
                cr_free(seek);
                rd_kafka_topic_partition_list_destroy(given.list);
                cr_answer_no_memory(client, reply);
                return;
        }
        seek->job = (cr_job_t){.run = run_seek, .done = done_seek};
        seek->commits = client->group->options.commits != CR_COMMITS_NEVER;
        for (int i = 0; i < seek->list->cnt && is_offset; i++)
                seek->list->elems[i].offset = seek->which;
        /* What is not assigned is not asked for. */
        if (is_offset || missing(client, seek))
                go_on(client, seek);
        else
                submit(client, seek, STAGE_RESOLVE);
}

void cr_do_SEEK(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_reader_t term = cr_reader(in->data, in->size);
        cr_seek_t seek = {0};
        int64_t millis;
        bool is_offset;
        cr_text_t tag;
        if (!cr_read_tuple(&term, 5)) {
                cr_answer_malformed(client, reply);
                return;
        }
        tag = cr_read_binary(&term);
        seek.list = cr_read_partitions(&term, client->group, &seek.all);
        seek.which = cr_read_where(&term, &is_offset);
        millis = cr_read_integer(&term);
        if (!cr_reader_done(&term) || !tag.size || millis < 0 || millis > INT32_MAX) {
                rd_kafka_topic_partition_list_destroy(seek.list);
                cr_answer_malformed(client, reply);
                return;
        }
        seek.deadline = cr_now_ms() + millis;
        begin(client, seek, is_offset, in->caller, tag, reply);
}

/* Whether it begins there anyway. */
static bool is_there(const cr_slot_t *slot, bool is_offset, int64_t which) {
        return is_offset && slot->delivered == which && TAILQ_EMPTY(&slot->window.batches) &&
               !cr_slot_is_halted(slot);
}

static void answer_there(cr_client_t *client, int64_t offset, cr_reply_t *reply) {
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "ok");
        cr_write_integer(&out, offset);
        cr_answer(client, reply, &out);
}

void cr_do_START_AT(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_reader_t term = cr_reader(in->data, in->size);
        cr_seek_t seek = {.deadline = cr_now_ms() + START_MS};
        cr_slot_t *slot;
        bool is_offset = false;
        cr_text_t tag = {0};
        if (cr_read_tuple(&term, 4)) {
                tag = cr_read_binary(&term);
                seek.slot = (uint64_t)cr_read_integer(&term);
                seek.which = cr_read_where(&term, &is_offset);
        }
        if (!cr_reader_done(&term) || !tag.size || !seek.slot) {
                cr_answer_malformed(client, reply);
                return;
        }
        slot = cr_map_get(&client->group->slots, seek.slot);
        if (!slot || slot->revoked) {
                cr_answer_own(client, reply, "stale_assignment", "the partition was taken away");
                return;
        }
        if (is_there(slot, is_offset, seek.which)) {
                answer_there(client, seek.which, reply);
                return;
        }
        seek.worker = slot->worker;
        seek.list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_list_add(seek.list, slot->topic, slot->partition);
        begin(client, seek, is_offset, in->caller, tag, reply);
}
