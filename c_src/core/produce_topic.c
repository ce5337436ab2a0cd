/*
 * Topic handles, made once per topic and client. librdkafka keeps one
 * configuration per topic anyway, so a cached handle loses nothing and saves
 * a lookup under librdkafka's global lock for every message.
 */
#include "delivery.h"
#include "mem.h"

static uint64_t hash_of(const char *name, size_t size) {
        uint64_t hash = UINT64_C(0xCBF29CE484222325);
        for (size_t i = 0; i < size; i++)
                hash = (hash ^ (unsigned char)name[i]) * UINT64_C(0x100000001B3);
        return hash ? hash : 1;
}

static cr_topic_t *make(cr_client_t *client, const char *name, size_t size, cr_error_t *error) {
        cr_topic_t *topic = cr_alloc(sizeof(*topic) + size + 1);
        if (!topic) {
                cr_error_own(error, "no_memory", "no memory for a topic handle");
                return NULL;
        }
        memcpy(topic->name, name, size);
        topic->size = size;
        if (memchr(name, 0, size))
                cr_error_own(error, "invalid_topic", "a topic's name has no zero bytes");
        else if (!(topic->rkt = rd_kafka_topic_new(client->rk, topic->name, NULL)))
                cr_error_own(error, "invalid_topic", "not a topic name: %s",
                             rd_kafka_err2str(rd_kafka_last_error()));
        if (topic->rkt)
                return topic;
        cr_free(topic);
        return NULL;
}

cr_topic_t *cr_topic_get(cr_client_t *client, const char *name, size_t size, cr_error_t *error) {
        cr_map_t *topics = &client->delivery->topics;
        uint64_t hash = hash_of(name, size);
        cr_topic_t *first = cr_map_get(topics, hash);
        cr_topic_t *topic;
        for (topic = first; topic; topic = topic->next) {
                if (topic->size == size && memcmp(topic->name, name, size) == 0)
                        return topic;
        }
        topic = make(client, name, size, error);
        if (!topic)
                return NULL;
        topic->next = first;
        if (cr_map_put(topics, hash, topic))
                return topic;
        rd_kafka_topic_destroy(topic->rkt);
        cr_free(topic);
        cr_error_own(error, "no_memory", "no memory for a topic handle");
        return NULL;
}

void cr_topics_destroy(cr_delivery_t *delivery) {
        cr_topic_t *topic, *next;
        size_t at = 0;
        while ((topic = cr_map_next(&delivery->topics, &at))) {
                for (; topic; topic = next) {
                        next = topic->next;
                        rd_kafka_topic_destroy(topic->rkt);
                        cr_free(topic);
                }
        }
        cr_map_clear(&delivery->topics);
}
