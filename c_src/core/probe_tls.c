#include "probe_tls.h"

#include <openssl/err.h>
#include <openssl/pkcs12.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "door.h"
#include "mem.h"
#include "pem.h"
#include "rdkafka_compat.h"

#define PROPERTY(name, property) property,
static const char *const properties[] = {CR_PROBE_SETTINGS(PROPERTY)};
#undef PROPERTY

bool cr_probe_settings_set(cr_probe_settings_t *settings, cr_text_t property, cr_text_t value) {
        for (int i = 0; i < CR_PROBE_SETTING_COUNT; i++) {
                if (strlen(properties[i]) != property.size ||
                    memcmp(properties[i], property.bytes, property.size) != 0 ||
                    settings->values[i])
                        continue;
                settings->values[i] = cr_copy(value.bytes, value.size);
                if (settings->values[i] && cr_door_is_pem(properties[i]))
                        cr_pem_unescape(settings->values[i]);
                return settings->values[i] != NULL;
        }
        return true;
}

void cr_probe_settings_clear(cr_probe_settings_t *settings) {
        for (int i = 0; i < CR_PROBE_SETTING_COUNT; i++) {
                char *value = settings->values[i];
                cr_wipe(value, value ? strlen(value) : 0);
                settings->values[i] = NULL;
        }
}

static const char *value(const cr_probe_settings_t *settings, cr_probe_setting_t which) {
        const char *text = settings->values[which];
        return text && text[0] ? text : NULL;
}

static int give_password(char *buffer, int size, int writing, void *with) {
        const char *password = with;
        size_t length = password ? strlen(password) : 0;
        (void)writing;
        if (!password || length > (size_t)size)
                return -1; /* else OpenSSL asks at the terminal */
        memcpy(buffer, password, length);
        return (int)length;
}

static bool add_authorities(SSL_CTX *ctx, const char *pem) {
        cr_pem_fault_t fault;
        STACK_OF(X509) *all = cr_pem_certificates(pem, &fault);
        bool good = all != NULL;
        for (int i = 0; i < sk_X509_num(all); i++)
                good = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), sk_X509_value(all, i)) &&
                       good;
        sk_X509_pop_free(all, X509_free);
        return good;
}

/* Those of a place and of a text together; the system's where there is neither. */
static cr_probe_setting_t set_authorities(SSL_CTX *ctx, const cr_probe_settings_t *settings) {
        const char *location = value(settings, CR_PROBE_CA_LOCATION);
        const char *pem = value(settings, CR_PROBE_CA_PEM);
        struct stat about;
        bool is_directory;
        if (location && strcmp(location, "probe") == 0)
                location = NULL;
        is_directory = location && stat(location, &about) == 0 && S_ISDIR(about.st_mode);
        if (location && !SSL_CTX_load_verify_locations(ctx, is_directory ? NULL : location,
                                                       is_directory ? location : NULL))
                return CR_PROBE_CA_LOCATION;
        if (pem && !add_authorities(ctx, pem))
                return CR_PROBE_CA_PEM;
        if (!location && !pem)
                (void)SSL_CTX_set_default_verify_paths(ctx);
        return CR_PROBE_SETTING_COUNT;
}

static bool set_revocations(SSL_CTX *ctx, const char *location) {
        X509_STORE *store = SSL_CTX_get_cert_store(ctx);
        return !location || (X509_STORE_load_locations(store, location, NULL) &&
                             X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK));
}

/* Its own, then those that lead up from it. */
static bool use_chain(SSL_CTX *ctx, const char *pem) {
        cr_pem_fault_t fault;
        STACK_OF(X509) *chain = cr_pem_certificates(pem, &fault);
        X509 *own = chain ? sk_X509_shift(chain) : NULL;
        bool good = own && SSL_CTX_use_certificate(ctx, own) && SSL_CTX_set1_chain(ctx, chain);
        X509_free(own);
        sk_X509_pop_free(chain, X509_free);
        return good;
}

