/*
 * Which topics were there when the consumer subscribed to them: these begin where
 * its start says. One that is made later, and which a pattern takes up, or which
 * was waited for, begins at the earliest, or what came before anybody noticed it
 * would be lost. So does one that the group has had offsets of and has none any
 * more: it was deleted and made again.
 *
 * The cluster is asked right after the subscription, before any assignment of it.
 */
#include "group.h"
#include "mem.h"

/* A look that brokers do not answer holds up the lane, and the end, no longer. */
#define LOOK_MS (8 * CR_SLICE_MS)

void cr_topics_init(cr_topics_t *topics) {
        topics->subscribed = rd_kafka_topic_partition_list_new(0);
        topics->sought = rd_kafka_topic_partition_list_new(0);
        topics->there = rd_kafka_topic_partition_list_new(0);
        topics->had = rd_kafka_topic_partition_list_new(0);
}

void cr_topics_clear(cr_topics_t *topics) {
        rd_kafka_topic_partition_list_destroy(topics->subscribed);
        rd_kafka_topic_partition_list_destroy(topics->sought);
        rd_kafka_topic_partition_list_destroy(topics->there);
        rd_kafka_topic_partition_list_destroy(topics->had);
}

void cr_topics_subscribe(cr_topics_t *topics, const rd_kafka_topic_partition_list_t *asked) {
        for (int i = 0; i < asked->cnt; i++) {
                const char *topic = asked->elems[i].topic;
                if (!rd_kafka_topic_partition_list_find(topics->subscribed, topic,
                                                        RD_KAFKA_PARTITION_UA))
                        rd_kafka_topic_partition_list_add(topics->sought, topic,
                                                          RD_KAFKA_PARTITION_UA);
        }
        rd_kafka_topic_partition_list_destroy(topics->subscribed);
        topics->subscribed = rd_kafka_topic_partition_list_copy(asked);
}

/* What a pattern matches is for librdkafka, or the brokers, to say: with a new one
 * each topic counts that is there. */
static bool is_sought(const cr_topics_t *topics, const char *topic) {
        for (int i = 0; i < topics->sought->cnt; i++) {
                const char *sought = topics->sought->elems[i].topic;
                if (sought[0] == '^' || strcmp(sought, topic) == 0)
                        return true;
        }
        return false;
}

rd_kafka_resp_err_t cr_topics_look(cr_client_t *client, int millis) {
        cr_topics_t *topics = &client->group->topics;
        const struct rd_kafka_metadata *metadata;
        rd_kafka_resp_err_t err;
        if (!topics->sought->cnt)
                return RD_KAFKA_RESP_ERR_NO_ERROR;
        err = rd_kafka_metadata(client->rk, 1, NULL, &metadata, millis);
        if (err)
                return err;
        for (int i = 0; i < metadata->topic_cnt; i++) {
                const struct rd_kafka_metadata_topic *at = &metadata->topics[i];
                if (at->err != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART &&
                    is_sought(topics, at->topic) &&
                    !rd_kafka_topic_partition_list_find(topics->there, at->topic, 0))
                        rd_kafka_topic_partition_list_add(topics->there, at->topic, 0);
        }
        rd_kafka_metadata_destroy(metadata);
        rd_kafka_topic_partition_list_destroy(topics->sought);
        topics->sought = rd_kafka_topic_partition_list_new(0);
        return err;
}

void cr_topics_begun(cr_topics_t *topics, const rd_kafka_topic_partition_list_t *committed) {
        for (int i = 0; i < committed->cnt; i++) {
                if (committed->elems[i].offset >= 0)
                        (void)rd_kafka_topic_partition_list_set_offset(
                                topics->there, committed->elems[i].topic, 0, 0);
        }
}

typedef struct topics_job {
        cr_job_t job;
        int patience;
        rd_kafka_resp_err_t err;
} topics_job_t;

/* @locality group lane */
static void run_look(cr_client_t *client, cr_job_t *job) {
        topics_job_t *look = (topics_job_t *)job;
        look->err = cr_topics_look(client, look->patience);
        if (look->err)
                look->patience = cr_group_patience(client, look->err, look->patience);
        if (look->patience > LOOK_MS)
                look->patience = LOOK_MS;
}

/* Behind what else waits for the lane. An assignment looks by itself. */
static void done_look(cr_client_t *client, cr_job_t *job) {
        if (!((topics_job_t *)job)->err || cr_client_closing(client) ||
            !cr_lane_submit(&client->group_lane, job))
                cr_free(job);
}

void cr_group_look_for_topics(cr_client_t *client) {
        topics_job_t *look;
        if (client->group->start == CR_START_EARLIEST)
                return;
        look = cr_alloc(sizeof(*look));
        if (!look)
                return;
        look->job = (cr_job_t){.run = run_look, .done = done_look};
        look->patience = CR_SLICE_MS;
        if (!cr_lane_submit(&client->group_lane, &look->job))
                cr_free(look);
}
