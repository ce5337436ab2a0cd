/*
 * Time from a produce call to the consumption of that message, at a slow and
 * even pace. Producer and consumer live in this one process, so that one clock
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

/* Messages at the pace before the first that counts. */
#define WARM_UP 50

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

        memcpy(value, &sent, sizeof sent);
        check(rd_kafka_producev(producer->rk, RD_KAFKA_V_TOPIC(producer->o->topic),
                                RD_KAFKA_V_VALUE(value, producer->o->value_size),
                                RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
              "produce");
}

static void *produce_evenly(void *arg) {
        struct producer *producer = arg;
        const struct options *o = producer->o;
        char *value = calloc(1, o->value_size);
        int64_t next;

        if (!value)
                fail("out of memory");
        /* Connections, metadata, producer id and first fetch take up to a second:
         * the pace begins when one message has made the whole way. */
        produce_stamped(producer, value);
        while (sem_wait(&producer->first_consumed))
                ;
        next = clock_ns();
        for (int64_t i = 0; i < WARM_UP + o->messages; i++) {
                sleep_until(next += o->interval_ms * INT64_C(1000000));
                produce_stamped(producer, value);
                rd_kafka_poll(producer->rk, 0);
        }
        rd_kafka_flush(producer->rk, 10000);
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

        if (!ages || o->value_size < sizeof(int64_t))
                fail("latency: cannot start");
        consumer = assigned_consumer_new(o);
        producer.rk = producer_new(client_conf(o, RD_KAFKA_PRODUCER), on_report, NULL);
        sem_init(&producer.first_consumed, 0, 0);
        if (pthread_create(&thread, NULL, produce_evenly, &producer))
                fail("cannot start a thread");
        next_age(consumer);
        sem_post(&producer.first_consumed);
        for (int i = 0; i < WARM_UP; i++)
                next_age(consumer);
        for (size_t i = 0; i < count; i++)
                ages[i] = next_age(consumer);
        pthread_join(thread, NULL);
        result_latency(o, ages, count);
        rd_kafka_consumer_close(consumer);
        rd_kafka_destroy(consumer);
        rd_kafka_destroy(producer.rk);
        sem_destroy(&producer.first_consumed);
        free(ages);
}
