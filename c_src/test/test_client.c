/* The life of clients: open, every command in every state, close. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "support/asker.h"
#include "support/hold.h"
#include "support/test_host.h"

static const char *const unreachable[] = {"bootstrap.servers", "127.0.0.1:1", "log.queue", "true",
                                          NULL};
static const char *const consumer[] = {"bootstrap.servers", "127.0.0.1:1", "group.id", "g",
                                       "log.queue",         "true",        NULL};

/* Proves that all faults of a configuration are answered, before anything starts. */
static void tells_all_faults(void **state) {
        const char *const wrong[] = {"no.such",           "1",   "acks", "many",
                                     "bootstrap.servers", "h:1", NULL};
        test_host_t *host = test_host_new();
        const unsigned char *answer;
        size_t size;
        (void)state;
        assert_string_equal(test_open(host, "producer", wrong), "error");
        answer = test_answer(&size);
        assert_non_null(memmem(answer, size, "no.such", 7));
        assert_non_null(memmem(answer, size, "acks", 4));
        assert_null(memmem(answer, size, "bootstrap", 9));
        test_host_free(host);
        assert_int_equal(test_blocks_alive(), 0);
}

/* Proves that what librdkafka refuses only as a whole is an error, and that the
 * client can be opened afterwards. */
static void refused_configuration_can_be_mended(void **state) {
        const char *const wrong[] = {"enable.idempotence", "true", "acks", "1", NULL};
        test_host_t *host = test_host_new();
        (void)state;
        assert_string_equal(test_open(host, "producer", wrong), "_INVALID_ARG");
        assert_string_equal(test_open(host, "producer", unreachable), "ok");
        test_host_free(host);
        assert_int_equal(test_blocks_alive(), 0);
}

/* Proves that a configuration with callbacks, which librdkafka refuses and destroys, is
 * an error and nothing more, of every kind of client. */
static void refused_callbacks_are_harmless(void **state) {
        const char *const cipher[] = {"bootstrap.servers",
                                      "127.0.0.1:1",
                                      "security.protocol",
                                      "ssl",
                                      "ssl.cipher.suites",
                                      "none",
                                      "group.id",
                                      "g",
                                      NULL};
        const char *const sasl[] = {"bootstrap.servers",
                                    "127.0.0.1:1",
                                    "security.protocol",
                                    "sasl_ssl",
                                    "sasl.mechanisms",
                                    "none",
                                    "group.id",
                                    "g",
                                    NULL};
        const char *const kinds[] = {"producer", "consumer", "reader", "cluster"};
        (void)state;
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
                test_host_t *host = test_host_new();
                assert_string_not_equal(test_open(host, kinds[i], cipher), "ok");
                assert_string_not_equal(test_open(host, kinds[i], sasl), "ok");
                test_host_free(host);
        }
        assert_int_equal(test_blocks_alive(), 0);
}

/* Proves that random bytes to any command, in any state, are answered. */
static void survives_random_commands(void **state) {
        const char *const kinds[] = {"none", "producer", "consumer", "cluster"};
        unsigned seed = 42;
        (void)state;
        for (int kind = 0; kind < 4; kind++) {
                test_host_t *host = test_host_new();
                if (kind)
                        assert_string_equal(
                                test_open(host, kinds[kind], kind == 2 ? consumer : unreachable),
                                "ok");
                for (int i = 0; i < 20000; i++) {
                        unsigned char bytes[64];
                        size_t size = (size_t)rand_r(&seed) % sizeof(bytes);
                        unsigned command = (unsigned)rand_r(&seed) % 256;
                        for (size_t at = 0; at < size; at++)
                                bytes[at] = (unsigned char)(rand_r(&seed) % 4 ? rand_r(&seed) % 8
                                                                              : rand_r(&seed));
                        if (size && rand_r(&seed) % 2)
                                bytes[0] = 131;
                        (void)test_command(host, command, bytes, size);
                }
                test_host_free(host);
        }
        assert_int_equal(test_blocks_alive(), 0);
}

/* Proves that a client may be closed in any state, and leaves nothing behind. */
static void closes_in_every_state(void **state) {
        (void)state;
        test_host_free(test_host_new());
        for (int i = 0; i < 30; i++) {
                bytes_t produce = {.size = 0};
                test_host_t *host = test_host_new();
                cr_writer_t out = cr_writer();
                assert_string_equal(test_open(host, i % 2 ? "producer" : "consumer",
                                              i % 2 ? unreachable : consumer),
                                    "ok");
                put_produce(&produce, CR_MODE_SEND, CR_POLICY_REFUSE, 100, "", 10);
                test_command(host, CR_CMD_PRODUCE, produce.data, produce.size);
                if (i % 3 == 0)
                        test_command(host, CR_CMD_FLUSH, "flush", 5);
                cr_write_tuple(&out, 4);
                cr_write_text(&out, "meta");
                cr_write_text(&out, "");
                cr_write_integer(&out, 0);
                cr_write_integer(&out, 50);
                test_command(host, CR_CMD_METADATA, out.x.buff, (size_t)out.x.index);
                cr_writer_discard(&out);
                test_command(host, CR_CMD_CLOSE, "closed", 6);
                test_host_close(host);
                packet_free(test_host_reply(host, "closed"));
                test_host_free(host);
        }
        assert_int_equal(test_blocks_alive(), 0);
}

/* Proves that questions which wait for their turn when a client is closed are refused at
 * once, whatever the one before them does: no broker is asked. */
static void refuses_what_waits(void **state) {
        const unsigned questions[] = {CR_CMD_METADATA, CR_CMD_WATERMARKS, CR_CMD_DESCRIBE,
                                      CR_CMD_GROUP_OFFSETS};
        test_host_t *host = test_host_new();
        hold_t hold;
        (void)state;
        assert_string_equal(test_open(host, "consumer", consumer), "ok");
        hold_lane(&hold, &host->client->query_lane);
        for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++)
                assert_string_equal(ask(host, questions[i], "t", 60000), "");
        test_host_close(host);
        for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
                packet_t *answer = test_host_reply(host, "asked");
                assert_non_null(answer);
                assert_non_null(memmem(answer->bytes, answer->size, "closed", 6));
                packet_free(answer);
        }
        sem_post(&hold.go_on);
        test_host_free(host);
        assert_int_equal(test_blocks_alive(), 0);
}

/* Proves that a close while opening waits for nobody and leaks nothing. */
static void closes_while_opening(void **state) {
        (void)state;
        for (int i = 0; i < 20; i++) {
                test_host_t *host = test_host_new();
                cr_writer_t out = cr_writer();
                cr_write_tuple(&out, 4);
                cr_write_text(&out, "open");
                cr_write_atom(&out, i % 2 ? "producer" : "cluster");
                cr_write_list_end(&out);
                cr_write_list_end(&out);
                test_command(host, CR_CMD_OPEN, out.x.buff, (size_t)out.x.index);
                cr_writer_discard(&out);
                test_host_free(host);
        }
        assert_int_equal(test_blocks_alive(), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(tells_all_faults),
                                           cmocka_unit_test(refused_configuration_can_be_mended),
                                           cmocka_unit_test(refused_callbacks_are_harmless),
                                           cmocka_unit_test(survives_random_commands),
                                           cmocka_unit_test(closes_in_every_state),
                                           cmocka_unit_test(refuses_what_waits),
                                           cmocka_unit_test(closes_while_opening)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
