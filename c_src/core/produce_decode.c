/*
 * Unpacks PRODUCE (see commands.h). All of a call's messages are checked here
 * before one of them is sent.
 */
#include "mem.h"
#include "partition.h"
#include "produce.h"

/* Flags: null to the topic of the one before. No message is shorter. */
#define SMALLEST_MESSAGE 1

static const unsigned char empty[1];

/* Values that came behind the command, taken one after another. */
typedef struct behind {
        const cr_segment_t *segment;
        size_t left;   /* segments, this one included */
        size_t within; /* bytes taken of this one */
        size_t bytes;  /* left in all of them */
} behind_t;

static behind_t behind_of(const cr_input_t *in) {
        behind_t behind = {.segment = in->behind, .left = in->behind_count};
        for (size_t i = 0; i < in->behind_count; i++)
                behind.bytes += in->behind[i].size;
        return behind;
}

static bool malformed(cr_error_t *error, uint32_t index, const char *what) {
        cr_error_own(error, "malformed_command", "message %u: %s", index, what);
        return false;
}

/* Copies the next bytes out of as many segments as they lie in. */
static bool copy_behind(behind_t *behind, unsigned char *to, size_t size) {
        while (size) {
                size_t there, part;
                if (!behind->left)
                        return false;
                there = behind->segment->size - behind->within;
                part = there < size ? there : size;
                cr_put_bytes(&to, behind->segment->bytes + behind->within, part);
                size -= part;
                behind->within += part;
                if (behind->within == behind->segment->size) {
                        behind->segment++;
                        behind->left--;
                        behind->within = 0;
                }
        }
        return true;
}

/* By reference when the value is whole in one block and at least half of what
 * it keeps alive; else copied to a block of its own. */
static bool take_behind(cr_client_t *client, behind_t *behind, cr_message_t *message,
                        cr_error_t *error) {
        const cr_segment_t *at = behind->segment;
        size_t size = message->value_size;
        if (size > behind->bytes)
                return false; /* and nothing is made room for */
        behind->bytes -= size;
        if (behind->left && at->buf && at->size - behind->within >= size &&
            client->ops->buf_size(at->buf) / 2 <= size) {
                message->value = at->bytes + behind->within;
                message->value_buf = at->buf;
                client->ops->buf_keep(at->buf);
                behind->within += size;
                if (behind->within == at->size) {
                        behind->segment++;
                        behind->left--;
                        behind->within = 0;
                }
                return true;
        }
        message->value_buf = client->ops->buf_new(size);
        if (!message->value_buf) {
                cr_error_own(error, "no_memory", "no memory for a value of %zu bytes", size);
                return false;
        }
        message->value = client->ops->buf_bytes(message->value_buf);
        return copy_behind(behind, client->ops->buf_bytes(message->value_buf), size);
}

/* Walks over packed headers; false when they are not whole. */
static bool take_headers(cr_bytes_t *bytes, cr_message_t *message) {
        message->header_count = cr_take_u16(bytes);
        size_t from = bytes->at;
        for (uint16_t i = 0; i < message->header_count && !bytes->failed; i++) {
                int32_t size;
                cr_take(bytes, cr_take_u16(bytes));
                size = cr_take_i32(bytes);
                if (size > 0)
                        cr_take(bytes, (size_t)size);
        }
        if (!bytes->failed)
                message->headers = cr_bytes(bytes->data + from, bytes->at - from);
        return !bytes->failed;
}

static bool take_value(cr_client_t *client, cr_bytes_t *bytes, uint8_t flags, behind_t *behind,
                       cr_message_t *message, cr_error_t *error) {
        if (!(flags & (CR_MESSAGE_VALUE | CR_MESSAGE_VALUE_BEHIND)))
                return true;
        message->value_size = cr_take_u32(bytes);
        if (flags & CR_MESSAGE_VALUE_BEHIND)
                return !bytes->failed && message->value_size &&
                       take_behind(client, behind, message, error);
        message->value = cr_take(bytes, message->value_size);
        return message->value != NULL;
}

