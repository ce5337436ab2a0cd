#include "statistics.h"

#include <jansson.h>

/* The totals of a client that librdkafka has under these names. */
static const char *const names[] = {"replyq",      "msg_cnt", "msg_size",   "tx",
                                    "tx_bytes",    "rx",      "rx_bytes",   "txmsgs",
                                    "txmsg_bytes", "rxmsgs",  "rxmsg_bytes"};
#define NAMES ((int)(sizeof(names) / sizeof(names[0])))

void cr_statistics_event(cr_client_t *client, const char *json) {
        json_t *root = json ? json_loads(json, 0, NULL) : NULL;
        cr_writer_t out;
        if (!root)
                return;
        out = cr_writer();
        cr_write_tuple(&out, 2);
        cr_write_atom(&out, "statistics");
        cr_write_list(&out, NAMES);
        for (int i = 0; i < NAMES; i++) {
                cr_write_tuple(&out, 2);
                cr_write_atom(&out, names[i]);
                cr_write_integer(&out, json_integer_value(json_object_get(root, names[i])));
        }
        cr_write_list_end(&out);
        cr_send_event(client, &out);
        json_decref(root);
}
