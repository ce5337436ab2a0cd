#include "clients.h"

#include <poll.h>
#include <stdlib.h>

#include "../core/group.h"
#include "../test/support/cluster.h"
#include "fuzz.h"

#define MESSAGES 50
#define PARTITIONS 2
#define MOST_WAITING 8
#define CATCH_UP_STEPS 50

static const char *const kinds[] = {"", "producer", "producer", "consumer", "reader", "cluster"};

/* So small that they are met. */
static const test_option_t producing[] = {
        {"max_messages", 5}, {"max_unclaimed", 3}, {"tally", 1}, {NULL, 0}};
static const test_option_t reading[] = {
        {"batch_messages", 7}, {"batch_bytes", 100}, {"max_in_flight", 20}, {NULL, 0}};

static const test_option_t none[] = {{NULL, 0}};

static const test_option_t *const options[] = {[FUZZ_PRODUCER] = producing,
                                               [FUZZ_TRANSACTIONAL] = producing,
                                               [FUZZ_CONSUMER] = reading,
                                               [FUZZ_READER] = reading,
                                               [FUZZ_CLUSTER] = none};

static void fill_topic(void) {
        test_host_t *producer = plain_producer(bootstrap);
        bytes_t command = {.size = 0};
        put_produce(&command, CR_MODE_WAIT, CR_POLICY_WAIT, 1, "filled", MESSAGES);
        test_command(producer, CR_CMD_PRODUCE, command.data, command.size);
        packet_free(test_host_reply(producer, "filled"));
        test_host_free(producer);
}

static int threads; /* that are not of clients: libFuzzer has some */

static void stop(void) {
        test_host_free(cluster);
        test_await_threads(threads);
}

static void need_cluster(void) {
        if (cluster)
                return;
        threads = test_threads();
        cluster_of(PARTITIONS);
        FUZZ_CHECK(!atexit(stop));
        fill_topic();
}

/* Reads both partitions from their beginning. */
static void assign(test_host_t *reader) {
        cr_writer_t out = cr_writer();
        cr_write_list(&out, PARTITIONS);
        for (int i = 0; i < PARTITIONS; i++) {
                cr_write_tuple(&out, 4);
                cr_write_text(&out, "t");
                cr_write_integer(&out, i);
                cr_write_integer(&out, 0);
                cr_write_atom(&out, "infinity");
        }
        cr_write_list_end(&out);
        FUZZ_CHECK(!strcmp(test_command(reader, CR_CMD_ASSIGN, out.x.buff, (size_t)out.x.index),
                           "ok"));
        cr_writer_discard(&out);
}

test_host_t *fuzz_client(fuzz_kind_t kind) {
        const char *properties[16] = {"log.queue", "true", "log_level", "0"};
        const char **more = properties + 4;
        test_host_t *host;
        need_cluster();
        host = test_host_new();
        if (kind != FUZZ_CLUSTER) {
                *more++ = "bootstrap.servers";
                *more++ = kind == FUZZ_CONSUMER ? "127.0.0.1:1" : bootstrap;
        }
        if (kind == FUZZ_TRANSACTIONAL) {
                *more++ = "transactional.id";
                *more++ = "x";
        }
        if (kind == FUZZ_CONSUMER) {
                *more++ = "group.id";
                *more++ = "g";
        }
        if (kind == FUZZ_CONSUMER || kind == FUZZ_READER) {
                *more++ = "enable.partition.eof";
                *more++ = "true";
                *more++ = "enable.auto.offset.store";
                *more++ = "false";
        }
        if (kind != FUZZ_NEW)
                FUZZ_CHECK(!strcmp(test_open_with(host, kinds[kind], properties, options[kind]),
                                   "ok"));
        if (kind == FUZZ_READER)
                assign(host);
        return host;
}

static bool is_right(const packet_t *packet) {
        bool claims = packet->size && packet->bytes[0] == 131;
        return packet->kind == CR_PACKET_BATCH || packet->kind == CR_PACKET_REPORTS || !claims ||
               is_term(packet->bytes, packet->size);
}

void fuzz_forget_packets(test_host_t *host) {
        packet_t *packet;
        while ((packet = test_host_next(host))) {
                FUZZ_CHECK(is_right(packet));
                packet_free(packet);
        }
}

void fuzz_serve(test_host_t *host, int millis) {
        struct pollfd ready = {.fd = host->fd, .events = POLLIN};
        if (poll(&ready, 1, millis) > 0)
                cr_client_drain(host->client);
        fuzz_forget_packets(host);
}

static int waiting(cr_lane_t *lane) {
        int count = 0;
        pthread_mutex_lock(&lane->lock);
        for (const cr_job_t *job = lane->first; job; job = job->next)
                count++;
        pthread_mutex_unlock(&lane->lock);
        return count;
}

bool fuzz_catch_up(test_host_t *host) {
        cr_client_t *client = host->client;
        cr_lane_t *const lanes[] = {&client->life, &client->query_lane, &client->group_lane,
                                    &client->transaction_lane};
        for (size_t i = 0; i < sizeof(lanes) / sizeof(lanes[0]); i++) {
                for (int step = 0; waiting(lanes[i]) > MOST_WAITING; step++) {
                        if (step == CATCH_UP_STEPS)
                                return false;
                        fuzz_serve(host, 20);
                }
        }
        return true;
}

uint64_t fuzz_slot(const test_host_t *host, unsigned number) {
        const cr_group_t *group = host->client->group;
        size_t at = 0;
        const cr_slot_t *slot = NULL;
        if (!group || !group->slots.count)
                return number;
        for (number %= (unsigned)group->slots.count + 1; number; number--)
                slot = cr_map_next(&group->slots, &at);
        return slot ? slot->id : 1;
}

void fuzz_shorten_time(unsigned char *term, size_t size) {
        if (size > 5 && term[size - 5] == ERL_INTEGER_EXT && term[size - 4] < 128)
                memset(term + size - 4, 0, 3);
}

bool fuzz_is_forbidden(const void *bytes, size_t size) {
        static const char *const names[] = {"plugin",   "engine", "provider",
                                            "location", "keytab", "kinit"};
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                if (memmem(bytes, size, names[i], strlen(names[i])))
                        return true;
        }
        return false;
}
