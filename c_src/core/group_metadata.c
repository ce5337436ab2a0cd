/*
 * GROUP_METADATA: what a member is in its group, which goes with the offsets
 * of a transaction and keeps those of a member that was evicted out.
 *
 * Brokers let offsets through without looking when the metadata names no
 * generation, as it does between an eviction and the next join, so there is no
 * metadata then. And metadata of a new generation would let those of an old one
 * through: whoever asks names the slots that it works for, all of which the
 * member must still have. By the cooperative protocol librdkafka takes no part in a
 * new generation before the release of what the member loses was answered, so that
 * slots that are there behind the question were the member's when it was asked.
 * Without it librdkafka may join anew while a revocation waits (group_given.c): then
 * slots go with the generation that they were given in, and no other.
 *
 * It runs on the query lane: jobs of the group lane may wait for offsets of
 * transactions.
 */
#include "group.h"
#include "mem.h"

typedef struct metadata_job {
        cr_job_t job;
        cr_tag_t tag;
        uint32_t count;
        uint64_t *slots; /* owned */
        void *bytes;     /* librdkafka's; NULL without them */
        size_t size;
        cr_error_t error;
} metadata_job_t;

/* The written form begins so; behind it are the generation, as an int32_t of
 * this machine, and the names of the group and the member, each with a zero. */
#define MAGIC "CGMDv2:"
#define MAGIC_SIZE (sizeof(MAGIC) - 1)

/* Of the member that it names; negative when it names none. */
static int32_t generation_of(const char *bytes, size_t size) {
        int32_t generation;
        size_t at = MAGIC_SIZE + sizeof(generation);
        const char *end;
        if (size <= at || memcmp(bytes, MAGIC, MAGIC_SIZE) != 0)
                return -1;
        memcpy(&generation, bytes + MAGIC_SIZE, sizeof(generation));
        end = memchr(bytes + at, 0, size - at);
        return end && end + 1 < bytes + size && end[1] ? generation : -1;
}

/* What the member is at present, or *error. librdkafka asks its own main thread.
 * @locality a lane */
static void pack(rd_kafka_t *rk, void **bytes, size_t *size, cr_error_t *error) {
        rd_kafka_consumer_group_metadata_t *metadata = rd_kafka_consumer_group_metadata(rk);
        if (!metadata) {
                cr_error_own(error, "closed", "the consumer is being closed");
                return;
        }
        cr_error_take(error, rd_kafka_consumer_group_metadata_write(metadata, bytes, size));
        rd_kafka_consumer_group_metadata_destroy(metadata);
}

int32_t cr_generation(rd_kafka_t *rk) {
        cr_error_t error = {0};
        int32_t generation = -1;
        void *bytes = NULL;
        size_t size = 0;
        pack(rk, &bytes, &size, &error);
        if (!error.set)
                generation = generation_of(bytes, size);
        if (bytes)
                rd_kafka_mem_free(rk, bytes);
        return generation;
}

/* @locality query lane */
static void run_metadata(cr_client_t *client, cr_job_t *job) {
        metadata_job_t *ask = (metadata_job_t *)job;
        pack(client->rk, &ask->bytes, &ask->size, &ask->error);
        if (!ask->error.set && generation_of(ask->bytes, ask->size) < 0)
                cr_error_code(&ask->error, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
                              "the consumer is not a member of its group at present");
}

static bool has_slots(const cr_client_t *client, const metadata_job_t *ask) {
        const cr_group_t *group = client->group;
        if (group->slots.count && cr_group_is_eager(client->rk) &&
            generation_of(ask->bytes, ask->size) != group->generation)
                return false;
        for (uint32_t i = 0; i < ask->count; i++) {
                const cr_slot_t *slot =
                        ask->slots[i] ? cr_map_get(&group->slots, ask->slots[i]) : NULL;
                if (!slot || (slot->revoked && group->lost))
                        return false;
        }
        return true;
}

static void metadata_free(cr_client_t *client, metadata_job_t *ask) {
        if (ask->bytes)
                rd_kafka_mem_free(client->rk, ask->bytes);
        cr_tag_clear(&ask->tag);
        cr_free(ask->slots);
        cr_free(ask);
}

static void done_metadata(cr_client_t *client, cr_job_t *job) {
        metadata_job_t *ask = (metadata_job_t *)job;
        cr_writer_t out = cr_writer();
        if (ask->job.refused)
                cr_error_refused(&ask->error);
        if (!ask->error.set && !has_slots(client, ask))
                cr_error_own(&ask->error, "stale_assignment",
                             "the member has lost a partition since");
        if (ask->error.set) {
                cr_write_error(&out, &ask->error);
        } else {
                cr_write_tuple(&out, 2);
                cr_write_atom(&out, "ok");
                cr_write_binary(&out, ask->bytes, ask->size);
        }
        cr_reply_writer(client, &ask->tag, &out);
        metadata_free(client, ask);
}

/* NULL when there is no memory. */
static metadata_job_t *job_new(cr_client_t *client, cr_recipient_t caller, cr_bytes_t *bytes,
                               uint32_t count) {
        metadata_job_t *ask = cr_alloc(sizeof(*ask));
        if (!ask)
                return NULL;
        ask->job = (cr_job_t){.run = run_metadata, .done = done_metadata};
        ask->count = count;
        ask->slots = cr_alloc(count * sizeof(*ask->slots));
        for (uint32_t i = 0; ask->slots && i < count; i++)
                ask->slots[i] = cr_take_u64(bytes);
        if (ask->slots &&
            cr_tag_set(&ask->tag, caller, bytes->data + bytes->at, bytes->size - bytes->at))
                return ask;
        metadata_free(client, ask);
        return NULL;
}

void cr_do_GROUP_METADATA(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_bytes_t bytes = cr_bytes(in->data, in->size);
        uint32_t count = cr_take_u32(&bytes);
        metadata_job_t *ask;
        /* A tag follows. */
        if (bytes.failed || (bytes.size - bytes.at) / sizeof(uint64_t) < count ||
            bytes.size - bytes.at == count * sizeof(uint64_t)) {
                cr_answer_malformed(client, reply);
                return;
        }
        ask = job_new(client, in->caller, &bytes, count);
        if (ask && cr_lane_submit(&client->query_lane, &ask->job))
                return;
        if (ask)
                metadata_free(client, ask);
        cr_answer_no_memory(client, reply);
}
