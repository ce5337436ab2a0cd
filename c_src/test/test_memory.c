/* Each request for memory of each command fails in turn: the worst is an error, nothing
 * is lost, nothing leaks, and what comes after it goes on. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/member.h"
#include "support/memory.h"

/* No command, with what follows from it, makes so many. */
#define MOST_REQUESTS 200
#define MESSAGES 40

static int join_filled(void **state) {
        (void)set_up_member(state);
        fill_partition(*state, MESSAGES);
        join(*state);
        assert_true(serve_until(*state, has_slot));
        return 0;
}

static uint64_t slot_id(member_t *member) {
        return first_slot(member->host->client->group)->id;
}

/* Drops packets, until there is none for a moment. */
static void settle(member_t *member) {
        struct pollfd ready = {.fd = member->host->fd, .events = POLLIN};
        packet_t *packet;
        while (poll(&ready, 1, 20) > 0)
                cr_client_drain(member->host->client);
        cr_client_sweep(member->host->client);
        pthread_mutex_lock(&member->host->lock);
        while ((packet = member->host->first)) {
                member->host->first = packet->next;
                packet_free(packet);
        }
        member->host->last = &member->host->first;
        pthread_mutex_unlock(&member->host->lock);
}

static void take(member_t *member) {
        bytes_t command = {.size = 0};
        put_uint(&command, slot_id(member), 8);
        test_command(member->host, CR_CMD_TAKE, command.data, command.size);
}

static void demand(member_t *member) {
        bytes_t command = {.size = 0};
        put_uint(&command, slot_id(member), 8);
        put_uint(&command, 3, 4);
        test_command(member->host, CR_CMD_DEMAND, command.data, command.size);
}

static void range(member_t *member, unsigned number, int64_t from, int64_t to) {
        bytes_t command = {.size = 0};
        put_uint(&command, slot_id(member), 8);
        put_uint(&command, (uint64_t)from, 8);
        put_uint(&command, (uint64_t)to, 8);
        test_command(member->host, number, command.data, command.size);
}

/* Another than the first, so that a mask is needed. */
static void ack(member_t *member) {
        int64_t first = cr_slot_first_unacked(first_slot(member->host->client->group));
        range(member, CR_CMD_ACK, first + 1, first + 1);
}

static void waiting(member_t *member) {
        range(member, CR_CMD_WAITING, 0, MESSAGES);
}

static void redeliver(member_t *member) {
        range(member, CR_CMD_REDELIVER, 0, MESSAGES);
}

static void slots(member_t *member) {
        test_command(member->host, CR_CMD_SLOTS, NULL, 0);
}

static void info(member_t *member) {
        test_command(member->host, CR_CMD_INFO, NULL, 0);
}

static void metadata(member_t *member) {
        bytes_t command = {.size = 0};
        put_uint(&command, 1, 4);
        put_uint(&command, slot_id(member), 8);
        put_text(&command, "metadata");
        test_command(member->host, CR_CMD_GROUP_METADATA, command.data, command.size);
}

static void tell(member_t *member, unsigned number, cr_writer_t *out) {
        test_command(member->host, number, out->x.buff, (size_t)out->x.index);
        cr_writer_discard(out);
}

/* {Tag, [], ...} */
static cr_writer_t of_all(int arity, const char *tag) {
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, arity);
        cr_write_text(&out, tag);
        cr_write_list_end(&out);
        return out;
}

static void commit(member_t *member) {
        cr_writer_t out = of_all(2, "commit");
        tell(member, CR_CMD_COMMIT, &out);
}

static void committed(member_t *member) {
        cr_writer_t out = of_all(3, "committed");
        cr_write_integer(&out, 5000);
        tell(member, CR_CMD_COMMITTED, &out);
}

static void to(member_t *member, unsigned number, const char *where) {
        cr_writer_t out = of_all(5, "to");
        cr_write_atom(&out, where);
        cr_write_integer(&out, 0);
        cr_write_integer(&out, 5000);
        tell(member, number, &out);
}

