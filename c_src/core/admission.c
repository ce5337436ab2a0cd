/*
 * Back-pressure: a call is admitted whole or waits, in the order of arrival,
 * for reports to free enough places. No timer here: a caller keeps its own
 * deadline and cancels.
 */
#include "mem.h"
#include "produce.h"
#include "stage.h"
#include "transaction.h"

typedef struct cr_waiter {
        TAILQ_ENTRY(cr_waiter) link;
        cr_recipient_t caller;
        cr_tag_t tag;
        bool silent;      /* the tag is the reports': being admitted is no news */
        uint64_t reports; /* the first tag of what the reporter hears of; 0: nothing */
        uint64_t messages, cost;
        size_t size;
        unsigned char *data; /* the command, copied */
        size_t behind_count;
        cr_segment_t behind[]; /* blocks kept */
} cr_waiter_t;

static void waiter_free(cr_client_t *client, cr_waiter_t *waiter) {
        TAILQ_REMOVE(&client->delivery->waiters, waiter, link);
        client->delivery->waiting--;
        if (waiter->reports)
                client->delivery->reporter.promised -= waiter->messages;
        for (size_t i = 0; i < waiter->behind_count; i++) {
                if (waiter->behind[i].buf)
                        client->ops->buf_release(waiter->behind[i].buf);
        }
        cr_tag_clear(&waiter->tag);
        cr_free(waiter->data);
        cr_free(waiter);
}

/* Keeps what lies behind the command; without a block of its own, a copy. */
static bool keep_behind(cr_client_t *client, cr_waiter_t *waiter, const cr_input_t *in) {
        for (size_t i = 0; i < in->behind_count; i++) {
                cr_segment_t *kept = &waiter->behind[i];
                *kept = in->behind[i];
                waiter->behind_count = i + 1;
                if (kept->buf) {
                        client->ops->buf_keep(kept->buf);
                        continue;
                }
                kept->buf = client->ops->buf_new(kept->size);
                if (!kept->buf)
                        return false;
                memcpy(client->ops->buf_bytes(kept->buf), kept->bytes, kept->size);
                kept->bytes = client->ops->buf_bytes(kept->buf);
        }
        return true;
}

static bool wait_for_place(cr_client_t *client, const cr_input_t *in, const cr_produce_t *produce) {
        cr_delivery_t *delivery = client->delivery;
        cr_waiter_t *waiter =
                cr_alloc(sizeof(*waiter) + in->behind_count * sizeof(waiter->behind[0]));
        if (!waiter)
                return false;
        waiter->caller = in->caller;
        waiter->silent = produce->mode == CR_MODE_WAIT;
        if (produce->to == CR_TO_REPORTER) {
                if (!cr_delivery_promise(&delivery->reporter, produce->count)) {
                        cr_free(waiter);
                        return false;
                }
                waiter->reports = produce->call;
        }
        waiter->messages = produce->count;
        waiter->cost = produce->cost;
        waiter->size = in->size;
        waiter->data = cr_copy(in->data, in->size);
        TAILQ_INSERT_TAIL(&delivery->waiters, waiter, link);
        delivery->waiting++;
        if (waiter->data && keep_behind(client, waiter, in) &&
            cr_tag_set(&waiter->tag, in->caller, produce->tag, produce->tag_size))
                return true;
        waiter_free(client, waiter);
        return false;
}

static bool has_place(const cr_delivery_t *delivery, uint64_t messages, uint64_t cost) {
        return delivery->messages + cr_reporter_holds(delivery) + messages <=
                       (uint64_t)delivery->options.max_messages &&
               delivery->bytes + cost <= (uint64_t)delivery->options.max_bytes;
}

static void admit(cr_client_t *client, cr_waiter_t *waiter) {
        cr_input_t in = {.caller = waiter->caller,
                         .data = waiter->data,
                         .size = waiter->size,
                         .behind = waiter->behind,
                         .behind_count = waiter->behind_count};
        cr_produce_t produce;
        cr_error_t error;
        bool accepted = cr_produce_decode(client, &in, &produce, &error);
        if (accepted && !(accepted = cr_transaction_takes(client, &produce, &error) &&
                                     cr_produce_accept(client, &produce, waiter->caller, &error)))
                cr_produce_release(client, &produce);
        if (!accepted)
                cr_reply_error(client, &waiter->tag, &error);
        else if (!waiter->silent)
                cr_reply_ok(client, &waiter->tag);
        waiter_free(client, waiter);
}

void cr_admission_serve(cr_client_t *client) {
        cr_delivery_t *delivery = client->delivery;
        cr_waiter_t *first;
        while ((first = TAILQ_FIRST(&delivery->waiters)) &&
               has_place(delivery, first->messages, first->cost))
                admit(client, first);
}

/* The caller is dead, but whoever else waits for reports gets them. */
static void report_dropped(cr_delivery_t *delivery, cr_waiter_t *waiter) {
        const cr_entry_t entry = {.error = RD_KAFKA_RESP_ERR__PURGE_QUEUE,
                                  .status = CR_STATUS_NOT_SENT,
                                  .partition = RD_KAFKA_PARTITION_UA,
                                  .offset = RD_KAFKA_OFFSET_INVALID,
                                  .timestamp = -1};
        for (uint64_t i = 0; waiter->reports && i < waiter->messages; i++)
                cr_delivery_group(delivery, &delivery->reporter, waiter->reports + i, &entry);
        waiter->reports = 0; /* the promise is kept */
}

