/*
 * The partitions in which a broker has confirmed a message of this client, by
 * telling its offset.
 *
 * librdkafka's idempotent producer has several batches of a partition on their
 * way. When one fails for now and the next is accepted, it reports the first as
 * delivered as well, without an offset: the sequence numbers that the broker
 * checks prove that it is in the log. But a broker that knows nothing of this
 * producer in that partition yet accepts any number. So the first batches of a
 * partition prove nothing: with a new topic, whose leader is not one yet when
 * the first comes and is when the second does, the first is lost, and was
 * reported as delivered (confluent-kafka-go #921; librdkafka 2.15 as well). In a
 * transaction brokers accept no such number.
 */
#ifndef CREMA_CONFIRMED_H
#define CREMA_CONFIRMED_H

#include <librdkafka/rdkafka.h>

#include <stdbool.h>

#include "map.h"

typedef struct cr_confirmed {
        bool wanted; /* the producer is idempotent: only then the above concerns it */
        const rd_kafka_topic_t *topic; /* of the last report, whose run goes on */
        int32_t partition;
        cr_map_t partitions;
} cr_confirmed_t;

cr_confirmed_t cr_confirmed(const rd_kafka_t *rk);
void cr_confirmed_clear(cr_confirmed_t *confirmed);
/* Notes a report without an error; false if nothing proves what it says. */
bool cr_confirmed_by(cr_confirmed_t *confirmed, const rd_kafka_message_t *report);

#endif
