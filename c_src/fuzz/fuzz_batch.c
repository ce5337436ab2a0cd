/*
 * core/batch.c: what it packs of any consumed messages is read back here as the table
 * of commands has it, and is what they were. The messages are made up, with all that
 * librdkafka may give: so its two functions that look into one are replaced.
 */
#include <librdkafka/rdkafka.h>

#include <stdlib.h>

static rd_kafka_resp_err_t headers_of_made(const rd_kafka_message_t *message,
                                           rd_kafka_headers_t **headers);
static int64_t timestamp_of_made(const rd_kafka_message_t *message,
                                 rd_kafka_timestamp_type_t *type);

#define rd_kafka_message_headers headers_of_made
#define rd_kafka_message_timestamp timestamp_of_made
#include "../core/batch.c"
#undef rd_kafka_message_headers
#undef rd_kafka_message_timestamp

#include "../test/support/test_host.h"
#include "fuzz.h"

#define MOST 12

typedef struct made {
        rd_kafka_message_t message; /* first: it is cast */
        uint8_t *record;            /* in which its value lies */
        rd_kafka_headers_t *headers;
        int64_t timestamp;
        rd_kafka_timestamp_type_t type;
} made_t;

static rd_kafka_resp_err_t headers_of_made(const rd_kafka_message_t *message,
                                           rd_kafka_headers_t **headers) {
        *headers = ((const made_t *)(const void *)message)->headers;
        return *headers ? RD_KAFKA_RESP_ERR_NO_ERROR : RD_KAFKA_RESP_ERR__NOENT;
}

static int64_t timestamp_of_made(const rd_kafka_message_t *message,
                                 rd_kafka_timestamp_type_t *type) {
        *type = ((const made_t *)(const void *)message)->type;
        return ((const made_t *)(const void *)message)->timestamp;
}

/* A size as often at the ends of its field as small. */
static size_t size_of(feed_t *feed) {
        uint8_t size = feed_u8(feed);
        return size < 250 ? size : size < 254 ? 65530u + size : feed_u16(feed);
}

static void *block(feed_t *feed, size_t *size) {
        size_t got, wanted = size_of(feed);
        uint8_t *bytes = feed_bytes(feed, wanted < 250 ? wanted : 1, &got), *whole;
        if (wanted < 250) {
                *size = got;
                return bytes;
        }
        whole = memset(malloc(wanted), bytes[0] | 1, wanted);
        free(bytes);
        *size = wanted;
        return whole;
}

static rd_kafka_headers_t *make_headers(feed_t *feed) {
        uint8_t count = feed_u8(feed);
        rd_kafka_headers_t *headers = rd_kafka_headers_new(0);
        for (uint8_t i = 0; i < count % 8; i++) {
                size_t name_bytes, size;
                char *name = block(feed, &name_bytes);
                void *value = block(feed, &size);
                bool is_null = feed_u8(feed) % 4 == 0;
                (void)rd_kafka_header_add(headers, name, (ssize_t)strnlen(name, name_bytes),
                                          is_null ? NULL : value, is_null ? 0 : (ssize_t)size);
                free(name);
                free(value);
        }
        for (uint32_t i = 0; count == UINT8_MAX && i < 65540; i++)
                (void)rd_kafka_header_add(headers, "", 0, NULL, 0);
        return headers;
}

/* As it was received, since core/record.c looks at what is around the value: in format 2
 * a varint of its size before it and the number of headers behind it, in an older one its
 * size in four bytes and, maybe, nothing behind it. */
static void lay_record(made_t *made, bool older) {
        rd_kafka_message_t *message = &made->message;
        uint8_t *value = message->payload, *to;
        to = made->record = malloc(message->len + (older ? 4 : 8));
        if (older) {
                cr_put_uint(&to, message->len, 4);
        } else {
                size_t rest = message->len << 1;
                for (; rest > 0x7f; rest >>= 7)
                        *to++ = (uint8_t)(rest | 0x80);
                *to++ = (uint8_t)rest;
        }
        message->payload = to;
        cr_put_bytes(&to, value, message->len);
        if (!older)
                *to = made->headers ? 2 : 0;
        free(value);
}

