/*
 * What a rebalance gave: where each partition begins is settled, and committed
 * if it was not, before librdkafka may fetch. Without that commit a member
 * that begins at the end and dies before its first commit loses what came
 * meanwhile.
 */
#include "group.h"
#include "list_offsets.h"
#include "mem.h"
#include "prefetch.h"

typedef struct assign_job {
        cr_job_t job;
        rd_kafka_topic_partition_list_t *partitions; /* owned, offsets filled in */
        rd_kafka_queue_t **queues;                   /* owned, one each */
        cr_begin_t begin;
        bool commits;                              /* starts are committed */
        bool commits_acked;                        /* ... and what is acknowledged */
        bool fetched;                              /* what is committed is known */
        rd_kafka_topic_partition_list_t *fresh;    /* owned: starts yet to be committed */
        rd_kafka_topic_partition_list_t *unplaced; /* owned: their starts are not known yet */
        int32_t generation; /* that it is of; only asked for where it is of use */
        unsigned tries;
        rd_kafka_resp_err_t fault; /* of the last try */
        bool answered;             /* librdkafka was */
        bool given_up;             /* ... without taking what it gave */
        cr_error_t error;
} assign_job_t;

/* So many tries fail before the fault is told: some are part of every start. */
#define TRIES_UNTOLD 50
/* After so many those wait for whose starts cannot be told, and no others. */
#define TRIES_TOGETHER 10

/* librdkafka commits nothing below what it has committed of a partition, and does
 * not forget that while others have it, who may have gone back: so where one begins
 * that is back is committed, as if it was new. */
static void add_returned(cr_client_t *client, assign_job_t *assign) {
        const rd_kafka_topic_partition_list_t *had = client->group->topics.had;
        for (int i = 0; assign->commits_acked && i < assign->partitions->cnt; i++) {
                const rd_kafka_topic_partition_t *at = &assign->partitions->elems[i];
                if (at->offset < 0 ||
                    !rd_kafka_topic_partition_list_find(had, at->topic, at->partition) ||
                    rd_kafka_topic_partition_list_find(assign->fresh, at->topic, at->partition))
                        continue;
                rd_kafka_topic_partition_list_add(assign->fresh, at->topic, at->partition)->offset =
                        at->offset;
        }
}

static void remember(cr_client_t *client, const rd_kafka_topic_partition_list_t *given) {
        rd_kafka_topic_partition_list_t *had = client->group->topics.had;
        for (int i = 0; i < given->cnt; i++) {
                const rd_kafka_topic_partition_t *at = &given->elems[i];
                if (!rd_kafka_topic_partition_list_find(had, at->topic, at->partition))
                        rd_kafka_topic_partition_list_add(had, at->topic, at->partition);
        }
}

static rd_kafka_resp_err_t find_positions(cr_client_t *client, assign_job_t *assign) {
        rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
        if (assign->begin.start != CR_START_EARLIEST)
                err = cr_topics_look(client, assign->begin.patience);
        if (!err && !assign->fetched) {
                err = cr_committed(client->rk, assign->partitions, assign->begin.patience);
                assign->fetched = !err;
        }
        if (!err && !assign->fresh)
                err = cr_find_starts(client->rk, &assign->begin, assign->partitions, &assign->fresh,
                                     &assign->error);
        if (!err)
                add_returned(client, assign);
        return err;
}

/* The next rebalance waits for this assignment's answer: a commit that has to
 * wait for that rebalance is made when it is over, and before any message. */
static rd_kafka_resp_err_t commit_starts(cr_client_t *client, assign_job_t *assign) {
        rd_kafka_topic_partition_list_t *fresh = assign->fresh;
        rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
        if (fresh->cnt && assign->commits)
                err = cr_commit_wait(client, fresh, 5 * assign->begin.patience);
        if (cr_is_of_rebalance(err))
                return RD_KAFKA_RESP_ERR_NO_ERROR;
        if (!err) {
                rd_kafka_topic_partition_list_destroy(fresh);
                assign->fresh = rd_kafka_topic_partition_list_new(0);
        }
        return err;
}

