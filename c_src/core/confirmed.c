#include "confirmed.h"

#include <string.h>

cr_confirmed_t cr_confirmed(const rd_kafka_t *rk) {
        cr_confirmed_t confirmed = {.wanted = false};
        char value[8];
        size_t size = sizeof(value);
        confirmed.wanted = rd_kafka_conf_get(rd_kafka_conf((rd_kafka_t *)rk), "enable.idempotence",
                                             value, &size) == RD_KAFKA_CONF_OK &&
                           strcmp(value, "true") == 0;
        return confirmed;
}

void cr_confirmed_clear(cr_confirmed_t *confirmed) {
        cr_map_clear(&confirmed->partitions);
}

/* The delivery keeps the topic's handle to its end, so its address names it. The
 * lowest bits of an address are zero, and 2^20 partitions have room below. */
static uint64_t key_of(const rd_kafka_message_t *report) {
        return (uint64_t)(uintptr_t)report->rkt << 16 ^ (uint32_t)report->partition;
}

/* Without memory it is not noted: a later report is then doubted needlessly. */
static void note(cr_confirmed_t *confirmed, const rd_kafka_message_t *report) {
        uint64_t key = key_of(report);
        if (!cr_map_get(&confirmed->partitions, key) &&
            !cr_map_put(&confirmed->partitions, key, confirmed))
                return;
        confirmed->topic = report->rkt;
        confirmed->partition = report->partition;
}

bool cr_confirmed_by(cr_confirmed_t *confirmed, const rd_kafka_message_t *report) {
        if (report->rkt == confirmed->topic && report->partition == confirmed->partition)
                return true;
        if (!confirmed->wanted)
                return true;
        if (report->offset == RD_KAFKA_OFFSET_INVALID)
                return cr_map_get(&confirmed->partitions, key_of(report)) != NULL;
        note(confirmed, report);
        return true;
}
