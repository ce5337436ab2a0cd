/* The price of a group member that has nothing to do. */
#include "client.h"
#include "commands.h"
#include "result.h"

static void poll_until(rd_kafka_t *rk, int64_t until_ns) {
        int64_t left;

        while ((left = until_ns - clock_ns()) > 0) {
                rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, (int)(left / 1000000) + 1);

                if (message)
                        rd_kafka_message_destroy(message);
        }
}

/* Whether the group has given us every partition. */
static int is_assigned(rd_kafka_t *rk, int partitions) {
        rd_kafka_topic_partition_list_t *list;
        int count;

        check(rd_kafka_assignment(rk, &list), "assignment");
        count = list->cnt;
        rd_kafka_topic_partition_list_destroy(list);
        return count == partitions;
}

void idle(const struct options *o) {
        rd_kafka_t *rk = consumer_new(client_conf(o, RD_KAFKA_CONSUMER));
        rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
        struct moment from;

        rd_kafka_topic_partition_list_add(topics, o->topic, RD_KAFKA_PARTITION_UA);
        rd_kafka_poll_set_consumer(rk);
        check(rd_kafka_subscribe(rk, topics), "subscribe");
        rd_kafka_topic_partition_list_destroy(topics);
        while (!is_assigned(rk, o->partitions))
                poll_until(rk, clock_ns() + 100000000);
        /* The first fetches after a join are not what idling costs. */
        poll_until(rk, clock_ns() + 1000000000);
        from = moment_now();
        poll_until(rk, from.ns + o->seconds * INT64_C(1000000000));
        result_idle(o, from, moment_now());
        rd_kafka_consumer_close(rk);
        rd_kafka_destroy(rk);
}