static bool use_key(SSL_CTX *ctx, const char *pem, const char *password) {
        cr_pem_fault_t fault;
        EVP_PKEY *key = cr_pem_key(pem, password, &fault);
        bool good = key && SSL_CTX_use_PrivateKey(ctx, key);
        EVP_PKEY_free(key);
        return good;
}

/* librdkafka keeps the chain of it to itself where it does so of a certificate's. */
static bool use_keystore(SSL_CTX *ctx, const char *location, const char *password) {
        BIO *from = BIO_new_file(location, "rb");
        PKCS12 *store = from ? d2i_PKCS12_bio(from, NULL) : NULL;
        STACK_OF(X509) *chain = NULL;
        EVP_PKEY *key = NULL;
        X509 *own = NULL;
        bool good = store && PKCS12_parse(store, password, &key, &own, &chain) && own && key &&
                    SSL_CTX_use_cert_and_key(ctx, own, key, cr_sends_chain() ? chain : NULL, 1);
        EVP_PKEY_free(key);
        X509_free(own);
        sk_X509_pop_free(chain, X509_free);
        PKCS12_free(store);
        BIO_free(from);
        return good;
}

/* The setting of what the client shows of itself that is of no use; else COUNT. */
static cr_probe_setting_t set_own(SSL_CTX *ctx, const cr_probe_settings_t *settings) {
        const char *password = value(settings, CR_PROBE_KEY_PASSWORD);
        const char *of;
        SSL_CTX_set_default_passwd_cb(ctx, give_password);
        SSL_CTX_set_default_passwd_cb_userdata(ctx, settings->values[CR_PROBE_KEY_PASSWORD]);
        if ((of = value(settings, CR_PROBE_CERTIFICATE_LOCATION)) &&
            !SSL_CTX_use_certificate_chain_file(ctx, of))
                return CR_PROBE_CERTIFICATE_LOCATION;
        if ((of = value(settings, CR_PROBE_CERTIFICATE_PEM)) && !use_chain(ctx, of))
                return CR_PROBE_CERTIFICATE_PEM;
        if ((of = value(settings, CR_PROBE_KEY_LOCATION)) &&
            !SSL_CTX_use_PrivateKey_file(ctx, of, SSL_FILETYPE_PEM))
                return CR_PROBE_KEY_LOCATION;
        if ((of = value(settings, CR_PROBE_KEY_PEM)) && !use_key(ctx, of, password))
                return CR_PROBE_KEY_PEM;
        if ((of = value(settings, CR_PROBE_KEYSTORE_LOCATION)) &&
            !use_keystore(ctx, of, value(settings, CR_PROBE_KEYSTORE_PASSWORD)))
                return CR_PROBE_KEYSTORE_LOCATION;
        return CR_PROBE_SETTING_COUNT;
}

static cr_probe_setting_t set_all(SSL_CTX *ctx, const cr_probe_settings_t *settings) {
        const char *ciphers = value(settings, CR_PROBE_CIPHERS);
        const char *curves = value(settings, CR_PROBE_CURVES);
        const char *signatures = value(settings, CR_PROBE_SIGNATURES);
        cr_probe_setting_t bad;
        if (ciphers && !SSL_CTX_set_cipher_list(ctx, ciphers))
                return CR_PROBE_CIPHERS;
        if (curves && !SSL_CTX_set1_curves_list(ctx, curves))
                return CR_PROBE_CURVES;
        if (signatures && !SSL_CTX_set1_sigalgs_list(ctx, signatures))
                return CR_PROBE_SIGNATURES;
        if ((bad = set_authorities(ctx, settings)) != CR_PROBE_SETTING_COUNT)
                return bad;
        if (!set_revocations(ctx, value(settings, CR_PROBE_CRL_LOCATION)))
                return CR_PROBE_CRL_LOCATION;
        return set_own(ctx, settings);
}

