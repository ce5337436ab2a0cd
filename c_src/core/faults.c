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

void cr_faults_answer(cr_client_t *client, cr_faults_t *faults, cr_reply_t *reply) {
        cr_writer_t out = cr_writer();
        cr_write_list_end(&faults->list);
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "error");
        if (faults->list.failed || ei_x_append(&out.x, &faults->list.x) < 0)
                out.failed = true;
        cr_answer(client, reply, &out);
}

void cr_faults_free(cr_faults_t *faults) {
        if (faults->list.x.buff)
                ei_x_free(&faults->list.x);
}
