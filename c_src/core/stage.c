#include "stage.h"

#include "mem.h"

void cr_stage_hand_over(cr_client_t *client) {
        cr_stage_t *stage = client->delivery->stage;
        int count = stage ? stage->count : 0;
        if (!count)
                return;
        stage->count = 0;
        stage->used = 0;
        cr_produce_together(client, stage->topic, stage->partition, stage->stick, stage->messages,
                            count);
}

/* Some may have been refused earlier, when a command had them handed over. */
void cr_stage_clear(cr_client_t *client) {
        cr_stage_hand_over(client);
        cr_delivery_advance(client);
}

void cr_stage_due(cr_client_t *client) {
        cr_stage_t *stage = client->delivery->stage;
        if (!stage)
                return;
        stage->alarmed = false;
        cr_stage_clear(client);
        cr_delivery_send_grouped(client);
}

/* NULL when the message is not one to be copied. */
static cr_stage_t *stage_for(cr_client_t *client, const cr_message_t *message) {
        cr_delivery_t *delivery = client->delivery;
        if (delivery->messages <= CR_STAGE_FROM || client->transaction ||
            message->key_size + message->value_size > CR_STAGE_LARGEST || !cr_is_batchable(message))
                return NULL;
        if (!delivery->stage)
                delivery->stage = cr_alloc(sizeof(*delivery->stage));
        return delivery->stage;
}

static bool fits(const cr_stage_t *stage, const cr_message_t *message) {
        return stage->topic == message->topic && stage->partition == message->partition &&
               stage->used + message->key_size + message->value_size <= CR_STAGE_ROOM;
}

static void *keep(cr_stage_t *stage, const unsigned char *from, size_t size) {
        unsigned char *to = &stage->bytes[stage->used];
        if (!from)
                return NULL;
        memcpy(to, from, size);
        stage->used += size;
        return to;
}

static void put(cr_stage_t *stage, const cr_message_t *message, void *opaque) {
        rd_kafka_message_t *to = &stage->messages[stage->count];
        bool sticks = cr_message_sticks(message);
        stage->stick = sticks && (stage->stick || !stage->count);
        stage->topic = message->topic;
        stage->partition = message->partition;
        *to = cr_batched(message, opaque);
        to->payload = keep(stage, message->value, message->value_size);
        to->key = keep(stage, message->key, message->key_size);
        stage->count++;
}

bool cr_stage_put(cr_client_t *client, const cr_message_t *message, void *opaque) {
        cr_stage_t *stage = stage_for(client, message);
        if (!stage)
                return false;
        if (!fits(stage, message))
                cr_stage_hand_over(client);
        put(stage, message, opaque);
        if (stage->count == CR_STAGE_MOST) {
                cr_stage_hand_over(client);
        } else if (!stage->alarmed) {
                stage->alarmed = true;
                client->ops->alarm(client->host, CR_STAGE_MS);
        }
        return true;
}
