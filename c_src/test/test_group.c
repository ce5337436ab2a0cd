/* Assignments and resets of a member whose brokers are slow, in trouble, or
 * refuse: on a mock cluster that makes such faults to order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../core/list_offsets.h"
#include "../core/rdkafka_compat.h"
#include "support/hold.h"
#include "support/member.h"

static bool is_assigning(const cr_group_t *group) {
        return group->answering > 0;
}

static bool is_resetting(const cr_group_t *group) {
        return first_slot(group)->resetting;
}

static bool wants_reset(const cr_group_t *group) {
        return first_slot(group)->wants_reset;
}

static bool reset_goes_on(const cr_group_t *group) {
        return !wants_reset(group);
}

/* Proves that brokers whose answers take longer than a first try are heard. */
static void slow_broker_is_heard(void **state) {
        member_t *member = *state;
        fail_requests(member, OFFSET_FETCH, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 5);
        join(member);
        assert_true(serve_until(member, is_assigning));
        rd_kafka_mock_broker_set_rtt(member->mock, 1, 1300);
        assert_true(serve_until(member, has_slot));
}

/* Proves that what goes on failing is told, and goes on being tried. */
static void trouble_is_told(void **state) {
        member_t *member = *state;
        fail_requests(member, LIST_OFFSETS, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 60);
        join(member);
        assert_true(serve_until(member, is_assigning));
        expect_event(member, "error");
        assert_true(serve_until(member, has_slot));
}

/* Proves that a refusal which no further try can mend ends the assignment. */
static void refusal_is_final(void **state) {
        member_t *member = *state;
        fail_requests(member, OFFSET_COMMIT, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 1);
        join(member);
        expect_event(member, "assign_failed");
        assert_false(has_slot(member->host->client->group));
}

/* Another client that speaks for a group. */
static rd_kafka_t *of_group(member_t *member, const char *group) {
        const char *const properties[] = {"bootstrap.servers",
                                          rd_kafka_mock_cluster_bootstraps(member->mock),
                                          "group.id", group, NULL};
        return plain_handle(RD_KAFKA_CONSUMER, properties);
}

/* Commits an offset, with the mark of a start or with none (0). */
static void commit(member_t *member, const char *topic, int64_t offset, int32_t mark) {
        rd_kafka_t *rk = of_group(member, "g");
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_t *at = rd_kafka_topic_partition_list_add(list, topic, 0);
        at->offset = offset;
        cr_start_set_mark(rk, at, mark);
        assert_int_equal(rd_kafka_commit(rk, list, 0), RD_KAFKA_RESP_ERR_NO_ERROR);
        rd_kafka_topic_partition_list_destroy(list);
        rd_kafka_destroy(rk);
}

static int64_t committed(member_t *member, const char *topic, int32_t partition, int32_t *mark) {
        rd_kafka_t *rk = of_group(member, "g");
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        int64_t offset;
        rd_kafka_topic_partition_list_add(list, topic, partition);
        assert_int_equal(cr_committed(rk, list, 10000), RD_KAFKA_RESP_ERR_NO_ERROR);
        offset = list->elems[0].offset;
        *mark = cr_start_mark(&list->elems[0]);
        rd_kafka_topic_partition_list_destroy(list);
        rd_kafka_destroy(rk);
        return offset;
}

static bool is_placed(const cr_group_t *group) {
        return !first_slot(group)->unplaced && !first_slot(group)->begins;
}

/* Proves that librdkafka is answered, and other partitions go on, while nobody can
 * tell where one begins; and that it begins when somebody can. */
static void unknown_start_holds_up_nobody(void **state) {
        member_t *member = *state;
        int32_t mark;
        fail_requests(member, LIST_OFFSETS, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 30);
        join(member);
        assert_true(serve_until(member, has_slot));
        assert_true(first_slot(member->host->client->group)->unplaced);
        assert_true(cr_slot_is_halted(first_slot(member->host->client->group)));
        assert_true(serve_until(member, is_placed));
        assert_int_equal(committed(member, "t", 0, &mark), 0);
}

