/*
 * Reading without a group: slots that nobody assigns but the user, from an
 * offset on and up to another. Nothing is committed, and no group is asked.
 *
 * librdkafka's consumer with a group wants one for assign() as well, and looks
 * for its coordinator; its older interface, by topic and partition, does not.
 */
#ifndef CREMA_READER_H
#define CREMA_READER_H

#include "slot.h"

/* The end of what is to be read was met: tells the slot's worker, and stops
 * what librdkafka would still fetch. The slot goes when that is done. */
void cr_reader_end(cr_slot_t *slot);
/* Stops all that is still read. Waits for librdkafka's threads, not for
 * brokers. @locality reaper */
void cr_reader_stop(cr_client_t *client);

#endif
