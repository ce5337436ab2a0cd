/*
 * Offsets that the user asks for: to commit what is acknowledged, what is
 * committed, where partitions begin and end.
 */
#include "group.h"
#include "list_offsets.h"
#include "mem.h"

/* The first try's bound: see cr_group_patience(). */
#define TRY_MS 1000

typedef struct offsets_job {
        cr_job_t job;
        cr_tag_t tag;
        rd_kafka_topic_partition_list_t *list; /* owned */
        int64_t which;                         /* of LIST_OFFSETS */
        int64_t deadline;
        rd_kafka_resp_err_t err;
} offsets_job_t;

static void add_assigned(rd_kafka_topic_partition_list_t *list, const cr_group_t *group) {
        cr_slot_t *slot;
        size_t at = 0;
        while ((slot = cr_map_next(&group->slots, &at))) {
                if (!slot->revoked)
                        rd_kafka_topic_partition_list_add(list, slot->topic, slot->partition);
        }
}

static void read_partition(cr_reader_t *term, rd_kafka_topic_partition_list_t *list) {
        cr_text_t text = {0};
        int64_t partition = 0;
        char *topic;
        if (cr_read_tuple(term, 2)) {
                text = cr_read_binary(term);
                partition = cr_read_integer(term);
        }
        if (term->failed || partition < 0 || partition > INT32_MAX) {
                term->failed = true;
                return;
        }
        topic = cr_copy(text.bytes, text.size);
        if (!topic || !text.size || strlen(topic) != text.size)
                term->failed = true;
        else if (!rd_kafka_topic_partition_list_find(list, topic, (int32_t)partition))
                rd_kafka_topic_partition_list_add(list, topic, (int32_t)partition);
        cr_free(topic);
}

rd_kafka_topic_partition_list_t *cr_read_partitions(cr_reader_t *term, const cr_group_t *group,
                                                    bool *all) {
        int count = cr_read_list(term);
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
        for (int i = 0; i < count && !term->failed; i++)
                read_partition(term, list);
        cr_read_list_end(term, count);
        *all = count == 0;
        if (*all && !term->failed)
                add_assigned(list, group);
        return list;
}

int64_t cr_read_where(cr_reader_t *term, bool *is_offset) {
        char name[16];
        int64_t number;
        cr_read_atom(term, name, sizeof(name));
        number = cr_read_integer(term);
        *is_offset = strcmp(name, "offset") == 0;
        if (strcmp(name, "beginning") == 0)
                return RD_KAFKA_OFFSET_BEGINNING;
        if (strcmp(name, "end") == 0)
                return RD_KAFKA_OFFSET_END;
        if (number < 0 || (!*is_offset && strcmp(name, "timestamp") != 0))
                term->failed = true;
        return number;
}

void cr_write_not_assigned(cr_writer_t *out, const rd_kafka_topic_partition_t *at) {
        cr_write_tuple(out, 2);
        cr_write_atom(out, "ok");
        cr_write_tuple(out, 3);
        cr_write_atom(out, "not_assigned");
        cr_write_text(out, at->topic);
        cr_write_integer(out, at->partition);
}

void cr_write_offsets(cr_writer_t *out, const rd_kafka_topic_partition_list_t *list) {
        cr_write_tuple(out, 2);
        cr_write_atom(out, "ok");
        cr_write_list(out, list->cnt);
        for (int i = 0; i < list->cnt; i++) {
                cr_write_tuple(out, 3);
                cr_write_text(out, list->elems[i].topic);
                cr_write_integer(out, list->elems[i].partition);
                cr_write_integer(out, list->elems[i].offset);
        }
        cr_write_list_end(out);
}

/* Those that were not committed. Where the whole commit failed, none of them has an
 * error of its own. */
static void write_failed(cr_writer_t *out, const rd_kafka_topic_partition_list_t *list) {
        int count = list ? list->cnt : 0;
        bool whole = true;
        for (int i = 0; i < count; i++)
                whole = whole && !list->elems[i].err;
        for (int i = 0; i < count; i++) {
                const rd_kafka_topic_partition_t *at = &list->elems[i];
                if (whole ? at->offset < 0 : !at->err)
                        continue;
                cr_write_list(out, 1);
                cr_write_tuple(out, 2);
                cr_write_text(out, at->topic);
                cr_write_integer(out, at->partition);
        }
        cr_write_list_end(out);
}

