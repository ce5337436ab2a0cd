/* Where single messages come in by a key: what is taken, for whom, and from how many threads
 * at once. ThreadSanitizer looks on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../core/stage.h"
#include "support/cluster.h"

#define THREADS 4
#define EACH 20000

/* A producer that is busy, and whose intake is open. */
static test_host_t *open_producer(void) {
        test_host_t *host = plain_producer(bootstrap);
        assert_string_equal(plain_produce(host, CR_MODE_NONE, 0, "", CR_STAGE_FROM), "");
        assert_string_equal(plain_produce(host, CR_MODE_NONE, 0, "", 1), "");
        return host;
}

static uint64_t key_of(const test_host_t *host) {
        return cr_intake_key(host->client->delivery->stage->intake);
}

static const cr_gathered_t *gathered(const test_host_t *host) {
        return host->client->delivery->stage->into;
}

static void flush(test_host_t *host) {
        assert_string_equal(test_command(host, CR_CMD_FLUSH, "flush", 5), "");
        packet_free(test_host_reply(host, "flush"));
        assert_int_equal(host->client->delivery->messages, 0);
        assert_int_equal(host->client->delivery->bytes, 0);
        assert_int_equal(host->client->delivery->accepted, host->client->delivery->reported);
}

static bool put(uint64_t key) {
        bytes_t message = {.size = 0};
        put_uint(&message, key, 8);
        put_plain(&message, UINT32_MAX, 1);
        return cr_intake_command(message.data, message.size);
}

/* Flags, the topic "t", no partition, and what follows, of so many bytes. */
static bool put_bytes(uint64_t key, uint8_t flags, const char *topic, const void *rest,
                      size_t size) {
        bytes_t message = {.size = 0};
        put_uint(&message, key, 8);
        put_uint(&message, flags, 1);
        put_uint(&message, strlen(topic), 2);
        put_text(&message, topic);
        memcpy(message.data + message.size, rest, size);
        return cr_intake_command(message.data, message.size + size);
}

/* Proves that a key leads to one client only, however long it is kept, and that an intake
 * that is used again has another. */
static void keys_are_of_one_client(void **state) {
        test_host_t *host = open_producer();
        uint64_t key = key_of(host), again;
        (void)state;
        assert_true(put(key));
        assert_false(put(key + 1));
        assert_false(put(key + ((uint64_t)1 << 32)));
        assert_false(put(UINT64_MAX));
        test_host_free(host);
        assert_false(put(key));

        host = open_producer();
        again = key_of(host);
        assert_int_equal(again >> 32, key >> 32);
        assert_int_not_equal(again, key);
        assert_int_equal(gathered(host)->count, 1);
        assert_false(put(key));
        assert_true(put(again));
        assert_int_equal(gathered(host)->count, 2);
        flush(host);
        test_host_free(host);
}

/* Proves that there are as many intakes as are asked for, each with a key of its own. */
static void as_many_as_are_claimed(void **state) {
        cr_intake_t *intakes[200];
        (void)state;
        for (int i = 0; i < 200; i++) {
                intakes[i] = cr_intake_claim();
                assert_non_null(intakes[i]);
                for (int k = 0; k < i; k++)
                        assert_int_not_equal(cr_intake_key(intakes[i]), cr_intake_key(intakes[k]));
        }
        for (int i = 0; i < 200; i++) {
                assert_false(put(cr_intake_key(intakes[i])));
                cr_intake_release(intakes[i]);
        }
}

/* Proves that only plain messages like the first are taken, whole, as they are: all else is
 * for a command to take or to refuse. */
