/*
 * Partitions of which the group has no offset, and nobody can tell where they
 * begin: they have no leader. The others of their assignment do not wait for
 * them. They have slots, which are halted, and are asked for again and again,
 * each by itself, in rounds that the sweep begins.
 */
#include "group.h"
#include "list_offsets.h"
#include "mem.h"

typedef struct place_job {
        cr_job_t job;
        cr_begin_t begin;
        rd_kafka_topic_partition_list_t *round; /* owned: what is asked for, one a run */
        int asked;
        rd_kafka_topic_partition_list_t *placed; /* owned: what this run was told, or NULL */
        cr_error_t error;                        /* no start would do */
} place_job_t;

/* @locality group lane */
static void run_place(cr_client_t *client, cr_job_t *job) {
        place_job_t *ask = (place_job_t *)job;
        const rd_kafka_topic_partition_t *at = &ask->round->elems[ask->asked++];
        rd_kafka_topic_partition_list_t *one;
        rd_kafka_resp_err_t err;
        if (!cr_group_goes_on(client))
                return;
        one = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_list_add(one, at->topic, at->partition);
        err = cr_find_starts(client->rk, &ask->begin, one, &ask->placed, &ask->error);
        if (err == RD_KAFKA_RESP_ERR__TIMED_OUT)
                ask->begin.patience = cr_longer(ask->begin.patience);
        rd_kafka_topic_partition_list_destroy(one);
}

static void place_free(place_job_t *ask) {
        if (ask->placed)
                rd_kafka_topic_partition_list_destroy(ask->placed);
        rd_kafka_topic_partition_list_destroy(ask->round);
        cr_free(ask);
}

static void begin(const cr_group_t *group, const rd_kafka_topic_partition_t *at) {
        cr_slot_t *slot = cr_group_find(group, at->topic, at->partition);
        /* It may have been sought to somewhere. */
        if (!slot || !slot->unplaced)
                return;
        slot->stored = slot->delivered = at->offset;
        slot->mark = cr_start_mark(at);
        slot->begins = group->options.commits != CR_COMMITS_NEVER;
        slot->unplaced = false;
        cr_source_mark(&slot->source);
}

/* The next of the round follows, behind what else waits for the lane. */
static void done_place(cr_client_t *client, cr_job_t *job) {
        place_job_t *ask = (place_job_t *)job;
        cr_group_t *group = client->group;
        if (ask->placed) {
                begin(group, &ask->placed->elems[0]);
                rd_kafka_topic_partition_list_destroy(ask->placed);
                ask->placed = NULL;
        }
        group->place_patience = ask->begin.patience;
        if (!ask->error.set && ask->asked < ask->round->cnt && !cr_client_closing(client) &&
            cr_lane_submit(&client->group_lane, job))
                return;
        group->placing = false;
        if (ask->error.set && !cr_client_closing(client))
                cr_group_assign_failed(client, &ask->error);
        place_free(ask);
        cr_group_commit_starts(client);
}

static bool has_unplaced(const cr_group_t *group) {
        const cr_slot_t *slot;
        size_t at = 0;
        while ((slot = cr_map_next(&group->slots, &at))) {
                if (slot->unplaced)
                        return true;
        }
        return false;
}

void cr_group_place(cr_client_t *client) {
        cr_group_t *group = client->group;
        place_job_t *ask;
        cr_slot_t *slot;
        size_t at = 0;
        if (group->placing || !cr_group_is_settled(group) || !has_unplaced(group) ||
            !(ask = cr_alloc(sizeof(*ask))))
                return;
        ask->job = (cr_job_t){.run = run_place, .done = done_place};
        ask->begin = cr_group_begin(group);
        if (group->place_patience)
                ask->begin.patience = group->place_patience;
        ask->round = rd_kafka_topic_partition_list_new(0);
        while ((slot = cr_map_next(&group->slots, &at))) {
                if (slot->unplaced)
                        rd_kafka_topic_partition_list_add(ask->round, slot->topic, slot->partition);
        }
        group->placing = cr_lane_submit(&client->group_lane, &ask->job);
        if (!group->placing)
                place_free(ask);
}