/* Queues are un-forwarded before the assignment: afterwards messages might
 * already have gone to the consumer's queue. */
static void take_queues(cr_client_t *client, assign_job_t *assign) {
        for (int i = 0; i < assign->partitions->cnt; i++) {
                const rd_kafka_topic_partition_t *at = &assign->partitions->elems[i];
                assign->queues[i] =
                        rd_kafka_queue_get_partition(client->rk, at->topic, at->partition);
                rd_kafka_queue_forward(assign->queues[i], NULL);
        }
        /* Nothing is fetched before there is a slot to take it: prefetch.c. */
        (void)rd_kafka_pause_partitions(client->rk, assign->partitions);
}

static void give_up(cr_client_t *client, assign_job_t *assign) {
        cr_error_t ignored = {0};
        cr_answer_assign(client->rk, assign->partitions, &ignored);
        assign->answered = assign->given_up = true;
}

static void answer(cr_client_t *client, assign_job_t *assign) {
        take_queues(client, assign);
        cr_answer_assign(client->rk, assign->partitions, &assign->error);
        if (assign->fresh->cnt) /* a close commits it, if nothing does before */
                (void)rd_kafka_offsets_store(client->rk, assign->fresh);
        assign->answered = true;
        remember(client, assign->partitions);
}

/* A leader that is gone may stay away: those that need one are left to
 * group_place.c. They are paused, so that any offset will do for librdkafka. */
static void leave_unplaced(cr_client_t *client, assign_job_t *assign) {
        rd_kafka_topic_partition_list_t *all = assign->partitions;
        assign->fresh = rd_kafka_topic_partition_list_new(0);
        add_returned(client, assign);
        for (int i = 0; i < all->cnt; i++) {
                if (all->elems[i].offset >= 0)
                        continue;
                rd_kafka_topic_partition_list_add(assign->unplaced, all->elems[i].topic,
                                                  all->elems[i].partition);
                all->elems[i].offset = 0;
        }
}

/* Nothing that this member could do would mend it. */
static bool is_permanent(rd_kafka_resp_err_t err) {
        return err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
               err == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
}

/* @locality group lane. librdkafka is answered in any case: it waits for it.
 * Without slots nothing is delivered, so nothing is committed. */
static void run_assign(cr_client_t *client, cr_job_t *job) {
        assign_job_t *assign = (assign_job_t *)job;
        if (!assign->tries && cr_group_is_eager(client->rk))
                assign->generation = cr_generation(client->rk);
        do {
                /* Another is to be answered. */
                if (atomic_load(&client->group->outdated)) {
                        assign->answered = assign->given_up = true;
                        return;
                }
                /* When it is lost, a revocation follows. */
                if (!cr_group_goes_on(client)) {
                        give_up(client, assign);
                        return;
                }
                assign->fault = find_positions(client, assign);
                if (!assign->fault)
                        assign->fault = commit_starts(client, assign);
                if (!assign->fault) {
                        answer(client, assign);
                        return;
                }
                if (is_permanent(assign->fault))
                        cr_error_code(&assign->error, assign->fault, NULL);
                if (assign->error.set) {
                        give_up(client, assign);
                        return;
                }
                if (assign->fetched && !assign->fresh && assign->tries >= TRIES_TOGETHER) {
                        leave_unplaced(client, assign);
                        answer(client, assign);
                        return;
                }
                assign->begin.patience =
                        cr_group_patience(client, assign->fault, assign->begin.patience);
        } while (++assign->tries % TRIES_UNTOLD);
}

static void assign_free(assign_job_t *assign) {
        for (int i = 0; assign->queues && i < assign->partitions->cnt; i++) {
                if (assign->queues[i])
                        rd_kafka_queue_destroy(assign->queues[i]);
        }
        cr_free(assign->queues);
        if (assign->fresh)
                rd_kafka_topic_partition_list_destroy(assign->fresh);
        if (assign->unplaced)
                rd_kafka_topic_partition_list_destroy(assign->unplaced);
        rd_kafka_topic_partition_list_destroy(assign->partitions);
        cr_free(assign);
}

