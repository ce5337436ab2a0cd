/*
 * Why brokers' certificates are refused. librdkafka tells of all alike that they
 * could not be verified; what OpenSSL found is kept here until that error comes.
 */
#ifndef CREMA_PEER_H
#define CREMA_PEER_H

#include <librdkafka/rdkafka.h>

#include <pthread.h>

#include "error.h"

typedef struct cr_peer {
        pthread_mutex_t lock;
        char broker[256]; /* host:port; under lock, as the next */
        char reason[220]; /* why its certificate was refused last */
} cr_peer_t;

void cr_peer_init(cr_peer_t *peer);
void cr_peer_destroy(cr_peer_t *peer);
/* Has a client of this configuration tell the peer, which must outlive it. Nothing
 * is accepted that OpenSSL refuses, nor the other way round. */
void cr_peer_watch(cr_peer_t *peer, rd_kafka_conf_t *conf);
/* Puts the reason into an error, if it is of the broker that was refused. */
void cr_peer_explain(cr_peer_t *peer, cr_error_t *error);

#endif
