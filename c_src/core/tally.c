#include "tally.h"

#include <string.h>

#include "delivery.h"
#include "mem.h"

cr_tally_t *cr_tally_new(const cr_options_t *options) {
        cr_tally_t *tally = cr_alloc(sizeof(*tally));
        if (tally)
                tally->most = options->tally_listed;
        return tally;
}

void cr_tally_destroy(cr_tally_t *tally) {
        if (!tally)
                return;
        cr_free(tally->list);
        cr_free(tally);
}

/* Its place among the failures; the last is for all that have none. */
static void count_failure(cr_tally_t *tally, int16_t error) {
        int at = 0;
        while (at < tally->errors && tally->failures[at].error != error)
                at++;
        if (at >= CR_TALLY_ERRORS - 1) {
                at = CR_TALLY_ERRORS - 1;
                error = RD_KAFKA_RESP_ERR_UNKNOWN;
        }
        if (at >= tally->errors) {
                tally->errors = at + 1;
                tally->failures[at].count = 0;
        }
        tally->failures[at].error = error;
        tally->failures[at].count++;
}

static bool make_room(cr_tally_t *tally, size_t size) {
        size_t room = tally->room ? tally->room * 2 : 1024;
        unsigned char *grown;
        if (tally->room - tally->size >= size)
                return true;
        if (!(grown = cr_realloc(tally->list, room)))
                return false;
        tally->list = grown;
        tally->room = room;
        return true;
}

static bool list(cr_tally_t *tally, const rd_kafka_message_t *report, rd_kafka_resp_err_t error,
                 uint8_t status) {
        const char *topic = report->rkt == tally->topic ? "" : rd_kafka_topic_name(report->rkt);
        size_t size = strlen(topic);
        unsigned char *to;
        if (tally->listed >= tally->most || !make_room(tally, 17 + size))
                return false;
        to = tally->list + tally->size;
        cr_put_uint(&to, (uint16_t)error, 2);
        cr_put_uint(&to, status, 1);
        cr_put_uint(&to, (uint32_t)report->partition, 4);
        cr_put_uint(&to, (uint64_t)report->offset, 8);
        cr_put_uint(&to, size, 2);
        memcpy(to, topic, size);
        tally->size += 17 + size;
        tally->listed++;
        tally->topic = report->rkt;
        return true;
}

void cr_tally_add(cr_tally_t *tally, const rd_kafka_message_t *report, rd_kafka_resp_err_t error,
                  uint8_t status) {
        if (error)
                count_failure(tally, (int16_t)error);
        else
                tally->acknowledged++;
        if (!list(tally, report, error, status))
                tally->unlisted++;
}

static void clear(cr_tally_t *tally) {
        tally->acknowledged = tally->unlisted = 0;
        tally->errors = 0;
        tally->listed = 0;
        tally->size = 0;
        tally->topic = NULL;
}

bool cr_tally_send(cr_client_t *client) {
        cr_tally_t *tally = client->delivery->tally;
        cr_writer_t out;
        if (tally->sent || (!tally->acknowledged && !tally->errors))
                return true;
        out = cr_writer();
        cr_write_tuple(&out, 5);
        cr_write_atom(&out, "reports");
        cr_write_integer(&out, (int64_t)tally->acknowledged);
        cr_write_list(&out, tally->errors);
        for (int i = 0; i < tally->errors; i++) {
                cr_write_tuple(&out, 2);
                cr_write_integer(&out, tally->failures[i].error);
                cr_write_integer(&out, (int64_t)tally->failures[i].count);
        }
        cr_write_list_end(&out);
        cr_write_integer(&out, (int64_t)tally->unlisted);
        cr_write_binary(&out, tally->list, tally->size);
        if (!cr_send_event(client, &out))
                return false; /* it stays for the next drain */
        clear(tally);
        tally->sent = true;
        return true;
}

void cr_tally_more(cr_client_t *client) {
        if (!client->delivery->tally)
                return;
        client->delivery->tally->sent = false;
        cr_delivery_send_grouped(client);
}

void cr_do_TALLIED(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        (void)in;
        (void)reply;
        cr_tally_more(client);
}
