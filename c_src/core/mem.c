#include "mem.h"

#include <stdlib.h>
#include <string.h>

void *cr_alloc(size_t size) {
        return calloc(1, size ? size : 1);
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
