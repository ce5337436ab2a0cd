#include "memory.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "trial.h"

/* Requests until one fails; 0 and below: none will. */
static atomic_long left;
static atomic_long requests;

void memory_fails_at(long request) {
        atomic_store(&left, request);
        atomic_store(&requests, 0);
}

long memory_requests(void) {
        return atomic_load(&requests);
}

static _Thread_local bool spared;

void memory_counts(bool counts) {
        spared = !counts;
}

static bool fails(void) {
        if (spared)
                return false;
        atomic_fetch_add(&requests, 1);
        if (atomic_fetch_sub(&left, 1) != 1)
                return false;
        trial_note_place();
        return true;
}

void *memory_malloc(size_t size) {
        return fails() ? NULL : malloc(size);
}

static void *memory_calloc(size_t count, size_t size) {
        return fails() ? NULL : calloc(count, size);
}

static void *memory_realloc(void *block, size_t size) {
        return fails() ? NULL : realloc(block, size);
}

#define malloc memory_malloc
#define calloc memory_calloc
#define realloc memory_realloc
#include "../../core/mem.c"
