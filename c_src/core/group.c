#include "group.h"

#include "mem.h"
#include "prefetch.h"

cr_group_t *cr_group_new(cr_client_t *client, const cr_options_t *options) {
        cr_group_t *group = cr_alloc(sizeof(*group));
        if (!group)
                return NULL;
        group->options = *options;
        cr_retired_init(&group->retired, &client->wake, &client->sockets);
        if (group->options.batch_messages > CR_SLOT_PULL)
                group->options.batch_messages = CR_SLOT_PULL;
        cr_topics_init(&group->topics);
        return group;
}

void cr_group_clear(cr_group_t *group) {
        cr_slot_t *slot;
        size_t at = 0;
        while ((slot = cr_map_next(&group->slots, &at)))
                rd_kafka_queue_destroy(cr_slot_destroy(slot));
        cr_map_clear(&group->slots);
        cr_retired_clear(&group->retired);
}

void cr_group_destroy(cr_group_t *group) {
        if (!group)
                return;
        cr_map_clear(&group->slots);
        if (group->revoked)
                rd_kafka_topic_partition_list_destroy(group->revoked);
        (void)cr_group_drop_given(group);
        if (group->early)
                rd_kafka_topic_partition_list_destroy(group->early);
        cr_topics_clear(&group->topics);
        cr_tag_clear(&group->settled);
        cr_free(group);
}

cr_slot_t *cr_group_find(const cr_group_t *group, const char *topic, int32_t partition) {
        cr_slot_t *slot;
        size_t at = 0;
        while ((slot = cr_map_next(&group->slots, &at))) {
                if (!slot->revoked && slot->partition == partition &&
                    strcmp(slot->topic, topic) == 0)
                        return slot;
        }
        return NULL;
}

/* {revoked, [Slot], Lost} */
void cr_group_tell_revoked(cr_client_t *client) {
        cr_writer_t out = cr_writer();
        cr_slot_t *slot;
        size_t at = 0;
        cr_write_tuple(&out, 3);
        cr_write_atom(&out, "revoked");
        while ((slot = cr_map_next(&client->group->slots, &at))) {
                if (!slot->revoked)
                        continue;
                cr_write_list(&out, 1);
                cr_write_integer(&out, (int64_t)slot->id);
        }
        cr_write_list_end(&out);
        cr_write_bool(&out, client->group->lost);
        cr_tell_owner(client, &out);
}

void cr_group_revoke(cr_client_t *client) {
        cr_group_t *group = client->group;
        const rd_kafka_topic_partition_list_t *partitions = group->revoked;
        int slots = 0;
        for (int i = 0; i < partitions->cnt; i++) {
                cr_slot_t *slot = cr_group_find(group, partitions->elems[i].topic,
                                                partitions->elems[i].partition);
                if (!slot)
                        continue;
                cr_slot_revoke(slot);
                slots++;
        }
        if (slots)
                cr_group_tell_revoked(client); /* the owner drains, then RELEASE */
        else
                cr_group_release(client);
        cr_group_seeks(client);
}

/* librdkafka stops fetching all partitions for a rebalance. When it goes on it
 * lets its threads sleep for up to a second, unless they are told to seek; which
 * is asked for here, without waiting for it. No position moves meanwhile: see
 * pull() in slot.c. */
void cr_group_go_on(cr_client_t *client) {
        cr_group_t *group = client->group;
        rd_kafka_topic_partition_list_t *staying =
                rd_kafka_topic_partition_list_new((int)group->slots.count);
        cr_slot_t *slot;
        size_t at = 0;
        while ((slot = cr_map_next(&group->slots, &at))) {
                if (slot->revoked || slot->wants_reset || slot->resetting || slot->unplaced)
                        continue;
                rd_kafka_topic_partition_list_add(staying, slot->topic, slot->partition)->offset =
                        cr_slot_position(slot);
                cr_source_mark(&slot->source);
        }
        if (staying->cnt && !cr_client_closing(client)) {
                rd_kafka_error_t *error = rd_kafka_seek_partitions(client->rk, staying, 0);
                if (error)
                        rd_kafka_error_destroy(error);
        }
        rd_kafka_topic_partition_list_destroy(staying);
}

void cr_group_answered(cr_client_t *client) {
        cr_group_t *group = client->group;
        if (!--group->answering && !cr_group_go_on_given(client) && group->revoked &&
            !cr_client_closing(client))
                cr_group_revoke(client);
        cr_group_commit_starts(client);
        cr_group_seeks(client);
        cr_group_settle(client);
}

