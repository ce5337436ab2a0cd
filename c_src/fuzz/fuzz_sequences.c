/*
 * The life of one client, of any kind: commands in any order, well-formed more often
 * than not, drains and sweeps between them, memory that runs out, recipients that die,
 * and a close at any time. Whatever happens, the client ends, and nothing is left.
 */
#include <stdlib.h>

#include "../test/support/memory.h"
#include "clients.h"
#include "fuzz.h"

#define MOST_STEPS 40
#define RECIPIENTS 3

enum step {
        PRODUCE,
        PRODUCE_BEHIND,
        CALL,  /* a command about a call */
        FLUSH, /* or another that has a tag only */
        PLAIN, /* a command without argument */
        TRANSACT,
        DEMAND, /* a command about a slot */
        ACK,    /* one about offsets of a slot */
        START_AT,
        RAW, /* any command, any bytes */
        DRAIN,
        SWEEP,
        GONE,     /* of a recipient */
        SHORTAGE, /* of memory, some requests from now */
        STEPS
};

typedef struct life {
        test_host_t *host;
        feed_t feed;
        unsigned char bytes[512];
        size_t size;
} life_t;

static void put(life_t *life, uint64_t value, size_t size) {
        unsigned char *to = life->bytes + life->size;
        cr_put_uint(&to, value, size);
        life->size += size;
}

static void command(life_t *life, unsigned number) {
        size_t got;
        feed_t made = {life->bytes, life->size};
        uint8_t *block = feed_bytes(&made, life->size, &got);
        (void)test_command_as(life->host, feed_u8(&life->feed) % RECIPIENTS, number, block, got);
        free(block);
        life->size = 0;
}

/* The flags and sizes are the script's; most of it is right. */
static void put_message(life_t *life, uint8_t flags) {
        uint8_t numbers = feed_u8(&life->feed);
        put(life, flags, 1);
        if (flags & CR_MESSAGE_TOPIC)
                put(life, 1u << 8 | 't', 3);
        if (flags & CR_MESSAGE_PARTITION)
                put(life, numbers & 4 || flags & CR_MESSAGE_HASH ? UINT32_MAX : numbers & 3, 4);
        if (flags & CR_MESSAGE_HASH)
                put(life, (uint64_t)(numbers & 3) << 8 | 2, 1 + 4), put(life, 0, 4);
        if (flags & CR_MESSAGE_TIMESTAMP)
                put(life, numbers, 8);
        if (flags & CR_MESSAGE_KEY)
                put(life, 1, 4), put(life, numbers, 1);
        if (flags & (CR_MESSAGE_VALUE | CR_MESSAGE_VALUE_BEHIND))
                put(life, flags & CR_MESSAGE_VALUE_BEHIND ? 16 : 1, 4);
        if (!(flags & CR_MESSAGE_VALUE_BEHIND) && flags & CR_MESSAGE_VALUE)
                put(life, numbers, 1);
        if (flags & CR_MESSAGE_HEADERS)
                put(life, 1, 2), put(life, 1u << 8 | 'h', 3), put(life, UINT32_MAX, 4);
}

static void put_call(life_t *life) {
        uint8_t how = feed_u8(&life->feed), count = feed_u8(&life->feed) % 4 + 1;
        put(life, how & 3, 1);
        put(life, how >> 2 & 3, 1);
        put(life, feed_u8(&life->feed) % 8, 8);
        if (how >> 2 & CR_POLICY_VIA) {
                put(life, how >> 4 & 1, 8);
                put(life, how >> 5 & 1, 4);
                put(life, how >> 6 & 1, 4);
        }
        put(life, 1u << 8 | 'p', 3);
        put(life, count, 4);
        for (uint8_t i = 0; i < count; i++)
                put_message(life, feed_u8(&life->feed) | (i ? 0 : CR_MESSAGE_TOPIC));
}

static void produce_behind(life_t *life) {
        const cr_host_ops_t *ops = life->host->client->ops;
        cr_segment_t behind = {.buf = ops->buf_new(64), .size = 64};
        cr_input_t in = {.caller = 1, .behind = &behind, .behind_count = 1};
        put_call(life);
        in.data = life->bytes;
        in.size = life->size;
        if (behind.buf) {
                behind.bytes = memset(ops->buf_bytes(behind.buf), 'b', behind.size);
                cr_client_produce(life->host->client, &in);
                ops->buf_release(behind.buf);
        }
        life->size = 0;
}

static unsigned one_of(life_t *life, const unsigned *commands, unsigned count) {
        return commands[feed_u8(&life->feed) % count];
}

static void call(life_t *life) {
        static const unsigned commands[] = {CR_CMD_AWAIT, CR_CMD_CANCEL, CR_CMD_LOOK};
        unsigned number = one_of(life, commands, 3);
        if (number == CR_CMD_CANCEL)
                put(life, CR_CANCEL_REPORTS, 1);
        put(life, feed_u8(&life->feed) % 8, 8);
        if (number == CR_CMD_AWAIT)
                put(life, 'a', 1);
        command(life, number);
}

