/*
 * One kind of error for everything the core can refuse or report, and the one
 * place where an error becomes a term:
 *   {error, {Name, Text, Fatal, Retriable, Abortable}}
 * Name is librdkafka's own (<<"_MSG_TIMED_OUT">>) or, for what crema itself
 * refuses, a lower-case one of ours; Text says it to a person.
 */
#ifndef CREMA_ERROR_H
#define CREMA_ERROR_H

#include <librdkafka/rdkafka.h>

#include <stdbool.h>

#include "term.h"

typedef struct cr_error {
        bool set;
        bool fatal;
        bool retriable;
        bool abortable;
        char name[64];
        char text[512];
} cr_error_t;

/* An error of crema's own. */
void cr_error_own(cr_error_t *error, const char *name, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
/* An error code of librdkafka; text may be NULL for its description. */
void cr_error_code(cr_error_t *error, rd_kafka_resp_err_t code, const char *text);
/* Takes librdkafka's error object and frees it; NULL leaves *error as it is. */
void cr_error_take(cr_error_t *error, rd_kafka_error_t *from);
/* Writes {error, {...}}. */
void cr_write_error(cr_writer_t *out, const cr_error_t *error);

#endif
