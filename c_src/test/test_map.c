/* core/map.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../core/map.h"

/* Proves that a map holds what a plain array holds, whatever is put and removed. */
static void behaves_like_an_array(void **state) {
        enum { KEYS = 500, STEPS = 100000 };
        static int values[KEYS + 1];
        bool there[KEYS + 1] = {false};
        cr_map_t map = {0};
        uint32_t random = 1;
        size_t count = 0;
        (void)state;
        for (int i = 0; i < STEPS; i++) {
                random = random * 1664525u + 1013904223u;
                uint64_t key = 1 + (random >> 8) % KEYS;
                if (random >> 31) {
                        assert_true(cr_map_put(&map, key, &values[key]));
                        count += !there[key];
                        there[key] = true;
                } else {
                        assert_ptr_equal(cr_map_remove(&map, key),
                                         there[key] ? &values[key] : NULL);
                        count -= there[key];
                        there[key] = false;
                }
                assert_int_equal(map.count, count);
        }
        for (uint64_t key = 1; key <= KEYS; key++)
                assert_ptr_equal(cr_map_get(&map, key), there[key] ? &values[key] : NULL);
        cr_map_clear(&map);
}

/* Proves that stepping through a map meets each value once. */
static void steps_through_all(void **state) {
        int seen[100] = {0};
        cr_map_t map = {0};
        size_t at = 0;
        int *value;
        (void)state;
        for (uint64_t key = 1; key <= 100; key++)
                assert_true(cr_map_put(&map, key * 7919, &seen[key - 1]));
        while ((value = cr_map_next(&map, &at)))
                ++*value;
        for (int i = 0; i < 100; i++)
                assert_int_equal(seen[i], 1);
        cr_map_clear(&map);
}

/* Proves that an empty map answers without having allocated anything. */
static void empty_is_empty(void **state) {
        cr_map_t map = {0};
        (void)state;
        assert_null(cr_map_get(&map, 1));
        assert_null(cr_map_remove(&map, 1));
        assert_null(map.cells);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(behaves_like_an_array),
                                           cmocka_unit_test(steps_through_all),
                                           cmocka_unit_test(empty_is_empty)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
