/*
 * PRODUCE: any bytes, with any bytes behind them in any segments. What is unpacked lies
 * within them, costs what it is said to, and is accepted or refused whole; each message
 * that is accepted is reported. At the intake of a producer nothing is accepted that would not
 * be by a command. There is no broker: all of them fail, when it is purged.
 */
#include <poll.h>
#include <stdlib.h>

#include "../core/delivery.h"
#include "../core/mem.h"
#include "../core/stage.h"
#include "../test/support/test_host.h"
#include "fuzz.h"

#define MOST_SEGMENTS 4
/* A producer keeps each topic that it was told of: it is exchanged after so many runs. */
#define FRESH 5000
/* Reports come in bulk, which is quicker. */
#define MANY 500
/* Bytes before the first message of a command without a tag: one that nobody hears of has
 * zeroes, and the count. */
#define START 16

static test_host_t *host;
static int runs;
static int threads; /* before there was a producer */
static uint8_t touched;

static void open_producer(void) {
        const char *const properties[] = {"log.queue", "true", "linger.ms", "10", NULL};
        host = test_host_new();
        FUZZ_CHECK(!strcmp(test_open(host, "producer", properties), "ok"));
}

static void forget_packets(void) {
        packet_t *packet;
        while ((packet = test_host_next(host)))
                packet_free(packet);
}

/* Waits for the reports of all that was accepted. */
static void purge(void) {
        cr_delivery_t *delivery = host->client->delivery;
        while (delivery->messages) {
                struct pollfd ready = {.fd = host->fd, .events = POLLIN};
                FUZZ_CHECK(!strcmp(test_command(host, CR_CMD_PURGE, "", 0), ""));
                (void)poll(&ready, 1, 100);
                cr_client_drain(host->client);
                forget_packets();
        }
        FUZZ_CHECK(delivery->accepted == delivery->reported && !delivery->bytes);
}

static void close_producer(void) {
        if (!host)
                return;
        purge();
        test_host_free(host);
        host = NULL;
}

static void end(void) {
        close_producer();
        test_await_threads(threads);
}

/* What librdkafka has OpenSSL do at the exit comes after this end: its threads have
 * something of OpenSSL's until they end. */
static void begin(void) {
        threads = test_threads();
        open_producer();
        FUZZ_CHECK(!atexit(end));
}

static test_host_t *producer(void) {
        if (!runs)
                begin();
        if (++runs % FRESH == 0)
                close_producer();
        if (!host)
                open_producer();
        return host;
}

/* ---- what is unpacked ------------------------------------------------------- */

static void touch(const unsigned char *bytes, size_t size) {
        for (size_t i = 0; i < size; i++)
                touched ^= bytes[i];
}

static void walk_headers(const cr_message_t *message) {
        cr_bytes_t headers = message->headers;
        for (uint16_t i = 0; i < message->header_count; i++) {
                int32_t size;
                (void)cr_take(&headers, cr_take_u16(&headers));
                size = cr_take_i32(&headers);
                (void)cr_take(&headers, size < 0 ? 0 : (size_t)size);
        }
        FUZZ_CHECK(!headers.failed && headers.at == headers.size);
}

static void look_at(const cr_message_t *message) {
        bool skipped = message->partition == CR_PARTITION_SKIP;
        touch(message->key, message->key_size);
        touch(message->value, message->value_size);
        touch(message->headers.data, message->headers.size);
        walk_headers(message);
        FUZZ_CHECK(skipped ? !message->topic && !message->cost
                           : message->topic && message->partition >= -1);
        FUZZ_CHECK(message->cost >= message->key_size + message->headers.size);
        FUZZ_CHECK(message->value || !message->value_size);
        FUZZ_CHECK(message->key || !message->key_size);
}

/* The costs of all. */
static uint64_t look_at_all(const cr_produce_t *produce) {
        uint64_t cost = 0;
        for (uint32_t i = 0; i < produce->count; i++) {
                look_at(&produce->messages[i]);
                cost += produce->messages[i].cost;
        }
        return cost;
}

/* The same bytes as a call that somebody hears of, which is never plain. */
static void unpack_heard(const cr_input_t *in, cr_produce_t *produce, uint8_t *copy) {
        const cr_input_t heard = {.caller = 1, .data = copy, .size = in->size};
        cr_error_t error = {0};
        memcpy(copy, in->data, in->size);
        *copy = CR_MODE_SEND;
        FUZZ_CHECK(cr_produce_decode(host->client, &heard, produce, &error) && produce->messages);
}

static bool is_same(const void *bytes, size_t size, const void *other, size_t other_size) {
        return size == other_size && !bytes == !other && (!size || !memcmp(bytes, other, size));
}

