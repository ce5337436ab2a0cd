/*
 * How long a cooperative rebalance takes: from the start of a second member, and from its
 * end, until each partition is assigned again.
 */
#include "client.h"
#include "commands.h"
#include "result.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

struct member {
        const struct options *o;
        _Atomic int assigned;
        _Atomic bool stopped;
        pthread_t thread;
};

static void check_error(rd_kafka_error_t *error, const char *what) {
        if (error)
                fail("%s: %s", what, rd_kafka_error_string(error));
}

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err,
                         rd_kafka_topic_partition_list_t *partitions, void *opaque) {
        struct member *member = opaque;

        if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
                check_error(rd_kafka_incremental_assign(rk, partitions), "assign");
                atomic_fetch_add(&member->assigned, partitions->cnt);
        } else {
                check_error(rd_kafka_incremental_unassign(rk, partitions), "unassign");
                atomic_fetch_sub(&member->assigned, partitions->cnt);
        }
}

static void *live(void *arg) {
        struct member *member = arg;
        rd_kafka_conf_t *conf = client_conf(member->o, RD_KAFKA_CONSUMER);
        rd_kafka_t *rk;

        rd_kafka_conf_set_opaque(conf, member);
        rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
        rk = consumer_new(conf);
        rd_kafka_poll_set_consumer(rk);
        subscribe(rk, member->o->topic);
        while (!atomic_load(&member->stopped)) {
                rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, 10);

                if (message)
                        rd_kafka_message_destroy(message);
        }
        rd_kafka_consumer_close(rk);
        rd_kafka_destroy(rk);
        return NULL;
}

static void member_start(struct member *member, const struct options *o) {
        member->o = o;
        if (pthread_create(&member->thread, NULL, live, member))
                fail("cannot start a thread");
}

static void member_stop(struct member *member) {
        atomic_store(&member->stopped, true);
        pthread_join(member->thread, NULL);
}

static void await_assigned(const struct member *member, int count) {
        while (atomic_load(&member->assigned) != count)
                usleep(1000);
}

void rebalance(const struct options *o) {
        struct member first = {0}, second = {0};
        struct moment join, joined, leave, left;

        member_start(&first, o);
        await_assigned(&first, o->partitions);
        join = moment_now();
        member_start(&second, o);
        await_assigned(&second, o->partitions / 2);
        await_assigned(&first, o->partitions - o->partitions / 2);
        joined = moment_now();
        /* Its end begins when nothing of its beginning goes on. */
        sleep(1);
        leave = moment_now();
        atomic_store(&second.stopped, true);
        await_assigned(&first, o->partitions);
        left = moment_now();
        result_begin(o, 0, elapsed(join, left));
        result_field("join_ms", elapsed(join, joined) * 1000);
        result_field("leave_ms", elapsed(leave, left) * 1000);
        result_end();
        member_stop(&second);
        member_stop(&first);
}
