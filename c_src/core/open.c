/*
 * OPEN: from a list of properties to a running client. Every property is set,
 * and all faults are answered together, before anything is started. The part
 * that may take long (TLS set-up, threads) runs on the life lane.
 */
#include <string.h>

#include "client.h"
#include "cluster.h"
#include "connections.h"
#include "delivery.h"
#include "door.h"
#include "faults.h"
#include "group.h"
#include "mem.h"
#include "options.h"
#include "pem.h"
#include "rdkafka_compat.h"
#include "sticky.h"
#include "transaction.h"

#define EVENTS                                                                                     \
        (RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_STATS |    \
         RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_OFFSET_COMMIT)

typedef struct open_job {
        cr_job_t job;
        cr_tag_t tag;
        cr_kind_t kind;
        cr_options_t options;
        rd_kafka_conf_t *conf; /* until rd_kafka_new() takes it */
        rd_kafka_t *rk;
        rd_kafka_queue_t *queue; /* of rk, until the client takes it */
        int log_level;
        cr_error_t error;
        cr_faults_t faults, warnings;
} open_job_t;

static void open_job_free(open_job_t *open) {
        if (open->conf)
                rd_kafka_conf_destroy(open->conf);
        cr_faults_free(&open->faults);
        cr_faults_free(&open->warnings);
        cr_tag_clear(&open->tag);
        cr_free(open);
}

/* Without a group there is no consumer queue, and nothing of ours works. */
static void demand_group(open_job_t *open) {
        open->queue = rd_kafka_queue_get_consumer(open->rk);
        if (open->queue)
                return;
        rd_kafka_destroy(open->rk);
        open->rk = NULL;
        cr_error_own(&open->error, "malformed_command", "a consumer needs group.id");
}

/* @locality life lane */
static void run_open(cr_client_t *client, cr_job_t *job) {
        open_job_t *open = (open_job_t *)job;
        char text[512];
        bool consumer = open->kind == CR_KIND_CONSUMER || open->kind == CR_KIND_READER;
        cr_door_pass(open->conf, &open->faults, &open->warnings);
        if (open->faults.count)
                return;
        rd_kafka_conf_set_opaque(open->conf, client);
        cr_peer_watch(open->conf);
        if (consumer)
                cr_sockets_watch(open->conf);
        if (open->kind == CR_KIND_PRODUCER)
                cr_sticky_switch_off(open->conf, &client->sticky_ms);
        open->rk = rd_kafka_new(consumer ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER, open->conf, text,
                                sizeof(text));
        if (open->rk)
                open->conf = NULL;
        else
                cr_error_code(&open->error, rd_kafka_last_error(), text);
        if (open->rk && open->kind == CR_KIND_CONSUMER)
                demand_group(open);
}

static bool make_parts(cr_client_t *client, const cr_options_t *options) {
        switch (client->kind) {
        case CR_KIND_PRODUCER:
                return cr_transaction_new(client->rk, &client->transaction) &&
                       (client->delivery = cr_delivery_new(client->rk, options)) != NULL;
        case CR_KIND_CONSUMER:
                return (client->group = cr_group_new(client, options)) != NULL;
        case CR_KIND_READER:
                if (!(client->group = cr_group_new(client, options)))
                        return false;
                client->group->out_of_range = CR_START_ERROR;
                return true;
        case CR_KIND_CLUSTER:
                return (client->cluster = cr_cluster_new(client->rk, options->brokers)) != NULL;
        case CR_KIND_NONE:
                break;
        }
        return false;
}

static void done_open(cr_client_t *client, cr_job_t *job) {
        open_job_t *open = (open_job_t *)job;
        cr_writer_t out;
        if (!open->rk) {
                client->state = CR_NEW;
                if (open->faults.count)
                        cr_faults_reply(client, &open->faults, &open->tag);
                else
                        cr_reply_error(client, &open->tag, &open->error);
                open_job_free(open);
                return;
        }
        client->rk = open->rk;
        client->kind = open->kind;
        client->log_level = open->log_level;
        if (client->kind == CR_KIND_CONSUMER) {
                rd_kafka_poll_set_consumer(client->rk);
                client->queue = open->queue;
        } else {
                client->queue = rd_kafka_queue_get_main(client->rk);
        }
        rd_kafka_set_log_queue(client->rk, client->queue);
        rd_kafka_queue_cb_event_enable(
                client->queue, (void (*)(rd_kafka_t *, void *))cr_source_event, &client->news);
        cr_source_mark(&client->news);
        client->state = CR_OPEN;
        cr_faults_send(client, &open->warnings, "certificates");
        out = cr_writer();
        if (make_parts(client, &open->options)) {
                cr_write_tuple(&out, 2);
                cr_write_atom(&out, "ok");
                cr_write_text(&out, client->cluster ? cr_cluster_bootstrap(client->cluster) : "");
                if (client->group)
                        client->ops->alarm(client->host, CR_SWEEP_MS);
        } else {
                client->kind = CR_KIND_NONE;
                cr_error_own(&open->error, "no_memory",
                             "the client could not be set up: there is no memory, or no "
                             "descriptor for an embedded broker");
                cr_write_error(&out, &open->error);
        }
        cr_reply_writer(client, &open->tag, &out);
        open_job_free(open);
}

