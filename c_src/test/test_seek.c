/* Seeks, and commits that are asked for: in quiet, in the middle of a rebalance,
 * one upon another, at the end of the client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/hold.h"
#include "support/member.h"

#define MESSAGES 100
#define LONG_MS 20000

/* One member for all tests, with a slot and messages in its partition: the first
 * of a group waits three seconds for its partitions. */
static int join_filled(void **state) {
        (void)set_up_member(state);
        fill_partition(*state, MESSAGES);
        join(*state);
        assert_true(serve_until(*state, has_slot));
        return 0;
}

static cr_group_t *group_of(member_t *member) {
        return member->host->client->group;
}

static cr_slot_t *slot_of(member_t *member) {
        return first_slot(group_of(member));
}

/* SEEK of t [0], or START_AT of the slot, to that offset. */
static const char *seek(member_t *member, const char *tag, bool start, int64_t offset, int millis) {
        cr_writer_t out = cr_writer();
        const char *answer;
        cr_write_tuple(&out, start ? 4 : 5);
        cr_write_text(&out, tag);
        if (start) {
                cr_write_integer(&out, (int64_t)slot_of(member)->id);
        } else {
                cr_write_list(&out, 1);
                cr_write_tuple(&out, 2);
                cr_write_text(&out, "t");
                cr_write_integer(&out, 0);
                cr_write_list_end(&out);
        }
        cr_write_atom(&out, "offset");
        cr_write_integer(&out, offset);
        if (!start)
                cr_write_integer(&out, millis);
        answer = test_command(member->host, start ? CR_CMD_START_AT : CR_CMD_SEEK, out.x.buff,
                              (size_t)out.x.index);
        cr_writer_discard(&out);
        return answer;
}

/* The atom of an answer, or the name of its error. */
static void expect_reply(member_t *member, const char *tag, const char *wanted) {
        packet_t *packet = test_host_reply(member->host, tag);
        cr_reader_t answer;
        cr_text_t name = {0};
        char atom[32];
        assert_non_null(packet);
        answer = cr_reader(packet->bytes, packet->size);
        assert_true(cr_read_tuple(&answer, 2));
        cr_read_atom(&answer, atom, sizeof(atom));
        if (strcmp(atom, "error") == 0 && cr_read_tuple(&answer, 5))
                name = cr_read_binary(&answer);
        if (name.size)
                snprintf(atom, sizeof(atom), "%.*s", (int)name.size, name.bytes);
        else if (strcmp(wanted, "not_assigned") == 0 && cr_read_tuple(&answer, 3))
                cr_read_atom(&answer, atom, sizeof(atom));
        assert_string_equal(atom, wanted);
        packet_free(packet);
}

/* The next batch of the slot begins with that offset. */
static void expect_batch(member_t *member, int64_t offset) {
        packet_t *packet;
        cr_bytes_t bytes;
        while ((packet = test_host_packet(member->host, CR_PACKET_BATCH)) &&
               packet->slot != slot_of(member)->id)
                packet_free(packet);
        assert_non_null(packet);
        bytes = cr_bytes(packet->bytes, packet->size);
        assert_true(cr_take_u32(&bytes) > 0);
        (void)cr_take_u8(&bytes);
        assert_int_equal(cr_take_i64(&bytes), offset);
        packet_free(packet);
}

static int64_t committed(member_t *member) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        int64_t offset;
        rd_kafka_topic_partition_list_add(list, "t", 0);
        assert_int_equal(rd_kafka_committed(member->host->client->rk, list, LONG_MS), 0);
        offset = list->elems[0].offset;
        rd_kafka_topic_partition_list_destroy(list);
        return offset;
}

/* Proves that the last offset there can be is one as any other: it is not in the log. */
static void last_offset(void **state) {
        member_t *member = *state;
        assert_string_equal(seek(member, "last", false, INT64_MAX, LONG_MS), "");
        expect_reply(member, "last", "ok");
        take_and_demand(member, 1);
        expect_event(member, "offset_reset");
}

