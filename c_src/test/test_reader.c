/* core/reader.c, on a mock cluster: what is malformed, where a
 * slot ends, and clients that end while something is still under way. */
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
#include "../core/prefetch.h"
#include "support/hold.h"
#include "support/test_host.h"

#define TOPIC "t"
#define PARTITIONS 3
#define MESSAGES 20 /* in partition 0; the others have none */

typedef struct scene {
        rd_kafka_t *rk; /* of the mock cluster */
        rd_kafka_mock_cluster_t *mock;
        test_host_t *host;
} scene_t;

static rd_kafka_t *producer(const char *bootstrap) {
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        char text[256] = "";
        rd_kafka_t *rk;
        rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap, text, sizeof(text));
        rd_kafka_conf_set(conf, "log_level", "0", text, sizeof(text));
        rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
        assert_non_null(rk);
        return rk;
}

static void fill(const char *bootstrap) {
        rd_kafka_t *rk = producer(bootstrap);
        for (int i = 0; i < MESSAGES; i++)
                assert_int_equal(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(TOPIC),
                                                   RD_KAFKA_V_PARTITION(0),
                                                   RD_KAFKA_V_VALUE("v", 1), RD_KAFKA_V_END),
                                 RD_KAFKA_RESP_ERR_NO_ERROR);
        assert_int_equal(rd_kafka_flush(rk, 10000), RD_KAFKA_RESP_ERR_NO_ERROR);
        rd_kafka_destroy(rk);
}

static void open_kind(scene_t *scene, const char *kind) {
        const char *const properties[] = {"bootstrap.servers",
                                          rd_kafka_mock_cluster_bootstraps(scene->mock),
                                          "log.queue",
                                          "true",
                                          "auto.offset.reset",
                                          "error",
                                          "enable.partition.eof",
                                          "true",
                                          "enable.auto.offset.store",
                                          "false",
                                          strcmp(kind, "consumer") == 0 ? "group.id" : NULL,
                                          "g",
                                          NULL};
        assert_string_equal(test_open(scene->host, kind, properties), "ok");
}

static int set_up(void **state) {
        scene_t *scene = calloc(1, sizeof(*scene));
        assert_non_null(scene);
        scene->rk = producer("127.0.0.1:1");
        scene->mock = rd_kafka_mock_cluster_new(scene->rk, 1);
        assert_non_null(scene->mock);
        rd_kafka_mock_topic_create(scene->mock, TOPIC, PARTITIONS, 1);
        fill(rd_kafka_mock_cluster_bootstraps(scene->mock));
        scene->host = test_host_new();
        open_kind(scene, "reader");
        *state = scene;
        return 0;
}

static int tear_down(void **state) {
        scene_t *scene = *state;
        if (scene->host)
                test_host_free(scene->host);
        rd_kafka_mock_cluster_destroy(scene->mock);
        rd_kafka_destroy(scene->rk);
        free(scene);
        return (int)test_blocks_alive();
}

/* ---- commands ---------------------------------------------------------------- */

/* A list of one place. `to` below 0 is the atom infinity. */
static const char *assign(scene_t *scene, int64_t partition, int64_t from, int64_t to) {
        cr_writer_t out = cr_writer();
        const char *answer;
        cr_write_list(&out, 1);
        cr_write_tuple(&out, 4);
        cr_write_text(&out, TOPIC);
        cr_write_integer(&out, partition);
        cr_write_integer(&out, from);
        if (to < 0)
                cr_write_atom(&out, "infinity");
        else
                cr_write_integer(&out, to);
        cr_write_list_end(&out);
        answer = test_command(scene->host, CR_CMD_ASSIGN, out.x.buff, (size_t)out.x.index);
        cr_writer_discard(&out);
        return answer;
}

/* The only slot of the last ASSIGN; 0 when it answered an error in its place. */
static uint64_t answered_slot(void) {
        size_t size;
        const unsigned char *bytes = test_answer(&size);
        cr_reader_t term = cr_reader(bytes, size);
        char ok[8];
        int64_t slot;
        assert_true(cr_read_tuple(&term, 2));
        cr_read_atom(&term, ok, sizeof(ok));
        assert_int_equal(cr_read_list(&term), 1);
        slot = cr_read_integer(&term);
        return term.failed ? 0 : (uint64_t)slot;
}

static uint64_t assigned(scene_t *scene, int64_t partition, int64_t from, int64_t to) {
        uint64_t slot;
        assert_string_equal(assign(scene, partition, from, to), "ok");
        slot = answered_slot();
        assert_true(slot > 0);
        return slot;
}