static void only_plain_messages(void **state) {
        static const unsigned char value[] = {0, 0, 0, 2, 'a', 'b'},
                                   keyed[] = {0, 0, 0, 1, 'k', 0, 0, 0, 2, 'a', 'b'},
                                   nothing[] = {0, 0, 0, 0, 0, 0, 0, 0};
        const uint8_t plain = CR_MESSAGE_VALUE | CR_MESSAGE_TOPIC;
        test_host_t *host = open_producer();
        const cr_gathered_t *all = gathered(host);
        uint64_t key = key_of(host);
        (void)state;
        assert_true(put_bytes(key, plain, "t", value, sizeof(value)));
        assert_null(all->messages[1].key);
        assert_memory_equal(all->messages[1].payload, "ab", 2);
        assert_true(all->stick);
        assert_true(put_bytes(key, plain | CR_MESSAGE_KEY, "t", keyed, sizeof(keyed)));
        assert_memory_equal(all->messages[2].key, "k", 1);
        assert_memory_equal(all->messages[2].payload, "ab", 2);
        assert_false(all->stick);
        assert_true(put_bytes(key, plain | CR_MESSAGE_KEY, "t", nothing, sizeof(nothing)));
        assert_non_null(all->messages[3].key);
        assert_non_null(all->messages[3].payload);
        assert_int_equal(all->messages[3].key_len + all->messages[3].len, 0);

        assert_false(put_bytes(key, plain, "u", value, sizeof(value)));
        assert_false(put_bytes(key, plain, "", value, sizeof(value)));
        assert_false(put_bytes(key, plain, "tt", value, sizeof(value)));
        assert_false(put_bytes(key, plain, "t", value, sizeof(value) - 1));
        assert_false(put_bytes(key, plain, "t", keyed, sizeof(keyed)));
        for (unsigned other = 0; other < 256; other++) {
                if ((other & ~(unsigned)CR_MESSAGE_KEY) != plain)
                        assert_false(put_bytes(key, (uint8_t)other, "t", value, sizeof(value)));
        }
        for (size_t size = 0; size < 8; size++)
                assert_false(cr_intake_command(value, size < sizeof(value) ? size : 0));
        assert_int_equal(all->count, 4);
        flush(host);
        test_host_free(host);
}

/* Proves that a topic that has a configuration of its own is not taken for one that has the
 * client's: that is refused, and with words. */
static void not_of_another_configuration(void **state) {
        cr_topic_t *topic = calloc(1, sizeof(*topic) + 2);
        cr_gathered_t *into = calloc(1, sizeof(*into));
        cr_intake_t *intake = cr_intake_claim();
        (void)state;
        assert_true(topic && into && intake);
        memcpy(topic->name, "t", 2);
        topic->size = 1;
        topic->variant = 1;
        into->topic = topic;
        into->partition = RD_KAFKA_PARTITION_UA;
        cr_intake_open(intake, into, topic, 10, 1000);
        assert_false(put(cr_intake_key(intake)));
        topic->variant = 0;
        assert_true(put(cr_intake_key(intake)));
        cr_intake_release(intake);
        free(into);
        free(topic);
}

/* ---- many threads ------------------------------------------------------------------ */

/* The port of an emulator: whoever commands has its lock. */
static pthread_mutex_t port_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int running, came_in;

static void *produce_each(void *of) {
        test_host_t *host = of;
        uint64_t key = key_of(host);
        for (int i = 0; i < EACH; i++) {
                if (put(key)) {
                        atomic_fetch_add(&came_in, 1);
                        continue;
                }
                pthread_mutex_lock(&port_lock);
                (void)plain_produce(host, CR_MODE_NONE, 0, "", 1);
                pthread_mutex_unlock(&port_lock);
        }
        atomic_fetch_sub(&running, 1);
        return NULL;
}

/* Proves that each message of many threads is accepted once, and reported once, whether it
 * came in or by a command, while the client drains. */
static void many_threads_at_once(void **state) {
        test_host_t *host = open_producer();
        pthread_t threads[THREADS];
        (void)state;
        atomic_store(&running, THREADS);
        for (int i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, produce_each, host), 0);
        while (atomic_load(&running)) {
                pthread_mutex_lock(&port_lock);
                cr_client_drain(host->client);
                if (host->alarm) {
                        host->alarm = 0;
                        cr_client_sweep(host->client);
                }
                pthread_mutex_unlock(&port_lock);
        }
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        flush(host);
        assert_int_equal(host->client->delivery->accepted, CR_STAGE_FROM + 1 + THREADS * EACH);
        assert_true(atomic_load(&came_in) > 0);
        test_host_free(host);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(keys_are_of_one_client),
                                           cmocka_unit_test(as_many_as_are_claimed),
                                           cmocka_unit_test(only_plain_messages),
                                           cmocka_unit_test(not_of_another_configuration),
                                           cmocka_unit_test(many_threads_at_once)};
        return cmocka_run_group_tests(tests, start_cluster, stop_cluster);
}
