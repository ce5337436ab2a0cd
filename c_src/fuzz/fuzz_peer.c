/*
 * A broker's certificate, which anybody can send: what core/probe_tls.c and core/peer.c
 * make of it. No handshake is made; the certificate is put where one would have, into a
 * session.
 */
#include "../core/peer.c"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#include "../core/probe_tls.h"
#include "fuzz.h"

/* A session of TLS 1.2 as DER, but for the certificate at its end. */
static const uint8_t head[] = {0x02, 0x01, 0x01, 0x02, 0x02, 0x03, 0x03, 0x04,
                               0x02, 0xc0, 0x2f, 0x04, 0x00, 0x04, 0x00};

/* The codes for which core/peer.c has words of its own, and another. */
static const int findings[] = {X509_V_ERR_HOSTNAME_MISMATCH,
                               X509_V_ERR_IP_ADDRESS_MISMATCH,
                               X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
                               X509_V_ERR_CERT_HAS_EXPIRED,
                               X509_V_ERR_CERT_NOT_YET_VALID,
                               X509_V_ERR_CERT_REVOKED,
                               X509_V_OK};

static uint8_t *put_length(uint8_t *to, uint8_t tag, size_t size) {
        *to++ = tag;
        *to++ = 0x82; /* two bytes of length follow */
        *to++ = (uint8_t)(size >> 8);
        *to++ = (uint8_t)size;
        return to;
}

/* NULL when the bytes are no certificate to OpenSSL. */
static SSL_SESSION *session_with(const uint8_t *certificate, size_t size) {
        uint8_t *der = malloc(sizeof(head) + size + 8), *to = der;
        const uint8_t *from = der;
        SSL_SESSION *session;
        to = put_length(to, 0x30, sizeof(head) + size + 4);
        to = (uint8_t *)memcpy(to, head, sizeof(head)) + sizeof(head);
        to = put_length(to, 0xa3, size);
        if (size)
                memcpy(to, certificate, size);
        session = d2i_SSL_SESSION(NULL, &from, (long)(to - der) + (long)size);
        free(der);
        return session;
}

static void describe(SSL_SESSION *session, const char *host, bool verifies) {
        cr_probe_settings_t settings = {.values = {NULL}};
        SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
        SSL *ssl = SSL_new(ctx);
        cr_writer_t out = cr_writer();
        cr_text_t off = {.bytes = "false", .size = 5};
        cr_text_t property = {.bytes = "enable.ssl.certificate.verification", .size = 35};
        if (!verifies)
                FUZZ_CHECK(cr_probe_settings_set(&settings, property, off));
        FUZZ_CHECK(SSL_set_session(ssl, session) == 1);
        FUZZ_CHECK(cr_probe_describe(&settings, ssl, host, &out) || verifies);
        cr_write_list_end(&out);
        FUZZ_CHECK(!out.failed && is_term(out.x.buff, (size_t)out.x.index));
        cr_writer_discard(&out);
        cr_probe_settings_clear(&settings);
        SSL_free(ssl);
        SSL_CTX_free(ctx);
}

/* What librdkafka asks when OpenSSL trusts it or does not. */
static void verify(cr_client_t *client, const char *host, int found, const uint8_t *bytes,
                   size_t size) {
        char text[64], reason[256];
        int verdict = found;
        FUZZ_CHECK(verified(NULL, host, 0, &verdict, 0, (const char *)bytes, size, text,
                            sizeof(text), client) == (found == X509_V_OK));
        if (found == X509_V_OK)
                return;
        FUZZ_CHECK(strlen(text) < sizeof(text));
        snprintf(text, sizeof(text), "certificate verify failed: %.20s", client->peer.broker);
        if (cr_peer_reason(&client->peer, text, reason, sizeof(reason)))
                FUZZ_CHECK(strlen(reason) < sizeof(reason));
}

/* What was found, the host's name, and the certificate. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        feed_t feed = {data, size};
        uint8_t how = feed_u8(&feed);
        char *host = feed_text(&feed);
        size_t got;
        uint8_t *bytes = feed_bytes(&feed, feed.left, &got);
        SSL_SESSION *session = session_with(bytes, got);
        cr_client_t client = {.kind = CR_KIND_NONE};
        if (session && SSL_SESSION_get0_peer(session))
                describe(session, host, how & 0x80);
        cr_peer_init(&client.peer);
        verify(&client, host, findings[(how & 0x7f) % (sizeof(findings) / sizeof(findings[0]))],
               bytes, got);
        cr_peer_destroy(&client.peer);
        SSL_SESSION_free(session);
        ERR_clear_error();
        free(host);
        free(bytes);
        return 0;
}