/* What would take from us the reports and events that everything rests on; and what
 * makes librdkafka end the process when it is to refresh its own unsecured token
 * (before 2.2.0; newer ones do not refresh it where events are polled). */
static bool is_ours(const char *name) {
        return strcmp(name, "enabled_events") == 0 ||
               strcmp(name, "delivery.report.only.error") == 0 ||
               strcmp(name, "enable.sasl.oauthbearer.unsecure.jwt") == 0;
}

/* One property. An empty value unsets, as rd_kafka_conf_set() has it. */
static void set_property(open_job_t *open, cr_text_t key, cr_text_t value) {
        char text[512] = "not enough memory";
        char *name = cr_copy(key.bytes, key.size);
        char *setting = cr_copy(value.bytes, value.size);
        bool whole = setting && strlen(setting) == value.size;
        if (name && whole && cr_door_is_pem(name))
                cr_pem_unescape(setting);
        if (!name || !setting || strlen(name) != key.size)
                cr_faults_add(&open->faults, key, "not a property name");
        else if (is_ours(name))
                cr_faults_add(&open->faults, key, "is not to be set");
        else if (!whole)
                cr_faults_add(&open->faults, key, "the value contains a zero byte");
        else if (rd_kafka_conf_set(open->conf, name, setting, text, sizeof(text)) !=
                 RD_KAFKA_CONF_OK)
                cr_faults_add(&open->faults, key, text);
        cr_wipe(setting, value.size); /* it may have been a password */
        cr_free(name);
}

static cr_kind_t kind_of(const char *name) {
        if (strcmp(name, "producer") == 0)
                return CR_KIND_PRODUCER;
        if (strcmp(name, "consumer") == 0)
                return CR_KIND_CONSUMER;
        if (strcmp(name, "reader") == 0)
                return CR_KIND_READER;
        return strcmp(name, "cluster") == 0 ? CR_KIND_CLUSTER : CR_KIND_NONE;
}

/* False when the term is not as the table of commands says. */
static bool read_open(open_job_t *open, const cr_input_t *in) {
        cr_reader_t term = cr_reader(in->data, in->size);
        char kind[16];
        cr_text_t tag;
        int count;
        if (!cr_read_tuple(&term, 4))
                return false;
        tag = cr_read_binary(&term);
        cr_read_atom(&term, kind, sizeof(kind));
        open->kind = kind_of(kind);
        count = cr_read_list(&term);
        for (int i = 0; i < count && cr_read_tuple(&term, 2); i++) {
                cr_text_t key = cr_read_binary(&term);
                cr_text_t value = cr_read_binary(&term);
                if (!term.failed)
                        set_property(open, key, value);
        }
        cr_read_list_end(&term, count);
        return cr_options_read(&open->options, &term) && cr_reader_done(&term) &&
               open->kind != CR_KIND_NONE &&
               cr_tag_set(&open->tag, in->caller, tag.bytes, tag.size);
}

void cr_do_OPEN(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        open_job_t *open = cr_alloc(sizeof(*open));
        if (!open || !(open->conf = rd_kafka_conf_new())) {
                cr_free(open);
                cr_answer_no_memory(client, reply);
                return;
        }
        open->job.run = run_open;
        open->job.done = done_open;
        open->faults = cr_faults();
        open->warnings = cr_faults();
        rd_kafka_conf_set_events(open->conf, EVENTS);
        if (!read_open(open, in)) {
                cr_answer_malformed(client, reply);
        } else if (open->faults.count) {
                cr_faults_answer(client, &open->faults, reply);
        } else {
                open->log_level = open->kind == CR_KIND_CLUSTER ? CR_LOG_DEBUG
                                                                : cr_connections_watch(open->conf);
                client->owner = in->caller;
                client->state = CR_OPENING;
                if (cr_lane_submit(&client->life, &open->job))
                        return;
                client->state = CR_NEW;
                cr_answer_own(client, reply, "no_thread", "the system gave no thread");
        }
        open_job_free(open);
}
