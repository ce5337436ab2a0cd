/* core/groups.c, with a broker that knows no questions about groups, as that of the
 * mock cluster is. Alone, for librdkafka keeps a reference of each client's queue to
 * itself when it cannot send such a question, which would be told as a leak. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/asker.h"
#include "support/member.h"

__attribute__((visibility("default"))) int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) {
        return 1;
}

/* Proves that each question is answered: librdkafka before 2.10 would free that for a
 * description twice, and end the process. */
static void nothing_is_told(void **state) {
        member_t *member = *state;
        member->host = reader(rd_kafka_mock_cluster_bootstraps(member->mock));
        for (int i = 0; i < 20; i++) {
                packet_t *packet;
                unsigned command = i % 2 ? CR_CMD_GROUP : CR_CMD_GROUPS;
                assert_string_equal(ask(member->host, command, i % 2 ? "g" : "", 10000), "");
                packet = test_host_reply(member->host, "asked");
                assert_non_null(packet);
                packet_free(packet);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(nothing_is_told, set_up_member, tear_down_member)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
