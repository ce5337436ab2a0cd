#include "options.h"

#include <string.h>

typedef struct row {
        const char *name;
        size_t offset;
        int64_t preset;
} row_t;

#define ROW(field, preset)                                                                         \
        { #field, offsetof(cr_options_t, field), preset }
static const row_t rows[] = {ROW(max_messages, 100000),
                             ROW(max_bytes, 256 << 20),
                             ROW(max_unclaimed, 100000),
                             ROW(batch_messages, 1000),
                             ROW(batch_bytes, 256 << 10),
                             ROW(max_in_flight, 10000),
                             ROW(commits, 1),
                             ROW(prefetch, 64 << 20),
                             ROW(brokers, 1),
                             ROW(tally, 0),
                             ROW(tally_listed, 0)};
#undef ROW
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static int64_t *field(cr_options_t *options, const row_t *row) {
        return (int64_t *)(void *)((char *)options + row->offset);
}

static bool read_one(cr_options_t *options, cr_reader_t *in) {
        cr_text_t name;
        int64_t value;
        if (!cr_read_tuple(in, 2))
                return false;
        name = cr_read_binary(in);
        value = cr_read_integer(in);
        for (size_t i = 0; i < ROWS && !in->failed && value > 0; i++) {
                if (strlen(rows[i].name) == name.size &&
                    memcmp(rows[i].name, name.bytes, name.size) == 0) {
                        *field(options, &rows[i]) = value;
                        return true;
                }
        }
        in->failed = true;
        return false;
}

bool cr_options_read(cr_options_t *options, cr_reader_t *in) {
        int count;
        for (size_t i = 0; i < ROWS; i++)
                *field(options, &rows[i]) = rows[i].preset;
        count = cr_read_list(in);
        for (int i = 0; i < count; i++) {
                if (!read_one(options, in))
                        return false;
        }
        cr_read_list_end(in, count);
        return !in->failed;
}
