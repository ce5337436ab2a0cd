/*
 * Producing from many threads, over one client or over several. Each thread serves the
 * reports of its client, as the lone one of produce.c does: every POLL_EVERY messages,
 * and whenever the queue is full.
 */
#include "client.h"
#include "commands.h"
#include "result.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define POLL_EVERY 1000

struct producer {
        const struct options *o;
        const char *value;
        rd_kafka_t *rk;
        rd_kafka_topic_t *topic;
        _Atomic int64_t reported;
        int64_t expected;
};

struct caller {
        struct producer *producer;
        int64_t messages;
        pthread_t thread;
};

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
        struct producer *producer = opaque;

        (void)rk;
        check(message->err, "delivery");
        atomic_fetch_add_explicit(&producer->reported, 1, memory_order_relaxed);
}

static void produce_one_message(struct producer *producer) {
        rd_kafka_resp_err_t err;

        while ((err = rd_kafka_producev(producer->rk, RD_KAFKA_V_TOPIC(producer->o->topic),
                                        RD_KAFKA_V_VALUE((void *)(uintptr_t)producer->value,
                                                         producer->o->value_size),
                                        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                        RD_KAFKA_V_END)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
                rd_kafka_poll(producer->rk, 100);
        check(err, "produce");
}

static void produce_many_messages(struct producer *producer, rd_kafka_message_t *batch, int count) {
        for (int i = 0; i < count; i++)
                batch[i] = (rd_kafka_message_t){.payload = (void *)(uintptr_t)producer->value,
                                                .len = producer->o->value_size};
        for (;;) {
                rd_kafka_produce_batch(producer->topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY,
                                       batch, count);
                count = keep_refused(batch, count);
                if (count == 0)
                        return;
                rd_kafka_poll(producer->rk, 100);
        }
}

static void *call(void *arg) {
        struct caller *caller = arg;
        struct producer *producer = caller->producer;
        int size = producer->o->batch, unpolled = 0;
        rd_kafka_message_t *batch = calloc((size_t)size, sizeof *batch);

        if (!batch)
                fail("out of memory");
        for (int64_t left = caller->messages; left > 0; left -= size) {
                if (size == 1)
                        produce_one_message(producer);
                else
                        produce_many_messages(producer, batch, size);
                if ((unpolled += size) >= POLL_EVERY) {
                        unpolled = 0;
                        rd_kafka_poll(producer->rk, 0);
                }
        }
        free(batch);
        return NULL;
}

static void await_reports(struct producer *producer) {
        while (atomic_load(&producer->reported) < producer->expected)
                rd_kafka_poll(producer->rk, 100);
}

static void producer_open(struct producer *producer, const struct options *o, const char *value) {
        producer->o = o;
        producer->value = value;
        producer->rk = producer_new(client_conf(o, RD_KAFKA_PRODUCER), on_report, producer);
        producer->topic = rd_kafka_topic_new(producer->rk, o->topic, NULL);
        producer->expected = 1;
        produce_one_message(producer);
        await_reports(producer);
}

static void producer_close(struct producer *producer) {
        rd_kafka_topic_destroy(producer->topic);
        rd_kafka_destroy(producer->rk);
}

static void run_callers(struct producer *producers, struct caller *callers) {
        const struct options *o = producers->o;

        for (int i = 0; i < o->threads; i++) {
                callers[i].producer = &producers[i % o->clients];
                callers[i].messages = o->messages / o->threads;
                callers[i].producer->expected += callers[i].messages;
        }
        for (int i = 0; i < o->threads; i++)
                if (pthread_create(&callers[i].thread, NULL, call, &callers[i]))
                        fail("cannot start a thread");
        for (int i = 0; i < o->threads; i++)
                pthread_join(callers[i].thread, NULL);
        for (int i = 0; i < o->clients; i++)
                await_reports(&producers[i]);
}

void produce_threads(const struct options *o) {
        struct producer *producers = calloc((size_t)o->clients, sizeof *producers);
        struct caller *callers = calloc((size_t)o->threads, sizeof *callers);
        char *value = value_new(o->value_size);
        struct moment from;

        if (!producers || !callers)
                fail("out of memory");
        if (o->messages % ((int64_t)o->threads * o->batch))
                fail("produce-threads: -n must be a multiple of -T times -B");
        for (int i = 0; i < o->clients; i++)
                producer_open(&producers[i], o, value);
        from = moment_now();
        run_callers(producers, callers);
        result_rate(o, o->messages, from, moment_now());
        result_end();
        for (int i = 0; i < o->clients; i++)
                producer_close(&producers[i]);
        free(value);
        free(callers);
        free(producers);
}
