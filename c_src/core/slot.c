#include "slot.h"

#include <string.h>
#include <time.h>

#include "group.h"
#include "mem.h"
#include "prefetch.h"
#include "reader.h"

/* Unique, whichever client: see slot.h. */
static atomic_uint_fast64_t last_id;

/* The first number follows from the time of day, 2^16 for each millisecond: a VM that
 * is started again goes on behind its old ones. They stay small integers (60 bits). */
static uint64_t next_id(void) {
        uint_fast64_t none = 0;
        struct timespec now;
        if (!atomic_load(&last_id)) {
                clock_gettime(CLOCK_REALTIME, &now);
                (void)atomic_compare_exchange_strong(
                        &last_id, &none,
                        ((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000) << 16);
        }
        return atomic_fetch_add(&last_id, 1) + 1;
}

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
        slot->id = next_id();
        slot->client = client;
        slot->partition = partition;
        slot->queue = queue;
        slot->stored = slot->delivered = start;
        slot->end = INT64_MAX;
        slot->shut = slot->paused = true;
        cr_ready_init(&slot->ready, client->ops);
        cr_window_init(&slot->window, client->ops);
        cr_source_init(&slot->source, &client->wake, slot);
        rd_kafka_queue_cb_event_enable(queue, (void (*)(rd_kafka_t *, void *))cr_source_event,
                                       &slot->source);
        return slot;
}

void cr_slot_rewind(cr_slot_t *slot, int64_t offset) {
        cr_ready_clear(&slot->ready);
        cr_window_clear(&slot->window);
        cr_window_init(&slot->window, slot->client->ops);
        /* Committed at the latest when the partition is given back. */
        slot->window.position = offset;
        slot->worker = 0;
        slot->credit = 0;
        slot->wants_reset = slot->resetting = slot->begins = slot->unplaced = false;
        slot->stored = slot->delivered = offset;
        slot->shut |= slot->gating; /* librdkafka is being told of where it was */
        slot->gating = false;
}

void cr_slot_restart(cr_slot_t *slot, int64_t offset) {
        cr_slot_revoke(slot);
        cr_slot_rewind(slot, offset);
        slot->id = next_id();
        slot->revoked = false;
}

int64_t cr_slot_first_unacked(const cr_slot_t *slot) {
        const cr_batch_t *batch = TAILQ_FIRST(&slot->window.batches);
        if (batch)
                return cr_batch_first_unacked(batch);
        return slot->window.position > slot->delivered ? slot->window.position : slot->delivered;
}

int64_t cr_slot_position(const cr_slot_t *slot) {
        return cr_ready_position(&slot->ready, slot->delivered);
}

