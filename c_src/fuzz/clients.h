/*
 * Clients of each kind for the fuzzers, on an embedded cluster that lives as long as
 * the program, with a topic "t" of two partitions that has some messages.
 */
#ifndef CREMA_FUZZ_CLIENTS_H
#define CREMA_FUZZ_CLIENTS_H

#include "../test/support/test_host.h"

/* The corpus has these numbers: new ones come last. */
typedef enum fuzz_kind {
        FUZZ_NEW,
        FUZZ_PRODUCER,
        FUZZ_TRANSACTIONAL,
        FUZZ_CONSUMER, /* without a broker: joins and leaves at random would block closes */
        FUZZ_READER,   /* of both partitions */
        FUZZ_CLUSTER,  /* another one */
        FUZZ_KINDS
} fuzz_kind_t;

/* Owned by the caller. */
test_host_t *fuzz_client(fuzz_kind_t kind);
/* Frees what it was sent; what claims to be a term must be one. */
void fuzz_forget_packets(test_host_t *host);
/* Serves it for so many milliseconds, or until nothing comes. */
void fuzz_serve(test_host_t *host, int millis);
/* Waits while more than some jobs wait for its lanes; false when that took too long. */
bool fuzz_catch_up(test_host_t *host);
/* The number of its n-th slot; any when it has none. */
uint64_t fuzz_slot(const test_host_t *host, unsigned number);
/* A time that a command ends with becomes a short one: its lane would be held up. */
void fuzz_shorten_time(unsigned char *term, size_t size);
/* Whether bytes name a property that runs foreign code, or reads files, as soon as it
 * is set: a fuzzer must not find its way out of its process. */
bool fuzz_is_forbidden(const void *bytes, size_t size);

#endif
