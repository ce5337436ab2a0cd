#include "peer.h"

#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "pem.h"

#define NAMES 4

void cr_peer_init(cr_peer_t *peer) {
        pthread_mutex_init(&peer->lock, NULL);
}

void cr_peer_destroy(cr_peer_t *peer) {
        pthread_mutex_destroy(&peer->lock);
}

/* The host names of a certificate, as far as there is room. They come from whoever
 * has answered: what is in no name becomes a question mark. */
static void hosts_of(const X509 *one, char *text, size_t size) {
        GENERAL_NAMES *names = X509_get_ext_d2i(one, NID_subject_alt_name, NULL, NULL);
        size_t used = 0;
        int told = 0;
        text[0] = '\0';
        for (int i = 0; i < sk_GENERAL_NAME_num(names) && told < NAMES; i++) {
                int type;
                const ASN1_STRING *name =
                        GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
                if (type != GEN_DNS || used + (size_t)ASN1_STRING_length(name) + 3 > size)
                        continue;
                used += (size_t)snprintf(text + used, size - used, "%s%.*s", told ? ", " : "",
                                         ASN1_STRING_length(name),
                                         (const char *)ASN1_STRING_get0_data(name));
                told++;
        }
        for (char *at = text; *at; at++)
                *at = *at > ' ' && *at < 127 ? *at : (char)(*at == ' ' ? ' ' : '?');
        GENERAL_NAMES_free(names);
        if (!told)
                cr_name_text(X509_get_subject_name(one), text, size);
}

/* Of a host's name, which may have colons, without the port. */
static int host_size(const char *host) {
        const char *port = strrchr(host, ':');
        return (int)(port ? (size_t)(port - host) : strlen(host));
}

/* One sentence's end for what OpenSSL found of a certificate of the broker's. */
static void explain(const X509 *one, int found, const char *host, char *text, size_t size) {
        char name[160];
        switch (found) {
        case X509_V_ERR_HOSTNAME_MISMATCH:
        case X509_V_ERR_IP_ADDRESS_MISMATCH:
                hosts_of(one, name, sizeof(name));
                snprintf(text, size, "is not for the name %.*s, but for %s", host_size(host), host,
                         name);
                break;
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
        case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        case X509_V_ERR_CERT_SIGNATURE_FAILURE:
                cr_name_text(X509_get_issuer_name(one), name, sizeof(name));
                snprintf(text, size, "comes from an authority that is not trusted: %s", name);
                break;
        case X509_V_ERR_CERT_HAS_EXPIRED:
        case X509_V_ERR_CERT_NOT_YET_VALID:
                cr_name_text(X509_get_subject_name(one), name, sizeof(name));
                snprintf(text, size, "%s: %s",
                         found == X509_V_ERR_CERT_HAS_EXPIRED ? "has expired" : "is not valid yet",
                         name);
                break;
        default:
                cr_name_text(X509_get_subject_name(one), name, sizeof(name));
                snprintf(text, size, "is refused: %s (%s)", X509_verify_cert_error_string(found),
                         name);
        }
}

/* @locality librdkafka's threads */
static int verified(rd_kafka_t *rk, const char *broker, int32_t id, int *found, int depth,
                    const char *bytes, size_t size, char *text, size_t room, void *client) {
        cr_peer_t *peer = &((cr_client_t *)client)->peer;
        const unsigned char *at = (const unsigned char *)bytes;
        X509 *one;
        (void)rk;
        (void)id;
        (void)depth;
        if (*found == X509_V_OK)
                return 1;
        one = d2i_X509(NULL, &at, (long)size);
        pthread_mutex_lock(&peer->lock);
        snprintf(peer->broker, sizeof(peer->broker), "%s", broker);
        peer->reason[0] = '\0';
        if (one)
                explain(one, *found, broker, peer->reason, sizeof(peer->reason));
        snprintf(text, room, "%s", peer->reason);
        pthread_mutex_unlock(&peer->lock);
        X509_free(one);
        return 0;
}

void cr_peer_watch(rd_kafka_conf_t *conf) {
        char text[8];
        size_t size = sizeof(text);
        /* Where nothing is verified there is nothing to tell. */
        if (rd_kafka_conf_get(conf, "enable.ssl.certificate.verification", text, &size) !=
                    RD_KAFKA_CONF_OK ||
            strcmp(text, "true") != 0)
                return;
        (void)rd_kafka_conf_set_ssl_cert_verify_cb(conf, verified);
}

bool cr_peer_reason(cr_peer_t *peer, const char *text, char *reason, size_t size) {
        bool known;
        if (!strstr(text, "certificate verify failed"))
                return false;
        pthread_mutex_lock(&peer->lock);
        known = peer->broker[0] && peer->reason[0] && strstr(text, peer->broker);
        if (known)
                snprintf(reason, size, "the broker's certificate %s", peer->reason);
        pthread_mutex_unlock(&peer->lock);
        return known;
}
