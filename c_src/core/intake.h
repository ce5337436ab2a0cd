/*
 * Where the single messages of a busy producer come in, of any number of threads at once.
 *
 * A client's commands are carried out one at a time, under its lock, which in the emulator
 * is the port's: who meets another there is put to sleep, and so is whoever comes behind.
 * So a producer that has much to do opens an intake for one topic. Its callers copy their
 * messages there (cr_intake_command()), under a lock that is held for no longer than that
 * takes; the client takes out all that have gathered, and librdkafka gets them together:
 * stage.h.
 *
 * What is in an intake is accepted: a client opens it for no more than it has places for.
 *
 * An intake is named by a key, which callers may keep for longer than there is a client.
 * So intakes are never freed, but used again under another key.
 */
#ifndef CREMA_INTAKE_H
#define CREMA_INTAKE_H

#include "produce.h"

/* Messages, and bytes of their keys and values, of which a message has CR_INTAKE_LARGEST
 * at most. They are to last while a drain has the client's lock. */
#define CR_INTAKE_MOST 1024
#define CR_INTAKE_ROOM 131072

typedef struct cr_intake cr_intake_t;

/* Copies of messages with one topic, and with one partition or none. */
typedef struct cr_gathered {
        cr_topic_t *topic;
        int32_t partition;
        bool stick; /* each of them does */
        int count;
        size_t used; /* of the bytes */
        rd_kafka_message_t messages[CR_INTAKE_MOST];
        unsigned char bytes[CR_INTAKE_ROOM];
} cr_gathered_t;

/* Adds a copy. @precondition it has the topic and partition, is one to be copied, and
 * there is room */
void cr_gather(cr_gathered_t *gathered, const cr_message_t *message, void *opaque);
/* Whether copies are made of such messages at all. */
bool cr_is_gatherable(const cr_message_t *message);

/* One that is closed; NULL when there is none. @locality any */
cr_intake_t *cr_intake_claim(void);
/* It is nobody's any more, or another's. @locality any */
void cr_intake_release(cr_intake_t *intake);
uint64_t cr_intake_key(const cr_intake_t *intake);

/* Messages like those that are to be gathered are taken from now on, each with that
 * opaque, until there are so many, or so many bytes of them. *into is the intake's until it
 * is closed. @precondition it is closed */
void cr_intake_open(cr_intake_t *intake, cr_gathered_t *into, void *opaque, uint64_t messages,
                    uint64_t bytes);
/* Adds a copy of a message that the client itself has, if it is open for such. */
bool cr_intake_join(cr_intake_t *intake, cr_message_t *message);
/* No more are taken. */
void cr_intake_close(cr_intake_t *intake);

/* Key:64, and a message as PRODUCE has it (commands.h). True when it was accepted; else it is to
 * come with a command, which says why not. @locality any */
bool cr_intake_command(const void *bytes, size_t size);

#endif
