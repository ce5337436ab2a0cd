#include "error.h"

#include <stdarg.h>
#include <stdio.h>

void cr_error_own(cr_error_t *error, const char *name, const char *format, ...) {
        va_list args;
        *error = (cr_error_t){.set = true};
        snprintf(error->name, sizeof(error->name), "%s", name);
        va_start(args, format);
        vsnprintf(error->text, sizeof(error->text), format, args);
        va_end(args);
}

void cr_error_code(cr_error_t *error, rd_kafka_resp_err_t code, const char *text) {
        const char *name = rd_kafka_err2name(code);
        *error = (cr_error_t){.set = true, .fatal = code == RD_KAFKA_RESP_ERR__FATAL};
        snprintf(error->name, sizeof(error->name), "%s", name ? name : "_FAIL");
        snprintf(error->text, sizeof(error->text), "%s", text ? text : rd_kafka_err2str(code));
}

void cr_error_take(cr_error_t *error, rd_kafka_error_t *from) {
        if (!from)
                return;
        cr_error_code(error, rd_kafka_error_code(from), rd_kafka_error_string(from));
        error->fatal = rd_kafka_error_is_fatal(from);
        error->retriable = rd_kafka_error_is_retriable(from);
        error->abortable = rd_kafka_error_txn_requires_abort(from);
        rd_kafka_error_destroy(from);
}

void cr_write_error(cr_writer_t *out, const cr_error_t *error) {
        cr_write_tuple(out, 2);
        cr_write_atom(out, "error");
        cr_write_tuple(out, 5);
        cr_write_text(out, error->name);
        cr_write_text(out, error->text);
        cr_write_bool(out, error->fatal);
        cr_write_bool(out, error->retriable);
        cr_write_bool(out, error->abortable);
}
