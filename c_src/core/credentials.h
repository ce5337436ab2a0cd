/*
 * Certificates and keys, looked at before anybody connects: what is broken,
 * does not belong together, has expired or soon will.
 *
 * A fault is what cannot work; what may is only a warning, since brokers decide
 * whom they trust. Everything stays in memory. No finding has a part of a key or
 * passphrase.
 */
#ifndef CREMA_CREDENTIALS_H
#define CREMA_CREDENTIALS_H

#include <stdbool.h>
#include <time.h>

/* In the order in which they are looked at. */
typedef enum cr_credential {
        CR_CREDENTIAL_CA,          /* who may sign brokers' certificates */
        CR_CREDENTIAL_CERTIFICATE, /* the client's, and those that lead up from it */
        CR_CREDENTIAL_KEY,
        CR_CREDENTIAL_PASSPHRASE, /* of the key */
        CR_CREDENTIALS
} cr_credential_t;

typedef struct cr_given {
        const char *text[CR_CREDENTIALS]; /* PEM, and the passphrase; NULL is not given */
        bool unseen[CR_CREDENTIALS];      /* it is given, but cannot be looked at */
        bool other_authorities;           /* than those of CA may do as well */
} cr_given_t;

/* A sentence's end, about one of them; a fault unless it is only a warning. */
typedef void (*cr_found_t)(void *to, cr_credential_t about, bool warning, const char *text);

void cr_credentials_check(const cr_given_t *given, time_t now, cr_found_t found, void *to);

/* The certificates behind the client's own that are no authority of their own, as
 * PEM, which the caller frees; NULL when there are none, or no memory. */
char *cr_credentials_between(const char *certificates);

#endif