static void flush(life_t *life) {
        static const unsigned commands[] = {CR_CMD_FLUSH, CR_CMD_CLOSE, CR_CMD_SETTLE,
                                            CR_CMD_REPORTED};
        unsigned number = one_of(life, commands, 4);
        if (number == CR_CMD_REPORTED)
                put(life, feed_u8(&life->feed) % 4, 4);
        else
                put(life, 'f', 1);
        command(life, number);
}

static void plain(life_t *life) {
        static const unsigned commands[] = {CR_CMD_PURGE,  CR_CMD_REPORTER, CR_CMD_TALLIED,
                                            CR_CMD_RETIRE, CR_CMD_DRAIN,    CR_CMD_SLOTS,
                                            CR_CMD_INFO,   CR_CMD_RELEASE};
        command(life, one_of(life, commands, 8));
}

static void transact(life_t *life) {
        uint8_t what = feed_u8(&life->feed) % 5;
        put(life, what, 1);
        put(life, what == CR_TRANSACT_BEGIN, 4);
        put(life, 't', 1);
        command(life, CR_CMD_TRANSACT);
}

static void demand(life_t *life) {
        static const unsigned commands[] = {CR_CMD_TAKE, CR_CMD_DEMAND};
        unsigned number = one_of(life, commands, 2);
        put(life, fuzz_slot(life->host, feed_u8(&life->feed)), 8);
        if (number == CR_CMD_DEMAND)
                put(life, feed_u8(&life->feed), 4);
        command(life, number);
}

static void ack(life_t *life) {
        static const unsigned commands[] = {CR_CMD_ACK, CR_CMD_REDELIVER, CR_CMD_WAITING};
        unsigned number = one_of(life, commands, 3);
        uint8_t from = feed_u8(&life->feed);
        put(life, fuzz_slot(life->host, feed_u8(&life->feed)), 8);
        put(life, from, 8);
        put(life, from + (uint64_t)feed_u8(&life->feed), 8);
        command(life, number);
}

static void start_at(life_t *life) {
        static const char *const places[] = {"offset", "beginning", "end", "timestamp", "nowhere"};
        cr_writer_t out;
        memory_counts(false);
        out = cr_writer();
        cr_write_tuple(&out, 4);
        cr_write_text(&out, "s");
        cr_write_integer(&out, (int64_t)fuzz_slot(life->host, feed_u8(&life->feed)));
        cr_write_atom(&out, places[feed_u8(&life->feed) % 5]);
        cr_write_integer(&out, feed_u8(&life->feed));
        memcpy(life->bytes, out.x.buff, (size_t)out.x.index);
        life->size = (size_t)out.x.index;
        cr_writer_discard(&out);
        memory_counts(true);
        command(life, CR_CMD_START_AT);
}

static void raw(life_t *life) {
        unsigned number = feed_u8(&life->feed);
        size_t got;
        uint8_t *bytes = feed_bytes(&life->feed, feed_u8(&life->feed), &got);
        fuzz_shorten_time(bytes, got);
        (void)test_command(life->host, number, bytes, got);
        free(bytes);
}

static void take_step(life_t *life) {
        switch (feed_u8(&life->feed) % STEPS) {
        case PRODUCE:
                put_call(life);
                command(life, CR_CMD_PRODUCE);
                break;
        case PRODUCE_BEHIND:
                produce_behind(life);
                break;
        case CALL:
                call(life);
                break;
        case FLUSH:
                flush(life);
                break;
        case PLAIN:
                plain(life);
                break;
        case TRANSACT:
                transact(life);
                break;
        case DEMAND:
                demand(life);
                break;
        case ACK:
                ack(life);
                break;
        case START_AT:
                start_at(life);
                break;
        case RAW:
                raw(life);
                break;
        case DRAIN:
                fuzz_serve(life->host, feed_u8(&life->feed) % 8);
                break;
        case SWEEP:
                cr_client_sweep(life->host->client);
                break;
        case GONE:
                cr_client_recipient_gone(life->host->client, feed_u8(&life->feed) % RECIPIENTS);
                break;
        case SHORTAGE:
                memory_fails_at(feed_u8(&life->feed) % 32);
                break;
        }
}

/* The kind, and the steps. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        life_t life = {.feed = {data, size}};
        if (fuzz_is_forbidden(data, size))
                return 0;
        life.host = fuzz_client((fuzz_kind_t)(feed_u8(&life.feed) % FUZZ_KINDS));
        for (int i = 0; i < MOST_STEPS && life.feed.left; i++)
                take_step(&life);
        memory_fails_at(0);
        test_host_free(life.host);
        return 0;
}
