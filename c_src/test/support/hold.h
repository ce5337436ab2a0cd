/* A job that keeps a lane at work until `go_on` is posted; its own afterwards. */
#ifndef CREMA_TEST_HOLD_H
#define CREMA_TEST_HOLD_H

#include <semaphore.h>

#include "../../core/lane.h"

typedef struct hold {
        cr_job_t job;
        sem_t go_on;
} hold_t;

void hold_lane(hold_t *hold, cr_lane_t *lane);

#endif
