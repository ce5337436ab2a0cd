/* Topics: each run has a fresh one, and afterwards what is in it is counted. */
#include "client.h"
#include "commands.h"

#include <stdio.h>
#include <unistd.h>

#define ADMIN_TIMEOUT_MS 30000
#define LEADER_TIMEOUT_MS 30000

static rd_kafka_t *admin_new(const struct options *o) {
        return producer_new(client_conf(o, RD_KAFKA_PRODUCER), NULL, NULL);
}

/* The next event of the queue, which must be a success of its kind for the
 * only topic asked about. */
static void await_topic(rd_kafka_queue_t *queue, const char *what) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ADMIN_TIMEOUT_MS);
        const rd_kafka_topic_result_t **topics = NULL;
        size_t count = 0;

        if (!event)
                fail("%s: no answer", what);
        check(rd_kafka_event_error(event), what);
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_CREATETOPICS_RESULT)
                topics = rd_kafka_CreateTopics_result_topics(
                        rd_kafka_event_CreateTopics_result(event), &count);
        else
                topics = rd_kafka_DeleteTopics_result_topics(
                        rd_kafka_event_DeleteTopics_result(event), &count);
        for (size_t i = 0; i < count; i++)
                check(rd_kafka_topic_result_error(topics[i]), what);
        rd_kafka_event_destroy(event);
}

/* Whether each partition of the topic has a leader already. */
static int has_leaders(rd_kafka_t *rk, rd_kafka_topic_t *topic, int partitions) {
        const struct rd_kafka_metadata *metadata;
        int leaders = 0;

        check(rd_kafka_metadata(rk, 0, topic, &metadata, ADMIN_TIMEOUT_MS), "metadata");
        for (int p = 0; p < metadata->topics[0].partition_cnt; p++)
                if (metadata->topics[0].partitions[p].leader >= 0)
                        leaders++;
        rd_kafka_metadata_destroy(metadata);
        return leaders == partitions;
}

static void await_leaders(rd_kafka_t *rk, const struct options *o) {
        rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, o->topic, NULL);

        for (int waited = 0; !has_leaders(rk, topic, o->partitions); waited += 20) {
                if (waited > LEADER_TIMEOUT_MS)
                        fail("%s: no leaders", o->topic);
                usleep(20000);
        }
        rd_kafka_topic_destroy(topic);
}

void topic_create(const struct options *o) {
        char why[512];
        rd_kafka_t *rk = admin_new(o);
        rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
        rd_kafka_NewTopic_t *topic =
                rd_kafka_NewTopic_new(o->topic, o->partitions, 1, why, sizeof why);

        if (!topic)
                fail("%s", why);
        /* A deleted topic's files go at once, not after the default minute:
         * a benchmark writes gigabytes. */
        check(rd_kafka_NewTopic_set_config(topic, "file.delete.delay.ms", "1000"), "create");
        rd_kafka_CreateTopics(rk, &topic, 1, NULL, queue);
        await_topic(queue, "create");
        await_leaders(rk, o);
        rd_kafka_NewTopic_destroy(topic);
        rd_kafka_queue_destroy(queue);
        rd_kafka_destroy(rk);
}

void topic_delete(const struct options *o) {
        rd_kafka_t *rk = admin_new(o);
        rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
        rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(o->topic);

        rd_kafka_DeleteTopics(rk, &topic, 1, NULL, queue);
        await_topic(queue, "delete");
        rd_kafka_DeleteTopic_destroy(topic);
        rd_kafka_queue_destroy(queue);
        rd_kafka_destroy(rk);
}

void topic_count(const struct options *o) {
        rd_kafka_t *rk = admin_new(o);
        int64_t low, high, count = 0;

        for (int32_t p = 0; p < o->partitions; p++) {
                check(rd_kafka_query_watermark_offsets(rk, o->topic, p, &low, &high,
                                                       ADMIN_TIMEOUT_MS),
                      "count");
                count += high - low;
        }
        printf("%lld\n", (long long)count);
        rd_kafka_destroy(rk);
}
