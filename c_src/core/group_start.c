/*
 * Where partitions begin that the group has no offset for: where the consumer's
 * start says, but one that its topic got later than the group has begun with it
 * at the earliest, or what came before anybody noticed it would be lost. So do
 * those of topics that were made later (group_topics.c), and of topics to which
 * the group itself sends.
 *
 * Which is which is told by a mark, the metadata of the commit of a start: the
 * number of partitions that the topic had when the group began with it. By it
 * members that begin at the same time know each other. Commits of handled
 * messages have none: where nothing else is left, the group is at work, and
 * a partition without an offset is new.
 */
#include <stdio.h>
#include <stdlib.h>

#include "group.h"
#include "list_offsets.h"
#include "mem.h"

#define MARK "crema:partitions="
/* How long a commit of starts may keep an answer to librdkafka waiting. */
#define COMMIT_MS 1000

void cr_start_set_mark(rd_kafka_t *rk, rd_kafka_topic_partition_t *at, int32_t mark) {
        char text[sizeof(MARK) + 16];
        size_t size = (size_t)snprintf(text, sizeof(text), MARK "%d", (int)mark);
        if (!mark || !(at->metadata = rd_kafka_mem_malloc(rk, size + 1)))
                return;
        memcpy(at->metadata, text, size + 1);
        at->metadata_size = size;
}

int32_t cr_start_mark(const rd_kafka_topic_partition_t *at) {
        char text[sizeof(MARK) + 16] = "";
        long mark;
        if (!at->metadata || at->metadata_size >= sizeof(text))
                return 0;
        memcpy(text, at->metadata, at->metadata_size);
        if (strncmp(text, MARK, sizeof(MARK) - 1) != 0)
                return 0;
        mark = strtol(text + sizeof(MARK) - 1, NULL, 10);
        return mark > 0 && mark < INT32_MAX ? (int32_t)mark : 0;
}

static rd_kafka_topic_partition_list_t *
without_offset(const rd_kafka_topic_partition_list_t *list) {
        rd_kafka_topic_partition_list_t *some = rd_kafka_topic_partition_list_new(list->cnt);
        for (int i = 0; i < list->cnt; i++) {
                if (list->elems[i].offset < 0)
                        rd_kafka_topic_partition_list_add(some, list->elems[i].topic,
                                                          list->elems[i].partition);
        }
        return some;
}

static rd_kafka_resp_err_t count_partitions(rd_kafka_t *rk, const char *topic, int millis,
                                            int *count) {
        rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
        const struct rd_kafka_metadata *metadata;
        rd_kafka_resp_err_t err;
        if (!rkt)
                return rd_kafka_last_error();
        err = rd_kafka_metadata(rk, 0, rkt, &metadata, millis);
        rd_kafka_topic_destroy(rkt);
        if (err)
                return err;
        err = metadata->topic_cnt ? metadata->topics[0].err : RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
        *count = err ? 0 : metadata->topics[0].partition_cnt;
        rd_kafka_metadata_destroy(metadata);
        return err;
}

/* The number of partitions that the group began with, which is that of today
 * when it begins now, and 0 when that is long ago. */
static rd_kafka_resp_err_t ask_mark(rd_kafka_t *rk, const rd_kafka_topic_partition_t *there,
                                    int millis, int32_t *mark) {
        const char *topic = there->topic;
        int count = 0;
        rd_kafka_resp_err_t err = count_partitions(rk, topic, millis, &count);
        rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(count);
        bool begun = false, has_begun = there->offset >= 0;
        *mark = has_begun ? 0 : count;
        for (int i = 0; i < count; i++)
                rd_kafka_topic_partition_list_add(all, topic, i);
        if (!err)
                err = cr_committed(rk, all, millis);
        for (int i = 0; i < all->cnt && !err; i++) {
                int32_t one = cr_start_mark(&all->elems[i]);
                if (all->elems[i].offset < 0)
                        continue;
                if (!begun)
                        *mark = one;
                else if (!*mark || (one && one < *mark))
                        *mark = one;
                begun = true;
        }
        rd_kafka_topic_partition_list_destroy(all);
        return err;
}

/* 0 of a topic that was made since it was subscribed to, or made again since the
 * group began with it: what it has gets no mark, by which others know it too. */
static rd_kafka_resp_err_t find_mark(rd_kafka_t *rk, const cr_begin_t *begin, const char *topic,
                                     int32_t *mark) {
        const rd_kafka_topic_partition_t *there =
                rd_kafka_topic_partition_list_find(begin->topics->there, topic, 0);
        *mark = 0;
        return there ? ask_mark(rk, there, begin->patience, mark) : RD_KAFKA_RESP_ERR_NO_ERROR;
}

static bool is_early(const rd_kafka_topic_partition_list_t *early, const char *topic) {
        for (int i = 0; early && i < early->cnt; i++) {
                if (strcmp(early->elems[i].topic, topic) == 0)
                        return true;
        }
        return false;
}

/* Marks the starts; those that are to be at the beginning have that as offset. */
static rd_kafka_resp_err_t mark_starts(rd_kafka_t *rk, const cr_begin_t *begin,
                                       rd_kafka_topic_partition_list_t *list) {
        rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
        const char *topic = "";
        int32_t mark = 0;
        rd_kafka_topic_partition_list_sort(list, NULL, NULL);
        for (int i = 0; i < list->cnt && !err; i++) {
                rd_kafka_topic_partition_t *at = &list->elems[i];
                if (strcmp(at->topic, topic) != 0)
                        err = find_mark(rk, begin, at->topic, &mark);
                topic = at->topic;
                if (at->partition >= mark || is_early(begin->early, topic))
                        at->offset = RD_KAFKA_OFFSET_BEGINNING;
                cr_start_set_mark(rk, at, mark);
        }
        return err;
}

