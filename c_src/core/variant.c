/*
 * TOPIC_CONFIG: configurations of topics that differ from the client's own. Each
 * is registered once and is a number from then on, which a PRODUCE carries.
 */
#include <stdlib.h>

#include "delivery.h"
#include "faults.h"
#include "mem.h"

/* Whoever makes them from data must not fill the memory. */
#define MOST 1000
/* No value of a topic's property is longer. */
#define VALUE_ROOM 128

/* What a topic may have for itself, and librdkafka's other names for the same. */
static const struct {
        const char *name, *alias; /* alias may be NULL */
} known[] = {{"acks", "request.required.acks"},
             {"compression.level", NULL},
             {"compression.type", "compression.codec"},
             {"message.timeout.ms", "delivery.timeout.ms"},
             {"partitioner", NULL},
             {"request.timeout.ms", NULL}};
#define KNOWN (sizeof(known) / sizeof(known[0]))

typedef struct config {
        rd_kafka_topic_conf_t *own; /* the client's */
        rd_kafka_topic_conf_t *conf;
        char text[256]; /* what differs */
        cr_faults_t faults;
} config_t;

/* The one name of a property; NULL when it is none of a topic's. */
static const char *canonical(const char *name) {
        for (size_t i = 0; i < KNOWN; i++) {
                if (strcmp(name, known[i].name) == 0 ||
                    (known[i].alias && strcmp(name, known[i].alias) == 0))
                        return known[i].name;
        }
        return NULL;
}

const cr_variant_t *cr_variant_find(const cr_delivery_t *delivery, uint32_t number) {
        const cr_variant_t *variant = delivery->variants;
        while (variant && variant->number != number)
                variant = variant->next;
        return variant;
}

void cr_variants_destroy(cr_delivery_t *delivery) {
        cr_variant_t *variant;
        while ((variant = delivery->variants)) {
                delivery->variants = variant->next;
                rd_kafka_topic_conf_destroy(variant->conf);
                cr_free(variant->text);
                cr_free(variant);
        }
}

static const char *client_value(cr_client_t *client, const char *name, char *value) {
        size_t size = VALUE_ROOM;
        if (rd_kafka_conf_get(rd_kafka_conf(client->rk), name, value, &size) != RD_KAFKA_CONF_OK)
                value[0] = '\0';
        return value;
}

static const char *topic_value(const rd_kafka_topic_conf_t *conf, const char *name, char *value) {
        size_t size = VALUE_ROOM;
        if (rd_kafka_topic_conf_get(conf, name, value, &size) != RD_KAFKA_CONF_OK)
                value[0] = '\0';
        return value;
}

static void describe_one(config_t *config, const char *name) {
        char own[VALUE_ROOM], value[VALUE_ROOM];
        size_t used = strlen(config->text);
        if (strcmp(topic_value(config->own, name, own), topic_value(config->conf, name, value)))
                snprintf(config->text + used, sizeof(config->text) - used, "%s%s=%s",
                         used ? ", " : "", name, value);
}

/* In librdkafka's spelling, so that what is the same reads the same: the text
 * tells one configuration from another. */
static void describe(config_t *config) {
        for (size_t i = 0; i < KNOWN; i++)
                describe_one(config, known[i].name);
}

/* What librdkafka would find only when a topic is used, and then only log; NULL
 * when there is nothing. */
static const char *unfit(cr_client_t *client, const rd_kafka_topic_conf_t *conf, const char *name) {
        char value[VALUE_ROOM], other[VALUE_ROOM];
        double timeout;
        if (strcmp(name, "message.timeout.ms") != 0)
                return NULL;
        timeout = strtod(topic_value(conf, name, value), NULL);
        if (timeout > 0 && timeout <= strtod(client_value(client, "linger.ms", other), NULL))
                return "must be greater than linger.ms";
        if (client_value(client, "transactional.id", other)[0] &&
            timeout > strtod(client_value(client, "transaction.timeout.ms", other), NULL))
                return "must not be greater than transaction.timeout.ms";
        return NULL;
}

/* Another value for one topic of an idempotent producer crashes librdkafka
 * (its issue 4710). */
