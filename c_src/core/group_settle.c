/*
 * SETTLE: another client is to take this member's place. Nothing is delivered any
 * more, and when all that was delivered is acknowledged, whoever by, the owner hears
 * of it.
 */
#include "group.h"

void cr_group_settle(cr_client_t *client) {
        cr_group_t *group = client->group;
        cr_slot_t *slot;
        size_t at = 0;
        if (!group->settled.to)
                return;
        while ((slot = cr_map_next(&group->slots, &at))) {
                if (slot->window.unacked)
                        return;
        }
        cr_reply_ok(client, &group->settled);
}

void cr_do_SETTLE(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_group_t *group = client->group;
        if (!in->size) {
                cr_answer_malformed(client, reply);
                return;
        }
        cr_tag_clear(&group->settled);
        if (!cr_tag_set(&group->settled, in->caller, in->data, in->size)) {
                cr_answer_no_memory(client, reply);
                return;
        }
        group->settling = true;
        cr_group_settle(client);
}
