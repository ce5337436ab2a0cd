/*
 * Questions to the cluster that librdkafka only answers by blocking: they run
 * on a lane of their own, so that nobody's report or assignment waits for them.
 * INFO, which blocks on nothing, stands here as well.
 */
#include "delivery.h"
#include "group.h"
#include "list_offsets.h"
#include "mem.h"
#include "prefetch.h"

typedef struct query_job {
        cr_job_t job;
        cr_tag_t tag;
        char *topic; /* owned; "" asks for all */
        int32_t partition;
        int millis; /* allowed */
        int64_t deadline;
        int patience; /* milliseconds that the next try has */
        int64_t low, high;
        const struct rd_kafka_metadata *metadata; /* owned */
        rd_kafka_resp_err_t err;
} query_job_t;

/* The first try's bound, and with it a close's, where a broker is quick. */
#define TRY_MS 1000

static void begin(query_job_t *query) {
        query->patience = TRY_MS;
        query->deadline = cr_now_ms() + query->millis;
}

static bool has_time(const query_job_t *query, cr_client_t *client) {
        return cr_now_ms() < query->deadline && !cr_client_closing(client);
}

/* The milliseconds that the next try has. */
static int next_try(query_job_t *query) {
        int64_t left = query->deadline - cr_now_ms();
        int millis = left < query->patience ? (int)left : query->patience;
        query->patience = cr_longer(query->patience);
        return millis > 0 ? millis : 0;
}

/* @locality query lane */
static void run_metadata(cr_client_t *client, cr_job_t *job) {
        query_job_t *query = (query_job_t *)job;
        rd_kafka_topic_t *rkt = NULL;
        if (query->topic[0] && !(rkt = rd_kafka_topic_new(client->rk, query->topic, NULL))) {
                query->err = rd_kafka_last_error();
                return;
        }
        begin(query);
        while ((query->err =
                        rd_kafka_metadata(client->rk, 0, rkt, &query->metadata, next_try(query))) &&
               has_time(query, client))
                cr_lane_pause(client);
        if (rkt)
                rd_kafka_topic_destroy(rkt);
}

static rd_kafka_resp_err_t ask_watermark(rd_kafka_t *rk, query_job_t *query, int64_t which,
                                         int64_t *offset) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_resp_err_t err;
        rd_kafka_topic_partition_list_add(list, query->topic, query->partition);
        err = cr_list_offsets(rk, list, which, next_try(query));
        *offset = list->elems[0].offset;
        rd_kafka_topic_partition_list_destroy(list);
        return err;
}

/* @locality query lane */
static void run_watermarks(cr_client_t *client, cr_job_t *job) {
        query_job_t *query = (query_job_t *)job;
        begin(query);
        do {
                query->err =
                        ask_watermark(client->rk, query, RD_KAFKA_OFFSET_BEGINNING, &query->low);
                query->job.refused = cr_client_closing(client); /* half an answer is none */
                if (!query->err && !query->job.refused)
                        query->err =
                                ask_watermark(client->rk, query, RD_KAFKA_OFFSET_END, &query->high);
        } while (query->err == RD_KAFKA_RESP_ERR__TIMED_OUT && has_time(query, client));
}

static void query_free(query_job_t *query) {
        if (query->metadata)
                rd_kafka_metadata_destroy(query->metadata);
        cr_tag_clear(&query->tag);
        cr_free(query->topic);
        cr_free(query);
}

static void write_metadata(cr_writer_t *out, const struct rd_kafka_metadata *metadata) {
        cr_write_tuple(out, 2);
        cr_write_integer(out, metadata->broker_cnt);
        cr_write_list(out, metadata->topic_cnt);
        for (int i = 0; i < metadata->topic_cnt; i++) {
                const struct rd_kafka_metadata_topic *topic = &metadata->topics[i];
                cr_write_tuple(out, 2);
                cr_write_text(out, topic->topic);
                cr_write_integer(out, topic->partition_cnt ? topic->partition_cnt : -topic->err);
        }
        cr_write_list_end(out);
}