void cr_admission_drop(cr_client_t *client, cr_recipient_t gone) {
        cr_waiter_t *waiter, *next;
        for (waiter = TAILQ_FIRST(&client->delivery->waiters); waiter; waiter = next) {
                next = TAILQ_NEXT(waiter, link);
                if (waiter->caller != gone)
                        continue;
                report_dropped(client->delivery, waiter);
                waiter_free(client, waiter);
        }
        cr_admission_serve(client);
}

bool cr_admission_cancel(cr_client_t *client, const cr_input_t *in, const void *tag, size_t size) {
        cr_waiter_t *waiter;
        TAILQ_FOREACH(waiter, &client->delivery->waiters, link) {
                if (waiter->caller != in->caller || waiter->tag.size != size ||
                    memcmp(waiter->tag.bytes, tag, size) != 0)
                        continue;
                waiter_free(client, waiter);
                cr_admission_serve(client);
                cr_delivery_send_grouped(client);
                return true;
        }
        return false;
}

void cr_admission_refuse_all(cr_client_t *client) {
        cr_waiter_t *waiter;
        cr_error_t error;
        cr_error_own(&error, "closed", "the producer was closed before there was a place");
        while ((waiter = TAILQ_FIRST(&client->delivery->waiters))) {
                cr_reply_error(client, &waiter->tag, &error);
                waiter_free(client, waiter);
        }
}

static void too_large(cr_client_t *client, const cr_produce_t *produce, cr_error_t *error) {
        const cr_options_t *options = &client->delivery->options;
        cr_error_own(error, "batch_too_large",
                     "%u messages of %llu bytes in one call exceed the whole queue "
                     "(max_queue_messages %lld, max_queue_bytes %lld)",
                     produce->count, (unsigned long long)produce->cost,
                     (long long)options->max_messages, (long long)options->max_bytes);
}

typedef enum outcome { ACCEPTED, WAITING, REFUSED } outcome_t;

/* @precondition the command is decoded; what it owns is taken or released. */
static outcome_t admit_or_wait(cr_client_t *client, const cr_input_t *in, cr_produce_t *produce,
                               cr_error_t *error) {
        cr_delivery_t *delivery = client->delivery;
        const cr_options_t *options = &delivery->options;
        outcome_t outcome = REFUSED;
        if (delivery->draining) {
                cr_error_own(error, "closed", "another client takes the place of this one");
        } else if (!cr_transaction_takes(client, produce, error)) {
                /* *error says it */
        } else if (produce->count > options->max_messages ||
                   produce->cost > (uint64_t)options->max_bytes) {
                too_large(client, produce, error);
        } else if (!delivery->waiting && has_place(delivery, produce->count, produce->cost)) {
                uint64_t reported = delivery->reported;
                if (cr_produce_accept(client, produce, in->caller, error)) {
                        if (delivery->reported != reported) /* some were refused at once */
                                cr_delivery_send_grouped(client);
                        return ACCEPTED;
                }
        } else if (produce->policy == CR_POLICY_REFUSE) {
                cr_error_own(
                        error, "queue_full", "%llu messages are waiting for their reports",
                        (unsigned long long)(delivery->messages + cr_reporter_holds(delivery)));
        } else if (wait_for_place(client, in, produce)) {
                outcome = WAITING;
        } else {
                cr_error_own(error, "no_memory", "no memory to wait for a place");
        }
        cr_produce_release(client, produce);
        return outcome;
}

/* Answers `accepted` by nothing, `waiting` by the atom wait. */
void cr_do_PRODUCE(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_produce_t produce;
        cr_error_t error = {0};
        outcome_t outcome = REFUSED;
        bool decoded = cr_produce_decode(client, in, &produce, &error);
        if (decoded && cr_stage_join(client, &produce))
                return;
        cr_stage_take(client);
        if (decoded)
                outcome = admit_or_wait(client, in, &produce, &error);
        cr_stage_give(client);
        if (outcome == REFUSED) {
                cr_answer_error(client, reply, &error);
        } else if (outcome == WAITING) {
                cr_answer_wait(client, reply);
                if (reply->failed)
                        waiter_free(client, TAILQ_LAST(&client->delivery->waiters, cr_waiters));
        }
}

static outcome_t refuse_retired(cr_client_t *client, cr_produce_t *produce, cr_error_t *error) {
        cr_produce_release(client, produce);
        cr_error_own(error, "closed", "the client is closed");
        return REFUSED;
}

void cr_client_produce(cr_client_t *client, const cr_input_t *in) {
        cr_produce_t produce = {0};
        cr_error_t error = {0};
        outcome_t outcome = REFUSED;
        cr_writer_t out = {.failed = false};
        if (!client->delivery)
                return; /* no such command comes from crema_port */
        cr_stage_take(client);
        if (cr_produce_decode(client, in, &produce, &error))
                outcome = client->state == CR_OPEN ? admit_or_wait(client, in, &produce, &error)
                                                   : refuse_retired(client, &produce, &error);
        cr_stage_give(client);
        if (outcome == WAITING || (outcome == ACCEPTED && produce.mode == CR_MODE_WAIT))
                return;
        out = cr_writer();
        if (outcome == REFUSED)
                cr_write_error(&out, &error);
        else
                cr_write_atom(&out, "ok");
        cr_reply_to(client, in->caller, produce.tag, produce.tag_size, &out);
}
