/* What a member is in its group, for the offsets of a transaction: on a mock cluster. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../core/lane.h"
#include "support/member.h"

static bool is_settled(const cr_group_t *group) {
        return cr_group_is_settled(group);
}

/* Asks for the group's metadata for work on a slot; whether there are any. */
static bool has_metadata(member_t *member, uint64_t id) {
        bytes_t command = {.size = 0};
        packet_t *packet;
        bool has;
        put_uint(&command, 1, 4);
        put_uint(&command, id, 8);
        put_text(&command, "metadata");
        test_command(member->host, CR_CMD_GROUP_METADATA, command.data, command.size);
        packet = test_host_reply(member->host, "metadata");
        assert_non_null(packet);
        has = memmem(packet->bytes, packet->size, "stale_assignment", 16) == NULL;
        packet_free(packet);
        return has;
}

static bool joins_anew(rd_kafka_t *rk, int32_t generation) {
        int64_t deadline = cr_now_ms() + 20000;
        while (cr_generation(rk) <= generation && cr_now_ms() < deadline)
                poll(NULL, 0, 20);
        return cr_generation(rk) > generation;
}

/* Proves that work on a partition which is being drained does not go with a generation
 * that librdkafka has joined meanwhile: there the partition may be another member's. */
static void metadata_are_of_the_slots_generation(void **state) {
        member_t *member = *state;
        cr_group_t *group;
        uint64_t id;
        int32_t generation;
        rd_kafka_mock_topic_create(member->mock, "e-1", 1, 1);
        join_by(member, "^e-", "earliest", "range");
        group = member->host->client->group;
        assert_true(serve_until(member, has_slot));
        assert_true(serve_until(member, is_settled));
        id = first_slot(group)->id;
        generation = cr_generation(member->host->client->rk);
        assert_true(has_metadata(member, id));
        rd_kafka_mock_topic_create(member->mock, "e-2", 1, 1);
        expect_event(member, "revoked");
        assert_true(has_metadata(member, id));
        /* What is given then does not come. */
        fail_requests(member, SYNC_GROUP, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, 1000);
        rd_kafka_mock_topic_create(member->mock, "e-3", 1, 1);
        assert_true(joins_anew(member->host->client->rk, generation));
        assert_false(group->lost);
        assert_false(has_metadata(member, id));
        assert_false(group->lost);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(
                metadata_are_of_the_slots_generation, set_up_member, tear_down_member)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