static bool has_all_acks(cr_client_t *client, const char *name) {
        char value[VALUE_ROOM];
        return strcmp(name, "acks") == 0 &&
               strcmp(client_value(client, "enable.idempotence", value), "true") == 0;
}

static void set_property(cr_client_t *client, config_t *config, cr_text_t key, cr_text_t value) {
        char text[512];
        const char *fault = NULL;
        char *given = cr_copy(key.bytes, key.size);
        const char *name = given ? canonical(given) : NULL;
        char *setting = cr_copy(value.bytes, value.size);
        if (!given || !setting)
                fault = "there is no memory";
        else if (strlen(given) != key.size || strlen(setting) != value.size)
                fault = "contains a zero byte";
        else if (!name)
                fault = "is not for one topic alone";
        else if (has_all_acks(client, name))
                fault = "is all for every topic of an idempotent producer";
        else if (rd_kafka_topic_conf_set(config->conf, name, setting, text, sizeof(text)) !=
                 RD_KAFKA_CONF_OK)
                fault = text;
        else
                fault = unfit(client, config->conf, name);
        if (fault)
                cr_faults_add(&config->faults, key, fault);
        cr_free(setting);
        cr_free(given);
}

static bool read_config(cr_client_t *client, config_t *config, const cr_input_t *in) {
        cr_reader_t term = cr_reader(in->data, in->size);
        int count = cr_read_list(&term);
        for (int i = 0; i < count && cr_read_tuple(&term, 2); i++) {
                cr_text_t key = cr_read_binary(&term);
                cr_text_t value = cr_read_binary(&term);
                if (!term.failed)
                        set_property(client, config, key, value);
        }
        cr_read_list_end(&term, count);
        return cr_reader_done(&term);
}

static const cr_variant_t *same_as(const cr_delivery_t *delivery, const char *text) {
        const cr_variant_t *variant = delivery->variants;
        while (variant && strcmp(variant->text, text) != 0)
                variant = variant->next;
        return variant;
}

/* Takes the configuration; NULL when there is no memory. */
static const cr_variant_t *add(cr_delivery_t *delivery, config_t *config) {
        cr_variant_t *variant = cr_alloc(sizeof(*variant));
        char *text = cr_copy(config->text, strlen(config->text));
        if (!variant || !text) {
                cr_free(variant);
                cr_free(text);
                return NULL;
        }
        *variant = (cr_variant_t){
                .next = delivery->variants, .number = 1, .conf = config->conf, .text = text};
        if (variant->next)
                variant->number = variant->next->number + 1;
        config->conf = NULL;
        delivery->variants = variant;
        return variant;
}

static void answer_number(cr_client_t *client, uint32_t number, cr_reply_t *reply) {
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "ok");
        cr_write_integer(&out, number);
        cr_answer(client, reply, &out);
}

/* What does not differ from the client's own configuration is that. */
static void answer_config(cr_client_t *client, config_t *config, cr_reply_t *reply) {
        cr_delivery_t *delivery = client->delivery;
        const cr_variant_t *variant;
        describe(config);
        variant = same_as(delivery, config->text);
        if (!config->text[0])
                answer_number(client, 0, reply);
        else if (!variant && delivery->variants && delivery->variants->number >= MOST)
                cr_answer_own(client, reply, "too_many_variants",
                              "the producer has as many configurations of topics as it may");
        else if (!variant && !(variant = add(delivery, config)))
                cr_answer_no_memory(client, reply);
        else
                answer_number(client, variant->number, reply);
}

void cr_do_TOPIC_CONFIG(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        config_t config = {.own = rd_kafka_default_topic_conf_dup(client->rk),
                           .conf = rd_kafka_default_topic_conf_dup(client->rk),
                           .faults = cr_faults()};
        if (!read_config(client, &config, in))
                cr_answer_malformed(client, reply);
        else if (config.faults.count)
                cr_faults_answer(client, &config.faults, reply);
        else
                answer_config(client, &config, reply);
        rd_kafka_topic_conf_destroy(config.own);
        if (config.conf)
                rd_kafka_topic_conf_destroy(config.conf);
        cr_faults_free(&config.faults);
}