/* Proves that a seek ends the slot's generation, goes on elsewhere and commits. */
static void moves(void **state) {
        member_t *member = *state;
        packet_t *end;
        uint64_t before;
        take_and_demand(member, 10);
        expect_batch(member, 0);
        before = slot_of(member)->id;
        assert_string_equal(seek(member, "a", false, 50, LONG_MS), "");
        end = test_host_packet(member->host, CR_PACKET_SLOT_END);
        assert_int_equal(end->slot, before);
        packet_free(end);
        expect_event(member, "sought");
        assert_true(slot_of(member)->id > before);
        take_and_demand(member, 10);
        expect_reply(member, "a", "ok");
        expect_batch(member, 50);
        assert_int_equal(committed(member), 50);
}

/* Proves that until librdkafka has moved nothing is delivered of what it had. */
static void delivers_nothing_old(void **state) {
        member_t *member = *state;
        hold_t hold;
        hold_lane(&hold, &member->host->client->group_lane);
        assert_string_equal(seek(member, "a", false, 40, LONG_MS), "");
        take_and_demand(member, 10);
        cr_client_drain(member->host->client);
        sem_post(&hold.go_on);
        expect_batch(member, 40);
        expect_reply(member, "a", "ok");
        sem_destroy(&hold.go_on);
}

/* Proves that of seeks one upon another the last one counts: the end of the one
 * before does not make the slot deliver. */
static void last_one_counts(void **state) {
        member_t *member = *state;
        hold_t hold;
        assert_string_equal(seek(member, "a", false, 90, LONG_MS), "");
        hold_lane(&hold, &member->host->client->group_lane);
        assert_string_equal(seek(member, "b", false, 20, LONG_MS), "");
        take_and_demand(member, 10);
        expect_reply(member, "a", "ok");
        assert_non_null(slot_of(member)->moving);
        sem_post(&hold.go_on);
        expect_reply(member, "b", "ok");
        expect_batch(member, 20);
        assert_int_equal(committed(member), 20);
        sem_destroy(&hold.go_on);
}

/* Proves that a seek waits until a rebalance is over, and is then carried out. */
static void waits_for_rebalance(void **state) {
        member_t *member = *state;
        uint64_t before;
        before = slot_of(member)->id;
        group_of(member)->answering++; /* as does an assignment of another partition */
        assert_string_equal(seek(member, "a", false, 50, LONG_MS), "");
        cr_client_sweep(member->host->client);
        assert_int_equal(slot_of(member)->id, before);
        cr_group_answered(member->host->client);
        assert_true(slot_of(member)->id > before);
        take_and_demand(member, 1);
        expect_batch(member, 50);
        expect_reply(member, "a", "ok");
}

/* Proves that one whose partition goes, or whose time ends, in a rebalance is
 * answered so; and one of a handler that begins, which its end waits for. */
static void is_answered_in_a_rebalance(void **state) {
        member_t *member = *state;
        group_of(member)->answering++;
        assert_string_equal(seek(member, "a", false, 50, 0), "");
        expect_reply(member, "a", "timeout");
        assert_string_equal(seek(member, "b", false, 50, LONG_MS), "");
        assert_string_equal(seek(member, "c", true, 50, 0), "");
        assert_non_null(group_of(member)->seeks);
        slot_of(member)->revoked = true;
        cr_group_seeks(member->host->client);
        expect_reply(member, "b", "not_assigned");
        expect_reply(member, "c", "stale_assignment");
        assert_string_equal(seek(member, "d", true, 50, 0), "stale_assignment");
        slot_of(member)->revoked = false;
        group_of(member)->answering--;
}

/* Proves that a commit which falls into a rebalance is made after it. */
static void commits_again(void **state) {
        member_t *member = *state;
        fail_requests(member, OFFSET_COMMIT, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, 2);
        assert_string_equal(seek(member, "a", false, 50, LONG_MS), "");
        take_and_demand(member, 1);
        expect_batch(member, 50);
        expect_reply(member, "a", "ok");
        assert_int_equal(committed(member), 50);
}

