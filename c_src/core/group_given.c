/*
 * An assignment that comes though the one before was not taken back. Without the
 * cooperative protocol librdkafka (2.15 as well) joins anew at once when it hears of
 * other partitions of its topics while an assignment or a revocation waits for its
 * answer, and takes nothing back before the group has given all partitions anew. So
 * what is here is lost by then: its end comes first, without a commit, and what was
 * under way as an answer before is of no use.
 */
#include <string.h>

#include "group.h"

/* Asked of the configuration: the protocol in force would be asked of librdkafka's
 * own thread, and waited for. */
bool cr_group_is_eager(const rd_kafka_t *rk) {
        const rd_kafka_conf_t *conf = rd_kafka_conf((rd_kafka_t *)rk);
        char value[256] = "";
        size_t size = sizeof(value);
        if (rd_kafka_conf_get(conf, "group.protocol", value, &size) == RD_KAFKA_CONF_OK &&
            strcmp(value, "consumer") == 0)
                return false;
        size = sizeof(value);
        return rd_kafka_conf_get(conf, "partition.assignment.strategy", value, &size) !=
                       RD_KAFKA_CONF_OK ||
               !strstr(value, "cooperative");
}

static void end_all(cr_client_t *client) {
        cr_group_t *group = client->group;
        cr_slot_t *slot;
        size_t at = 0;
        if (!group->revoked)
                group->revoked = rd_kafka_topic_partition_list_new(0);
        group->lost = true;
        while ((slot = cr_map_next(&group->slots, &at))) {
                if (slot->revoked)
                        continue;
                cr_slot_revoke(slot);
                rd_kafka_topic_partition_list_add(group->revoked, slot->topic, slot->partition);
        }
        if (group->slots.count)
                cr_group_tell_revoked(client);
        else
                cr_group_release(client);
}

bool cr_group_must_end_first(cr_client_t *client,
                             const rd_kafka_topic_partition_list_t *partitions) {
        cr_group_t *group = client->group;
        if ((!group->slots.count && cr_group_is_settled(group)) || !cr_group_is_eager(client->rk))
                return false;
        (void)cr_group_drop_given(group);
        group->given = rd_kafka_topic_partition_list_copy(partitions);
        atomic_store(&group->outdated, true);
        /* Or what goes on is waited for: a job, or the end of what is lost anyway. */
        if (!group->answering && !(group->revoked && group->lost))
                end_all(client);
        return true;
}

bool cr_group_go_on_given(cr_client_t *client) {
        cr_group_t *group = client->group;
        rd_kafka_topic_partition_list_t *given = group->given;
        if (!given || cr_client_closing(client))
                return false;
        if (group->revoked || group->slots.count) {
                end_all(client);
                return true;
        }
        group->given = NULL;
        cr_group_assign(client, given);
        rd_kafka_topic_partition_list_destroy(given);
        return true;
}

bool cr_group_drop_given(cr_group_t *group) {
        bool was_given = group->given != NULL;
        if (was_given)
                rd_kafka_topic_partition_list_destroy(group->given);
        group->given = NULL;
        return was_given;
}
