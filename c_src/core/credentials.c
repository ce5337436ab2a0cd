#include "credentials.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "pem.h"

#define SOON_DAYS 30
#define DAY_S 86400
/* Of more authorities, as systems have them, some always expire, and no broker has
 * its certificate from most of them. */
#define FEW 10
/* OpenSSL follows no longer chain; each step asks all of them. */
#define DEPTH 100

typedef struct look {
        const cr_given_t *given;
        time_t now;
        cr_found_t found;
        void *to;
        STACK_OF(X509) * certificates; /* of CERTIFICATE, owned; NULL: none, or broken */
        STACK_OF(X509) * authorities;  /* of CA, the same */
        EVP_PKEY *key;                 /* owned */
} look_t;

__attribute__((format(printf, 4, 5))) static void tell(const look_t *look, cr_credential_t about,
                                                       bool warning, const char *format, ...) {
        char text[512];
        va_list values;
        va_start(values, format);
        vsnprintf(text, sizeof(text), format, values);
        va_end(values);
        look->found(look->to, about, warning, text);
}

/* ---- reading ------------------------------------------------------------- */

static STACK_OF(X509) * read_certificates(const look_t *look, cr_credential_t about) {
        const char *text = look->given->text[about];
        cr_pem_fault_t fault = {.text = ""};
        STACK_OF(X509) *all = text ? cr_pem_certificates(text, &fault) : NULL;
        if (text && !all)
                tell(look, about, false, "%s", fault.text);
        return all;
}

static EVP_PKEY *read_key(const look_t *look) {
        const char *text = look->given->text[CR_CREDENTIAL_KEY];
        cr_pem_fault_t fault = {.text = ""};
        EVP_PKEY *key = NULL;
        if (text)
                key = cr_pem_key(text, look->given->text[CR_CREDENTIAL_PASSPHRASE], &fault);
        if (text && !key)
                tell(look, fault.of_passphrase ? CR_CREDENTIAL_PASSPHRASE : CR_CREDENTIAL_KEY,
                     false, "%s", fault.text);
        return key;
}

/* ---- what is said of a certificate ----------------------------------------- */

static const char *subject_of(const X509 *one, char *text, size_t size) {
        return cr_name_text(X509_get_subject_name(one), text, size);
}

static const char *time_of(const ASN1_TIME *time, char text[32]) {
        struct tm parts;
        if (!ASN1_TIME_to_tm(time, &parts) || !strftime(text, 32, "%Y-%m-%d %H:%M:%S UTC", &parts))
                snprintf(text, 32, "?");
        return text;
}

/* Whether it is in force now; what is not, or not for long, is told. */
static bool is_in_force(const look_t *look, cr_credential_t about, const X509 *one, bool fault,
                        bool silent) {
        const ASN1_TIME *from = X509_get0_notBefore(one), *to = X509_get0_notAfter(one);
        time_t now = look->now, soon = now + SOON_DAYS * (time_t)DAY_S;
        char subject[128], time[32];
        subject_of(one, subject, sizeof(subject));
        if (X509_cmp_time(from, &now) > 0) {
                if (!silent)
                        tell(look, about, !fault, "is not valid before %s (%s)",
                             time_of(from, time), subject);
                return false;
        }
        if (X509_cmp_time(to, &now) < 0) {
                if (!silent)
                        tell(look, about, !fault, "has expired on %s (%s)", time_of(to, time),
                             subject);
                return false;
        }
        if (X509_cmp_time(to, &soon) < 0 && !silent)
                tell(look, about, true, "will expire on %s (%s)", time_of(to, time), subject);
        return true;
}

/* One that is in force is enough: bundles keep what has expired. */
static void judge_authorities(const look_t *look) {
        int count = sk_X509_num(look->authorities), good = 0;
        bool fault = !look->given->other_authorities;
        for (int i = 0; i < count; i++)
                good += is_in_force(look, CR_CREDENTIAL_CA, sk_X509_value(look->authorities, i),
                                    fault && count == 1, count > FEW);
        if (!good && count > 1)
                tell(look, CR_CREDENTIAL_CA, !fault, "has no certificate that is valid now");
}

/* ---- the client's chain --------------------------------------------------- */

static bool is_signed(X509 *one, const X509 *by) {
        EVP_PKEY *key = X509_get0_pubkey(by);
        bool is = key && X509_verify(one, key) == 1;
        ERR_clear_error();
        return is;
}

/* Who of them has signed this one; -1: nobody, and *named is set when one has the
 * name of who has, but not the key. */
