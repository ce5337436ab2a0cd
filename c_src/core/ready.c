#include "ready.h"

#include "batch.h"
#include "bytes.h"
#include "mem.h"

/* Of a block itself, with its buffer's header and what the allocators add. */
#define BLOCK_COST 160

void cr_ready_init(cr_ready_t *ready, const cr_host_ops_t *ops) {
        *ready = (cr_ready_t){.ops = ops};
        TAILQ_INIT(&ready->blocks);
}

static uint32_t start_of(const cr_block_t *block, uint32_t index) {
        return index ? block->ends[index - 1] : CR_BATCH_HEAD;
}

/* Its buffer is there whole until the last of it is taken. */
static size_t cost_of(const cr_block_t *block) {
        if (!block->buf)
                return BLOCK_COST;
        return BLOCK_COST + block->ends[block->count - 1] + block->count * CR_WAITING_COST;
}

static void remove_block(cr_ready_t *ready, cr_block_t *block) {
        TAILQ_REMOVE(&ready->blocks, block, link);
        ready->bytes -= cost_of(block);
}

static void block_free(cr_ready_t *ready, cr_block_t *block) {
        if (block->buf)
                ready->ops->buf_release(block->buf);
        if (block->error)
                rd_kafka_message_destroy(block->error);
        cr_free(block);
}

static void append(cr_ready_t *ready, cr_block_t *block) {
        TAILQ_INSERT_TAIL(&ready->blocks, block, link);
        ready->bytes += cost_of(block);
}

void cr_ready_clear(cr_ready_t *ready) {
        cr_ready_trim(ready, 0);
}

bool cr_ready_is_over(const cr_ready_t *ready, size_t bytes) {
        const cr_block_t *last = TAILQ_LAST(&ready->blocks, cr_blocks);
        return last && ready->bytes - cost_of(last) >= bytes;
}

void cr_ready_trim(cr_ready_t *ready, size_t bytes) {
        cr_block_t *block;
        while (ready->bytes > bytes && (block = TAILQ_LAST(&ready->blocks, cr_blocks))) {
                remove_block(ready, block);
                block_free(ready, block);
        }
}

static cr_block_t *block_new(uint32_t count) {
        cr_block_t *block = cr_alloc(sizeof(*block) + count * (sizeof(int64_t) + sizeof(uint32_t)));
        if (block)
                block->ends = (uint32_t *)(void *)(block->offsets + count);
        return block;
}