void cr_group_rebalance(cr_client_t *client, rd_kafka_resp_err_t err,
                        const rd_kafka_topic_partition_list_t *partitions) {
        bool was_lost;
        client->group->rebalances++;
        if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
                client->group->assigned = true;
                if (!cr_group_must_end_first(client, partitions))
                        cr_group_assign(client, partitions);
                return;
        }
        was_lost = cr_group_drop_given(client->group);
        if (client->group->revoked)
                rd_kafka_topic_partition_list_destroy(client->group->revoked);
        client->group->revoked = rd_kafka_topic_partition_list_copy(partitions);
        client->group->lost = was_lost || rd_kafka_assignment_lost(client->rk);
        /* The job that answered the assignment may not have made its slots. */
        if (!client->group->answering)
                cr_group_revoke(client);
}

void cr_do_RELEASE(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        (void)in;
        if (client->group->revoked && !client->group->answering)
                cr_group_release(client);
        else
                cr_answer_own(client, reply, "wrong_state", "nothing is being revoked");
}

void cr_group_partition_error(cr_client_t *client, const cr_slot_t *slot, rd_kafka_resp_err_t err,
                              const char *text) {
        cr_writer_t out = cr_writer();
        cr_error_t error;
        cr_error_code(&error, err, text);
        cr_write_tuple(&out, 4);
        cr_write_atom(&out, "partition_error");
        cr_write_text(&out, slot->topic);
        cr_write_integer(&out, slot->partition);
        cr_write_error(&out, &error);
        cr_tell_owner(client, &out);
}

void cr_group_error(cr_client_t *client, rd_kafka_resp_err_t err) {
        cr_writer_t out = cr_writer();
        cr_error_t error;
        cr_error_code(&error, err, NULL);
        cr_write_error(&out, &error);
        cr_send_event(client, &out);
}

void cr_group_sweep(cr_client_t *client) {
        cr_group_t *group = client->group;
        bool draining = false;
        cr_slot_t *slot;
        size_t at = 0;
        while ((slot = cr_map_next(&group->slots, &at))) {
                if (slot->worker && slot->credit)
                        cr_source_mark(&slot->source);
                if (slot->wants_reset)
                        cr_group_reset(client, slot);
                if (slot->stalled)
                        cr_group_unstall(client, slot);
                draining |= slot->revoked;
        }
        cr_group_place(client);
        cr_group_commit_starts(client);
        cr_group_seeks(client);
        cr_group_look(client);
        cr_group_settle(client);
        cr_prefetch_sweep(client);
        (void)cr_retired_release(&group->retired);
        if (group->revoked && !group->answering && (!draining || group->release_waits))
                cr_group_release(client);
}

void cr_group_recipient_gone(cr_client_t *client, cr_recipient_t gone) {
        cr_slot_t *slot;
        size_t at = 0;
        while ((slot = cr_map_next(&client->group->slots, &at))) {
                if (slot->worker != gone)
                        continue;
                slot->worker = 0;
                slot->credit = 0;
        }
        if (client->group->settled.to == gone)
                cr_tag_clear(&client->group->settled);
}

static void answer_stale(cr_client_t *client, cr_reply_t *reply) {
        cr_answer_own(client, reply, "stale_assignment",
                      "the partition was assigned anew since this message was delivered: its "
                      "owner of today gets it again");
}

void cr_do_TAKE(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_bytes_t bytes = cr_bytes(in->data, in->size);
        uint64_t id = cr_take_u64(&bytes);
        cr_slot_t *slot = bytes.failed || !id ? NULL : cr_map_get(&client->group->slots, id);
        if (bytes.failed || bytes.at != bytes.size) {
                cr_answer_malformed(client, reply);
        } else if (!slot || slot->revoked) {
                answer_stale(client, reply);
        } else {
                slot->worker = in->caller;
                slot->credit = 0;
                cr_slot_redeliver(slot, 0, INT64_MAX);
        }
}

void cr_do_DEMAND(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_bytes_t bytes = cr_bytes(in->data, in->size);
        uint64_t id = cr_take_u64(&bytes);
        uint32_t more = cr_take_u32(&bytes);
        cr_slot_t *slot = bytes.failed || !id ? NULL : cr_map_get(&client->group->slots, id);
        if (bytes.failed || bytes.at != bytes.size) {
                cr_answer_malformed(client, reply);
        } else if (!slot || slot->worker != in->caller) {
                answer_stale(client, reply);
        } else {
                slot->credit = more > UINT32_MAX - slot->credit ? UINT32_MAX : slot->credit + more;
                (void)cr_slot_serve(client, slot);
        }
}