/* The costs of a plain call, whose messages are what they are in any other. */
static uint64_t look_at_batch(const cr_input_t *in, const cr_produce_t *produce) {
        const rd_kafka_message_t *batch = host->client->delivery->batch;
        uint8_t *copy = malloc(in->size);
        cr_produce_t heard;
        uint64_t cost;
        bool stick = true;
        FUZZ_CHECK(copy && produce->topic && produce->mode == CR_MODE_NONE);
        unpack_heard(in, &heard, copy);
        FUZZ_CHECK(heard.count == produce->count);
        for (uint32_t i = 0; i < produce->count; i++) {
                const cr_message_t *message = &heard.messages[i];
                stick = stick && cr_message_sticks(message);
                FUZZ_CHECK(cr_is_batchable(message) && message->topic == produce->topic);
                FUZZ_CHECK(message->partition == RD_KAFKA_PARTITION_UA);
                FUZZ_CHECK(
                        is_same(message->key, message->key_size, batch[i].key, batch[i].key_len));
                FUZZ_CHECK(is_same(message->value, message->value_size, batch[i].payload,
                                   batch[i].len));
        }
        FUZZ_CHECK(stick == produce->stick);
        cost = look_at_all(&heard);
        free(copy);
        return cost;
}

static bool unpack(const cr_input_t *in) {
        cr_produce_t produce;
        cr_error_t error = {0};
        uint64_t cost;
        if (!cr_produce_decode(host->client, in, &produce, &error)) {
                FUZZ_CHECK(error.set);
                return false;
        }
        cost = produce.messages ? look_at_all(&produce) : look_at_batch(in, &produce);
        FUZZ_CHECK(cost == produce.cost && produce.mode <= CR_MODE_SEND);
        touch(produce.tag, produce.tag_size);
        cr_produce_release(host->client, &produce);
        return true;
}

/* ---- segments ------------------------------------------------------------------ */

typedef struct behind {
        cr_segment_t segments[MOST_SEGMENTS];
        uint8_t *copies[MOST_SEGMENTS]; /* those without a block */
        size_t count;
} behind_t;

static void take_behind(feed_t *feed, behind_t *behind) {
        behind->count = feed_below(feed, MOST_SEGMENTS + 1);
        for (size_t i = 0; i < behind->count; i++) {
                uint8_t size = feed_u8(feed);
                cr_segment_t *segment = &behind->segments[i];
                uint8_t *bytes = feed_bytes(feed, size / 2, &segment->size);
                segment->bytes = bytes;
                if (size % 2) {
                        segment->buf = host->client->ops->buf_new(segment->size);
                        segment->bytes = host->client->ops->buf_bytes(segment->buf);
                        if (segment->size)
                                memcpy(host->client->ops->buf_bytes(segment->buf), bytes,
                                       segment->size);
                        free(bytes);
                } else {
                        behind->copies[i] = bytes;
                }
        }
}

static void release_behind(behind_t *behind) {
        for (size_t i = 0; i < behind->count; i++) {
                if (behind->segments[i].buf)
                        host->client->ops->buf_release(behind->segments[i].buf);
                free(behind->copies[i]);
        }
}

/* ---- what comes in without a command ------------------------------------------ */

static uint64_t key_of_intake(void) {
        cr_reply_t reply;
        const cr_input_t in = {.caller = 1};
        cr_client_command(host->client, CR_CMD_INTAKE, &in, &reply);
        FUZZ_CHECK(reply.buf);
        host->client->ops->buf_release(reply.buf);
        return cr_intake_key(host->client->delivery->stage->intake);
}

/* Accepted, counted or not yet. */
static uint64_t accepted(void) {
        const cr_delivery_t *delivery = host->client->delivery;
        const cr_stage_t *stage = delivery->stage;
        return delivery->accepted + (stage && stage->call ? (uint64_t)stage->into->count : 0);
}

/* Of a producer with much to do the intake is open for the last message of a command. It
 * takes nothing that no command would. */
static void come_in(const uint8_t *message, size_t size) {
        static const uint8_t start[START] = {[START - 1] = 1};
        uint64_t before, key = key_of_intake();
        uint8_t *keyed = malloc(8 + size), *command = malloc(sizeof(start) + size), *to = keyed;
        const cr_input_t in = {.caller = 1, .data = command, .size = sizeof(start) + size};
        bool taken;
        FUZZ_CHECK(keyed && command);
        cr_put_uint(&to, key, 8);
        cr_put_bytes(&to, message, size);
        memcpy(command, start, sizeof(start));
        cr_put_bytes(&(uint8_t *){command + sizeof(start)}, message, size);
        cr_client_produce(host->client, &in);
        before = accepted();
        taken = cr_intake_command(keyed, 8 + size);
        FUZZ_CHECK(accepted() == before + taken);
        FUZZ_CHECK(!taken || unpack(&in));
        free(keyed);
        free(command);
}

/* The segments behind it, and the command. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        feed_t feed = {data, size};
        behind_t behind = {.count = 0};
        cr_input_t in = {.caller = 1};
        cr_delivery_t *delivery = producer()->client->delivery;
        uint64_t before = accepted();
        uint8_t *command;
        bool good;
        take_behind(&feed, &behind);
        in.behind = behind.segments;
        in.behind_count = behind.count;
        in.data = command = feed_bytes(&feed, feed.left, &in.size);
        good = unpack(&in);
        cr_client_produce(host->client, &in);
        FUZZ_CHECK(good || accepted() == before);
        if (in.size > START)
                come_in(command + START, in.size - START);
        release_behind(&behind);
        free(command);
        forget_packets();
        if (delivery->messages > MANY)
                purge();
        return 0;
}