static bool take_topic(cr_client_t *client, cr_bytes_t *bytes, const cr_produce_t *produce,
                       cr_topic_t **topic, uint32_t index, cr_error_t *error) {
        size_t size = cr_take_u16(bytes);
        const char *name = (const char *)cr_take(bytes, size);
        if (!name)
                return malformed(error, index, "the topic is cut short");
        *topic = cr_topic_get(client, name, size, produce->variant, error);
        return *topic != NULL;
}

/* False when there is no such hash, or a partition is given as well. */
static bool take_partition(cr_bytes_t *bytes, uint8_t flags, cr_message_t *message) {
        const unsigned char *key;
        uint32_t partitions, size;
        uint8_t hash;
        if (flags & CR_MESSAGE_PARTITION)
                message->partition = cr_take_i32(bytes);
        if (!(flags & CR_MESSAGE_HASH))
                return message->partition >= -1;
        hash = cr_take_u8(bytes);
        partitions = cr_take_u32(bytes);
        size = cr_take_u32(bytes);
        key = cr_take(bytes, size);
        if (!key || flags & CR_MESSAGE_PARTITION || partitions > INT32_MAX)
                return false;
        message->partition = cr_partition(hash, size ? key : empty, size, (int32_t)partitions);
        return message->partition >= 0;
}

static uint64_t cost_of(cr_client_t *client, const cr_message_t *message) {
        uint64_t value = message->value_buf ? client->ops->buf_size(message->value_buf)
                                            : message->value_size;
        return value + message->key_size + message->headers.size;
}

/* Nothing but the partition that says so. */
static bool is_skipped(const cr_bytes_t *bytes, uint8_t flags) {
        cr_bytes_t ahead = *bytes;
        return flags == CR_MESSAGE_PARTITION && cr_take_i32(&ahead) == CR_PARTITION_SKIP;
}

static bool take_message(cr_client_t *client, cr_bytes_t *bytes, const cr_produce_t *produce,
                         behind_t *behind, cr_topic_t **topic, uint32_t index, cr_error_t *error) {
        cr_message_t *message = &produce->messages[index];
        uint8_t flags = cr_take_u8(bytes);
        *message = (cr_message_t){.partition = -1};
        if (is_skipped(bytes, flags)) {
                message->partition = cr_take_i32(bytes);
                return true;
        }
        if (flags & CR_MESSAGE_TOPIC && !take_topic(client, bytes, produce, topic, index, error))
                return false;
        if (!*topic)
                return malformed(error, index, "there is no topic");
        message->topic = *topic;
        if (!take_partition(bytes, flags, message))
                return malformed(error, index, "the partition is none, nor a known hash's");
        if (flags & CR_MESSAGE_TIMESTAMP)
                message->timestamp = cr_take_i64(bytes);
        if (flags & CR_MESSAGE_KEY) {
                message->key_size = cr_take_u32(bytes);
                message->key = cr_take(bytes, message->key_size);
        }
        if (!take_value(client, bytes, flags, behind, message, error))
                return !error->set && malformed(error, index, "the value is cut short");
        if (flags & CR_MESSAGE_HEADERS && !take_headers(bytes, message))
                return malformed(error, index, "the headers are cut short");
        if (bytes->failed)
                return malformed(error, index, "it is cut short");
        /* librdkafka takes an empty key or value for null unless it points
         * somewhere. */
        if (message->key && !message->key_size)
                message->key = empty;
        if (message->value && !message->value_size)
                message->value = empty;
        message->cost = cost_of(client, message);
        return true;
}

static void take_via(cr_bytes_t *bytes, cr_produce_t *produce) {
        produce->to = cr_take_u64(bytes);
        produce->epoch = cr_take_u32(bytes);
        produce->variant = cr_take_u32(bytes);
}