static void take(scene_t *scene, uint64_t slot) {
        bytes_t command = {.size = 0};
        put_uint(&command, slot, 8);
        assert_string_equal(test_command(scene->host, CR_CMD_TAKE, command.data, command.size), "");
}

static const char *demand(scene_t *scene, uint64_t slot, uint32_t count) {
        bytes_t command = {.size = 0};
        put_uint(&command, slot, 8);
        put_uint(&command, count, 4);
        return test_command(scene->host, CR_CMD_DEMAND, command.data, command.size);
}

static unsigned count_of(const packet_t *batch) {
        cr_bytes_t bytes = cr_bytes(batch->bytes, batch->size);
        return cr_take_u32(&bytes);
}

/* The messages that have come when the slot ends. */
static unsigned read_to_end(scene_t *scene, uint64_t slot) {
        unsigned count = 0;
        packet_t *packet = test_host_packet(scene->host, CR_PACKET_SLOT_END);
        assert_non_null(packet);
        assert_int_equal(packet->slot, slot);
        packet_free(packet);
        for (packet_t *at = scene->host->first; at; at = at->next) {
                if (at->kind == CR_PACKET_BATCH)
                        count += count_of(at);
        }
        return count;
}

static bool has_no_slots(scene_t *scene) {
        for (int i = 0; i < 400 && scene->host->client->group->slots.count; i++) {
                struct pollfd ready = {.fd = scene->host->fd, .events = POLLIN};
                if (poll(&ready, 1, 50) > 0)
                        cr_client_drain(scene->host->client);
        }
        return scene->host->client->group->slots.count == 0;
}

/* ---- cases ---------------------------------------------------------------------- */

/* Proves that what is not as the table of commands says is refused, whole. */
static void malformed(void **state) {
        scene_t *scene = *state;
        cr_writer_t out = cr_writer();
        assert_string_equal(assign(scene, -1, 0, 5), "malformed_command");
        assert_string_equal(assign(scene, INT64_C(1) << 31, 0, 5), "malformed_command");
        assert_string_equal(assign(scene, 0, -1, 5), "malformed_command");
        /* the second of two is wrong, so that the first is not read either */
        cr_write_list(&out, 2);
        for (int i = 0; i < 2; i++) {
                cr_write_tuple(&out, 4);
                cr_write_text(&out, i ? "" : TOPIC);
                for (int j = 0; j < 3; j++)
                        cr_write_integer(&out, j);
        }
        cr_write_list_end(&out);
        assert_string_equal(
                test_command(scene->host, CR_CMD_ASSIGN, out.x.buff, (size_t)out.x.index),
                "malformed_command");
        for (int cut = 0; cut < out.x.index; cut++)
                assert_string_equal(
                        test_command(scene->host, CR_CMD_ASSIGN, out.x.buff, (size_t)cut),
                        "malformed_command");
        cr_writer_discard(&out);
        assert_int_equal(scene->host->client->group->slots.count, 0);
}

/* Proves that a member of a group is not assigned partitions by its user. */
static void members_are_assigned_by_groups(void **state) {
        scene_t *scene = *state;
        test_host_free(scene->host);
        scene->host = test_host_new();
        open_kind(scene, "consumer");
        assert_string_equal(assign(scene, 0, 0, 5), "wrong_state");
}

/* Proves that messages from a bound on are not delivered, that the slot then ends
 * by itself, and that its partition can be read again. */
static void bounds(void **state) {
        scene_t *scene = *state;
        uint64_t slot = assigned(scene, 0, 3, 9);
        take(scene, slot);
        assert_string_equal(demand(scene, slot, 1000), "");
        assert_int_equal(read_to_end(scene, slot), 6);
        assert_true(has_no_slots(scene));
        assert_string_equal(demand(scene, slot, 1000), "stale_assignment");
        assert_true(assigned(scene, 0, 0, -1) > slot);
}

/* Proves that the end is met when no more than what lies before it was asked for. */
static void exact_credit(void **state) {
        scene_t *scene = *state;
        uint64_t slot = assigned(scene, 0, 0, MESSAGES);
        take(scene, slot);
        assert_string_equal(demand(scene, slot, MESSAGES), "");
        /* On a busy machine in several batches. */
        for (unsigned came = 0; came < MESSAGES;) {
                packet_t *batch = test_host_packet(scene->host, CR_PACKET_BATCH);
                assert_non_null(batch);
                came += count_of(batch);
                packet_free(batch);
        }
        assert_string_equal(demand(scene, slot, 1), "");
        assert_int_equal(read_to_end(scene, slot), 0);
}

/* Proves that a partition is read once at a time. */
static void one_at_a_time(void **state) {
        scene_t *scene = *state;
        (void)assigned(scene, 0, 0, -1);
        assert_string_equal(assign(scene, 0, 0, -1), "ok");
        assert_int_equal(answered_slot(), 0);
        assert_int_equal(scene->host->client->group->slots.count, 1);
}

