/* core/prefetch.c, by chance: partitions that are full, slow, stuck, at their ends
 * and filled in bursts, with messages small and larger than a partition's place,
 * sweeps at any time, and memory that runs out. The seed is told when it fails;
 * CREMA_SEED=N repeats what was drawn, CREMA_STEPS=N goes on for longer. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "../core/prefetch.h"
#include "support/member.h"

#define PARTITIONS 12
#define STUCK 6 /* of them take nothing until the end */
#define LIMIT ((int64_t)PARTITIONS * 65536)
#define LARGEST 60000
#define HEADERS 600 /* at most, what a message takes beside its value */
#define LONG_MS 20000

typedef struct run {
        member_t *member;
        rd_kafka_t *producer;
        uint64_t slots[PARTITIONS];
        int64_t sent[PARTITIONS], next[PARTITIONS];
        bool ends; /* nothing more is sent, and all is taken */
} run_t;

static unsigned number(const char *name, unsigned otherwise) {
        const char *value = getenv(name);
        return value ? (unsigned)strtoul(value, NULL, 10) : otherwise;
}

static int below(int number) {
        return rand() % number;
}

static cr_group_t *group_of(const run_t *run) {
        return run->member->host->client->group;
}

static bool has_all(const cr_group_t *group) {
        return group->slots.count == PARTITIONS;
}

/* The count is that of the flags, and what waits is no more than may, but for one
 * block of each. */
static void check(const run_t *run) {
        const cr_group_t *group = group_of(run);
        const size_t most = cr_prefetch_share(group) / 2;
        size_t at = 0, waiting = 0;
        unsigned lenders = 0;
        const cr_slot_t *slot;
        while ((slot = cr_map_next(&group->slots, &at))) {
                lenders += slot->lends;
                waiting += slot->ready.bytes;
        }
        assert_int_equal(group->lenders, lenders);
        assert_true(waiting <= PARTITIONS * (most + most / 4 + LARGEST + HEADERS));
}

static void send_some(run_t *run) {
        static char value[LARGEST];
        int to = below(3) ? 0 : below(PARTITIONS); /* one is hot */
        bool large = below(8) == 0;
        size_t size = (size_t)below(large ? LARGEST : 3000);
        for (int i = below(large ? 4 : 40); i >= 0; i--) {
                if (run->sent[to] - run->next[to] >= 300)
                        break;
                if (!rd_kafka_producev(run->producer, RD_KAFKA_V_TOPIC("many"),
                                       RD_KAFKA_V_PARTITION(to), RD_KAFKA_V_VALUE(value, size),
                                       RD_KAFKA_V_END))
                        run->sent[to]++;
        }
        rd_kafka_poll(run->producer, 0);
}

static void demand_some(const run_t *run, int of) {
        cr_slot_t *slot = cr_map_get(&group_of(run)->slots, run->slots[of]);
        bytes_t command = {.size = 0};
        if (slot->credit > 100 || (of < STUCK && !run->ends))
                return;
        put_uint(&command, slot->id, 8);
        put_uint(&command, 1 + (unsigned)below(60), 4);
        assert_string_equal(
                test_command(run->member->host, CR_CMD_DEMAND, command.data, command.size), "");
}

static void take(run_t *run, const packet_t *packet) {
        cr_bytes_t bytes = cr_bytes(packet->bytes, packet->size);
        uint32_t count = cr_take_u32(&bytes);
        bytes_t command = {.size = 0};
        int of = 0;
        int64_t first;
        while (run->slots[of] != packet->slot)
                assert_true(++of < PARTITIONS);
        (void)cr_take_u8(&bytes);
        first = cr_take_i64(&bytes);
        assert_int_equal(first, run->next[of]);
        run->next[of] = first + count;
        put_uint(&command, packet->slot, 8);
        put_uint(&command, (uint64_t)first, 8);
        put_uint(&command, (uint64_t)run->next[of] - 1, 8);
        assert_string_equal(test_command(run->member->host, CR_CMD_ACK, command.data, command.size),
                            "");
}

static void take_all(run_t *run) {
        packet_t *packet;
        while ((packet = test_host_next(run->member->host))) {
                if (packet->kind == CR_PACKET_BATCH)
                        take(run, packet);
                packet_free(packet);
        }
}

static void serve(const run_t *run) {
        struct pollfd ready = {.fd = run->member->host->fd, .events = POLLIN};
        if (poll(&ready, 1, below(3)) > 0)
                cr_client_drain(run->member->host->client);
        if (below(50) == 0)
                cr_client_sweep(run->member->host->client);
}

static void step(run_t *run) {
        if (!run->ends && below(3) == 0)
                send_some(run);
        if (below(2) == 0 || run->ends)
                demand_some(run, below(PARTITIONS));
        test_blocks_run_out(!run->ends && below(20) == 0);
        serve(run);
        test_blocks_run_out(false);
        check(run);
        take_all(run);
}

static bool is_done(const run_t *run) {
        for (int of = 0; of < PARTITIONS; of++) {
                if (run->next[of] != run->sent[of])
                        return false;
        }
        return true;
}

static void begin(run_t *run) {
        const char *const properties[] = {"bootstrap.servers",
                                          rd_kafka_mock_cluster_bootstraps(run->member->mock),
                                          "linger.ms", "5", NULL};
        size_t at = 0;
        cr_slot_t *slot;
        rd_kafka_mock_topic_create(run->member->mock, "many", PARTITIONS, 1);
        run->producer = plain_handle(RD_KAFKA_PRODUCER, properties);
        join_at(run->member, "many", "earliest");
        group_of(run)->options.prefetch = LIMIT;
        assert_true(serve_until(run->member, has_all));
        while ((slot = cr_map_next(&group_of(run)->slots, &at))) {
                run->slots[slot->partition] = slot->id;
                take_slot(run->member, slot, 1);
        }
}

/* Proves that all that is sent comes, once and in order, and that what waits has a
 * bound all the time. */
static void all_comes(void **state) {
        run_t run = {.member = *state};
        const unsigned seed = number("CREMA_SEED", (unsigned)time(NULL));
        const unsigned steps = number("CREMA_STEPS", 4000);
        int64_t until;
        printf("CREMA_SEED=%u\n", seed);
        srand(seed);
        begin(&run);
        for (unsigned i = 0; i < steps; i++)
                step(&run);
        assert_int_equal(rd_kafka_flush(run.producer, LONG_MS), 0);
        run.ends = true;
        for (until = cr_now_ms() + 3 * LONG_MS; !is_done(&run) && cr_now_ms() < until;)
                step(&run);
        assert_true(is_done(&run));
        rd_kafka_destroy(run.producer);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(all_comes, set_up_member, tear_down_member),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
