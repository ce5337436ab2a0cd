#include "cluster.h"

#include <strings.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client.h"
#include "mem.h"
#include "rdkafka_compat.h"

struct cr_cluster {
        rd_kafka_mock_cluster_t *mock; /* owned; freed before the rd_kafka_t */
        int brokers;                   /* their ids are 1 to this */
};

/* librdkafka ends the process when it gets too few descriptors for its mock
 * brokers: so they are tried for before. */
static bool has_descriptors(int brokers) {
        int tried[3 * CR_MOST_BROKERS + 8];
        int wanted = 3 * brokers + 8, got = 0;
        while (got < wanted && (tried[got] = eventfd(0, EFD_CLOEXEC)) >= 0)
                got++;
        for (int i = 0; i < got; i++)
                close(tried[i]);
        return got == wanted;
}

cr_cluster_t *cr_cluster_new(rd_kafka_t *rk, int64_t brokers) {
        cr_cluster_t *cluster;
        if (brokers > CR_MOST_BROKERS || !has_descriptors((int)brokers))
                return NULL;
        cluster = cr_alloc(sizeof(*cluster));
        if (!cluster)
                return NULL;
        cluster->brokers = (int)brokers;
        cluster->mock = rd_kafka_mock_cluster_new(rk, (int)brokers);
        if (!cluster->mock) {
                cr_free(cluster);
                return NULL;
        }
        return cluster;
}

void cr_cluster_destroy(cr_cluster_t *cluster) {
        if (!cluster)
                return;
        if (cluster->mock)
                rd_kafka_mock_cluster_destroy(cluster->mock);
        cr_free(cluster);
}

const char *cr_cluster_bootstrap(const cr_cluster_t *cluster) {
        return rd_kafka_mock_cluster_bootstraps(cluster->mock);
}

/* That an answer of a broker's may be late. */
#define MOST_MILLIS 60000

typedef struct topic_job {
        cr_job_t job;
        cr_tag_t tag;
        rd_kafka_mock_cluster_t *mock;
        char *topic; /* owned */
        int partitions;
        rd_kafka_resp_err_t err;
} topic_job_t;

/* @locality life lane: the request waits for the mock's own thread */
static void run_topic(cr_client_t *client, cr_job_t *job) {
        topic_job_t *topic = (topic_job_t *)job;
        (void)client;
        topic->err = rd_kafka_mock_topic_create(topic->mock, topic->topic, topic->partitions, 1);
}

static void done_topic(cr_client_t *client, cr_job_t *job) {
        topic_job_t *topic = (topic_job_t *)job;
        cr_error_t error = {0};
        if (topic->err) {
                cr_error_code(&error, topic->err, NULL);
                cr_reply_error(client, &topic->tag, &error);
        } else {
                cr_reply_ok(client, &topic->tag);
        }
        cr_free(topic->topic);
        cr_free(topic);
}

void cr_do_MOCK_TOPIC(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_reader_t term = cr_reader(in->data, in->size);
        topic_job_t *job;
        cr_text_t tag, topic;
        int64_t partitions;
        if (!cr_read_tuple(&term, 3)) {
                cr_answer_malformed(client, reply);
                return;
        }
        tag = cr_read_binary(&term);
        topic = cr_read_binary(&term);
        partitions = cr_read_integer(&term);
        if (!cr_reader_done(&term) || partitions < 1 || partitions > 100000) {
                cr_answer_malformed(client, reply);
                return;
        }
        job = cr_alloc(sizeof(*job));
        if (job) {
                *job = (topic_job_t){.job = {.run = run_topic, .done = done_topic},
                                     .mock = client->cluster->mock,
                                     .topic = cr_copy(topic.bytes, topic.size),
                                     .partitions = (int)partitions};
                if (job->topic && cr_tag_set(&job->tag, in->caller, tag.bytes, tag.size) &&
                    cr_lane_submit(&client->life, &job->job))
                        return;
                cr_tag_clear(&job->tag);
                cr_free(job->topic);
                cr_free(job);
        }
        cr_answer_no_memory(client, reply);
}

typedef rd_kafka_resp_err_t (*broker_change_t)(rd_kafka_mock_cluster_t *, int32_t broker);

typedef struct broker_job {
        cr_job_t job;
        cr_tag_t tag;
        rd_kafka_mock_cluster_t *mock;
        int32_t broker;         /* -1: each */
        broker_change_t change; /* NULL: of its time */
        int millis;
        rd_kafka_resp_err_t err;
} broker_job_t;