/* {assign_failed, {error, _}} */
void cr_group_assign_failed(cr_client_t *client, const cr_error_t *error) {
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "assign_failed");
        cr_write_error(&out, error);
        cr_tell_owner(client, &out);
}

static bool add_slot(cr_client_t *client, assign_job_t *assign, int i, cr_writer_t *out) {
        const rd_kafka_topic_partition_t *at = &assign->partitions->elems[i];
        cr_slot_t *slot =
                cr_slot_new(client, at->topic, at->partition, assign->queues[i], at->offset);
        const rd_kafka_topic_partition_t *start =
                rd_kafka_topic_partition_list_find(assign->fresh, at->topic, at->partition);
        assign->queues[i] = NULL;
        if (!slot)
                return false;
        slot->unplaced = rd_kafka_topic_partition_list_find(assign->unplaced, at->topic,
                                                            at->partition) != NULL;
        slot->begins = start || slot->unplaced;
        slot->mark = start ? cr_start_mark(start) : 0;
        if (!cr_map_put(&client->group->slots, slot->id, slot)) {
                rd_kafka_queue_destroy(cr_slot_destroy(slot));
                return false;
        }
        cr_write_list(out, 1);
        cr_write_tuple(out, 4);
        cr_write_integer(out, (int64_t)slot->id);
        cr_write_text(out, slot->topic);
        cr_write_integer(out, slot->partition);
        cr_write_integer(out, at->offset);
        return true;
}

/* {assigned, [{Slot, Topic, Partition, Offset}]} */
static void tell_assigned(cr_client_t *client, assign_job_t *assign) {
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "assigned");
        for (int i = 0; i < assign->partitions->cnt && !assign->error.set; i++) {
                if (!add_slot(client, assign, i, &out))
                        cr_error_own(&assign->error, "no_memory", "no memory for a slot");
        }
        cr_write_list_end(&out);
        cr_tell_owner(client, &out);
}

static void done_assign(cr_client_t *client, cr_job_t *job) {
        assign_job_t *assign = (assign_job_t *)job;
        if (!assign->answered) {
                cr_group_error(client, assign->fault);
                if (cr_lane_submit(&client->group_lane, job))
                        return;
                give_up(client, assign); /* closing */
        }
        cr_group_go_on(client);
        client->group->generation = assign->generation;
        if (!assign->given_up && !assign->error.set)
                tell_assigned(client, assign);
        if (assign->unplaced->cnt)
                cr_group_error(client, assign->fault);
        cr_prefetch_settle(client);
        if (assign->error.set && !cr_client_closing(client))
                cr_group_assign_failed(client, &assign->error);
        assign_free(assign);
        cr_group_answered(client);
}

void cr_group_assign(cr_client_t *client, const rd_kafka_topic_partition_list_t *partitions) {
        assign_job_t *assign = cr_alloc(sizeof(*assign));
        cr_error_t error;
        if (assign) {
                assign->job = (cr_job_t){.run = run_assign, .done = done_assign};
                assign->partitions = rd_kafka_topic_partition_list_copy(partitions);
                assign->queues = cr_alloc((size_t)partitions->cnt * sizeof(rd_kafka_queue_t *));
                assign->commits = client->group->options.commits != CR_COMMITS_NEVER;
                assign->commits_acked = client->group->options.commits == CR_COMMITS_ACKNOWLEDGED;
                assign->unplaced = rd_kafka_topic_partition_list_new(0);
                assign->begin = cr_group_begin(client->group);
                atomic_store(&client->group->outdated, false);
                if (assign->queues && cr_lane_submit(&client->group_lane, &assign->job)) {
                        client->group->answering++;
                        return;
                }
                assign_free(assign);
        }
        cr_error_own(&error, "no_memory", "no memory or thread to take an assignment");
        cr_group_assign_failed(client, &error);
}