/* The reporter is sent its reports: it waits for none, nor fetches them. */
static bool may_hear(const cr_produce_t *produce) {
        return produce->to == CR_TO_CALLER ||
               (produce->to == CR_TO_REPORTER && produce->mode == CR_MODE_SEND);
}

/* As far as whom to tell; the policy with all its bits. */
static uint8_t take_tag(cr_bytes_t *bytes, cr_produce_t *produce) {
        uint8_t policy;
        produce->mode = cr_take_u8(bytes);
        policy = cr_take_u8(bytes);
        produce->policy = policy & CR_POLICY_WAIT;
        produce->call = cr_take_u64(bytes);
        if (policy & CR_POLICY_VIA)
                take_via(bytes, produce);
        produce->tag_size = cr_take_u16(bytes);
        produce->tag = cr_take(bytes, produce->tag_size);
        if (!produce->tag)
                produce->tag_size = 0; /* there is nobody to tell */
        return policy;
}

const unsigned char *cr_produce_tag(const void *data, size_t *size) {
        cr_bytes_t bytes = cr_bytes(data, *size);
        cr_produce_t produce = {0};
        (void)take_tag(&bytes, &produce);
        *size = produce.tag_size;
        return produce.tag;
}

static bool take_start(cr_bytes_t *bytes, cr_produce_t *produce) {
        uint8_t policy = take_tag(bytes, produce);
        produce->count = cr_take_u32(bytes);
        return !bytes->failed && produce->mode <= CR_MODE_SEND && may_hear(produce) &&
               policy <= (CR_POLICY_WAIT | CR_POLICY_VIA) && produce->count > 0 &&
               produce->count <= (bytes->size - bytes->at) / SMALLEST_MESSAGE &&
               (produce->call || produce->mode == CR_MODE_NONE || produce->mode == CR_MODE_SEND) &&
               (produce->tag_size ||
                (produce->mode != CR_MODE_WAIT && produce->policy != CR_POLICY_WAIT));
}

static bool make_room(cr_delivery_t *delivery, uint32_t count, cr_error_t *error) {
        cr_message_t *grown;
        if (count <= delivery->scratch_room)
                return true;
        grown = cr_realloc(delivery->scratch, count * sizeof(*grown));
        if (!grown) {
                cr_error_own(error, "no_memory", "no memory for %u messages", count);
                return false;
        }
        delivery->scratch = grown;
        delivery->scratch_room = count;
        return true;
}

bool cr_produce_decode(cr_client_t *client, const cr_input_t *in, cr_produce_t *produce,
                       cr_error_t *error) {
        cr_bytes_t bytes = cr_bytes(in->data, in->size);
        behind_t behind = behind_of(in);
        cr_topic_t *topic = NULL;
        uint32_t count;
        *produce = (cr_produce_t){0};
        if (!take_start(&bytes, produce)) {
                cr_error_own(error, "malformed_command", "the start of a produce is malformed");
                return false;
        }
        if (cr_produce_plain(client, bytes, produce))
                return true;
        count = produce->count;
        if (!make_room(client->delivery, count, error))
                return false;
        produce->messages = client->delivery->scratch;
        for (uint32_t i = 0; i < count; i++) {
                bool taken = take_message(client, &bytes, produce, &behind, &topic, i, error);
                produce->count = i + 1; /* what is to be released */
                produce->cost += produce->messages[i].cost;
                if (!taken) {
                        cr_produce_release(client, produce);
                        return false;
                }
        }
        if (bytes.at == bytes.size)
                return true;
        cr_produce_release(client, produce);
        cr_error_own(error, "malformed_command", "there are bytes behind the last message");
        return false;
}

void cr_produce_release(cr_client_t *client, cr_produce_t *produce) {
        for (uint32_t i = 0; produce->messages && i < produce->count; i++) {
                if (produce->messages[i].value_buf)
                        client->ops->buf_release(produce->messages[i].value_buf);
                produce->messages[i].value_buf = NULL;
        }
}
