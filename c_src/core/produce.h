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
        cr_message_t *messages; /* the delivery's scratch */
        uint64_t cost;
} cr_produce_t;

/* produce_decode.c: false with *error set; nothing is then owned. */
bool cr_produce_decode(cr_client_t *client, const cr_input_t *in, cr_produce_t *produce,
                       cr_error_t *error);
void cr_produce_release(cr_client_t *client, cr_produce_t *produce);
/* produce.c: makes the call and gives all messages to librdkafka, or to the stage. False, with
 * *error set and nothing accepted, only for want of memory. */
bool cr_produce_accept(cr_client_t *client, cr_produce_t *produce, cr_recipient_t recipient,
                       cr_error_t *error);
/* Gives librdkafka messages of one topic and one partition, of which it makes copies. What
 * it refuses is reported. All of them stick, or not all do. */
void cr_produce_together(cr_client_t *client, cr_topic_t *topic, int32_t partition, bool stick,
                         rd_kafka_message_t *messages, int count);
/* Whether a message can go together with others, and how it then looks. */
bool cr_is_batchable(const cr_message_t *message);
rd_kafka_message_t cr_batched(const cr_message_t *message, void *opaque);
/* It goes where others without a key go. */
bool cr_message_sticks(const cr_message_t *message);

#endif
