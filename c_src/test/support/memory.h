/* The core's memory, in which any one request can be made to fail. */
#ifndef CREMA_TEST_MEMORY_H
#define CREMA_TEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* The request with that number, counted from now on, has no memory; 0: none. */
void memory_fails_at(long request);
/* How many there were since. */
long memory_requests(void);
/* Whether requests of this thread count: those of a test itself do not. */
void memory_counts(bool counts);
/* As the core's: a host's blocks are part of it. */
void *memory_malloc(size_t size);

#endif
