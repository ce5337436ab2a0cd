/* core/credentials.c: what is wrong with certificates and keys, each told for
 * what it is. They are made here, with the authority "ca" and the client "me". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "../core/credentials.h"
#include "../core/mem.h"
#include "../core/pem.h"

#define DAY 86400L
#define NOW 1800000000L

typedef struct identity {
        EVP_PKEY *key;
        X509 *certificate;
} identity_t;

static identity_t ca, me, middle, below, expired, young, ending, old_middle, impostor, stranger;

static identity_t make(const char *name, const identity_t *by, long from, long to) {
        static long serial;
        identity_t made = {.key = EVP_EC_gen("P-256"), .certificate = X509_new()};
        X509_NAME *subject = X509_get_subject_name(made.certificate);
        ASN1_INTEGER_set(X509_get_serialNumber(made.certificate), ++serial);
        X509_set_version(made.certificate, 2);
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1,
                                   0);
        X509_set_issuer_name(made.certificate,
                             by ? X509_get_subject_name(by->certificate) : subject);
        ASN1_TIME_set(X509_getm_notBefore(made.certificate), NOW + from * DAY);
        ASN1_TIME_set(X509_getm_notAfter(made.certificate), NOW + to * DAY);
        X509_set_pubkey(made.certificate, made.key);
        assert_true(X509_sign(made.certificate, by ? by->key : made.key, EVP_sha256()) > 0);
        return made;
}

static int make_all(void **state) {
        (void)state;
        ca = make("ca", NULL, -100, 1000);
        me = make("me", &ca, -10, 300);
        middle = make("middle", &ca, -10, 300);
        below = make("below", &middle, -10, 300);
        expired = make("expired", &ca, -10, -1);
        young = make("young", &ca, 1, 10);
        ending = make("ending", &ca, -10, 29);
        old_middle = make("middle", &ca, -10, -1);
        impostor = make("ca", NULL, -100, 1000);
        stranger = make("stranger", NULL, -100, 1000);
        return 0;
}

static void free_one(identity_t *one) {
        X509_free(one->certificate);
        EVP_PKEY_free(one->key);
}

static int free_all(void **state) {
        identity_t *all[] = {&ca,    &me,     &middle,     &below,    &expired,
                             &young, &ending, &old_middle, &impostor, &stranger};
        (void)state;
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                free_one(all[i]);
        return 0;
}

static char *text_of(BIO *bio) {
        char *bytes, *text;
        long size = BIO_get_mem_data(bio, &bytes);
        text = calloc(1, (size_t)size + 1);
        memcpy(text, bytes, (size_t)size);
        BIO_free(bio);
        return text;
}

/* Certificates, one behind another; NULL ends them. */
static char *certificates(const identity_t *first, ...) {
        BIO *bio = BIO_new(BIO_s_mem());
        va_list rest;
        va_start(rest, first);
        for (const identity_t *one = first; one; one = va_arg(rest, const identity_t *))
                PEM_write_bio_X509(bio, one->certificate);
        va_end(rest);
        return text_of(bio);
}

static char *key(const identity_t *of, const char *passphrase) {
        BIO *bio = BIO_new(BIO_s_mem());
        PEM_write_bio_PKCS8PrivateKey(bio, of->key, passphrase ? EVP_aes_256_cbc() : NULL,
                                      passphrase, passphrase ? (int)strlen(passphrase) : 0, NULL,
                                      NULL);
        return text_of(bio);
}

/* ---- what is found ------------------------------------------------------- */

static char found[2048];

static void take(void *to, cr_credential_t about, bool warning, const char *text) {
        static const char *const names[] = {"ca", "certificate", "key", "passphrase"};
        (void)to;
        snprintf(found + strlen(found), sizeof(found) - strlen(found), "%s%s %s;",
                 warning ? "warning: " : "", names[about], text);
}

/* What is found with these, which are freed (but for the passphrase). */
static const char *look(char *authorities, char *own, char *private, const char *passphrase,
                        bool others) {
        const cr_given_t given = {.text = {authorities, own, private, passphrase},
                                  .other_authorities = others};
        found[0] = '\0';
        cr_credentials_check(&given, NOW, take, NULL);
        free(authorities);
        free(own);
        free(private);
        return found;
}

static const char *check(char *authorities, char *own, char *private, const char *passphrase) {
        return look(authorities, own, private, passphrase, false);
}

