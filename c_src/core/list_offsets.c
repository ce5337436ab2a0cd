#include "list_offsets.h"

#define LONGEST_MS 16000

int cr_longer(int millis) {
        return millis < LONGEST_MS / 2 ? 2 * millis : LONGEST_MS;
}

/* Not rd_kafka_query_watermark_offsets(): librdkafka 2.0.2's ignores its
 * time-out, and all ask for one partition only. */
rd_kafka_resp_err_t cr_list_offsets(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions,
                                    int64_t which, int millis) {
        rd_kafka_resp_err_t err;
        for (int i = 0; i < partitions->cnt; i++)
                partitions->elems[i].offset = which;
        err = rd_kafka_offsets_for_times(rk, partitions, millis);
        for (int i = 0; i < partitions->cnt && !err; i++)
                err = partitions->elems[i].err;
        return err;
}
