/*
 * How a running client logs in: OAUTHBEARER tokens, and credentials that have
 * changed. librdkafka takes a few short locks for these and wakes the threads of
 * its brokers: nothing here waits for a network. GSSAPI is another matter, whose
 * library is called with the lock of the credentials held.
 */
#include <string.h>

#include "client.h"
#include "mem.h"

/* More extensions than anybody sends. */
#define MOST_EXTENSIONS 100

typedef struct token {
        char *value;
        char *principal;
        int64_t expires_at;      /* milliseconds since 1970 */
        const char **extensions; /* names and values in turn */
        size_t count;            /* of both */
        const char *what;        /* is not as it should be, or NULL */
        bool no_memory;
} token_t;

/* A copy for librdkafka, and for nobody else: it is wiped before it is freed. None of
 * a token that is refused. */
static char *copy(token_t *token, cr_text_t text) {
        char *bytes;
        if (token->what)
                return NULL;
        bytes = cr_copy(text.bytes, text.size);
        token->no_memory |= !bytes;
        return bytes;
}

static void wipe(const char *secret) {
        cr_wipe((char *)secret, secret ? strlen(secret) : 0);
}

static void token_clear(token_t *token) {
        wipe(token->value);
        wipe(token->principal);
        for (size_t i = 0; token->extensions && i < token->count; i++)
                wipe(token->extensions[i]);
        cr_free(token->extensions);
}

/* RFC 7628, 3.1. librdkafka looks at this too, but its message has the token in it. */
static bool is_value(cr_text_t text) {
        for (size_t i = 0; i < text.size; i++) {
                unsigned char c = (unsigned char)text.bytes[i];
                if ((c < 0x20 || c > 0x7e) && c != '\t' && c != '\r' && c != '\n')
                        return false;
        }
        return true;
}

/* RFC 6750, 2.1, or nearly. */
static bool is_token(cr_text_t text) {
        for (size_t i = 0; i < text.size; i++) {
                if (text.bytes[i] <= 0x20 || text.bytes[i] > 0x7e)
                        return false;
        }
        return text.size;
}

static bool is_name(cr_text_t text) {
        for (size_t i = 0; i < text.size; i++) {
                char c = text.bytes[i];
                if (!(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z'))
                        return false;
        }
        return text.size && !(text.size == 4 && memcmp(text.bytes, "auth", 4) == 0);
}

static void read_extensions(token_t *token, cr_reader_t *term) {
        int count = cr_read_list(term);
        if (count > MOST_EXTENSIONS) {
                token->what = "there are too many extensions";
                return;
        }
        if (count && !(token->extensions = cr_alloc(2 * (size_t)count * sizeof(char *)))) {
                token->no_memory = true;
                return;
        }
        for (int i = 0; i < count && cr_read_tuple(term, 2); i++) {
                cr_text_t name = cr_read_binary(term);
                cr_text_t value = cr_read_binary(term);
                if (term->failed)
                        return;
                if (!is_name(name))
                        token->what = "an extension's name is not of letters, or is auth";
                if (!is_value(value))
                        token->what = "an extension's value has characters that may not be sent";
                token->extensions[token->count++] = copy(token, name);
                token->extensions[token->count++] = copy(token, value);
        }
        cr_read_list_end(term, count);
}

/* False when the term is not as the table of commands says. */
static bool read_token(token_t *token, const cr_input_t *in) {
        cr_reader_t term = cr_reader(in->data, in->size);
        cr_text_t value, principal;
        if (!cr_read_tuple(&term, 4))
                return false;
        value = cr_read_binary(&term);
        token->expires_at = cr_read_integer(&term);
        principal = cr_read_binary(&term);
        if (term.failed || token->expires_at < 0 || token->expires_at > INT64_MAX / 1000)
                return false;
        if (!is_token(value))
                token->what = "the token is empty or has characters that may not be sent: is "
                              "it the line end of a file?";
        if (memchr(principal.bytes, 0, principal.size))
                token->what = "the principal holds a zero byte";
        token->value = copy(token, value);
        token->principal = copy(token, principal);
        read_extensions(token, &term);
        return token->what || token->no_memory || cr_reader_done(&term);
}

static void set_token(cr_client_t *client, const token_t *token, cr_reply_t *reply) {
        char text[512] = "";
        cr_error_t error;
        rd_kafka_resp_err_t err = rd_kafka_oauthbearer_set_token(
                client->rk, token->value, token->expires_at, token->principal, token->extensions,
                token->count, text, sizeof(text));
        if (!err)
                return;
        cr_error_code(&error, err, text);
        cr_answer_error(client, reply, &error);
}

void cr_do_SET_TOKEN(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        token_t token = {0};
        if (!read_token(&token, in))
                cr_answer_malformed(client, reply);
        else if (token.no_memory)
                cr_answer_no_memory(client, reply);
        else if (token.what)
                cr_answer_own(client, reply, "bad_token", token.what);
        else
                set_token(client, &token, reply);
        token_clear(&token);
}

/* Whether it logs in by a name and a password. */
static bool takes_password(cr_client_t *client) {
        const rd_kafka_conf_t *conf = rd_kafka_conf(client->rk);
        char protocol[32] = "", mechanism[64] = "";
        size_t size = sizeof(protocol);
        (void)rd_kafka_conf_get(conf, "security.protocol", protocol, &size);
        size = sizeof(mechanism);
        (void)rd_kafka_conf_get(conf, "sasl.mechanisms", mechanism, &size);
        return strncmp(protocol, "sasl_", 5) == 0 &&
               (strcmp(mechanism, "PLAIN") == 0 || strncmp(mechanism, "SCRAM-", 6) == 0);
}

static bool has_zero(cr_text_t text) {
        return memchr(text.bytes, 0, text.size) != NULL;
}

void cr_do_SET_CREDENTIALS(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_reader_t term = cr_reader(in->data, in->size);
        cr_text_t username = {0}, password = {0};
        cr_error_t error = {0};
        char *name = NULL, *secret = NULL;
        if (cr_read_tuple(&term, 2)) {
                username = cr_read_binary(&term);
                password = cr_read_binary(&term);
        }
        if (!cr_reader_done(&term) || has_zero(username) || has_zero(password)) {
                cr_answer_malformed(client, reply);
                return;
        }
        if (!takes_password(client)) {
                cr_answer_own(client, reply, "no_password",
                              "the client does not log in by a name and a password");
                return;
        }
        name = cr_copy(username.bytes, username.size);
        secret = cr_copy(password.bytes, password.size);
        if (!name || !secret) {
                cr_answer_no_memory(client, reply);
        } else {
                cr_error_take(&error, rd_kafka_sasl_set_credentials(client->rk, name, secret));
                if (error.set)
                        cr_answer_error(client, reply, &error);
        }
        wipe(secret);
        cr_free(name);
}
