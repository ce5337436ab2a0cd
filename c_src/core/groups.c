/*
 * What a cluster knows of its consumer groups, asked by who is a member of none:
 * which there are, who is in one, and what one has committed.
 */
#include "inspect.h"

#include <string.h>

#include "rdkafka_compat.h"

typedef rd_kafka_AdminOptions_t options_t;

/* Has one question asked by its queue, and gives what came to `take`. Where all brokers
 * are asked each has less time for it than there is: what others have answered is told. */
static void ask_admin(cr_client_t *client, cr_job_t *job, rd_kafka_admin_op_t what,
                      void (*send)(cr_client_t *, const cr_inspect_t *, const options_t *,
                                   rd_kafka_queue_t *),
                      void (*take)(cr_inspect_t *, rd_kafka_event_t *)) {
        cr_inspect_t *ask = (cr_inspect_t *)job;
        rd_kafka_queue_t *queue = rd_kafka_queue_new(client->rk);
        options_t *options = rd_kafka_AdminOptions_new(client->rk, what);
        rd_kafka_event_t *event = NULL;
        char text[128];
        int left = cr_inspect_left(ask), millis = left - left / 4;
        rd_kafka_resp_err_t err;
        if (what != RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS || millis > CR_ADMIN_MS)
                millis = CR_ADMIN_MS; /* see there */
        err = rd_kafka_AdminOptions_set_request_timeout(options, millis, text, sizeof(text));
        if (err) {
                cr_error_code(&ask->error, err, text);
        } else {
                send(client, ask, options, queue);
                event = cr_inspect_wait(client, ask, queue);
        }
        if (event) {
                take(ask, event);
                rd_kafka_event_destroy(event);
        }
        rd_kafka_AdminOptions_destroy(options);
        rd_kafka_queue_destroy(queue);
}

/* True, and the question has failed, when there is an error. */
static bool failed(cr_inspect_t *ask, const rd_kafka_error_t *error) {
        if (!error || !rd_kafka_error_code(error))
                return false;
        cr_error_code(&ask->error, rd_kafka_error_code(error), rd_kafka_error_string(error));
        return true;
}

static void write_place(cr_writer_t *out, const rd_kafka_topic_partition_t *at, int arity) {
        cr_write_tuple(out, arity);
        cr_write_text(out, at->topic);
        cr_write_integer(out, at->partition);
}

static const char *text_or_none(const char *text) {
        return text ? text : "";
}

/* ---- all of them ------------------------------------------------------------ */

static void send_groups(cr_client_t *client, const cr_inspect_t *ask, const options_t *options,
                        rd_kafka_queue_t *queue) {
        (void)ask;
        rd_kafka_ListConsumerGroups(client->rk, options, queue);
}

/* The groups of an answer, and why there may be more of them; all are the event's. */
static const rd_kafka_ConsumerGroupListing_t **
listed(rd_kafka_event_t *event, size_t *count, const rd_kafka_error_t ***errors, size_t *bad) {
        const rd_kafka_ListConsumerGroups_result_t *result =
                rd_kafka_event_ListConsumerGroups_result(event);
        *errors = rd_kafka_ListConsumerGroups_result_errors(result, bad);
        return rd_kafka_ListConsumerGroups_result_valid(result, count);
}

static void take_groups(cr_inspect_t *ask, rd_kafka_event_t *event) {
        size_t count, bad;
        const rd_kafka_error_t **errors;
        const rd_kafka_ConsumerGroupListing_t **groups = listed(event, &count, &errors, &bad);
        if (!count && bad && failed(ask, errors[0]))
                return;
        cr_write_tuple(&ask->out, 2);
        cr_write_list(&ask->out, (int)count);
        for (size_t i = 0; i < count; i++) {
                cr_write_tuple(&ask->out, 2);
                cr_write_text(&ask->out, rd_kafka_ConsumerGroupListing_group_id(groups[i]));
                cr_write_text(&ask->out, rd_kafka_consumer_group_state_name(
                                                 rd_kafka_ConsumerGroupListing_state(groups[i])));
        }
        cr_write_list_end(&ask->out);
        cr_write_list(&ask->out, (int)bad);
        for (size_t i = 0; i < bad; i++) {
                cr_error_t error;
                cr_error_code(&error, rd_kafka_error_code(errors[i]),
                              rd_kafka_error_string(errors[i]));
                cr_write_error(&ask->out, &error);
        }
        cr_write_list_end(&ask->out);
}

/* @locality query lane */
static void run_groups(cr_client_t *client, cr_job_t *job) {
        ask_admin(client, job, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS, send_groups, take_groups);
}

/* ---- one, and who is in it ---------------------------------------------------- */

static void send_group(cr_client_t *client, const cr_inspect_t *ask, const options_t *options,
                       rd_kafka_queue_t *queue) {
        const char *name = ask->name;
        rd_kafka_DescribeConsumerGroups(client->rk, &name, 1, options, queue);
}

