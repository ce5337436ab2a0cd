#include "lane.h"

#include <signal.h>
#include <time.h>

#include "client.h"

static atomic_uint alive;

unsigned cr_lanes_alive(void) {
        return atomic_load(&alive);
}

void cr_lane_init(cr_lane_t *lane, cr_client_t *client) {
        *lane = (cr_lane_t){.client = client};
        lane->last = &lane->first;
        pthread_mutex_init(&lane->lock, NULL);
        pthread_cond_init(&lane->more, NULL);
}

void cr_lane_destroy(cr_lane_t *lane) {
        pthread_cond_destroy(&lane->more);
        pthread_mutex_destroy(&lane->lock);
}

/* The next job, waited for; NULL when the lane is to end. */
static cr_job_t *take(cr_lane_t *lane) {
        cr_job_t *job;
        pthread_mutex_lock(&lane->lock);
        while (!lane->first && !lane->stop)
                pthread_cond_wait(&lane->more, &lane->lock);
        job = lane->first;
        if (job) {
                lane->first = job->next;
                if (!lane->first)
                        lane->last = &lane->first;
        }
        pthread_mutex_unlock(&lane->lock);
        return job;
}

static void run_jobs(cr_lane_t *lane) {
        cr_job_t *job;
        while ((job = take(lane))) {
                bool last = job->done == NULL;
                job->run(lane->client, job);
                if (last)
                        return; /* the client, and this lane, are no more */
                cr_client_job_done(lane->client, job);
        }
}

static void *lane_main(void *arg) {
        run_jobs(arg);
        atomic_fetch_sub(&alive, 1);
        return NULL;
}

/* The emulator's signals are not for our threads. */
static bool start(cr_lane_t *lane) {
        sigset_t all, before;
        int failed;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        atomic_fetch_add(&alive, 1);
        failed = pthread_create(&lane->thread, NULL, lane_main, lane);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (failed)
                atomic_fetch_sub(&alive, 1);
        lane->started = !failed;
        return lane->started;
}

bool cr_lane_submit(cr_lane_t *lane, cr_job_t *job) {
        if (job->done && cr_client_closing(lane->client))
                return false;
        if (!lane->started && !start(lane))
                return false;
        pthread_mutex_lock(&lane->lock);
        job->next = NULL;
        *lane->last = job;
        lane->last = &job->next;
        pthread_cond_signal(&lane->more);
        pthread_mutex_unlock(&lane->lock);
        return true;
}

int64_t cr_now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void cr_lane_pause(cr_client_t *client) {
        rd_kafka_queue_t *quiet = rd_kafka_queue_new(client->rk);
        rd_kafka_event_t *none = rd_kafka_queue_poll(quiet, CR_SLICE_MS);
        if (none)
                rd_kafka_event_destroy(none);
        rd_kafka_queue_destroy(quiet);
}

void cr_lane_refuse(cr_lane_t *lane) {
        cr_job_t *job, *next;
        pthread_mutex_lock(&lane->lock);
        job = lane->first;
        lane->first = NULL;
        lane->last = &lane->first;
        pthread_mutex_unlock(&lane->lock);
        for (; job; job = next) {
                next = job->next;
                job->refused = true;
                job->done(lane->client, job);
        }
}

void cr_lane_join(cr_lane_t *lane) {
        if (!lane->started)
                return;
        pthread_mutex_lock(&lane->lock);
        lane->stop = true;
        pthread_cond_signal(&lane->more);
        pthread_mutex_unlock(&lane->lock);
        pthread_join(lane->thread, NULL);
        lane->started = false;
}
