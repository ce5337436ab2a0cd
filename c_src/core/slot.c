#include "slot.h"

#include "group.h"
#include "mem.h"
#include "reader.h"

/* Unique in the VM, whichever client: see slot.h. */
static atomic_uint_fast64_t last_id;

cr_slot_t *cr_slot_new(cr_client_t *client, const char *topic, int32_t partition,
                       rd_kafka_queue_t *queue, int64_t start) {
        cr_slot_t *slot = cr_alloc(sizeof(*slot));
        if (slot)
                slot->topic = cr_copy(topic, strlen(topic));
        if (!slot || !slot->topic) {
                cr_free(slot);
                rd_kafka_queue_destroy(queue);
                return NULL;
        }
        slot->id = atomic_fetch_add(&last_id, 1) + 1;
        slot->client = client;
        slot->partition = partition;
        slot->queue = queue;
        slot->stored = slot->delivered = start;
        slot->end = INT64_MAX;
        cr_window_init(&slot->window, client->ops);
        cr_source_init(&slot->source, &client->wake, slot);
        rd_kafka_queue_cb_event_enable(queue, (void (*)(rd_kafka_t *, void *))cr_source_event,
                                       &slot->source);
        return slot;
}

static void drop_held(cr_slot_t *slot) {
        while (slot->held_at < slot->held_count)
                rd_kafka_message_destroy(slot->held[slot->held_at++]);
}

void cr_slot_rewind(cr_slot_t *slot, int64_t offset) {
        drop_held(slot);
        cr_window_clear(&slot->window);
        cr_window_init(&slot->window, slot->client->ops);
        /* Committed at the latest when the partition is given back. */
        slot->window.position = offset;
        slot->worker = 0;
        slot->credit = 0;
        slot->wants_reset = slot->resetting = slot->begins = false;
        slot->stored = slot->delivered = offset;
}

void cr_slot_restart(cr_slot_t *slot, int64_t offset) {
        cr_slot_revoke(slot);
        cr_slot_rewind(slot, offset);
        slot->id = atomic_fetch_add(&last_id, 1) + 1;
        slot->revoked = false;
}

int64_t cr_slot_first_unacked(const cr_slot_t *slot) {
        const cr_batch_t *batch = TAILQ_FIRST(&slot->window.batches);
        if (batch)
                return cr_batch_first_unacked(batch);
        return slot->window.position > slot->delivered ? slot->window.position : slot->delivered;
}

int64_t cr_slot_position(const cr_slot_t *slot) {
        for (uint32_t i = slot->held_count; i > slot->held_at; i--) {
                if (!slot->held[i - 1]->err)
                        return slot->held[i - 1]->offset + 1;
        }
        return slot->delivered;
}

rd_kafka_queue_t *cr_slot_destroy(cr_slot_t *slot) {
        rd_kafka_queue_t *queue = slot->queue;
        rd_kafka_queue_cb_event_enable(queue, NULL, NULL);
        cr_source_forget(&slot->source);
        drop_held(slot);
        cr_window_clear(&slot->window);
        if (slot->reading)
                rd_kafka_topic_destroy(slot->reading);
        cr_free(slot->topic);
        cr_free(slot);
        return queue;
}

void cr_slot_drain(rd_kafka_queue_t *queue) {
        rd_kafka_message_t *messages[64];
        ssize_t count;
        while ((count = rd_kafka_consume_batch_queue(queue, 0, messages, 64)) > 0) {
                for (ssize_t i = 0; i < count; i++)
                        rd_kafka_message_destroy(messages[i]);
        }
}

static void send_batch(cr_slot_t *slot, cr_buf_t *buf, size_t size, const unsigned char *mask,
                       size_t mask_size) {
        cr_packet_t packet = {.kind = CR_PACKET_BATCH,
                              .slot = slot->id,
                              .bytes = buf,
                              .size = size,
                              .mask = mask,
                              .mask_size = mask_size};
        slot->client->ops->send(slot->client->host, slot->worker, &packet);
}

/* Messages from the first held one on that are messages, not errors, and lie
 * before the slot's end. */
static uint32_t run_length(const cr_slot_t *slot, uint32_t most) {
        rd_kafka_message_t *const *next = &slot->held[slot->held_at];
        uint32_t held = slot->held_count - slot->held_at, length = 0;
        while (length < most && length < held && !next[length]->err &&
               next[length]->offset < slot->end)
                length++;
        return length;
}

/* Sends one batch of what is held; 0 when there was no memory for it: the
 * messages stay held and the sweep tries again. */
