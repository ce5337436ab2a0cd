/*
 * External terms, read and written.
 *
 * ei_decode_*() takes no end of the buffer, so nothing outside term.c calls
 * it: cr_reader_t checks that an element is whole before ei may look at it,
 * and a reader that has met anything unexpected stays failed.
 */
#ifndef CREMA_TERM_H
#define CREMA_TERM_H

#include <ei.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host.h"

typedef struct cr_reader {
        const char *data;
        int size;
        int at;
        bool failed;
} cr_reader_t;

/* A run of bytes inside the buffer that is read: borrowed from it. */
typedef struct cr_text {
        const char *bytes;
        size_t size;
} cr_text_t;

cr_reader_t cr_reader(const void *data, size_t size);
/* Fails unless the next element is a tuple of that many elements. */
bool cr_read_tuple(cr_reader_t *in, int arity);
/* The number of elements; 0 for []. The tail is read by cr_read_list_end(). */
int cr_read_list(cr_reader_t *in);
void cr_read_list_end(cr_reader_t *in, int elements);
cr_text_t cr_read_binary(cr_reader_t *in);
int64_t cr_read_integer(cr_reader_t *in);
/* The name, cut to the given room, with a zero byte. */
void cr_read_atom(cr_reader_t *in, char *name, size_t room);
/* True when everything was as asked for and nothing is left over. */
bool cr_reader_done(const cr_reader_t *in);

/* The answer under construction; x is used as bytes only, for ei's functions that make
 * it grow lose it when there is no memory. Running out of memory is remembered, and
 * cr_writer_finish() then gives NULL. */
typedef struct cr_writer {
        ei_x_buff x;
        bool failed;
} cr_writer_t;

cr_writer_t cr_writer(void);
/* Writes what another has written: terms, without the version that cr_writer() begins
 * with, so that it is {0} at first. */
void cr_write_part(cr_writer_t *out, const cr_writer_t *part);
void cr_write_tuple(cr_writer_t *out, int arity);
void cr_write_list(cr_writer_t *out, int elements);
void cr_write_list_end(cr_writer_t *out);
/* Keys and values follow in turn. */
void cr_write_map(cr_writer_t *out, int pairs);
void cr_write_atom(cr_writer_t *out, const char *name);
void cr_write_bool(cr_writer_t *out, bool value);
void cr_write_integer(cr_writer_t *out, int64_t value);
void cr_write_double(cr_writer_t *out, double value);
void cr_write_text(cr_writer_t *out, const char *text);
void cr_write_binary(cr_writer_t *out, const void *bytes, size_t size);
/* Frees a writer that is not to be finished. */
void cr_writer_discard(cr_writer_t *out);
/* Frees the writer; returns an owned block of the host, or NULL. */
cr_buf_t *cr_writer_finish(cr_writer_t *out, const cr_host_ops_t *ops, size_t *size);

#endif
