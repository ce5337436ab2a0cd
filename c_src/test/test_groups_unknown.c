/* core/groups.c, with a broker that knows no questions about groups, as that of the
 * mock cluster is. Alone, for librdkafka keeps a reference of each client's queue to
 * itself when it cannot send such a question, which would be told as a leak. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/member.h"

__attribute__((visibility("default"))) int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) {
        return 1;
}

static void open_reader(member_t *member) {
        const char *const properties[] = {"bootstrap.servers",
                                          rd_kafka_mock_cluster_bootstraps(member->mock),
                                          "log.queue",
                                          "true",
                                          "enable.partition.eof",
                                          "true",
                                          "enable.auto.offset.store",
                                          "false",
                                          NULL};
        member->host = test_host_new();
        assert_string_equal(test_open(member->host, "reader", properties), "ok");
}

static void ask(test_host_t *host, unsigned command, const char *name) {
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, 4);
        cr_write_text(&out, "asked");
        cr_write_text(&out, name);
        cr_write_integer(&out, 0);
        cr_write_integer(&out, 10000);
        assert_string_equal(test_command(host, command, out.x.buff, (size_t)out.x.index), "");
        ei_x_free(&out.x);
}

/* Proves that each question is answered: librdkafka before 2.10 would free that for a
 * description twice, and end the process. */
static void nothing_is_told(void **state) {
        member_t *member = *state;
        open_reader(member);
        for (int i = 0; i < 20; i++) {
                packet_t *packet;
                ask(member->host, i % 2 ? CR_CMD_GROUP : CR_CMD_GROUPS, i % 2 ? "g" : "");
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
