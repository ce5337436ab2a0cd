/*
 * What a diagnosis asks of a cluster: brokers and topics as they are described to
 * clients, whether a topic can be read, and what the user may do. librdkafka
 * blocks while it asks, so all of it runs on the query lane.
 */
#include "inspect.h"

#include <string.h>

#include "list_offsets.h"
#include "mem.h"
#include "rdkafka_compat.h"

/* The first try's bound, and with it a close's. */
#define TRY_MS 250

int cr_inspect_left(const cr_inspect_t *ask) {
        int64_t left = ask->deadline - cr_now_ms();
        return left > 0 ? (int)left : 0;
}

static bool has_time(const cr_inspect_t *ask, cr_client_t *client) {
        return cr_inspect_left(ask) > 0 && !cr_client_closing(client);
}

static void write_brokers(cr_writer_t *out, const struct rd_kafka_metadata *metadata) {
        cr_write_list(out, metadata->broker_cnt);
        for (int i = 0; i < metadata->broker_cnt; i++) {
                const struct rd_kafka_metadata_broker *broker = &metadata->brokers[i];
                cr_write_tuple(out, 3);
                cr_write_integer(out, broker->id);
                cr_write_text(out, broker->host);
                cr_write_integer(out, broker->port);
        }
        cr_write_list_end(out);
}

static void write_topic(cr_writer_t *out, const struct rd_kafka_metadata_topic *topic) {
        cr_error_t error;
        cr_write_tuple(out, 3);
        cr_write_text(out, topic->topic);
        if (topic->err) {
                cr_error_code(&error, topic->err, NULL);
                cr_write_error(out, &error);
        } else {
                cr_write_atom(out, "ok");
        }
        cr_write_list(out, topic->partition_cnt);
        for (int i = 0; i < topic->partition_cnt; i++) {
                const struct rd_kafka_metadata_partition *partition = &topic->partitions[i];
                cr_write_tuple(out, 4);
                cr_write_integer(out, partition->id);
                cr_write_integer(out, partition->leader);
                cr_write_integer(out, partition->replica_cnt);
                cr_write_integer(out, partition->isr_cnt);
        }
        cr_write_list_end(out);
}

static void write_description(cr_writer_t *out, const struct rd_kafka_metadata *metadata) {
        cr_write_tuple(out, 2);
        write_brokers(out, metadata);
        cr_write_list(out, metadata->topic_cnt);
        for (int i = 0; i < metadata->topic_cnt; i++)
                write_topic(out, &metadata->topics[i]);
        cr_write_list_end(out);
}

/* @locality query lane */
static void run_describe(cr_client_t *client, cr_job_t *job) {
        cr_inspect_t *ask = (cr_inspect_t *)job;
        const struct rd_kafka_metadata *metadata = NULL;
        rd_kafka_topic_t *topic = NULL;
        rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
        int patience = TRY_MS;
        if (ask->name[0] && !(topic = rd_kafka_topic_new(client->rk, ask->name, NULL)))
                err = rd_kafka_last_error();
        while (!err && !metadata) {
                int left = cr_inspect_left(ask);
                err = rd_kafka_metadata(client->rk, ask->number, topic, &metadata,
                                        left < patience ? left : patience);
                patience = cr_longer(patience);
                if (err && has_time(ask, client)) {
                        err = RD_KAFKA_RESP_ERR_NO_ERROR;
                        cr_lane_pause(client);
                }
        }
        if (topic)
                rd_kafka_topic_destroy(topic);
        if (metadata) {
                write_description(&ask->out, metadata);
                rd_kafka_metadata_destroy(metadata);
        } else {
                cr_error_code(&ask->error, err, NULL);
        }
}

/* The first thing that comes of the partition: a message, its end, or an error. */
static rd_kafka_resp_err_t first_of(cr_client_t *client, const cr_inspect_t *ask,
                                    rd_kafka_queue_t *queue) {
        rd_kafka_message_t *message = NULL;
        rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__TIMED_OUT;
        while (!message && has_time(ask, client))
                message = rd_kafka_consume_queue(queue, CR_SLICE_MS);
        if (message) {
                err = message->err;
                rd_kafka_message_destroy(message);
        }
        return err == RD_KAFKA_RESP_ERR__PARTITION_EOF ? RD_KAFKA_RESP_ERR_NO_ERROR : err;
}

/* A fetch, which alone asks for the right to read. @locality query lane */
static void run_readable(cr_client_t *client, cr_job_t *job) {
        cr_inspect_t *ask = (cr_inspect_t *)job;
        rd_kafka_queue_t *queue = rd_kafka_queue_new(client->rk);
        rd_kafka_topic_t *topic = rd_kafka_topic_new(client->rk, ask->name, NULL);
        rd_kafka_resp_err_t err;
        if (topic &&
            rd_kafka_consume_start_queue(topic, ask->number, RD_KAFKA_OFFSET_END, queue) == 0) {
                err = first_of(client, ask, queue);
                rd_kafka_consume_stop(topic, ask->number);
        } else {
                err = rd_kafka_last_error();
        }
        if (topic)
                rd_kafka_topic_destroy(topic);
        rd_kafka_queue_destroy(queue);
        if (err)
                cr_error_code(&ask->error, err, NULL);
        else
                cr_write_bool(&ask->out, true);
}

