/* core/term.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../core/term.h"

/* Reads whatever may come, as the commands do. */
static bool read_all(const void *data, size_t size) {
        cr_reader_t in = cr_reader(data, size);
        char atom[32];
        int count;
        if (!cr_read_tuple(&in, 4))
                return false;
        cr_read_binary(&in);
        cr_read_atom(&in, atom, sizeof(atom));
        count = cr_read_list(&in);
        for (int i = 0; i < count; i++) {
                cr_read_tuple(&in, 2);
                cr_read_binary(&in);
                cr_read_integer(&in);
        }
        cr_read_list_end(&in, count);
        cr_read_integer(&in);
        return cr_reader_done(&in);
}

static cr_writer_t sample(void) {
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, 4);
        cr_write_text(&out, "a text");
        cr_write_atom(&out, "an_atom");
        cr_write_list(&out, 4);
        for (int64_t i = -1; i < 3; i++) {
                cr_write_tuple(&out, 2);
                cr_write_binary(&out, "\0\1", 2);
                cr_write_integer(&out, i * INT64_C(5000000000));
        }
        cr_write_list_end(&out);
        cr_write_integer(&out, INT64_MIN + 1);
        return out;
}

/* Proves that what is written is read back. */
static void reads_what_is_written(void **state) {
        cr_writer_t out = sample();
        (void)state;
        assert_false(out.failed);
        assert_true(read_all(out.x.buff, (size_t)out.x.index));
        cr_writer_discard(&out);
}

/* Proves that no prefix of a term is taken for it, and that nothing behind the
 * end is read: each stands at the end of a block of its own. */
static void refuses_every_prefix(void **state) {
        cr_writer_t out = sample();
        (void)state;
        for (int size = 0; size < out.x.index; size++) {
                char *exact = malloc((size_t)size ? (size_t)size : 1);
                memcpy(exact, out.x.buff, (size_t)size);
                assert_false(read_all(exact, (size_t)size));
                free(exact);
        }
        cr_writer_discard(&out);
}

/* Proves that no change of a byte makes the reader go astray. */
static void survives_changed_bytes(void **state) {
        cr_writer_t out = sample();
        unsigned seed = 7;
        (void)state;
        for (int i = 0; i < 200000; i++) {
                size_t size = (size_t)out.x.index;
                char *block = malloc(size);
                memcpy(block, out.x.buff, size);
                for (int n = rand_r(&seed) % 4; n >= 0; n--)
                        block[(size_t)rand_r(&seed) % size] = (char)rand_r(&seed);
                (void)read_all(block, size);
                free(block);
        }
        cr_writer_discard(&out);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(reads_what_is_written),
                                           cmocka_unit_test(refuses_every_prefix),
                                           cmocka_unit_test(survives_changed_bytes)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
