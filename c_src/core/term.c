#include "term.h"

#include <limits.h>
#include <string.h>

#include "mem.h"

/* The buffer of a writer, at first: most answers fit. */
#define SMALLEST 128

static bool fail(cr_reader_t *in) {
        in->failed = true;
        return false;
}

/* True when the next element has this tag and `size` bytes stand behind it. */
static bool next_is(const cr_reader_t *in, unsigned char tag, int size) {
        return !in->failed && in->at < in->size && (unsigned char)in->data[in->at] == tag &&
               size <= in->size - in->at - 1;
}

/* The big-endian number of `size` bytes behind the tag; next_is() came first. */
static uint32_t peek(const cr_reader_t *in, int size) {
        uint32_t value = 0;
        for (int i = 1; i <= size; i++)
                value = value << 8 | (unsigned char)in->data[in->at + i];
        return value;
}

cr_reader_t cr_reader(const void *data, size_t size) {
        cr_reader_t in = {.data = data, .size = size > INT_MAX ? 0 : (int)size};
        int version;
        if (in.size < 2 || ei_decode_version(in.data, &in.at, &version) < 0)
                in.failed = true;
        return in;
}

bool cr_read_tuple(cr_reader_t *in, int arity) {
        int found;
        if (!next_is(in, ERL_SMALL_TUPLE_EXT, 1) && !next_is(in, ERL_LARGE_TUPLE_EXT, 4))
                return fail(in);
        if (ei_decode_tuple_header(in->data, &in->at, &found) < 0 || found != arity)
                return fail(in);
        return true;
}

int cr_read_list(cr_reader_t *in) {
        int elements;
        if (!next_is(in, ERL_NIL_EXT, 0) && !next_is(in, ERL_LIST_EXT, 4))
                return fail(in), 0;
        if (ei_decode_list_header(in->data, &in->at, &elements) < 0 || elements < 0)
                return fail(in), 0;
        /* Each element takes a byte at least: a count beyond that is a lie. */
        if (elements > in->size - in->at)
                return fail(in), 0;
        return elements;
}

void cr_read_list_end(cr_reader_t *in, int elements) {
        if (elements == 0 || in->failed)
                return; /* [] was its own end */
        if (!next_is(in, ERL_NIL_EXT, 0))
                fail(in);
        else
                in->at++;
}

cr_text_t cr_read_binary(cr_reader_t *in) {
        cr_text_t text = {.bytes = "", .size = 0};
        uint32_t size;
        if (!next_is(in, ERL_BINARY_EXT, 4))
                return fail(in), text;
        size = peek(in, 4);
        if (size > (uint32_t)(in->size - in->at - 5))
                return fail(in), text;
        text.bytes = in->data + in->at + 5;
        text.size = size;
        in->at += 5 + (int)size;
        return text;
}

int64_t cr_read_integer(cr_reader_t *in) {
        long long value = 0;
        bool whole = next_is(in, ERL_SMALL_INTEGER_EXT, 1) || next_is(in, ERL_INTEGER_EXT, 4) ||
                     (next_is(in, ERL_SMALL_BIG_EXT, 2) &&
                      next_is(in, ERL_SMALL_BIG_EXT, 2 + (int)peek(in, 1)));
        if (!whole || ei_decode_longlong(in->data, &in->at, &value) < 0)
                return fail(in), 0;
        return value;
}

static bool atom_is_whole(const cr_reader_t *in) {
        static const struct {
                unsigned char tag;
                int length;
        } forms[] = {{ERL_ATOM_EXT, 2},
                     {ERL_SMALL_ATOM_EXT, 1},
                     {ERL_ATOM_UTF8_EXT, 2},
                     {ERL_SMALL_ATOM_UTF8_EXT, 1}};
        for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
                if (next_is(in, forms[i].tag, forms[i].length))
                        return next_is(in, forms[i].tag,
                                       forms[i].length + (int)peek(in, forms[i].length));
        }
        return false;
}

