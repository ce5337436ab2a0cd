/*
 * What people give as certificates, keys and passphrases: core/pem.c and
 * core/credentials.c. Whatever they are, something is said of what is wrong, which is
 * whole text and has no part of a passphrase.
 */
#include "../core/credentials.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "../core/mem.h"
#include "../core/pem.h"
#include "fuzz.h"

/* When the certificates of the corpus are in force. */
#define NOW 1800000000L

/* Long enough not to be a word of a message. */
#define SECRET 12

typedef struct look {
        const char *passphrase;
        int findings;
} look_t;

static void found(void *to, cr_credential_t about, bool warning, const char *text) {
        look_t *look = to;
        (void)warning;
        look->findings++;
        FUZZ_CHECK(about < CR_CREDENTIALS && text[0] && strlen(text) < 512);
        FUZZ_CHECK(!look->passphrase || strlen(look->passphrase) < SECRET ||
                   !strstr(text, look->passphrase));
}

/* As set_property() of core/open.c has it. */
static char *unescaped(feed_t *feed) {
        char *text = feed_text(feed);
        size_t size = strlen(text);
        cr_pem_unescape(text);
        FUZZ_CHECK(strlen(text) <= size && !strchr(text, '\r'));
        for (size_t i = strlen(text); i < size; i++)
                FUZZ_CHECK(!text[i]);
        return text;
}

/* What is between two of a chain is itself a text with certificates. */
static void look_between(const char *certificates) {
        cr_pem_fault_t fault = {.text = ""};
        char *between = cr_credentials_between(certificates);
        STACK_OF(X509) *again = between ? cr_pem_certificates(between, &fault) : NULL;
        FUZZ_CHECK(!between || (again && sk_X509_num(again) > 0));
        sk_X509_pop_free(again, X509_free);
        cr_free(between);
}

/* Which are given, and then their texts, a zero byte behind each. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        feed_t feed = {data, size};
        uint8_t given = feed_u8(&feed);
        char *texts[CR_CREDENTIALS] = {NULL};
        cr_given_t all = {.other_authorities = given & 0x80};
        look_t look = {0};
        for (int i = 0; i < CR_CREDENTIALS; i++) {
                if (given & 1 << i)
                        texts[i] =
                                i == CR_CREDENTIAL_PASSPHRASE ? feed_text(&feed) : unescaped(&feed);
                else if (i != CR_CREDENTIAL_PASSPHRASE)
                        all.unseen[i] = given & 0x10 << i;
                all.text[i] = texts[i];
        }
        look.passphrase = texts[CR_CREDENTIAL_PASSPHRASE];
        cr_credentials_check(&all, NOW, found, &look);
        if (texts[CR_CREDENTIAL_CERTIFICATE])
                look_between(texts[CR_CREDENTIAL_CERTIFICATE]);
        for (int i = 0; i < CR_CREDENTIALS; i++)
                free(texts[i]);
        return 0;
}
