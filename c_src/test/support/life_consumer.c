/* The lives of consumers: what is asked for comes, or the owner hears that the client is
 * of no use any more, and begins anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "asker.h"
#include "life.h"
#include "trial.h"

#define MESSAGES 40
#define A_WHILE 10000

static bool is_kind(const packet_t *packet, const void *with) {
        return packet->kind == *(const cr_packet_kind_t *)with;
}

static const cr_packet_kind_t batch = CR_PACKET_BATCH, slot_end = CR_PACKET_SLOT_END;

static void drop_batches(life_t *life) {
        packet_t *packet;
        while ((packet = test_host_find(life->host, is_kind, &batch)))
                packet_free(packet);
}

static void slot_command(life_t *life, unsigned command, uint64_t slot) {
        bytes_t bytes = {.size = 0};
        put_uint(&bytes, slot, 8);
        (void)life_do(life, command, bytes.data, bytes.size, "");
}

static void demand(life_t *life, uint64_t slot, uint32_t messages) {
        bytes_t bytes = {.size = 0};
        put_uint(&bytes, slot, 8);
        put_uint(&bytes, messages, 4);
        (void)life_do(life, CR_CMD_DEMAND, bytes.data, bytes.size, "");
}

static void range(life_t *life, unsigned command, uint64_t slot, int64_t from, int64_t to,
                  const char *expected) {
        bytes_t bytes = {.size = 0};
        put_uint(&bytes, slot, 8);
        put_uint(&bytes, (uint64_t)from, 8);
        put_uint(&bytes, (uint64_t)to, 8);
        (void)life_do(life, command, bytes.data, bytes.size, expected);
}

static bool await_batch(life_t *life) {
        packet_t *packet = life_packet(life, is_kind, &batch, "batch");
        packet_free(packet);
        return packet != NULL;
}

/* ---- a member ------------------------------------------------------------------ */

static uint64_t slot_id(life_t *life) {
        return first_slot(life->host->client->group)->id;
}

static bool subscribe(life_t *life, const char *topic) {
        cr_writer_t term = life_term(5, "subscribed");
        if (topic) {
                cr_write_list(&term, 1);
                cr_write_text(&term, topic);
        }
        cr_write_list_end(&term);
        cr_write_atom(&term, "latest");
        cr_write_atom(&term, "earliest");
        cr_write_list(&term, 1);
        cr_write_text(&term, "t");
        cr_write_list_end(&term);
        return life_ask_term(life, CR_CMD_SUBSCRIBE, &term, "subscribed");
}

static bool receive(life_t *life) {
        drop_batches(life);
        slot_command(life, CR_CMD_TAKE, slot_id(life));
        demand(life, slot_id(life), 10);
        return await_batch(life);
}

/* Within the first batch, so that there are gaps. */
static bool acknowledge(life_t *life) {
        uint64_t slot = slot_id(life);
        range(life, CR_CMD_ACK, slot, 1, 1, "");
        range(life, CR_CMD_ACK, slot, 3, 3, "");
        range(life, CR_CMD_WAITING, slot, 0, MESSAGES, "ok");
        drop_batches(life);
        range(life, CR_CMD_REDELIVER, slot, 0, 4, "ok");
        if (!await_batch(life))
                return false;
        range(life, CR_CMD_ACK, slot, 0, 4, "");
        return true;
}

/* Of all partitions. */
static cr_writer_t of_all(int arity, const char *tag) {
        cr_writer_t term = life_term(arity, tag);
        cr_write_list_end(&term);
        return term;
}

static bool ask_where(life_t *life, unsigned command, const char *where, int64_t number) {
        cr_writer_t term = of_all(5, "where");
        cr_write_atom(&term, where);
        cr_write_integer(&term, number);
        cr_write_integer(&term, A_WHILE);
        return life_ask_term(life, command, &term, "where");
}

static void ask_offsets(life_t *life) {
        cr_writer_t term = of_all(2, "committed");
        (void)life_ask_term(life, CR_CMD_COMMIT, &term, "committed");
        term = of_all(3, "asked");
        cr_write_integer(&term, A_WHILE);
        (void)life_ask_term(life, CR_CMD_COMMITTED, &term, "asked");
        (void)ask_where(life, CR_CMD_LIST_OFFSETS, "end", 0);
}

static bool seek(life_t *life, const char *where, int64_t number) {
        return !ask_where(life, CR_CMD_SEEK, where, number) ||
               (life_event(life, "sought") && receive(life));
}

/* Before the slot has a worker. */
static bool start_at(life_t *life) {
        cr_writer_t term = life_term(4, "started");
        cr_write_integer(&term, (int64_t)slot_id(life));
        cr_write_atom(&term, "offset");
        cr_write_integer(&term, 2);
        (void)life_ask_term(life, CR_CMD_START_AT, &term, "started");
        return receive(life);
}

static void ask_metadata(life_t *life) {
        bytes_t bytes = {.size = 0};
        put_uint(&bytes, 1, 4);
        put_uint(&bytes, slot_id(life), 8);
        put_text(&bytes, "metadata");
        (void)life_ask(life, CR_CMD_GROUP_METADATA, bytes.data, bytes.size, "metadata");
        (void)life_do(life, CR_CMD_SLOTS, NULL, 0, "ok");
        (void)life_do(life, CR_CMD_INFO, NULL, 0, "ok");
}

