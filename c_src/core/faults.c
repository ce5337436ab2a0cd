#include "faults.h"

cr_faults_t cr_faults(void) {
        cr_faults_t faults = {.count = 0};
        faults.list.failed = ei_x_new(&faults.list.x) < 0;
        return faults;
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
        if (faults->list.failed || ei_x_append(&out.x, &faults->list.x) < 0)
                out.failed = true;
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
        if (faults->list.x.buff)
                ei_x_free(&faults->list.x);
}
