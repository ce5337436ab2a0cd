/* Assignments and resets of a member whose brokers are slow, in trouble, or
 * refuse: on a mock cluster that makes such faults to order. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "../core/group.h"
#include "../core/list_offsets.h"
#include "support/test_host.h"

#define LIST_OFFSETS 2
#define OFFSET_COMMIT 8
#define OFFSET_FETCH 9

typedef struct scene {
        rd_kafka_t *rk; /* of the mock cluster */
        rd_kafka_mock_cluster_t *mock;
        test_host_t *host;
} scene_t;

static rd_kafka_t *handle(rd_kafka_type_t type, const char *const *properties) {
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        char text[256] = "";
        rd_kafka_t *rk;
        for (; *properties; properties += 2)
                assert_int_equal(
                        rd_kafka_conf_set(conf, properties[0], properties[1], text, sizeof(text)),
                        RD_KAFKA_CONF_OK);
        rk = rd_kafka_new(type, conf, text, sizeof(text));
        assert_non_null(rk);
        return rk;
}

static int set_up(void **state) {
        const char *const nobody[] = {"bootstrap.servers", "127.0.0.1:1", "log_level", "0", NULL};
        scene_t *scene = calloc(1, sizeof(*scene));
        assert_non_null(scene);
        scene->rk = handle(RD_KAFKA_PRODUCER, nobody);
        scene->mock = rd_kafka_mock_cluster_new(scene->rk, 1);
        assert_non_null(scene->mock);
        rd_kafka_mock_topic_create(scene->mock, "t", 1, 1);
        rd_kafka_mock_topic_create(scene->mock, "t4", 4, 1);
        *state = scene;
        return 0;
}

static int tear_down(void **state) {
        scene_t *scene = *state;
        test_host_free(scene->host);
        rd_kafka_mock_cluster_destroy(scene->mock);
        rd_kafka_destroy(scene->rk);
        free(scene);
        return (int)test_blocks_alive();
}

static void fail_requests(scene_t *scene, int16_t api, rd_kafka_resp_err_t err, size_t count) {
        for (size_t i = 0; i < count; i++)
                rd_kafka_mock_push_request_errors(scene->mock, api, 1, err);
}

/* A member of the group "g". */
static void join_at(scene_t *scene, const char *topic, const char *start) {
        const char *const properties[] = {"bootstrap.servers",
                                          rd_kafka_mock_cluster_bootstraps(scene->mock),
                                          "group.id",
                                          "g",
                                          "log.queue",
                                          "true",
                                          "partition.assignment.strategy",
                                          "cooperative-sticky",
                                          "auto.offset.reset",
                                          "error",
                                          "enable.auto.offset.store",
                                          "false",
                                          NULL};
        cr_writer_t out = cr_writer();
        scene->host = test_host_new();
        assert_string_equal(test_open(scene->host, "consumer", properties), "ok");
        cr_write_tuple(&out, 5);
        cr_write_text(&out, "join");
        cr_write_list(&out, 1);
        cr_write_text(&out, topic);
        cr_write_list_end(&out);
        cr_write_atom(&out, start);
        cr_write_atom(&out, "earliest");
        cr_write_list(&out, 1);
        cr_write_text(&out, "early");
        cr_write_list_end(&out);
        test_command(scene->host, CR_CMD_SUBSCRIBE, out.x.buff, (size_t)out.x.index);
        ei_x_free(&out.x);
}

static void join(scene_t *scene) {
        join_at(scene, "t", "earliest");
}

/* Serves the client until the condition holds; false when it has been quiet
 * for 20 s. The sweep, which comes once a second, comes more often here. */
static bool serve_until(scene_t *scene, bool (*holds)(const cr_group_t *group)) {
        for (int quiet = 0; quiet < 400;) {
                struct pollfd ready = {.fd = scene->host->fd, .events = POLLIN};
                if (holds(scene->host->client->group))
                        return true;
                if (poll(&ready, 1, 50) > 0) {
                        cr_client_drain(scene->host->client);
                } else {
                        cr_client_sweep(scene->host->client);
                        quiet++;
                }
        }
        return false;
}

