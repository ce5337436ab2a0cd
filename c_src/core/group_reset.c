/*
 * A partition whose next offset is no longer in the log. It is never moved in
 * silence: the event names the range that is lost, and the new position is
 * committed like one that was resolved at the start. What was delivered before
 * is handled first: the log may have lost it, and nobody else has it.
 *
 * librdkafka has stopped fetching such a partition and refuses to seek in it;
 * only a new assignment starts it again.
 */
#include "group.h"
#include "list_offsets.h"
#include "mem.h"

typedef struct reset_job {
        cr_job_t job;
        uint64_t slot;
        char *topic; /* owned */
        int32_t partition;
        cr_start_t policy;
        int64_t from, to;
        bool commits;            /* ... and `to` is committed */
        bool committing;         /* the last run: the new position */
        int patience;            /* milliseconds that the next try may take */
        rd_kafka_resp_err_t err; /* of the last try */
        cr_error_t error;
} reset_job_t;

static rd_kafka_topic_partition_list_t *one(const char *topic, int32_t partition, int64_t offset) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_list_add(list, topic, partition)->offset = offset;
        return list;
}

static void commit(cr_client_t *client, reset_job_t *reset) {
        rd_kafka_topic_partition_list_t *list = one(reset->topic, reset->partition, reset->to);
        (void)cr_commit_wait(client, list, 50 * CR_SLICE_MS);
        rd_kafka_topic_partition_list_destroy(list);
}

static void ask(cr_client_t *client, reset_job_t *reset) {
        rd_kafka_topic_partition_list_t *list = one(reset->topic, reset->partition, 0);
        reset->err = cr_list_offsets(client->rk, list,
                                     reset->policy == CR_START_LATEST ? RD_KAFKA_OFFSET_END
                                                                      : RD_KAFKA_OFFSET_BEGINNING,
                                     reset->patience);
        reset->to = list->elems[0].offset;
        rd_kafka_topic_partition_list_destroy(list);
        if (reset->err)
                reset->patience = cr_group_patience(client, reset->err, reset->patience);
}

/* @locality query lane to ask, so that no rebalance waits for a partition without a
 * leader; group lane to commit */
static void run_reset(cr_client_t *client, cr_job_t *job) {
        reset_job_t *reset = (reset_job_t *)job;
        if (reset->committing) {
                commit(client, reset);
                return;
        }
        ask(client, reset);
        if (!reset->err && reset->policy == CR_START_ERROR)
                cr_error_own(&reset->error, "offset_out_of_range",
                             "%s [%d]: offset %lld is not in the log, which begins at %lld",
                             reset->topic, (int)reset->partition, (long long)reset->from,
                             (long long)reset->to);
}

/* {offset_reset, OldSlot, NewSlot, Topic, Partition, From, To} or a partition_error */
static void tell(cr_client_t *client, const cr_slot_t *slot, const reset_job_t *reset) {
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, reset->error.set ? 4 : 7);
        cr_write_atom(&out, reset->error.set ? "partition_error" : "offset_reset");
        if (!reset->error.set) {
                cr_write_integer(&out, (int64_t)reset->slot);
                cr_write_integer(&out, (int64_t)slot->id);
        }
        cr_write_text(&out, slot->topic);
        cr_write_integer(&out, slot->partition);
        if (reset->error.set) {
                cr_write_error(&out, &reset->error);
        } else {
                cr_write_integer(&out, reset->from);
                cr_write_integer(&out, reset->to);
        }
        cr_tell_owner(client, &out);
}

static void reset_free(reset_job_t *reset) {
        cr_free(reset->topic);
        cr_free(reset);
}

/* All partitions where they stand: the eager protocol knows no smaller step. */
static void assign_all(cr_client_t *client, const cr_slot_t *moved, int64_t offset,
                       cr_error_t *error) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
        rd_kafka_resp_err_t err;
        cr_slot_t *slot;
        size_t at = 0;
        while ((slot = cr_map_next(&client->group->slots, &at)))
                rd_kafka_topic_partition_list_add(list, slot->topic, slot->partition)->offset =
                        slot == moved ? offset : cr_slot_position(slot);
        err = rd_kafka_assign(client->rk, list);
        if (err)
                cr_error_code(error, err, NULL);
        rd_kafka_topic_partition_list_destroy(list);
}

