#include "delivery.h"

#include "mem.h"
#include "stage.h"
#include "tally.h"
#include "transaction.h"

cr_delivery_t *cr_delivery_new(rd_kafka_t *rk, const cr_options_t *options) {
        cr_delivery_t *delivery = cr_alloc(sizeof(*delivery));
        if (!delivery)
                return NULL;
        delivery->options = *options;
        delivery->confirmed = cr_confirmed(rk);
        if (options->tally && !(delivery->tally = cr_tally_new(options))) {
                cr_free(delivery);
                return NULL;
        }
        TAILQ_INIT(&delivery->pending);
        TAILQ_INIT(&delivery->kept);
        LIST_INIT(&delivery->reporter.all);
        TAILQ_INIT(&delivery->waiters);
        LIST_INIT(&delivery->flushes);
        atomic_init(&delivery->flush_stop, false);
        atomic_init(&delivery->nudge_wanted, false);
        cr_flush_init(delivery);
        cr_nudge_init(delivery, rk);
        return delivery;
}

/* Entries and calls are at even addresses. */
#define UNHEARD ((uintptr_t)1)

void *cr_call_opaque(cr_call_t *call, uint32_t index) {
        return call->unheard ? (char *)call + UNHEARD : (char *)&call->entries[index];
}

/* The unheard call whose message has that opaque, or NULL. */
static cr_call_t *unheard_call(void *opaque) {
        return (uintptr_t)opaque & UNHEARD ? (cr_call_t *)(void *)((char *)opaque - UNHEARD) : NULL;
}

/* The call an entry stands in. */
static cr_call_t *call_of(cr_entry_t *entry) {
        cr_entry_t *first = entry - entry->index;
        return (cr_call_t *)(void *)((char *)first - offsetof(cr_call_t, entries));
}

static void caller_free(cr_caller_t *caller) {
        cr_map_clear(&caller->calls);
        cr_free(caller->grouped);
        cr_free(caller);
}

void cr_delivery_destroy(cr_delivery_t *delivery) {
        cr_call_t *call;
        cr_caller_t *caller;
        size_t at = 0;
        if (!delivery)
                return;
        while ((call = TAILQ_FIRST(&delivery->kept))) {
                TAILQ_REMOVE(&delivery->kept, call, in_delivery);
                cr_free(call);
        }
        while ((caller = cr_map_next(&delivery->callers, &at)))
                caller_free(caller);
        cr_map_clear(&delivery->callers);
        cr_free(delivery->reporter.grouped);
        cr_confirmed_clear(&delivery->confirmed);
        cr_stage_destroy(delivery); /* callers may still come, and compare its topic */
        cr_topics_destroy(delivery);
        cr_tally_destroy(delivery->tally);
        cr_variants_destroy(delivery);
        cr_free(delivery->scratch);
        cr_free(delivery->batch);
        cr_free(delivery);
}

cr_caller_t *cr_delivery_caller(cr_delivery_t *delivery, cr_recipient_t recipient) {
        cr_caller_t *caller = cr_map_get(&delivery->callers, recipient);
        if (caller || !(caller = cr_alloc(sizeof(*caller))))
                return caller;
        caller->recipient = recipient;
        LIST_INIT(&caller->all);
        if (!cr_map_put(&delivery->callers, recipient, caller)) {
                cr_free(caller);
                return NULL;
        }
        return caller;
}

static bool can_be_awaited(const cr_call_t *call) {
        return call->mode == CR_MODE_KEEP || call->mode == CR_MODE_WAIT;
}

static void append(cr_delivery_t *delivery, cr_call_t *call) {
        call->sequence = ++delivery->sequence;
        TAILQ_INSERT_TAIL(&delivery->pending, call, in_delivery);
}

