/* core/prefetch.c, on a mock cluster: a slot is shut at its share of a small
 * limit, and opened again where it was. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../core/prefetch.h"
#include "support/hold.h"
#include "support/member.h"

#define MESSAGES 100
#define SIZE 1000
/* Room for some ten messages of one partition to wait. */
#define LIMIT 65536
#define LONG_MS 20000
/* What may wait of each of four, with four times that. */
#define EQUAL (CR_PREFETCH_PART(4 * (size_t)LIMIT) / 4 / 2)

static void fill_with(member_t *member, const char *topic, int32_t partition, int messages,
                      size_t size) {
        const char *const properties[] = {"bootstrap.servers",
                                          rd_kafka_mock_cluster_bootstraps(member->mock),
                                          "linger.ms", "100", NULL};
        static char value[2 * EQUAL];
        rd_kafka_t *rk = plain_handle(RD_KAFKA_PRODUCER, properties);
        for (int i = 0; i < messages; i++)
                assert_int_equal(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic),
                                                   RD_KAFKA_V_PARTITION(partition),
                                                   RD_KAFKA_V_VALUE(value, size), RD_KAFKA_V_END),
                                 0);
        assert_int_equal(rd_kafka_flush(rk, LONG_MS), 0);
        rd_kafka_destroy(rk);
}

static void fill(member_t *member, const char *topic, int32_t partition) {
        fill_with(member, topic, partition, MESSAGES, SIZE);
}

/* Shut with what it has, and not as one that librdkafka does not open yet. */
static bool is_quiet(const cr_group_t *group) {
        const cr_slot_t *slot = first_slot(group);
        return slot && slot->shut && slot->paused && !group->gates_out && slot->ready.bytes;
}

static bool has_four(const cr_group_t *group) {
        return group->slots.count == 4;
}

static cr_slot_t *slot_of(const cr_group_t *group, int32_t partition) {
        cr_slot_t *slot;
        size_t at = 0;
        while ((slot = cr_map_next(&group->slots, &at)) && slot->partition != partition)
                ;
        return slot;
}

static bool three_lend(const cr_group_t *group) {
        return group->lenders == 3;
}

static bool all_is_lent(const cr_group_t *group) {
        return group->lenders == 3 && slot_of(group, 0)->ready.bytes > 3 * EQUAL;
}

static bool one_is_claimed(const cr_group_t *group) {
        return group->lenders == 2;
}

static bool is_gone(const cr_group_t *group) {
        return group->slots.count == 0;
}

static cr_group_t *group_of(member_t *member) {
        return member->host->client->group;
}

static int join_filled(void **state) {
        member_t *member;
        (void)set_up_member(state);
        member = *state;
        fill(member, "t", 0);
        join(member);
        group_of(member)->options.prefetch = LIMIT;
        assert_true(serve_until(member, has_slot));
        return 0;
}

/* Four partitions, all of them empty. */
static int join_four(void **state) {
        member_t *member;
        (void)set_up_member(state);
        member = *state;
        join_at(member, "t4", "earliest");
        group_of(member)->options.prefetch = (int64_t)4 * LIMIT;
        assert_true(serve_until(member, has_four));
        return 0;
}

static void ack(member_t *member, uint64_t slot, int64_t from, int64_t to) {
        bytes_t command = {.size = 0};
        put_uint(&command, slot, 8);
        put_uint(&command, (uint64_t)from, 8);
        put_uint(&command, (uint64_t)to, 8);
        assert_string_equal(test_command(member->host, CR_CMD_ACK, command.data, command.size), "");
}

/* Takes and acknowledges all messages from that one on: each comes once, and none
 * more than the limit allows. */
static void expect_all(member_t *member, int64_t next) {
        while (next < MESSAGES) {
                packet_t *packet = test_host_packet(member->host, CR_PACKET_BATCH);
                cr_bytes_t bytes;
                uint32_t count;
                assert_non_null(packet);
                bytes = cr_bytes(packet->bytes, packet->size);
                count = cr_take_u32(&bytes);
                (void)cr_take_u8(&bytes);
                assert_int_equal(cr_take_i64(&bytes), next);
                assert_true(cr_prefetch_used(group_of(member)) <=
                            CR_PREFETCH_PART((size_t)group_of(member)->options.prefetch) +
                                    2 * (SIZE + CR_DELIVERED_COST));
                ack(member, packet->slot, next, next + count - 1);
                next += count;
                packet_free(packet);
        }
}

/* Proves that without demand no more is kept than the share's half, and that by
 * demand all of it comes, once and in order, over many closings and openings. */
static void is_shut_and_opened(void **state) {
        member_t *member = *state;
        const cr_slot_t *slot;
        assert_true(serve_until(member, is_quiet));
        slot = first_slot(group_of(member));
        assert_true(slot->ready.bytes >= CR_PREFETCH_PART(LIMIT) / 2);
        assert_true(slot->ready.bytes <= CR_PREFETCH_PART(LIMIT) / 2 + 2 * SIZE);
        assert_in_range(cr_slot_position(slot), 5, 20);
        assert_int_equal(cr_prefetch_shut_count(group_of(member)), 1);
        take_and_demand(member, MESSAGES);
        expect_all(member, 0);
}

