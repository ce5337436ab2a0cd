/* core/ready.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../core/batch.h"
#include "../core/bytes.h"
#include "../core/ready.h"

static int alive;

static cr_buf_t *buf_new(size_t size) {
        alive++;
        return calloc(1, size);
}
static unsigned char *buf_bytes(cr_buf_t *buf) {
        return (unsigned char *)buf;
}
static void buf_release(cr_buf_t *buf) {
        alive--;
        free(buf);
}
static const cr_host_ops_t ops = {
        .buf_new = buf_new, .buf_bytes = buf_bytes, .buf_release = buf_release};

/* What librdkafka reads of its own behind the public part is zero: no headers,
 * no timestamp, nothing to free. */
typedef union fake {
        rd_kafka_message_t message;
        char room[1024];
} fake_t;

static fake_t fakes[100];

/* Messages with a value of 10 bytes: 35 packed. */
#define SIZE 35

static rd_kafka_message_t **messages(int64_t first, uint32_t count) {
        static rd_kafka_message_t *list[100];
        static char record[] = "\x14"
                               "0123456789"; /* as it is received: core/record.h */
        for (uint32_t i = 0; i < count; i++) {
                memset(&fakes[i], 0, sizeof(fakes[i]));
                list[i] = &fakes[i].message;
                list[i]->offset = first + i;
                list[i]->payload = record + 1;
                list[i]->len = 10;
        }
        return list;
}

static void add(cr_ready_t *ready, int64_t first, uint32_t count) {
        const cr_measure_t most = {.messages = 100, .bytes = 100000};
        assert_int_equal(cr_ready_pack(ready, messages(first, count), count, &most), count);
}

static rd_kafka_message_t *error(rd_kafka_resp_err_t err) {
        static fake_t fake;
        memset(&fake, 0, sizeof(fake));
        fake.message.err = err;
        return &fake.message;
}

/* Takes a batch and checks that it is packed as the format says. */
static uint32_t take(cr_ready_t *ready, cr_measure_t most, int64_t first) {
        int64_t offsets[100];
        uint32_t count;
        size_t size;
        cr_buf_t *buf = cr_ready_take(ready, &most, &size, offsets, &count);
        cr_bytes_t in;
        if (!buf)
                return 0;
        in = cr_bytes(buf, size);
        assert_int_equal(cr_take_u32(&in), count);
        for (uint32_t i = 0; i < count; i++) {
                assert_int_equal(offsets[i], first + i);
                assert_int_equal(cr_take_u8(&in), 2); /* a value, no key */
                assert_int_equal(cr_take_i64(&in), first + i);
                assert_non_null(cr_take(&in, SIZE - 1 - 8));
        }
        assert_false(in.failed);
        assert_int_equal(in.at, size);
        buf_release(buf);
        return count;
}

static const cr_measure_t any = {
        .messages = 100, .below = INT64_MAX, .bytes = 100000, .cost = 1000000};

static void start(cr_ready_t *ready) {
        cr_ready_init(ready, &ops);
        assert_true(cr_ready_is_empty(ready));
}

static void end(cr_ready_t *ready) {
        cr_ready_clear(ready);
        assert_int_equal(ready->bytes, 0);
        assert_int_equal(alive, 0);
}

/* Proves that what fits is taken whole, and blocks that are small together. */
static void small_blocks_come_together(void **state) {
        cr_ready_t ready;
        (void)state;
        start(&ready);
        add(&ready, 0, 50);
        assert_int_equal(take(&ready, any, 0), 50);
        for (int64_t i = 0; i < 40; i++)
                add(&ready, i, 1);
        assert_int_equal(take(&ready, any, 0), 40);
        assert_int_equal(take(&ready, any, 0), 0);
        end(&ready);
}

