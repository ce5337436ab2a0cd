#include "faults.h"

cr_faults_t cr_faults(void) {
        return (cr_faults_t){.count = 0};
}

void cr_faults_add(cr_faults_t *faults, cr_text_t key, const char *text) {
        faults->count++;
        cr_write_list(&faults->list, 1);
        cr_write_tuple(&faults->list, 2);
        cr_write_binary(&faults->list, key.bytes, key.size);
        cr_write_text(&faults->list, text);
}

/* {Name, [{Key, Text}]}; the list is ended, and takes nothing more. */
static cr_writer_t named(cr_faults_t *faults, const char *name) {
        cr_writer_t out = cr_writer();
        cr_write_list_end(&faults->list);
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, name);
        cr_write_part(&out, &faults->list);
        return out;
}

void cr_faults_answer(cr_client_t *client, cr_faults_t *faults, cr_reply_t *reply) {
        cr_writer_t out = named(faults, "error");
        cr_answer(client, reply, &out);
}

void cr_faults_reply(cr_client_t *client, cr_faults_t *faults, cr_tag_t *tag) {
        cr_writer_t out = named(faults, "error");
        cr_reply_writer(client, tag, &out);
}

void cr_faults_send(cr_client_t *client, cr_faults_t *faults, const char *what) {
        cr_writer_t out;
        if (!faults->count)
                return;
        out = named(faults, what);
        cr_send_event(client, &out);
}

void cr_faults_free(cr_faults_t *faults) {
        cr_writer_discard(&faults->list);
}