/* The partition has gone on: an end that waits is none. */
static void drop_end(cr_ready_t *ready) {
        cr_block_t *last = TAILQ_LAST(&ready->blocks, cr_blocks);
        if (!last || !last->error || last->error->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
                return;
        remove_block(ready, last);
        block_free(ready, last);
}

uint32_t cr_ready_pack(cr_ready_t *ready, rd_kafka_message_t *const *messages, uint32_t count,
                       const cr_measure_t *most) {
        uint32_t ends[CR_BATCH_MOST], packed;
        cr_block_t *block;
        cr_buf_t *buf =
                cr_batch_pack(ready->ops, messages, count < most->messages ? count : most->messages,
                              most->bytes, ends, &packed);
        if (!buf)
                return 0;
        block = block_new(packed);
        if (!block) {
                ready->ops->buf_release(buf);
                return 0;
        }
        drop_end(ready);
        block->buf = buf;
        block->count = packed;
        memcpy(block->ends, ends, packed * sizeof(*ends));
        for (uint32_t i = 0; i < packed; i++)
                block->offsets[i] = messages[i]->offset;
        append(ready, block);
        return packed;
}

bool cr_ready_error(cr_ready_t *ready, rd_kafka_message_t *error) {
        cr_block_t *block = block_new(0);
        if (!block)
                return false;
        block->error = error;
        append(ready, block);
        return true;
}

rd_kafka_message_t *cr_ready_take_error(cr_ready_t *ready) {
        cr_block_t *block = TAILQ_FIRST(&ready->blocks);
        rd_kafka_message_t *error = block ? block->error : NULL;
        if (!error)
                return NULL;
        remove_block(ready, block);
        block->error = NULL;
        block_free(ready, block);
        return error;
}

/* How many messages the measure allows, over blocks, and their bytes. */
static uint32_t measure(const cr_ready_t *ready, const cr_measure_t *most, size_t *bytes) {
        const cr_block_t *block;
        int64_t first = 0;
        uint32_t count = 0;
        *bytes = 0;
        TAILQ_FOREACH(block, &ready->blocks, link) {
                for (uint32_t i = block->next; i < block->count; i++) {
                        size_t more = *bytes + block->ends[i] - start_of(block, i);
                        if (count == most->messages || block->offsets[i] >= most->below)
                                return count;
                        if (!count)
                                first = block->offsets[i];
                        else if (CR_BATCH_HEAD + more > most->bytes ||
                                 more + (count + 1) * CR_DELIVERED_COST > most->cost ||
                                 block->offsets[i] - first > UINT32_MAX) /* see window.h */
                                return count;
                        *bytes = more;
                        count++;
                }
                if (block->error)
                        break;
        }
        return count;
}

/* Moves messages of the first block behind *to. */
static uint32_t move(cr_ready_t *ready, uint32_t count, unsigned char **to, int64_t *offsets) {
        cr_block_t *block = TAILQ_FIRST(&ready->blocks);
        uint32_t left = block->count - block->next;
        uint32_t some = count < left ? count : left;
        uint32_t from = start_of(block, block->next), below = block->ends[block->next + some - 1];
        cr_put_bytes(to, ready->ops->buf_bytes(block->buf) + from, below - from);
        memcpy(offsets, block->offsets + block->next, some * sizeof(*offsets));
        block->next += some;
        if (some == left) {
                remove_block(ready, block);
                block_free(ready, block);
        }
        return some;
}

static cr_buf_t *copy(cr_ready_t *ready, uint32_t count, size_t size, int64_t *offsets) {
        cr_buf_t *buf = ready->ops->buf_new(size);
        unsigned char *to;
        if (!buf)
                return NULL;
        to = ready->ops->buf_bytes(buf);
        cr_put_uint(&to, count, CR_BATCH_HEAD);
        for (uint32_t done = 0; done < count;)
                done += move(ready, count - done, &to, offsets + done);
        return buf;
}

static cr_buf_t *take_whole(cr_ready_t *ready, cr_block_t *block, int64_t *offsets) {
        cr_buf_t *buf = block->buf;
        memcpy(offsets, block->offsets, block->count * sizeof(*offsets));
        remove_block(ready, block);
        block->buf = NULL;
        block_free(ready, block);
        return buf;
}

/* A block that fits is not copied for less than twice as much. */
cr_buf_t *cr_ready_take(cr_ready_t *ready, const cr_measure_t *most, size_t *size, int64_t *offsets,
                        uint32_t *count) {
        cr_block_t *first = TAILQ_FIRST(&ready->blocks);
        size_t bytes;
        uint32_t fit = measure(ready, most, &bytes);
        if (!fit)
                return NULL;
        *count = fit;
        *size = CR_BATCH_HEAD + bytes;
        if (first->next || first->count > fit || fit >= 2 * first->count)
                return copy(ready, fit, *size, offsets);
        *count = first->count;
        *size = first->ends[first->count - 1];
        return take_whole(ready, first, offsets);
}

int64_t cr_ready_next(const cr_ready_t *ready) {
        const cr_block_t *first = TAILQ_FIRST(&ready->blocks);
        if (!first)
                return -1;
        if (first->buf)
                return first->offsets[first->next];
        return first->error->err == RD_KAFKA_RESP_ERR__PARTITION_EOF ? first->error->offset : -1;
}

int64_t cr_ready_position(const cr_ready_t *ready, int64_t without) {
        const cr_block_t *block;
        TAILQ_FOREACH_REVERSE(block, &ready->blocks, cr_blocks, link) {
                if (block->buf)
                        return block->offsets[block->count - 1] + 1;
        }
        return without;
}
