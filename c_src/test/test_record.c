/* core/record.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "../core/record.h"
#include "support/member.h"

#define LARGEST (((size_t)1 << 27) - 1)

/* Where a value ends there, what is behind it is on another page. */
static bool ends_a_page(const unsigned char *value, size_t size) {
        return !((uintptr_t)(value + size) % 4096);
}

/* Whether it is bare, with these bytes before the value and behind it. Nothing else
 * may be read: the block ends there. Blocks begin at multiples of 16. */
static bool is_bare(const unsigned char *before, size_t length, size_t size, const char *behind,
                    size_t behind_size) {
        size_t start = !((length + size) % 16);
        unsigned char *block = calloc(1, start + length + size + behind_size);
        unsigned char *value = block + start + length;
        bool bare;
        assert_non_null(block);
        assert_false(ends_a_page(value, size));
        memcpy(value - length, before, length);
        memcpy(value + size, behind, behind_size);
        bare = cr_record_is_bare(value, size);
        free(block);
        return bare;
}

static bool new_is_bare(size_t size, char headers) {
        const char behind[] = {headers};
        unsigned char before[4];
        size_t length = 0;
        for (size_t rest = 2 * size; rest; rest >>= 7)
                before[length++] = (unsigned char)((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
        return is_bare(before, length, size, behind, 1);
}

static bool old_is_bare(size_t size) {
        const unsigned char before[4] = {(unsigned char)(size >> 24), (unsigned char)(size >> 16),
                                         (unsigned char)(size >> 8), (unsigned char)size};
        return is_bare(before, sizeof(before), size, "", 0);
}

/* Where the number of bytes of either form changes, on both sides. */
static const size_t edges[] = {1,     63,      64,      127,     128,     255,
                               256,   8191,    8192,    32767,   32768,   65535,
                               65536, 1048575, 1048576, 8388607, 8388608, LARGEST};

/* Proves that of a record of format 2 the number of headers is seen, whatever the
 * value's size. */
static void headers_are_seen(void **state) {
        (void)state;
        for (size_t size = 1; size < 20000; size++) {
                assert_true(new_is_bare(size, 0));
                assert_false(new_is_bare(size, 2));
        }
        for (size_t i = 0; i < sizeof(edges) / sizeof(*edges); i++) {
                assert_true(new_is_bare(edges[i], 0));
                assert_false(new_is_bare(edges[i], 2));
        }
}

/* Proves that a record of an older format is never taken for one, and that nothing
 * behind it is read. */
static void older_formats_are_told_apart(void **state) {
        (void)state;
        for (size_t size = 1; size < 20000; size++)
                assert_false(old_is_bare(size));
        for (size_t i = 0; i < sizeof(edges) / sizeof(*edges); i++)
                assert_false(old_is_bare(edges[i]));
}

/* Proves that nothing is read of what is null, empty or too large. */
static void others_are_asked_about(void **state) {
        const unsigned char *value = malloc(1);
        (void)state;
        assert_non_null(value);
        assert_false(cr_record_is_bare(NULL, 0));
        assert_false(cr_record_is_bare(value, 0));
        assert_false(cr_record_is_bare(value, LARGEST + 1));
        free((void *)(uintptr_t)value);
}

/* Proves that nothing is read behind a record that a broker has cut short behind its
 * value, where that is the end of the memory that can be read. */
static void cut_short(void **state) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE), size = 100;
        unsigned char *pages =
                mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        unsigned char *value = pages + page - size;
        (void)state;
        assert_ptr_not_equal(pages, MAP_FAILED);
        value[-2] = (unsigned char)((2 * size & 0x7f) | 0x80);
        value[-1] = (unsigned char)(2 * size >> 7);
        assert_int_equal(mprotect(pages + page, page, PROT_NONE), 0);
        assert_false(cr_record_is_bare(value, size));
        assert_int_equal(munmap(pages, 2 * page), 0);
}

static void produce(rd_kafka_t *rk, size_t size, const char *header) {
        static const char value[100000];
        rd_kafka_headers_t *headers = rd_kafka_headers_new(1);
        if (header)
                rd_kafka_header_add(headers, header, -1, NULL, 0);
        assert_int_equal(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC("t"), RD_KAFKA_V_PARTITION(0),
                                           RD_KAFKA_V_KEY("k", 1),
                                           RD_KAFKA_V_VALUE((void *)(uintptr_t)value, size),
                                           RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END),
                         RD_KAFKA_RESP_ERR_NO_ERROR);
}

/* Every other one has a header. */
#define COUNT 200

static void fill(member_t *member, const char *codec) {
        const char *const properties[] = {"bootstrap.servers",
                                          rd_kafka_mock_cluster_bootstraps(member->mock),
                                          "compression.codec", codec, NULL};
        rd_kafka_t *rk = plain_handle(RD_KAFKA_PRODUCER, properties);
        for (size_t i = 0; i < COUNT; i++)
                produce(rk, 1 + i * i, i % 2 ? "h" : NULL);
        assert_int_equal(rd_kafka_flush(rk, 20000), RD_KAFKA_RESP_ERR_NO_ERROR);
        rd_kafka_destroy(rk);
}

/* Proves that this librdkafka leaves values where they were received: without that
 * each message's headers would be asked for. */
static void values_stay_in_their_records(void **state) {
        member_t *member = *state;
        const char *const properties[] = {"bootstrap.servers",
                                          rd_kafka_mock_cluster_bootstraps(member->mock),
                                          "group.id", "plain", NULL};
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_t *rk;
        fill(member, "none");
        fill(member, "gzip");
        rk = plain_handle(RD_KAFKA_CONSUMER, properties);
        rd_kafka_topic_partition_list_add(list, "t", 0)->offset = 0;
        assert_int_equal(rd_kafka_assign(rk, list), RD_KAFKA_RESP_ERR_NO_ERROR);
        rd_kafka_topic_partition_list_destroy(list);
        for (size_t i = 0; i < 2 * COUNT;) {
                rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, 20000);
                assert_non_null(message);
                if (!message->err)
                        assert_int_equal(cr_record_is_bare(message->payload, message->len),
                                         i++ % 2 == 0 &&
                                                 !ends_a_page(message->payload, message->len));
                rd_kafka_message_destroy(message);
        }
        rd_kafka_consumer_close(rk);
        rd_kafka_destroy(rk);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(headers_are_seen),
                cmocka_unit_test(older_formats_are_told_apart),
                cmocka_unit_test(others_are_asked_about),
                cmocka_unit_test(cut_short),
                cmocka_unit_test_setup_teardown(values_stay_in_their_records, set_up_member,
                                                tear_down_member),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