rd_kafka_queue_t *cr_slot_destroy(cr_slot_t *slot) {
        rd_kafka_queue_t *queue = slot->queue;
        cr_prefetch_forget(slot);
        slot->client->group->lenders -= slot->lends;
        rd_kafka_queue_cb_event_enable(queue, NULL, NULL);
        cr_source_forget(&slot->source);
        cr_ready_clear(&slot->ready);
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

static uint32_t least(uint32_t a, uint32_t b) {
        return a < b ? a : b;
}

uint32_t cr_slot_room(const cr_slot_t *slot) {
        uint64_t most = (uint64_t)slot->client->group->options.max_in_flight;
        uint64_t room = most > slot->window.unacked ? most - slot->window.unacked : 0;
        return room < UINT32_MAX ? (uint32_t)room : UINT32_MAX;
}

bool cr_slot_is_halted(const cr_slot_t *slot) {
        return slot->revoked || slot->wants_reset || slot->resetting || slot->moving ||
               slot->stalled || slot->unplaced;
}

size_t cr_slot_delivered_cost(const cr_slot_t *slot) {
        return slot->window.bytes + slot->window.unacked * CR_DELIVERED_COST;
}

/* What the next batch may be; false when there may be none. */
static bool may_deliver(const cr_slot_t *slot, cr_measure_t *most) {
        const cr_group_t *group = slot->client->group;
        const cr_options_t *options = &group->options;
        size_t share = cr_prefetch_share(group), cost = cr_slot_delivered_cost(slot);
        uint32_t room = least(slot->credit, cr_slot_room(slot));
        if (!slot->worker || !room || slot->begins || group->settling || cr_slot_is_halted(slot))
                return false;
        if (slot->window.unacked && cost >= share / 2)
                return false;
        most->messages = least(room, (uint32_t)options->batch_messages);
        most->below = slot->end;
        most->bytes = (size_t)options->batch_bytes;
        most->cost = share / 2 - cost < share / 4 ? share / 2 - cost : share / 4;
        return true;
}

/* What could not be kept or sent is fetched again. */
static void fetch_again(cr_slot_t *slot) {
        cr_ready_clear(&slot->ready);
        cr_prefetch_shut(slot);
}

/* Sends one batch of what is ready; 0 when there was none, or no memory for it:
 * then the sweep tries again. */
static uint32_t deliver(cr_slot_t *slot, const cr_measure_t *most) {
        const cr_host_ops_t *ops = slot->client->ops;
        int64_t offsets[CR_SLOT_PULL];
        uint32_t count;
        size_t size;
        cr_buf_t *buf = cr_ready_take(&slot->ready, most, &size, offsets, &count);
        if (!buf)
                return 0;
        if (!cr_window_add(&slot->window, buf, size, offsets, count)) {
                ops->buf_release(buf);
                fetch_again(slot);
                return 0;
        }
        slot->credit -= count;
        slot->delivered = offsets[count - 1] + 1;
        slot->told = RD_KAFKA_RESP_ERR_NO_ERROR;
        send_batch(slot, buf, size, NULL, 0);
        ops->buf_release(buf);
        return count;
}

/* What comes in a message's place when there is none. */
static void take_error(cr_slot_t *slot, rd_kafka_message_t *message) {
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
                cr_window_end(&slot->window, message->offset);
                cr_slot_store(slot);
                cr_prefetch_lend(slot);
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
        return slot->reading &&
               (slot->delivered >= slot->end || cr_ready_next(&slot->ready) >= slot->end);
}

static uint32_t deliver_all(cr_slot_t *slot, unsigned budget) {
        cr_measure_t most;
        uint32_t sent = 0, more;
        while (sent < budget && may_deliver(slot, &most)) {
                rd_kafka_message_t *error;
                if (is_at_end(slot)) {
                        cr_reader_end(slot);
                        break;
                }
                error = cr_ready_take_error(&slot->ready);
                if (error) {
                        take_error(slot, error);
                        continue;
                }
                more = deliver(slot, &most);
                if (!more)
                        break;
                sent += more;
        }
        return sent;
}

/* Messages up to the next that is an error. */
static uint32_t run_length(rd_kafka_message_t *const *messages, uint32_t count) {
        uint32_t length = 0;
        while (length < count && !messages[length]->err)
                length++;
        return length;
}

/* Makes one thing of the first messages that waits; returns how many they were. */
static uint32_t keep(cr_slot_t *slot, rd_kafka_message_t **messages, uint32_t count) {
        const cr_options_t *options = &slot->client->group->options;
        size_t share = cr_prefetch_share(slot->client->group);
        cr_measure_t most = {.messages = (uint32_t)options->batch_messages,
                             .bytes = (size_t)options->batch_bytes};
        uint32_t kept;
        if (messages[0]->err) {
                kept = cr_ready_error(&slot->ready, messages[0]);
                if (kept)
                        messages[0] = NULL;
                return kept;
        }
        if (share / 8 < most.bytes)
                most.bytes = share / 8;
        return cr_ready_pack(&slot->ready, messages, run_length(messages, count), &most);
}

/* They are part of what is on its way, for which five eighths of the limit are: see
 * prefetch.h. */
static void retire(cr_group_t *group, rd_kafka_message_t *const *messages, uint32_t count,
                   size_t bytes) {
        size_t most = (size_t)group->options.prefetch / 4;
        cr_retired_add(&group->retired, messages, count, bytes,
                       most < CR_RETIRED_MOST ? most : CR_RETIRED_MOST);
}

/* Takes what has come. What there is no room for is dropped, and the slot shut. */
static uint32_t pull(cr_slot_t *slot) {
        rd_kafka_message_t *messages[CR_SLOT_PULL];
        size_t before = slot->ready.bytes;
        ssize_t got = rd_kafka_consume_batch_queue(slot->queue, 0, messages, CR_SLOT_PULL);
        uint32_t count = got > 0 ? (uint32_t)got : 0, kept = 0, more;
        if (count)
                cr_prefetch_news(slot, !messages[0]->err);
        while (kept < count && cr_prefetch_has_room(slot) &&
               (more = keep(slot, messages + kept, count - kept)))
                kept += more;
        if (kept < count)
                cr_prefetch_shut(slot);
        retire(slot->client->group, messages, kept, slot->ready.bytes - before);
        for (uint32_t i = kept; i < count; i++)
                rd_kafka_message_destroy(messages[i]);
        return count;
}

/* Nothing during a rebalance: librdkafka goes on at the position that the slot has
 * now (cr_group_go_on()), so what it has, or fetches, comes again. */
static bool may_pull(const cr_slot_t *slot) {
        return !slot->shut && !cr_slot_is_halted(slot) && cr_group_is_settled(slot->client->group);
}

/* What comes for a slot that is shut has no place. */
static uint32_t drop(cr_slot_t *slot) {
        rd_kafka_message_t *messages[CR_SLOT_PULL];
        ssize_t count = rd_kafka_consume_batch_queue(slot->queue, 0, messages, CR_SLOT_PULL);
        for (ssize_t i = 0; i < count; i++)
                rd_kafka_message_destroy(messages[i]);
        return count > 0 ? (uint32_t)count : 0;
}

unsigned cr_slot_serve(cr_client_t *client, cr_slot_t *slot) {
        const unsigned budget = 2 * CR_SLOT_PULL;
        unsigned pulled, spent = 1 + deliver_all(slot, budget);
        while (spent < budget && may_pull(slot) && (pulled = pull(slot))) {
                spent += pulled;
                (void)deliver_all(slot, budget);
        }
        while (spent < budget && slot->shut && !slot->gating && (pulled = drop(slot)))
                spent += pulled;
        if (spent >= budget)
                cr_source_mark(&slot->source);
        cr_prefetch_serve(slot);
        return spent + cr_retired_look(&client->group->retired);
}

void cr_slot_revoke(cr_slot_t *slot) {
        cr_packet_t packet = {.kind = CR_PACKET_SLOT_END, .slot = slot->id};
        slot->revoked = true;
        if (slot->worker)
                slot->client->ops->send(slot->client->host, slot->worker, &packet);
}

void cr_slot_redeliver(cr_slot_t *slot, int64_t from, int64_t to) {
        unsigned char mask[(CR_SLOT_PULL + 7) / 8];
        cr_batch_t *batch;
        TAILQ_FOREACH(batch, &slot->window.batches, link) {
                size_t size = cr_batch_mask_size(batch);
                memset(mask, 0xff, size);
                if (cr_batch_mask_clear(batch, mask, from, to))
                        send_batch(slot, batch->buf, batch->size, mask, size);
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
