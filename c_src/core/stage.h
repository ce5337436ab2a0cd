/*
 * Messages that are accepted and not given to librdkafka yet.
 *
 * Where many calls bring one message each, librdkafka would take its locks for each of
 * them, and whoever else produces would wait for that at the client's lock. So while a
 * client is busy, small messages that nobody hears of are copied here and handed over
 * together: when there are CR_STAGE_MOST of them, before anything else is done with
 * the client (which keeps their order, and lets a flush see them), at the end of a
 * drain, and when an alarm of CR_STAGE_MS comes.
 *
 * They count as accepted, and what librdkafka refuses of them is reported as ever.
 */
#ifndef CREMA_STAGE_H
#define CREMA_STAGE_H

#include "produce.h"

#define CR_STAGE_MOST 64
#define CR_STAGE_MS 1
/* So many unreported messages make a client a busy one: the next drain is near. With
 * fewer each message goes at once. */
#define CR_STAGE_FROM 64

/* Bytes of keys and values: of all, and of the largest that is copied. */
#define CR_STAGE_ROOM 32768
#define CR_STAGE_LARGEST 1024

/* All have one topic, and one partition or leave that open. */
typedef struct cr_stage {
        cr_topic_t *topic;
        int32_t partition;
        bool stick;   /* each of them does */
        bool alarmed; /* the host will call */
        int count;
        size_t used; /* of the bytes */
        rd_kafka_message_t messages[CR_STAGE_MOST];
        unsigned char bytes[CR_STAGE_ROOM];
} cr_stage_t;

/* Takes a copy of the message; false when it is not one for here: then what is here is to
 * be handed over first. @precondition nobody hears of it */
bool cr_stage_put(cr_client_t *client, const cr_message_t *message, void *opaque);
/* Gives what is here to librdkafka, which may report some of it as refused. */
void cr_stage_hand_over(cr_client_t *client);
/* The same, and whoever waited for the places of what was refused is served.
 * @precondition nobody is being admitted */
void cr_stage_clear(cr_client_t *client);
/* The same when the alarm has come. */
void cr_stage_due(cr_client_t *client);

#endif
