/* The lives of clients that ask, and of those that are made for tests or with secrets:
 * each question has an answer. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "asker.h"
#include "life.h"
#include "memory.h"
#include "trial.h"

static const test_option_t none[] = {{NULL, 0}};

/* ---- questions ------------------------------------------------------------------ */

/* Answered in any way: the mock cluster knows not all of it. */
static void ask_anyway(life_t *life, unsigned command, const char *name) {
        cr_writer_t term = life_term(4, "asked");
        const char *answer;
        cr_write_text(&term, name);
        cr_write_integer(&term, 0);
        cr_write_integer(&term, 1000);
        memory_counts(true);
        answer = test_command(life->host, command, term.x.buff, (size_t)term.x.index);
        cr_writer_discard(&term);
        if (!answer[0])
                packet_free(life_reply(life, "asked"));
}

void life_of_asker(void) {
        /* Not GROUPS and GROUP, where librdkafka 2.0.2 leaks what brokers without that
         * request, as the mock's, are asked. */
        const unsigned commands[] = {CR_CMD_METADATA, CR_CMD_WATERMARKS, CR_CMD_DESCRIBE,
                                     CR_CMD_READABLE, CR_CMD_OPERATIONS, CR_CMD_GROUP_OFFSETS};
        life_t life = life_begin();
        const char *const properties[] =
                READER_PROPERTIES(rd_kafka_mock_cluster_bootstraps(life.member->mock));
        cr_writer_t code;
        life_open(&life, "reader", properties, none);
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
                ask_anyway(&life, commands[i], "t");
        (void)life_do(&life, CR_CMD_RUNTIME, NULL, 0, "ok");
        (void)life_do(&life, CR_CMD_PROPERTIES, NULL, 0, "ok");
        code = life_writer();
        cr_write_integer(&code, 3);
        (void)life_do_term(&life, CR_CMD_ERROR_NAME, &code, "ok");
        life_close(&life);
        life_end(&life);
}

/* ---- an embedded cluster ---------------------------------------------------------- */

void life_of_cluster(void) {
        life_t life = life_begin();
        cr_writer_t term;
        life_open(&life, "cluster", NULL, none);
        term = life_term(3, "topic");
        cr_write_text(&term, "t");
        cr_write_integer(&term, 2);
        (void)life_ask_term(&life, CR_CMD_MOCK_TOPIC, &term, "topic");
        term = life_term(4, "broker");
        cr_write_integer(&term, 1);
        cr_write_atom(&term, "down");
        cr_write_integer(&term, 0);
        (void)life_ask_term(&life, CR_CMD_MOCK_BROKER, &term, "broker");
        term = life_writer();
        cr_write_tuple(&term, 2);
        cr_write_integer(&term, 1);
        cr_write_list(&term, 1);
        cr_write_tuple(&term, 2);
        cr_write_atom(&term, "offset_out_of_range");
        cr_write_integer(&term, 0);
        cr_write_list_end(&term);
        (void)life_do_term(&life, CR_CMD_MOCK_ERRORS, &term, "");
        life_close(&life);
        life_end(&life);
}

/* ---- secrets ----------------------------------------------------------------------- */

static char *text_of(BIO *bio) {
        char *bytes, *text;
        long size = BIO_get_mem_data(bio, &bytes);
        text = calloc(1, (size_t)size + 1);
        memcpy(text, bytes, (size_t)size);
        BIO_free(bio);
        return text;
}

/* Self-signed, for an hour. */
static char *certificate_of(EVP_PKEY *key) {
        X509 *one = X509_new();
        BIO *bio = BIO_new(BIO_s_mem());
        X509_NAME *name = X509_get_subject_name(one);
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"a", -1, -1, 0);
        X509_set_issuer_name(one, name);
        X509_gmtime_adj(X509_getm_notBefore(one), -60);
        X509_gmtime_adj(X509_getm_notAfter(one), 3600);
        X509_set_pubkey(one, key);
        X509_sign(one, key, EVP_sha256());
        PEM_write_bio_X509(bio, one);
        X509_free(one);
        return text_of(bio);
}