static void expect(const char *got, const char *wanted) {
        if (!strstr(got, wanted))
                fail_msg("\"%s\" is not in \"%s\"", wanted, got);
}

/* ---- tests ----------------------------------------------------------------- */

/* Proves that nothing is found where nothing is wrong, in every form. */
static void good(void **state) {
        (void)state;
        assert_string_equal(check(NULL, NULL, NULL, NULL), "");
        assert_string_equal(check(certificates(&ca, NULL), NULL, NULL, NULL), "");
        assert_string_equal(
                check(certificates(&ca, NULL), certificates(&me, NULL), key(&me, NULL), NULL), "");
        assert_string_equal(check(certificates(&stranger, &ca, NULL),
                                  certificates(&below, &middle, NULL), key(&below, "word"), "word"),
                            "");
        assert_string_equal(check(NULL, certificates(&stranger, NULL), key(&stranger, NULL), NULL),
                            "");
}

static char *changed(char *text, size_t at, char to) {
        text[at] = to;
        return text;
}

static char *one_line(char *text) {
        for (char *at = text; *at; at++)
                *at = *at == '\n' ? ' ' : *at;
        return text;
}

static char *join(const char *first, char *second) {
        char *both = malloc(strlen(first) + strlen(second) + 1);
        strcpy(both, first);
        strcat(both, second);
        free(second);
        return both;
}

static char *cut(char *text, size_t size) {
        text[size] = '\0';
        return text;
}

/* Proves that text which is no PEM, or another kind of it, is told apart. */
static void texts(void **state) {
        (void)state;
        expect(check(strdup(" \n"), NULL, NULL, NULL), "ca is empty");
        expect(check(strdup("/etc/ssl/ca.pem"), NULL, NULL, NULL), "Is it the name of a file?");
        assert_string_equal(check(strdup("no pem at all"), NULL, NULL, NULL),
                            "ca is no PEM: it has no line \"-----BEGIN ...-----\";");
        expect(check(strdup("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t"), NULL, NULL, NULL),
               "ca is the base64 of PEM");
        expect(check(key(&ca, NULL), NULL, NULL, NULL), "ca holds PRIVATE KEY where a certificate");
        expect(check(one_line(certificates(&ca, NULL)), NULL, NULL, NULL),
               "ca has lost its line ends");
        expect(check(changed(certificates(&ca, NULL), 27, ' '), NULL, NULL, NULL),
               "ca has lost its line ends");
        expect(check(changed(certificates(&ca, NULL), 100, '!'), NULL, NULL, NULL),
               "ca is broken at certificate 1");
        expect(check(cut(certificates(&ca, NULL), 200), NULL, NULL, NULL),
               "ca is cut: it has no line \"-----END");
        expect(check(join("'", certificates(&ca, NULL)), NULL, NULL, NULL),
               "ca has something before -----BEGIN");
        expect(check(NULL, certificates(&me, NULL), certificates(&me, NULL), NULL),
               "key holds CERTIFICATE where a private key");
        expect(check(NULL, certificates(&me, NULL), one_line(key(&me, NULL)), NULL),
               "key has lost its line ends");
        expect(check(NULL, certificates(&me, NULL), cut(key(&me, NULL), 100), NULL),
               "key is cut: it has no line");
        expect(check(NULL, certificates(&me, NULL), changed(key(&me, NULL), 60, '!'), NULL),
               "key is a broken private key");
}

/* Proves that what blocks of PEM are called is told only where it is a known name. */
static void names_of_blocks(void **state) {
        static const char block[] = "-----BEGIN %s-----\nMAA=\n-----END %s-----\n";
        static const char *const known[] = {"CERTIFICATE REQUEST", "PUBLIC KEY",
                                            "OPENSSH PRIVATE KEY", "PKCS7"};
        char text[256], wanted[128];
        (void)state;
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
                snprintf(text, sizeof(text), block, known[i], known[i]);
                snprintf(wanted, sizeof(wanted), "key holds %s where a private key", known[i]);
                expect(check(NULL, certificates(&me, NULL), strdup(text), NULL), wanted);
        }
        snprintf(text, sizeof(text), block, "SECRET KEY", "SECRET KEY");
        expect(check(NULL, strdup(text), key(&me, NULL), NULL),
               "certificate holds something else where a certificate");
}

