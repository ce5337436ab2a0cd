/*
 * How long a program waits for its first report and its first message: from the making of
 * a client, which has neither connections nor metadata.
 */
#include "client.h"
#include "commands.h"
#include "result.h"

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
        (void)rk;
        check(message->err, "delivery");
        *(int *)opaque += 1;
}

static double first_report(const struct options *o) {
        int reported = 0;
        struct moment from = moment_now(), to;
        rd_kafka_t *rk = producer_new(client_conf(o, RD_KAFKA_PRODUCER), on_report, &reported);

        check(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(o->topic), RD_KAFKA_V_VALUE("w", 1),
                                RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
              "produce");
        while (reported == 0)
                rd_kafka_poll(rk, 100);
        to = moment_now();
        rd_kafka_destroy(rk);
        return elapsed(from, to);
}

static double first_message(const struct options *o) {
        struct moment from = moment_now(), to;
        rd_kafka_t *rk = consumer_new(client_conf(o, RD_KAFKA_CONSUMER));
        rd_kafka_message_t *message;

        rd_kafka_poll_set_consumer(rk);
        subscribe(rk, o->topic);
        while (!(message = rd_kafka_consumer_poll(rk, 1000)))
                ;
        to = moment_now();
        check(message->err, "consume");
        rd_kafka_message_destroy(message);
        rd_kafka_consumer_close(rk);
        rd_kafka_destroy(rk);
        return elapsed(from, to);
}

void start(const struct options *o) {
        double report = first_report(o), message = first_message(o);

        result_begin(o, 1, report + message);
        result_field("first_report_ms", report * 1000);
        result_field("first_message_ms", message * 1000);
        result_end();
}
