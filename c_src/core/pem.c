#include "pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#define DASHES "-----"
#define BEGIN DASHES "BEGIN "
#define END DASHES "END "

void cr_pem_unescape(char *text) {
        char *to = text;
        const char *from;
        for (from = text; *from; from++) {
                if (*from == '\r' || (from[0] == '\\' && from[1] == 'r')) {
                        from += *from == '\\';
                } else if (from[0] == '\\' && from[1] == 'n') {
                        *to++ = '\n';
                        from++;
                } else {
                        *to++ = *from;
                }
        }
        memset(to, 0, (size_t)(from - to));
}

/* ---- what a text is, when it is not what it should be --------------------- */

static void say(cr_pem_fault_t *fault, const char *text) {
        snprintf(fault->text, sizeof(fault->text), "%s", text);
}

/* The kinds of blocks that have a name to be told by: another might be anything. */
static const char *const kinds[] = {"CERTIFICATE",
                                    "TRUSTED CERTIFICATE",
                                    "X509 CERTIFICATE",
                                    "CERTIFICATE REQUEST",
                                    "X509 CRL",
                                    "NEW CERTIFICATE REQUEST",
                                    "PKCS7",
                                    "PUBLIC KEY",
                                    "RSA PUBLIC KEY",
                                    "PRIVATE KEY",
                                    "RSA PRIVATE KEY",
                                    "EC PRIVATE KEY",
                                    "DSA PRIVATE KEY",
                                    "ENCRYPTED PRIVATE KEY",
                                    "OPENSSH PRIVATE KEY",
                                    "EC PARAMETERS",
                                    "DH PARAMETERS"};

/* Of the block that begins there. */
static const char *kind_of(const char *begin) {
        const char *name = begin + strlen(BEGIN);
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
                size_t size = strlen(kinds[i]);
                if (strncmp(name, kinds[i], size) == 0 &&
                    strncmp(name + size, DASHES, strlen(DASHES)) == 0)
                        return kinds[i];
        }
        return "something else";
}

static bool is_private_key(const char *kind) {
        return strstr(kind, "PRIVATE KEY") && strcmp(kind, "OPENSSH PRIVATE KEY") != 0;
}

static bool has_private_key(const char *text) {
        for (const char *at = text; (at = strstr(at, BEGIN)); at++) {
                if (is_private_key(kind_of(at)))
                        return true;
        }
        return false;
}

/* Whether anything follows -----BEGIN ...----- in its line. */
static bool is_joined(const char *begin) {
        const char *name = begin + strlen(BEGIN), *dashes = strstr(name, DASHES);
        if (!dashes || dashes > name + strcspn(name, "\n"))
                return false;
        dashes += strlen(DASHES);
        dashes += strspn(dashes, " \t\r");
        return *dashes && *dashes != '\n';
}

/* What is wrong with the form; false when nothing is. */
static bool is_misshapen(const char *text, cr_pem_fault_t *fault) {
        const char *begin = strstr(text, BEGIN);
        if (!text[strspn(text, " \t\n")])
                say(fault, "is empty");
        else if (strncmp(text, "LS0tLS1CRUdJTi", 14) == 0)
                say(fault, "is the base64 of PEM: decode it first");
        else if (!begin && !strpbrk(text, " \t\n"))
                say(fault, "is no PEM: it has no line \"-----BEGIN ...-----\"."
                           " Is it the name of a file?");
        else if (!begin)
                say(fault, "is no PEM: it has no line \"-----BEGIN ...-----\"");
        else if (is_joined(begin))
                say(fault, "has lost its line ends: write them as \\n");
        else if (begin > text && begin[-1] != '\n')
                say(fault, "has something before -----BEGIN in its line: a space, a quotation"
                           " mark?");
        else if (!strstr(begin, END))
                say(fault, "is cut: it has no line \"-----END ...-----\"");
        else
                return false;
        return true;
}

