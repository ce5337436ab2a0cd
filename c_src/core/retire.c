/*
 * RETIRE: a producer that is to be disconnected takes nothing more, if there is
 * nothing left to report. Under the client's lock, so that no message can be
 * accepted in between and purged by the close that follows.
 *
 * PURGE: what it has is given up, and it goes on.
 *
 * DRAIN: it takes nothing more either, and goes on with what it has: another client
 * takes its place.
 */
#include "delivery.h"
#include "transaction.h"

/* Why it must go on; NULL when nothing is lost with it. */
static const char *use_of(const cr_client_t *client) {
        const cr_delivery_t *delivery = client->delivery;
        if (cr_transaction_in_use(client))
                return "a transaction is open";
        if (delivery->waiting)
                return "callers wait for a place in the queue";
        if (delivery->messages)
                return "messages are outstanding";
        if (cr_reporter_holds(delivery))
                return "callbacks of reports are running";
        return NULL;
}

void cr_do_RETIRE(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        const char *use = use_of(client);
        (void)in;
        if (use)
                cr_answer_own(client, reply, "busy", use);
        else
                client->state = CR_RETIRED;
}

void cr_do_DRAIN(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        (void)in;
        if (cr_transaction_in_use(client)) {
                cr_answer_own(client, reply, "busy", "a transaction is open");
                return;
        }
        client->delivery->draining = true;
        cr_admission_refuse_all(client);
}

void cr_do_PURGE(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        rd_kafka_resp_err_t err;
        cr_error_t error;
        (void)in;
        if (client->transaction && client->transaction->epoch) {
                cr_answer_own(client, reply, "in_transaction",
                              "a transaction's messages are not given up one by one");
                return;
        }
        err = rd_kafka_purge(client->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
                                                 RD_KAFKA_PURGE_F_NON_BLOCKING);
        if (!err)
                return;
        cr_error_code(&error, err, NULL);
        cr_answer_error(client, reply, &error);
}
