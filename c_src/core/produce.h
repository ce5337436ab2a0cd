/*
 * A PRODUCE command, unpacked. What it points to is borrowed from the
 * command's bytes, save the values that came behind it: those are owned until
 * an entry of a call takes them or cr_produce_release() lets them go.
 */
#ifndef CREMA_PRODUCE_H
#define CREMA_PRODUCE_H

#include "delivery.h"

typedef struct cr_message {
        cr_topic_t *topic;        /* NULL when it is skipped */
        const unsigned char *key; /* NULL is null; empty is not */
        size_t key_size;
        const unsigned char *value;
        size_t value_size;
        cr_buf_t *value_buf; /* what value lies in, if it came behind */
        cr_bytes_t headers;  /* packed; size 0: none */
        uint16_t header_count;
        int32_t partition; /* CR_PARTITION_SKIP: not to be sent */
        int64_t timestamp; /* 0: now */
        uint64_t cost;
} cr_message_t;

typedef struct cr_produce {
        uint8_t mode;
        uint8_t policy; /* refuse or wait */
        uint64_t call;
        uint64_t to;      /* who hears of it: CR_TO_... */
        uint32_t epoch;   /* of the transaction; 0: none */
        uint32_t variant; /* the topics' configuration; 0: the client's */
        const unsigned char *tag;
        size_t tag_size;
        uint32_t count;
        cr_message_t *messages; /* the delivery's scratch; NULL when the call is a plain one */
        uint64_t cost;
        cr_topic_t *topic; /* of a plain call, whose messages are the delivery's batch */
        bool stick;        /* of a plain call: each of them does */
} cr_produce_t;

/* produce_decode.c: false with *error set; nothing is then owned. */
bool cr_produce_decode(cr_client_t *client, const cr_input_t *in, cr_produce_t *produce,
                       cr_error_t *error);
void cr_produce_release(cr_client_t *client, cr_produce_t *produce);
/* produce_plain.c: unpacks what is behind the start of a plain call; false, and nothing is
 * accepted, when it is none, or not whole. */
bool cr_produce_plain(cr_client_t *client, cr_bytes_t bytes, cr_produce_t *produce);
/* Room for so many in the delivery's batch; false when there is no memory. */
bool cr_batch_room(cr_delivery_t *delivery, uint32_t count);
/* produce.c: makes the call and gives all messages to librdkafka, or to the stage. False, with
 * *error set and nothing accepted, only for want of memory. */
bool cr_produce_accept(cr_client_t *client, cr_produce_t *produce, cr_recipient_t recipient,
                       cr_error_t *error);
/* Gives librdkafka messages of one topic and one partition, of which it makes copies. What
 * it refuses is reported. All of them stick, or not all do. */
void cr_produce_together(cr_client_t *client, cr_topic_t *topic, int32_t partition, bool stick,
                         rd_kafka_message_t *messages, int count);
/* Whether a message can go together with others. */
bool cr_is_batchable(const cr_message_t *message);
/* It goes where others without a key go. */
bool cr_message_sticks(const cr_message_t *message);

/* librdkafka's messages want pointers to what is not const. It does not write
 * through them. */
static inline void *cr_unconst(const void *pointer) {
        union {
                const void *from;
                void *to;
        } both = {.from = pointer};
        return both.to;
}

/* Puts a message that can go together with others where librdkafka takes it from. Field by
 * field: a whole one is made on the stack and copied in pieces of two fields, each of which
 * waits for the processor to have written both: four fifths of what unpacking took. */
static inline void cr_batch_put(rd_kafka_message_t *to, const cr_message_t *message, void *opaque) {
        to->err = RD_KAFKA_RESP_ERR_NO_ERROR;
        to->rkt = NULL;
        to->partition = 0;
        to->payload = cr_unconst(message->value);
        to->len = message->value_size;
        to->key = cr_unconst(message->key);
        to->key_len = message->key_size;
        to->offset = 0;
        to->_private = opaque;
}

/* A message with nothing but a value, and maybe a partition and a key, behind its flags and
 * topic; false when it has more, or less. */
static inline bool cr_take_plain(cr_bytes_t *bytes, uint8_t flags, cr_message_t *message) {
        message->partition =
                flags & CR_MESSAGE_PARTITION ? cr_take_i32(bytes) : RD_KAFKA_PARTITION_UA;
        message->key_size = flags & CR_MESSAGE_KEY ? cr_take_u32(bytes) : 0;
        message->key = flags & CR_MESSAGE_KEY ? cr_take(bytes, message->key_size) : NULL;
        message->value_size = cr_take_u32(bytes);
        message->value = cr_take(bytes, message->value_size);
        return (flags & ~(CR_MESSAGE_KEY | CR_MESSAGE_PARTITION)) == CR_MESSAGE_VALUE &&
               !bytes->failed;
}

#endif
