/*
 * core/window.c beside a plain table of what was delivered and what is acknowledged:
 * batches with and without gaps, acknowledgements of any runs in any order, and what
 * is asked about them.
 */
#include "../core/window.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define MOST 400 /* messages of an input */

enum step { ADD, ADD_WITH_GAPS, ACK, RUNS, MASK, END, STEPS };

static int kept;
static void keep(cr_buf_t *buf) {
        (void)buf;
        kept++;
}
static void release(cr_buf_t *buf) {
        (void)buf;
        kept--;
}
static const cr_host_ops_t ops = {.buf_keep = keep, .buf_release = release};

/* What must be: each message that was added. */
typedef struct model {
        int64_t offsets[MOST];
        bool acked[MOST];
        bool begins[MOST]; /* a batch */
        int count;
        int64_t next;     /* offset */
        int64_t end;      /* of the partition, if it was met after the last message */
        int64_t position; /* when it was last looked at */
} model_t;

static void add(cr_window_t *window, model_t *model, feed_t *feed, bool gaps) {
        uint32_t count = feed_below(feed, 40) + 1;
        if (model->count + (int)count > MOST)
                return;
        for (uint32_t i = 0; i < count; i++) {
                model->next += gaps ? feed_u8(feed) : 0;
                model->offsets[(uint32_t)model->count + i] = model->next++;
        }
        model->begins[model->count] = true;
        FUZZ_CHECK(cr_window_add(window, NULL, 0, model->offsets + model->count, count));
        model->count += (int)count;
        model->end = CR_NO_POSITION;
}

/* Two numbers near the offsets that there are, or any. */
static void take_run(feed_t *feed, int64_t *from, int64_t *to) {
        if (feed_u8(feed) % 8) {
                *from = (int64_t)feed_u16(feed) % 1024;
                *to = *from + feed_u8(feed) - 2;
        } else {
                *from = (int64_t)feed_u64(feed);
                *to = (int64_t)feed_u64(feed);
        }
}

static bool is_within(const model_t *model, int i, int64_t from, int64_t to) {
        return model->offsets[i] >= from && model->offsets[i] <= to;
}

static void ack(cr_window_t *window, model_t *model, int64_t from, int64_t to) {
        FUZZ_CHECK(cr_window_ack(window, from, to));
        for (int i = 0; i < model->count && to != INT64_MAX; i++)
                model->acked[i] |= is_within(model, i, from, to);
}

/* The runs that are not acknowledged are those of the table. */
static void look_for_runs(const cr_window_t *window, const model_t *model, int64_t from,
                          int64_t to) {
        cr_window_at_t at = {.batch = TAILQ_FIRST(&window->batches)};
        int64_t first, last;
        int i = 0;
        while (cr_window_next_run(&at, from, to, &first, &last)) {
                while (i < model->count && (model->acked[i] || model->offsets[i] < from))
                        i++;
                FUZZ_CHECK(i < model->count && model->offsets[i] == first && first <= to);
                while (i < model->count && !model->acked[i] && model->offsets[i] < last)
                        i++;
                FUZZ_CHECK(i < model->count && model->offsets[i] == last && !model->acked[i]);
                i++;
                FUZZ_CHECK(i == model->count || model->acked[i] || model->offsets[i] > to);
        }
        for (; i < model->count; i++)
                FUZZ_CHECK(model->acked[i] || !is_within(model, i, from, to));
}

/* Bits are cleared for what is not acknowledged of a batch, and for nothing else. */
static void look_at_mask(const cr_batch_t *batch, const model_t *model, int64_t from, int64_t to) {
        size_t size = cr_batch_mask_size(batch);
        unsigned char *mask = memset(malloc(size), 0xff, size);
        bool any = cr_batch_mask_clear(batch, mask, from, to), expected = false;
        int start = 0;
        while (model->offsets[start] != batch->first)
                start++;
        for (uint32_t i = 0; i < batch->count; i++) {
                int index = start + (int)i;
                bool wanted = !model->acked[index] && is_within(model, index, from, to);
                FUZZ_CHECK(wanted == !(mask[i / 8] & 1u << i % 8));
                expected |= wanted;
        }
        FUZZ_CHECK(any == expected);
        free(mask);
}

/* Never beyond the first message that is not acknowledged, never before one that is
 * followed by such only, and never back. */
static void look_at_position(const cr_window_t *window, model_t *model) {
        int64_t position = cr_window_position(window), least;
        uint64_t unacked = 0;
        int prefix = 0;
        while (prefix < model->count && model->acked[prefix])
                prefix++;
        for (int i = prefix; i < model->count; i++)
                unacked += !model->acked[i];
        least = prefix ? model->offsets[prefix - 1] + 1 : CR_NO_POSITION;
        if (prefix == model->count)
                FUZZ_CHECK(position == (model->end > least ? model->end : least));
        else if (model->begins[prefix])
                FUZZ_CHECK(position >= least && position <= model->offsets[prefix]);
        else
                FUZZ_CHECK(position == model->offsets[prefix]);
        FUZZ_CHECK(position >= model->position);
        FUZZ_CHECK(window->unacked == unacked);
        model->position = position;
}

static void take_step(cr_window_t *window, model_t *model, feed_t *feed) {
        cr_batch_t *batch;
        int64_t from, to;
        switch (feed_u8(feed) % STEPS) {
        case ADD:
                add(window, model, feed, false);
                break;
        case ADD_WITH_GAPS:
                add(window, model, feed, true);
                break;
        case ACK:
                take_run(feed, &from, &to);
                ack(window, model, from, to);
                break;
        case RUNS:
                take_run(feed, &from, &to);
                look_for_runs(window, model, from, to);
                break;
        case MASK:
                take_run(feed, &from, &to);
                TAILQ_FOREACH(batch, &window->batches, link)
                look_at_mask(batch, model, from, to);
                break;
        case END:
                model->next += feed_u8(feed);
                model->end = model->next;
                cr_window_end(window, model->next);
                break;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        feed_t feed = {data, size};
        model_t *model = calloc(1, sizeof(*model));
        cr_window_t window;
        model->end = model->position = CR_NO_POSITION;
        cr_window_init(&window, &ops);
        while (feed.left) {
                take_step(&window, model, &feed);
                look_at_position(&window, model);
        }
        cr_window_clear(&window);
        FUZZ_CHECK(!kept && !window.unacked && !window.bytes);
        free(model);
        return 0;
}