static int signer_of(X509 *one, STACK_OF(X509) * among, bool *named) {
        bool is_named = false;
        for (int i = 0; i < sk_X509_num(among); i++) {
                const X509 *by = sk_X509_value(among, i);
                if (X509_NAME_cmp(X509_get_issuer_name(one), X509_get_subject_name(by)))
                        continue;
                if (is_signed(one, by))
                        return i;
                /* Of a kind that this OpenSSL does not know nothing can be said. */
                is_named |= X509_get0_pubkey(by) != NULL;
        }
        *named |= is_named;
        return -1;
}

static bool is_self_signed(const X509 *one) {
        return X509_NAME_cmp(X509_get_issuer_name(one), X509_get_subject_name(one)) == 0;
}

/* The last of the chain that begins with the first of them; *used counts its
 * certificates. Their order is not judged, for brokers take them in any. */
static X509 *top_of(STACK_OF(X509) * certificates, int *used, bool *named) {
        X509 *top = sk_X509_value(certificates, 0);
        int next;
        *used = 1;
        while (*used < sk_X509_num(certificates) && *used < DEPTH && !is_self_signed(top) &&
               (next = signer_of(top, certificates, named)) >= 0) {
                top = sk_X509_value(certificates, next);
                ++*used;
        }
        return top;
}

/* Where the chain ends. Brokers may know clients by another authority than the one
 * that has signed theirs, so that a stranger is only a warning; of two with one
 * name and different keys one is out of place. */
static void judge_chain(const look_t *look) {
        STACK_OF(X509) *all = look->certificates;
        char name[128];
        bool named = false;
        int used;
        X509 *top = top_of(all, &used, &named);
        for (int i = 0; i < sk_X509_num(all); i++)
                is_in_force(look, CR_CREDENTIAL_CERTIFICATE, sk_X509_value(all, i), i == 0, false);
        cr_name_text(X509_get_issuer_name(top), name, sizeof(name));
        if (look->authorities && signer_of(top, look->authorities, &named) >= 0)
                named = false;
        else if (named)
                tell(look, CR_CREDENTIAL_CERTIFICATE, look->given->other_authorities,
                     "is not signed by the given authority %s, but by another of that name", name);
        else if (look->authorities && !look->given->other_authorities)
                tell(look, CR_CREDENTIAL_CERTIFICATE, true,
                     "does not lead to the trusted authority, but to %s: brokers must know it",
                     name);
        if (!named && used < sk_X509_num(all))
                tell(look, CR_CREDENTIAL_CERTIFICATE, true,
                     "is followed by certificates that are not of its chain, which leads to %s",
                     name);
}

static bool is_given(const look_t *look, cr_credential_t which) {
        return look->given->text[which] || look->given->unseen[which];
}

static void judge_pair(const look_t *look) {
        bool certificate = is_given(look, CR_CREDENTIAL_CERTIFICATE);
        bool key = is_given(look, CR_CREDENTIAL_KEY);
        if (look->certificates && look->key &&
            X509_check_private_key(sk_X509_value(look->certificates, 0), look->key) != 1)
                tell(look, CR_CREDENTIAL_KEY, false, "does not belong to the certificate");
        if (certificate && !key)
                tell(look, CR_CREDENTIAL_KEY, false, "is not given, but a certificate is");
        if (key && !certificate)
                tell(look, CR_CREDENTIAL_CERTIFICATE, false, "is not given, but a key is");
        ERR_clear_error();
}

void cr_credentials_check(const cr_given_t *given, time_t now, cr_found_t found, void *to) {
        look_t look = {.given = given, .now = now, .found = found, .to = to};
        look.authorities = read_certificates(&look, CR_CREDENTIAL_CA);
        look.certificates = read_certificates(&look, CR_CREDENTIAL_CERTIFICATE);
        look.key = read_key(&look);
        if (look.authorities)
                judge_authorities(&look);
        if (look.certificates)
                judge_chain(&look);
        judge_pair(&look);
        sk_X509_pop_free(look.authorities, X509_free);
        sk_X509_pop_free(look.certificates, X509_free);
        EVP_PKEY_free(look.key);
}

char *cr_credentials_between(const char *certificates) {
        cr_pem_fault_t fault;
        STACK_OF(X509) *all = cr_pem_certificates(certificates, &fault);
        BIO *bio = BIO_new(BIO_s_mem());
        char *bytes = NULL, *text = NULL;
        long size;
        for (int i = 1; bio && i < sk_X509_num(all); i++) {
                if (!is_self_signed(sk_X509_value(all, i)))
                        PEM_write_bio_X509(bio, sk_X509_value(all, i));
        }
        size = bio ? BIO_get_mem_data(bio, &bytes) : 0;
        if (size > 0)
                text = cr_copy(bytes, (size_t)size);
        BIO_free(bio);
        sk_X509_pop_free(all, X509_free);
        return text;
}