cr_call_t *cr_call_new(cr_delivery_t *delivery, cr_caller_t *caller, uint8_t mode, uint64_t id,
                       uint32_t count) {
        cr_call_t *call = cr_alloc(sizeof(*call) + count * sizeof(call->entries[0]));
        if (!call)
                return NULL;
        call->mode = mode;
        call->id = id;
        call->count = count;
        call->left = count + 1;
        for (uint32_t i = 0; i < count; i++)
                call->entries[i].index = i;
        if (caller && can_be_awaited(call) && !cr_map_put(&caller->calls, id, call)) {
                cr_free(call);
                return NULL;
        }
        if (caller) {
                call->caller = caller;
                LIST_INSERT_HEAD(&caller->all, call, in_caller);
        }
        append(delivery, call);
        return call;
}

/* The last call, if it is unheard and no flush waits for it: a flush would also
 * wait for what comes later. The first flush in the list is the newest. */
static cr_call_t *last_unheard(cr_delivery_t *delivery) {
        cr_call_t *last = TAILQ_LAST(&delivery->pending, cr_calls);
        const cr_flush_waiter_t *flush = LIST_FIRST(&delivery->flushes);
        if (!last || !last->unheard || (flush && flush->sequence >= last->sequence))
                return NULL;
        return last;
}

cr_call_t *cr_call_unheard(cr_delivery_t *delivery, uint32_t count) {
        cr_call_t *call = last_unheard(delivery);
        if (!call) {
                call = cr_alloc(sizeof(*call));
                if (!call)
                        return NULL;
                call->unheard = true;
                append(delivery, call);
        }
        call->left += count + 1;
        return call;
}

static void call_free(cr_call_t *call) {
        if (call->caller) {
                if (can_be_awaited(call))
                        cr_map_remove(&call->caller->calls, call->id);
                LIST_REMOVE(call, in_caller);
        }
        cr_tag_clear(&call->tag);
        cr_free(call);
}

void cr_report_put(unsigned char **to, const cr_entry_t *entry) {
        cr_put_uint(to, (uint16_t)entry->error, 2);
        cr_put_uint(to, entry->status, 1);
        cr_put_uint(to, (uint32_t)entry->partition, 4);
        cr_put_uint(to, (uint64_t)entry->offset, 8);
        cr_put_uint(to, (uint64_t)entry->timestamp, 8);
}

/* All reports of a complete call in one block; NULL when there is no memory. */
static cr_buf_t *reports_of(cr_client_t *client, const cr_call_t *call, size_t *size) {
        cr_buf_t *buf = client->ops->buf_new((size_t)call->count * CR_REPORT_SIZE);
        unsigned char *to;
        *size = (size_t)call->count * CR_REPORT_SIZE;
        if (!buf)
                return NULL;
        to = client->ops->buf_bytes(buf);
        for (uint32_t i = 0; i < call->count; i++)
                cr_report_put(&to, &call->entries[i]);
        return buf;
}

static void forget_oldest(cr_delivery_t *delivery) {
        cr_call_t *call = TAILQ_FIRST(&delivery->kept);
        TAILQ_REMOVE(&delivery->kept, call, in_delivery);
        delivery->kept_count -= call->count;
        call_free(call);
}

static void keep(cr_delivery_t *delivery, cr_call_t *call) {
        call->kept = true;
        TAILQ_INSERT_TAIL(&delivery->kept, call, in_delivery);
        delivery->kept_count += call->count;
        while (delivery->kept_count > (uint64_t)delivery->options.max_unclaimed &&
               TAILQ_FIRST(&delivery->kept) != call)
                forget_oldest(delivery);
}

/* Times that the reaper tries again what found no memory, a slice apart. */
#define LAST_TRIES 50

static void leave(cr_client_t *client, const cr_call_t *call) {
        cr_packet_t packet = {.kind = CR_PACKET_LEFT, .slot = call->id};
        for (int i = 0; !packet.bytes && i < LAST_TRIES; i++) {
                if (i)
                        cr_lane_pause(client);
                packet.bytes = reports_of(client, call, &packet.size);
        }
        if (!packet.bytes)
                return;
        client->ops->send(client->host, call->caller->recipient, &packet);
        client->ops->buf_release(packet.bytes);
}

