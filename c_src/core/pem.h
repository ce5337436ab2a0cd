/*
 * PEM as people give it, read by OpenSSL; what cannot be read is told in the end
 * of a sentence, which has nothing of the text in it: it may be a key.
 */
#ifndef CREMA_PEM_H
#define CREMA_PEM_H

#include <openssl/x509.h>

#include <stdbool.h>

typedef struct cr_pem_fault {
        bool of_passphrase; /* rather than of the text */
        char text[160];     /* "is empty" */
} cr_pem_fault_t;

/* Makes PEM text of what variables hold: line ends that were written as \n, and
 * those of Windows. In place; it never grows, and zeros fill what is left. */
void cr_pem_unescape(char *text);

/* All certificates of a text, at least one, owned by the caller; NULL when there
 * is none or one is broken: then *fault says it. */
STACK_OF(X509) * cr_pem_certificates(const char *text, cr_pem_fault_t *fault);

/* The private key of a text, owned by the caller; NULL with *fault. The passphrase
 * may be NULL. Nobody is asked for one. */
EVP_PKEY *cr_pem_key(const char *text, const char *passphrase, cr_pem_fault_t *fault);

/* A name as a person reads it, cut to the room. In ASCII: what else it has is
 * escaped. Returns the text. */
const char *cr_name_text(const X509_NAME *name, char *text, size_t size);

#endif
