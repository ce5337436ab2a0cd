/*
 * Accepts messages: from here on each of them gets exactly one report.
 *
 * Runs of messages for one topic, also of one message, go to librdkafka in a call a
 * partition where that takes all they carry (rd_kafka_produce_batch() knows neither
 * headers nor timestamps); the rest one by one.
 */
#include "produce.h"

#include "mem.h"
#include "stage.h"

bool cr_is_batchable(const cr_message_t *message) {
        return !message->headers.size && !message->timestamp && !message->value_buf &&
               message->partition != CR_PARTITION_SKIP;
}

/* So many messages with partitions are sorted by them at most. */
#define MOST_SORTED 256

/* The number of messages from the first on that may go together. */
static uint32_t run_length(const cr_message_t *messages, uint32_t count) {
        bool chosen = messages[0].partition != RD_KAFKA_PARTITION_UA;
        uint32_t length = 0;
        if (chosen && count > MOST_SORTED)
                count = MOST_SORTED;
        while (length < count && cr_is_batchable(&messages[length]) &&
               messages[length].topic == messages[0].topic &&
               (messages[length].partition != RD_KAFKA_PARTITION_UA) == chosen)
                length++;
        return length;
}

bool cr_message_sticks(const cr_message_t *message) {
        return message->partition == RD_KAFKA_PARTITION_UA &&
               cr_sticky_takes(&message->topic->sticky, message->key, message->key_size);
}

/* The messages at `first` and behind it that have the same partition, or none; how many
 * there are. All of them stick, or *stick is set to false. */
static int gather(cr_client_t *client, cr_call_t *call, uint32_t at, const cr_message_t *messages,
                  uint32_t first, uint32_t count, bool *stick) {
        rd_kafka_message_t *batch = client->delivery->batch;
        int gathered = 0;
        *stick = true;
        for (uint32_t i = first; i < count; i++) {
                const cr_message_t *message = &messages[i];
                if (message->partition != messages[first].partition)
                        continue;
                *stick = *stick && cr_message_sticks(message);
                cr_batch_put(&batch[gathered++], message, cr_call_opaque(call, at + i));
        }
        return gathered;
}

void cr_produce_together(cr_client_t *client, cr_topic_t *topic, int32_t partition, bool stick,
                         rd_kafka_message_t *messages, int count) {
        int32_t to = stick ? cr_sticky_partition(&topic->sticky) : partition;
        if (rd_kafka_produce_batch(topic->rkt, to, RD_KAFKA_MSG_F_COPY, messages, count) == count)
                return;
        if (to != partition && messages->err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION) {
                /* The topic has fewer now; nothing of this was taken. */
                cr_sticky_forget(&topic->sticky);
                rd_kafka_produce_batch(topic->rkt, partition, RD_KAFKA_MSG_F_COPY, messages, count);
        }
        for (int i = 0; i < count; i++) {
                if (messages[i].err)
                        cr_delivery_refuse(client, topic->rkt, messages[i]._private,
                                           messages[i].err, partition);
        }
}

/*
 * Those of the run that have the partition of the one at `first`, which comes first.
 * All of one call have one partition: with a partition of its own for each, librdkafka
 * (2.15.1 as well) loses a message whose partition there is not. It is never freed, and
 * counts as unreported for ever, so that no flush and no commit ends.
 */
static void produce_partition(cr_client_t *client, cr_call_t *call, uint32_t at,
                              const cr_message_t *messages, uint32_t first, uint32_t count) {
        bool stick;
        int gathered = gather(client, call, at, messages, first, count, &stick);
        cr_produce_together(client, messages->topic, messages[first].partition, stick,
                            client->delivery->batch, gathered);
}

static bool is_first_of_partition(const cr_message_t *messages, uint32_t index) {
        for (uint32_t i = index; i > 0; i--) {
                if (messages[i - 1].partition == messages[index].partition)
                        return false;
        }
        return true;
}

/* @precondition cr_batch_room(count) */
static void produce_run(cr_client_t *client, cr_call_t *call, uint32_t at,
                        const cr_message_t *messages, uint32_t count) {
        for (uint32_t i = 0; i < count; i++) {
                if (is_first_of_partition(messages, i))
                        produce_partition(client, call, at, messages, i, count);
        }
}

/* NULL when there is no memory. */
static rd_kafka_headers_t *headers_of(const cr_message_t *message) {
        rd_kafka_headers_t *headers = rd_kafka_headers_new(message->header_count);
        cr_bytes_t bytes = message->headers;
        for (uint16_t i = 0; i < message->header_count; i++) {
                uint16_t name_size = cr_take_u16(&bytes);
                const char *name = (const char *)cr_take(&bytes, name_size);
                int32_t size = cr_take_i32(&bytes);
                const void *value = size < 0 ? NULL : cr_take(&bytes, (size_t)size);
                rd_kafka_header_add(headers, name, name_size, value, size < 0 ? 0 : size);
        }
        return headers;
}

/*
 * rd_kafka_produceva() with a list of headers of our own: with single headers
 * librdkafka 2.0.2 crashes on an unknown partition. On success the list is
 * librdkafka's, on failure it is still ours.
 */
