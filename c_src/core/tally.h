/*
 * The tally of delivery reports, for an owner that asked for it at OPEN: how
 * many there were, error by error, and the reports themselves up to a bound.
 *
 *   {reports, Acknowledged, [{Error, Count}], Unlisted, Listed}
 *
 * Listed is packed: Error:16/signed, Status:8, Partition:32/signed,
 * Offset:64/signed, TopicSize:16, Topic (empty: that of the report before).
 *
 * One event is under way at a time. When the owner has dealt with it, it says
 * TALLIED, and what was reported meanwhile comes in the next. So with a slow
 * owner the counts grow, and neither its mailbox nor, beyond the bound, the list.
 */
#ifndef CREMA_TALLY_H
#define CREMA_TALLY_H

#include <librdkafka/rdkafka.h>

#include "client.h"
#include "options.h"

#define CR_TALLY_ERRORS 32

typedef struct cr_tally {
        int64_t most; /* reports to list */
        bool sent;    /* the owner has not dealt with the last */
        uint64_t acknowledged, unlisted;
        struct {
                int16_t error;
                uint64_t count;
        } failures[CR_TALLY_ERRORS];
        int errors; /* of them in use */
        int64_t listed;
        unsigned char *list; /* owned */
        size_t size, room;
        const rd_kafka_topic_t *topic; /* of the last in the list; only compared */
} cr_tally_t;

/* NULL when there is no memory. */
cr_tally_t *cr_tally_new(const cr_options_t *options);
void cr_tally_destroy(cr_tally_t *tally);
/* Adds the report of a message, as it is told. */
void cr_tally_add(cr_tally_t *tally, const rd_kafka_message_t *report, rd_kafka_resp_err_t error,
                  uint8_t status);
/* Sends what there is, if the owner is ready for it: at the end of a drain. */
bool cr_tally_send(cr_client_t *client);
/* Sends it whether the owner is ready or not: it says so, or the client ends. */
void cr_tally_more(cr_client_t *client);

#endif