static void list_offsets(member_t *member) {
        to(member, CR_CMD_LIST_OFFSETS, "end");
}

static void seek(member_t *member) {
        to(member, CR_CMD_SEEK, "offset");
}

static void seek_beginning(member_t *member) {
        to(member, CR_CMD_SEEK, "beginning");
}

static void start_at(member_t *member) {
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, 4);
        cr_write_text(&out, "tag");
        cr_write_integer(&out, (int64_t)slot_id(member));
        cr_write_atom(&out, "offset");
        cr_write_integer(&out, 2);
        tell(member, CR_CMD_START_AT, &out);
}

static void watermarks(member_t *member) {
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, 4);
        cr_write_text(&out, "tag");
        cr_write_text(&out, "t");
        cr_write_integer(&out, 0);
        cr_write_integer(&out, 5000);
        tell(member, CR_CMD_WATERMARKS, &out);
}

static void (*const commands[])(member_t *) = {
        take,           demand,   ack,       waiting,      redeliver, slots, info,
        metadata,       commit,   committed, list_offsets, seek,      take,  demand,
        seek_beginning, start_at, watermarks};

static void await_reply(member_t *member, const char *tag) {
        packet_t *packet = test_host_reply(member->host, tag);
        assert_non_null(packet);
        packet_free(packet);
}

/* What was asked for before is done with. */
static void await_lanes(member_t *member) {
        for (int i = 0; i < 2; i++) { /* a seek goes from one to the other */
                settle(member);
                committed(member);
                await_reply(member, "committed");
                commit(member);
                await_reply(member, "commit");
        }
}

/* True when the request was made, and failed. */
static bool fails(member_t *member, void (*command)(member_t *), long request) {
        memory_fails_at(request);
        command(member);
        settle(member);
        if (memory_requests() < request) {
                memory_fails_at(0);
                return false;
        }
        memory_fails_at(0);
        settle(member);
        return true;
}

/* Proves that no request of a member's commands needs to succeed. */
static void commands_survive(void **state) {
        member_t *member = *state;
        packet_t *packet;
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
                long request = 1;
                while (fails(member, commands[i], request))
                        assert_true(++request < MOST_REQUESTS);
        }
        await_lanes(member);
        seek(member);
        expect_event(member, "sought");
        take_and_demand(member, 1);
        packet = test_host_packet(member->host, CR_PACKET_BATCH);
        assert_non_null(packet);
        packet_free(packet);
}

/* Proves that a worker gets what the one before has left, though there is no memory. */
static void redelivery_needs_none(void **state) {
        member_t *member = *state;
        packet_t *packet;
        seek(member);
        expect_event(member, "sought");
        take_and_demand(member, 3);
        packet = test_host_packet(member->host, CR_PACKET_BATCH);
        assert_non_null(packet);
        packet_free(packet);
        memory_fails_at(1);
        take(member);
        assert_int_equal(memory_requests(), 0);
        packet = test_host_packet(member->host, CR_PACKET_BATCH);
        memory_fails_at(0);
        assert_non_null(packet);
        packet_free(packet);
}

/* Proves the same of opening and ending a client. */
static void life_survives(void **state) {
        const char *const properties[] = {"bootstrap.servers", "127.0.0.1:1", "group.id", "g",
                                          "log_level",         "0",           NULL};
        long request = 1;
        (void)state;
        do {
                test_host_t *host = test_host_new();
                memory_fails_at(request);
                test_open(host, "consumer", properties);
                test_host_free(host);
                assert_true(++request < MOST_REQUESTS);
        } while (memory_requests() >= request - 1);
        memory_fails_at(0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(commands_survive),
                cmocka_unit_test(redelivery_needs_none),
                cmocka_unit_test(life_survives),
        };
        return cmocka_run_group_tests(tests, join_filled, tear_down_member);
}