void cr_do_ACK(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_bytes_t bytes = cr_bytes(in->data, in->size);
        uint64_t id = cr_take_u64(&bytes);
        cr_slot_t *slot = bytes.failed || !id ? NULL : cr_map_get(&client->group->slots, id);
        if (bytes.failed || bytes.size == bytes.at || (bytes.size - bytes.at) % 16) {
                cr_answer_malformed(client, reply);
                return;
        }
        if (!slot) {
                answer_stale(client, reply);
                return;
        }
        while (bytes.at < bytes.size) {
                int64_t from = cr_take_i64(&bytes);
                int64_t to = cr_take_i64(&bytes);
                if (!cr_window_ack(&slot->window, from, to)) {
                        cr_answer_no_memory(client, reply);
                        return;
                }
        }
        cr_slot_store(slot);
        cr_group_settle(client);
        if (slot->wants_reset)
                cr_group_reset(client, slot);
        if (slot->credit && !cr_ready_is_empty(&slot->ready))
                (void)cr_slot_serve(client, slot); /* there is room again */
}

/* A slot and a range of its messages; NULL when answered. */
static cr_slot_t *take_range(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply,
                             int64_t *from, int64_t *to) {
        cr_bytes_t bytes = cr_bytes(in->data, in->size);
        uint64_t id = cr_take_u64(&bytes);
        cr_slot_t *slot;
        *from = cr_take_i64(&bytes);
        *to = cr_take_i64(&bytes);
        slot = bytes.failed || !id ? NULL : cr_map_get(&client->group->slots, id);
        if (bytes.failed || bytes.at != bytes.size)
                cr_answer_malformed(client, reply);
        else if (!slot)
                answer_stale(client, reply);
        return bytes.at == bytes.size ? slot : NULL;
}

/* {ok, [{From, To}]}: all runs within from..to that are not acknowledged. */
static void answer_runs(cr_client_t *client, cr_reply_t *reply, const cr_slot_t *slot, int64_t from,
                        int64_t to) {
        cr_window_at_t at = {.batch = TAILQ_FIRST(&slot->window.batches)};
        cr_writer_t out = cr_writer();
        int64_t first, last;
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "ok");
        while (cr_window_next_run(&at, from, to, &first, &last)) {
                cr_write_list(&out, 1);
                cr_write_tuple(&out, 2);
                cr_write_integer(&out, first);
                cr_write_integer(&out, last);
        }
        cr_write_list_end(&out);
        cr_answer(client, reply, &out);
}

void cr_do_WAITING(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        int64_t from, to;
        cr_slot_t *slot = take_range(client, in, reply, &from, &to);
        if (slot)
                answer_runs(client, reply, slot, from, to);
}

void cr_do_REDELIVER(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        int64_t from, to;
        cr_slot_t *slot = take_range(client, in, reply, &from, &to);
        if (!slot)
                return;
        if (slot->worker != in->caller || slot->revoked) {
                answer_stale(client, reply);
                return;
        }
        cr_slot_redeliver(slot, from, to);
        answer_runs(client, reply, slot, from, to);
}

/* How long ago the first message that is not acknowledged was delivered. */
static int64_t waiting_for(const cr_slot_t *slot) {
        const cr_batch_t *batch = TAILQ_FIRST(&slot->window.batches);
        return batch ? cr_now_ms() - batch->since : 0;
}

/* Behind the last message that the last fetch knew of; -1 before it. */
static int64_t known_end(const cr_slot_t *slot) {
        int64_t low, high;
        rd_kafka_resp_err_t err = rd_kafka_get_watermark_offsets(slot->client->rk, slot->topic,
                                                                 slot->partition, &low, &high);
        return err || high < 0 ? -1 : high;
}

static void write_slot(cr_writer_t *out, const cr_slot_t *slot) {
        cr_write_tuple(out, 14);
        cr_write_integer(out, (int64_t)slot->id);
        cr_write_text(out, slot->topic);
        cr_write_integer(out, slot->partition);
        cr_write_integer(out, slot->delivered);
        cr_write_integer(out, slot->stored);
        cr_write_integer(out, (int64_t)slot->window.unacked);
        cr_write_bool(out, slot->worker != 0);
        cr_write_integer(out, cr_slot_first_unacked(slot));
        cr_write_integer(out, known_end(slot));
        cr_write_integer(out, (int64_t)slot->ready.bytes);
        cr_write_bool(out, !slot->shut);
        cr_write_integer(out, waiting_for(slot));
        cr_write_integer(out, slot->credit);
        cr_write_integer(out, cr_slot_room(slot));
}

/* {ok, [{Slot, Topic, Partition, Delivered, Stored, Unacknowledged, HasWorker, FirstUnacked,
 * KnownEnd, Waiting (bytes), Fetches, FirstUnackedSinceMillis, Credit, Room}]} */
void cr_do_SLOTS(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_writer_t out = cr_writer();
        cr_slot_t *slot;
        size_t at = 0;
        (void)in;
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "ok");
        while ((slot = cr_map_next(&client->group->slots, &at))) {
                cr_write_list(&out, 1);
                write_slot(&out, slot);
        }
        cr_write_list_end(&out);
        cr_answer(client, reply, &out);
}
