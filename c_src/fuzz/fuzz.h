/*
 * What the fuzzers share. Each fuzz_X.c is a program of its own: libFuzzer drives it
 * (`make fuzz`), and the C tests replay what is kept of its inputs (replay.c).
 *
 * A target reads its input as a script: numbers that choose, and bytes that are handed
 * to crema in blocks of just their size, so that nothing can be read beyond unseen.
 */
#ifndef CREMA_FUZZ_H
#define CREMA_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The property holds, or the input is a finding. */
#define FUZZ_CHECK(holds)                                                                          \
        do {                                                                                       \
                if (!(holds))                                                                      \
                        fuzz_fail(__FILE__, __LINE__, #holds);                                     \
        } while (0)
_Noreturn void fuzz_fail(const char *file, int line, const char *what);

/* The rest of an input. What is beyond its end are zeroes. */
typedef struct feed {
        const uint8_t *at;
        size_t left;
} feed_t;

uint8_t feed_u8(feed_t *feed);
uint16_t feed_u16(feed_t *feed);
uint64_t feed_u64(feed_t *feed);
/* A number below `end`, which is not 0. */
uint32_t feed_below(feed_t *feed, uint32_t end);
/* The next bytes, as many as there are up to `size`: a block of just that size, for
 * the caller to free. */
uint8_t *feed_bytes(feed_t *feed, size_t size, size_t *got);
/* The same as text, to the next zero byte. */
char *feed_text(feed_t *feed);

/* Whether it is one external term, and nothing behind it. */
bool is_term(const void *bytes, size_t size);

#endif