/* {commit_failed, {error, _}, [{Topic, Partition}]} */
void cr_group_commit_failed(cr_client_t *client, rd_kafka_resp_err_t err,
                            const rd_kafka_topic_partition_list_t *list) {
        cr_writer_t out = cr_writer();
        cr_error_t error;
        cr_error_code(&error, err, NULL);
        cr_write_tuple(&out, 3);
        cr_write_atom(&out, "commit_failed");
        cr_write_error(&out, &error);
        write_failed(&out, list);
        cr_send_event(client, &out);
}

/* Takes the list, also when it fails; the answer is then given. */
static void submit(cr_client_t *client, cr_lane_t *lane, offsets_job_t given, cr_recipient_t to,
                   cr_text_t tag, cr_reply_t *reply) {
        offsets_job_t *ask = cr_alloc(sizeof(*ask));
        if (ask)
                *ask = given;
        if (ask && cr_tag_set(&ask->tag, to, tag.bytes, tag.size) &&
            cr_lane_submit(lane, &ask->job))
                return;
        if (ask)
                cr_tag_clear(&ask->tag);
        cr_free(ask);
        rd_kafka_topic_partition_list_destroy(given.list);
        cr_answer_no_memory(client, reply);
}

static void offsets_free(offsets_job_t *ask) {
        rd_kafka_topic_partition_list_destroy(ask->list);
        cr_free(ask);
}

/* ---- what brokers know ------------------------------------------------- */

/* No further try would have another answer. */
static bool is_final(rd_kafka_resp_err_t err) {
        switch (err) {
        case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
        case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
                return true;
        default:
                return false;
        }
}

static rd_kafka_resp_err_t list_positions(cr_client_t *client,
                                          rd_kafka_topic_partition_list_t *list, int64_t which,
                                          int millis) {
        return cr_list_positions(client->rk, list, which, millis);
}

static rd_kafka_resp_err_t fetch_committed(cr_client_t *client,
                                           rd_kafka_topic_partition_list_t *list, int64_t unused,
                                           int millis) {
        (void)unused;
        return cr_committed(client->rk, list, millis);
}

static rd_kafka_resp_err_t
persist(cr_client_t *client, rd_kafka_topic_partition_list_t *list, int64_t which, int64_t deadline,
        rd_kafka_resp_err_t (*ask)(cr_client_t *, rd_kafka_topic_partition_list_t *, int64_t,
                                   int)) {
        rd_kafka_resp_err_t err;
        int patience = TRY_MS;
        if (!list->cnt)
                return RD_KAFKA_RESP_ERR_NO_ERROR;
        for (;;) {
                int64_t left = deadline - cr_now_ms();
                err = ask(client, list, which,
                          left < 1          ? 1
                          : left < patience ? (int)left
                                            : patience);
                if (!err || is_final(err) || cr_now_ms() >= deadline || cr_client_closing(client))
                        return err;
                patience = cr_group_patience(client, err, patience);
        }
}

rd_kafka_resp_err_t cr_ask_positions(cr_client_t *client, rd_kafka_topic_partition_list_t *list,
                                     int64_t which, int64_t deadline) {
        return persist(client, list, which, deadline, list_positions);
}

/* @locality query lane */
static void run_list(cr_client_t *client, cr_job_t *job) {
        offsets_job_t *ask = (offsets_job_t *)job;
        ask->err = cr_ask_positions(client, ask->list, ask->which, ask->deadline);
}

/* @locality query lane */
static void run_committed(cr_client_t *client, cr_job_t *job) {
        offsets_job_t *ask = (offsets_job_t *)job;
        ask->err = persist(client, ask->list, 0, ask->deadline, fetch_committed);
}

static void done_ask(cr_client_t *client, cr_job_t *job) {
        offsets_job_t *ask = (offsets_job_t *)job;
        cr_writer_t out = cr_writer();
        cr_error_t error;
        if (ask->job.refused) {
                cr_error_refused(&error);
                cr_write_error(&out, &error);
        } else if (ask->err) {
                cr_error_code(&error, ask->err, NULL);
                cr_write_error(&out, &error);
        } else {
                cr_write_offsets(&out, ask->list);
        }
        cr_reply_writer(client, &ask->tag, &out);
        offsets_free(ask);
}

