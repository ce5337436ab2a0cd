/*
 * The answer to a revocation, when everything that goes away has been
 * drained: the contiguous prefix of each slot is committed, the result
 * awaited, and only then are the partitions given back. What was lost is
 * given back without a commit: it is somebody else's by now.
 */
#include "group.h"
#include "mem.h"

/* A commit that takes longer than this is given up: the next owner starts at
 * the one before. */
#define COMMIT_MS 5000

typedef struct release_job {
        cr_job_t job;
        rd_kafka_topic_partition_list_t *partitions; /* owned: the answer */
        rd_kafka_topic_partition_list_t *offsets;    /* owned: to commit */
        rd_kafka_queue_t **queues;                   /* owned */
        int queue_count;
        bool lost;
        rd_kafka_resp_err_t err; /* of the commit */
        cr_error_t error;        /* of the answer */
} release_job_t;

/* librdkafka commits what is stored when it lets go of a partition, also where the
 * member is another generation's by now, whose partition it is not. */
static void forget_stored(cr_client_t *client, rd_kafka_topic_partition_list_t *partitions) {
        for (int i = 0; i < partitions->cnt; i++)
                partitions->elems[i].offset = RD_KAFKA_OFFSET_INVALID;
        (void)rd_kafka_offsets_store(client->rk, partitions);
}

/* @locality group lane */
static void run_release(cr_client_t *client, cr_job_t *job) {
        release_job_t *release = (release_job_t *)job;
        if (!release->lost && release->offsets->cnt)
                release->err = cr_commit_wait(client, release->offsets, COMMIT_MS);
        if (release->lost && release->partitions->cnt)
                forget_stored(client, release->partitions);
        cr_answer_revoke(client->rk, release->partitions, &release->error);
        for (int i = 0; i < release->queue_count; i++) {
                cr_slot_drain(release->queues[i]);
                rd_kafka_queue_destroy(release->queues[i]);
        }
        release->queue_count = 0;
}

static void release_free(release_job_t *release) {
        for (int i = 0; i < release->queue_count; i++)
                rd_kafka_queue_destroy(release->queues[i]);
        cr_free(release->queues);
        rd_kafka_topic_partition_list_destroy(release->partitions);
        if (release->offsets)
                rd_kafka_topic_partition_list_destroy(release->offsets);
        cr_free(release);
}

/* {released, ok | lost | {error, _}, [{Topic, Partition, Committed}]} */
static void done_release(cr_client_t *client, cr_job_t *job) {
        release_job_t *release = (release_job_t *)job;
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, 3);
        cr_write_atom(&out, "released");
        if (release->err && !cr_is_evicted(release->err))
                cr_error_code(&release->error, release->err, NULL);
        if (release->error.set)
                cr_write_error(&out, &release->error);
        else
                cr_write_atom(&out, release->err || release->lost ? "lost" : "ok");
        for (int i = 0; i < release->offsets->cnt; i++) {
                const rd_kafka_topic_partition_t *at = &release->offsets->elems[i];
                cr_write_list(&out, 1);
                cr_write_tuple(&out, 3);
                cr_write_text(&out, at->topic);
                cr_write_integer(&out, at->partition);
                cr_write_integer(&out, at->offset);
        }
        cr_write_list_end(&out);
        cr_tell_owner(client, &out);
        release_free(release);
        cr_group_go_on(client);
        cr_group_answered(client);
}

/* Takes the next revoked slot out of the group. */
static cr_slot_t *take_revoked(cr_group_t *group) {
        cr_slot_t *slot;
        size_t at = 0;
        while ((slot = cr_map_next(&group->slots, &at))) {
                if (slot->revoked)
                        return cr_map_remove(&group->slots, slot->id);
        }
        return NULL;
}

static void take_slots(cr_client_t *client, release_job_t *release) {
        cr_slot_t *slot;
        while ((slot = take_revoked(client->group))) {
                int64_t position = cr_window_position(&slot->window);
                if (slot->begins && !slot->unplaced)
                        cr_start_add(client, slot, release->offsets);
                else if (position >= 0 && client->group->options.commits == CR_COMMITS_ACKNOWLEDGED)
                        rd_kafka_topic_partition_list_add(release->offsets, slot->topic,
                                                          slot->partition)
                                ->offset = position;
                release->queues[release->queue_count++] = cr_slot_destroy(slot);
        }
}

void cr_group_release(cr_client_t *client) {
        cr_group_t *group = client->group;
        release_job_t *release;
        size_t slots = group->slots.count;
        group->release_waits = group->gates_out;
        if (group->release_waits)
                return;
        release = cr_alloc(sizeof(*release));
        group->release_waits = !release; /* the sweep tries again */
        if (!release)
                return;
        release->job = (cr_job_t){.run = run_release, .done = done_release};
        release->lost = group->lost;
        release->partitions = group->revoked;
        release->offsets = rd_kafka_topic_partition_list_new((int)slots);
        release->queues = cr_alloc(slots * sizeof(rd_kafka_queue_t *));
        if (release->queues)
                take_slots(client, release);
        if (release->queues && cr_lane_submit(&client->group_lane, &release->job)) {
                group->revoked = NULL;
                group->answering++;
                return;
        }
        group->release_waits = true;
        release->partitions = rd_kafka_topic_partition_list_new(0);
        release_free(release);
}
