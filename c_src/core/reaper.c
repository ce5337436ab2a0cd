/*
 * The end of a client, on its own thread: whatever waits here holds up nobody.
 *
 * The order, and why:
 *   1. questions that wait for their turn are refused, each of which would take its
 *      first try's time; a producer refuses who waits, purges, and serves until each
 *      accepted message is reported;
 *   2. the other lanes end, and what they have done is answered; a consumer
 *      lets its slots go, answers a rebalance that is still open, and closes,
 *      which commits what is stored and leaves the group;
 *   3. a query or a call of transactions that is still under way ends; who asked
 *      for the end does not wait for the latter for ever; a transaction that is open
 *      is aborted;
 *   4. children before parents: topic handles, slots' queues, the queue, the
 *      mock cluster, then the rd_kafka_t;
 *   5. who asked hears of it, and how the last commit went; the client is freed.
 */
#include "cluster.h"
#include "delivery.h"
#include "group.h"
#include "rdkafka_compat.h"
#include "reader.h"
#include "stage.h"
#include "tally.h"
#include "transaction.h"

/* Longer than any try of a call of transactions, save one: librdkafka's search for
 * a group's coordinator has no time-out (2.0.2), and where brokers answer it badly
 * rd_kafka_send_offsets_to_transaction() comes back only when a connection
 * was lost or made. */
#define TRANSACTIONS_MS 20000

static atomic_uint alive, telling;

void cr_reaper_count(void) {
        atomic_fetch_add(&alive, 1);
        atomic_fetch_add(&telling, 1);
}

unsigned cr_reapers_alive(void) {
        return atomic_load(&alive);
}

unsigned cr_reapers_telling(void) {
        return atomic_load(&telling);
}

/* Nothing is waited for before this: a caller whose time is up waits for it. */
static void end_messages(cr_client_t *client) {
        cr_admission_refuse_all(client);
        cr_flush_refuse_all(client);
        cr_stage_hand_over(client);
        while (client->delivery->messages) {
                /* Again each time: a message on its way from one queue of
                 * librdkafka's to another escapes a purge. */
                rd_kafka_purge(client->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
                                                   RD_KAFKA_PURGE_F_NON_BLOCKING);
                cr_wake_wait(&client->wake, 10 * CR_SLICE_MS);
                cr_source_mark(&client->news);
                cr_client_drain(client);
        }
}

static void finish_producer(cr_client_t *client) {
        cr_tally_more(client);
        cr_delivery_send_last(client);
        cr_reporter_end(client);
        cr_delivery_leave_kept(client);
        cr_delivery_destroy(client->delivery);
        client->delivery = NULL;
}

/* No report follows. */
static void tell_end(cr_client_t *client) {
        atomic_fetch_sub(&telling, 1);
        client->ops->send(client->host, 0, &(cr_packet_t){.kind = CR_PACKET_TOLD});
}

/* The last one counts: what it has are all that are stored. */
static void note_commit(cr_client_t *client, rd_kafka_event_t *event) {
        const rd_kafka_topic_partition_list_t *offsets = rd_kafka_event_topic_partition_list(event);
        rd_kafka_resp_err_t err = rd_kafka_event_error(event);
        if (err == RD_KAFKA_RESP_ERR__NO_OFFSET)
                return;
        for (int i = 0; !err && offsets && i < offsets->cnt; i++)
                err = offsets->elems[i].err;
        client->group->last_commit = err;
}

static void serve_rebalance(cr_client_t *client, rd_kafka_event_t *event) {
        cr_error_t ignored = {0};
        const rd_kafka_topic_partition_list_t *partitions =
                rd_kafka_event_topic_partition_list(event);
        client->group->rebalances++;
        if (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
                client->group->assigned = true;
                cr_answer_assign(client->rk, partitions, &ignored);
        } else {
                cr_answer_revoke(client->rk, partitions, &ignored);
        }
}

/* Whether there was one within that time. */
static bool serve_one(cr_client_t *client, int millis) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(client->queue, millis);
        if (!event)
                return false;
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE)
                serve_rebalance(client, event);
        else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_OFFSET_COMMIT)
                note_commit(client, event);
        rd_kafka_event_destroy(event);
        return true;
}

/* It has had an answer to its join. */
static bool has_joined(const cr_client_t *client) {
        const char *protocol = rd_kafka_rebalance_protocol(client->rk);
        return protocol && strcmp(protocol, "NONE") != 0;
}

/* Nothing that could be waited for brings an assignment. */
static bool has_no_future(const cr_client_t *client) {
        return rd_kafka_fatal_error(client->rk, NULL, 0) || !client->group->subscribed;
}

