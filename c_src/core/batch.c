#include "batch.h"

#include "bytes.h"
#include "commands.h"
#include "record.h"

/* Flags, offset, timestamp, sizes of key and value. */
#define FIXED_SIZE (1 + 8 + 8 + 4 + 4)

static rd_kafka_headers_t *headers_of(const rd_kafka_message_t *message) {
        rd_kafka_headers_t *headers = NULL;
        if (cr_record_is_bare(message->payload, message->len))
                return NULL;
        if (rd_kafka_message_headers(message, &headers))
                return NULL;
        return headers;
}

/* The format's limits, which a foreign producer need not keep: longer names are
 * cut, further headers left out. */
static size_t name_size(const char *name) {
        size_t size = strlen(name);
        return size < UINT16_MAX ? size : UINT16_MAX;
}

static size_t header_count(const rd_kafka_headers_t *headers) {
        size_t count = rd_kafka_header_cnt(headers);
        return count < UINT16_MAX ? count : UINT16_MAX;
}

static size_t headers_size(const rd_kafka_headers_t *headers) {
        const char *name;
        const void *value;
        size_t size, total = 2, count = header_count(headers);
        for (size_t i = 0; i < count; i++) {
                rd_kafka_header_get_all(headers, i, &name, &value, &size);
                total += 2 + name_size(name) + 4 + (value ? size : 0);
        }
        return total;
}

static size_t packed_size(const rd_kafka_message_t *message, const rd_kafka_headers_t *headers) {
        return FIXED_SIZE + message->key_len + message->len + (headers ? headers_size(headers) : 0);
}

static void put_headers(unsigned char **to, const rd_kafka_headers_t *headers) {
        const char *name;
        const void *value;
        size_t size, count = header_count(headers);
        cr_put_uint(to, count, 2);
        for (size_t i = 0; i < count; i++) {
                rd_kafka_header_get_all(headers, i, &name, &value, &size);
                cr_put_uint(to, name_size(name), 2);
                cr_put_bytes(to, name, name_size(name));
                cr_put_uint(to, value ? size : UINT32_MAX, 4);
                cr_put_bytes(to, value, value ? size : 0);
        }
}

static void put_message(unsigned char **to, const rd_kafka_message_t *message,
                        const rd_kafka_headers_t *headers) {
        rd_kafka_timestamp_type_t type;
        int64_t timestamp = rd_kafka_message_timestamp(message, &type);
        unsigned flags = (message->key ? CR_MESSAGE_KEY : 0u) |
                         (message->payload ? CR_MESSAGE_VALUE : 0u) |
                         (headers ? CR_MESSAGE_HEADERS : 0u) | (unsigned)type << 4;
        cr_put_uint(to, flags, 1);
        cr_put_uint(to, (uint64_t)message->offset, 8);
        cr_put_uint(to, (uint64_t)timestamp, 8);
        cr_put_uint(to, message->key_len, 4);
        cr_put_uint(to, message->len, 4);
        cr_put_bytes(to, message->key, message->key_len);
        cr_put_bytes(to, message->payload, message->len);
        if (headers)
                put_headers(to, headers);
}

/* Headers are asked for once: see record.h for what that costs. */
cr_buf_t *cr_batch_pack(const cr_host_ops_t *ops, rd_kafka_message_t *const *messages,
                        uint32_t count, size_t max_bytes, uint32_t *ends, uint32_t *packed) {
        const rd_kafka_headers_t *headers[CR_BATCH_MOST];
        cr_buf_t *buf;
        unsigned char *to;
        size_t size = CR_BATCH_HEAD;
        uint32_t fit;
        for (fit = 0; fit < count && fit < CR_BATCH_MOST; fit++) {
                size_t more;
                headers[fit] = headers_of(messages[fit]);
                more = packed_size(messages[fit], headers[fit]);
                if (fit && size + more > max_bytes)
                        break;
                size += more;
                ends[fit] = (uint32_t)size;
        }
        buf = ops->buf_new(size);
        if (!buf)
                return NULL;
        to = ops->buf_bytes(buf);
        cr_put_uint(&to, fit, CR_BATCH_HEAD);
        for (uint32_t i = 0; i < fit; i++)
                put_message(&to, messages[i], headers[i]);
        *packed = fit;
        return buf;
}
