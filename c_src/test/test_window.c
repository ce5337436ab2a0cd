/* core/window.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../core/window.h"

static int kept;

static void keep(cr_buf_t *buf) {
        (void)buf;
        kept++;
}
static void release(cr_buf_t *buf) {
        (void)buf;
        kept--;
}
static const cr_host_ops_t ops = {.buf_keep = keep, .buf_release = release};

static void add_run(cr_window_t *window, int64_t first, uint32_t count, int64_t step) {
        int64_t offsets[1000];
        for (uint32_t i = 0; i < count; i++)
                offsets[i] = first + i * step;
        assert_true(cr_window_add(window, NULL, 0, offsets, count));
}

/* Proves that the position follows the prefix, and never passes a message that
 * is not acknowledged. */
static void position_is_the_prefix(void **state) {
        cr_window_t window;
        (void)state;
        cr_window_init(&window, &ops);
        add_run(&window, 10, 5, 1);
        assert_int_equal(cr_window_position(&window), CR_NO_POSITION);
        assert_true(cr_window_ack(&window, 12, 14));
        assert_int_equal(cr_window_position(&window), CR_NO_POSITION);
        assert_true(cr_window_ack(&window, 10, 10));
        assert_int_equal(cr_window_position(&window), 11);
        assert_true(cr_window_ack(&window, 11, 11));
        assert_int_equal(cr_window_position(&window), 15);
        assert_int_equal(window.unacked, 0);
        assert_int_equal(kept, 0);
}

/* Proves that what is not acknowledged is found, run by run, and no more. */
static void runs_are_found(void **state) {
        cr_window_t window;
        cr_window_at_t at;
        int64_t first, last;
        (void)state;
        cr_window_init(&window, &ops);
        add_run(&window, 10, 10, 1);
        add_run(&window, 30, 5, 10);
        assert_true(cr_window_ack(&window, 10, 11));
        assert_true(cr_window_ack(&window, 14, 15));
        assert_true(cr_window_ack(&window, 50, 50));
        at = (cr_window_at_t){.batch = TAILQ_FIRST(&window.batches)};
        assert_true(cr_window_next_run(&at, 0, INT64_MAX, &first, &last));
        assert_int_equal(first, 12);
        assert_int_equal(last, 13);
        assert_true(cr_window_next_run(&at, 0, INT64_MAX, &first, &last));
        assert_int_equal(first, 16);
        assert_int_equal(last, 40); /* offsets between hold no message */
        assert_true(cr_window_next_run(&at, 0, INT64_MAX, &first, &last));
        assert_int_equal(first, 60);
        assert_int_equal(last, 70);
        assert_false(cr_window_next_run(&at, 0, INT64_MAX, &first, &last));
        at = (cr_window_at_t){.batch = TAILQ_FIRST(&window.batches)};
        assert_true(cr_window_next_run(&at, 17, 35, &first, &last));
        assert_int_equal(first, 17);
        assert_int_equal(last, 30);
        assert_false(cr_window_next_run(&at, 17, 35, &first, &last));
        cr_window_clear(&window);
        at = (cr_window_at_t){.batch = TAILQ_FIRST(&window.batches)};
        assert_false(cr_window_next_run(&at, 0, INT64_MAX, &first, &last));
}

/* Proves that gaps between offsets are no obstacle, within and between batches. */
static void gaps_do_not_matter(void **state) {
        cr_window_t window;
        (void)state;
        cr_window_init(&window, &ops);
        add_run(&window, 100, 10, 3);
        add_run(&window, 1000, 10, 1);
        assert_true(cr_window_ack(&window, 0, 99));
        assert_int_equal(window.unacked, 20);
        assert_true(cr_window_ack(&window, 100, 110));
        assert_int_equal(cr_window_position(&window), 112);
        assert_true(cr_window_ack(&window, 112, 1004));
        assert_int_equal(cr_window_position(&window), 1005);
        cr_window_clear(&window);
        assert_int_equal(kept, 0);
}

