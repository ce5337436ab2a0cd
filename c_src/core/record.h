/*
 * What is seen of a record without librdkafka's help.
 *
 * To ask librdkafka for the headers of a message that has none costs more than all
 * else that is done with it: two allocations, under the lock that librdkafka's thread
 * wants for its own. But it leaves a value where it was received, between its size
 * and what follows it.
 */
#ifndef CREMA_RECORD_H
#define CREMA_RECORD_H

#include <stdbool.h>
#include <stddef.h>

/* A message with this value has no headers; false when it may have some. The value
 * must lie in a record as it was received. @locality any */
bool cr_record_is_bare(const unsigned char *value, size_t size);

#endif
