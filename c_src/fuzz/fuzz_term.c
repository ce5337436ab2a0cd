/*
 * core/term.c, as a cursor in foreign bytes: whatever is asked for in whatever order,
 * it stays within them, and what it has read is written and read back the same.
 */
#include <stdlib.h>
#include <string.h>

#include "../core/term.h"
#include "../test/support/test_host.h"
#include "fuzz.h"

#define MOST_STEPS 64

enum step { TUPLE, LIST, LIST_END, BINARY, INTEGER, ATOM, STEPS };

/* What has been read, in turn, and is written again. */
typedef struct copy {
        cr_reader_t in;
        cr_writer_t out;
        bool foreign; /* an atom that the writer, which takes names of ours, does not spell so */
} copy_t;

static uint8_t touched;

static void touch(const char *bytes, size_t size) {
        for (size_t i = 0; i < size; i++)
                touched ^= (uint8_t)bytes[i];
}

static bool is_ascii(const char *text) {
        while (*text > 0)
                text++;
        return !*text;
}

static void take(copy_t *copy, uint8_t step, uint8_t number) {
        char name[32];
        cr_text_t text;
        int64_t integer;
        int count;
        switch (step % STEPS) {
        case TUPLE:
                if (cr_read_tuple(&copy->in, number))
                        cr_write_tuple(&copy->out, number);
                break;
        case LIST:
                count = cr_read_list(&copy->in);
                FUZZ_CHECK(count >= 0 && count <= copy->in.size);
                cr_write_list(&copy->out, count);
                if (!count)
                        cr_write_list_end(&copy->out);
                break;
        case LIST_END:
                cr_read_list_end(&copy->in, number);
                if (number)
                        cr_write_list_end(&copy->out);
                break;
        case BINARY:
                text = cr_read_binary(&copy->in);
                touch(text.bytes, text.size);
                cr_write_binary(&copy->out, text.bytes, text.size);
                break;
        case INTEGER:
                integer = cr_read_integer(&copy->in);
                cr_write_integer(&copy->out, integer);
                break;
        case ATOM:
                cr_read_atom(&copy->in, name, number % sizeof(name) + 1);
                FUZZ_CHECK(strlen(name) <= number % sizeof(name));
                copy->foreign |= !is_ascii(name);
                cr_write_atom(&copy->out, name);
                break;
        }
        FUZZ_CHECK(copy->in.failed || (copy->in.at >= 0 && copy->in.at <= copy->in.size));
}

/* The same of what was written, as long as the reader had not failed. More stands
 * behind it, for a list's head must have as many bytes behind it as elements. */
static void is_the_same(feed_t steps, int count, copy_t *first) {
        int size = first->out.x.index;
        copy_t second = {.out = cr_writer()};
        for (int i = 0; i < first->in.size; i++)
                cr_write_list_end(&first->out);
        second.in = cr_reader(first->out.x.buff, (size_t)first->out.x.index);
        for (int i = 0; i < count; i++) {
                uint8_t step = feed_u8(&steps);
                take(&second, step, feed_u8(&steps));
        }
        FUZZ_CHECK(!second.in.failed && second.in.at == size && second.out.x.index == size);
        FUZZ_CHECK(!memcmp(second.out.x.buff, first->out.x.buff, (size_t)size));
        cr_writer_discard(&second.out);
}

/* A number of steps, the steps, and the bytes that they are about. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        feed_t feed = {data, size}, steps;
        int count = feed_u8(&feed) % MOST_STEPS, done = 0;
        size_t got;
        uint8_t *bytes;
        copy_t copy;
        steps = feed;
        for (int i = 0; i < count; i++)
                (void)feed_u16(&feed);
        bytes = feed_bytes(&feed, feed.left, &got);
        copy = (copy_t){.in = cr_reader(bytes, got), .out = cr_writer()};
        for (feed = steps; done < count && !copy.in.failed; done++) {
                uint8_t step = feed_u8(&feed);
                take(&copy, step, feed_u8(&feed));
        }
        if (!copy.in.failed && !copy.foreign)
                is_the_same(steps, done, &copy);
        cr_writer_discard(&copy.out);
        free(bytes);
        return 0;
}