static made_t make(feed_t *feed, int64_t offset) {
        uint8_t flags = feed_u8(feed);
        made_t made = {.message = {.offset = offset},
                       .timestamp = (int64_t)feed_u64(feed),
                       .type = flags >> 4 & 2 ? RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME
                                              : (rd_kafka_timestamp_type_t)(flags >> 4 & 1)};
        if (flags & CR_MESSAGE_KEY)
                made.message.key = block(feed, &made.message.key_len);
        if (flags & CR_MESSAGE_VALUE)
                made.message.payload = block(feed, &made.message.len);
        if (flags & CR_MESSAGE_HEADERS)
                made.headers = make_headers(feed);
        if (made.message.payload)
                lay_record(&made, !made.headers && flags & 8);
        return made;
}

static void is_next(cr_bytes_t *in, const void *bytes, size_t size) {
        const unsigned char *there = cr_take(in, size);
        FUZZ_CHECK(there && (!size || !memcmp(there, bytes, size)));
}

/* Names are cut, and headers left out, where the format has no room for more. */
static void read_headers(cr_bytes_t *in, const rd_kafka_headers_t *headers) {
        size_t count = cr_take_u16(in), there = rd_kafka_header_cnt(headers);
        FUZZ_CHECK(count == (there < UINT16_MAX ? there : UINT16_MAX));
        for (size_t i = 0; i < count; i++) {
                const char *name;
                const void *value;
                size_t size, name_bytes = cr_take_u16(in);
                (void)rd_kafka_header_get_all(headers, i, &name, &value, &size);
                FUZZ_CHECK(strlen(name) == name_bytes ||
                           (name_bytes == UINT16_MAX && strlen(name) > name_bytes));
                is_next(in, name, name_bytes);
                FUZZ_CHECK(cr_take_i32(in) == (value ? (int32_t)size : -1));
                is_next(in, value, value ? size : 0);
        }
}

static void read_message(cr_bytes_t *in, const made_t *made) {
        const rd_kafka_message_t *message = &made->message;
        uint8_t flags = cr_take_u8(in);
        FUZZ_CHECK(!(flags & CR_MESSAGE_KEY) == !message->key);
        FUZZ_CHECK(!(flags & CR_MESSAGE_VALUE) == !message->payload);
        FUZZ_CHECK(!(flags & CR_MESSAGE_HEADERS) == !made->headers);
        FUZZ_CHECK(flags >> 4 == (int)made->type);
        FUZZ_CHECK(cr_take_i64(in) == message->offset);
        FUZZ_CHECK(cr_take_i64(in) == made->timestamp);
        FUZZ_CHECK(cr_take_u32(in) == message->key_len);
        FUZZ_CHECK(cr_take_u32(in) == message->len);
        is_next(in, message->key, message->key_len);
        is_next(in, message->payload, message->len);
        if (made->headers)
                read_headers(in, made->headers);
}

/* One message at least, no more bytes than allowed beyond it, and as many as fit. */
static void look_at(cr_buf_t *buf, const made_t *made, uint32_t count, size_t max_bytes,
                    const uint32_t *ends, uint32_t packed) {
        const cr_host_ops_t *ops = test_host_ops();
        cr_bytes_t in = cr_bytes(ops->buf_bytes(buf), ops->buf_size(buf));
        FUZZ_CHECK(packed >= 1 && packed <= count && cr_take_u32(&in) == packed);
        FUZZ_CHECK(packed == 1 || in.size <= max_bytes);
        for (uint32_t i = 0; i < packed; i++) {
                read_message(&in, &made[i]);
                FUZZ_CHECK(!in.failed && in.at == ends[i]);
        }
        FUZZ_CHECK(in.at == in.size);
}

/* How many bytes may be packed, and the messages. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        feed_t feed = {data, size};
        size_t max_bytes = (size_t)feed_u16(&feed) * 2;
        rd_kafka_message_t *messages[MOST];
        made_t made[MOST];
        uint32_t ends[MOST], packed = 0, count = 0;
        cr_buf_t *buf;
        for (; feed.left && count < MOST; count++) {
                made[count] = make(&feed, (int64_t)count);
                messages[count] = &made[count].message;
        }
        if (count) {
                buf = cr_batch_pack(test_host_ops(), messages, count, max_bytes, ends, &packed);
                FUZZ_CHECK(buf);
                look_at(buf, made, count, max_bytes, ends, packed);
                test_host_ops()->buf_release(buf);
        }
        for (uint32_t i = 0; i < count; i++) {
                free(made[i].message.key);
                free(made[i].record);
                if (made[i].headers)
                        rd_kafka_headers_destroy(made[i].headers);
        }
        return 0;
}