/* Proves that nobody is asked for a passphrase: a certificate has none. */
static void sealed_certificate(void **state) {
        static const char head[] = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,"
                                   "00112233445566778899AABBCCDDEEFF\n\n";
        char *whole = certificates(&ca, NULL), *body = strchr(whole, '\n') + 1;
        char *sealed = calloc(1, strlen(whole) + sizeof(head));
        (void)state;
        memcpy(sealed, whole, (size_t)(body - whole));
        strcat(sealed, head);
        strcat(sealed, body);
        free(whole);
        expect(check(sealed, NULL, NULL, NULL), "ca is broken at certificate 1");
}

/* Proves that a chain whose second certificate is broken is not taken for one of one. */
static void broken_later(void **state) {
        char *both = certificates(&below, &middle, NULL);
        (void)state;
        strstr(both + 1, "-----BEGIN")[100] = '!';
        expect(check(NULL, both, key(&below, NULL), NULL),
               "certificate is broken at certificate 2");
}

/* Proves that keys that are encrypted are told from those that are wrong. */
static void passphrases(void **state) {
        (void)state;
        expect(check(NULL, certificates(&me, NULL), key(&me, "word"), NULL),
               "passphrase is not given");
        expect(check(NULL, certificates(&me, NULL), key(&me, "word"), "other"),
               "passphrase does not open");
        expect(check(NULL, certificates(&me, NULL), key(&me, "word"), ""),
               "passphrase does not open");
}

/* Proves that what does not belong together is told. */
static void pairs(void **state) {
        (void)state;
        expect(check(NULL, certificates(&me, NULL), key(&ca, NULL), NULL), "key does not belong");
        expect(check(NULL, certificates(&me, NULL), NULL, NULL), "key is not given");
        expect(check(NULL, NULL, key(&me, NULL), NULL), "certificate is not given");
}

/* Proves that a chain is followed, in any order, and that it is a fault only when it
 * names an authority that has not signed it. */
static void chains(void **state) {
        static const char *const elsewhere =
                "warning: certificate does not lead to the trusted authority, but to CN = ";
        (void)state;
        assert_string_equal(check(certificates(&ca, NULL), certificates(&below, &ca, &middle, NULL),
                                  key(&below, NULL), NULL),
                            "");
        expect(check(certificates(&ca, NULL), certificates(&below, NULL), key(&below, NULL), NULL),
               "warning: certificate does not lead to the trusted authority, but to CN = middle");
        expect(check(NULL, certificates(&below, &ca, NULL), key(&below, NULL), NULL),
               "warning: certificate is followed by certificates that are not of its chain, which "
               "leads to CN = middle");
        expect(check(certificates(&impostor, NULL), certificates(&me, NULL), key(&me, NULL), NULL),
               "certificate is not signed by the given authority CN = ca, but by another");
        assert_string_equal(check(certificates(&impostor, &ca, NULL), certificates(&me, NULL),
                                  key(&me, NULL), NULL),
                            "");
        expect(check(NULL, certificates(&me, &impostor, NULL), key(&me, NULL), NULL),
               "certificate is not signed by the given authority CN = ca, but by another");
        expect(check(certificates(&stranger, NULL), certificates(&me, NULL), key(&me, NULL), NULL),
               elsewhere);
        assert_string_equal(look(certificates(&stranger, NULL), certificates(&me, NULL),
                                 key(&me, NULL), NULL, true),
                            "");
        expect(look(certificates(&impostor, NULL), certificates(&me, NULL), key(&me, NULL), NULL,
                    true),
               "warning: certificate is not signed by the given authority");
}

/* An authority whose key is of a kind that nobody knows. */
static char *unknown_kind(const identity_t *of) {
        static const unsigned char kind[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01};
        unsigned char *bytes = NULL;
        int size = i2d_X509(of->certificate, &bytes);
        BIO *bio = BIO_new(BIO_s_mem());
        unsigned char *at = memmem(bytes, (size_t)size, kind, sizeof(kind));
        assert_non_null(at);
        at[sizeof(kind) - 1] = 0x7f;
        PEM_write_bio(bio, "CERTIFICATE", "", bytes, size);
        OPENSSL_free(bytes);
        return text_of(bio);
}

/* Proves that an authority is no other of its name when it only cannot be judged. */
static void unknown_kinds(void **state) {
        (void)state;
        expect(check(unknown_kind(&ca), certificates(&me, NULL), key(&me, NULL), NULL),
               "warning: certificate does not lead to the trusted authority");
}

