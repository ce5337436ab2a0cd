/*
 * Producing from one thread. That thread also serves the delivery reports, by
 * rd_kafka_poll every POLL_EVERY messages and whenever the queue is full: as
 * fast as a thread for the reports, or as an event queue, and with less CPU.
 */
#include "client.h"
#include "commands.h"
#include "result.h"

#include <stdlib.h>

#define POLL_EVERY 1000

struct tally {
        int64_t reported;
};

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
        struct tally *tally = opaque;

        (void)rk;
        check(message->err, "delivery");
        tally->reported++;
}

static void await_reports(rd_kafka_t *rk, const struct tally *tally, int64_t expected) {
        while (tally->reported < expected)
                rd_kafka_poll(rk, 100);
}

/* Produces one message; waits for room while the queue is full. */
static void produce(rd_kafka_t *rk, const char *topic, int32_t partition, const char *value,
                    size_t size) {
        rd_kafka_resp_err_t err;

        while ((err = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic),
                                        RD_KAFKA_V_PARTITION(partition),
                                        RD_KAFKA_V_VALUE((void *)(uintptr_t)value, size),
                                        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                        RD_KAFKA_V_END)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
                rd_kafka_poll(rk, 1000);
        check(err, "produce");
}

/* Produces one message and awaits it: connection, metadata and producer id
 * are there before the clock starts. */
static void warm_up(rd_kafka_t *rk, const char *topic, struct tally *tally) {
        produce(rk, topic, RD_KAFKA_PARTITION_UA, "w", 1);
        await_reports(rk, tally, 1);
        tally->reported = 0;
}

/* One producer and what its workloads need. */
struct run {
        const struct options *o;
        rd_kafka_t *rk;
        char *value;
        struct tally tally;
};

static void run_open(struct run *run, const struct options *o) {
        run->o = o;
        run->tally.reported = 0;
        run->value = value_new(o->value_size);
        run->rk = producer_new(client_conf(o, RD_KAFKA_PRODUCER), on_report, &run->tally);
}

static void run_close(struct run *run) {
        rd_kafka_destroy(run->rk);
        free(run->value);
}

void topic_fill(const struct options *o) {
        struct run run;

        if (o->messages % o->partitions)
                fail("fill: -n must be a multiple of -p");
        run_open(&run, o);
        for (int64_t i = 0; i < o->messages; i++) {
                produce(run.rk, o->topic, (int32_t)(i % o->partitions), run.value, o->value_size);
                if (i % POLL_EVERY == 0)
                        rd_kafka_poll(run.rk, 0);
        }
        await_reports(run.rk, &run.tally, o->messages);
        run_close(&run);
}

void produce_one(const struct options *o) {
        struct run run;
        struct moment from;

        run_open(&run, o);
        warm_up(run.rk, o->topic, &run.tally);
        from = moment_now();
        for (int64_t i = 0; i < o->messages; i++) {
                produce(run.rk, o->topic, RD_KAFKA_PARTITION_UA, run.value, o->value_size);
                if (i % POLL_EVERY == 0)
                        rd_kafka_poll(run.rk, 0);
        }
        await_reports(run.rk, &run.tally, o->messages);
        result_rate(o, o->messages, from, moment_now());
        result_end();
        run_close(&run);
}

static void produce_all(struct run *run, rd_kafka_topic_t *topic, rd_kafka_message_t *batch,
                        int count) {
        for (int i = 0; i < count; i++)
                batch[i] = (rd_kafka_message_t){.payload = run->value, .len = run->o->value_size};
        for (;;) {
                rd_kafka_produce_batch(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, batch,
                                       count);
                count = keep_refused(batch, count);
                if (count == 0)
                        return;
                rd_kafka_poll(run->rk, 1000);
        }
}

void produce_batch(const struct options *o) {
        struct run run;
        struct moment from;
        rd_kafka_message_t *batch = calloc((size_t)o->batch, sizeof *batch);
        rd_kafka_topic_t *topic;
        int64_t left = o->messages, since_poll = 0;

        run_open(&run, o);
        topic = rd_kafka_topic_new(run.rk, o->topic, NULL);
        if (!batch || !topic)
                fail("produce-batch: cannot start");
        warm_up(run.rk, o->topic, &run.tally);
        from = moment_now();
        while (left > 0) {
                int count = left < o->batch ? (int)left : o->batch;

                produce_all(&run, topic, batch, count);
                left -= count;
                if ((since_poll += count) >= POLL_EVERY) {
                        since_poll = 0;
                        rd_kafka_poll(run.rk, 0);
                }
        }
        await_reports(run.rk, &run.tally, o->messages);
        result_rate(o, o->messages, from, moment_now());
        result_end();
        rd_kafka_topic_destroy(topic);
        run_close(&run);
        free(batch);
}