/* What the two questions have in common. */
static void question(cr_client_t *client, const cr_input_t *in, bool committed, cr_reply_t *reply) {
        cr_reader_t term = cr_reader(in->data, in->size);
        offsets_job_t ask = {
                .job = {.run = committed ? run_committed : run_list, .done = done_ask}};
        cr_text_t tag;
        int64_t millis;
        bool unused;
        if (!cr_read_tuple(&term, committed ? 3 : 5)) {
                cr_answer_malformed(client, reply);
                return;
        }
        tag = cr_read_binary(&term);
        ask.list = cr_read_partitions(&term, client->group, &unused);
        if (!committed) {
                ask.which = cr_read_where(&term, &unused);
                term.failed |= unused; /* an offset is known */
        }
        millis = cr_read_integer(&term);
        if (!cr_reader_done(&term) || millis < 0 || millis > INT32_MAX) {
                rd_kafka_topic_partition_list_destroy(ask.list);
                cr_answer_malformed(client, reply);
                return;
        }
        ask.deadline = cr_now_ms() + millis;
        submit(client, &client->query_lane, ask, in->caller, tag, reply);
}

void cr_do_LIST_OFFSETS(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        question(client, in, false, reply);
}

void cr_do_COMMITTED(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        question(client, in, true, reply);
}

/* ---- commit -------------------------------------------------------------- */

/* The lane is not held up for longer where there is no coordinator. */
#define COMMIT_MS 30000

/* @locality group lane */
static void run_commit(cr_client_t *client, cr_job_t *job) {
        offsets_job_t *commit = (offsets_job_t *)job;
        if (commit->list->cnt)
                (void)cr_commit_wait(client, commit->list, COMMIT_MS);
}

static void write_result(cr_writer_t *out, const rd_kafka_topic_partition_t *at) {
        cr_error_t error;
        cr_write_tuple(out, 4);
        cr_write_text(out, at->topic);
        cr_write_integer(out, at->partition);
        cr_write_integer(out, at->offset);
        if (at->err) {
                cr_error_code(&error, at->err, NULL);
                cr_write_error(out, &error);
        } else {
                cr_write_atom(out, "ok");
        }
}

static void done_commit(cr_client_t *client, cr_job_t *job) {
        offsets_job_t *commit = (offsets_job_t *)job;
        const rd_kafka_topic_partition_list_t *list = commit->list;
        rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "ok");
        cr_write_list(&out, list->cnt);
        for (int i = 0; i < list->cnt; i++) {
                write_result(&out, &list->elems[i]);
                err = err ? err : list->elems[i].err;
        }
        cr_write_list_end(&out);
        if (err && !commit->tag.size)
                cr_group_commit_failed(client, err, list);
        cr_reply_writer(client, &commit->tag, &out);
        offsets_free(commit);
}

/* The positions of those that have one; of none that is not assigned. */
static rd_kafka_topic_partition_list_t *positions(const cr_group_t *group,
                                                  const rd_kafka_topic_partition_list_t *of,
                                                  const rd_kafka_topic_partition_t **missing) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(of->cnt);
        *missing = NULL;
        for (int i = 0; i < of->cnt && !*missing; i++) {
                const rd_kafka_topic_partition_t *at = &of->elems[i];
                const cr_slot_t *slot = cr_group_find(group, at->topic, at->partition);
                if (!slot)
                        *missing = at;
                else if (cr_window_position(&slot->window) >= 0)
                        rd_kafka_topic_partition_list_add(list, at->topic, at->partition)->offset =
                                cr_window_position(&slot->window);
        }
        return list;
}

void cr_do_COMMIT(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_reader_t term = cr_reader(in->data, in->size);
        offsets_job_t commit = {.job = {.run = run_commit, .done = done_commit}};
        rd_kafka_topic_partition_list_t *of;
        const rd_kafka_topic_partition_t *missing;
        cr_text_t tag;
        bool all;
        if (!cr_read_tuple(&term, 2)) {
                cr_answer_malformed(client, reply);
                return;
        }
        tag = cr_read_binary(&term);
        of = cr_read_partitions(&term, client->group, &all);
        commit.list = positions(client->group, of, &missing);
        if (!cr_reader_done(&term)) {
                cr_answer_malformed(client, reply);
        } else if (client->group->options.commits != CR_COMMITS_ACKNOWLEDGED) {
                cr_answer_own(client, reply, "commits_nothing",
                              "this consumer does not commit what is acknowledged");
        } else if (missing) {
                cr_writer_t out = cr_writer();
                cr_write_not_assigned(&out, missing);
                cr_answer(client, reply, &out);
        } else {
                submit(client, &client->group_lane, commit, in->caller, tag, reply);
                commit.list = NULL;
        }
        rd_kafka_topic_partition_list_destroy(of);
        if (commit.list)
                rd_kafka_topic_partition_list_destroy(commit.list);
}