/* Proves that what has come into its half stays there, sweep after sweep: the last of
 * it does not go, to be fetched once more, because it does not fit in whole. */
static void swept(void **state) {
        member_t *member = *state;
        const cr_slot_t *slot;
        size_t bytes;
        assert_true(serve_until(member, is_quiet));
        slot = first_slot(group_of(member));
        bytes = slot->ready.bytes;
        for (int i = 0; i < 3; i++)
                cr_client_sweep(member->host->client);
        assert_int_equal(slot->ready.bytes, bytes);
        take_and_demand(member, MESSAGES);
        expect_all(member, 0);
}

/* Proves that messages for which there is no memory are fetched again. */
static void without_memory(void **state) {
        member_t *member = *state;
        cr_slot_t *slot = first_slot(group_of(member));
        test_blocks_run_out(true);
        for (int i = 0; i < 20; i++) {
                cr_client_drain(member->host->client);
                cr_client_sweep(member->host->client);
        }
        assert_int_equal(cr_slot_position(slot), 0);
        test_blocks_run_out(false);
        take_and_demand(member, MESSAGES);
        expect_all(member, 0);
}

/* Proves that a slot that begins anew while it is opened goes on where it is then. */
static void begins_anew_while_opened(void **state) {
        member_t *member = *state;
        cr_slot_t *slot;
        assert_true(serve_until(member, is_quiet));
        slot = first_slot(group_of(member));
        cr_ready_clear(&slot->ready);
        cr_prefetch_serve(slot);
        assert_true(slot->gating);
        cr_slot_rewind(slot, 60);
        take_and_demand(member, MESSAGES);
        expect_all(member, 60);
}

/* Proves that what is let go of while the slot is opened behind it comes again: the
 * share has fallen, as it does when partitions come. */
static void trimmed_while_opened(void **state) {
        member_t *member = *state;
        cr_group_t *group = group_of(member);
        cr_slot_t *slot;
        int64_t position;
        assert_true(serve_until(member, is_quiet));
        slot = first_slot(group);
        position = cr_slot_position(slot);
        group->options.prefetch = 16 * LIMIT;
        cr_prefetch_serve(slot);
        assert_true(slot->gating);
        group->options.prefetch = LIMIT / 4;
        cr_prefetch_settle(member->host->client);
        assert_true(cr_slot_position(slot) < position);
        group->options.prefetch = LIMIT;
        take_and_demand(member, MESSAGES);
        expect_all(member, 0);
}

static bool has_error(const cr_group_t *group) {
        const cr_block_t *block = TAILQ_FIRST(&first_slot(group)->ready.blocks);
        return block && block->error;
}

static bool has_messages(const cr_group_t *group) {
        return cr_ready_next(&first_slot(group)->ready) >= 0;
}

/* Proves that a partition goes on of which librdkafka has told that the offset is
 * gone, and which it fetches no more, if that news was let go of; and that it is
 * not asked without a pause meanwhile. */
static void opened_in_vain(void **state) {
        member_t *member = *state;
        cr_group_t *group = group_of(member);
        cr_slot_t *slot;
        int asked = 0;
        assert_true(serve_until(member, is_quiet));
        slot = first_slot(group);
        /* Where the first is asked for between the resume and the seek, librdkafka drops what
         * it brings. */
        fail_requests(member, FETCH, RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE, 20);
        cr_ready_clear(&slot->ready);
        cr_prefetch_serve(slot);
        assert_true(serve_until(member, has_error));
        rd_kafka_mock_clear_request_errors(member->mock, FETCH);
        group->options.prefetch = 0;
        cr_prefetch_settle(member->host->client);
        group->options.prefetch = LIMIT;
        assert_false(has_error(group));
        for (int64_t end = cr_now_ms() + 500; cr_now_ms() < end;) {
                struct pollfd ready = {.fd = member->host->fd, .events = POLLIN};
                if (poll(&ready, 1, 50) <= 0)
                        continue;
                cr_client_drain(member->host->client);
                asked++;
        }
        assert_in_range(asked, 0, 50);
        assert_true(serve_until(member, has_messages));
        take_and_demand(member, MESSAGES);
        expect_all(member, 0);
}

/* Proves that a slot is not released while librdkafka is being told of it. */
static void release_waits(void **state) {
        member_t *member = *state;
        cr_group_t *group = group_of(member);
        hold_t hold;
        cr_slot_t *slot;
        assert_true(serve_until(member, is_quiet));
        slot = first_slot(group);
        hold_lane(&hold, &member->host->client->prefetch_lane);
        cr_ready_clear(&slot->ready);
        cr_prefetch_serve(slot);
        assert_true(group->gates_out);
        group->revoked = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_list_add(group->revoked, "t", 0);
        cr_slot_revoke(slot);
        cr_group_release(member->host->client);
        assert_int_equal(group->slots.count, 1);
        sem_post(&hold.go_on);
        assert_true(serve_until(member, is_gone));
        sem_destroy(&hold.go_on);
}

