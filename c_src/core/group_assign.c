/*
 * What a rebalance gave: where each partition begins is settled, and committed
 * if it was not, before librdkafka may fetch. Without that commit a member
 * that begins at the end and dies before its first commit loses what came
 * meanwhile.
 */
#include "group.h"
#include "mem.h"

typedef struct assign_job {
        cr_job_t job;
        rd_kafka_topic_partition_list_t *partitions; /* owned, offsets filled in */
        rd_kafka_queue_t **queues;                   /* owned, one each */
        cr_start_t start;
        int64_t start_time;
        rd_kafka_topic_partition_list_t *uncommitted; /* owned: starts yet to be committed */
        cr_error_t error;
} assign_job_t;

/* Transient faults are tried again, slice by slice, as long as the assignment
 * is ours: there is nothing to do without an answer. */
static bool go_on(cr_client_t *client) {
        return !cr_client_closing(client) && !rd_kafka_assignment_lost(client->rk);
}

/* Waits a slice where a call came back at once with an error. */
static void pause_slice(cr_client_t *client) {
        rd_kafka_queue_t *quiet = rd_kafka_queue_new(client->rk);
        rd_kafka_event_t *none = rd_kafka_queue_poll(quiet, CR_SLICE_MS);
        if (none)
                rd_kafka_event_destroy(none);
        rd_kafka_queue_destroy(quiet);
}

/* The call as a whole succeeds where one partition's offset is withheld. */
static rd_kafka_resp_err_t first_fault(const rd_kafka_topic_partition_list_t *list) {
        for (int i = 0; i < list->cnt; i++) {
                if (list->elems[i].err)
                        return list->elems[i].err;
        }
        return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static bool fetch_committed(cr_client_t *client, assign_job_t *assign) {
        rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__TIMED_OUT;
        while (go_on(client)) {
                err = rd_kafka_committed(client->rk, assign->partitions, 10 * CR_SLICE_MS);
                if (!err)
                        err = first_fault(assign->partitions);
                if (!err)
                        return true;
                if (err != RD_KAFKA_RESP_ERR__TIMED_OUT)
                        pause_slice(client);
        }
        cr_error_code(&assign->error, err, NULL);
        return false;
}

static rd_kafka_resp_err_t ask_time(rd_kafka_t *rk, rd_kafka_topic_partition_t *partition,
                                    int64_t time) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_t *asked =
                rd_kafka_topic_partition_list_add(list, partition->topic, partition->partition);
        rd_kafka_resp_err_t err;
        asked->offset = time;
        err = rd_kafka_offsets_for_times(rk, list, 10 * CR_SLICE_MS);
        if (!err)
                err = asked->err;
        if (!err)
                partition->offset = asked->offset;
        rd_kafka_topic_partition_list_destroy(list);
        return err;
}

/* Where a partition begins that the group has no offset for. */
static rd_kafka_resp_err_t ask_start(rd_kafka_t *rk, const assign_job_t *assign,
                                     rd_kafka_topic_partition_t *partition) {
        int64_t low, high;
        rd_kafka_resp_err_t err;
        if (assign->start == CR_START_TIME) {
                err = ask_time(rk, partition, assign->start_time);
                if (err || partition->offset >= 0)
                        return err; /* else all is older: begin at the end */
        }
        err = rd_kafka_query_watermark_offsets(rk, partition->topic, partition->partition, &low,
                                               &high, 10 * CR_SLICE_MS);
        if (!err)
                partition->offset = assign->start == CR_START_EARLIEST ? low : high;
        return err;
}

static bool resolve(cr_client_t *client, assign_job_t *assign,
                    rd_kafka_topic_partition_t *partition) {
        rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__TIMED_OUT;
        if (assign->start == CR_START_ERROR) {
                cr_error_own(&assign->error, "no_committed_offset",
                             "the group has no offset for %s [%d], and start is error",
                             partition->topic, (int)partition->partition);
                return false;
        }
        while (go_on(client)) {
                err = ask_start(client->rk, assign, partition);
                if (!err)
                        return true;
                if (err != RD_KAFKA_RESP_ERR__TIMED_OUT)
                        pause_slice(client);
        }
        cr_error_code(&assign->error, err, NULL);
        return false;
}