/* A message to each of a topic's four partitions. */
static void fill(member_t *member, const char *topic) {
        const char *const properties[] = {"bootstrap.servers",
                                          rd_kafka_mock_cluster_bootstraps(member->mock), NULL};
        rd_kafka_t *rk = plain_handle(RD_KAFKA_PRODUCER, properties);
        for (int partition = 0; partition < 4; partition++)
                assert_int_equal(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic),
                                                   RD_KAFKA_V_PARTITION(partition),
                                                   RD_KAFKA_V_VALUE("v", 1), RD_KAFKA_V_END),
                                 RD_KAFKA_RESP_ERR_NO_ERROR);
        assert_int_equal(rd_kafka_flush(rk, 10000), RD_KAFKA_RESP_ERR_NO_ERROR);
        rd_kafka_destroy(rk);
}

static void join_out_of_range(member_t *member) {
        commit(member, "t", 1000, 0); /* the log does not have it */
        join(member);
        assert_true(serve_until(member, has_slot));
        take_and_demand(member, 100);
}

/* Proves that one transient error does not leave a partition without fetching. */
static void reset_survives_an_error(void **state) {
        member_t *member = *state;
        fail_requests(member, LIST_OFFSETS, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 1);
        join_out_of_range(member);
        expect_event(member, "offset_reset");
}

/* Proves that a partition which cannot be reset does not hold up its group's lane. */
static void reset_holds_up_nobody(void **state) {
        member_t *member = *state;
        cr_writer_t out = cr_writer();
        packet_t *packet;
        fail_requests(member, LIST_OFFSETS, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 1000);
        join_out_of_range(member);
        assert_true(serve_until(member, is_resetting));
        cr_write_tuple(&out, 2);
        cr_write_text(&out, "commit");
        cr_write_list_end(&out);
        test_command(member->host, CR_CMD_COMMIT, out.x.buff, (size_t)out.x.index);
        cr_writer_discard(&out);
        packet = test_host_reply(member->host, "commit");
        assert_non_null(packet);
        packet_free(packet);
        assert_true(is_resetting(member->host->client->group));
}

/* Proves that a reset is made after a rebalance it fell into. */
static void reset_survives_a_rebalance(void **state) {
        member_t *member = *state;
        cr_group_t *group;
        hold_t hold;
        join_out_of_range(member);
        group = member->host->client->group;
        hold_lane(&hold, &member->host->client->query_lane);
        assert_true(serve_until(member, is_resetting));
        group->answering++; /* as does an assignment of another partition */
        sem_post(&hold.go_on);
        assert_true(serve_until(member, wants_reset));
        group->answering--;
        assert_true(serve_until(member, reset_goes_on));
        expect_event(member, "offset_reset");
        sem_destroy(&hold.go_on);
}

static bool begins(const cr_group_t *group) {
        return first_slot(group)->begins;
}

static bool has_begun(const cr_group_t *group) {
        return !begins(group);
}

/* Proves that a start whose commit falls into a rebalance is committed after it,
 * and before a message is delivered. */
static void start_survives_a_rebalance(void **state) {
        member_t *member = *state;
        int32_t mark;
        fill(member, "t4");
        fail_requests(member, OFFSET_COMMIT, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, 2);
        join_at(member, "t4", "latest");
        assert_true(serve_until(member, has_slot));
        assert_true(begins(member->host->client->group));
        assert_true(serve_until(member, has_begun));
        assert_int_equal(committed(member, "t4", 3, &mark), 1);
        assert_int_equal(mark, 4);
}

static int64_t begun_at(member_t *member, const char *topic, int32_t partition) {
        cr_slot_t *slot = cr_group_find(member->host->client->group, topic, partition);
        assert_non_null(slot);
        return slot->delivered;
}

/* Where the second, third and fourth partition begin, and the mark of that. */
static void expect_starts(member_t *member, const char *topic, int64_t second, int64_t others,
                          int32_t mark) {
        int32_t marked;
        assert_int_equal(begun_at(member, topic, 1), second);
        assert_int_equal(begun_at(member, topic, 2), others);
        assert_int_equal(begun_at(member, topic, 3), others);
        assert_int_equal(committed(member, topic, 3, &marked), others);
        assert_int_equal(marked, mark);
}

