/*
 * RETIRE: a producer that is to be disconnected takes nothing more, if there is
 * nothing left to report. Under the client's lock, so that no message can be
 * accepted in between and purged by the close that follows.
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
