/*
 * Jobs of the group lane that the user asks for (SUBSCRIBE), and what all jobs of
 * that lane share.
 */
#include "group.h"
#include "list_offsets.h"
#include "mem.h"
#include "rdkafka_compat.h"

/* Times that an answer to librdkafka is tried which it refuses. */
#define ANSWERS 3

bool cr_group_goes_on(cr_client_t *client) {
        return !cr_client_closing(client) && !rd_kafka_assignment_lost(client->rk);
}

int cr_group_patience(cr_client_t *client, rd_kafka_resp_err_t err, int millis) {
        if (err == RD_KAFKA_RESP_ERR__TIMED_OUT)
                return cr_longer(millis);
        cr_lane_pause(client);
        return millis;
}

bool cr_is_of_rebalance(rd_kafka_resp_err_t err) {
        return err == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS || err == CR_ERR_STALE_MEMBER_EPOCH ||
               cr_is_evicted(err);
}

static void take_results(rd_kafka_topic_partition_list_t *offsets,
                         const rd_kafka_topic_partition_list_t *from, rd_kafka_resp_err_t err) {
        cr_set_err(offsets, err);
        for (int i = 0; from && i < from->cnt; i++) {
                rd_kafka_topic_partition_t *at = rd_kafka_topic_partition_list_find(
                        offsets, from->elems[i].topic, from->elems[i].partition);
                if (at && from->elems[i].err)
                        at->err = from->elems[i].err;
        }
}

static rd_kafka_resp_err_t commit_once(cr_client_t *client,
                                       rd_kafka_topic_partition_list_t *offsets, int64_t deadline) {
        rd_kafka_queue_t *queue = rd_kafka_queue_new(client->rk);
        rd_kafka_resp_err_t err = rd_kafka_commit_queue(client->rk, offsets, queue, NULL, NULL);
        rd_kafka_event_t *event = NULL;
        while (!err && !event && cr_now_ms() < deadline && !cr_client_closing(client))
                event = rd_kafka_queue_poll(queue, CR_SLICE_MS);
        if (event)
                err = rd_kafka_event_error(event);
        else if (!err)
                err = RD_KAFKA_RESP_ERR__TIMED_OUT;
        if (err == RD_KAFKA_RESP_ERR__NO_OFFSET)
                err = RD_KAFKA_RESP_ERR_NO_ERROR; /* there was nothing to commit */
        take_results(offsets, event ? rd_kafka_event_topic_partition_list(event) : NULL, err);
        if (event)
                rd_kafka_event_destroy(event);
        rd_kafka_queue_destroy(queue);
        return err;
}

/* The epoch of a member of the newer protocol may rise while its commit is on the
 * way. The next heartbeat, which librdkafka then sends at once, has the new one:
 * librdkafka itself makes none but its own commits again. */
rd_kafka_resp_err_t cr_commit_wait(cr_client_t *client, rd_kafka_topic_partition_list_t *offsets,
                                   int millis) {
        int64_t deadline = cr_now_ms() + millis;
        rd_kafka_resp_err_t err;
        while ((err = commit_once(client, offsets, deadline)) == CR_ERR_STALE_MEMBER_EPOCH &&
               cr_now_ms() < deadline && !cr_client_closing(client))
                cr_lane_pause(client);
        if (!err)
                cr_topics_begun(&client->group->topics, offsets);
        return err;
}

bool cr_is_cooperative(rd_kafka_t *rk) {
        const char *protocol = rd_kafka_rebalance_protocol(rk);
        return protocol && strcmp(protocol, "COOPERATIVE") == 0;
}

void cr_answer_assign(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *partitions,
                      cr_error_t *error) {
        rd_kafka_resp_err_t err;
        if (cr_is_cooperative(rk))
                cr_error_take(error, rd_kafka_incremental_assign(rk, partitions));
        else if ((err = rd_kafka_assign(rk, partitions)))
                cr_error_code(error, err, NULL);
}

/* librdkafka waits for it, a close as well. */
void cr_answer_revoke(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *partitions,
                      cr_error_t *error) {
        for (int i = 0; i < ANSWERS; i++) {
                rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
                *error = (cr_error_t){0};
                if (cr_is_cooperative(rk))
                        cr_error_take(error, rd_kafka_incremental_unassign(rk, partitions));
                else if ((err = rd_kafka_assign(rk, NULL)))
                        cr_error_code(error, err, NULL);
                if (!error->set)
                        return;
        }
}