/* Under the host's lock, so that no position moves meanwhile. These calls wait
 * for librdkafka's main thread, for a moment, in a case that is rare. */
void cr_group_start_again(cr_client_t *client, const cr_slot_t *slot, int64_t offset,
                          cr_error_t *error) {
        rd_kafka_topic_partition_list_t *list;
        cr_error_t ignored = {0};
        if (!cr_is_cooperative(client->rk)) {
                assign_all(client, slot, offset, error);
                return;
        }
        list = one(slot->topic, slot->partition, offset);
        /* It is not assigned where the second of them failed the last time. */
        cr_error_take(&ignored, rd_kafka_incremental_unassign(client->rk, list));
        cr_error_take(error, rd_kafka_incremental_assign(client->rk, list));
        rd_kafka_topic_partition_list_destroy(list);
}

void cr_group_renew(cr_client_t *client, cr_slot_t *slot, int64_t offset) {
        cr_map_remove(&client->group->slots, slot->id);
        cr_slot_restart(slot, offset);
        /* The place that was just left is there to be taken. */
        (void)cr_map_put(&client->group->slots, slot->id, slot);
}

/* Whether the answer can be used now. */
static bool is_settled(cr_client_t *client, const reset_job_t *reset, cr_slot_t *slot) {
        if (!slot || reset->err || slot->revoked || cr_client_closing(client))
                return false;
        /* In the middle of a rebalance: a partition that is not part of it
         * would be left as it is, so it is asked for again by the sweep. */
        slot->wants_reset = !cr_group_is_settled(client->group) || client->group->gates_out;
        return !slot->wants_reset;
}

static void done_reset(cr_client_t *client, cr_job_t *job) {
        reset_job_t *reset = (reset_job_t *)job;
        cr_slot_t *slot = reset->committing ? NULL : cr_map_get(&client->group->slots, reset->slot);
        if (slot && !slot->resetting)
                slot = NULL; /* it has begun elsewhere since: START_AT */
        /* Tried until there is an answer: without a new assignment librdkafka fetches
         * nothing more of the partition. What else is asked has its turn in between. */
        if (slot && reset->err && !slot->revoked && cr_group_goes_on(client) &&
            cr_lane_submit(&client->query_lane, job))
                return;
        if (slot)
                slot->resetting = false;
        if (!is_settled(client, reset, slot)) {
                reset_free(reset);
                return;
        }
        if (!reset->error.set) {
                cr_group_start_again(client, slot, reset->to, &reset->error);
                slot->wants_reset = reset->error.set; /* the sweep tries again */
        }
        if (!reset->error.set)
                cr_group_renew(client, slot, reset->to);
        tell(client, slot, reset);
        reset->committing = true;
        if (reset->error.set || !reset->commits ||
            !cr_lane_submit(&client->group_lane, &reset->job))
                reset_free(reset);
}

void cr_group_reset(cr_client_t *client, cr_slot_t *slot) {
        reset_job_t *reset;
        if (slot->resetting || slot->revoked)
                return;
        slot->wants_reset = true;
        if (slot->window.unacked)
                return; /* the last acknowledgement, or the sweep, tries again */
        reset = cr_alloc(sizeof(*reset));
        if (!reset)
                return;
        reset->job = (cr_job_t){.run = run_reset, .done = done_reset};
        reset->slot = slot->id;
        reset->topic = cr_copy(slot->topic, strlen(slot->topic));
        reset->partition = slot->partition;
        reset->policy = client->group->out_of_range;
        reset->commits = client->group->options.commits != CR_COMMITS_NEVER;
        reset->from = slot->delivered;
        reset->patience = 10 * CR_SLICE_MS;
        slot->resetting = reset->topic && cr_lane_submit(&client->query_lane, &reset->job);
        slot->wants_reset = !slot->resetting;
        if (!slot->resetting)
                reset_free(reset);
}