/* @locality life lane, as run_topic() */
static void run_broker(cr_client_t *client, cr_job_t *job) {
        broker_job_t *asked = (broker_job_t *)job;
        (void)client;
        asked->err = asked->change ? asked->change(asked->mock, asked->broker)
                                   : rd_kafka_mock_broker_set_rtt(asked->mock, asked->broker,
                                                                  asked->millis);
}

static void done_broker(cr_client_t *client, cr_job_t *job) {
        broker_job_t *asked = (broker_job_t *)job;
        cr_error_t error = {0};
        if (asked->err) {
                cr_error_code(&error, asked->err, NULL);
                cr_reply_error(client, &asked->tag, &error);
        } else {
                cr_reply_ok(client, &asked->tag);
        }
        cr_free(asked);
}

static bool read_change(const char *name, broker_change_t *change) {
        if (!strcmp(name, "down"))
                *change = rd_kafka_mock_broker_set_down;
        else if (!strcmp(name, "up"))
                *change = rd_kafka_mock_broker_set_up;
        else
                *change = NULL;
        return *change || !strcmp(name, "rtt");
}

/* From now on, until it is said otherwise. */
void cr_do_MOCK_BROKER(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_reader_t term = cr_reader(in->data, in->size);
        broker_job_t read = {.job = {.run = run_broker, .done = done_broker},
                             .mock = client->cluster->mock};
        broker_job_t *job;
        int64_t broker = 0, millis = -1;
        char what[8];
        cr_text_t tag = {0};
        if (cr_read_tuple(&term, 4)) {
                tag = cr_read_binary(&term);
                broker = cr_read_integer(&term);
                cr_read_atom(&term, what, sizeof(what));
                millis = cr_read_integer(&term);
        }
        if (!cr_reader_done(&term) || broker < -1 || !broker || broker > client->cluster->brokers ||
            millis < 0 || millis > MOST_MILLIS || !read_change(what, &read.change)) {
                cr_answer_malformed(client, reply);
                return;
        }
        read.broker = (int32_t)broker;
        read.millis = (int)millis;
        job = cr_alloc(sizeof(*job));
        if (job) {
                *job = read;
                if (cr_tag_set(&job->tag, in->caller, tag.bytes, tag.size) &&
                    cr_lane_submit(&client->life, &job->job))
                        return;
                cr_tag_clear(&job->tag);
                cr_free(job);
        }
        cr_answer_no_memory(client, reply);
}

typedef struct fault {
        rd_kafka_resp_err_t err;
        int millis;
} fault_t;

/* One command's. */
#define MOST_FAULTS 1000

/* An error by its name in any case, without the underscore of librdkafka's own. */
static bool find_error(const char *name, rd_kafka_resp_err_t *err) {
        const struct rd_kafka_err_desc *errors;
        size_t count;
        rd_kafka_get_err_descs(&errors, &count);
        for (size_t i = 0; i < count; i++) {
                const char *known = errors[i].name;
                if (known && !strcasecmp(*known == '_' ? known + 1 : known, name)) {
                        *err = errors[i].code;
                        return true;
                }
        }
        return false;
}

static bool read_fault(cr_reader_t *in, fault_t *fault) {
        char name[64];
        int64_t millis;
        if (!cr_read_tuple(in, 2))
                return false;
        cr_read_atom(in, name, sizeof(name));
        millis = cr_read_integer(in);
        if (in->failed || millis < 0 || millis > MOST_MILLIS || !find_error(name, &fault->err))
                return false;
        fault->millis = (int)millis;
        return true;
}

/* Each broker answers its next requests of that kind so, one after another. */
void cr_do_MOCK_ERRORS(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_reader_t term = cr_reader(in->data, in->size);
        const cr_cluster_t *cluster = client->cluster;
        fault_t faults[MOST_FAULTS];
        rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
        cr_error_t error;
        int64_t api = cr_read_tuple(&term, 2) ? cr_read_integer(&term) : -1;
        int count = term.failed ? -1 : cr_read_list(&term);
        bool good = !term.failed && api >= 0 && api <= INT16_MAX && count <= MOST_FAULTS;
        for (int i = 0; good && i < count; i++)
                good = read_fault(&term, &faults[i]);
        if (good)
                cr_read_list_end(&term, count);
        if (!good || !cr_reader_done(&term)) {
                cr_answer_malformed(client, reply);
                return;
        }
        for (int broker = 1; broker <= cluster->brokers && !err; broker++) {
                for (int i = 0; i < count && !err; i++)
                        err = rd_kafka_mock_broker_push_request_error_rtts(
                                cluster->mock, broker, (int16_t)api, 1, faults[i].err,
                                faults[i].millis);
        }
        if (!err)
                return;
        cr_error_code(&error, err, NULL);
        cr_answer_error(client, reply, &error);
}
