/*
 * Time from a produce call to the consumption of that message, at an even pace or as
 * fast as it goes. Producer and consumer live in this one process, so that one clock
 * serves both; the message carries the time of its produce call.
 */
#include "client.h"
#include "commands.h"
#include "result.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POLL_EVERY 1000

/* Messages before the first that counts: half a second of a pace of ten milliseconds, a
 * fifth where there is none. */
static int64_t warm_up(const struct options *o) {
        return o->interval_ms > 0 ? 50 * o->each_tick : o->messages / 5;
}

struct producer {
        const struct options *o;
        rd_kafka_t *rk;
        sem_t first_consumed;
};

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
        (void)rk;
        (void)opaque;
        check(message->err, "delivery");
}

static void sleep_until(int64_t ns) {
        struct timespec t = {ns / 1000000000, ns % 1000000000};

        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL))
                ;
}

static void produce_stamped(struct producer *producer, char *value) {
        int64_t sent = clock_ns();
        rd_kafka_resp_err_t err;

        memcpy(value, &sent, sizeof sent);
        while ((err = rd_kafka_producev(producer->rk, RD_KAFKA_V_TOPIC(producer->o->topic),
                                        RD_KAFKA_V_VALUE(value, producer->o->value_size),
                                        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                        RD_KAFKA_V_END)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
                rd_kafka_poll(producer->rk, 1000);
        check(err, "produce");
}

/* At the pace: so many messages at each tick, so that ticks need not be finer than a timer. */
static void produce_evenly(struct producer *producer, char *value, int64_t count) {
        const struct options *o = producer->o;
        int64_t next = clock_ns();

        for (int64_t i = 0; i < count; i++) {
                if (i % o->each_tick == 0) {
                        rd_kafka_poll(producer->rk, 0);
                        sleep_until(next += o->interval_ms * INT64_C(1000000));
                }
                produce_stamped(producer, value);
        }
}

/* As fast as the queue takes them. */
static void produce_all(struct producer *producer, char *value, int64_t count) {
        for (int64_t i = 0; i < count; i++) {
                produce_stamped(producer, value);
                if (i % POLL_EVERY == 0)
                        rd_kafka_poll(producer->rk, 0);
        }
}

static void *run_producer(void *arg) {
        struct producer *producer = arg;
        const struct options *o = producer->o;
        char *value = value_new(o->value_size);
        int64_t count = warm_up(o) + o->messages;

        /* Connections, metadata, producer id and first fetch take up to a second:
         * the pace begins when one message has made the whole way. */
        produce_stamped(producer, value);
        while (sem_wait(&producer->first_consumed))
                ;
        if (o->interval_ms > 0)
                produce_evenly(producer, value, count);
        else
                produce_all(producer, value, count);
        rd_kafka_flush(producer->rk, 60000);
        free(value);
        return NULL;
}

/* The age of the next message in ns. */
static int64_t next_age(rd_kafka_t *rk) {
        int64_t sent, age = -1;

        while (age < 0) {
                rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, 1000);
                int64_t now = clock_ns();

                if (!message)
                        continue;
                check(message->err, "consume");
                memcpy(&sent, message->payload, sizeof sent);
                age = now - sent;
                rd_kafka_message_destroy(message);
        }
        return age;
}

static rd_kafka_t *assigned_consumer_new(const struct options *o) {
        rd_kafka_topic_partition_list_t *partitions = all_partitions(o);
        rd_kafka_t *rk = consumer_new(client_conf(o, RD_KAFKA_CONSUMER));

        rd_kafka_poll_set_consumer(rk);
        check(rd_kafka_assign(rk, partitions), "assign");
        rd_kafka_topic_partition_list_destroy(partitions);
        return rk;
}

void latency(const struct options *o) {
        struct producer producer = {.o = o};
        size_t count = (size_t)o->messages;
        int64_t *ages = calloc(count, sizeof *ages);
        rd_kafka_t *consumer;
        pthread_t thread;
        int64_t began;

        if (!ages || o->value_size < sizeof(int64_t))
                fail("latency: cannot start");
        consumer = assigned_consumer_new(o);
        producer.rk = producer_new(client_conf(o, RD_KAFKA_PRODUCER), on_report, NULL);
        sem_init(&producer.first_consumed, 0, 0);
        if (pthread_create(&thread, NULL, run_producer, &producer))
                fail("cannot start a thread");
        next_age(consumer);
        sem_post(&producer.first_consumed);
        for (int64_t i = warm_up(o); i > 0; i--)
                next_age(consumer);
        began = clock_ns();
        for (size_t i = 0; i < count; i++)
                ages[i] = next_age(consumer);
        pthread_join(thread, NULL);
        result_begin(o, o->messages, (double)(clock_ns() - began) / 1e9);
        result_percentiles(ages, count);
        result_end();
        rd_kafka_consumer_close(consumer);
        rd_kafka_destroy(consumer);
        rd_kafka_destroy(producer.rk);
        sem_destroy(&producer.first_consumed);
        free(ages);
}
