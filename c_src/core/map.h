/*
 * A map from 64-bit numbers (never 0) to pointers: open addressing, linear
 * probing, removal by shifting back, so that it needs no tombstones.
 */
#ifndef CREMA_MAP_H
#define CREMA_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cr_map_cell {
        uint64_t key;
        void *value;
} cr_map_cell_t;

typedef struct cr_map {
        cr_map_cell_t *cells; /* NULL until the first put */
        size_t size;          /* a power of two */
        size_t count;
} cr_map_t;

void *cr_map_get(const cr_map_t *map, uint64_t key);
/* False when there is no memory; the map is then as it was. */
bool cr_map_put(cr_map_t *map, uint64_t key, void *value);
/* Returns what was there, or NULL. */
void *cr_map_remove(cr_map_t *map, uint64_t key);
/* Steps through all values: *at starts at 0; NULL at the end. No put or
 * remove may come between. */
void *cr_map_next(const cr_map_t *map, size_t *at);
void cr_map_clear(cr_map_t *map);

#endif
