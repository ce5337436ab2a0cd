/* What is delivered and not acknowledged: how much there may be of it, and what
 * of it is delivered again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/member.h"

#define MESSAGES 8
#define MOST 3

static void produce(member_t *member, int count) {
        const char *const properties[] = {"bootstrap.servers",
                                          rd_kafka_mock_cluster_bootstraps(member->mock), NULL};
        rd_kafka_t *rk = plain_handle(RD_KAFKA_PRODUCER, properties);
        for (int i = 0; i < count; i++)
                assert_int_equal(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC("t"),
                                                   RD_KAFKA_V_PARTITION(0),
                                                   RD_KAFKA_V_VALUE("x", 1), RD_KAFKA_V_END),
                                 0);
        assert_int_equal(rd_kafka_flush(rk, 20000), 0);
        rd_kafka_destroy(rk);
}

/* One member for all tests, with messages before it and room for three, that has
 * asked for more: the first of a group waits three seconds for its partitions. */
static int join_with_room(void **state) {
        member_t *member;
        (void)set_up_member(state);
        member = *state;
        produce(member, MESSAGES);
        join(member);
        assert_true(serve_until(member, has_slot));
        member->host->client->group->options.max_in_flight = MOST;
        take_and_demand(member, 100);
        return 0;
}

static bool is_full(const cr_group_t *group) {
        return first_slot(group)->window.unacked == MOST;
}

/* All messages were taken from librdkafka. */
static bool is_fetched(const cr_group_t *group) {
        return cr_slot_position(first_slot(group)) == MESSAGES;
}

/* A command of the first slot's, with two more numbers. */
static void command_of_slot(member_t *member, unsigned command, int64_t from, int64_t to) {
        bytes_t bytes = {.size = 0};
        put_uint(&bytes, first_slot(member->host->client->group)->id, 8);
        put_uint(&bytes, (uint64_t)from, 8);
        put_uint(&bytes, (uint64_t)to, 8);
        assert_string_equal(test_command(member->host, command, bytes.data, bytes.size),
                            command == CR_CMD_ACK ? "" : "ok");
}

/* The messages of the next batch, or those of them that its mask leaves. */
static int next_batch(member_t *member) {
        packet_t *packet = test_host_packet(member->host, CR_PACKET_BATCH);
        int count, left = 0;
        assert_non_null(packet);
        count = packet->bytes[3];
        for (int i = 0; i < count; i++)
                left += !packet->mask_size || !(packet->mask[i / 8] & (1u << (i % 8)));
        packet_free(packet);
        return left;
}

/* Proves that of what is delivered again only what was asked for, and is not
 * acknowledged, is not masked. */
static void some_is_delivered_again(void **state) {
        member_t *member = *state;
        assert_true(serve_until(member, is_full));
        for (int seen = 0; seen < MOST;)
                seen += next_batch(member);
        command_of_slot(member, CR_CMD_REDELIVER, 2, 2);
        assert_int_equal(next_batch(member), 1);
        command_of_slot(member, CR_CMD_WAITING, 0, INT64_MAX);
        /* Nobody gets what was not delivered, or lies nowhere. */
        command_of_slot(member, CR_CMD_REDELIVER, MOST, INT64_MAX);
        command_of_slot(member, CR_CMD_REDELIVER, 5, 2);
        for (packet_t *packet = member->host->first; packet; packet = packet->next)
                assert_int_not_equal(packet->kind, CR_PACKET_BATCH);
}

/* Proves that no more is delivered than may be in flight, and that each
 * acknowledgement makes room for as much again, at once. */
static void no_more_than_in_flight(void **state) {
        member_t *member = *state;
        cr_slot_t *slot = first_slot(member->host->client->group);
        assert_true(serve_until(member, is_fetched));
        assert_int_equal(slot->delivered, 3);
        assert_int_equal(cr_slot_room(slot), 0);
        command_of_slot(member, CR_CMD_ACK, 1, 1);
        assert_int_equal(next_batch(member), 1);
        assert_int_equal(slot->delivered, 4);
        command_of_slot(member, CR_CMD_ACK, 0, 2);
        assert_int_equal(next_batch(member), 2);
        command_of_slot(member, CR_CMD_REDELIVER, 0, 2);
        command_of_slot(member, CR_CMD_ACK, 0, 5);
        assert_int_equal(next_batch(member), 2);
        assert_int_equal(slot->delivered, MESSAGES);
        assert_int_equal(slot->window.unacked, 2);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(some_is_delivered_again),
                                           cmocka_unit_test(no_more_than_in_flight)};
        return cmocka_run_group_tests(tests, join_with_room, tear_down_member);
}