/* Proves that partitions which a topic has got since the group began with it, by
 * the mark of the first, begin at the earliest, and are not taken for a beginning;
 * that so do all without an offset in a group that has been at work; and that a
 * member which begins beside another is not taken for a late one. */
static void newer_begin_at_earliest(void **state) {
        const char *const topics[] = {"m-grown", "m-at-work", "m-beside"};
        const int32_t marks[] = {2, 0, 4};
        member_t *member = *state;
        for (int i = 0; i < 3; i++) {
                rd_kafka_mock_topic_create(member->mock, topics[i], 4, 1);
                fill(member, topics[i]);
                commit(member, topics[i], 1, marks[i]);
        }
        join_at(member, "^m-", "latest");
        assert_true(serve_until(member, has_slot));
        expect_starts(member, "m-grown", 1, 0, 2);
        expect_starts(member, "m-at-work", 0, 0, 0);
        expect_starts(member, "m-beside", 1, 1, 4);
}

/* Proves that a commit with the epoch before is made again with that of today: what
 * was handled is committed before its partition goes; and that one which goes on
 * being refused waits for another time, as in a rebalance. */
static void old_epoch_is_made_good(void **state) {
        member_t *member = *state;
        cr_slot_t *slot;
        int32_t mark;
        fill(member, "t4");
        join_at(member, "t4", "earliest");
        assert_true(serve_until(member, has_slot));
        slot = cr_group_find(member->host->client->group, "t4", 2);
        slot->window.position = 1; /* as if it had been acknowledged */
        fail_requests(member, OFFSET_COMMIT, CR_ERR_STALE_MEMBER_EPOCH, 2);
        subscribe_to_nothing(member);
        expect_event(member, "revoked");
        assert_string_equal(test_command(member->host, CR_CMD_RELEASE, "", 0), "");
        expect_event(member, "released");
        assert_int_equal(committed(member, "t4", 2, &mark), 1);
        assert_true(cr_is_of_rebalance(CR_ERR_STALE_MEMBER_EPOCH));
        assert_false(cr_is_evicted(CR_ERR_STALE_MEMBER_EPOCH));
        assert_true(cr_is_evicted(CR_ERR_FENCED_MEMBER_EPOCH)); /* the member was fenced */
}

static bool has_eight(const cr_group_t *group) {
        return group->slots.count == 8;
}

static void make_filled(member_t *member, const char *topic) {
        rd_kafka_mock_topic_create(member->mock, topic, 4, 1);
        fill(member, topic);
}

/* Proves that a topic which is made when a member at the latest is at work, and which
 * its pattern takes up, begins at the earliest, and that others are told so. */
static void later_topic_begins_at_earliest(void **state) {
        member_t *member = *state;
        make_filled(member, "n-old");
        join_at(member, "^n-", "latest");
        assert_true(serve_until(member, has_slot));
        expect_starts(member, "n-old", 1, 1, 4);
        make_filled(member, "n-new");
        assert_true(serve_until(member, has_eight));
        expect_starts(member, "n-new", 0, 0, 0);
}

static int64_t start_of(cr_client_t *client, rd_kafka_t *rk, const char *topic) {
        cr_error_t error = {0};
        cr_begin_t begin = {
                .start = CR_START_LATEST, .topics = &client->group->topics, .patience = 10000};
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1), *fresh;
        int64_t offset;
        rd_kafka_topic_partition_list_add(list, topic, 0);
        assert_int_equal(cr_find_starts(rk, &begin, list, &fresh, &error), 0);
        offset = list->elems[0].offset;
        cr_topics_begun(begin.topics, list); /* as by its commit */
        rd_kafka_topic_partition_list_destroy(fresh);
        rd_kafka_topic_partition_list_destroy(list);
        return offset;
}

/* Proves that a topic which was waited for begins at the earliest, but one at the
 * latest that was there; and at the earliest again one of which the group had offsets
 * and has none any more: it was made again. The handle is of a group without any. */
