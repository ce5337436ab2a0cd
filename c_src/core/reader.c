#include "reader.h"

#include "group.h"
#include "mem.h"

/* One element of ASSIGN. */
typedef struct place {
        cr_text_t topic; /* borrowed from the command */
        int64_t partition, from, to;
} place_t;

typedef struct end_job {
        cr_job_t job;
        uint64_t slot;
        rd_kafka_topic_t *topic; /* borrowed from the slot, which waits for the job */
        int32_t partition;
        rd_kafka_queue_t *queue; /* likewise */
} end_job_t;

/* @locality group lane. A slot that has ended is served no more, so its queue
 * is this job's; what is left in it would keep its memory until the end. */
static void run_end(cr_client_t *client, cr_job_t *job) {
        end_job_t *end = (end_job_t *)job;
        (void)client;
        (void)rd_kafka_consume_stop(end->topic, end->partition);
        cr_slot_drain(end->queue);
}

static void run_nothing(cr_client_t *client, cr_job_t *job) {
        (void)client;
        (void)job;
}

static void done_end(cr_client_t *client, cr_job_t *job) {
        end_job_t *end = (end_job_t *)job;
        cr_slot_t *slot;
        /* The slot may be part of the job of prefetch.c: it goes behind that. */
        if (client->group->gates_out) {
                job->run = run_nothing;
                if (!cr_lane_submit(&client->prefetch_lane, job))
                        cr_free(end);
                return;
        }
        slot = cr_map_remove(&client->group->slots, end->slot);
        if (slot)
                rd_kafka_queue_destroy(cr_slot_destroy(slot));
        cr_free(end);
}

void cr_reader_end(cr_slot_t *slot) {
        end_job_t *end = cr_alloc(sizeof(*end));
        cr_slot_revoke(slot);
        if (!end)
                return; /* it stays, silent, until the client ends */
        end->job = (cr_job_t){.run = run_end, .done = done_end};
        end->slot = slot->id;
        end->topic = slot->reading;
        end->partition = slot->partition;
        end->queue = slot->queue;
        if (!cr_lane_submit(&slot->client->group_lane, &end->job))
                cr_free(end);
}

void cr_reader_stop(cr_client_t *client) {
        cr_slot_t *slot;
        size_t at = 0;
        while ((slot = cr_map_next(&client->group->slots, &at))) {
                if (slot->reading)
                        (void)rd_kafka_consume_stop(slot->reading, slot->partition);
        }
}

/* To | infinity */
static int64_t read_to(cr_reader_t *term) {
        cr_reader_t integer = *term;
        int64_t to = cr_read_integer(&integer);
        char name[16];
        if (!integer.failed) {
                *term = integer;
                return to;
        }
        cr_read_atom(term, name, sizeof(name));
        if (strcmp(name, "infinity") != 0)
                term->failed = true;
        return INT64_MAX;
}

static bool read_place(cr_reader_t *term, place_t *place) {
        if (!cr_read_tuple(term, 4))
                return false;
        place->topic = cr_read_binary(term);
        place->partition = cr_read_integer(term);
        place->from = cr_read_integer(term);
        place->to = read_to(term);
        return !term->failed && place->topic.size &&
               !memchr(place->topic.bytes, 0, place->topic.size) && place->partition >= 0 &&
               place->partition <= INT32_MAX && place->from >= 0 && place->to >= 0;
}

/* The number of places; -1 when they are not as the table of commands says. */
static int count_places(cr_reader_t term) {
        place_t place;
        int count = cr_read_list(&term);
        for (int i = 0; i < count; i++) {
                if (!read_place(&term, &place))
                        return -1;
        }
        cr_read_list_end(&term, count);
        return cr_reader_done(&term) ? count : -1;
}

static bool is_read(const cr_group_t *group, const char *topic, int64_t partition) {
        const cr_slot_t *slot;
        size_t at = 0;
        while ((slot = cr_map_next(&group->slots, &at))) {
                if (slot->partition == partition && strcmp(slot->topic, topic) == 0)
                        return true;
        }
        return false;
}

/* Takes the topic's handle. */
static cr_slot_t *new_slot(cr_client_t *client, const char *name, const place_t *place,
                           rd_kafka_topic_t *topic) {
        cr_slot_t *slot = cr_slot_new(client, name, (int32_t)place->partition,
                                      rd_kafka_queue_new(client->rk), place->from);
        if (!slot) {
                rd_kafka_topic_destroy(topic);
                return NULL;
        }
        slot->reading = topic;
        slot->shut = slot->paused = false; /* nothing of it is on its way yet */
        slot->end = place->to;
        if (cr_map_put(&client->group->slots, slot->id, slot))
                return slot;
        rd_kafka_queue_destroy(cr_slot_destroy(slot));
        return NULL;
}

/* Begins to read: sets the slot's number, or an error. */
static void start(cr_client_t *client, const char *name, const place_t *place, cr_error_t *error,
                  uint64_t *id) {
        rd_kafka_topic_t *topic;
        cr_slot_t *slot;
        if (is_read(client->group, name, place->partition)) {
                cr_error_own(error, "wrong_state", "%s [%d] is being read", name,
                             (int)place->partition);
                return;
        }
        topic = rd_kafka_topic_new(client->rk, name, NULL);
        if (!topic) {
                cr_error_code(error, rd_kafka_last_error(), NULL);
                return;
        }
        slot = new_slot(client, name, place, topic);
        if (!slot) {
                cr_error_own(error, "no_memory", "no memory for a slot");
                return;
        }
        *id = slot->id;
        if (!rd_kafka_consume_start_queue(topic, slot->partition, place->from, slot->queue))
                return;
        cr_error_code(error, rd_kafka_last_error(), NULL);
        cr_map_remove(&client->group->slots, slot->id);
        rd_kafka_queue_destroy(cr_slot_destroy(slot));
}

static void write_start(cr_client_t *client, const place_t *place, cr_writer_t *out) {
        char *name = cr_copy(place->topic.bytes, place->topic.size);
        cr_error_t error = {0};
        uint64_t id = 0;
        if (name)
                start(client, name, place, &error, &id);
        else
                cr_error_own(&error, "no_memory", "no memory for a slot");
        cr_free(name);
        if (error.set)
                cr_write_error(out, &error);
        else
                cr_write_integer(out, (int64_t)id);
}

void cr_do_ASSIGN(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_reader_t term = cr_reader(in->data, in->size);
        cr_writer_t out;
        place_t place;
        int count = count_places(term);
        if (!cr_client_reads(client, CR_READS_ASSIGNED, reply))
                return;
        if (count < 0) {
                cr_answer_malformed(client, reply);
                return;
        }
        out = cr_writer();
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "ok");
        (void)cr_read_list(&term);
        for (int i = 0; i < count && read_place(&term, &place); i++) {
                cr_write_list(&out, 1);
                write_start(client, &place, &out);
        }
        cr_write_list_end(&out);
        cr_answer(client, reply, &out);
}