void cr_delivery_leave_kept(cr_client_t *client) {
        cr_call_t *call;
        while ((call = TAILQ_FIRST(&client->delivery->kept))) {
                leave(client, call);
                forget_oldest(client->delivery);
        }
}

/* Whether the reports of a complete call have gone where they belong, or are nobody's:
 * else it stays where it is until there is memory. */
static bool complete(cr_client_t *client, cr_call_t *call) {
        bool waited = call->caller && call->mode == CR_MODE_WAIT;
        size_t size;
        cr_buf_t *buf = waited ? reports_of(client, call, &size) : NULL;
        if (waited && !buf)
                return false;
        TAILQ_REMOVE(&client->delivery->pending, call, in_delivery);
        if (waited)
                cr_reply_buf(client, &call->tag, buf, size);
        if (call->caller && call->mode == CR_MODE_KEEP)
                keep(client->delivery, call);
        else
                call_free(call);
        return true;
}

void cr_call_release(cr_client_t *client, cr_call_t *call) {
        if (--call->left)
                return;
        client->delivery->bytes -= call->cost;
        client->delivery->owed += !complete(client, call);
}

static void complete_owed(cr_client_t *client) {
        cr_call_t *call, *next;
        if (!client->delivery->owed)
                return;
        for (call = TAILQ_FIRST(&client->delivery->pending); call; call = next) {
                next = TAILQ_NEXT(call, in_delivery);
                if (!call->left)
                        client->delivery->owed -= complete(client, call);
        }
        cr_delivery_advance(client); /* a flush may have waited for them */
}

/* Of a message's cost only the call's is known: each takes its share along. */
static void report_unheard(cr_client_t *client, cr_call_t *call) {
        cr_delivery_t *delivery = client->delivery;
        uint64_t share = call->cost / call->left;
        call->cost -= share;
        delivery->bytes -= share;
        delivery->messages--;
        delivery->reported++;
        cr_call_release(client, call);
}

static void report_entry(cr_client_t *client, cr_entry_t *entry, rd_kafka_resp_err_t error,
                         uint8_t status, int32_t partition, int64_t offset, int64_t timestamp) {
        cr_delivery_t *delivery = client->delivery;
        cr_call_t *call = call_of(entry);
        entry->error = (int16_t)error;
        entry->status = status;
        entry->partition = partition;
        entry->offset = offset;
        entry->timestamp = timestamp;
        if (entry->value)
                client->ops->buf_release(entry->value);
        entry->value = NULL;
        delivery->messages--;
        delivery->bytes -= entry->cost;
        delivery->reported++;
        if (call->mode == CR_MODE_SEND && call->caller)
                cr_delivery_group(delivery, call->caller, call->id + entry->index, entry);
        cr_call_release(client, call);
}

static void report_unsent(cr_client_t *client, void *opaque, rd_kafka_resp_err_t error,
                          int32_t partition) {
        cr_call_t *unheard = unheard_call(opaque);
        if (unheard)
                report_unheard(client, unheard);
        else
                report_entry(client, opaque, error, CR_STATUS_NOT_SENT, partition,
                             RD_KAFKA_OFFSET_INVALID, -1);
}

void cr_delivery_refuse(cr_client_t *client, rd_kafka_topic_t *rkt, void *opaque,
                        rd_kafka_resp_err_t error, int32_t partition) {
        const rd_kafka_message_t report = {
                .rkt = rkt, .partition = partition, .offset = RD_KAFKA_OFFSET_INVALID};
        cr_transaction_refused(client);
        if (client->delivery->tally)
                cr_tally_add(client->delivery->tally, &report, error, CR_STATUS_NOT_PERSISTED);
        report_unsent(client, opaque, error, partition);
}

