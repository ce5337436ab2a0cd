#include "stage.h"

#include "mem.h"

void cr_stage_destroy(cr_delivery_t *delivery) {
        cr_stage_t *stage = delivery->stage;
        if (!stage)
                return;
        if (stage->intake)
                cr_intake_release(stage->intake);
        cr_free(stage->blocks[0]);
        cr_free(stage->blocks[1]);
        cr_free(stage);
}

/* Made when it is first needed; NULL when there is no memory. */
static cr_stage_t *stage_of(cr_delivery_t *delivery) {
        cr_stage_t *stage = delivery->stage;
        if (!stage)
                stage = delivery->stage = cr_alloc(sizeof(*stage));
        if (stage && !stage->intake)
                stage->intake = cr_intake_claim();
        return stage && stage->intake ? stage : NULL;
}

/* The block that is not to be handed over; NULL when there is no memory. */
static cr_gathered_t *free_block(cr_stage_t *stage) {
        cr_gathered_t **block = &stage->blocks[stage->taken && stage->taken == stage->blocks[0]];
        if (!*block)
                *block = cr_alloc(sizeof(**block));
        return *block;
}

/* The call has a place more as long as it is in the intake, so that it outlives what is
 * reported meanwhile. */
static void take(cr_client_t *client, cr_stage_t *stage) {
        cr_delivery_t *delivery = client->delivery;
        cr_call_t *call = stage->call;
        const cr_gathered_t *taken = stage->taken = stage->into;
        cr_intake_close(stage->intake);
        stage->call = NULL;
        call->left += (uint32_t)taken->count;
        call->cost += taken->used;
        delivery->messages += (uint64_t)taken->count;
        delivery->bytes += taken->used;
        delivery->accepted += (uint64_t)taken->count;
        cr_call_release(client, call);
}

void cr_stage_take(cr_client_t *client) {
        cr_stage_t *stage = client->delivery->stage;
        if (stage && stage->call)
                take(client, stage);
}

void cr_stage_give(cr_client_t *client) {
        cr_stage_t *stage = client->delivery->stage;
        cr_gathered_t *taken = stage ? stage->taken : NULL;
        if (!taken)
                return;
        stage->taken = NULL;
        if (taken->count)
                cr_produce_together(client, taken->topic, taken->partition, taken->stick,
                                    taken->messages, taken->count);
}

void cr_stage_hand_over(cr_client_t *client) {
        cr_stage_take(client);
        cr_stage_give(client);
}

/* A client that has few messages, or no place left for one more, stages none; nor while
 * somebody waits for a place, also when he is the one who is being admitted. */
static bool may_take_more(const cr_client_t *client) {
        const cr_delivery_t *delivery = client->delivery;
        return delivery->messages >= CR_STAGE_FROM && !delivery->waiting && !client->transaction &&
               delivery->messages + cr_reporter_holds(delivery) <
                       (uint64_t)delivery->options.max_messages &&
               delivery->bytes < (uint64_t)delivery->options.max_bytes;
}

/* Of messages like the last, which may be the first of them. False when there is no memory. */
static bool take_more(cr_client_t *client, cr_stage_t *stage, const cr_message_t *first) {
        cr_delivery_t *delivery = client->delivery;
        cr_gathered_t *into = free_block(stage);
        cr_call_t *call = into ? cr_call_unheard(delivery, 0) : NULL;
        if (!call)
                return false;
        stage->call = call;
        stage->into = into;
        into->topic = stage->topic;
        into->partition = stage->partition;
        into->stick = true;
        into->count = 0;
        into->used = 0;
        if (first)
                cr_gather(into, first, cr_call_opaque(call, 0));
        cr_intake_open(stage->intake, into, cr_call_opaque(call, 0),
                       (uint64_t)delivery->options.max_messages - delivery->messages -
                               cr_reporter_holds(delivery),
                       (uint64_t)delivery->options.max_bytes - delivery->bytes);
        if (!stage->alarmed) {
                stage->alarmed = true;
                client->ops->alarm(client->host, CR_STAGE_MS);
        }
        return true;
}

/* Where topics take turns, nothing would gather: the intake is opened for the second. */
static bool is_like_the_last(cr_stage_t *stage, const cr_message_t *message) {
        bool is_like = !stage->topic ||
                       (stage->topic == message->topic && stage->partition == message->partition);
        stage->topic = message->topic;
        stage->partition = message->partition;
        return is_like;
}

bool cr_stage_join(cr_client_t *client, cr_produce_t *produce) {
        const cr_stage_t *stage = client->delivery->stage;
        return stage && stage->call && produce->mode == CR_MODE_NONE && produce->count == 1 &&
               !produce->epoch && cr_intake_join(stage->intake, produce->messages);
}

bool cr_stage_put(cr_client_t *client, const cr_message_t *message) {
        cr_stage_t *stage;
        return may_take_more(client) && cr_is_gatherable(message) &&
               (stage = stage_of(client->delivery)) && is_like_the_last(stage, message) &&
               take_more(client, stage, message);
}

void cr_stage_clear(cr_client_t *client) {
        cr_stage_t *stage = client->delivery->stage;
        cr_stage_take(client);
        if (stage && stage->taken && stage->taken->count && may_take_more(client))
                (void)take_more(client, stage, NULL);
        cr_stage_give(client);
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

void cr_stage_close(cr_client_t *client) {
        if (client->delivery && client->delivery->stage && client->delivery->stage->call)
                cr_intake_close(client->delivery->stage->intake);
}

void cr_do_INTAKE(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_stage_t *stage = stage_of(client->delivery);
        unsigned char key[8], *to = key;
        cr_writer_t out;
        (void)in;
        if (!stage) {
                cr_answer_no_memory(client, reply);
                return;
        }
        cr_put_uint(&to, cr_intake_key(stage->intake), sizeof(key));
        out = cr_writer();
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "ok");
        cr_write_binary(&out, key, sizeof(key));
        cr_answer(client, reply, &out);
}