static char *key_text(EVP_PKEY *key) {
        BIO *bio = BIO_new(BIO_s_mem());
        PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
        return text_of(bio);
}

/* By TLS, of a peer that knows none. */
static void probe(life_t *life, const char *certificate) {
        const char *servers = rd_kafka_mock_cluster_bootstraps(life->member->mock);
        cr_writer_t term = life_term(7, "probed");
        cr_write_text(&term, "127.0.0.1");
        cr_write_integer(&term, strtol(strrchr(servers, ':') + 1, NULL, 10));
        cr_write_text(&term, "localhost");
        cr_write_list(&term, 1);
        cr_write_tuple(&term, 2);
        cr_write_text(&term, "ssl.ca.pem");
        cr_write_text(&term, certificate);
        cr_write_list_end(&term);
        cr_write_list(&term, 1);
        cr_write_text(&term, "request");
        cr_write_list_end(&term);
        cr_write_integer(&term, 500);
        (void)life_ask_term(life, CR_CMD_PROBE, &term, "probed");
}

static void probe_alone(life_t *life, const char *certificate) {
        life->host = test_host_new();
        if (life->host->client)
                probe(life, certificate);
        if (life->host->client)
                life_close(life);
        test_host_free(life->host);
}

static void refuse_properties(life_t *life) {
        const char *const wrong[] = {"no.such.property", "1", "linger.ms", "soon", NULL};
        const char *answer = "";
        life->host = test_host_new();
        if (life->host->client)
                answer = test_open(life->host, "producer", wrong);
        if (strcmp(answer, "ok") == 0)
                trial_fail("wrong properties are taken");
        test_host_free(life->host);
}

static void set_login(life_t *life) {
        cr_writer_t term = life_writer();
        cr_write_tuple(&term, 2);
        cr_write_text(&term, "somebody");
        cr_write_text(&term, "secret");
        (void)life_do_term(life, CR_CMD_SET_CREDENTIALS, &term, "");
}

static void set_token(life_t *life) {
        cr_writer_t term = life_term(4, "token");
        cr_write_integer(&term, (int64_t)time(NULL) * 1000 + 60000);
        cr_write_text(&term, "somebody");
        cr_write_list(&term, 1);
        cr_write_tuple(&term, 2);
        cr_write_text(&term, "name");
        cr_write_text(&term, "value");
        cr_write_list_end(&term);
        (void)life_do_term(life, CR_CMD_SET_TOKEN, &term, "");
}

/* Opened with all that the door looks at, and given another way to log in. */
static void log_in(life_t *life, const char *mechanism, const char *certificate, const char *key) {
        const char *const properties[] = {"bootstrap.servers",
                                          "127.0.0.1:1",
                                          "security.protocol",
                                          "sasl_ssl",
                                          "sasl.mechanism",
                                          mechanism,
                                          "sasl.username",
                                          "somebody",
                                          "sasl.password",
                                          "secret",
                                          "ssl.ca.pem",
                                          certificate,
                                          "ssl.certificate.pem",
                                          certificate,
                                          "ssl.key.pem",
                                          key,
                                          "log.queue",
                                          "true",
                                          NULL};
        life_open(life, "producer", properties, none);
        if (strcmp(mechanism, "PLAIN") == 0)
                set_login(life);
        else
                set_token(life);
        life_close(life);
        test_host_free(life->host);
}

void life_of_secrets(void) {
        life_t life = life_begin();
        EVP_PKEY *key = EVP_EC_gen("P-256");
        char *certificate = certificate_of(key), *text = key_text(key);
        probe_alone(&life, certificate);
        refuse_properties(&life);
        log_in(&life, "PLAIN", certificate, text);
        log_in(&life, "OAUTHBEARER", certificate, text);
        free(certificate);
        free(text);
        EVP_PKEY_free(key);
        life.host = NULL;
        life_end(&life);
}