static void produce_full(cr_client_t *client, const cr_message_t *message, void *opaque) {
        rd_kafka_headers_t *headers = message->header_count ? headers_of(message) : NULL;
        rd_kafka_error_t *failed;
        rd_kafka_vu_t fields[8] = {
                {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = message->topic->rkt},
                {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = message->partition},
                {.vtype = RD_KAFKA_VTYPE_MSGFLAGS,
                 .u.i = message->value_buf ? 0 : RD_KAFKA_MSG_F_COPY},
                {.vtype = RD_KAFKA_VTYPE_VALUE,
                 .u.mem = {.ptr = cr_unconst(message->value), .size = message->value_size}},
                {.vtype = RD_KAFKA_VTYPE_KEY,
                 .u.mem = {.ptr = cr_unconst(message->key), .size = message->key_size}},
                {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = message->timestamp},
                {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = opaque},
                {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers}};
        failed = rd_kafka_produceva(client->rk, fields, headers ? 8 : 7);
        if (!failed)
                return;
        if (headers)
                rd_kafka_headers_destroy(headers);
        cr_delivery_refuse(client, message->topic->rkt, opaque, rd_kafka_error_code(failed),
                           message->partition);
        rd_kafka_error_destroy(failed);
}

static void produce_one(cr_client_t *client, const cr_message_t *message, void *opaque) {
        int flags = message->value_buf ? 0 : RD_KAFKA_MSG_F_COPY;
        if (message->partition == CR_PARTITION_SKIP)
                cr_delivery_skip(client, opaque);
        else if (message->headers.size || message->timestamp)
                produce_full(client, message, opaque);
        else if (rd_kafka_produce(message->topic->rkt, message->partition, flags,
                                  cr_unconst(message->value), message->value_size, message->key,
                                  message->key_size, opaque))
                cr_delivery_refuse(client, message->topic->rkt, opaque, rd_kafka_last_error(),
                                   message->partition);
}

/* The call holds a place of its own meanwhile, so that it outlives messages
 * that are refused at once. */
static void produce_all(cr_client_t *client, cr_call_t *call, const cr_message_t *messages,
                        uint32_t count) {
        uint32_t at = 0;
        while (at < count) {
                uint32_t run = run_length(&messages[at], count - at);
                if (run && cr_batch_room(client->delivery, run)) {
                        produce_run(client, call, at, &messages[at], run);
                        at += run;
                } else {
                        produce_one(client, &messages[at], cr_call_opaque(call, at));
                        at++;
                }
        }
        cr_call_release(client, call);
}

/* The same of a plain call. */
static void produce_plain(cr_client_t *client, cr_call_t *call, const cr_produce_t *produce) {
        rd_kafka_message_t *batch = client->delivery->batch;
        for (uint32_t i = 0; i < produce->count; i++)
                batch[i]._private = cr_call_opaque(call, i);
        cr_produce_together(client, produce->topic, RD_KAFKA_PARTITION_UA, produce->stick, batch,
                            (int)produce->count);
        cr_call_release(client, call);
}

static bool no_memory(cr_error_t *error, const cr_produce_t *produce) {
        cr_error_own(error, "no_memory", "no memory for %u messages", produce->count);
        return false;
}

static bool has_values_behind(const cr_produce_t *produce) {
        for (uint32_t i = 0; produce->messages && i < produce->count; i++) {
                if (produce->messages[i].value_buf)
                        return true;
        }
        return false;
}

/* What is counted, and the values that the entries own from here on. */
static void take_costs(cr_delivery_t *delivery, cr_call_t *call, const cr_produce_t *produce) {
        for (uint32_t i = 0; i < produce->count && !call->unheard; i++) {
                call->entries[i].cost = produce->messages[i].cost;
                call->entries[i].value = produce->messages[i].value_buf;
        }
        if (call->unheard)
                call->cost += produce->cost;
        delivery->messages += produce->count;
        delivery->bytes += produce->cost;
        delivery->accepted += produce->count;
}

/* The caller's number is 0 when it died before its command was carried out. */
static bool is_heard(const cr_produce_t *produce, cr_recipient_t recipient) {
        return produce->mode != CR_MODE_NONE && (recipient || produce->to == CR_TO_REPORTER);
}

/* Who hears of it; NULL when there is no memory. */
static cr_caller_t *hearer(cr_delivery_t *delivery, const cr_produce_t *produce,
                           cr_recipient_t recipient) {
        return produce->to == CR_TO_REPORTER ? &delivery->reporter
                                             : cr_delivery_caller(delivery, recipient);
}

bool cr_produce_accept(cr_client_t *client, cr_produce_t *produce, cr_recipient_t recipient,
                       cr_error_t *error) {
        cr_delivery_t *delivery = client->delivery;
        bool heard = is_heard(produce, recipient);
        cr_caller_t *caller = heard ? hearer(delivery, produce, recipient) : NULL;
        bool idle = !delivery->messages;
        cr_call_t *call;
        cr_tag_t tag = {0};
        if (!heard && produce->count == 1 && cr_stage_put(client, produce->messages))
                return true;
        if (heard && !caller)
                return no_memory(error, produce);
        if (caller && produce->mode != CR_MODE_SEND && cr_map_get(&caller->calls, produce->call)) {
                cr_error_own(error, "malformed_command", "the call's number is in use");
                return false;
        }
        if (caller && produce->mode == CR_MODE_WAIT &&
            !cr_tag_set(&tag, recipient, produce->tag, produce->tag_size))
                return no_memory(error, produce);
        if (caller && produce->mode == CR_MODE_SEND && !cr_delivery_promise(caller, produce->count))
                return no_memory(error, produce);
        if (heard || has_values_behind(produce))
                call = cr_call_new(delivery, caller, produce->mode, produce->call, produce->count);
        else
                call = cr_call_unheard(delivery, produce->count);
        if (!call) {
                cr_tag_clear(&tag);
                if (caller && produce->mode == CR_MODE_SEND)
                        caller->promised -= produce->count;
                return no_memory(error, produce);
        }
        call->tag = tag;
        take_costs(delivery, call, produce);
        cr_stage_give(client);
        if (produce->messages)
                produce_all(client, call, produce->messages, produce->count);
        else
                produce_plain(client, call, produce);
        if (idle && delivery->messages)
                cr_nudge(client);
        return true;
}
