/* The end of a member that was not given anything yet. librdkafka before 2.3.0 ends
 * the process when it is destroyed between the answer to a join and the first
 * assignment: whatever the group does meanwhile, that must not happen. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/member.h"

#define SYNC_GROUP 14

static bool has_joined(member_t *member) {
        const char *protocol = rd_kafka_rebalance_protocol(member->host->client->rk);
        return protocol && strcmp(protocol, "NONE") != 0;
}

static void await_joined(member_t *member) {
        struct pollfd ready = {.fd = member->host->fd, .events = POLLIN};
        /* To ask wakes librdkafka, which may have to say something of it. */
        for (int quiet = 0; quiet < 2000 && !has_joined(member);) {
                if (poll(&ready, 1, 10) > 0)
                        cr_client_drain(member->host->client);
                else
                        quiet++;
        }
        assert_true(has_joined(member));
        assert_int_equal(member->host->client->group->rebalances, 0);
}

/* Proves that a member which is refused its first assignment ends with the next. */
static void refused(void **state) {
        member_t *member = *state;
        fail_requests(member, SYNC_GROUP, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, 1);
        join(member);
        await_joined(member);
}

static void be_fenced(member_t *member) {
        fail_requests(member, SYNC_GROUP, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, 1);
        join(member);
        await_joined(member);
}

static void unsubscribe(member_t *member) {
        /* its assignment is on its way for so long: */
        rd_kafka_mock_broker_push_request_error_rtts(member->mock, 1, SYNC_GROUP, 1,
                                                     RD_KAFKA_RESP_ERR_NO_ERROR, 2000);
        join(member);
        await_joined(member);
        subscribe_to_nothing(member);
        packet_free(test_host_reply(member->host, "leave"));
}

/* In a process of its own, for such a client stays. Exits with 0 when who asked for
 * its end has heard of it, and the process goes on. */
static void close_in_child(void (*prepare)(member_t *)) {
        int status = -1;
        pid_t child = fork();
        if (!child) {
                void *state;
                member_t *member;
                packet_t *told;
                (void)set_up_member(&state);
                member = state;
                prepare(member);
                test_command(member->host, CR_CMD_CLOSE, "bye", 3);
                test_host_close(member->host);
                told = test_host_reply(member->host, "bye");
                rd_kafka_mock_cluster_destroy(member->mock);
                rd_kafka_destroy(member->rk); /* and with it there is time for a fault */
                _exit(told ? 0 : 1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
}

/* Proves that one which is given nothing any more is ended for who asks. */
static void fenced(void **state) {
        (void)state;
        close_in_child(be_fenced);
}

/* Proves the same of one that is not subscribed to anything any more. */
static void unsubscribed(void **state) {
        (void)state;
        close_in_child(unsubscribe);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(fenced),
                cmocka_unit_test(unsubscribed),
                cmocka_unit_test_setup_teardown(refused, set_up_member, tear_down_member),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
