/*
 * With a linger of a millisecond or less the first message of a client that had
 * nothing outstanding is sent at once, as in Nagle's algorithm, by a short
 * flush: a flushing client does not linger. Those behind it linger, or go
 * when the next response wakes the connection's thread.
 *
 * A shorter linger instead would not help the lone message, for librdkafka
 * sleeps whole milliseconds, and would have its thread spin under load; no
 * linger at all has each message of a busy caller wake that thread.
 */
#include <stdlib.h>

#include "delivery.h"

/* Enough for the connection's thread to be woken on a busy machine; mostly
 * the report ends the flush long before. */
#define NUDGE_MS 5

void cr_nudge_init(cr_delivery_t *delivery, rd_kafka_t *rk) {
        char linger[32] = "";
        size_t size = sizeof(linger);
        double ms;
        rd_kafka_conf_get(rd_kafka_conf(rk), "linger.ms", linger, &size);
        ms = strtod(linger, NULL);
        delivery->nudges = ms > 0 && ms <= 1;
}

/* @locality flush lane */
static void run_nudge(cr_client_t *client, cr_job_t *job) {
        (void)job;
        while (!cr_client_closing(client) &&
               atomic_exchange(&client->delivery->nudge_wanted, false))
                rd_kafka_flush(client->rk, NUDGE_MS);
}

/* What was wanted while the lane was on its way out. */
static void done_nudge(cr_client_t *client, cr_job_t *job) {
        cr_delivery_t *delivery = client->delivery;
        delivery->nudge_running =
                atomic_load(&delivery->nudge_wanted) && cr_lane_submit(&client->flush_lane, job);
}

void cr_nudge(cr_client_t *client) {
        cr_delivery_t *delivery = client->delivery;
        if (!delivery->nudges)
                return;
        atomic_store(&delivery->nudge_wanted, true);
        if (delivery->nudge_running)
                return;
        delivery->nudge_job.run = run_nudge;
        delivery->nudge_job.done = done_nudge;
        delivery->nudge_running = cr_lane_submit(&client->flush_lane, &delivery->nudge_job);
}