/* See cr_must_be_assigned_first(). Where no assignment comes any more the client is
 * kept, and its queue served, as long as the process runs. */
static void await_assignment(cr_client_t *client) {
        if (!cr_must_be_assigned_first() || client->group->assigned)
                return;
        if (!has_joined(client))
                client->group->subscribed = rd_kafka_unsubscribe(client->rk) != 0;
        if (!has_joined(client))
                return; /* nor will it: an answer to a join counts no more */
        while (!client->group->assigned) {
                if (client->close_tag.to && has_no_future(client))
                        cr_reply_ok(client, &client->close_tag);
                (void)serve_one(client, CR_SLICE_MS);
        }
}

static void finish_consumer(cr_client_t *client) {
        cr_error_t ignored = {0}, refused = {0};
        if (client->kind == CR_KIND_READER) {
                cr_reader_stop(client);
                cr_group_clear(client->group);
                return;
        }
        await_assignment(client);
        cr_group_seeks(client); /* answers them */
        cr_group_clear(client->group);
        if (client->group->revoked)
                cr_answer_revoke(client->rk, client->group->revoked, &ignored);
        if (client->group->given)
                cr_answer_assign(client->rk, client->group->given, &ignored);
        /* A subscription that waits for the end of a rebalance would be made in the
         * middle of the close, and librdkafka abort on meeting it. */
        if (client->group->resubscribed)
                (void)rd_kafka_unsubscribe(client->rk);
        /* After a fatal error it is refused, and is not needed. */
        cr_error_take(&refused, rd_kafka_consumer_close_queue(client->rk, client->queue));
        while (!refused.set && !rd_kafka_consumer_closed(client->rk))
                (void)serve_one(client, CR_SLICE_MS);
        while (serve_one(client, 0))
                continue;
}

static bool has_transaction_calls(const cr_client_t *client) {
        return client->transaction && client->transaction->jobs;
}

static void finish_transactions(cr_client_t *client) {
        int64_t deadline = cr_now_ms() + TRANSACTIONS_MS;
        while (has_transaction_calls(client) && cr_now_ms() < deadline) {
                cr_wake_wait(&client->wake, CR_SLICE_MS);
                cr_client_drain(client);
        }
        if (has_transaction_calls(client))
                cr_reply_ok(client, &client->close_tag);
        cr_lane_join(&client->transaction_lane);
}

static void destroy_kafka(cr_client_t *client) {
        rd_kafka_queue_cb_event_enable(client->queue, NULL, NULL);
        rd_kafka_queue_destroy(client->queue);
        client->queue = NULL;
        cr_cluster_destroy(client->cluster);
        client->cluster = NULL;
        /* After a fatal error a consumer's close is refused, and newer ones than 2.0.2
         * would wait for it for ever. */
        rd_kafka_destroy_flags(client->rk, rd_kafka_fatal_error(client->rk, NULL, 0)
                                                   ? RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE
                                                   : 0);
        client->rk = NULL;
}

/* Who asked for the end hears of it, and of what a member could not commit. */
static void reply_end(cr_client_t *client) {
        rd_kafka_resp_err_t err =
                client->group ? client->group->last_commit : RD_KAFKA_RESP_ERR_NO_ERROR;
        cr_writer_t out = cr_writer();
        cr_error_t error;
        if (!err) {
                cr_write_atom(&out, "ok");
        } else if (cr_is_evicted(err)) {
                cr_write_tuple(&out, 2);
                cr_write_atom(&out, "ok");
                cr_write_atom(&out, "lost");
        } else {
                cr_error_code(&error, err, NULL);
                cr_write_error(&out, &error);
        }
        cr_reply_writer(client, &client->close_tag, &out);
}

/* @locality life lane, its last job */
void cr_reaper_run(cr_client_t *client, cr_job_t *job) {
        (void)job;
        cr_lane_refuse(&client->query_lane);
        if (client->delivery)
                end_messages(client);
        cr_lane_join(&client->group_lane);
        cr_lane_join(&client->prefetch_lane);
        cr_lane_join(&client->flush_lane);
        cr_lane_join(&client->statistics_lane);
        cr_client_serve_finished(client);
        if (client->delivery)
                finish_producer(client);
        tell_end(client);
        if (client->group)
                finish_consumer(client);
        /* These may still wait for a broker; nobody's report waits for them, but
         * a commit for the reports. */
        finish_transactions(client);
        cr_lane_join(&client->query_lane);
        cr_client_serve_finished(client);
        if (client->rk) {
                cr_transaction_leave(client);
                destroy_kafka(client);
        }
        reply_end(client);
        pthread_detach(client->life.thread);
        cr_client_free(client);
        atomic_fetch_sub(&alive, 1);
}