static void say_absent(const char *text, cr_pem_fault_t *fault, const char *wanted) {
        if (!is_misshapen(text, fault))
                snprintf(fault->text, sizeof(fault->text), "holds %s where %s is expected",
                         kind_of(strstr(text, BEGIN)), wanted);
}

/* ---- reading ------------------------------------------------------------- */

typedef struct passphrase {
        const char *text; /* NULL: there is none */
        bool asked;
} passphrase_t;

/* Without a function of ours OpenSSL would ask whoever sits at the terminal. */
static int give_passphrase(char *buffer, int size, int writing, void *with) {
        passphrase_t *passphrase = with;
        size_t length = passphrase->text ? strlen(passphrase->text) : 0;
        (void)writing;
        passphrase->asked = true;
        if (!length || length > (size_t)size)
                return -1;
        memcpy(buffer, passphrase->text, length);
        return (int)length;
}

static bool is_end(unsigned long why) {
        return ERR_GET_LIB(why) == ERR_LIB_PEM && ERR_GET_REASON(why) == PEM_R_NO_START_LINE;
}

STACK_OF(X509) * cr_pem_certificates(const char *text, cr_pem_fault_t *fault) {
        passphrase_t none = {.text = NULL};
        STACK_OF(X509) *all = sk_X509_new_null();
        BIO *bio = BIO_new_mem_buf(text, -1);
        X509 *one;
        int count;
        bool end;
        ERR_clear_error();
        /* AUX: also what OpenSSL itself calls a trusted certificate. */
        while (all && bio && (one = PEM_read_bio_X509_AUX(bio, NULL, give_passphrase, &none))) {
                if (!sk_X509_push(all, one))
                        X509_free(one);
        }
        end = is_end(ERR_peek_last_error());
        ERR_clear_error();
        BIO_free(bio);
        count = all ? sk_X509_num(all) : 0;
        if (count && end)
                return all;
        if (end)
                say_absent(text, fault, "a certificate (CERTIFICATE)");
        else if (count || !is_misshapen(text, fault))
                snprintf(fault->text, sizeof(fault->text),
                         "is broken at certificate %d: its text is cut or changed", count + 1);
        sk_X509_pop_free(all, X509_free);
        return NULL;
}

/* Whether it was not the passphrase: OpenSSL has no such algorithm. */
static bool is_unknown_method(void) {
        unsigned long why;
        bool is = false;
        while ((why = ERR_get_error()))
                is |= ERR_GET_LIB(why) == ERR_LIB_EVP && ERR_GET_REASON(why) == ERR_R_UNSUPPORTED;
        return is;
}

EVP_PKEY *cr_pem_key(const char *text, const char *given, cr_pem_fault_t *fault) {
        passphrase_t passphrase = {.text = given};
        BIO *bio = BIO_new_mem_buf(text, -1);
        EVP_PKEY *key;
        bool unknown;
        ERR_clear_error();
        key = bio ? PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, &passphrase) : NULL;
        unknown = is_unknown_method();
        BIO_free(bio);
        if (key)
                return key;
        fault->of_passphrase = passphrase.asked && !(given && unknown);
        if (passphrase.asked && !given)
                say(fault, "is not given, but the private key is encrypted");
        else if (fault->of_passphrase)
                say(fault, "does not open the private key");
        else if (passphrase.asked)
                say(fault, "is encrypted in a way that this OpenSSL does not know");
        else if (!has_private_key(text))
                say_absent(text, fault, "a private key");
        else if (!is_misshapen(text, fault))
                say(fault, "is a broken private key: its text is cut or changed");
        return NULL;
}

const char *cr_name_text(const X509_NAME *name, char *text, size_t size) {
        BIO *bio = BIO_new(BIO_s_mem());
        int length = 0;
        if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_ONELINE) >= 0)
                length = BIO_read(bio, text, (int)size - 1);
        BIO_free(bio);
        text[length > 0 ? length : 0] = '\0';
        return text;
}
