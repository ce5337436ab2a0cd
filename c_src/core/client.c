#include "client.h"

#include "cluster.h"
#include "delivery.h"
#include "group.h"
#include "mem.h"
#include "stage.h"
#include "transaction.h"

/* What one wake-up may serve, in messages, before it lets others run. */
#define DRAIN_BUDGET 10000

cr_client_t *cr_client_new(const cr_host_ops_t *ops, void *host) {
        cr_client_t *client = cr_alloc(sizeof(*client));
        if (!client)
                return NULL;
        if (!cr_wake_init(&client->wake)) {
                cr_free(client);
                return NULL;
        }
        client->ops = ops;
        client->host = host;
        client->reap.run = cr_reaper_run;
        atomic_init(&client->closing, false);
        cr_source_init(&client->news, &client->wake, client);
        cr_source_init(&client->finished, &client->wake, client);
        pthread_mutex_init(&client->finished_lock, NULL);
        cr_peer_init(&client->peer);
        cr_sockets_init(&client->sockets);
        client->finished_last = &client->finished_first;
        cr_lane_init(&client->life, client);
        cr_lane_init(&client->query_lane, client);
        cr_lane_init(&client->group_lane, client);
        cr_lane_init(&client->prefetch_lane, client);
        cr_lane_init(&client->flush_lane, client);
        cr_lane_init(&client->statistics_lane, client);
        cr_lane_init(&client->transaction_lane, client);
        ops->watch(host, client->wake.fd);
        return client;
}

void cr_client_free(cr_client_t *client) {
        const cr_host_ops_t *ops = client->ops;
        void *host = client->host;
        cr_delivery_destroy(client->delivery);
        cr_transaction_destroy(client->transaction);
        cr_group_destroy(client->group);
        cr_cluster_destroy(client->cluster);
        cr_tag_clear(&client->close_tag);
        cr_lane_destroy(&client->life);
        cr_lane_destroy(&client->query_lane);
        cr_lane_destroy(&client->group_lane);
        cr_lane_destroy(&client->prefetch_lane);
        cr_lane_destroy(&client->flush_lane);
        cr_lane_destroy(&client->statistics_lane);
        cr_lane_destroy(&client->transaction_lane);
        cr_peer_destroy(&client->peer);
        cr_sockets_destroy(&client->sockets);
        pthread_mutex_destroy(&client->finished_lock);
        cr_wake_destroy(&client->wake);
        cr_free(client);
        ops->gone(host);
}

void cr_client_close(cr_client_t *client) {
        atomic_store(&client->closing, true);
        cr_stage_close(client);
        cr_wake_drop_fd(&client->wake);
        /* Whatever has run jobs has a life lane: OPEN starts it first. So the
         * submit cannot fail, and without a lane there is nothing to reap. */
        if (!client->life.started) {
                cr_reply_ok(client, &client->close_tag);
                cr_client_free(client);
                return;
        }
        cr_reaper_count();
        (void)cr_lane_submit(&client->life, &client->reap);
}

bool cr_client_reads(cr_client_t *client, cr_reads_t how, cr_reply_t *reply) {
        if (client->reads == CR_READS_NOTHING)
                client->reads = how;
        if (client->reads == how)
                return true;
        cr_answer_own(client, reply, "wrong_state",
                      "a client that has asked what can be read takes no assignment, nor does one "
                      "with an assignment ask");
        return false;
}

void cr_client_job_done(cr_client_t *client, cr_job_t *job) {
        pthread_mutex_lock(&client->finished_lock);
        job->next = NULL;
        *client->finished_last = job;
        client->finished_last = &job->next;
        pthread_mutex_unlock(&client->finished_lock);
        cr_source_mark(&client->finished);
}

void cr_client_serve_finished(cr_client_t *client) {
        cr_job_t *job, *next;
        pthread_mutex_lock(&client->finished_lock);
        job = client->finished_first;
        client->finished_first = NULL;
        client->finished_last = &client->finished_first;
        pthread_mutex_unlock(&client->finished_lock);
        for (; job; job = next) {
                next = job->next;
                job->done(client, job);
        }
}

void cr_client_drain(cr_client_t *client) {
        unsigned spent = 0;
        cr_source_t *source;
        cr_wake_acknowledge(&client->wake);
        client->logs_in_drain = 0;
        while (spent < DRAIN_BUDGET && (source = cr_wake_take(&client->wake))) {
                if (source == &client->finished)
                        cr_client_serve_finished(client);
                else if (source == &client->news)
                        spent += cr_client_serve_news(client, DRAIN_BUDGET - spent);
                else if (source == &client->group->retired.source)
                        spent += cr_retired_serve(&client->group->retired);
                else
                        spent += cr_slot_serve(client, source->of);
        }
        if (client->delivery) {
                cr_stage_clear(client);
                cr_delivery_send_grouped(client);
        }
        cr_wake_again(&client->wake);
}

void cr_client_sweep(cr_client_t *client) {
        if (client->delivery)
                cr_stage_due(client);
        if (client->group) {
                cr_source_mark(&client->news);
                cr_group_sweep(client);
                client->ops->alarm(client->host, CR_SWEEP_MS);
        }
}

void cr_client_recipient_gone(cr_client_t *client, cr_recipient_t gone) {
        if (client->delivery)
                cr_delivery_recipient_gone(client, gone);
        cr_transaction_recipient_gone(client, gone);
        if (client->group)
                cr_group_recipient_gone(client, gone);
        if (client->close_tag.to == gone)
                cr_tag_clear(&client->close_tag);
}
