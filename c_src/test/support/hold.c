#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hold.h"

static void run_hold(cr_client_t *client, cr_job_t *job) {
        (void)client;
        while (sem_wait(&((hold_t *)job)->go_on))
                continue;
}

static void done_hold(cr_client_t *client, cr_job_t *job) {
        (void)client;
        (void)job;
}

void hold_lane(hold_t *hold, cr_lane_t *lane) {
        hold->job = (cr_job_t){.run = run_hold, .done = done_hold};
        assert_int_equal(sem_init(&hold->go_on, 0, 0), 0);
        assert_true(cr_lane_submit(lane, &hold->job));
}
