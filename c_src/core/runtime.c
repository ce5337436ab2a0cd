/*
 * RUNTIME: what the driver is made of, and what it does at the moment. ALLOCATED: what it
 * has of the C library, with all others. PROPERTIES: what its librdkafka can be told.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "mem.h"
#include "rdkafka_compat.h"

/* What this build of librdkafka has: "gzip,snappy,ssl,sasl,...". */
static char features[512];
static pthread_once_t features_once = PTHREAD_ONCE_INIT;

static void read_features(void) {
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        size_t size = sizeof(features);
        if (rd_kafka_conf_get(conf, "builtin.features", features, &size) != RD_KAFKA_CONF_OK)
                features[0] = '\0';
        rd_kafka_conf_destroy(conf);
}

static void write_text(cr_writer_t *out, const char *name, const char *text) {
        cr_write_tuple(out, 2);
        cr_write_atom(out, name);
        cr_write_text(out, text);
}

static void write_integer(cr_writer_t *out, const char *name, int64_t integer) {
        cr_write_tuple(out, 2);
        cr_write_atom(out, name);
        cr_write_integer(out, integer);
}

void cr_do_RUNTIME(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_writer_t out = cr_writer();
        (void)in;
        pthread_once(&features_once, read_features);
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "ok");
        cr_write_list(&out, 8);
        write_text(&out, "librdkafka", rd_kafka_version_str());
        write_integer(&out, "librdkafka_number", rd_kafka_version());
        write_integer(&out, "bundled", CR_BUNDLED);
        write_text(&out, "features", features);
        write_text(&out, "openssl", OpenSSL_version(OPENSSL_VERSION));
        write_integer(&out, "threads", rd_kafka_thread_cnt());
        write_integer(&out, "reapers", cr_reapers_alive());
        write_integer(&out, "telling", cr_reapers_telling());
        cr_write_list_end(&out);
        cr_answer(client, reply, &out);
}

void cr_do_ALLOCATED(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        int64_t used = cr_mem_used();
        cr_writer_t out = cr_writer();
        (void)in;
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "ok");
        if (used < 0)
                cr_write_atom(&out, "none");
        else
                cr_write_integer(&out, used);
        cr_answer(client, reply, &out);
}

/* It has them in no other form. */
void cr_do_PROPERTIES(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        char *text = NULL;
        size_t size = 0;
        FILE *memory = open_memstream(&text, &size);
        (void)in;
        if (memory) {
                rd_kafka_conf_properties_show(memory);
                (void)fclose(memory);
        }
        if (text) {
                cr_writer_t out = cr_writer();
                cr_write_tuple(&out, 2);
                cr_write_atom(&out, "ok");
                cr_write_binary(&out, text, size);
                cr_answer(client, reply, &out);
        } else {
                cr_answer_no_memory(client, reply);
        }
        free(text);
}
