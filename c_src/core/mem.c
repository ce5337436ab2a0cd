#include "mem.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

/* Small blocks by malloc(): the C library's per-thread cache serves that one
 * only, and a message's call is made and freed a million times a second. */
#define SMALL 1024

/* glibc learns from the blocks that are freed to serve such sizes from the
 * heap, up to this one, unless mallopt() was ever called. */
#define LEARNT_AT_MOST (32 * 1024 * 1024)

/*
 * The emulator sets M_TRIM_THRESHOLD (its flag +MYtt), which ends that
 * learning: each response of a broker, some MB, is then mapped and unmapped,
 * and every page of it faults. That halves the rate of a consumer. Here the
 * process gets what glibc would have learnt. The emulator's own memory is not
 * concerned: it maps its carriers itself.
 */
void cr_mem_init(void) {
#ifdef __GLIBC__
        (void)mallopt(M_MMAP_THRESHOLD, LEARNT_AT_MOST);
        (void)mallopt(M_TRIM_THRESHOLD, LEARNT_AT_MOST);
#endif
}

void *cr_alloc(size_t size) {
        void *block;
        if (size > SMALL)
                return calloc(1, size);
        block = malloc(size ? size : 1);
        return block ? memset(block, 0, size) : NULL;
}

void *cr_realloc(void *block, size_t size) {
        return realloc(block, size ? size : 1);
}

void cr_free(void *block) {
        free(block);
}

void cr_wipe(void *block, size_t size) {
        if (block)
                OPENSSL_cleanse(block, size);
        cr_free(block);
}

void *cr_copy(const void *bytes, size_t size) {
        char *copy = cr_alloc(size + 1);
        if (copy && size)
                memcpy(copy, bytes, size);
        return copy;
}
