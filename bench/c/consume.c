/*
 * Consuming a filled topic from its first offset to its last: in batches from
 * un-forwarded partition queues, or message by message from the consumer queue.
 * The payload is not read, or copied into memory of its own, and no offset is stored. The clock
 * runs from the first arrival to the last, so that neither connecting nor, for the peer, joining a
 * group counts.
 *
 * One thread reads all partition queues and sleeps on one descriptor when all
 * are empty: as fast as a thread for each queue with small values, faster with
 * large ones.
 */
#include "client.h"
#include "commands.h"
#include "result.h"

#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct arrivals {
        struct moment first;
        int64_t count;
        int64_t last_ns;
        int64_t max_gap_ns;
};

static void arrivals_note(struct arrivals *arrivals, int64_t count) {
        int64_t now;

        if (arrivals->count == 0) {
                arrivals->first = moment_now();
                arrivals->last_ns = arrivals->first.ns;
        }
        now = clock_ns();
        if (now - arrivals->last_ns > arrivals->max_gap_ns)
                arrivals->max_gap_ns = now - arrivals->last_ns;
        arrivals->last_ns = now;
        arrivals->count += count;
}

static rd_kafka_t *manual_consumer_new(const struct options *o) {
        rd_kafka_t *rk = consumer_new(client_conf(o, RD_KAFKA_CONSUMER));

        rd_kafka_poll_set_consumer(rk);
        return rk;
}

static void assign_all(rd_kafka_t *rk, const struct options *o) {
        rd_kafka_topic_partition_list_t *partitions = all_partitions(o);

        check(rd_kafka_assign(rk, partitions), "assign");
        rd_kafka_topic_partition_list_destroy(partitions);
}

/* All queues of a topic's partitions; fd is written when one of them gets its
 * first message. To be called before the assignment: later, messages already
 * forwarded would stay on the consumer queue. */
static rd_kafka_queue_t **queues_new(rd_kafka_t *rk, const struct options *o, int fd) {
        static const uint64_t one = 1; /* what an eventfd expects */
        rd_kafka_queue_t **queues = calloc((size_t)o->partitions, sizeof *queues);

        if (!queues)
                fail("out of memory");
        for (int p = 0; p < o->partitions; p++) {
                queues[p] = rd_kafka_queue_get_partition(rk, o->topic, p);
                rd_kafka_queue_forward(queues[p], NULL);
                rd_kafka_queue_io_event_enable(queues[p], fd, &one, sizeof one);
        }
        return queues;
}

static void queues_destroy(rd_kafka_queue_t **queues, int count) {
        for (int p = 0; p < count; p++)
                rd_kafka_queue_destroy(queues[p]);
        free(queues);
}

/* As a program does that keeps the value for longer than the message. */
static void copy_out(const rd_kafka_message_t *message) {
        char *copy = malloc(message->len + 1);

        if (!copy)
                fail("out of memory");
        memcpy(copy, message->payload, message->len);
        /* What nobody reads would else not be written. */
        __asm__ volatile("" : : "r"(copy) : "memory");
        free(copy);
}

/* Takes one batch from a queue, if it has any; returns its size. */
static ssize_t take_batch(rd_kafka_queue_t *queue, rd_kafka_message_t **batch, int size,
                          bool copies, struct arrivals *arrivals) {
        ssize_t count = rd_kafka_consume_batch_queue(queue, 0, batch, (size_t)size);

        if (count <= 0)
                return 0;
        arrivals_note(arrivals, count);
        for (ssize_t i = 0; i < count; i++) {
                check(batch[i]->err, "consume");
                if (copies)
                        copy_out(batch[i]);
                rd_kafka_message_destroy(batch[i]);
        }
        return count;
}

static void await_signal(int fd) {
        struct pollfd wanted = {.fd = fd, .events = POLLIN};
        uint64_t signals;

        if (poll(&wanted, 1, 1000) == 1 && read(fd, &signals, sizeof signals) != sizeof signals)
                fail("cannot read the event descriptor");
}

static void consume_batches(const struct options *o, bool copies) {
        struct arrivals arrivals = {0};
        int fd = eventfd(0, EFD_NONBLOCK);
        rd_kafka_message_t **batch = calloc((size_t)o->batch, sizeof *batch);
        rd_kafka_t *rk = manual_consumer_new(o);
        rd_kafka_queue_t **queues = queues_new(rk, o, fd);

        if (!batch || fd < 0)
                fail("consume-batch: cannot start");
        assign_all(rk, o);
        while (arrivals.count < o->messages) {
                ssize_t taken = 0;

                for (int p = 0; p < o->partitions; p++)
                        taken += take_batch(queues[p], batch, o->batch, copies, &arrivals);
                if (taken == 0)
                        await_signal(fd);
        }
        result_rate(o, arrivals.count, arrivals.first, moment_now());
        result_field("max_gap_ms", (double)arrivals.max_gap_ns / 1e6);
        result_end();
        queues_destroy(queues, o->partitions);
        rd_kafka_consumer_close(rk);
        rd_kafka_destroy(rk);
        close(fd);
        free(batch);
}

void consume_batch(const struct options *o) {
        consume_batches(o, false);
}

void consume_copy(const struct options *o) {
        consume_batches(o, true);
}

void consume_poll(const struct options *o) {
        rd_kafka_t *rk = manual_consumer_new(o);
        struct moment first = {0};

        assign_all(rk, o);
        for (int64_t got = 0; got < o->messages;) {
                rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, 1000);

                if (!message)
                        continue;
                check(message->err, "consume");
                if (got++ == 0)
                        first = moment_now();
                rd_kafka_message_destroy(message);
        }
        result_rate(o, o->messages, first, moment_now());
        result_end();
        rd_kafka_consumer_close(rk);
        rd_kafka_destroy(rk);
}
