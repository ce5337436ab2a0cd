/*
 * A partition whose next offset is no longer in the log. It is never moved in
 * silence: the event names the range that is lost, and the new position is
 * committed like one that was resolved at the start.
 */
#include "group.h"
#include "mem.h"

typedef struct reset_job {
        cr_job_t job;
        uint64_t slot;
        char *topic; /* owned */
        int32_t partition;
        cr_start_t policy;
        int64_t from, to;
        cr_error_t error;
} reset_job_t;

static void seek(cr_client_t *client, reset_job_t *reset) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_list_add(list, reset->topic, reset->partition)->offset = reset->to;
        cr_error_take(&reset->error, rd_kafka_seek_partitions(client->rk, list, 10 * CR_SLICE_MS));
        if (!reset->error.set && list->elems[0].err)
                cr_error_code(&reset->error, list->elems[0].err, NULL);
        if (!reset->error.set)
                (void)cr_commit_wait(client, list, 50 * CR_SLICE_MS);
        rd_kafka_topic_partition_list_destroy(list);
}

/* @locality group lane */
static void run_reset(cr_client_t *client, cr_job_t *job) {
        reset_job_t *reset = (reset_job_t *)job;
        int64_t low, high;
        rd_kafka_resp_err_t err = rd_kafka_query_watermark_offsets(
                client->rk, reset->topic, reset->partition, &low, &high, 10 * CR_SLICE_MS);
        if (err) {
                cr_error_code(&reset->error, err, NULL);
                return;
        }
        reset->to = reset->policy == CR_START_LATEST ? high : low;
        if (reset->policy == CR_START_ERROR)
                cr_error_own(&reset->error, "offset_out_of_range",
                             "%s [%d]: offset %lld is not in the log, which holds %lld to %lld",
                             reset->topic, (int)reset->partition, (long long)reset->from,
                             (long long)low, (long long)high);
        else
                seek(client, reset);
}

/* {offset_reset, Topic, Partition, From, To} or a partition_error */
static void tell(cr_client_t *client, const cr_slot_t *slot, const reset_job_t *reset) {
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, reset->error.set ? 4 : 5);
        cr_write_atom(&out, reset->error.set ? "partition_error" : "offset_reset");
        cr_write_text(&out, slot->topic);
        cr_write_integer(&out, slot->partition);
        if (reset->error.set) {
                cr_write_error(&out, &reset->error);
        } else {
                cr_write_integer(&out, reset->from);
                cr_write_integer(&out, reset->to);
        }
        cr_send_event(client, &out);
}

static void reset_free(reset_job_t *reset) {
        cr_free(reset->topic);
        cr_free(reset);
}

static void done_reset(cr_client_t *client, cr_job_t *job) {
        reset_job_t *reset = (reset_job_t *)job;
        cr_slot_t *slot = cr_map_get(&client->group->slots, reset->slot);
        if (slot) {
                slot->resetting = false;
                if (!reset->error.set)
                        slot->stored = slot->delivered = reset->to;
                tell(client, slot, reset);
        }
        reset_free(reset);
}

void cr_group_reset(cr_client_t *client, cr_slot_t *slot) {
        reset_job_t *reset = slot->resetting ? NULL : cr_alloc(sizeof(*reset));
        if (!reset)
                return;
        reset->job = (cr_job_t){.run = run_reset, .done = done_reset};
        reset->slot = slot->id;
        reset->topic = cr_copy(slot->topic, strlen(slot->topic));
        reset->partition = slot->partition;
        reset->policy = client->group->out_of_range;
        reset->from = slot->delivered;
        slot->resetting = true;
        if (reset->topic && cr_lane_submit(&client->group_lane, &reset->job))
                return;
        slot->resetting = false;
        reset_free(reset);
}