/* Proves that certificates which have signed each other are not followed for ever. */
static void rounds(void **state) {
        identity_t a = make("a", NULL, -10, 300), b = make("b", &a, -10, 300);
        char *round, *all = strdup("");
        (void)state;
        X509_set_issuer_name(a.certificate, X509_get_subject_name(b.certificate));
        assert_true(X509_sign(a.certificate, b.key, EVP_sha256()) > 0);
        round = certificates(&a, &b, NULL);
        assert_string_equal(check(NULL, strdup(round), key(&a, NULL), NULL), "");
        for (int i = 0; i < 60; i++)
                all = join(round, all);
        expect(check(NULL, all, key(&a, NULL), NULL), "is followed by certificates that are not");
        free(round);
        free_one(&a);
        free_one(&b);
}

/* Proves that only what stands between the client and an authority is taken for that,
 * never an authority. */
static void between(void **state) {
        char *all = certificates(&below, &middle, &ca, NULL), *wanted = certificates(&middle, NULL);
        char *got = cr_credentials_between(all);
        (void)state;
        assert_string_equal(got, wanted);
        assert_null(cr_credentials_between(wanted));
        assert_null(cr_credentials_between("nothing"));
        cr_free(got);
        free(all);
        free(wanted);
}

/* Proves that time counts: by a fault, and thirty days before by a warning. */
static void times(void **state) {
        (void)state;
        expect(check(NULL, certificates(&expired, NULL), key(&expired, NULL), NULL),
               "certificate has expired on 2027-01-14 08:00:00 UTC (CN = expired)");
        expect(check(NULL, certificates(&young, NULL), key(&young, NULL), NULL),
               "certificate is not valid before 2027-01-16 08:00:00 UTC");
        expect(check(NULL, certificates(&below, &old_middle, NULL), key(&below, NULL), NULL),
               "warning: certificate has expired");
        assert_string_equal(check(NULL, certificates(&ending, NULL), key(&ending, NULL), NULL),
                            "warning: certificate will expire on 2027-02-13 08:00:00 UTC "
                            "(CN = ending);");
        expect(check(certificates(&expired, NULL), NULL, NULL, NULL), "ca has expired");
        assert_string_equal(check(certificates(&expired, &ca, NULL), NULL, NULL, NULL),
                            "warning: ca has expired on 2027-01-14 08:00:00 UTC (CN = expired);");
        expect(check(certificates(&expired, &young, NULL), NULL, NULL, NULL),
               "ca has no certificate that is valid now");
        expect(look(certificates(&expired, NULL), NULL, NULL, NULL, true),
               "warning: ca has expired");
        expect(look(certificates(&expired, &young, NULL), NULL, NULL, NULL, true),
               "warning: ca has no certificate");
}

/* Proves that nothing is said of those in a system's bundle of authorities. */
static void bundles(void **state) {
        (void)state;
        assert_string_equal(check(certificates(&expired, &young, &ending, &ca, &ca, &ca, &ca, &ca,
                                               &ca, &ca, &ca, NULL),
                                  NULL, NULL, NULL),
                            "");
}

/* Proves that line ends of variables and of Windows become those of PEM. */
static void line_ends(void **state) {
        char text[] = "a\\nb\r\nc\\r\\nd\\e\\";
        size_t size = strlen(text);
        char *whole = certificates(&ca, NULL), *escaped = calloc(2, strlen(whole) + 1),
             *to = escaped;
        (void)state;
        cr_pem_unescape(text);
        assert_string_equal(text, "a\nb\nc\nd\\e\\");
        for (size_t i = strlen(text); i < size; i++)
                assert_int_equal(text[i], 0);
        for (const char *at = whole; *at; at++) {
                if (*at == '\n')
                        *to++ = '\\';
                *to++ = *at == '\n' ? 'n' : *at;
        }
        cr_pem_unescape(escaped);
        assert_string_equal(escaped, whole);
        free(whole);
        assert_string_equal(check(escaped, NULL, NULL, NULL), "");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(good),      cmocka_unit_test(texts),
                cmocka_unit_test(pairs),     cmocka_unit_test(names_of_blocks),
                cmocka_unit_test(chains),    cmocka_unit_test(sealed_certificate),
                cmocka_unit_test(between),   cmocka_unit_test(broken_later),
                cmocka_unit_test(times),     cmocka_unit_test(passphrases),
                cmocka_unit_test(line_ends), cmocka_unit_test(bundles),
                cmocka_unit_test(rounds),    cmocka_unit_test(unknown_kinds)};
        return cmocka_run_group_tests(tests, make_all, free_all);
}