static bool is_assigning(const cr_group_t *group) {
        return group->answering > 0;
}

static bool has_slot(const cr_group_t *group) {
        return group->slots.count > 0;
}

static cr_slot_t *first_slot(const cr_group_t *group) {
        size_t at = 0;
        return cr_map_next(&group->slots, &at);
}

static bool is_resetting(const cr_group_t *group) {
        return first_slot(group)->resetting;
}

static bool wants_reset(const cr_group_t *group) {
        return first_slot(group)->wants_reset;
}

static void expect_event(scene_t *scene, const char *name) {
        packet_t *packet = test_host_event(scene->host, name);
        assert_non_null(packet);
        packet_free(packet);
}

/* Proves that brokers whose answers take longer than a first try are heard. */
static void slow_broker_is_heard(void **state) {
        scene_t *scene = *state;
        fail_requests(scene, OFFSET_FETCH, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 5);
        join(scene);
        assert_true(serve_until(scene, is_assigning));
        rd_kafka_mock_broker_set_rtt(scene->mock, 1, 1300);
        assert_true(serve_until(scene, has_slot));
}

/* Proves that what goes on failing is told, and goes on being tried. */
static void trouble_is_told(void **state) {
        scene_t *scene = *state;
        fail_requests(scene, LIST_OFFSETS, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 60);
        join(scene);
        assert_true(serve_until(scene, is_assigning));
        expect_event(scene, "error");
        assert_true(serve_until(scene, has_slot));
}

/* Proves that a refusal which no further try can mend ends the assignment. */
static void refusal_is_final(void **state) {
        scene_t *scene = *state;
        fail_requests(scene, OFFSET_COMMIT, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 1);
        join(scene);
        assert_true(serve_until(scene, is_assigning));
        expect_event(scene, "assign_failed");
        assert_false(has_slot(scene->host->client->group));
}

/* Another client that speaks for the group "g". */
static rd_kafka_t *of_group(scene_t *scene) {
        const char *const properties[] = {"bootstrap.servers",
                                          rd_kafka_mock_cluster_bootstraps(scene->mock), "group.id",
                                          "g", NULL};
        return handle(RD_KAFKA_CONSUMER, properties);
}

/* Commits an offset, with the mark of a start or with none (0). */
static void commit(scene_t *scene, const char *topic, int64_t offset, int32_t mark) {
        rd_kafka_t *rk = of_group(scene);
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_t *at = rd_kafka_topic_partition_list_add(list, topic, 0);
        at->offset = offset;
        cr_start_set_mark(rk, at, mark);
        assert_int_equal(rd_kafka_commit(rk, list, 0), RD_KAFKA_RESP_ERR_NO_ERROR);
        rd_kafka_topic_partition_list_destroy(list);
        rd_kafka_destroy(rk);
}

static int64_t committed(scene_t *scene, const char *topic, int32_t partition, int32_t *mark) {
        rd_kafka_t *rk = of_group(scene);
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

/* A message to each partition of "t4". */
static void fill(scene_t *scene) {
        const char *const properties[] = {"bootstrap.servers",
                                          rd_kafka_mock_cluster_bootstraps(scene->mock), NULL};
        rd_kafka_t *rk = handle(RD_KAFKA_PRODUCER, properties);
        for (int partition = 0; partition < 4; partition++)
                assert_int_equal(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC("t4"),
                                                   RD_KAFKA_V_PARTITION(partition),
                                                   RD_KAFKA_V_VALUE("v", 1), RD_KAFKA_V_END),
                                 RD_KAFKA_RESP_ERR_NO_ERROR);
        assert_int_equal(rd_kafka_flush(rk, 10000), RD_KAFKA_RESP_ERR_NO_ERROR);
        rd_kafka_destroy(rk);
}

static void join_out_of_range(scene_t *scene) {
        bytes_t command = {.size = 0};
        commit(scene, "t", 1000, 0); /* the log does not have it */
        join(scene);
        assert_true(serve_until(scene, has_slot));
        put_uint(&command, first_slot(scene->host->client->group)->id, 8);
        assert_string_equal(test_command(scene->host, CR_CMD_TAKE, command.data, command.size), "");
        put_uint(&command, 100, 4);
        assert_string_equal(test_command(scene->host, CR_CMD_DEMAND, command.data, command.size),
                            "");
}

