/*
 * Messages that are accepted and not given to librdkafka yet.
 *
 * Where many calls bring one message each, librdkafka would take its locks for each of
 * them, and whoever else produces would wait for that at the client's lock. So while a
 * client is busy, small messages that nobody hears of are copied, by its callers at its
 * intake or here, and handed over together: when there is no more room, before anything
 * else is done with the client (which keeps their order, and lets a flush see them), at the
 * end of a drain, and when an alarm of CR_STAGE_MS comes.
 *
 * They are counted when they are taken out of the intake, which is before anything asks
 * for the counts, and what librdkafka refuses of them is reported as ever. While somebody
 * waits for a place the intake is closed: who comes later waits behind.
 */
#ifndef CREMA_STAGE_H
#define CREMA_STAGE_H

#include "intake.h"

#define CR_STAGE_MS 1
/* So many unreported messages make a client a busy one: the next drain is near. With
 * fewer each message goes at once. */
#define CR_STAGE_FROM 64

typedef struct cr_stage {
        cr_intake_t *intake; /* owned, as the two blocks */
        cr_gathered_t *blocks[2];
        cr_gathered_t *into;  /* the one that the intake has */
        cr_call_t *call;      /* of what comes there; NULL: it is closed, and has none */
        cr_gathered_t *taken; /* the one that is to be handed over; or NULL */
        cr_topic_t *topic;    /* of the single message before, or NULL */
        int32_t partition;    /* the same */
        bool alarmed;         /* the host will call */
} cr_stage_t;

void cr_stage_destroy(cr_delivery_t *delivery);
/* Takes out what has come in: it is counted from now on. */
void cr_stage_take(cr_client_t *client);
/* Gives librdkafka what was taken out, some of which may be reported as refused. */
void cr_stage_give(cr_client_t *client);
/* Both. */
void cr_stage_hand_over(cr_client_t *client);
/* Takes what a command brings where callers' messages come in; false when it is not one of
 * those, or none come in. Whoever was refused at a full intake and had to wait for the client
 * finds it open again: were it handed over for him, each time with the few that have come
 * since, a client with many callers would give librdkafka a seventh as many at a time. */
bool cr_stage_join(cr_client_t *client, cr_produce_t *produce);
/* Takes a copy of the message, and opens the intake for others like it; false when it is
 * not one for here, or not like the one before. @precondition nobody hears of it, and what came
 * before was taken out */
bool cr_stage_put(cr_client_t *client, const cr_message_t *message);
/* Hands over what has come in, and goes on taking more. Whoever waited for the places of
 * what was refused is served. @precondition nobody is being admitted */
void cr_stage_clear(cr_client_t *client);
/* The same when the alarm has come. */
void cr_stage_due(cr_client_t *client);
/* Nothing more comes in: the client is closing. */
void cr_stage_close(cr_client_t *client);

#endif
