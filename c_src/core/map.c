#include "map.h"

#include "mem.h"

static size_t home(const cr_map_t *map, uint64_t key) {
        /* Fibonacci hashing spreads the consecutive numbers we mostly get. */
        return (size_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (map->size - 1);
}

static size_t find(const cr_map_t *map, uint64_t key) {
        size_t at = home(map, key);
        while (map->cells[at].key && map->cells[at].key != key)
                at = (at + 1) & (map->size - 1);
        return at;
}

void *cr_map_get(const cr_map_t *map, uint64_t key) {
        return map->count ? map->cells[find(map, key)].value : NULL;
}

static bool grow(cr_map_t *map) {
        cr_map_t larger = {.size = map->size ? map->size * 2 : 16};
        larger.cells = cr_alloc(larger.size * sizeof(*larger.cells));
        if (!larger.cells)
                return false;
        for (size_t i = 0; i < map->size; i++) {
                if (map->cells[i].key)
                        larger.cells[find(&larger, map->cells[i].key)] = map->cells[i];
        }
        larger.count = map->count;
        cr_free(map->cells);
        *map = larger;
        return true;
}

bool cr_map_put(cr_map_t *map, uint64_t key, void *value) {
        size_t at;
        if ((map->count + 1) * 2 > map->size && !grow(map))
                return false;
        at = find(map, key);
        if (!map->cells[at].key)
                map->count++;
        map->cells[at] = (cr_map_cell_t){.key = key, .value = value};
        return true;
}

void *cr_map_remove(cr_map_t *map, uint64_t key) {
        size_t hole, at;
        void *value;
        if (!map->count)
                return NULL;
        hole = find(map, key);
        value = map->cells[hole].value;
        if (!map->cells[hole].key)
                return NULL;
        /* Whoever stands behind the hole and hashes to before it moves in. */
        for (at = (hole + 1) & (map->size - 1); map->cells[at].key;
             at = (at + 1) & (map->size - 1)) {
                size_t wanted = home(map, map->cells[at].key);
                if (((at - wanted) & (map->size - 1)) >= ((at - hole) & (map->size - 1))) {
                        map->cells[hole] = map->cells[at];
                        hole = at;
                }
        }
        map->cells[hole] = (cr_map_cell_t){0};
        map->count--;
        return value;
}

void *cr_map_next(const cr_map_t *map, size_t *at) {
        while (*at < map->size) {
                const cr_map_cell_t *cell = &map->cells[(*at)++];
                if (cell->key)
                        return cell->value;
        }
        return NULL;
}

void cr_map_clear(cr_map_t *map) {
        cr_free(map->cells);
        *map = (cr_map_t){0};
}