/* Proves that an offset that the log has not is told, and not put right in silence. */
static void out_of_range(void **state) {
        scene_t *scene = *state;
        uint64_t slot = assigned(scene, 0, MESSAGES + 5, -1);
        packet_t *packet;
        take(scene, slot);
        assert_string_equal(demand(scene, slot, 10), "");
        packet = test_host_event(scene->host, "partition_error");
        assert_non_null(packet);
        assert_non_null(memmem(packet->bytes, packet->size, "offset_out_of_range", 19));
        packet_free(packet);
}

/* Serves the client until the condition holds, with sweeps. */
static void serve_until(scene_t *scene, const cr_slot_t *slot, bool (*holds)(const cr_slot_t *)) {
        for (int quiet = 0; !holds(slot); quiet++) {
                struct pollfd ready = {.fd = scene->host->fd, .events = POLLIN};
                assert_true(quiet < 400);
                if (poll(&ready, 1, 50) > 0)
                        cr_client_drain(scene->host->client);
                else
                        cr_client_sweep(scene->host->client);
        }
}

static bool has_error(const cr_slot_t *slot) {
        return !cr_ready_is_empty(&slot->ready);
}

static bool is_resetting(const cr_slot_t *slot) {
        return slot->resetting;
}

/* Proves the same where that news of librdkafka's was let go of. */
static void out_of_range_in_the_end(void **state) {
        scene_t *scene = *state;
        uint64_t id = assigned(scene, 0, MESSAGES + 5, -1);
        cr_slot_t *slot = cr_map_get(&scene->host->client->group->slots, id);
        packet_t *packet;
        hold_t hold;
        serve_until(scene, slot, has_error);
        cr_ready_clear(&slot->ready);
        cr_prefetch_shut(slot);
        take(scene, id);
        hold_lane(&hold, &scene->host->client->query_lane);
        assert_string_equal(demand(scene, id, 10), "");
        serve_until(scene, slot, is_resetting);
        sem_post(&hold.go_on);
        packet = test_host_event(scene->host, "partition_error");
        assert_non_null(packet);
        assert_non_null(memmem(packet->bytes, packet->size, "offset_out_of_range", 19));
        packet_free(packet);
        sem_destroy(&hold.go_on);
}

/* Proves that a client may end at any moment: with slots that nobody took, that
 * are fetched, and that have ended. */
static void ends_at_any_moment(void **state) {
        scene_t *scene = *state;
        for (int moment = 0; moment < 5; moment++) {
                uint64_t slot = assigned(scene, 0, 0, moment == 4 ? 5 : -1);
                (void)assigned(scene, 1, 0, -1);
                if (moment > 0)
                        take(scene, slot);
                if (moment > 1)
                        (void)demand(scene, slot, 7);
                if (moment > 2)
                        packet_free(test_host_packet(scene->host, CR_PACKET_BATCH));
                if (moment == 4)
                        (void)demand(scene, slot, 7);
                if (moment % 2)
                        cr_client_recipient_gone(scene->host->client, 1);
                test_host_free(scene->host);
                scene->host = test_host_new();
                open_kind(scene, "reader");
        }
}

/* Proves that a client without memory for a batch delivers it when there is some. */
static void no_memory(void **state) {
        scene_t *scene = *state;
        uint64_t slot = assigned(scene, 0, 0, 4);
        take(scene, slot);
        test_blocks_run_out(true);
        (void)demand(scene, slot, 10);
        for (int i = 0; i < 20; i++) {
                struct pollfd ready = {.fd = scene->host->fd, .events = POLLIN};
                if (poll(&ready, 1, 50) > 0)
                        cr_client_drain(scene->host->client);
        }
        test_blocks_run_out(false);
        cr_client_sweep(scene->host->client);
        assert_int_equal(read_to_end(scene, slot), 4);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(malformed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(members_are_assigned_by_groups, set_up, tear_down),
                cmocka_unit_test_setup_teardown(bounds, set_up, tear_down),
                cmocka_unit_test_setup_teardown(exact_credit, set_up, tear_down),
                cmocka_unit_test_setup_teardown(one_at_a_time, set_up, tear_down),
                cmocka_unit_test_setup_teardown(out_of_range_in_the_end, set_up, tear_down),
                cmocka_unit_test_setup_teardown(out_of_range, set_up, tear_down),
                cmocka_unit_test_setup_teardown(ends_at_any_moment, set_up, tear_down),
                cmocka_unit_test_setup_teardown(no_memory, set_up, tear_down)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
