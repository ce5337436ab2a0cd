/* The price of a group member that has nothing to do, alone or beside a producer. */
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

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
        (void)rk;
        check(message->err, "delivery");
        *(int *)opaque += 1;
}

/* A producer that has delivered a message, and reported counts them. */
static rd_kafka_t *used_producer_new(const struct options *o, int *reported) {
        rd_kafka_t *rk = producer_new(client_conf(o, RD_KAFKA_PRODUCER), on_report, reported);

        check(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(o->topic), RD_KAFKA_V_VALUE("w", 1),
                                RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
              "produce");
        while (*reported == 0)
                rd_kafka_poll(rk, 100);
        return rk;
}

static rd_kafka_t *member_new(const struct options *o) {
        rd_kafka_t *rk = consumer_new(client_conf(o, RD_KAFKA_CONSUMER));

        rd_kafka_poll_set_consumer(rk);
        subscribe(rk, o->topic);
        while (!is_assigned(rk, o->partitions))
                poll_until(rk, clock_ns() + 5000000);
        return rk;
}

static void measure(const struct options *o, rd_kafka_t *rk, struct moment began) {
        double ready_ms = elapsed(began, moment_now()) * 1000;
        struct moment from, to;

        /* The first fetches after a join are not what idling costs. */
        poll_until(rk, clock_ns() + 1000000000);
        from = moment_now();
        poll_until(rk, from.ns + o->seconds * INT64_C(1000000000));
        to = moment_now();
        result_begin(o, 0, elapsed(from, to));
        result_field("cpu_percent", cpu_percent(from, to));
        result_field("ready_ms", ready_ms);
        result_field("rss_mb", resident_mb());
        result_end();
}

void idle(const struct options *o) {
        struct moment began = moment_now();
        rd_kafka_t *rk = member_new(o);

        measure(o, rk, began);
        rd_kafka_consumer_close(rk);
        rd_kafka_destroy(rk);
}

/* Nobody polls the producer: it has nothing to report. */
void idle_both(const struct options *o) {
        int reported = 0;
        struct moment began = moment_now();
        rd_kafka_t *producer = used_producer_new(o, &reported);
        rd_kafka_t *consumer = member_new(o);

        measure(o, consumer, began);
        rd_kafka_consumer_close(consumer);
        rd_kafka_destroy(consumer);
        rd_kafka_destroy(producer);
}