typedef struct ask_job {
        cr_job_t job;
        cr_tag_t tag;
        rd_kafka_topic_partition_list_t *topics; /* owned */
        rd_kafka_resp_err_t err;
} ask_job_t;

/* @locality group lane */
static void run_ask(cr_client_t *client, cr_job_t *job) {
        ask_job_t *ask = (ask_job_t *)job;
        ask->err = ask->topics->cnt ? rd_kafka_subscribe(client->rk, ask->topics)
                                    : rd_kafka_unsubscribe(client->rk);
        if (!ask->err)
                cr_topics_subscribe(&client->group->topics, ask->topics);
}

static void ask_free(ask_job_t *ask) {
        rd_kafka_topic_partition_list_destroy(ask->topics);
        cr_tag_clear(&ask->tag);
        cr_free(ask);
}

static void done_ask(cr_client_t *client, cr_job_t *job) {
        ask_job_t *ask = (ask_job_t *)job;
        cr_error_t error;
        if (ask->err) {
                cr_error_code(&error, ask->err, NULL);
                cr_reply_error(client, &ask->tag, &error);
        } else {
                cr_reply_ok(client, &ask->tag);
        }
        ask_free(ask);
}

/* Takes the topics. */
static void submit(cr_client_t *client, cr_recipient_t to, cr_text_t tag,
                   rd_kafka_topic_partition_list_t *topics, cr_reply_t *reply) {
        ask_job_t *ask = cr_alloc(sizeof(*ask));
        if (!ask) {
                rd_kafka_topic_partition_list_destroy(topics);
                cr_answer_no_memory(client, reply);
                return;
        }
        ask->job = (cr_job_t){.run = run_ask, .done = done_ask};
        ask->topics = topics;
        if (cr_tag_set(&ask->tag, to, tag.bytes, tag.size) &&
            cr_lane_submit(&client->group_lane, &ask->job)) {
                cr_group_look_for_topics(client);
                return;
        }
        ask_free(ask);
        cr_answer_no_memory(client, reply);
}

/* earliest | latest | error | Millis */
static cr_start_t read_start(cr_reader_t *term, int64_t *time) {
        cr_reader_t integer = *term;
        char name[16];
        *time = cr_read_integer(&integer);
        if (!integer.failed) {
                *term = integer;
                return CR_START_TIME;
        }
        cr_read_atom(term, name, sizeof(name));
        if (strcmp(name, "earliest") == 0)
                return CR_START_EARLIEST;
        if (strcmp(name, "latest") == 0)
                return CR_START_LATEST;
        if (strcmp(name, "error") != 0)
                term->failed = true;
        return CR_START_ERROR;
}

static rd_kafka_topic_partition_list_t *read_topics(cr_reader_t *term) {
        int count = cr_read_list(term);
        rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(count);
        for (int i = 0; i < count && !term->failed; i++) {
                cr_text_t text = cr_read_binary(term);
                char *topic = cr_copy(text.bytes, text.size);
                if (!topic || strlen(topic) != text.size)
                        term->failed = true;
                else
                        rd_kafka_topic_partition_list_add(topics, topic, RD_KAFKA_PARTITION_UA);
                cr_free(topic);
        }
        cr_read_list_end(term, count);
        return topics;
}

void cr_do_SUBSCRIBE(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_reader_t term = cr_reader(in->data, in->size);
        rd_kafka_topic_partition_list_t *topics, *early;
        cr_start_t start, out_of_range;
        int64_t time, unused;
        cr_text_t tag;
        if (!cr_client_reads(client, CR_READS_ASSIGNED, reply))
                return;
        if (!cr_read_tuple(&term, 5)) {
                cr_answer_malformed(client, reply);
                return;
        }
        tag = cr_read_binary(&term);
        topics = read_topics(&term);
        start = read_start(&term, &time);
        out_of_range = read_start(&term, &unused);
        early = read_topics(&term);
        if (!cr_reader_done(&term) || out_of_range == CR_START_TIME) {
                rd_kafka_topic_partition_list_destroy(topics);
                rd_kafka_topic_partition_list_destroy(early);
                cr_answer_malformed(client, reply);
                return;
        }
        client->group->start = start;
        client->group->start_time = time;
        client->group->out_of_range = out_of_range;
        client->group->resubscribed |= client->group->subscribed;
        client->group->subscribed = topics->cnt > 0;
        if (client->group->early)
                rd_kafka_topic_partition_list_destroy(early);
        else
                client->group->early = early;
        submit(client, in->caller, tag, topics, reply);
}