static void waited_for_and_made_again(void **state) {
        member_t *member = *state;
        rd_kafka_topic_partition_list_t *more = rd_kafka_topic_partition_list_new(1);
        cr_client_t *client;
        rd_kafka_t *rk;
        make_filled(member, "there");
        join_at(member, "t4", "latest");
        client = member->host->client;
        assert_true(serve_until(member, has_slot));
        make_filled(member, "later");
        rk = of_group(member, "another");
        assert_int_equal(start_of(client, rk, "later"), 0);
        assert_int_equal(start_of(client, rk, "there"), 0);
        rd_kafka_topic_partition_list_add(more, "there", RD_KAFKA_PARTITION_UA);
        cr_topics_subscribe(&client->group->topics, more);
        assert_int_equal(cr_topics_look(client, 10000), 0);
        assert_int_equal(start_of(client, rk, "later"), 0);
        assert_int_equal(start_of(client, rk, "there"), 1);
        assert_int_equal(start_of(client, rk, "there"), 0);
        rd_kafka_topic_partition_list_destroy(more);
        rd_kafka_destroy(rk);
}

static bool has_delivered(const cr_group_t *group) {
        const cr_slot_t *slot = first_slot(group);
        return slot && slot->window.unacked == 2;
}

/* Proves that a member that settles delivers nothing more, and says so when the last
 * message is acknowledged. */
static void settles_when_acknowledged(void **state) {
        member_t *member = *state;
        bytes_t command = {.size = 0};
        fill_partition(member, 5);
        join(member);
        assert_true(serve_until(member, has_slot));
        take_and_demand(member, 2);
        assert_true(serve_until(member, has_delivered));
        assert_string_equal(test_command(member->host, CR_CMD_SETTLE, NULL, 0),
                            "malformed_command");
        assert_string_equal(test_command(member->host, CR_CMD_SETTLE, "settle", 6), "");
        take_and_demand(member, 2);
        assert_int_equal(first_slot(member->host->client->group)->window.unacked, 2);
        assert_int_equal(member->host->client->group->settled.to, 1);
        put_uint(&command, first_slot(member->host->client->group)->id, 8);
        put_uint(&command, 0, 8);
        put_uint(&command, 1, 8);
        assert_string_equal(test_command(member->host, CR_CMD_ACK, command.data, command.size), "");
        packet_free(test_host_reply(member->host, "settle"));
        assert_int_equal(member->host->client->group->settled.to, 0);
        assert_true(has_slot(member->host->client->group));
        assert_string_equal(test_command(member->host, CR_CMD_SETTLE, "again", 5), "");
        packet_free(test_host_reply(member->host, "again"));
}

static bool is_assigning_another(const cr_group_t *group) {
        return is_assigning(group) && group->rebalances > 1 && !group->given;
}

static bool has_both(const cr_group_t *group) {
        return cr_group_is_settled(group) && cr_group_find(group, "e-1", 0) &&
               cr_group_find(group, "e-2", 0);
}

/* Proves that an assignment which comes before the one before could be answered, as it
 * does without the cooperative protocol when a topic comes meanwhile, takes its place. */
static void overtaken_assignment_is_dropped(void **state) {
        member_t *member = *state;
        cr_group_t *group;
        rd_kafka_mock_topic_create(member->mock, "e-1", 1, 1);
        fail_requests(member, OFFSET_FETCH, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 1000);
        join_by(member, "^e-", "earliest", "range");
        group = member->host->client->group;
        assert_true(serve_until(member, is_assigning));
        rd_kafka_mock_topic_create(member->mock, "e-2", 1, 1);
        assert_true(serve_until(member, is_assigning_another));
        rd_kafka_mock_clear_request_errors(member->mock, OFFSET_FETCH);
        assert_true(serve_until(member, has_both));
        assert_int_equal(group->slots.count, 2);
        assert_int_equal(group->rebalances, 2);
}

/* As librdkafka tells of it: "t" is revoked, or it and a partition of "t4" assigned. */
static void rebalance(member_t *member, rd_kafka_resp_err_t err) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(2);
        rd_kafka_topic_partition_list_add(list, "t", 0);
        if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
                rd_kafka_topic_partition_list_add(list, "t4", 0);
        cr_group_rebalance(member->host->client, err, list);
        rd_kafka_topic_partition_list_destroy(list);
}

