/*
 * The client's own queue: what librdkafka tells that is not a consumed
 * message. Reports go to delivery.c, rebalances to group.c, the rest becomes
 * events for the owner. Their number in one drain is bounded, so that a storm
 * of log lines can neither fill the owner's mailbox nor hold the scheduler. What
 * becomes of connections is not dropped: librdkafka waits between its attempts.
 */
#include "connections.h"
#include "delivery.h"
#include "group.h"
#include "statistics.h"

#define LOGS_A_DRAIN 50

static unsigned serve_reports(cr_client_t *client, rd_kafka_event_t *event) {
        const rd_kafka_message_t *message;
        unsigned count = 0;
        while ((message = rd_kafka_event_message_next(event))) {
                cr_delivery_report(client, message);
                count++;
        }
        return count;
}

/* {error, _} */
static void serve_error(cr_client_t *client, rd_kafka_event_t *event) {
        char text[512];
        cr_writer_t out = cr_writer();
        cr_error_t error;
        if (rd_kafka_event_error_is_fatal(event)) {
                rd_kafka_resp_err_t err = rd_kafka_fatal_error(client->rk, text, sizeof(text));
                cr_error_code(&error, err, text);
                error.fatal = true;
        } else {
                cr_error_code(&error, rd_kafka_event_error(event),
                              rd_kafka_event_error_string(event));
        }
        if (client->group && cr_is_evicted(rd_kafka_event_error(event)))
                cr_group_evicted(client);
        cr_write_error(&out, &error);
        if (error.fatal)
                cr_tell_owner(client, &out);
        else
                cr_send_event(client, &out);
}

/* {broker, Facility, Text, Reason}: why a certificate was refused, or nothing */
static void serve_connection(cr_client_t *client, const char *facility, const char *text) {
        char reason[256] = "";
        cr_writer_t out = cr_writer();
        (void)cr_peer_reason(&client->peer, text, reason, sizeof(reason));
        cr_write_tuple(&out, 4);
        cr_write_atom(&out, "broker");
        cr_write_text(&out, facility);
        cr_write_text(&out, text);
        cr_write_text(&out, reason);
        cr_send_event(client, &out);
}

/* {log, Level, Facility, Text, Dropped} */
static void serve_log(cr_client_t *client, rd_kafka_event_t *event) {
        const char *facility, *text;
        cr_writer_t out;
        int level;
        if (rd_kafka_event_log(event, &facility, &text, &level))
                return;
        if (cr_connections_line(level, facility, text))
                serve_connection(client, facility, text);
        if (level > client->log_level)
                return;
        if (client->logs_in_drain++ >= LOGS_A_DRAIN) {
                client->logs_dropped++;
                return;
        }
        out = cr_writer();
        cr_write_tuple(&out, 5);
        cr_write_atom(&out, "log");
        cr_write_integer(&out, level);
        cr_write_text(&out, facility);
        cr_write_text(&out, text);
        cr_write_integer(&out, (int64_t)client->logs_dropped);
        client->logs_dropped = 0;
        cr_send_event(client, &out);
}

static void serve_commit(cr_client_t *client, rd_kafka_event_t *event) {
        rd_kafka_resp_err_t err = rd_kafka_event_error(event);
        if (cr_is_evicted(err))
                cr_group_evicted(client);
        if (err && err != RD_KAFKA_RESP_ERR__NO_OFFSET)
                cr_group_commit_failed(client, err, rd_kafka_event_topic_partition_list(event));
}

static unsigned serve(cr_client_t *client, rd_kafka_event_t *event) {
        switch (rd_kafka_event_type(event)) {
        case RD_KAFKA_EVENT_DR:
                return client->delivery ? serve_reports(client, event) : 1;
        case RD_KAFKA_EVENT_ERROR:
                serve_error(client, event);
                break;
        case RD_KAFKA_EVENT_LOG:
                serve_log(client, event);
                break;
        case RD_KAFKA_EVENT_STATS:
                cr_statistics_event(client, rd_kafka_event_stats(event));
                break;
        case RD_KAFKA_EVENT_REBALANCE:
                cr_group_rebalance(client, rd_kafka_event_error(event),
                                   rd_kafka_event_topic_partition_list(event));
                break;
        case RD_KAFKA_EVENT_OFFSET_COMMIT:
                serve_commit(client, event);
                break;
        default:
                break;
        }
        return 1;
}

unsigned cr_client_serve_news(cr_client_t *client, unsigned budget) {
        rd_kafka_event_t *event;
        unsigned spent = 0;
        if (!client->queue)
                return 0;
        while (spent < budget && (event = rd_kafka_queue_poll(client->queue, 0))) {
                spent += serve(client, event);
                rd_kafka_event_destroy(event);
        }
        if (spent >= budget)
                cr_source_mark(&client->news);
        if (client->delivery)
                cr_delivery_advance(client);
        return spent;
}