/* Proves that the end of a partition counts only when all is acknowledged. */
static void end_waits_for_all(void **state) {
        cr_window_t window;
        (void)state;
        cr_window_init(&window, &ops);
        add_run(&window, 0, 3, 1);
        cr_window_end(&window, 8);
        assert_int_equal(cr_window_position(&window), CR_NO_POSITION);
        assert_true(cr_window_ack(&window, 0, 1));
        assert_int_equal(cr_window_position(&window), 2);
        assert_true(cr_window_ack(&window, 2, 2));
        assert_int_equal(cr_window_position(&window), 8);
}

/* Proves that a mask marks what is acknowledged, and nothing else. */
static void mask_tells_what_is_acknowledged(void **state) {
        cr_window_t window;
        unsigned char mask[2];
        (void)state;
        cr_window_init(&window, &ops);
        add_run(&window, 0, 10, 1);
        assert_true(cr_window_ack(&window, 0, 2));
        assert_true(cr_window_ack(&window, 8, 8));
        assert_int_equal(cr_batch_mask_size(TAILQ_FIRST(&window.batches)), 2);
        memset(mask, 0xff, sizeof(mask));
        assert_true(cr_batch_mask_clear(TAILQ_FIRST(&window.batches), mask, 0, INT64_MAX));
        assert_int_equal(mask[0], 0x07);
        assert_int_equal(mask[1], 0xfd);
        cr_window_clear(&window);
}

/* Proves, against a naive model, that any order of acknowledgements gives the
 * right position and count. */
static void agrees_with_a_model(void **state) {
        enum { OFFSETS = 4000 };
        static unsigned char delivered[OFFSETS], acked[OFFSETS];
        unsigned seed = 20261121;
        (void)state;
        for (int round = 0; round < 50; round++) {
                cr_window_t window;
                int64_t next = 0;
                memset(delivered, 0, sizeof(delivered));
                memset(acked, 0, sizeof(acked));
                cr_window_init(&window, &ops);
                for (int step = 0; step < 200; step++) {
                        int64_t from, to, expected = CR_NO_POSITION;
                        uint64_t unacked = 0;
                        if (rand_r(&seed) % 3 == 0 && next < OFFSETS - 200) {
                                uint32_t count = 1 + (uint32_t)rand_r(&seed) % 20;
                                int64_t gap = 1 + rand_r(&seed) % 3;
                                add_run(&window, next, count, gap);
                                for (uint32_t i = 0; i < count; i++)
                                        delivered[next + i * gap] = 1;
                                next += count * gap;
                        }
                        if (!next)
                                continue;
                        from = rand_r(&seed) % next;
                        to = from + rand_r(&seed) % 30;
                        assert_true(cr_window_ack(&window, from, to));
                        for (int64_t i = from; i <= to && i < OFFSETS; i++)
                                acked[i] = (unsigned char)(acked[i] | delivered[i]);
                        for (int64_t i = 0; i < OFFSETS; i++)
                                unacked += delivered[i] && !acked[i];
                        assert_int_equal(window.unacked, unacked);
                        /* Behind the last message before the first open one. */
                        for (int64_t i = 0; i < OFFSETS && !(delivered[i] && !acked[i]); i++) {
                                if (delivered[i])
                                        expected = i + 1;
                        }
                        if (expected == CR_NO_POSITION)
                                assert_int_equal(cr_window_position(&window), CR_NO_POSITION);
                        else
                                assert_true(cr_window_position(&window) >= expected);
                        for (int64_t i = 0; i < cr_window_position(&window); i++)
                                assert_true(!delivered[i] || acked[i]);
                }
                cr_window_clear(&window);
                assert_int_equal(kept, 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(position_is_the_prefix),
                                           cmocka_unit_test(runs_are_found),
                                           cmocka_unit_test(gaps_do_not_matter),
                                           cmocka_unit_test(end_waits_for_all),
                                           cmocka_unit_test(mask_tells_what_is_acknowledged),
                                           cmocka_unit_test(agrees_with_a_model)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