static void acknowledge_all(life_t *life) {
        int64_t delivered;
        do {
                delivered = first_slot(life->host->client->group)->delivered;
                range(life, CR_CMD_ACK, slot_id(life), 0, MESSAGES, "");
                life_settle(life);
        } while (delivered < MESSAGES);
}

/* Only what is not delivered yet can be lost: all is, before. */
static bool reset(life_t *life) {
        demand(life, slot_id(life), 1000);
        acknowledge_all(life);
        /* What answers a fetch from before a rebalance is of no interest to librdkafka. */
        for (int i = 0; i < 10 && !life->ended && !life_has_event(life, "offset_reset"); i++) {
                fail_requests(life->member, FETCH, RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE, 1);
                for (int j = 0; j < 100 && !life_has_event(life, "offset_reset"); j++)
                        life_settle(life);
        }
        return life_event(life, "offset_reset") && receive(life);
}

static bool leave(life_t *life) {
        range(life, CR_CMD_ACK, slot_id(life), 0, MESSAGES, "");
        (void)life_ask(life, CR_CMD_SETTLE, "settled", 7, "settled");
        if (!subscribe(life, NULL))
                return true;
        if (!life_event(life, "revoked"))
                return false;
        (void)life_do(life, CR_CMD_RELEASE, NULL, 0, "");
        return life_event(life, "released");
}

/* A partition without a slot is told of behind those that have one. */
static bool has_slots(life_t *life) {
        return has_slot(life->host->client->group) || life_event(life, "what never comes");
}

/* False when the client has ended before. */
static bool be_member(life_t *life) {
        static const test_option_t options[] = {{"batch_messages", 5}, {NULL, 0}};
        const char *const properties[] = {"bootstrap.servers",
                                          rd_kafka_mock_cluster_bootstraps(life->member->mock),
                                          "group.id",
                                          "g",
                                          "log.queue",
                                          "true",
                                          "partition.assignment.strategy",
                                          "cooperative-sticky",
                                          "auto.offset.reset",
                                          "error",
                                          "enable.auto.offset.store",
                                          "false",
                                          "enable.partition.eof",
                                          "true",
                                          "session.timeout.ms",
                                          "6000",
                                          "heartbeat.interval.ms",
                                          "200",
                                          NULL};
        life->ended = false;
        life_open(life, "consumer", properties, options);
        (void)subscribe(life, "t");
        if (!life_event(life, "assigned") || !has_slots(life) || !start_at(life) ||
            !seek(life, "beginning", 0) || !acknowledge(life))
                return false;
        ask_metadata(life);
        ask_offsets(life);
        return seek(life, "offset", 1) && reset(life) && leave(life);
}

void life_of_consumer(void) {
        life_t life = life_begin();
        fill_partition(life.member, MESSAGES);
        for (int i = 0; !be_member(&life); i++) {
                if (i)
                        trial_fail("the member has ended twice");
                life_close(&life);
                test_host_free(life.host);
        }
        life_close(&life);
        life_end(&life);
}

/* ---- a reader --------------------------------------------------------------------- */

/* The number of the slot that is read. */
static uint64_t assign(life_t *life) {
        for (int i = 0; i < 2; i++) {
                cr_writer_t term = life_writer();
                const unsigned char *bytes;
                size_t size;
                cr_reader_t answer;
                int64_t slot;
                cr_write_list(&term, 1);
                cr_write_tuple(&term, 4);
                cr_write_text(&term, "t");
                cr_write_integer(&term, 0);
                cr_write_integer(&term, 2);
                cr_write_integer(&term, 9);
                cr_write_list_end(&term);
                (void)life_do_term(life, CR_CMD_ASSIGN, &term, "ok");
                bytes = test_answer(&size);
                answer = cr_reader(bytes, size);
                (void)cr_read_tuple(&answer, 2);
                cr_read_atom(&answer, (char[8]){0}, 8);
                (void)cr_read_list(&answer);
                slot = cr_read_integer(&answer);
                if (!answer.failed)
                        return (uint64_t)slot;
        }
        return 0;
}

void life_of_reader(void) {
        static const test_option_t options[] = {{"batch_messages", 3}, {NULL, 0}};
        life_t life = life_begin();
        const char *const properties[] =
                READER_PROPERTIES(rd_kafka_mock_cluster_bootstraps(life.member->mock));
        uint64_t slot;
        fill_partition(life.member, MESSAGES);
        life_open(&life, "reader", properties, options);
        slot = assign(&life);
        if (slot) {
                slot_command(&life, CR_CMD_TAKE, slot);
                demand(&life, slot, 100);
                packet_free(life_packet(&life, is_kind, &slot_end, "end of the slot"));
        } else if (trial_is_faultless()) {
                trial_fail("nothing is read");
        }
        (void)ask_where(&life, CR_CMD_LIST_OFFSETS, "beginning", 0);
        life_close(&life);
        life_end(&life);
}