void cr_delivery_skip(cr_client_t *client, void *opaque) {
        report_unsent(client, opaque, (rd_kafka_resp_err_t)CR_REPORT_SKIPPED, -1);
}

static uint8_t status_of(const rd_kafka_message_t *message, rd_kafka_resp_err_t error) {
        if ((int)error == CR_REPORT_UNCONFIRMED)
                return CR_STATUS_POSSIBLY_PERSISTED;
        switch (rd_kafka_message_status(message)) {
        case RD_KAFKA_MSG_STATUS_PERSISTED:
                return CR_STATUS_PERSISTED;
        case RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED:
                return CR_STATUS_POSSIBLY_PERSISTED;
        case RD_KAFKA_MSG_STATUS_NOT_PERSISTED:
                break;
        }
        return CR_STATUS_NOT_PERSISTED;
}

/* The error of a report, or that what it says is not proven. */
static rd_kafka_resp_err_t error_of(cr_delivery_t *delivery, const rd_kafka_message_t *message) {
        if (message->err || cr_confirmed_by(&delivery->confirmed, message))
                return message->err;
        return (rd_kafka_resp_err_t)CR_REPORT_UNCONFIRMED;
}

void cr_delivery_report(cr_client_t *client, const rd_kafka_message_t *message) {
        cr_call_t *unheard = unheard_call(message->_private);
        rd_kafka_resp_err_t error = error_of(client->delivery, message);
        client->delivery->delivered += !error;
        client->delivery->answered++;
        if (client->delivery->tally)
                cr_tally_add(client->delivery->tally, message, error, status_of(message, error));
        if (unheard)
                report_unheard(client, unheard);
        else
                report_entry(client, message->_private, error, status_of(message, error),
                             message->partition, message->offset,
                             rd_kafka_message_timestamp(message, NULL));
}

/* False when there was no memory for some of it. */
static bool send_all(cr_client_t *client) {
        cr_delivery_t *delivery = client->delivery;
        bool sent;
        complete_owed(client);
        cr_grouped_send(client);
        sent = cr_reporter_send(client);
        if (delivery->tally && !cr_tally_send(client))
                sent = false;
        return sent && !delivery->dirty && !delivery->owed;
}

void cr_delivery_send_grouped(cr_client_t *client) {
        if (!send_all(client))
                cr_source_mark(&client->news);
}

void cr_delivery_send_last(cr_client_t *client) {
        cr_call_t *call;
        for (int i = 0; i < LAST_TRIES && !send_all(client); i++)
                cr_lane_pause(client);
        while ((call = TAILQ_FIRST(&client->delivery->pending))) {
                TAILQ_REMOVE(&client->delivery->pending, call, in_delivery);
                cr_reply_buf(client, &call->tag, NULL, 0);
                call_free(call);
        }
}

void cr_delivery_advance(cr_client_t *client) {
        cr_admission_serve(client);
        cr_flush_serve(client);
        cr_transaction_serve(client);
}

void cr_delivery_recipient_gone(cr_client_t *client, cr_recipient_t gone) {
        cr_delivery_t *delivery = client->delivery;
        cr_caller_t *caller;
        cr_call_t *call;
        cr_admission_drop(client, gone);
        cr_flush_drop(client, gone);
        cr_reporter_gone(delivery, gone);
        /* Who was admitted in its place may have been refused at once. */
        cr_delivery_send_grouped(client);
        caller = cr_map_remove(&delivery->callers, gone);
        if (!caller)
                return;
        cr_grouped_forget(delivery, caller);
        while ((call = LIST_FIRST(&caller->all))) {
                if (call->kept) {
                        TAILQ_REMOVE(&delivery->kept, call, in_delivery);
                        delivery->kept_count -= call->count;
                        call_free(call);
                } else if (!call->left) {
                        TAILQ_REMOVE(&delivery->pending, call, in_delivery);
                        delivery->owed--;
                        call_free(call);
                } else {
                        LIST_REMOVE(call, in_caller);
                        call->caller = NULL;
                        cr_tag_clear(&call->tag);
                }
        }
        caller_free(caller);
}

