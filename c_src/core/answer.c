/*
 * Answers at once, answers later, events: the ways out of the core that are
 * not on the hot path.
 */
#include <string.h>

#include "client.h"
#include "mem.h"

bool cr_tag_set(cr_tag_t *tag, cr_recipient_t to, const void *bytes, size_t size) {
        *tag = (cr_tag_t){.to = size ? to : 0, .size = size};
        if (!size)
                return true;
        tag->bytes = cr_copy(bytes, size);
        if (!tag->bytes)
                *tag = (cr_tag_t){0};
        return tag->bytes != NULL;
}

void cr_tag_clear(cr_tag_t *tag) {
        cr_free(tag->bytes);
        *tag = (cr_tag_t){0};
}

void cr_answer(cr_client_t *client, cr_reply_t *reply, cr_writer_t *out) {
        reply->buf = cr_writer_finish(out, client->ops, &reply->size);
        reply->failed = reply->buf == NULL;
}

void cr_answer_error(cr_client_t *client, cr_reply_t *reply, const cr_error_t *error) {
        cr_writer_t out = cr_writer();
        cr_write_error(&out, error);
        cr_answer(client, reply, &out);
}

void cr_answer_own(cr_client_t *client, cr_reply_t *reply, const char *name, const char *text) {
        cr_error_t error;
        cr_error_own(&error, name, "%s", text);
        cr_answer_error(client, reply, &error);
}

void cr_write_no_memory(cr_writer_t *out, bool fatal) {
        cr_error_t error;
        cr_error_own(&error, "no_memory", "the driver could not allocate memory");
        error.fatal = fatal;
        cr_write_error(out, &error);
}

void cr_error_refused(cr_error_t *error) {
        cr_error_own(error, "closed", "the client was closed before this was asked");
}

void cr_answer_wait(cr_client_t *client, cr_reply_t *reply) {
        cr_writer_t out = cr_writer();
        cr_write_atom(&out, "wait");
        cr_answer(client, reply, &out);
}

void cr_answer_malformed(cr_client_t *client, cr_reply_t *reply) {
        cr_answer_own(client, reply, "malformed_command",
                      "the command's argument is not of the form the driver expects");
}

void cr_answer_no_memory(cr_client_t *client, cr_reply_t *reply) {
        cr_writer_t out = cr_writer();
        cr_write_no_memory(&out, false);
        cr_answer(client, reply, &out);
}

static void send_reply(cr_client_t *client, cr_recipient_t to, const void *tag, size_t tag_size,
                       cr_buf_t *buf, size_t size) {
        cr_packet_t packet = {.kind = CR_PACKET_REPLY,
                              .tag = tag,
                              .tag_size = tag_size,
                              .bytes = buf,
                              .size = size};
        if (to)
                client->ops->send(client->host, to, &packet);
        if (buf)
                client->ops->buf_release(buf);
}

void cr_reply_buf(cr_client_t *client, cr_tag_t *tag, cr_buf_t *buf, size_t size) {
        send_reply(client, tag->to, tag->bytes, tag->size, buf, size);
        cr_tag_clear(tag);
}

void cr_reply_to(cr_client_t *client, cr_recipient_t to, const void *tag, size_t size,
                 cr_writer_t *out) {
        size_t written;
        cr_buf_t *buf = cr_writer_finish(out, client->ops, &written);
        send_reply(client, size ? to : 0, tag, size, buf, written);
}

void cr_reply_writer(cr_client_t *client, cr_tag_t *tag, cr_writer_t *out) {
        size_t size;
        cr_buf_t *buf = cr_writer_finish(out, client->ops, &size);
        cr_reply_buf(client, tag, buf, size);
}

void cr_reply_ok(cr_client_t *client, cr_tag_t *tag) {
        cr_writer_t out = cr_writer();
        cr_write_atom(&out, "ok");
        cr_reply_writer(client, tag, &out);
}

void cr_reply_error(cr_client_t *client, cr_tag_t *tag, const cr_error_t *error) {
        cr_writer_t out = cr_writer();
        cr_write_error(&out, error);
        cr_reply_writer(client, tag, &out);
}

static bool send_event(cr_client_t *client, cr_writer_t *out, bool in_any_case) {
        size_t size;
        cr_buf_t *buf = cr_writer_finish(out, client->ops, &size);
        cr_packet_t packet = {.kind = CR_PACKET_EVENT, .bytes = buf, .size = size};
        if (client->owner && (buf || in_any_case))
                client->ops->send(client->host, client->owner, &packet);
        if (buf)
                client->ops->buf_release(buf);
        return buf != NULL;
}

bool cr_send_event(cr_client_t *client, cr_writer_t *out) {
        return send_event(client, out, false);
}

void cr_tell_owner(cr_client_t *client, cr_writer_t *out) {
        (void)send_event(client, out, true);
}
