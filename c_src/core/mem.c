#include "mem.h"

#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

/* Small blocks by malloc(): the C library's per-thread cache serves that one
 * only, and a message's call is made and freed a million times a second. */
#define SMALL 1024

/* A block that nothing else of the process is as large as while it is looked for. */
#define PROBE (1024 * 1024)

/* glibc learns from the blocks that are freed to serve such sizes from the
 * heap, up to this one, unless mallopt() was ever called. */
#define LEARNT_AT_MOST (32 * 1024 * 1024)

/* Set once, by cr_mem_init(). */
static bool told;

static int64_t used(void) {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
        struct mallinfo2 info = mallinfo2();
        return (int64_t)(info.uordblks + info.hblkhd);
#else
        return 0;
#endif
}

/* Another malloc() may stand before the C library's: a sanitizer's, or one that is
 * preloaded. Of its blocks the C library knows nothing. */
static void look_whether_told(void) {
        int64_t before = used();
        volatile char *block = malloc(PROBE);
        if (block)
                block[0] = 1;
        told = block && used() - before > PROBE / 2;
        free((void *)block);
}

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
        look_whether_told();
}

int64_t cr_mem_used(void) {
        return told ? used() : -1;
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
