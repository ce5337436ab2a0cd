/*
 * Why brokers' certificates are refused. librdkafka tells of all alike that they
 * could not be verified; what OpenSSL found is kept here until that error comes.
 */
#ifndef CREMA_PEER_H
#define CREMA_PEER_H

#include <librdkafka/rdkafka.h>

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct cr_peer {
        pthread_mutex_t lock;
        char broker[256]; /* host:port; under lock, as the next */
        char reason[220]; /* why its certificate was refused last */
} cr_peer_t;

void cr_peer_init(cr_peer_t *peer);
void cr_peer_destroy(cr_peer_t *peer);
/* Has a client of this configuration, whose opaque is its cr_client_t, tell that one's
 * peer. Nothing is accepted that OpenSSL refuses, nor the other way round. */
void cr_peer_watch(rd_kafka_conf_t *conf);
/* The reason, when the text says that the certificate of the broker was refused
 * that was refused last. */
bool cr_peer_reason(cr_peer_t *peer, const char *text, char *reason, size_t size);

#endif
