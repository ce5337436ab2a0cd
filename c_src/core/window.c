#include "window.h"

#include <string.h>

#include "lane.h"
#include "mem.h"

void cr_window_init(cr_window_t *window, const cr_host_ops_t *ops) {
        *window = (cr_window_t){.ops = ops, .position = CR_NO_POSITION, .end = CR_NO_POSITION};
        TAILQ_INIT(&window->batches);
}

static void batch_free(cr_window_t *window, cr_batch_t *batch) {
        TAILQ_REMOVE(&window->batches, batch, link);
        window->unacked -= batch->unacked;
        window->bytes -= batch->size;
        window->ops->buf_release(batch->buf);
        cr_free(batch->distances);
        cr_free(batch->acked);
        cr_free(batch);
}

void cr_window_clear(cr_window_t *window) {
        cr_batch_t *batch;
        while ((batch = TAILQ_FIRST(&window->batches)))
                batch_free(window, batch);
}

static bool set_distances(cr_batch_t *batch, const int64_t *offsets) {
        if (batch->last - batch->first == (int64_t)batch->count - 1)
                return true;
        if (batch->last - batch->first > UINT32_MAX)
                return false; /* no partition has gaps of four thousand million */
        batch->distances = cr_alloc(batch->count * sizeof(*batch->distances));
        if (!batch->distances)
                return false;
        for (uint32_t i = 0; i < batch->count; i++)
                batch->distances[i] = (uint32_t)(offsets[i] - batch->first);
        return true;
}

bool cr_window_add(cr_window_t *window, cr_buf_t *buf, size_t size, const int64_t *offsets,
                   uint32_t count) {
        cr_batch_t *batch = cr_alloc(sizeof(*batch));
        if (!batch)
                return false;
        batch->first = offsets[0];
        batch->last = offsets[count - 1];
        batch->since = cr_now_ms();
        batch->count = batch->unacked = count;
        batch->buf = buf;
        batch->size = size;
        if (!set_distances(batch, offsets)) {
                cr_free(batch);
                return false;
        }
        window->ops->buf_keep(buf);
        window->unacked += count;
        window->bytes += size;
        window->end = CR_NO_POSITION;
        TAILQ_INSERT_TAIL(&window->batches, batch, link);
        return true;
}

static int64_t offset_at(const cr_batch_t *batch, uint32_t index) {
        return batch->first + (batch->distances ? batch->distances[index] : index);
}

int64_t cr_batch_first_unacked(const cr_batch_t *batch) {
        return offset_at(batch, batch->prefix);
}

/* The number of messages whose offset is below the given one. */
static uint32_t count_below(const cr_batch_t *batch, int64_t offset) {
        uint32_t low = 0, high = batch->count;
        if (offset <= batch->first)
                return 0;
        if (offset > batch->last)
                return batch->count;
        if (!batch->distances)
                return (uint32_t)(offset - batch->first);
        while (low < high) {
                uint32_t middle = low + (high - low) / 2;
                if (offset_at(batch, middle) < offset)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static bool bit(const unsigned char *bits, uint32_t index) {
        return bits && bits[index / 8] & (1u << (index % 8));
}

static void set_bit(unsigned char *bits, uint32_t index) {
        bits[index / 8] = (unsigned char)(bits[index / 8] | 1u << (index % 8));
}

/* Whether acknowledging messages from..below needs the bits. */
static bool needs_bits(const cr_batch_t *batch, uint32_t from, uint32_t below) {
        return !batch->acked && from > batch->prefix && from < below;
}

/* @precondition the bits are there if needs_bits() */
static void ack_messages(cr_window_t *window, cr_batch_t *batch, uint32_t from, uint32_t below) {
        uint32_t fresh = 0;
        for (uint32_t i = from > batch->prefix ? from : batch->prefix; i < below; i++) {
                if (bit(batch->acked, i))
                        continue;
                fresh++;
                if (batch->acked)
                        set_bit(batch->acked, i);
        }
        if (from <= batch->prefix && below > batch->prefix)
                batch->prefix = below;
        while (batch->prefix < batch->count && bit(batch->acked, batch->prefix))
                batch->prefix++;
        batch->unacked -= fresh;
        window->unacked -= fresh;
}

/* Lets go of the batches in front that are done. */
static void advance(cr_window_t *window) {
        cr_batch_t *batch;
        while ((batch = TAILQ_FIRST(&window->batches))) {
                if (batch->unacked) {
                        if (batch->prefix)
                                window->position = cr_batch_first_unacked(batch);
                        return;
                }
                window->position = batch->last + 1;
                batch_free(window, batch);
        }
        if (window->end > window->position)
                window->position = window->end;
}

bool cr_window_ack(cr_window_t *window, int64_t from, int64_t to) {
        cr_batch_t *batch;
        if (to < from || to == INT64_MAX)
                return true;
        TAILQ_FOREACH(batch, &window->batches, link) {
                if (batch->first > to)
                        break;
                if (!needs_bits(batch, count_below(batch, from), count_below(batch, to + 1)))
                        continue;
                batch->acked = cr_alloc(cr_batch_mask_size(batch));
                if (!batch->acked)
                        return false;
        }
        TAILQ_FOREACH(batch, &window->batches, link) {
                if (batch->first > to)
                        break;
                ack_messages(window, batch, count_below(batch, from), count_below(batch, to + 1));
        }
        advance(window);
        return true;
}

void cr_window_end(cr_window_t *window, int64_t end) {
        window->end = end;
        advance(window);
}

int64_t cr_window_position(const cr_window_t *window) {
        return window->position;
}

size_t cr_batch_mask_size(const cr_batch_t *batch) {
        return ((size_t)batch->count + 7) / 8;
}

static bool is_unacked(const cr_batch_t *batch, uint32_t index) {
        return index >= batch->prefix && !bit(batch->acked, index);
}

bool cr_window_next_run(cr_window_at_t *at, int64_t from, int64_t to, int64_t *first,
                        int64_t *last) {
        bool found = false;
        for (; at->batch; at->batch = TAILQ_NEXT(at->batch, link), at->index = 0) {
                uint32_t below = count_below(at->batch, from);
                if (at->index < below)
                        at->index = below;
                for (; at->index < at->batch->count; at->index++) {
                        int64_t offset = offset_at(at->batch, at->index);
                        if (offset > to || (found && !is_unacked(at->batch, at->index)))
                                return found;
                        if (!is_unacked(at->batch, at->index))
                                continue;
                        if (!found)
                                *first = offset;
                        *last = offset;
                        found = true;
                }
        }
        return found;
}

bool cr_batch_mask_clear(const cr_batch_t *batch, unsigned char *mask, int64_t from, int64_t to) {
        uint32_t below = to == INT64_MAX ? batch->count : count_below(batch, to + 1);
        uint32_t i = count_below(batch, from);
        bool any = false;
        for (i = i > batch->prefix ? i : batch->prefix; i < below; i++) {
                if (bit(batch->acked, i))
                        continue;
                mask[i / 8] = (unsigned char)(mask[i / 8] & ~(1u << (i % 8)));
                any = true;
        }
        return any;
}