/* Proves that a handler which says where it begins keeps its slot. */
static void starts_at(void **state) {
        member_t *member = *state;
        uint64_t before;
        assert_string_equal(seek(member, "new", false, 0, LONG_MS), "");
        expect_reply(member, "new", "ok");
        before = slot_of(member)->id;
        assert_string_equal(seek(member, "a", true, 0, 0), "ok"); /* it is there */
        assert_string_equal(seek(member, "b", true, 70, 0), "");
        expect_reply(member, "b", "ok");
        assert_int_equal(slot_of(member)->id, before);
        take_and_demand(member, 10);
        expect_batch(member, 70);
        /* One that has died, whose slot another has taken since. */
        group_of(member)->answering++;
        assert_string_equal(seek(member, "c", true, 30, 0), "");
        slot_of(member)->worker = 2;
        cr_group_answered(member->host->client);
        expect_reply(member, "c", "stale_assignment");
        slot_of(member)->worker = 1;
}

/* Proves that a reset waits for what was delivered, and that where a handler begins
 * counts, and not where a reset would have led that was under way. */
static void starts_at_in_a_reset(void **state) {
        member_t *member = *state;
        hold_t hold;
        uint64_t before = slot_of(member)->id;
        hold_lane(&hold, &member->host->client->query_lane);
        cr_group_reset(member->host->client, slot_of(member));
        assert_true(slot_of(member)->wants_reset);
        assert_false(slot_of(member)->resetting);
        assert_true(cr_window_ack(&slot_of(member)->window, 0, INT64_MAX - 1));
        cr_group_reset(member->host->client, slot_of(member));
        assert_true(slot_of(member)->resetting);
        assert_string_equal(seek(member, "a", true, 70, 0), "");
        sem_post(&hold.go_on);
        expect_reply(member, "a", "ok");
        assert_int_equal(slot_of(member)->id, before);
        take_and_demand(member, 10);
        expect_batch(member, 70);
        sem_destroy(&hold.go_on);
}

/* Proves that the end of the client answers a seek that waits. */
static void is_answered_at_the_end(void **state) {
        member_t *member = *state;
        group_of(member)->answering++;
        assert_string_equal(seek(member, "a", false, 50, LONG_MS), "");
        group_of(member)->answering--;
        test_host_close(member->host);
        expect_reply(member, "a", "closed");
}

static bool has_ten(const cr_group_t *group) {
        return first_slot(group)->delivered == 10;
}

/* Proves that COMMIT commits what is acknowledged without a gap, and that its
 * answer says so. */
static void commits_prefix(void **state) {
        member_t *member = *state;
        bytes_t ack = {.size = 0};
        cr_writer_t out = cr_writer();
        assert_string_equal(seek(member, "new", false, 0, LONG_MS), "");
        expect_reply(member, "new", "ok");
        take_and_demand(member, 10);
        assert_true(serve_until(member, has_ten));
        put_uint(&ack, slot_of(member)->id, 8);
        put_uint(&ack, 0, 8);
        put_uint(&ack, 4, 8);
        put_uint(&ack, 6, 8);
        put_uint(&ack, 9, 8);
        assert_string_equal(test_command(member->host, CR_CMD_ACK, ack.data, ack.size), "");
        cr_write_tuple(&out, 2);
        cr_write_text(&out, "a");
        cr_write_list_end(&out);
        assert_string_equal(
                test_command(member->host, CR_CMD_COMMIT, out.x.buff, (size_t)out.x.index), "");
        cr_writer_discard(&out);
        expect_reply(member, "a", "ok");
        assert_int_equal(committed(member), 5);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(moves),
                                           cmocka_unit_test(delivers_nothing_old),
                                           cmocka_unit_test(last_one_counts),
                                           cmocka_unit_test(waits_for_rebalance),
                                           cmocka_unit_test(is_answered_in_a_rebalance),
                                           cmocka_unit_test(commits_again),
                                           cmocka_unit_test(starts_at),
                                           cmocka_unit_test(starts_at_in_a_reset),
                                           cmocka_unit_test(commits_prefix),
                                           cmocka_unit_test(last_offset),
                                           cmocka_unit_test(is_answered_at_the_end)};
        return cmocka_run_group_tests(tests, join_filled, tear_down_member);
}