static bool has_taken_both(const cr_group_t *group) {
        return cr_group_is_settled(group) && cr_group_find(group, "t", 0) &&
               cr_group_find(group, "t4", 0);
}

static bool has_delivered_two(const cr_group_t *group) {
        return cr_group_find(group, "t", 0)->window.unacked == 2;
}

/* Has the first two messages of "t" delivered and acknowledged. */
static void handle_two(member_t *member) {
        cr_slot_t *slot = cr_group_find(member->host->client->group, "t", 0);
        bytes_t command = {.size = 0};
        take_slot(member, slot, 2);
        assert_true(serve_until(member, has_delivered_two));
        put_uint(&command, slot->id, 8);
        put_uint(&command, 0, 8);
        put_uint(&command, 1, 8);
        assert_string_equal(test_command(member->host, CR_CMD_ACK, command.data, command.size), "");
        assert_int_equal(slot->stored, 2);
}

/* Proves that what was not taken back, or is still being drained, ends without a commit
 * before what is given in its place is there. */
static void what_is_overtaken_ends_first(void **state) {
        member_t *member = *state;
        cr_group_t *group;
        uint64_t id;
        int32_t mark;
        fill_partition(member, 5);
        join_by(member, "t", "earliest", "roundrobin");
        assert_true(serve_until(member, has_slot));
        group = member->host->client->group;
        for (int is_draining = 0; is_draining < 2; is_draining++) {
                expect_event(member, "assigned");
                handle_two(member);
                id = cr_group_find(group, "t", 0)->id;
                if (is_draining) {
                        rebalance(member, RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS);
                        expect_event(member, "revoked");
                        assert_false(group->lost);
                }
                rebalance(member, RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS);
                expect_event(member, "revoked");
                assert_true(group->lost);
                assert_null(cr_group_find(group, "t", 0));
                assert_string_equal(test_command(member->host, CR_CMD_RELEASE, NULL, 0), "");
                expect_event(member, "released");
                assert_true(serve_until(member, has_taken_both));
                assert_true(cr_group_find(group, "t", 0)->id != id);
                assert_int_equal(begun_at(member, "t", 0), 0);
                assert_int_equal(committed(member, "t", 0, &mark), 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(settles_when_acknowledged, set_up_member,
                                                tear_down_member),
                cmocka_unit_test_setup_teardown(slow_broker_is_heard, set_up_member,
                                                tear_down_member),
                cmocka_unit_test_setup_teardown(trouble_is_told, set_up_member, tear_down_member),
                cmocka_unit_test_setup_teardown(unknown_start_holds_up_nobody, set_up_member,
                                                tear_down_member),
                cmocka_unit_test_setup_teardown(refusal_is_final, set_up_member, tear_down_member),
                cmocka_unit_test_setup_teardown(reset_survives_an_error, set_up_member,
                                                tear_down_member),
                cmocka_unit_test_setup_teardown(reset_holds_up_nobody, set_up_member,
                                                tear_down_member),
                cmocka_unit_test_setup_teardown(reset_survives_a_rebalance, set_up_member,
                                                tear_down_member),
                cmocka_unit_test_setup_teardown(start_survives_a_rebalance, set_up_member,
                                                tear_down_member),
                cmocka_unit_test_setup_teardown(newer_begin_at_earliest, set_up_member,
                                                tear_down_member),
                cmocka_unit_test_setup_teardown(later_topic_begins_at_earliest, set_up_member,
                                                tear_down_member),
                cmocka_unit_test_setup_teardown(waited_for_and_made_again, set_up_member,
                                                tear_down_member),
                cmocka_unit_test_setup_teardown(overtaken_assignment_is_dropped, set_up_member,
                                                tear_down_member),
                cmocka_unit_test_setup_teardown(what_is_overtaken_ends_first, set_up_member,
                                                tear_down_member),
                cmocka_unit_test_setup_teardown(old_epoch_is_made_good, set_up_member,
                                                tear_down_member)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