void cr_read_atom(cr_reader_t *in, char *name, size_t room) {
        char whole[MAXATOMLEN_UTF8];
        name[0] = '\0';
        if (!atom_is_whole(in) ||
            ei_decode_atom_as(in->data, &in->at, whole, sizeof(whole), ERLANG_UTF8, NULL, NULL) <
                    0 ||
            strlen(whole) >= room) {
                fail(in);
                return;
        }
        memcpy(name, whole, strlen(whole) + 1);
}

bool cr_reader_done(const cr_reader_t *in) {
        return !in->failed && in->at == in->size;
}

/* Room for so many bytes more. ei would make it by itself, but loses what it has
 * when there is none. */
static bool make_room(cr_writer_t *out, int size) {
        ei_x_buff *x = &out->x;
        char *grown;
        int room;
        if (size <= x->buffsz - x->index)
                return true;
        if (size > INT_MAX / 2 - x->index)
                return false;
        room = 2 * x->index + size > SMALLEST ? 2 * x->index + size : SMALLEST;
        grown = cr_realloc(x->buff, (size_t)room);
        if (!grown)
                return false;
        x->buff = grown;
        x->buffsz = room;
        return true;
}

/* Without a buffer ei only tells the size. */
#define WRITE(out, encode, ...)                                                                    \
        do {                                                                                       \
                int size_ = 0;                                                                     \
                if (!(out)->failed &&                                                              \
                    (encode(NULL, &size_, __VA_ARGS__) < 0 || !make_room(out, size_) ||            \
                     encode((out)->x.buff, &(out)->x.index, __VA_ARGS__) < 0))                     \
                        (out)->failed = true;                                                      \
        } while (0)

cr_writer_t cr_writer(void) {
        cr_writer_t out = {.failed = false};
        out.failed = !make_room(&out, 1) || ei_encode_version(out.x.buff, &out.x.index) < 0;
        return out;
}

void cr_write_part(cr_writer_t *out, const cr_writer_t *part) {
        if (out->failed || part->failed || !make_room(out, part->x.index)) {
                out->failed = true;
                return;
        }
        if (part->x.index)
                memcpy(out->x.buff + out->x.index, part->x.buff, (size_t)part->x.index);
        out->x.index += part->x.index;
}

void cr_write_tuple(cr_writer_t *out, int arity) {
        WRITE(out, ei_encode_tuple_header, arity);
}

void cr_write_list(cr_writer_t *out, int elements) {
        if (elements > 0)
                WRITE(out, ei_encode_list_header, elements);
}

void cr_write_list_end(cr_writer_t *out) {
        WRITE(out, ei_encode_list_header, 0);
}

void cr_write_map(cr_writer_t *out, int pairs) {
        WRITE(out, ei_encode_map_header, pairs);
}

void cr_write_atom(cr_writer_t *out, const char *name) {
        WRITE(out, ei_encode_atom, name);
}

void cr_write_bool(cr_writer_t *out, bool value) {
        WRITE(out, ei_encode_boolean, value);
}

void cr_write_integer(cr_writer_t *out, int64_t value) {
        WRITE(out, ei_encode_longlong, value);
}

void cr_write_double(cr_writer_t *out, double value) {
        WRITE(out, ei_encode_double, value);
}

void cr_write_text(cr_writer_t *out, const char *text) {
        cr_write_binary(out, text ? text : "", text ? strlen(text) : 0);
}

void cr_write_binary(cr_writer_t *out, const void *bytes, size_t size) {
        if (size > INT_MAX / 2)
                out->failed = true;
        WRITE(out, ei_encode_binary, bytes, (long)size);
}

void cr_writer_discard(cr_writer_t *out) {
        cr_free(out->x.buff);
        out->x = (ei_x_buff){0};
}

cr_buf_t *cr_writer_finish(cr_writer_t *out, const cr_host_ops_t *ops, size_t *size) {
        cr_buf_t *buf = NULL;
        *size = 0;
        if (!out->failed && (buf = ops->buf_new((size_t)out->x.index))) {
                *size = (size_t)out->x.index;
                memcpy(ops->buf_bytes(buf), out->x.buff, *size);
        }
        cr_writer_discard(out);
        return buf;
}
