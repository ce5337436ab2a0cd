/*
 * TLS with a broker as librdkafka would have it, made by the same library of the
 * same settings, for PROBE alone: what is met is told, not refused.
 */
#ifndef CREMA_PROBE_TLS_H
#define CREMA_PROBE_TLS_H

#include <openssl/ssl.h>

#include "term.h"

/* The properties of librdkafka that it heeds. */
#define CR_PROBE_SETTINGS(ROW)                                                                     \
        ROW(CA_LOCATION, "ssl.ca.location")                                                        \
        ROW(CA_PEM, "ssl.ca.pem")                                                                  \
        ROW(CRL_LOCATION, "ssl.crl.location")                                                      \
        ROW(CERTIFICATE_LOCATION, "ssl.certificate.location")                                      \
        ROW(CERTIFICATE_PEM, "ssl.certificate.pem")                                                \
        ROW(KEY_LOCATION, "ssl.key.location")                                                      \
        ROW(KEY_PEM, "ssl.key.pem")                                                                \
        ROW(KEY_PASSWORD, "ssl.key.password")                                                      \
        ROW(KEYSTORE_LOCATION, "ssl.keystore.location")                                            \
        ROW(KEYSTORE_PASSWORD, "ssl.keystore.password")                                            \
        ROW(CIPHERS, "ssl.cipher.suites")                                                          \
        ROW(CURVES, "ssl.curves.list")                                                             \
        ROW(SIGNATURES, "ssl.sigalgs.list")                                                        \
        ROW(VERIFICATION, "enable.ssl.certificate.verification")                                   \
        ROW(IDENTIFICATION, "ssl.endpoint.identification.algorithm")

#define CR_PROBE_SETTING_ENUM(name, property) CR_PROBE_##name,
typedef enum cr_probe_setting {
        CR_PROBE_SETTINGS(CR_PROBE_SETTING_ENUM) CR_PROBE_SETTING_COUNT
} cr_probe_setting_t;
#undef CR_PROBE_SETTING_ENUM

typedef struct cr_probe_settings {
        char *values[CR_PROBE_SETTING_COUNT]; /* owned; NULL: not set */
} cr_probe_settings_t;

/* Others are left out; false when there is no memory. */
bool cr_probe_settings_set(cr_probe_settings_t *settings, cr_text_t property, cr_text_t value);
/* The values may be passwords: they are overwritten. */
void cr_probe_settings_clear(cr_probe_settings_t *settings);
/* NULL, and the property that is of no use, when one is. @locality a lane */
SSL_CTX *cr_probe_context(const cr_probe_settings_t *settings, const char **property);
/* Writes what the handshake has agreed on and the peer's certificate as elements of
 * a list; whether the settings trust it. `name` is the host's. */
bool cr_probe_describe(const cr_probe_settings_t *settings, const SSL *ssl, const char *name,
                       cr_writer_t *out);
/* One more element of a list: {Name, Value}, the value is to follow. */
void cr_probe_tell(cr_writer_t *out, const char *name);

#endif
