/* What a member's packed messages wait for, on a mock cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/member.h"

enum { MANY = 300, FEW = CR_RETIRED_FEW - 1, PATIENCE_S = 60 };
#define LIMIT ((size_t)1 << 20)

static cr_retired_t *retired_of(const member_t *member) {
        return &member->host->client->group->retired;
}

static bool has_retired(const cr_group_t *group) {
        return group->retired.count > 0;
}

/* So many connections are told of; how many were before. */
static int tell_of(cr_sockets_t *sockets, int count) {
        int before;
        pthread_mutex_lock(&sockets->lock);
        before = sockets->count;
        if (count >= 0)
                sockets->count = count;
        pthread_mutex_unlock(&sockets->lock);
        return before;
}

static int connections(const cr_group_t *group) {
        return tell_of(group->retired.sockets, -1);
}

static bool is_connected(const cr_group_t *group) {
        return first_slot(group) && connections(group) > 0;
}

static bool is_disconnected(const cr_group_t *group) {
        return connections(group) == 0;
}

/* A member that has messages retired, and is not told of what is sent; how many
 * connections it has. */
static int retire(member_t *member) {
        int count;
        fill_partition(member, MANY);
        join(member);
        assert_true(serve_until(member, is_connected));
        count = tell_of(&member->host->client->sockets, 0);
        take_and_demand(member, MANY);
        assert_true(serve_until(member, has_retired));
        return count;
}

/* Proves that a client's connections are known while they are open, with what was sent, are
 * no child's, and are closed. */
static void connections_are_known(void **state) {
        member_t *member = *state;
        cr_sockets_t *sockets;
        struct stat before, after;
        int fd, flags, found;
        join(member);
        assert_true(serve_until(member, is_connected));
        sockets = &member->host->client->sockets;
        assert_true(cr_sockets_sent(sockets) > 0);
        /* A broker's thread may close it meanwhile. */
        pthread_mutex_lock(&sockets->lock);
        fd = sockets->open[0];
        flags = fcntl(fd, F_GETFD);
        found = fstat(fd, &before);
        pthread_mutex_unlock(&sockets->lock);
        assert_true(flags & FD_CLOEXEC);
        assert_return_code(found, 0);
        rd_kafka_mock_broker_set_down(member->mock, 1);
        assert_true(serve_until(member, is_disconnected));
        pthread_mutex_lock(&sockets->lock);
        found = fstat(fd, &after);
        pthread_mutex_unlock(&sockets->lock);
        assert_true(found < 0 || after.st_ino != before.st_ino);
        assert_int_equal(cr_sockets_sent(sockets), 0);
}

/* Proves that packed messages stay, until something is sent. */
static void stay_until_one_is_sent(void **state) {
        member_t *member = *state;
        int count = retire(member);
        cr_client_drain(member->host->client);
        cr_source_mark(&first_slot(member->host->client->group)->source);
        cr_client_drain(member->host->client);
        assert_true(retired_of(member)->count > 0);
        tell_of(&member->host->client->sockets, count);
        cr_source_mark(&first_slot(member->host->client->group)->source);
        cr_client_drain(member->host->client);
        assert_int_equal(retired_of(member)->bytes, 0);
}

/* Proves that they stay until the sweep otherwise. */
static void go_with_the_sweep(void **state) {
        member_t *member = *state;
        (void)retire(member);
        cr_client_sweep(member->host->client);
        assert_int_equal(retired_of(member)->bytes, 0);
}

static bool has_delivered(const cr_group_t *group) {
        return first_slot(group)->window.unacked > 0;
}

/* Proves that none stay for which a quarter of the member's memory is too small. */
static void leave_room(void **state) {
        member_t *member = *state;
        fill_partition(member, MANY);
        join(member);
        assert_true(serve_until(member, is_connected));
        (void)tell_of(&member->host->client->sockets, 0);
        member->host->client->group->options.prefetch = 4 * FEW * CR_RETIRED_MESSAGE;
        take_and_demand(member, MANY);
        assert_true(serve_until(member, has_delivered));
        assert_int_equal(retired_of(member)->count, 0);
}

/* Proves that a member ends while it has some: librdkafka would wait for them. */
static void go_with_the_end(void **state) {
        member_t *member = *state;
        (void)retire(member);
        alarm(PATIENCE_S);
        test_host_free(member->host);
        alarm(0);
        member->host = NULL;
}

