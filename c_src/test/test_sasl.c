/* Tokens and credentials of clients that run: what is taken, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "support/memory.h"
#include "support/test_host.h"

#define SASL(mechanism)                                                                            \
        "bootstrap.servers", "127.0.0.1:1", "security.protocol", "sasl_plaintext",                 \
                "sasl.mechanism", mechanism, "sasl.username", "u", "sasl.password", "p",           \
                "log.queue", "true", "group.id", "g", NULL

static const char *const bearer[] = {SASL("OAUTHBEARER")};
static const char *const scram[] = {SASL("SCRAM-SHA-512")};
static const char *const plain[] = {
        "bootstrap.servers", "127.0.0.1:1", "sasl.mechanism", "PLAIN", "log.queue", "true", NULL};

static int64_t later(void) {
        return (int64_t)time(NULL) * 1000 + 60000;
}

static const char *set_token(test_host_t *host, const char *token, int64_t expires_at,
                             const char *const *extensions, int count) {
        cr_writer_t out;
        const char *answer;
        memory_counts(false);
        out = cr_writer();
        cr_write_tuple(&out, 4);
        cr_write_text(&out, token);
        cr_write_integer(&out, expires_at);
        cr_write_text(&out, "somebody");
        if (count)
                cr_write_list(&out, count);
        for (int i = 0; i < count; i++) {
                cr_write_tuple(&out, 2);
                cr_write_text(&out, extensions[0]);
                cr_write_text(&out, extensions[1]);
        }
        cr_write_list_end(&out);
        memory_counts(true);
        answer = test_command(host, CR_CMD_SET_TOKEN, out.x.buff, (size_t)out.x.index);
        cr_writer_discard(&out);
        return answer;
}

static const char *set_credentials(test_host_t *host, const char *name, const char *password) {
        cr_writer_t out = cr_writer();
        const char *answer;
        cr_write_tuple(&out, 2);
        cr_write_text(&out, name);
        cr_write_text(&out, password);
        answer = test_command(host, CR_CMD_SET_CREDENTIALS, out.x.buff, (size_t)out.x.index);
        cr_writer_discard(&out);
        return answer;
}

static test_host_t *opened(const char *kind, const char *const *properties) {
        test_host_t *host = test_host_new();
        assert_string_equal(test_open(host, kind, properties), "ok");
        return host;
}

static void all_freed(test_host_t *host) {
        test_host_free(host);
        assert_int_equal(test_blocks_alive(), 0);
}

/* Proves that a client for which tokens are wanted takes them, again and again, and
 * with extensions, whatever kind it is of. */
static void takes_tokens(void **state) {
        const char *const kinds[] = {"producer", "consumer", "reader"};
        const char *const extension[] = {"traceId", "1 2\t3"};
        (void)state;
        for (int i = 0; i < 3; i++) {
                test_host_t *host = opened(kinds[i], bearer);
                for (int times = 0; times < 20; times++) {
                        assert_string_equal(set_token(host, "token", later(), NULL, 0), "");
                        assert_string_equal(set_token(host, "other", later(), extension, 2), "");
                }
                all_freed(host);
        }
}

/* Proves that what may not be sent is refused, and never repeated in the answer. */
static void refuses_tokens(void **state) {
        const char *const reserved[] = {"auth", "x"}, *const digit[] = {"a1", "x"};
        const char *const nameless[] = {"", "x"}, *const value[] = {"a", "s\x01"};
        const char *const good[] = {"a", "x"};
        test_host_t *host = opened("producer", bearer);
        size_t size;
        (void)state;
        assert_string_equal(set_token(host, "s3cret\x01", later(), NULL, 0), "bad_token");
        assert_null(memmem(test_answer(&size), 300, "s3cret", 6));
        assert_string_equal(set_token(host, "", later(), NULL, 0), "bad_token");
        assert_string_equal(set_token(host, "line\n", later(), NULL, 0), "bad_token");
        assert_string_equal(set_token(host, "two words", later(), NULL, 0), "bad_token");
        assert_string_equal(set_token(host, "\xc3\xa9", later(), NULL, 0), "bad_token");
        assert_string_equal(set_token(host, "t", later(), reserved, 1), "bad_token");
        assert_string_equal(set_token(host, "t", later(), digit, 1), "bad_token");
        assert_string_equal(set_token(host, "t", later(), nameless, 1), "bad_token");
        assert_string_equal(set_token(host, "t", later(), value, 1), "bad_token");
        assert_string_equal(set_token(host, "t", later(), good, 101), "bad_token");
        assert_string_equal(set_token(host, "t", 1000, NULL, 0), "_INVALID_ARG");
        assert_string_equal(set_token(host, "t", -1, NULL, 0), "malformed_command");
        assert_string_equal(set_token(host, "t", INT64_MAX, NULL, 0), "malformed_command");
        assert_string_equal(test_command(host, CR_CMD_SET_TOKEN, "x", 1), "malformed_command");
        assert_string_equal(set_token(host, "t", later(), NULL, 0), "");
        all_freed(host);
        host = opened("producer", scram);
        assert_string_equal(set_token(host, "t", later(), NULL, 0), "_STATE");
        all_freed(host);
}

/* Proves that another password is taken where there is one, and nowhere else. */
static void takes_credentials(void **state) {
        test_host_t *host = opened("consumer", scram);
        (void)state;
        for (int times = 0; times < 20; times++)
                assert_string_equal(set_credentials(host, "name", times % 2 ? "one" : ""), "");
        assert_string_equal(test_command(host, CR_CMD_SET_CREDENTIALS, "x", 1),
                            "malformed_command");
        all_freed(host);
        host = opened("producer", bearer);
        assert_string_equal(set_credentials(host, "name", "one"), "no_password");
        all_freed(host);
        host = opened("producer", plain);
        assert_string_equal(set_credentials(host, "name", "one"), "no_password");
        all_freed(host);
}

/* Proves that a lack of memory is an answer, whichever allocation fails. */
static void tells_of_no_memory(void **state) {
        const char *const extension[] = {"traceId", "x"};
        test_host_t *host = opened("producer", bearer);
        const char *answer;
        long request = 0;
        (void)state;
        do {
                memory_fails_at(++request);
                answer = set_token(host, "token", later(), extension, 3);
                if (memory_requests() >= request)
                        assert_string_equal(answer, "no_memory");
        } while (memory_requests() >= request);
        assert_string_equal(answer, "");
        assert_int_equal(request, 2 + 1 + 2 * 3 + 1);
        memory_fails_at(0);
        all_freed(host);
}

/* Proves that librdkafka does not make unsecured tokens itself, of which older ones die. */
static void makes_no_tokens(void **state) {
        const char *const wrong[] = {"enable.sasl.oauthbearer.unsecure.jwt", "true", NULL};
        test_host_t *host = test_host_new();
        (void)state;
        assert_string_equal(test_open(host, "producer", wrong), "error");
        all_freed(host);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(takes_tokens), cmocka_unit_test(refuses_tokens),
                cmocka_unit_test(takes_credentials), cmocka_unit_test(tells_of_no_memory),
                cmocka_unit_test(makes_no_tokens)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
