/*
 * Topic handles, made once per topic and client, so that a message costs no
 * lookup under librdkafka's global lock. librdkafka keeps the configuration that
 * a topic was first used with and ignores any other silently: so a handle
 * remembers it, and a call that wants another is refused.
 */
#include "delivery.h"
#include "mem.h"

static uint64_t hash_of(const char *name, size_t size) {
        uint64_t hash = UINT64_C(0xCBF29CE484222325);
        for (size_t i = 0; i < size; i++)
                hash = (hash ^ (unsigned char)name[i]) * UINT64_C(0x100000001B3);
        return hash ? hash : 1;
}

/* By the client's own configuration unless there is a variant. librdkafka frees the copy. */
static bool make_handle(cr_client_t *client, cr_topic_t *topic, const cr_variant_t *variant,
                        cr_error_t *error) {
        rd_kafka_topic_conf_t *conf = variant ? rd_kafka_topic_conf_dup(variant->conf)
                                              : rd_kafka_default_topic_conf_dup(client->rk);
        cr_sticky_init(&topic->sticky, conf, client->sticky_ms);
        topic->rkt = rd_kafka_topic_new(client->rk, topic->name, conf);
        if (topic->rkt)
                return true;
        cr_error_own(error, "invalid_topic", "not a topic name: %s",
                     rd_kafka_err2str(rd_kafka_last_error()));
        return false;
}

static cr_topic_t *make(cr_client_t *client, const char *name, size_t size, uint32_t number,
                        cr_error_t *error) {
        const cr_variant_t *variant = cr_variant_find(client->delivery, number);
        cr_topic_t *topic = cr_alloc(sizeof(*topic) + size + 1);
        if (!topic) {
                cr_error_own(error, "no_memory", "no memory for a topic handle");
                return NULL;
        }
        memcpy(topic->name, name, size);
        topic->size = size;
        topic->variant = number;
        if (number && !variant)
                cr_error_own(error, "malformed_command", "there is no such variant");
        else if (memchr(name, 0, size))
                cr_error_own(error, "invalid_topic", "a topic's name has no zero bytes");
        else if (make_handle(client, topic, variant, error))
                return topic;
        cr_free(topic);
        return NULL;
}

cr_topic_t *cr_topic_any(cr_client_t *client, const char *name, size_t size, uint32_t variant,
                         cr_error_t *error) {
        cr_map_t *topics = &client->delivery->topics;
        uint64_t hash = hash_of(name, size);
        cr_topic_t *first = cr_map_get(topics, hash);
        cr_topic_t *topic;
        for (topic = first; topic; topic = topic->next) {
                if (topic->size == size && memcmp(topic->name, name, size) == 0)
                        return topic;
        }
        topic = make(client, name, size, variant, error);
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

static const char *described(const cr_delivery_t *delivery, uint32_t number) {
        const cr_variant_t *variant = cr_variant_find(delivery, number);
        return variant ? variant->text : "the producer's own configuration";
}

cr_topic_t *cr_topic_get(cr_client_t *client, const char *name, size_t size, uint32_t variant,
                         cr_error_t *error) {
        cr_topic_t *topic = cr_topic_any(client, name, size, variant, error);
        if (!topic || topic->variant == variant)
                return topic;
        cr_error_own(error, "topic_config_conflict",
                     "topic %s was first used with %s, and cannot be used with %s", topic->name,
                     described(client->delivery, topic->variant),
                     described(client->delivery, variant));
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