/* Messages of no client, which there are none of. */
static void add(cr_retired_t *retired, uint32_t count, size_t bytes, size_t most) {
        static rd_kafka_message_t *const none[MANY];
        cr_retired_add(retired, none, count, bytes, most);
}

static void set_up(cr_retired_t *retired, cr_wake_t *wake, cr_sockets_t *sockets) {
        assert_true(cr_wake_init(wake));
        cr_sockets_init(sockets);
        cr_retired_init(retired, wake, sockets);
}

/* Nothing of it is left. */
static void drop(cr_retired_t *retired, cr_wake_t *wake) {
        cr_retired_clear(retired);
        assert_int_equal(retired->bytes, 0);
        assert_null(cr_wake_take(wake));
        cr_sockets_destroy(retired->sockets);
        assert_return_code(close(wake->fd), 0);
        cr_wake_destroy(wake);
}

/* Proves that never more than the limit stays, that the oldest go first, and that a few do
 * not stay and have none go. */
static void have_a_limit(void **state) {
        cr_wake_t wake;
        cr_sockets_t sockets;
        cr_retired_t retired;
        size_t once;
        (void)state;
        set_up(&retired, &wake, &sockets);
        add(&retired, FEW, 1, LIMIT);
        assert_int_equal(retired.count, 0);
        add(&retired, MANY, LIMIT, LIMIT);
        assert_int_equal(retired.count, 0);
        add(&retired, MANY, 1, LIMIT);
        once = retired.bytes;
        assert_true(once > MANY);
        add(&retired, MANY, 1, 2 * once);
        assert_int_equal(retired.bytes, 2 * once);
        add(&retired, MANY, 1, 3 * once - 1);
        assert_int_equal(retired.bytes, 2 * once);
        add(&retired, FEW, LIMIT, 2 * once);
        assert_int_equal(retired.bytes, 2 * once);
        assert_int_equal(cr_retired_release(&retired), 2 * MANY);
        assert_int_equal(retired.bytes, 0);
        drop(&retired, &wake);
}

/* Proves that so many go at once, the others when the source is served, and none that has
 * come since. */
static void go_in_parts(void **state) {
        enum { RUNS = CR_RETIRED_AT_ONCE / MANY + 2 };
        cr_wake_t wake;
        cr_sockets_t sockets;
        cr_retired_t retired;
        (void)state;
        set_up(&retired, &wake, &sockets);
        for (int i = 0; i < RUNS; i++)
                add(&retired, MANY, 1, SIZE_MAX);
        assert_int_equal(cr_retired_look(&retired), 0);
        assert_true(cr_retired_release(&retired) < RUNS * MANY);
        assert_true(retired.due > 0);
        add(&retired, MANY, 1, SIZE_MAX);
        assert_ptr_equal(cr_wake_take(&wake), &retired.source);
        assert_int_equal(cr_retired_serve(&retired), MANY);
        assert_int_equal(retired.count, 1);
        assert_null(cr_wake_take(&wake));
        drop(&retired, &wake);
}

/* Proves that what is due when a client ends is of nobody's any more. */
static void end_while_due(void **state) {
        cr_wake_t wake;
        cr_sockets_t sockets;
        cr_retired_t retired;
        (void)state;
        set_up(&retired, &wake, &sockets);
        for (int i = 0; i <= CR_RETIRED_AT_ONCE / MANY + 1; i++)
                add(&retired, MANY, 1, SIZE_MAX);
        assert_true(cr_retired_release(&retired) > 0);
        assert_true(retired.due > 0);
        drop(&retired, &wake);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(connections_are_known, set_up_member,
                                                tear_down_member),
                cmocka_unit_test_setup_teardown(stay_until_one_is_sent, set_up_member,
                                                tear_down_member),
                cmocka_unit_test_setup_teardown(go_with_the_sweep, set_up_member, tear_down_member),
                cmocka_unit_test_setup_teardown(leave_room, set_up_member, tear_down_member),
                cmocka_unit_test_setup_teardown(go_with_the_end, set_up_member, tear_down_member),
                cmocka_unit_test(have_a_limit),
                cmocka_unit_test(go_in_parts),
                cmocka_unit_test(end_while_due)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