/* Proves that one transient error does not leave a partition without fetching. */
static void reset_survives_an_error(void **state) {
        scene_t *scene = *state;
        fail_requests(scene, LIST_OFFSETS, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 1);
        join_out_of_range(scene);
        expect_event(scene, "offset_reset");
}

/* Proves that a reset is made after a rebalance it fell into. */
static void reset_survives_a_rebalance(void **state) {
        scene_t *scene = *state;
        cr_group_t *group;
        join_out_of_range(scene);
        group = scene->host->client->group;
        assert_true(serve_until(scene, is_resetting));
        group->answering++; /* as does an assignment of another partition */
        assert_true(serve_until(scene, wants_reset));
        group->answering--;
        assert_true(serve_until(scene, is_resetting));
        expect_event(scene, "offset_reset");
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
        scene_t *scene = *state;
        int32_t mark;
        fill(scene);
        fail_requests(scene, OFFSET_COMMIT, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, 2);
        join_at(scene, "t4", "latest");
        assert_true(serve_until(scene, has_slot));
        assert_true(begins(scene->host->client->group));
        assert_true(serve_until(scene, has_begun));
        assert_int_equal(committed(scene, "t4", 3, &mark), 1);
        assert_int_equal(mark, 4);
}

static int64_t begun_at(scene_t *scene, int32_t partition) {
        cr_slot_t *slot;
        size_t at = 0;
        while ((slot = cr_map_next(&scene->host->client->group->slots, &at))) {
                if (slot->partition == partition)
                        return slot->delivered;
        }
        return -1;
}

/* The first partition is committed so; where the others begin at latest. */
static void expect_starts(scene_t *scene, int32_t mark, int64_t one, int64_t two, int64_t three) {
        fill(scene);
        commit(scene, "t4", 1, mark);
        join_at(scene, "t4", "latest");
        assert_true(serve_until(scene, has_slot));
        assert_int_equal(begun_at(scene, 1), one);
        assert_int_equal(begun_at(scene, 2), two);
        assert_int_equal(begun_at(scene, 3), three);
}

/* Proves that partitions which a topic has got since the group began with it
 * begin at the earliest; and that they are not taken for a beginning. */
static void newer_begin_at_earliest(void **state) {
        scene_t *scene = *state;
        int32_t mark;
        expect_starts(scene, 2, 1, 0, 0);
        assert_int_equal(committed(scene, "t4", 3, &mark), 0);
        assert_int_equal(mark, 2);
}

/* Proves that so do all without an offset in a group that has been at work. */
static void at_work_begin_at_earliest(void **state) {
        scene_t *scene = *state;
        int32_t mark;
        expect_starts(scene, 0, 0, 0, 0);
        assert_int_equal(committed(scene, "t4", 3, &mark), 0);
        assert_int_equal(mark, 0);
}

/* Proves that a member which begins beside another is not taken for a late one. */
static void beside_begin_at_start(void **state) {
        expect_starts(*state, 4, 1, 1, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(slow_broker_is_heard, set_up, tear_down),
                cmocka_unit_test_setup_teardown(trouble_is_told, set_up, tear_down),
                cmocka_unit_test_setup_teardown(refusal_is_final, set_up, tear_down),
                cmocka_unit_test_setup_teardown(reset_survives_an_error, set_up, tear_down),
                cmocka_unit_test_setup_teardown(reset_survives_a_rebalance, set_up, tear_down),
                cmocka_unit_test_setup_teardown(start_survives_a_rebalance, set_up, tear_down),
                cmocka_unit_test_setup_teardown(newer_begin_at_earliest, set_up, tear_down),
                cmocka_unit_test_setup_teardown(at_work_begin_at_earliest, set_up, tear_down),
                cmocka_unit_test_setup_teardown(beside_begin_at_start, set_up, tear_down)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
