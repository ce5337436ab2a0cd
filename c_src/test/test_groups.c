/* core/groups.c, on a mock cluster: questions about groups to who is a member of none
 * are answered, and end in time where nobody answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/asker.h"
#include "support/member.h"

/* The answer's terms, behind {ok, _; failed when it is an error. */
static cr_reader_t answered(packet_t *packet) {
        cr_reader_t term;
        char ok[8];
        assert_non_null(packet);
        term = cr_reader(packet->bytes, packet->size);
        assert_true(cr_read_tuple(&term, 2));
        cr_read_atom(&term, ok, sizeof(ok));
        if (strcmp(ok, "ok") != 0)
                term.failed = true;
        return term;
}

/* Proves that a client without a group is answered. The mock cluster's answer is an
 * empty list, for it knows no question of all partitions: real brokers tell offsets. */
static void offsets_are_asked(void **state) {
        member_t *member = *state;
        packet_t *packet;
        cr_reader_t term;
        member->host = reader(rd_kafka_mock_cluster_bootstraps(member->mock));
        assert_string_equal(ask(member->host, CR_CMD_GROUP_OFFSETS, "g", 10000), "");
        packet = test_host_reply(member->host, "asked");
        term = answered(packet);
        assert_int_equal(cr_read_list(&term), 0);
        assert_true(cr_reader_done(&term));
        packet_free(packet);
}

/* Proves that each question ends by its own time where no broker is there. */
static void nobody_answers(void **state) {
        const unsigned commands[] = {CR_CMD_GROUPS, CR_CMD_GROUP, CR_CMD_GROUP_OFFSETS};
        test_host_t *host = reader("127.0.0.1:1");
        (void)state;
        for (int i = 0; i < 3; i++) {
                packet_t *packet;
                cr_reader_t term;
                int64_t begun = cr_now_ms();
                assert_string_equal(ask(host, commands[i], i ? "g" : "", 300), "");
                packet = test_host_reply(host, "asked");
                term = answered(packet);
                assert_true(term.failed);
                assert_true(cr_now_ms() - begun < 3000);
                packet_free(packet);
        }
        test_host_free(host);
}

/* Proves that a coordinator that is found too late ends the question, and not the process
 * (librdkafka's assertion on eonce->refcnt). */
static void coordinator_is_slow(void **state) {
        member_t *member = *state;
        member->host = reader(rd_kafka_mock_cluster_bootstraps(member->mock));
        assert_string_equal(ask(member->host, CR_CMD_METADATA, "t", 10000), "");
        packet_free(test_host_reply(member->host, "asked"));
        rd_kafka_mock_broker_set_rtt(member->mock, 1, 1500);
        for (int i = 0; i < 3; i++) {
                packet_t *packet;
                assert_string_equal(ask(member->host, CR_CMD_GROUP_OFFSETS, "g", 1000), "");
                packet = test_host_reply(member->host, "asked");
                assert_true(answered(packet).failed);
                packet_free(packet);
        }
}

/* Proves that a question without a group's name, or of another form, is refused. */
static void malformed_is_refused(void **state) {
        test_host_t *host = reader("127.0.0.1:1");
        (void)state;
        assert_string_equal(ask(host, CR_CMD_GROUP, "", 300), "malformed_command");
        assert_string_equal(ask(host, CR_CMD_GROUP_OFFSETS, "", 300), "malformed_command");
        assert_string_equal(ask(host, CR_CMD_GROUPS, "", -1), "malformed_command");
        assert_string_equal(test_command(host, CR_CMD_GROUPS, "x", 1), "malformed_command");
        test_host_free(host);
}

/* Proves that a close does not wait for an answer. */
static void close_is_quick(void **state) {
        const unsigned commands[] = {CR_CMD_GROUPS, CR_CMD_GROUP, CR_CMD_GROUP_OFFSETS};
        (void)state;
        for (int i = 0; i < 3; i++) {
                test_host_t *host = reader("127.0.0.1:1");
                int64_t begun = cr_now_ms();
                assert_string_equal(ask(host, commands[i], i ? "g" : "", 60000), "");
                test_host_free(host);
                assert_true(cr_now_ms() - begun < 5000);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(offsets_are_asked, set_up_member, tear_down_member),
                cmocka_unit_test_setup_teardown(coordinator_is_slow, set_up_member,
                                                tear_down_member),
                cmocka_unit_test(nobody_answers), cmocka_unit_test(malformed_is_refused),
                cmocka_unit_test(close_is_quick)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