static void write_member(cr_writer_t *out, const rd_kafka_MemberDescription_t *member) {
        const rd_kafka_MemberAssignment_t *assignment =
                rd_kafka_MemberDescription_assignment(member);
        const rd_kafka_topic_partition_list_t *list =
                assignment ? rd_kafka_MemberAssignment_partitions(assignment) : NULL;
        cr_write_tuple(out, 4);
        cr_write_text(out, text_or_none(rd_kafka_MemberDescription_client_id(member)));
        cr_write_text(out, text_or_none(rd_kafka_MemberDescription_group_instance_id(member)));
        cr_write_text(out, text_or_none(rd_kafka_MemberDescription_host(member)));
        cr_write_list(out, list ? list->cnt : 0);
        for (int i = 0; list && i < list->cnt; i++)
                write_place(out, &list->elems[i], 2);
        cr_write_list_end(out);
}

static void write_coordinator(cr_writer_t *out, const rd_kafka_Node_t *node) {
        if (!node) {
                cr_write_atom(out, "none");
                return;
        }
        cr_write_tuple(out, 3);
        cr_write_integer(out, rd_kafka_Node_id(node));
        cr_write_text(out, text_or_none(rd_kafka_Node_host(node)));
        cr_write_integer(out, rd_kafka_Node_port(node));
}

static void take_group(cr_inspect_t *ask, rd_kafka_event_t *event) {
        size_t count;
        const rd_kafka_ConsumerGroupDescription_t **groups =
                rd_kafka_DescribeConsumerGroups_result_groups(
                        rd_kafka_event_DescribeConsumerGroups_result(event), &count);
        const rd_kafka_ConsumerGroupDescription_t *group = groups[0];
        int members;
        if (failed(ask, rd_kafka_ConsumerGroupDescription_error(group)))
                return;
        members = (int)rd_kafka_ConsumerGroupDescription_member_count(group);
        cr_write_tuple(&ask->out, 4);
        cr_write_text(&ask->out, rd_kafka_consumer_group_state_name(
                                         rd_kafka_ConsumerGroupDescription_state(group)));
        cr_write_text(&ask->out,
                      text_or_none(rd_kafka_ConsumerGroupDescription_partition_assignor(group)));
        write_coordinator(&ask->out, rd_kafka_ConsumerGroupDescription_coordinator(group));
        cr_write_list(&ask->out, members);
        for (int i = 0; i < members; i++)
                write_member(&ask->out, rd_kafka_ConsumerGroupDescription_member(group, (size_t)i));
        cr_write_list_end(&ask->out);
}

/* Fails unless the group is listed. */
static void take_listed(cr_inspect_t *ask, rd_kafka_event_t *event) {
        size_t count, bad;
        const rd_kafka_error_t **errors;
        const rd_kafka_ConsumerGroupListing_t **groups = listed(event, &count, &errors, &bad);
        for (size_t i = 0; i < count; i++) {
                if (!strcmp(rd_kafka_ConsumerGroupListing_group_id(groups[i]), ask->name))
                        return;
        }
        if (!bad || !failed(ask, errors[0]))
                cr_error_code(&ask->error, RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND, NULL);
}

/* Where a coordinator knows no such request librdkafka would free the question twice,
 * but who lists a group can describe it. All brokers are asked for that, so it is done
 * once. @locality query lane */
static bool can_describe(cr_client_t *client, cr_job_t *job) {
        if (cr_describes_groups() || client->lists_groups)
                return true;
        ask_admin(client, job, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS, send_groups, take_listed);
        client->lists_groups = !((cr_inspect_t *)job)->error.set;
        return client->lists_groups;
}

/* @locality query lane */
static void run_group(cr_client_t *client, cr_job_t *job) {
        if (can_describe(client, job))
                ask_admin(client, job, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, send_group,
                          take_group);
}

/* ---- what it has committed ----------------------------------------------------- */

static void send_offsets(cr_client_t *client, const cr_inspect_t *ask, const options_t *options,
                         rd_kafka_queue_t *queue) {
        rd_kafka_ListConsumerGroupOffsets_t *of =
                rd_kafka_ListConsumerGroupOffsets_new(ask->name, NULL);
        rd_kafka_ListConsumerGroupOffsets(client->rk, &of, 1, options, queue);
        rd_kafka_ListConsumerGroupOffsets_destroy(of);
}

static void take_offsets(cr_inspect_t *ask, rd_kafka_event_t *event) {
        size_t count;
        const rd_kafka_group_result_t **groups = rd_kafka_ListConsumerGroupOffsets_result_groups(
                rd_kafka_event_ListConsumerGroupOffsets_result(event), &count);
        const rd_kafka_topic_partition_list_t *list;
        if (failed(ask, rd_kafka_group_result_error(groups[0])))
                return;
        list = rd_kafka_group_result_partitions(groups[0]);
        for (int i = 0; list && i < list->cnt; i++) {
                if (list->elems[i].err) {
                        cr_error_code(&ask->error, list->elems[i].err, NULL);
                        return;
                }
        }
        cr_write_list(&ask->out, list ? list->cnt : 0);
        for (int i = 0; list && i < list->cnt; i++) {
                write_place(&ask->out, &list->elems[i], 3);
                cr_write_integer(&ask->out, list->elems[i].offset);
        }
        cr_write_list_end(&ask->out);
}

/* @locality query lane */
static void run_offsets(cr_client_t *client, cr_job_t *job) {
        ask_admin(client, job, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, send_offsets,
                  take_offsets);
}

void cr_do_GROUPS(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_inspect(client, in, reply, run_groups, false);
}

void cr_do_GROUP(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_inspect(client, in, reply, run_group, true);
}

void cr_do_GROUP_OFFSETS(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_inspect(client, in, reply, run_offsets, true);
}
