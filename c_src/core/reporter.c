/*
 * The client's reporter: one recipient that hears of the messages whose callers
 * want to be called back (the Erlang side runs the callbacks).
 *
 * What is sent to it stays here, and holds its places in the queue, until it says
 * that it has done with it: so a reporter that is slow holds up those who produce
 * and its mailbox has a bound, and when it dies the next one gets what is left.
 */
#include "delivery.h"

#define REPORT (8 + CR_REPORT_SIZE)

uint64_t cr_reporter_holds(const cr_delivery_t *delivery) {
        return (delivery->reporter.grouped_size - delivery->reporter_done) / REPORT;
}

/* False when there is no memory. */
static bool send_to(cr_client_t *client, const void *bytes, size_t size) {
        cr_buf_t *buf = client->ops->buf_new(size);
        cr_packet_t packet = {.kind = CR_PACKET_REPORTS, .bytes = buf, .size = size};
        if (!buf)
                return false;
        memcpy(client->ops->buf_bytes(buf), bytes, size);
        client->ops->send(client->host, client->delivery->reporter.recipient, &packet);
        client->ops->buf_release(buf);
        return true;
}

bool cr_reporter_send(cr_client_t *client) {
        cr_delivery_t *delivery = client->delivery;
        const cr_caller_t *reporter = &delivery->reporter;
        size_t size = reporter->grouped_size - delivery->reporter_sent;
        if (!reporter->recipient || !size)
                return true;
        if (!send_to(client, reporter->grouped + delivery->reporter_sent, size))
                return false;
        delivery->reporter_sent = reporter->grouped_size;
        return true;
}

/* All that is not done with is for the next. */
void cr_reporter_gone(cr_delivery_t *delivery, cr_recipient_t gone) {
        if (delivery->reporter.recipient != gone)
                return;
        delivery->reporter.recipient = 0;
        delivery->reporter_sent = delivery->reporter_done;
}

void cr_reporter_end(cr_client_t *client) {
        const cr_packet_t end = {.kind = CR_PACKET_REPORTS};
        cr_recipient_t reporter = client->delivery->reporter.recipient;
        if (reporter)
                client->ops->send(client->host, reporter, &end);
}

/* Cuts off what is done with, now and then: each byte is moved once on average. */
static void done_with(cr_delivery_t *delivery, size_t size) {
        cr_caller_t *reporter = &delivery->reporter;
        delivery->reporter_done += size;
        if (delivery->reporter_done < reporter->grouped_size / 2)
                return;
        reporter->grouped_size -= delivery->reporter_done;
        delivery->reporter_sent -= delivery->reporter_done;
        if (reporter->grouped_size)
                memmove(reporter->grouped, reporter->grouped + delivery->reporter_done,
                        reporter->grouped_size);
        delivery->reporter_done = 0;
}

void cr_do_REPORTER(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_delivery_t *delivery = client->delivery;
        (void)reply;
        cr_reporter_gone(delivery, delivery->reporter.recipient);
        delivery->reporter.recipient = in->caller;
        cr_delivery_send_grouped(client);
}

/* Answers `idle` when no message has a report to come, nor waits for a place. */
void cr_do_REPORTED(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_delivery_t *delivery = client->delivery;
        cr_bytes_t bytes = cr_bytes(in->data, in->size);
        size_t size = (size_t)cr_take_u32(&bytes) * REPORT;
        cr_writer_t out;
        if (bytes.failed || bytes.at != bytes.size || in->caller != delivery->reporter.recipient ||
            size > delivery->reporter_sent - delivery->reporter_done) {
                cr_answer_malformed(client, reply);
                return;
        }
        done_with(delivery, size);
        cr_delivery_advance(client);
        cr_delivery_send_grouped(client);
        if (delivery->messages || delivery->waiting || cr_reporter_holds(delivery))
                return;
        out = cr_writer();
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "ok");
        cr_write_atom(&out, "idle");
        cr_answer(client, reply, &out);
}
