/*
 * The embedded cluster: librdkafka's mock brokers on ports of this machine.
 * Other processes of the machine may connect to it.
 */
#ifndef CREMA_CLUSTER_H
#define CREMA_CLUSTER_H

#include <librdkafka/rdkafka.h>

typedef struct cr_cluster cr_cluster_t;

#define CR_MOST_BROKERS 100

/* NULL when it cannot be started. */
cr_cluster_t *cr_cluster_new(rd_kafka_t *rk, int64_t brokers);
void cr_cluster_destroy(cr_cluster_t *cluster);
/* host:port,host:port; lives as long as the cluster. */
const char *cr_cluster_bootstrap(const cr_cluster_t *cluster);

#endif
