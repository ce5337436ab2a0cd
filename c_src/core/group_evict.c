/*
 * A member that is put out of its group while a revocation is being drained:
 * its partitions are others' by now, so the drain ends at once and nothing is
 * committed. librdkafka does not say so, as a rebalance is open: its
 * assignment is not called lost, and no second event comes. What tells are the
 * refusal of a commit, and a member id that is empty.
 */
#include "group.h"
#include "mem.h"
#include "rdkafka_compat.h"

typedef struct look_job {
        cr_job_t job;
        bool evicted;
} look_job_t;

bool cr_is_evicted(rd_kafka_resp_err_t err) {
        return err == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID ||
               err == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION || err == CR_ERR_FENCED_MEMBER_EPOCH ||
               err == RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED;
}

void cr_group_evicted(cr_client_t *client) {
        cr_group_t *group = client->group;
        if (!group->revoked || group->lost)
                return;
        group->lost = true;
        if (!group->answering)
                cr_group_tell_revoked(client);
}

/* librdkafka asks its own main thread. @locality group lane */
static void run_look(cr_client_t *client, cr_job_t *job) {
        char *id = rd_kafka_memberid(client->rk);
        ((look_job_t *)job)->evicted = id && !id[0];
        if (id)
                rd_kafka_mem_free(client->rk, id);
}

static void done_look(cr_client_t *client, cr_job_t *job) {
        client->group->looking = false;
        if (((look_job_t *)job)->evicted)
                cr_group_evicted(client);
        cr_free(job);
}

void cr_group_look(cr_client_t *client) {
        cr_group_t *group = client->group;
        look_job_t *look;
        if (!group->revoked || group->lost || group->answering || group->looking)
                return;
        if (rd_kafka_assignment_lost(client->rk)) {
                cr_group_evicted(client);
                return;
        }
        look = cr_alloc(sizeof(*look));
        if (!look)
                return; /* the next sweep looks */
        look->job = (cr_job_t){.run = run_look, .done = done_look};
        group->looking = cr_lane_submit(&client->group_lane, &look->job);
        if (!group->looking)
                cr_free(look);
}
