/*
 * Reports that are sent to a caller, those of a drain together. The room for each is made
 * when its message is accepted, and it stays until it is sent, so that none is lost for
 * want of memory.
 */
#include "delivery.h"
#include "mem.h"

#define GROUPED (8 + CR_REPORT_SIZE)

bool cr_delivery_promise(cr_caller_t *caller, uint64_t count) {
        size_t wanted = caller->grouped_size + (size_t)(caller->promised + count) * GROUPED;
        size_t room = caller->grouped_room ? caller->grouped_room : 64 * GROUPED;
        unsigned char *grown;
        while (room < wanted)
                room *= 2;
        if (room > caller->grouped_room) {
                grown = cr_realloc(caller->grouped, room);
                if (!grown)
                        return false;
                caller->grouped = grown;
                caller->grouped_room = room;
        }
        caller->promised += count;
        return true;
}

static void make_dirty(cr_delivery_t *delivery, cr_caller_t *caller) {
        if (caller->dirty)
                return;
        caller->dirty = true;
        caller->next_dirty = delivery->dirty;
        delivery->dirty = caller;
}

void cr_grouped_forget(cr_delivery_t *delivery, cr_caller_t *caller) {
        cr_caller_t **at = &delivery->dirty;
        while (*at && *at != caller)
                at = &(*at)->next_dirty;
        if (*at)
                *at = caller->next_dirty;
        caller->dirty = false;
}

void cr_delivery_group(cr_delivery_t *delivery, cr_caller_t *caller, uint64_t tag,
                       const cr_entry_t *entry) {
        unsigned char *to = caller->grouped + caller->grouped_size;
        cr_put_uint(&to, tag, 8);
        cr_report_put(&to, entry);
        caller->grouped_size += GROUPED;
        caller->promised--;
        make_dirty(delivery, caller);
}

/* False when there is no memory. */
static bool send_grouped(cr_client_t *client, cr_caller_t *caller) {
        cr_packet_t packet = {.kind = CR_PACKET_REPORTS, .size = caller->grouped_size};
        packet.bytes = client->ops->buf_new(packet.size);
        if (!packet.bytes)
                return false;
        memcpy(client->ops->buf_bytes(packet.bytes), caller->grouped, packet.size);
        client->ops->send(client->host, caller->recipient, &packet);
        client->ops->buf_release(packet.bytes);
        caller->grouped_size = 0;
        return true;
}

void cr_grouped_send(cr_client_t *client) {
        cr_delivery_t *delivery = client->delivery;
        cr_caller_t *caller = delivery->dirty, *next;
        delivery->dirty = NULL;
        for (; caller; caller = next) {
                next = caller->next_dirty;
                caller->dirty = false;
                if (caller != &delivery->reporter && !send_grouped(client, caller))
                        make_dirty(delivery, caller);
        }
}
