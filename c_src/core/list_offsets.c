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

rd_kafka_resp_err_t cr_list_positions(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions,
                                      int64_t which, int millis) {
        rd_kafka_resp_err_t err = cr_list_offsets(rk, partitions, which, millis);
        rd_kafka_topic_partition_list_t *ends = rd_kafka_topic_partition_list_new(8);
        for (int i = 0; i < partitions->cnt && !err; i++) {
                if (partitions->elems[i].offset < 0)
                        rd_kafka_topic_partition_list_add(ends, partitions->elems[i].topic,
                                                          partitions->elems[i].partition);
        }
        if (ends->cnt && !(err = cr_list_offsets(rk, ends, RD_KAFKA_OFFSET_END, millis)))
                cr_take_offsets(partitions, ends);
        rd_kafka_topic_partition_list_destroy(ends);
        return err;
}

void cr_take_offsets(rd_kafka_topic_partition_list_t *list,
                     const rd_kafka_topic_partition_list_t *from) {
        for (int i = 0; i < from->cnt; i++)
                rd_kafka_topic_partition_list_set_offset(list, from->elems[i].topic,
                                                         from->elems[i].partition,
                                                         from->elems[i].offset);
}

rd_kafka_resp_err_t cr_committed(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions,
                                 int millis) {
        rd_kafka_resp_err_t err = rd_kafka_committed(rk, partitions, millis);
        /* The call as a whole succeeds where one partition's offset is withheld. */
        for (int i = 0; i < partitions->cnt && !err; i++)
                err = partitions->elems[i].err;
        return err;
}

void cr_set_err(rd_kafka_topic_partition_list_t *list, rd_kafka_resp_err_t err) {
        for (int i = 0; i < list->cnt; i++)
                list->elems[i].err = err;
}

void cr_seek(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions, int millis) {
        rd_kafka_error_t *error = rd_kafka_seek_partitions(rk, partitions, millis);
        rd_kafka_resp_err_t err = error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;
        if (error)
                rd_kafka_error_destroy(error);
        /* After the time those say so that have not answered. */
        if (err && err != RD_KAFKA_RESP_ERR__TIMED_OUT)
                cr_set_err(partitions, err);
}
