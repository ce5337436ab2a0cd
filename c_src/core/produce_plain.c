/*
 * Unpacks the plain calls: nobody hears of their messages, which are for one topic and have
 * nothing but values and keys. Most messages of a producer that is in a hurry come so, and
 * are unpacked into what librdkafka takes at once, which is half the work of
 * produce_decode.c's.
 */
#include "mem.h"
#include "produce.h"

bool cr_batch_room(cr_delivery_t *delivery, uint32_t count) {
        rd_kafka_message_t *grown;
        if (count <= delivery->batch_room)
                return true;
        grown = cr_realloc(delivery->batch, count * sizeof(*grown));
        if (!grown)
                return false;
        delivery->batch = grown;
        delivery->batch_room = count;
        return true;
}

/* The topic that the first names; NULL when there is none to be had, which is told when
 * the call is unpacked as any other. */
static cr_topic_t *take_topic(cr_client_t *client, cr_bytes_t *bytes, uint32_t variant) {
        cr_error_t error = {0};
        size_t size = cr_take_u16(bytes);
        const char *name = (const char *)cr_take(bytes, size);
        return name ? cr_topic_get(client, name, size, variant, &error) : NULL;
}

/* @precondition the first one's flags and topic are taken */
static bool take_all(cr_bytes_t *bytes, uint8_t flags, rd_kafka_message_t *batch,
                     cr_produce_t *produce) {
        cr_message_t message = {.topic = produce->topic};
        for (uint32_t i = 0; i < produce->count; i++) {
                if (i)
                        flags = cr_take_u8(bytes);
                if (!cr_take_plain(bytes, flags, &message) ||
                    message.partition != RD_KAFKA_PARTITION_UA)
                        return false;
                produce->stick = produce->stick && cr_message_sticks(&message);
                produce->cost += message.key_size + message.value_size;
                cr_batch_put(&batch[i], &message, NULL);
        }
        return bytes->at == bytes->size;
}

/* A single message may go to the stage, which has it in another form. */
bool cr_produce_plain(cr_client_t *client, cr_bytes_t bytes, cr_produce_t *produce) {
        cr_produce_t plain = *produce;
        uint8_t flags = cr_take_u8(&bytes);
        if (produce->mode != CR_MODE_NONE || produce->count == 1 || !(flags & CR_MESSAGE_TOPIC))
                return false;
        plain.topic = take_topic(client, &bytes, produce->variant);
        plain.stick = true;
        if (!plain.topic || !cr_batch_room(client->delivery, plain.count) ||
            !take_all(&bytes, flags & (uint8_t)~CR_MESSAGE_TOPIC, client->delivery->batch, &plain))
                return false;
        *produce = plain;
        return true;
}
