/*
 * Synchronous producing: each of many threads produces a message and waits for
 * its report before the next. One more thread serves the reports; a report
 * wakes exactly the thread that waits for it.
 */
#include "client.h"
#include "commands.h"
#include "result.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

struct shared {
        const struct options *o;
        rd_kafka_t *rk;
        char *value;
        _Atomic int64_t left; /* messages nobody has taken yet */
        int64_t *ns;          /* how long each took */
        _Atomic int done;     /* tells the report thread to end */
};

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
        (void)rk;
        (void)opaque;
        check(message->err, "delivery");
        sem_post(message->_private);
}

static void *serve_reports(void *arg) {
        struct shared *shared = arg;

        while (!atomic_load(&shared->done))
                rd_kafka_poll(shared->rk, 100);
        return NULL;
}

static void produce_and_wait(struct shared *shared, sem_t *reported) {
        check(rd_kafka_producev(shared->rk, RD_KAFKA_V_TOPIC(shared->o->topic),
                                RD_KAFKA_V_VALUE(shared->value, shared->o->value_size),
                                RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                RD_KAFKA_V_OPAQUE(reported), RD_KAFKA_V_END),
              "produce");
        while (sem_wait(reported))
                ;
}

static void *caller(void *arg) {
        struct shared *shared = arg;
        int64_t left, began;
        sem_t reported;

        sem_init(&reported, 0, 0);
        while ((left = atomic_fetch_sub(&shared->left, 1)) > 0) {
                began = clock_ns();
                produce_and_wait(shared, &reported);
                shared->ns[left - 1] = clock_ns() - began;
        }
        sem_destroy(&reported);
        return NULL;
}

static void warm_up(struct shared *shared) {
        sem_t reported;

        sem_init(&reported, 0, 0);
        produce_and_wait(shared, &reported);
        sem_destroy(&reported);
}

static void run_callers(struct shared *shared) {
        int count = shared->o->threads;
        pthread_t *threads = calloc((size_t)count, sizeof *threads);

        if (!threads)
                fail("out of memory");
        for (int i = 0; i < count; i++)
                if (pthread_create(&threads[i], NULL, caller, shared))
                        fail("cannot start a thread");
        for (int i = 0; i < count; i++)
                pthread_join(threads[i], NULL);
        free(threads);
}

void produce_sync(const struct options *o) {
        struct shared shared = {.o = o, .left = o->messages};
        struct moment from;
        pthread_t reports;

        shared.value = value_new(o->value_size);
        shared.ns = calloc((size_t)o->messages, sizeof *shared.ns);
        if (!shared.ns)
                fail("out of memory");
        shared.rk = producer_new(client_conf(o, RD_KAFKA_PRODUCER), on_report, NULL);
        if (pthread_create(&reports, NULL, serve_reports, &shared))
                fail("cannot start a thread");
        warm_up(&shared);
        from = moment_now();
        run_callers(&shared);
        result_rate(o, o->messages, from, moment_now());
        result_percentiles(shared.ns, (size_t)o->messages);
        result_end();
        atomic_store(&shared.done, 1);
        pthread_join(reports, NULL);
        rd_kafka_destroy(shared.rk);
        free(shared.ns);
        free(shared.value);
}