rd_kafka_event_t *cr_inspect_wait(cr_client_t *client, cr_inspect_t *ask, rd_kafka_queue_t *queue) {
        rd_kafka_event_t *event = NULL;
        while (!event && has_time(ask, client))
                event = rd_kafka_queue_poll(queue, CR_SLICE_MS);
        if (event && !rd_kafka_event_error(event))
                return event;
        if (event)
                cr_error_code(&ask->error, rd_kafka_event_error(event),
                              rd_kafka_event_error_string(event));
        else
                cr_error_code(&ask->error, RD_KAFKA_RESP_ERR__TIMED_OUT, NULL);
        if (event)
                rd_kafka_event_destroy(event);
        return NULL;
}

static void take_operations(cr_inspect_t *ask, rd_kafka_event_t *event) {
        const rd_kafka_error_t *error = NULL;
        const rd_kafka_AclOperation_t *operations;
        size_t count;
        operations = cr_operations(event, ask->number, &count, &error);
        if (error && rd_kafka_error_code(error)) {
                cr_error_code(&ask->error, rd_kafka_error_code(error),
                              rd_kafka_error_string(error));
                return;
        }
        cr_write_list(&ask->out, (int)count);
        for (size_t i = 0; i < count; i++)
                cr_write_text(&ask->out, rd_kafka_AclOperation_name(operations[i]));
        cr_write_list_end(&ask->out);
}

/* @locality query lane */
static void run_operations(cr_client_t *client, cr_job_t *job) {
        cr_inspect_t *ask = (cr_inspect_t *)job;
        rd_kafka_queue_t *queue = rd_kafka_queue_new(client->rk);
        rd_kafka_event_t *event = NULL;
        if (!cr_ask_operations(client->rk, ask->name, ask->number, cr_inspect_left(ask), queue))
                cr_error_code(&ask->error, RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE, NULL);
        else if ((event = cr_inspect_wait(client, ask, queue)))
                take_operations(ask, event);
        if (event)
                rd_kafka_event_destroy(event);
        rd_kafka_queue_destroy(queue);
}

static void inspect_free(cr_inspect_t *ask) {
        cr_tag_clear(&ask->tag);
        cr_free(ask->name);
        cr_free(ask);
}

static void done_inspect(cr_client_t *client, cr_job_t *job) {
        cr_inspect_t *ask = (cr_inspect_t *)job;
        if (ask->job.refused)
                cr_error_refused(&ask->error);
        if (ask->error.set) {
                cr_writer_discard(&ask->out);
                cr_reply_error(client, &ask->tag, &ask->error);
        } else {
                cr_reply_writer(client, &ask->tag, &ask->out);
        }
        inspect_free(ask);
}

/* False when it is not of the form, or there is no memory for it. */
static bool read_inspect(cr_inspect_t *ask, const cr_input_t *in) {
        cr_reader_t term = cr_reader(in->data, in->size);
        cr_text_t tag, name;
        int64_t number, millis;
        if (!cr_read_tuple(&term, 4))
                return false;
        tag = cr_read_binary(&term);
        name = cr_read_binary(&term);
        number = cr_read_integer(&term);
        millis = cr_read_integer(&term);
        if (!cr_reader_done(&term) || memchr(name.bytes, 0, name.size) || number < 0 ||
            number > INT32_MAX || millis < 0 || millis > INT32_MAX)
                return false;
        ask->number = (int32_t)number;
        ask->millis = (int)millis;
        ask->deadline = cr_now_ms() + millis;
        return (ask->name = cr_copy(name.bytes, name.size)) &&
               cr_tag_set(&ask->tag, in->caller, tag.bytes, tag.size);
}

void cr_inspect(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply,
                void (*run)(cr_client_t *, cr_job_t *), bool named) {
        cr_inspect_t *ask = cr_alloc(sizeof(*ask));
        if (!ask) {
                cr_answer_no_memory(client, reply);
                return;
        }
        ask->job = (cr_job_t){.run = run, .done = done_inspect};
        if (!read_inspect(ask, in) || (named && !ask->name[0])) {
                cr_answer_malformed(client, reply);
                inspect_free(ask);
                return;
        }
        ask->out = cr_writer();
        cr_write_tuple(&ask->out, 2);
        cr_write_atom(&ask->out, "ok");
        if (cr_lane_submit(&client->query_lane, &ask->job))
                return;
        cr_answer_own(client, reply, "no_thread", "the system gave no thread");
        cr_writer_discard(&ask->out);
        inspect_free(ask);
}

void cr_do_DESCRIBE(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_inspect(client, in, reply, run_describe, false);
}

void cr_do_READABLE(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        if (!cr_client_reads(client, CR_READS_ALONE, reply))
                return;
        cr_inspect(client, in, reply, run_readable, true);
}

void cr_do_OPERATIONS(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_inspect(client, in, reply, run_operations, true);
}
