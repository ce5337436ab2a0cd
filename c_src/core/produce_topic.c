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

/* Without a handle. */
static cr_topic_t *new_topic(const char *name, size_t size, uint32_t variant) {
        cr_topic_t *topic = cr_alloc(sizeof(*topic) + size + 1);
        if (!topic)
                return NULL;
        memcpy(topic->name, name, size);
        topic->size = size;
        topic->variant = variant;
        return topic;
}

/* By the client's own configuration unless there is a variant. librdkafka frees the copy. */
static bool make_handle(cr_client_t *client, cr_topic_t *topic, cr_error_t *error) {
        const cr_variant_t *variant = cr_variant_find(client->delivery, topic->variant);
        rd_kafka_topic_conf_t *conf;
        if (topic->variant && !variant) {
                cr_error_own(error, "malformed_command", "there is no such variant");
                return false;
        }
        if (memchr(topic->name, 0, topic->size)) {
                cr_error_own(error, "invalid_topic", "a topic's name has no zero bytes");
                return false;
        }
        conf = variant ? rd_kafka_topic_conf_dup(variant->conf)
                       : rd_kafka_default_topic_conf_dup(client->rk);
        cr_sticky_init(&topic->sticky, conf, client->sticky_ms);
        topic->rkt = rd_kafka_topic_new(client->rk, topic->name, conf);
        if (!topic->rkt)
                cr_error_own(error, "invalid_topic", "not a topic name: %s",
                             rd_kafka_err2str(rd_kafka_last_error()));
        return topic->rkt != NULL;
}

static bool is_named(const cr_topic_t *topic, const char *name, size_t size) {
        return topic->size == size && memcmp(topic->name, name, size) == 0;
}

static cr_topic_t *find(cr_topic_t *topic, const char *name, size_t size) {
        while (topic && !is_named(topic, name, size))
                topic = topic->next;
        return topic;
}

/* In the map before it has a handle: librdkafka keeps its own topic, and in that the
 * address of ours, also when the handle is given up again. */
static cr_topic_t *add(cr_client_t *client, cr_topic_t *first, uint64_t hash, const char *name,
                       size_t size, uint32_t variant, cr_error_t *error) {
        cr_map_t *topics = &client->delivery->topics;
        cr_topic_t *topic = new_topic(name, size, variant);
        if (!topic || (!first && !cr_map_put(topics, hash, topic))) {
                cr_error_own(error, "no_memory", "no memory for a topic handle");
        } else if (make_handle(client, topic, error)) {
                if (first) {
                        topic->next = first->next;
                        first->next = topic;
                }
                return topic;
        } else if (!first) {
                (void)cr_map_remove(topics, hash);
        }
        cr_free(topic);
        return NULL;
}

cr_topic_t *cr_topic_any(cr_client_t *client, const char *name, size_t size, uint32_t variant,
                         cr_error_t *error) {
        cr_delivery_t *delivery = client->delivery;
        cr_topic_t *topic = delivery->recent, *first;
        uint64_t hash;
        if (topic && is_named(topic, name, size))
                return topic;
        hash = hash_of(name, size);
        first = cr_map_get(&delivery->topics, hash);
        topic = find(first, name, size);
        if (!topic)
                topic = add(client, first, hash, name, size, variant, error);
        if (topic)
                delivery->recent = topic;
        return topic;
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