static void take_newer(rd_kafka_topic_partition_list_t *from,
                       rd_kafka_topic_partition_list_t *newer,
                       rd_kafka_topic_partition_list_t *rest) {
        for (int i = 0; i < from->cnt; i++) {
                const rd_kafka_topic_partition_t *at = &from->elems[i];
                rd_kafka_topic_partition_list_add(at->offset == RD_KAFKA_OFFSET_BEGINNING ? newer
                                                                                          : rest,
                                                  at->topic, at->partition);
        }
}

static rd_kafka_resp_err_t ask_starts(rd_kafka_t *rk, const cr_begin_t *begin,
                                      rd_kafka_topic_partition_list_t *list, cr_error_t *error) {
        rd_kafka_topic_partition_list_t *newer = rd_kafka_topic_partition_list_new(list->cnt);
        rd_kafka_topic_partition_list_t *rest = rd_kafka_topic_partition_list_new(list->cnt);
        int64_t which = begin->start == CR_START_EARLIEST ? RD_KAFKA_OFFSET_BEGINNING
                        : begin->start == CR_START_LATEST ? RD_KAFKA_OFFSET_END
                                                          : begin->time;
        rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
        take_newer(list, newer, rest);
        if (rest->cnt && begin->start == CR_START_ERROR) {
                err = RD_KAFKA_RESP_ERR__NO_OFFSET;
                cr_error_own(error, "no_committed_offset",
                             "the group has no offset for %s [%d], and start is error",
                             rest->elems[0].topic, (int)rest->elems[0].partition);
        } else if (rest->cnt) {
                err = cr_list_positions(rk, rest, which, begin->patience);
        }
        if (!err && newer->cnt)
                err = cr_list_offsets(rk, newer, RD_KAFKA_OFFSET_BEGINNING, begin->patience);
        cr_take_offsets(list, newer);
        cr_take_offsets(list, rest);
        rd_kafka_topic_partition_list_destroy(newer);
        rd_kafka_topic_partition_list_destroy(rest);
        return err;
}

rd_kafka_resp_err_t cr_find_starts(rd_kafka_t *rk, const cr_begin_t *begin,
                                   rd_kafka_topic_partition_list_t *partitions,
                                   rd_kafka_topic_partition_list_t **fresh, cr_error_t *error) {
        rd_kafka_topic_partition_list_t *list = without_offset(partitions);
        rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
        cr_topics_begun(begin->topics, partitions);
        if (list->cnt && begin->start != CR_START_EARLIEST)
                err = mark_starts(rk, begin, list);
        if (list->cnt && !err)
                err = ask_starts(rk, begin, list, error);
        if (err) {
                rd_kafka_topic_partition_list_destroy(list);
                return err;
        }
        cr_take_offsets(partitions, list);
        *fresh = list;
        return err;
}

cr_begin_t cr_group_begin(cr_group_t *group) {
        return (cr_begin_t){.start = group->start,
                            .time = group->start_time,
                            .early = group->early,
                            .topics = &group->topics,
                            .patience = 10 * CR_SLICE_MS};
}

/* ---- starts that could not be committed at once -------------------------------- */

typedef struct starts_job {
        cr_job_t job;
        rd_kafka_topic_partition_list_t *starts; /* owned */
        rd_kafka_resp_err_t err;
} starts_job_t;

void cr_start_add(cr_client_t *client, const cr_slot_t *slot,
                  rd_kafka_topic_partition_list_t *list) {
        rd_kafka_topic_partition_t *at =
                rd_kafka_topic_partition_list_add(list, slot->topic, slot->partition);
        at->offset = slot->delivered;
        cr_start_set_mark(client->rk, at, slot->mark);
}

/* @locality group lane */
static void run_starts(cr_client_t *client, cr_job_t *job) {
        starts_job_t *starts = (starts_job_t *)job;
        starts->err = cr_commit_wait(client, starts->starts, COMMIT_MS);
}

/* A slot that begins elsewhere by now stays as it is. */
static void done_starts(cr_client_t *client, cr_job_t *job) {
        starts_job_t *starts = (starts_job_t *)job;
        cr_slot_t *slot;
        size_t at = 0;
        client->group->committing_starts = false;
        while (!starts->err && (slot = cr_map_next(&client->group->slots, &at))) {
                const rd_kafka_topic_partition_t *start = rd_kafka_topic_partition_list_find(
                        starts->starts, slot->topic, slot->partition);
                if (!start || start->offset != slot->delivered)
                        continue;
                slot->begins = false;
                cr_source_mark(&slot->source);
        }
        if (starts->err && !cr_is_of_rebalance(starts->err) && !cr_client_closing(client))
                cr_group_error(client, starts->err);
        rd_kafka_topic_partition_list_destroy(starts->starts);
        cr_free(starts);
}

void cr_group_commit_starts(cr_client_t *client) {
        cr_group_t *group = client->group;
        rd_kafka_topic_partition_list_t *list;
        starts_job_t *starts;
        cr_slot_t *slot;
        size_t at = 0;
        if (group->committing_starts || !cr_group_is_settled(group))
                return;
        list = rd_kafka_topic_partition_list_new(8);
        while ((slot = cr_map_next(&group->slots, &at))) {
                if (slot->begins && !slot->unplaced)
                        cr_start_add(client, slot, list);
        }
        starts = list->cnt ? cr_alloc(sizeof(*starts)) : NULL;
        if (starts) {
                starts->job = (cr_job_t){.run = run_starts, .done = done_starts};
                starts->starts = list;
                group->committing_starts = cr_lane_submit(&client->group_lane, &starts->job);
        }
        if (!group->committing_starts) {
                rd_kafka_topic_partition_list_destroy(list);
                cr_free(starts);
        }
}