static uint32_t deliver(cr_slot_t *slot) {
        const cr_options_t *options = &slot->client->group->options;
        uint32_t most = slot->credit < options->batch_messages ? slot->credit
                                                               : (uint32_t)options->batch_messages;
        rd_kafka_message_t **from = &slot->held[slot->held_at];
        int64_t offsets[CR_SLOT_PULL];
        uint32_t count, run = run_length(slot, most);
        size_t size;
        cr_buf_t *buf = cr_batch_pack(slot->client->ops, from, run, (size_t)options->batch_bytes,
                                      &count, &size);
        if (!buf)
                return 0;
        for (uint32_t i = 0; i < count; i++)
                offsets[i] = from[i]->offset;
        if (!cr_window_add(&slot->window, buf, size, offsets, count)) {
                slot->client->ops->buf_release(buf);
                return 0;
        }
        slot->credit -= count;
        slot->held_at += count;
        slot->delivered = offsets[count - 1] + 1;
        slot->told = RD_KAFKA_RESP_ERR_NO_ERROR;
        send_batch(slot, buf, size, NULL, 0);
        slot->client->ops->buf_release(buf);
        for (uint32_t i = 0; i < count; i++)
                rd_kafka_message_destroy(from[i]);
        return count;
}

/* What comes in a message's place when there is none. */
static void take_error(cr_slot_t *slot) {
        rd_kafka_message_t *message = slot->held[slot->held_at++];
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
                cr_window_end(&slot->window, message->offset);
                cr_slot_store(slot);
        } else if (message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
                cr_group_reset(slot->client, slot);
        } else if (message->err != slot->told) {
                slot->told = message->err;
                cr_group_partition_error(slot->client, slot, message->err,
                                         rd_kafka_message_errstr(message));
        }
        rd_kafka_message_destroy(message);
}

/* The slot's end is met by position, by a message behind it, or by the end of
 * the partition; not by the message before it, for there may be none: control
 * records, aborted transactions and compaction leave offsets without. */
static bool is_at_end(const cr_slot_t *slot) {
        const rd_kafka_message_t *next =
                slot->held_at < slot->held_count ? slot->held[slot->held_at] : NULL;
        if (slot->delivered >= slot->end)
                return true;
        return next && next->offset >= slot->end &&
               (!next->err || next->err == RD_KAFKA_RESP_ERR__PARTITION_EOF);
}

/* Nothing during a rebalance: librdkafka goes on at the position that the slot has
 * now (cr_group_go_on()), so what it has, or fetches, comes again. */
static bool pull(cr_slot_t *slot) {
        uint32_t most = slot->credit < CR_SLOT_PULL ? slot->credit : CR_SLOT_PULL;
        ssize_t count;
        if (!cr_group_is_settled(slot->client->group))
                return false;
        count = rd_kafka_consume_batch_queue(slot->queue, 0, slot->held, most);
        slot->held_at = 0;
        slot->held_count = count > 0 ? (uint32_t)count : 0;
        return count > 0;
}

/* Its start is not committed yet, or what is in the queue lies elsewhere. */
static bool is_halted(const cr_slot_t *slot) {
        return slot->resetting || slot->moving || slot->stalled || slot->begins;
}

unsigned cr_slot_serve(cr_client_t *client, cr_slot_t *slot) {
        const unsigned budget = 2 * CR_SLOT_PULL;
        unsigned spent = 1;
        (void)client;
        while (slot->worker && slot->credit && !slot->revoked && !is_halted(slot)) {
                bool more = slot->held_at < slot->held_count || pull(slot);
                uint32_t sent;
                if (is_at_end(slot))
                        cr_reader_end(slot);
                if (!more || slot->revoked)
                        break;
                if (spent >= budget) {
                        cr_source_mark(&slot->source);
                        break;
                }
                if (slot->held[slot->held_at]->err) {
                        take_error(slot);
                        continue;
                }
                sent = deliver(slot);
                if (!sent)
                        break;
                spent += sent;
        }
        return spent;
}

void cr_slot_revoke(cr_slot_t *slot) {
        cr_packet_t packet = {.kind = CR_PACKET_SLOT_END, .slot = slot->id};
        slot->revoked = true;
        if (slot->worker)
                slot->client->ops->send(slot->client->host, slot->worker, &packet);
}

void cr_slot_redeliver(cr_slot_t *slot) {
        cr_batch_t *batch;
        TAILQ_FOREACH(batch, &slot->window.batches, link) {
                size_t size = cr_batch_mask_size(batch);
                unsigned char *mask = cr_alloc(size);
                if (!mask)
                        return; /* the worker's restart will be tried again */
                cr_batch_mask(batch, mask);
                send_batch(slot, batch->buf, batch->size, mask, size);
                cr_free(mask);
        }
}

void cr_slot_store(cr_slot_t *slot) {
        int64_t position = cr_window_position(&slot->window);
        rd_kafka_topic_partition_list_t *list;
        if (position <= slot->stored)
                return;
        if (slot->client->group->options.commits != CR_COMMITS_ACKNOWLEDGED) {
                slot->stored = position;
                return;
        }
        list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_list_add(list, slot->topic, slot->partition)->offset = position;
        /* Refused only when the partition is being taken away: what is not
         * committed then goes to the next owner. */
        if (!rd_kafka_offsets_store(slot->client->rk, list))
                slot->stored = position;
        rd_kafka_topic_partition_list_destroy(list);
}
