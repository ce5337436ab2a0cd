/*
 * From the number of a command to its function, with the checks that every
 * command shares: known, of this kind of client, in this state.
 */
#include "client.h"
#include "commands_hash.h"
#include "mem.h"
#include "stage.h"

enum needs {
        NEED_ANY,
        NEED_NEW,
        NEED_OPENED,
        NEED_CLIENT,
        NEED_PRODUCER,
        NEED_CONSUMER,
        NEED_READER,
        NEED_SLOTTED,
        NEED_CLUSTER
};

typedef struct row {
        void (*carry_out)(cr_client_t *, const cr_input_t *, cr_reply_t *);
        const char *name;
        enum needs needs;
} row_t;

#define ROW(name, number, kinds, form) [number] = {cr_do_##name, #name, NEED_##kinds},
static const row_t rows[] = {CR_COMMANDS(ROW)};
#undef ROW

static bool meets(const cr_client_t *client, enum needs needs) {
        bool open = client->state == CR_OPEN;
        switch (needs) {
        case NEED_ANY:
                return true;
        case NEED_NEW:
                return client->state == CR_NEW;
        case NEED_OPENED:
                return open;
        case NEED_CLIENT:
                return open && client->kind != CR_KIND_CLUSTER;
        case NEED_PRODUCER:
                return open && client->kind == CR_KIND_PRODUCER;
        case NEED_CONSUMER:
                return open && client->kind == CR_KIND_CONSUMER;
        case NEED_READER:
                return open && client->kind == CR_KIND_READER;
        case NEED_SLOTTED:
                return open && client->group;
        case NEED_CLUSTER:
                return open && client->kind == CR_KIND_CLUSTER;
        }
        return false;
}

/* A PRODUCE sees to the order by itself. */
static void carry_out(cr_client_t *client, const row_t *row, const cr_input_t *in,
                      cr_reply_t *reply) {
        if (client->delivery && row->carry_out != cr_do_PRODUCE)
                cr_stage_hand_over(client);
        row->carry_out(client, in, reply);
}

void cr_client_command(cr_client_t *client, unsigned command, const cr_input_t *in,
                       cr_reply_t *reply) {
        const row_t *row = command < sizeof(rows) / sizeof(rows[0]) ? &rows[command] : NULL;
        *reply = (cr_reply_t){0};
        if (!row || !row->carry_out)
                cr_answer_own(client, reply, "unknown_command", "the driver knows no such command");
        else if (client->state == CR_RETIRED && !meets(client, row->needs))
                cr_answer_own(client, reply, "closed", "the client is closed");
        else if (!meets(client, row->needs))
                cr_answer_own(client, reply, "wrong_state",
                              "this kind of client does not take that command, or is not open");
        else
                carry_out(client, row, in, reply);
}

void cr_do_HELLO(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_bytes_t bytes = cr_bytes(in->data, in->size);
        uint64_t hash = cr_take_u64(&bytes);
        if (bytes.failed || bytes.at != bytes.size || hash != cr_commands_hash())
                cr_answer_own(client, reply, "driver_version",
                              "the loaded driver is of another version than crema's modules: it "
                              "stays loaded until the VM exits, so restart the VM to upgrade");
}

void cr_do_CLOSE(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_tag_clear(&client->close_tag);
        if (!cr_tag_set(&client->close_tag, in->caller, in->data, in->size))
                cr_answer_no_memory(client, reply);
}

void cr_do_ERROR_NAME(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_reader_t term = cr_reader(in->data, in->size);
        int64_t code = cr_read_integer(&term);
        cr_writer_t out;
        if (!cr_reader_done(&term) || code < INT16_MIN || code > INT16_MAX) {
                cr_answer_malformed(client, reply);
                return;
        }
        out = cr_writer();
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "ok");
        cr_write_tuple(&out, 2);
        if (code == CR_REPORT_UNCONFIRMED) {
                cr_write_text(&out, "UNCONFIRMED");
                cr_write_text(&out, "nothing proves that the message is in the log: a try of it "
                                    "failed, and the broker took a later one of its partition");
        } else {
                cr_write_text(&out, rd_kafka_err2name((rd_kafka_resp_err_t)code));
                cr_write_text(&out, rd_kafka_err2str((rd_kafka_resp_err_t)code));
        }
        cr_answer(client, reply, &out);
}
