/*
 * Threads for what blocks or takes long. A lane is one thread that runs jobs one
 * after another; a client has one for its own life, one for the user's queries,
 * one for its consumer group, one for flushing, one for transactions, and one for
 * reading statistics, so that none of these waits for another. A lane's thread
 * starts with its first job.
 *
 * A job's run() is called on the lane and may use the rd_kafka_t and the job,
 * nothing else of the client, in pieces of CR_SLICE_MS where librdkafka lets
 * it, so that it sees cr_client_closing() soon. Its done() is called later
 * under the host's lock, or by the reaper; it answers whoever asked and frees
 * the job.
 */
#ifndef CREMA_LANE_H
#define CREMA_LANE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define CR_SLICE_MS 100

typedef struct cr_client cr_client_t;
typedef struct cr_job cr_job_t;

struct cr_job {
        cr_job_t *next;
        void (*run)(cr_client_t *client, cr_job_t *job);
        void (*done)(cr_client_t *client, cr_job_t *job); /* NULL: run() ends the lane */
        bool refused; /* it did not run: the client was closed before its turn came */
};

typedef struct cr_lane {
        cr_client_t *client; /* set once */
        pthread_t thread;
        bool started; /* under the host's lock */
        pthread_mutex_t lock;
        pthread_cond_t more;
        cr_job_t *first; /* under lock, as all below */
        cr_job_t **last;
        bool stop;
} cr_lane_t;

void cr_lane_init(cr_lane_t *lane, cr_client_t *client);
void cr_lane_destroy(cr_lane_t *lane);
/* False when the thread could not be started, or the client is closing; the
 * job is then not taken. */
bool cr_lane_submit(cr_lane_t *lane, cr_job_t *job);
/* How many threads there are, of all clients: none without a client, for each has its
 * life lane. @locality any */
unsigned cr_lanes_alive(void);
/* Milliseconds of a clock that only goes on. @locality any */
int64_t cr_now_ms(void);
/* Waits a slice, where a call came back at once with an error. @locality a lane */
void cr_lane_pause(cr_client_t *client);
/* Calls done() of the queued jobs, refused, at once. The one that runs is left to its
 * end. @locality reaper */
void cr_lane_refuse(cr_lane_t *lane);
/* Lets the queued jobs run to their end and joins the thread. */
void cr_lane_join(cr_lane_t *lane);

#endif
