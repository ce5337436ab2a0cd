/*
 * What differs between the librdkafkas we build with, asked once and here
 * only: the rest of the core tests CR_HAVE_* as ordinary constants.
 */
#ifndef CREMA_RDKAFKA_COMPAT_H
#define CREMA_RDKAFKA_COMPAT_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <stdbool.h>

#if RD_KAFKA_VERSION < 0x020002ff
#error "crema needs librdkafka 2.0.2 or later"
#endif

/* SCRAM that repeats the nonce as Kafka 4 demands (2.6.1, #4895). */
#define CR_HAVE_SCRAM_KAFKA_4 (RD_KAFKA_VERSION >= 0x020601ff)
/* The consumer group protocol of KIP-848, generally available (2.12). */
#define CR_HAVE_CONSUMER_PROTOCOL (RD_KAFKA_VERSION >= 0x020c00ff)
/* What brokers say to its members, which old headers do not know. */
#define CR_ERR_FENCED_MEMBER_EPOCH ((rd_kafka_resp_err_t)110)
#define CR_ERR_STALE_MEMBER_EPOCH ((rd_kafka_resp_err_t)113)
/* fetch.queue.backoff.ms (2.2): without it a full queue costs a second. */
#define CR_HAVE_FETCH_QUEUE_BACKOFF (RD_KAFKA_VERSION >= 0x020200ff)

/* Before 2.3.0 a consumer with a sticky strategy must not be destroyed between
 * the answer to its join and its first assignment: an assertion then ends the
 * process (#4381). Asked at run time: the library may be newer than its headers. */
static inline bool cr_must_be_assigned_first(void) {
        return rd_kafka_version() < 0x020300ff;
}

/* Whether all of ssl.certificate.pem is sent to brokers (2.8.0, #4894). */
static inline bool cr_sends_chain(void) {
        return rd_kafka_version() >= 0x020800ff;
}

#endif
