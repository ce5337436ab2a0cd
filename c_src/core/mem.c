#include "mem.h"

#include <stdlib.h>
#include <string.h>

/* Small blocks by malloc(): the C library's per-thread cache serves that one
 * only, and a message's call is made and freed a million times a second. */
#define SMALL 1024

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

void *cr_copy(const void *bytes, size_t size) {
        char *copy = cr_alloc(size + 1);
        if (copy && size)
                memcpy(copy, bytes, size);
        return copy;
}