/* Resolves what has no offset and commits what was resolved. */
static bool settle_starts(cr_client_t *client, assign_job_t *assign) {
        rd_kafka_topic_partition_list_t *list = assign->partitions;
        rd_kafka_topic_partition_list_t *fresh = rd_kafka_topic_partition_list_new(list->cnt);
        bool settled = true;
        for (int i = 0; i < list->cnt && settled; i++) {
                rd_kafka_topic_partition_t *at = &list->elems[i];
                if (at->offset >= 0)
                        continue;
                settled = resolve(client, assign, at);
                rd_kafka_topic_partition_list_add(fresh, at->topic, at->partition)->offset =
                        at->offset;
        }
        while (settled && fresh->cnt && go_on(client)) {
                rd_kafka_resp_err_t err = cr_commit_wait(client, fresh, 50 * CR_SLICE_MS);
                if (!err)
                        break;
                /* The next rebalance waits for this assignment's answer, so the
                 * commit cannot: it is made with those of the messages. */
                if (err == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID ||
                    err == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION ||
                    err == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS) {
                        assign->uncommitted = fresh;
                        return true;
                }
                pause_slice(client);
        }
        rd_kafka_topic_partition_list_destroy(fresh);
        return settled;
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
}

/* @locality group lane. librdkafka is answered in any case: it waits for it. */
static void run_assign(cr_client_t *client, cr_job_t *job) {
        assign_job_t *assign = (assign_job_t *)job;
        cr_error_t ignored = {0};
        if (fetch_committed(client, assign) && settle_starts(client, assign)) {
                take_queues(client, assign);
                cr_answer_assign(client->rk, assign->partitions, &assign->error);
                if (assign->uncommitted)
                        (void)rd_kafka_offsets_store(client->rk, assign->uncommitted);
        } else {
                /* Lost, closing, or the owner is about to stop: without slots
                 * nothing of it is delivered, so nothing is committed. */
                cr_answer_assign(client->rk, assign->partitions, &ignored);
        }
}

static void assign_free(assign_job_t *assign) {
        for (int i = 0; assign->queues && i < assign->partitions->cnt; i++) {
                if (assign->queues[i])
                        rd_kafka_queue_destroy(assign->queues[i]);
        }
        cr_free(assign->queues);
        if (assign->uncommitted)
                rd_kafka_topic_partition_list_destroy(assign->uncommitted);
        rd_kafka_topic_partition_list_destroy(assign->partitions);
        cr_free(assign);
}

/* {assign_failed, {error, _}} */
static void tell_failed(cr_client_t *client, const cr_error_t *error) {
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "assign_failed");
        cr_write_error(&out, error);
        cr_send_event(client, &out);
}

static bool add_slot(cr_client_t *client, assign_job_t *assign, int i, cr_writer_t *out) {
        const rd_kafka_topic_partition_t *at = &assign->partitions->elems[i];
        cr_slot_t *slot =
                cr_slot_new(client, at->topic, at->partition, assign->queues[i], at->offset);
        assign->queues[i] = NULL;
        if (!slot)
                return false;
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
        cr_send_event(client, &out);
}

static void done_assign(cr_client_t *client, cr_job_t *job) {
        assign_job_t *assign = (assign_job_t *)job;
        if (!assign->error.set)
                tell_assigned(client, assign);
        if (assign->error.set && !cr_client_closing(client))
                tell_failed(client, &assign->error);
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
                assign->start = client->group->start;
                assign->start_time = client->group->start_time;
                if (assign->queues && cr_lane_submit(&client->group_lane, &assign->job)) {
                        client->group->answering++;
                        return;
                }
                assign_free(assign);
        }
        cr_error_own(&error, "no_memory", "no memory or thread to take an assignment");
        tell_failed(client, &error);
}