/* Proves that a batch keeps each of the measures, over blocks, and loses nothing. */
static void measures_are_kept(void **state) {
        cr_measure_t three = any, five = any, cheap = any,
                     none = {.messages = 1, .below = INT64_MAX}, two = any;
        cr_ready_t ready;
        (void)state;
        three.messages = 3;
        five.bytes = CR_BATCH_HEAD + 5 * SIZE;
        cheap.cost = 2 * (SIZE + CR_DELIVERED_COST);
        start(&ready);
        add(&ready, 100, 4);
        add(&ready, 104, 10);
        assert_int_equal(take(&ready, three, 100), 3);
        assert_int_equal(take(&ready, five, 103), 5);
        assert_int_equal(take(&ready, cheap, 108), 2);
        assert_int_equal(take(&ready, none, 110), 1); /* one at least */
        two.below = 113;
        assert_int_equal(take(&ready, two, 111), 2);
        assert_int_equal(take(&ready, two, 113), 0);
        assert_int_equal(cr_ready_next(&ready), 113);
        assert_int_equal(take(&ready, any, 113), 1);
        assert_int_equal(cr_ready_next(&ready), -1);
        end(&ready);
}

/* Proves that an error is met after the messages before it and before those
 * behind it, but an end that messages follow is none. */
static void errors_stay_in_order(void **state) {
        cr_ready_t ready;
        (void)state;
        start(&ready);
        add(&ready, 0, 2);
        assert_true(cr_ready_error(&ready, error(RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET)));
        add(&ready, 2, 3);
        assert_null(cr_ready_take_error(&ready));
        assert_int_equal(take(&ready, any, 0), 2);
        assert_int_equal(take(&ready, any, 0), 0);
        assert_int_equal(cr_ready_take_error(&ready)->err, RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET);
        assert_true(cr_ready_error(&ready, error(RD_KAFKA_RESP_ERR__PARTITION_EOF)));
        add(&ready, 5, 1);
        assert_int_equal(take(&ready, any, 2), 3);
        assert_int_equal(take(&ready, any, 5), 1);
        assert_true(cr_ready_error(&ready, error(RD_KAFKA_RESP_ERR__PARTITION_EOF)));
        assert_int_equal(cr_ready_take_error(&ready)->err, RD_KAFKA_RESP_ERR__PARTITION_EOF);
        end(&ready);
}

/* Proves that what is trimmed is the last, and that the position says where to
 * go on. */
static void trimming_moves_the_position(void **state) {
        cr_ready_t ready;
        size_t two;
        (void)state;
        start(&ready);
        assert_int_equal(cr_ready_position(&ready, 7), 7);
        add(&ready, 10, 5);
        add(&ready, 15, 5);
        two = ready.bytes;
        add(&ready, 20, 5);
        assert_int_equal(cr_ready_position(&ready, 7), 25);
        assert_true(ready.bytes > two);
        cr_ready_trim(&ready, ready.bytes - 1);
        assert_int_equal(ready.bytes, two);
        assert_int_equal(cr_ready_position(&ready, 7), 20);
        assert_int_equal(take(&ready, any, 10), 10);
        assert_int_equal(cr_ready_position(&ready, 20), 20);
        assert_int_equal(ready.bytes, 0);
        end(&ready);
}

/* Proves that a batch is no wider than a window can remember. */
static void wide_gaps_part_batches(void **state) {
        const cr_measure_t most = {
                .messages = 100, .below = INT64_MAX, .bytes = 100000, .cost = 100000};
        const int64_t far = INT64_C(5000000000);
        cr_ready_t ready;
        rd_kafka_message_t **both = messages(0, 2);
        (void)state;
        both[1]->offset = far;
        cr_ready_init(&ready, &ops);
        assert_int_equal(cr_ready_pack(&ready, both, 2, &most), 2);
        assert_int_equal(take(&ready, most, 0), 1);
        assert_int_equal(take(&ready, most, far), 1);
        assert_true(cr_ready_is_empty(&ready));
        assert_int_equal(alive, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(small_blocks_come_together),
                cmocka_unit_test(wide_gaps_part_batches),
                cmocka_unit_test(measures_are_kept),
                cmocka_unit_test(errors_stay_in_order),
                cmocka_unit_test(trimming_moves_the_position),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
