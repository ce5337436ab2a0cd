/*
 * What a rebalance gave: where each partition begins is settled, and committed
 * if it was not, before librdkafka may fetch. Without that commit a member
 * that begins at the end and dies before its first commit loses what came
 * meanwhile.
 */
#include "group.h"
#include "list_offsets.h"
#include "mem.h"

typedef struct assign_job {
        cr_job_t job;
        rd_kafka_topic_partition_list_t *partitions; /* owned, offsets filled in */
        rd_kafka_queue_t **queues;                   /* owned, one each */
        cr_start_t start;
        int64_t start_time;
        bool fetched;                           /* what is committed is known */
        rd_kafka_topic_partition_list_t *fresh; /* owned: starts yet to be committed */
        int patience;                           /* milliseconds that a question may take */
        unsigned tries;
        rd_kafka_resp_err_t fault; /* of the last try */
        bool answered;             /* librdkafka was */
        bool given_up;             /* ... without taking what it gave */
        cr_error_t error;
} assign_job_t;

/* So many tries fail before the fault is told: some are part of every start. */
#define TRIES_UNTOLD 50

static rd_kafka_resp_err_t fetch_committed(cr_client_t *client, assign_job_t *assign) {
        rd_kafka_topic_partition_list_t *list = assign->partitions;
        rd_kafka_resp_err_t err;
        if (assign->fetched)
                return RD_KAFKA_RESP_ERR_NO_ERROR;
        err = rd_kafka_committed(client->rk, list, assign->patience);
        /* The call as a whole succeeds where one partition's offset is withheld. */
        for (int i = 0; i < list->cnt && !err; i++)
                err = list->elems[i].err;
        assign->fetched = !err;
        return err;
}

static rd_kafka_topic_partition_list_t *
without_offset(const rd_kafka_topic_partition_list_t *list) {
        rd_kafka_topic_partition_list_t *some = rd_kafka_topic_partition_list_new(list->cnt);
        for (int i = 0; i < list->cnt; i++) {
                if (list->elems[i].offset < 0)
                        rd_kafka_topic_partition_list_add(some, list->elems[i].topic,
                                                          list->elems[i].partition);
        }
        return some;
}

static void take_offsets(rd_kafka_topic_partition_list_t *list,
                         const rd_kafka_topic_partition_list_t *from) {
        for (int i = 0; i < from->cnt; i++)
                rd_kafka_topic_partition_list_set_offset(list, from->elems[i].topic,
                                                         from->elems[i].partition,
                                                         from->elems[i].offset);
}

/* Where partitions begin that the group has no offset for. */
static rd_kafka_resp_err_t ask_starts(rd_kafka_t *rk, const assign_job_t *assign,
                                      rd_kafka_topic_partition_list_t *list) {
        rd_kafka_topic_partition_list_t *older;
        rd_kafka_resp_err_t err;
        if (assign->start != CR_START_TIME)
                return cr_list_offsets(rk, list,
                                       assign->start == CR_START_EARLIEST
                                               ? RD_KAFKA_OFFSET_BEGINNING
                                               : RD_KAFKA_OFFSET_END,
                                       assign->patience);
        err = cr_list_offsets(rk, list, assign->start_time, assign->patience);
        if (err)
                return err;
        /* Where all messages are older it begins at the end. */
        older = without_offset(list);
        if (older->cnt &&
            !(err = cr_list_offsets(rk, older, RD_KAFKA_OFFSET_END, assign->patience)))
                take_offsets(list, older);
        rd_kafka_topic_partition_list_destroy(older);
        return err;
}

static rd_kafka_resp_err_t find_starts(cr_client_t *client, assign_job_t *assign) {
        rd_kafka_topic_partition_list_t *list;
        rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
        if (assign->fresh)
                return err;
        list = without_offset(assign->partitions);
        if (list->cnt && assign->start == CR_START_ERROR) {
                err = RD_KAFKA_RESP_ERR__NO_OFFSET;
                cr_error_own(&assign->error, "no_committed_offset",
                             "the group has no offset for %s [%d], and start is error",
                             list->elems[0].topic, (int)list->elems[0].partition);
        } else if (list->cnt) {
                err = ask_starts(client->rk, assign, list);
        }
        if (err) {
                rd_kafka_topic_partition_list_destroy(list);
                return err;
        }
        take_offsets(assign->partitions, list);
        assign->fresh = list;
        return err;
}

/* The next rebalance waits for this assignment's answer: a commit that has to
 * wait for that rebalance is made with those of the messages. */
static rd_kafka_resp_err_t commit_starts(cr_client_t *client, assign_job_t *assign) {
        rd_kafka_topic_partition_list_t *fresh = assign->fresh;
        rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
        if (fresh->cnt)
                err = cr_commit_wait(client, fresh, 5 * assign->patience);
        if (err == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID ||
            err == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION ||
            err == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS)
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
}

static void give_up(cr_client_t *client, assign_job_t *assign) {
        cr_error_t ignored = {0};
        cr_answer_assign(client->rk, assign->partitions, &ignored);
        assign->answered = assign->given_up = true;
}

static void answer(cr_client_t *client, assign_job_t *assign) {
        take_queues(client, assign);
        cr_answer_assign(client->rk, assign->partitions, &assign->error);
        if (assign->fresh->cnt)
                (void)rd_kafka_offsets_store(client->rk, assign->fresh);
        assign->answered = true;
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
        do {
                /* When it is lost, a revocation follows. */
                if (!cr_group_goes_on(client)) {
                        give_up(client, assign);
                        return;
                }
                assign->fault = fetch_committed(client, assign);
                if (!assign->fault)
                        assign->fault = find_starts(client, assign);
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
                assign->patience = cr_group_patience(client, assign->fault, assign->patience);
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

static void tell_fault(cr_client_t *client, const assign_job_t *assign) {
        cr_writer_t out = cr_writer();
        cr_error_t error;
        cr_error_code(&error, assign->fault, NULL);
        cr_write_error(&out, &error);
        cr_send_event(client, &out);
}

static void done_assign(cr_client_t *client, cr_job_t *job) {
        assign_job_t *assign = (assign_job_t *)job;
        if (!assign->answered) {
                tell_fault(client, assign);
                if (cr_lane_submit(&client->group_lane, job))
                        return;
                give_up(client, assign); /* closing */
        }
        cr_group_go_on(client);
        if (!assign->given_up && !assign->error.set)
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
                assign->patience = 10 * CR_SLICE_MS;
                if (assign->queues && cr_lane_submit(&client->group_lane, &assign->job)) {
                        client->group->answering++;
                        return;
                }
                assign_free(assign);
        }
        cr_error_own(&error, "no_memory", "no memory or thread to take an assignment");
        tell_failed(client, &error);
}
