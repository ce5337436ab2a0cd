/*
 * librdkafka's statistics, from its JSON to an event for the owner:
 * {statistics, Map}, the whole document, objects as maps with binaries as keys.
 *
 * With many partitions the document is large: it is read, and the term built,
 * on a lane of its own, which starts with the first.
 */
#ifndef CREMA_STATISTICS_H
#define CREMA_STATISTICS_H

#include "client.h"

/* Sends the event later. Passed over: JSON that is not understood, and what
 * comes while the one before is still read. */
void cr_statistics_event(cr_client_t *client, const char *json);

#endif