static void done_query(cr_client_t *client, cr_job_t *job) {
        query_job_t *query = (query_job_t *)job;
        cr_writer_t out = cr_writer();
        cr_error_t error;
        if (query->job.refused) {
                cr_error_refused(&error);
                cr_write_error(&out, &error);
        } else if (query->err) {
                cr_error_code(&error, query->err, NULL);
                cr_write_error(&out, &error);
        } else {
                cr_write_tuple(&out, 2);
                cr_write_atom(&out, "ok");
                if (query->metadata) {
                        write_metadata(&out, query->metadata);
                } else {
                        cr_write_tuple(&out, 2);
                        cr_write_integer(&out, query->low);
                        cr_write_integer(&out, query->high);
                }
        }
        cr_reply_writer(client, &query->tag, &out);
        query_free(query);
}

/* librdkafka makes itself a topic that it is asked for: a producer's is then to
 * be known here as well. */
static bool know_topic(cr_client_t *client, cr_text_t name, uint32_t variant, cr_reply_t *reply) {
        cr_error_t error;
        if (!client->delivery || !name.size ||
            cr_topic_any(client, name.bytes, name.size, variant, &error))
                return true;
        cr_answer_error(client, reply, &error);
        return false;
}

/* Reads what both queries share, and submits: a partition, or else a variant. */
static void ask(cr_client_t *client, const cr_input_t *in, bool partition,
                void (*run)(cr_client_t *, cr_job_t *), cr_reply_t *reply) {
        cr_reader_t term = cr_reader(in->data, in->size);
        query_job_t *query = cr_alloc(sizeof(*query));
        cr_text_t tag = {0}, topic = {0};
        int64_t number = 0, millis = 0;
        if (query && cr_read_tuple(&term, 4)) {
                tag = cr_read_binary(&term);
                topic = cr_read_binary(&term);
                number = cr_read_integer(&term);
                millis = cr_read_integer(&term);
        }
        if (query && (!cr_reader_done(&term) || millis < 0 || millis > INT32_MAX || number < 0 ||
                      number > INT32_MAX || memchr(topic.bytes, 0, topic.size))) {
                query_free(query);
                cr_answer_malformed(client, reply);
                return;
        }
        if (query && !partition && !know_topic(client, topic, (uint32_t)number, reply)) {
                query_free(query);
                return;
        }
        if (query) {
                query->job = (cr_job_t){.run = run, .done = done_query};
                query->topic = cr_copy(topic.bytes, topic.size);
                query->partition = (int32_t)number;
                query->millis = (int)millis;
                if (query->topic && cr_tag_set(&query->tag, in->caller, tag.bytes, tag.size) &&
                    cr_lane_submit(&client->query_lane, &query->job))
                        return;
                query_free(query);
        }
        cr_answer_no_memory(client, reply);
}

void cr_do_METADATA(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        ask(client, in, false, run_metadata, reply);
}

void cr_do_WATERMARKS(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        ask(client, in, true, run_watermarks, reply);
}

static void write_pair(cr_writer_t *out, const char *name, uint64_t value) {
        cr_write_list(out, 1);
        cr_write_tuple(out, 2);
        cr_write_atom(out, name);
        cr_write_integer(out, (int64_t)value);
}

void cr_do_INFO(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        const cr_delivery_t *delivery = client->delivery;
        const cr_group_t *group = client->group;
        cr_writer_t out = cr_writer();
        (void)in;
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "ok");
        if (delivery) {
                write_pair(&out, "queue_messages", delivery->messages);
                write_pair(&out, "queue_bytes", delivery->bytes);
                write_pair(&out, "accepted", delivery->accepted);
                write_pair(&out, "reported", delivery->reported);
                write_pair(&out, "delivered", delivery->delivered);
                write_pair(&out, "waiting_callers", delivery->waiting);
                write_pair(&out, "unclaimed_reports", delivery->kept_count);
                write_pair(&out, "uncalled_reports", cr_reporter_holds(delivery));
        }
        if (group) {
                write_pair(&out, "slots", group->slots.count);
                write_pair(&out, "rebalances", group->rebalances);
                write_pair(&out, "prefetch", (uint64_t)group->options.prefetch);
                write_pair(&out, "prefetch_bytes", cr_prefetch_used(group));
                write_pair(&out, "prefetch_shut", cr_prefetch_shut_count(group));
        }
        cr_write_list_end(&out);
        cr_answer(client, reply, &out);
}