/* The call of that caller and number that can be awaited, or NULL. */
static cr_call_t *find_call(cr_client_t *client, cr_recipient_t recipient, uint64_t id) {
        cr_caller_t *caller = cr_map_get(&client->delivery->callers, recipient);
        return caller && id ? cr_map_get(&caller->calls, id) : NULL;
}

static void answer_kept(cr_client_t *client, cr_call_t *call, cr_reply_t *reply) {
        reply->buf = reports_of(client, call, &reply->size);
        reply->failed = reply->buf == NULL;
        if (reply->failed)
                return;
        TAILQ_REMOVE(&client->delivery->kept, call, in_delivery);
        client->delivery->kept_count -= call->count;
        call_free(call);
}

void cr_do_AWAIT(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_bytes_t bytes = cr_bytes(in->data, in->size);
        uint64_t id = cr_take_u64(&bytes);
        size_t tag_size = bytes.size - bytes.at;
        cr_call_t *call = bytes.failed ? NULL : find_call(client, in->caller, id);
        if (bytes.failed || !tag_size)
                cr_answer_malformed(client, reply);
        else if (!call)
                cr_answer_own(client, reply, "unknown_reference",
                              "no report is kept under this reference: it was fetched before, "
                              "forgotten (max_unclaimed), or made by another process");
        else if (call->kept)
                answer_kept(client, call, reply);
        else if (call->mode == CR_MODE_WAIT)
                cr_answer_own(client, reply, "already_awaited", "somebody waits for it already");
        else if (!cr_tag_set(&call->tag, in->caller, bytes.data + bytes.at, tag_size))
                cr_answer_no_memory(client, reply);
        else
                call->mode = CR_MODE_WAIT;
}

void cr_do_LOOK(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_bytes_t bytes = cr_bytes(in->data, in->size);
        const cr_call_t *call = find_call(client, in->caller, cr_take_u64(&bytes));
        if (bytes.failed || bytes.at != bytes.size)
                cr_answer_malformed(client, reply);
        else if (call && !call->kept)
                cr_answer_wait(client, reply);
}

/* Waiting for reports is given up: they are kept instead. A call that is not
 * found has been answered: the packet is with the caller already. */
static void cancel_reports(cr_client_t *client, const cr_input_t *in, cr_bytes_t *bytes,
                           cr_reply_t *reply) {
        cr_call_t *call = find_call(client, in->caller, cr_take_u64(bytes));
        if (bytes->failed || bytes->at != bytes->size) {
                cr_answer_malformed(client, reply);
        } else if (call && call->mode == CR_MODE_WAIT) {
                cr_tag_clear(&call->tag);
                call->mode = CR_MODE_KEEP;
                if (!call->left)
                        client->delivery->owed -= complete(client, call);
        } else {
                cr_answer_own(client, reply, "not_waiting", "it has been answered");
        }
}

void cr_do_CANCEL(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_bytes_t bytes = cr_bytes(in->data, in->size);
        uint8_t what = cr_take_u8(&bytes);
        const unsigned char *tag = bytes.failed ? NULL : bytes.data + bytes.at;
        size_t size = bytes.size - bytes.at;
        bool found;
        if (bytes.failed || what > CR_CANCEL_FLUSH) {
                cr_answer_malformed(client, reply);
                return;
        }
        if (what == CR_CANCEL_REPORTS) {
                cancel_reports(client, in, &bytes, reply);
                return;
        }
        found = what == CR_CANCEL_FLUSH ? cr_flush_cancel(client, in, tag, size)
                                        : cr_admission_cancel(client, in, tag, size);
        if (!found)
                cr_answer_own(client, reply, "not_waiting", "it has been answered");
}
