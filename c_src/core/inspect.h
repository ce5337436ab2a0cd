/*
 * A question to the cluster that is answered from the query lane: what such
 * commands have in common, which all have the argument {Tag, Name, Number, Millis}.
 */
#ifndef CREMA_INSPECT_H
#define CREMA_INSPECT_H

#include "client.h"

typedef struct cr_inspect {
        cr_job_t job;
        cr_tag_t tag;
        char *name; /* owned: of a topic or group; "" of none */
        int32_t number;
        int millis;
        int64_t deadline;
        cr_error_t error;
        cr_writer_t out; /* the answer behind its ok, unless there is an error */
} cr_inspect_t;

/* Reads the argument and has run() carried out, or answers why not; `named` says
 * that there must be a name. */
void cr_inspect(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply,
                void (*run)(cr_client_t *, cr_job_t *), bool named);
/* Milliseconds until the deadline. @locality query lane */
int cr_inspect_left(const cr_inspect_t *ask);
/* The answer to what was asked by a queue, owned by the caller; else NULL, and the
 * error is set. @locality query lane */
rd_kafka_event_t *cr_inspect_wait(cr_client_t *client, cr_inspect_t *ask, rd_kafka_queue_t *queue);

#endif