SSL_CTX *cr_probe_context(const cr_probe_settings_t *settings, const char **property) {
        SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
        cr_probe_setting_t bad;
        *property = "";
        if (!ctx)
                return NULL;
        /* What is wrong with the peer's is asked for afterwards. */
        SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
        bad = set_all(ctx, settings);
        ERR_clear_error(); /* the end of each PEM text is one */
        if (bad == CR_PROBE_SETTING_COUNT)
                return ctx;
        *property = properties[bad];
        SSL_CTX_free(ctx);
        return NULL;
}

void cr_probe_tell(cr_writer_t *out, const char *name) {
        cr_write_list(out, 1);
        cr_write_tuple(out, 2);
        cr_write_atom(out, name);
}

static void tell_text(cr_writer_t *out, const char *name, const char *text) {
        cr_probe_tell(out, name);
        cr_write_text(out, text);
}

static void tell_name(cr_writer_t *out, const char *name, const X509_NAME *of) {
        char text[512];
        tell_text(out, name, cr_name_text(of, text, sizeof(text)));
}

static void tell_time(cr_writer_t *out, const char *name, const ASN1_TIME *time) {
        struct tm parts;
        cr_probe_tell(out, name);
        cr_write_integer(out, ASN1_TIME_to_tm(time, &parts) ? (int64_t)timegm(&parts) : 0);
}

static void tell_alternative(cr_writer_t *out, const GENERAL_NAME *name) {
        char text[INET6_ADDRSTRLEN] = "";
        const ASN1_STRING *string = name->d.ia5;
        if (name->type == GEN_DNS) {
                cr_probe_tell(out, "name");
                cr_write_binary(out, ASN1_STRING_get0_data(string),
                                (size_t)ASN1_STRING_length(string));
        } else if (name->type == GEN_IPADD) {
                int size = ASN1_STRING_length(string);
                if ((size == 4 || size == 16) &&
                    inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(string), text,
                              sizeof(text)))
                        tell_text(out, "name", text);
        }
}

static void tell_names(cr_writer_t *out, const X509 *certificate) {
        GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
        for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
                tell_alternative(out, sk_GENERAL_NAME_value(names, i));
        GENERAL_NAMES_free(names);
}

/* As SSL_set1_host() has it, which librdkafka calls: an address is no name. */
static bool is_of_host(X509 *certificate, const char *name) {
        int of_address = X509_check_ip_asc(certificate, name, 0);
        if (of_address != -2)
                return of_address == 1;
        return X509_check_host(certificate, name, 0, 0, NULL) == 1;
}

static bool says(const cr_probe_settings_t *settings, cr_probe_setting_t which, const char *word) {
        const char *text = value(settings, which);
        return text && strcasecmp(text, word) == 0;
}

bool cr_probe_describe(const cr_probe_settings_t *settings, const SSL *ssl, const char *name,
                       cr_writer_t *out) {
        X509 *certificate = SSL_get1_peer_certificate(ssl);
        long verdict = SSL_get_verify_result(ssl);
        bool of_host;
        tell_text(out, "protocol", SSL_get_version(ssl));
        tell_text(out, "cipher", SSL_get_cipher_name(ssl));
        if (!certificate)
                return false;
        of_host = is_of_host(certificate, name);
        tell_name(out, "subject", X509_get_subject_name(certificate));
        tell_name(out, "issuer", X509_get_issuer_name(certificate));
        tell_names(out, certificate);
        tell_time(out, "not_before", X509_get0_notBefore(certificate));
        tell_time(out, "not_after", X509_get0_notAfter(certificate));
        tell_text(out, "verified", X509_verify_cert_error_string(verdict));
        cr_probe_tell(out, "verdict");
        cr_write_integer(out, verdict);
        cr_probe_tell(out, "host_matches");
        cr_write_bool(out, of_host);
        X509_free(certificate);
        ERR_clear_error(); /* of names that are broken */
        if (says(settings, CR_PROBE_VERIFICATION, "false"))
                return true;
        return verdict == X509_V_OK && (of_host || says(settings, CR_PROBE_IDENTIFICATION, "none"));
}
