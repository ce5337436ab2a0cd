/*
 * FLUSH is answered when every message accepted before it is reported. The
 * lane only keeps librdkafka in its flushing mode, in which it does not
 * linger; what is finished is seen here, from the reports.
 */
#include "delivery.h"
#include "mem.h"

/* @locality flush lane */
static void run_flush(cr_client_t *client, cr_job_t *job) {
        (void)job;
        while (!cr_client_closing(client) && !atomic_load(&client->delivery->flush_stop))
                rd_kafka_flush(client->rk, CR_SLICE_MS);
}

static void start(cr_client_t *client) {
        cr_delivery_t *delivery = client->delivery;
        if (delivery->flush_running || LIST_EMPTY(&delivery->flushes))
                return;
        atomic_store(&delivery->flush_stop, false);
        /* Without a thread the flush still ends, after the linger. */
        delivery->flush_running = cr_lane_submit(&client->flush_lane, &delivery->flush_job);
}

static void done_flush(cr_client_t *client, cr_job_t *job) {
        (void)job;
        client->delivery->flush_running = false;
        start(client);
}

void cr_flush_init(cr_delivery_t *delivery) {
        delivery->flush_job = (cr_job_t){.run = run_flush, .done = done_flush};
}

static void answer(cr_client_t *client, cr_flush_waiter_t *waiter) {
        LIST_REMOVE(waiter, link);
        cr_reply_ok(client, &waiter->tag);
        cr_free(waiter);
}

static void settle(cr_client_t *client) {
        if (LIST_EMPTY(&client->delivery->flushes))
                atomic_store(&client->delivery->flush_stop, true);
}

void cr_flush_serve(cr_client_t *client) {
        cr_delivery_t *delivery = client->delivery;
        cr_call_t *oldest = TAILQ_FIRST(&delivery->pending);
        cr_flush_waiter_t *waiter, *next;
        for (waiter = LIST_FIRST(&delivery->flushes); waiter; waiter = next) {
                next = LIST_NEXT(waiter, link);
                if (!oldest || oldest->sequence > waiter->sequence)
                        answer(client, waiter);
        }
        settle(client);
}

void cr_flush_drop(cr_client_t *client, cr_recipient_t gone) {
        cr_flush_waiter_t *waiter, *next;
        for (waiter = LIST_FIRST(&client->delivery->flushes); waiter; waiter = next) {
                next = LIST_NEXT(waiter, link);
                if (waiter->tag.to != gone)
                        continue;
                LIST_REMOVE(waiter, link);
                cr_tag_clear(&waiter->tag);
                cr_free(waiter);
        }
        settle(client);
}

void cr_flush_refuse_all(cr_client_t *client) {
        cr_flush_waiter_t *waiter;
        cr_error_t error;
        cr_error_own(&error, "closed", "the producer was closed during the flush");
        while ((waiter = LIST_FIRST(&client->delivery->flushes))) {
                LIST_REMOVE(waiter, link);
                cr_reply_error(client, &waiter->tag, &error);
                cr_free(waiter);
        }
}

bool cr_flush_cancel(cr_client_t *client, const cr_input_t *in, const void *tag, size_t size) {
        cr_flush_waiter_t *waiter;
        LIST_FOREACH(waiter, &client->delivery->flushes, link) {
                if (waiter->tag.to != in->caller || waiter->tag.size != size ||
                    memcmp(waiter->tag.bytes, tag, size) != 0)
                        continue;
                LIST_REMOVE(waiter, link);
                cr_tag_clear(&waiter->tag);
                cr_free(waiter);
                settle(client);
                return true;
        }
        return false;
}

void cr_do_FLUSH(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_delivery_t *delivery = client->delivery;
        cr_flush_waiter_t *waiter = in->size ? cr_alloc(sizeof(*waiter)) : NULL;
        if (!waiter || !cr_tag_set(&waiter->tag, in->caller, in->data, in->size)) {
                cr_free(waiter);
                cr_answer_own(client, reply, in->size ? "no_memory" : "malformed_command",
                              "a flush needs a tag, and memory");
                return;
        }
        waiter->sequence = delivery->sequence;
        LIST_INSERT_HEAD(&delivery->flushes, waiter, link);
        start(client);
        cr_flush_serve(client);
}