static size_t waiting(const cr_group_t *group) {
        size_t at = 0, bytes = 0;
        const cr_slot_t *slot;
        while ((slot = cr_map_next(&group->slots, &at)))
                bytes += slot->ready.bytes;
        return bytes;
}

/* Proves that what may wait of partitions that are at their ends is another's, until
 * messages come: then that one lets go of it, and all of its messages come still. */
static void lent_and_claimed(void **state) {
        member_t *member = *state;
        const cr_group_t *group = group_of(member);
        cr_slot_t *slot = slot_of(group, 0);
        for (int32_t partition = 1; partition < 4; partition++)
                take_slot(member, slot_of(group, partition), 1);
        assert_true(serve_until(member, three_lend));
        fill(member, "t4", 0);
        assert_true(serve_until(member, all_is_lent));
        fill(member, "t4", 1);
        assert_true(serve_until(member, one_is_claimed));
        assert_in_range(slot->ready.bytes, EQUAL, 2 * EQUAL);
        assert_true(waiting(group) <= 4 * EQUAL);
        packet_free(test_host_packet(member->host, CR_PACKET_BATCH));
        take_slot(member, slot, MESSAGES);
        expect_all(member, 0);
}

/* Proves that of a partition that lends no message is passed over, be it larger than
 * all that may wait of it. */
static void large_one_is_claimed_for(void **state) {
        member_t *member = *state;
        const cr_group_t *group = group_of(member);
        const int large = 3;
        for (int32_t partition = 1; partition < 4; partition++)
                take_slot(member, slot_of(group, partition), MESSAGES);
        assert_true(serve_until(member, three_lend));
        fill_with(member, "t4", 1, large, 2 * EQUAL);
        for (int64_t next = 0; next < large;) {
                packet_t *packet = test_host_packet(member->host, CR_PACKET_BATCH);
                cr_bytes_t bytes;
                uint32_t count;
                assert_non_null(packet);
                bytes = cr_bytes(packet->bytes, packet->size);
                count = cr_take_u32(&bytes);
                (void)cr_take_u8(&bytes);
                assert_int_equal(cr_take_i64(&bytes), next);
                ack(member, packet->slot, next, next + count - 1);
                next += count;
                packet_free(packet);
        }
}

static bool has_large_one(const cr_group_t *group) {
        return slot_of(group, 0)->ready.bytes > 2 * EQUAL;
}

/* Proves the same of a message that alone is more than all that may wait. */
static void large_one_is_swept(void **state) {
        member_t *member = *state;
        fill_with(member, "t4", 0, 1, 2 * EQUAL);
        assert_true(serve_until(member, has_large_one));
        for (int i = 0; i < 3; i++)
                cr_client_sweep(member->host->client);
        assert_true(has_large_one(group_of(member)));
}

static bool has_more_than_kept(const cr_group_t *group) {
        return slot_of(group, 1)->ready.bytes > EQUAL / 8;
}

/* Proves that a partition that has more than it kept is not fetched again for what
 * others have of its place, though its worker asks for nothing. */
static void more_than_kept_stays(void **state) {
        member_t *member = *state;
        const cr_group_t *group = group_of(member);
        cr_slot_t *slot = slot_of(group, 1);
        for (int32_t partition = 1; partition < 4; partition++)
                take_slot(member, slot_of(group, partition), 1);
        assert_true(serve_until(member, three_lend));
        slot->credit = 0;
        fill_with(member, "t4", 1, 1, EQUAL / 5);
        assert_true(serve_until(member, has_more_than_kept));
        cr_client_sweep(member->host->client);
        assert_true(has_more_than_kept(group));
        assert_false(slot->shut);
        assert_true(group->lenders <= 2);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(is_shut_and_opened, join_filled, tear_down_member),
                cmocka_unit_test_setup_teardown(swept, join_filled, tear_down_member),
                cmocka_unit_test_setup_teardown(without_memory, join_filled, tear_down_member),
                cmocka_unit_test_setup_teardown(begins_anew_while_opened, join_filled,
                                                tear_down_member),
                cmocka_unit_test_setup_teardown(trimmed_while_opened, join_filled,
                                                tear_down_member),
                cmocka_unit_test_setup_teardown(opened_in_vain, join_filled, tear_down_member),
                cmocka_unit_test_setup_teardown(lent_and_claimed, join_four, tear_down_member),
                cmocka_unit_test_setup_teardown(large_one_is_claimed_for, join_four,
                                                tear_down_member),
                cmocka_unit_test_setup_teardown(large_one_is_swept, join_four, tear_down_member),
                cmocka_unit_test_setup_teardown(more_than_kept_stays, join_four, tear_down_member),
                cmocka_unit_test_setup_teardown(release_waits, join_filled, tear_down_member),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
