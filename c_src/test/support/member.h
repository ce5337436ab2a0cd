/*
 * A member of the group "g" on a mock cluster that makes faults to order, with
 * a topic "t" of one partition and "t4" of four.
 */
#ifndef CREMA_TEST_MEMBER_H
#define CREMA_TEST_MEMBER_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "../../core/group.h"
#include "test_host.h"

#define FETCH 1
#define LIST_OFFSETS 2
#define OFFSET_COMMIT 8
#define OFFSET_FETCH 9
#define SYNC_GROUP 14

typedef struct member {
        rd_kafka_t *rk; /* of the mock cluster */
        rd_kafka_mock_cluster_t *mock;
        test_host_t *host; /* NULL until it joins */
} member_t;

/* Set-up and tear-down of a test; the latter fails when a block has leaked. */
int set_up_member(void **state);
int tear_down_member(void **state);
/* A plain handle of librdkafka's, with pairs of properties, NULL at the end. */
rd_kafka_t *plain_handle(rd_kafka_type_t type, const char *const *properties);
void fail_requests(member_t *member, int16_t api, rd_kafka_resp_err_t err, size_t count);
/* So many messages to the partition of "t". */
void fill_partition(member_t *member, int messages);
/* Subscribes to a topic, and begins there at `start`; partitions are shared out by a
 * strategy of librdkafka's. */
void join_by(member_t *member, const char *topic, const char *start, const char *strategy);
/* The same by the cooperative one. */
void join_at(member_t *member, const char *topic, const char *start);
/* To "t", from the earliest offset on. */
void join(member_t *member);
/* Leaves what it was subscribed to: the reply "leave" follows. */
void subscribe_to_nothing(member_t *member);
/* Serves the client until the condition holds; false when it has been quiet
 * for 20 s. The sweep, which comes once a second, comes more often here. */
bool serve_until(member_t *member, bool (*holds)(const cr_group_t *group));
bool has_slot(const cr_group_t *group);
cr_slot_t *first_slot(const cr_group_t *group);
/* Recipient 1 becomes the slot's worker, and asks for so many messages. */
void take_slot(member_t *member, const cr_slot_t *slot, uint32_t messages);
/* The same of the first slot. */
void take_and_demand(member_t *member, uint32_t messages);
void expect_event(member_t *member, const char *name);

#endif
