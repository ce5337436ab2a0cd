/*
 * The connections of a client, and how much was sent on them: Linux's count, as
 * librdkafka does not tell when it has sent a request.
 */
#ifndef CREMA_SOCKETS_H
#define CREMA_SOCKETS_H

#include <librdkafka/rdkafka.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Of more connections than these no count is kept. */
#define CR_SOCKETS_MOST 32

typedef struct cr_sockets {
        pthread_mutex_t lock; /* what is on the list is open, and this client's */
        int count;            /* under lock, as the next */
        int open[CR_SOCKETS_MOST];
} cr_sockets_t;

/* Whether the system counts at all. */
bool cr_sockets_tell(void);
void cr_sockets_init(cr_sockets_t *sockets);
void cr_sockets_destroy(cr_sockets_t *sockets);
/* Has a client of this configuration, whose opaque is its cr_client_t, keep them. */
void cr_sockets_watch(rd_kafka_conf_t *conf);
/* Bytes that were sent on those that are open; 0 where the system does not tell. */
uint64_t cr_sockets_sent(cr_sockets_t *sockets);

#endif
