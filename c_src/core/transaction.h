/*
 * Transactions of a producer that has a transactional.id.
 *
 * librdkafka's calls for them block, and run on a lane of their own. Each
 * transaction has an epoch, which whoever begins it chooses. It is the
 * current one from the moment in which librdkafka has begun until COMMIT or
 * ABORT is said, and only a PRODUCE that carries it is taken meanwhile: so
 * nothing joins a transaction by mistake, and nothing is given to librdkafka
 * in a state in which it would refuse.
 */
#ifndef CREMA_TRANSACTION_H
#define CREMA_TRANSACTION_H

#include "produce.h"

typedef struct cr_transaction {
        uint32_t epoch;    /* 0: none takes messages now */
        uint64_t answered; /* the delivery's, when it began */
        cr_tag_t first;    /* who waits for its first report */
        unsigned jobs;     /* on the lane */
        bool refused;      /* a message was: librdkafka, which has none of it, would commit */
} cr_transaction_t;

/* Sets *transaction, to NULL for a producer that has no transactional.id.
 * False when there is no memory. */
bool cr_transaction_new(rd_kafka_t *rk, cr_transaction_t **transaction);
void cr_transaction_destroy(cr_transaction_t *transaction);
/* Whether a call may be accepted now; *error if not. */
bool cr_transaction_takes(const cr_client_t *client, const cr_produce_t *produce,
                          cr_error_t *error);
/* Whether one is open, or a call under way. */
bool cr_transaction_in_use(const cr_client_t *client);
/* A message that was accepted is not even sent. */
void cr_transaction_refused(cr_client_t *client);
/* After reports: answers who waits for the first one. */
void cr_transaction_serve(cr_client_t *client);
void cr_transaction_recipient_gone(cr_client_t *client, cr_recipient_t gone);
/* Before the rd_kafka_t goes: whatever is open is no more, and its coordinator knows it
 * where it answers. No call is under way. @locality life lane */
void cr_transaction_leave(const cr_client_t *client);

#endif
