/*
 * Memory of the core, in one place so that a test can let the N-th request
 * fail. Zeroed when new; NULL when there is none.
 */
#ifndef CREMA_MEM_H
#define CREMA_MEM_H

#include <stddef.h>
#include <stdint.h>

/* Once, before any client: see mem.c. Affects the whole process. */
void cr_mem_init(void);
/* Bytes that the whole process has of malloc() and has not freed; -1 where the C library
 * does not tell, or has another one before it. Each free piece is visited: microseconds
 * mostly, tens of milliseconds where there are 100,000. @locality any */
int64_t cr_mem_used(void);
void *cr_alloc(size_t size);
void *cr_realloc(void *block, size_t size);
void cr_free(void *block);
/* Overwrites what may be a secret, and frees it; NULL is none. */
void cr_wipe(void *block, size_t size);
/* A copy of size bytes with a zero byte behind. */
void *cr_copy(const void *bytes, size_t size);

#endif
