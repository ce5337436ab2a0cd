/* Clients as an emulator has them: many threads command and drain each of them, one at a
 * time under its lock, while others are closed and opened anew. ThreadSanitizer looks on. */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "support/cluster.h"

#define PORTS 5
#define THREADS 8
#define STEPS 400

typedef struct port {
        pthread_mutex_t lock;
        test_host_t *host; /* under lock */
} port_t;

static port_t ports[PORTS];
static bytes_t open_command; /* set once */

static void write_open(void) {
        const char *const properties[] = {"bootstrap.servers", bootstrap, "log.queue", "true"};
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, 4);
        cr_write_text(&out, "open");
        cr_write_atom(&out, "producer");
        cr_write_list(&out, 2);
        for (int i = 0; i < 4; i += 2) {
                cr_write_tuple(&out, 2);
                cr_write_text(&out, properties[i]);
                cr_write_text(&out, properties[i + 1]);
        }
        cr_write_list_end(&out);
        cr_write_list_end(&out);
        memcpy(open_command.data, out.x.buff, (size_t)out.x.index);
        open_command.size = (size_t)out.x.index;
        cr_writer_discard(&out);
}

/* Whatever it answers. */
static void command(test_host_t *host, cr_recipient_t caller, unsigned number, const void *data,
                    size_t size) {
        const cr_input_t in = {.caller = caller, .data = data, .size = size};
        cr_reply_t reply;
        cr_client_command(host->client, number, &in, &reply);
        if (reply.buf)
                host->client->ops->buf_release(reply.buf);
}

static test_host_t *open_one(void) {
        test_host_t *host = test_host_new();
        assert_non_null(host->client);
        command(host, 1, CR_CMD_OPEN, open_command.data, open_command.size);
        return host;
}

static void produce(test_host_t *host, cr_recipient_t caller, uint8_t mode, uint64_t call) {
        bytes_t message = {.size = 0};
        put_produce(&message, mode, CR_POLICY_WAIT, call, "tag", 3);
        command(host, caller, CR_CMD_PRODUCE, message.data, message.size);
}

static void drain(test_host_t *host) {
        struct pollfd ready = {.fd = host->fd, .events = POLLIN};
        if (poll(&ready, 1, 0) > 0)
                cr_client_drain(host->client);
}

/* Under the port's lock; the host that was closed, which its reaper still needs. */
static test_host_t *step(port_t *port, cr_recipient_t caller, uint64_t call, unsigned what) {
        test_host_t *closed = port->host;
        switch (what % 32) {
        case 0:
                command(closed, caller, CR_CMD_CLOSE, "closed", 6);
                test_host_close(closed);
                port->host = open_one();
                return closed;
        case 1:
                cr_client_recipient_gone(port->host->client, caller);
                break;
        case 2:
        case 3:
                command(port->host, caller, CR_CMD_FLUSH, "flush", 5);
                break;
        case 4:
                command(port->host, caller, CR_CMD_INFO, NULL, 0);
                break;
        case 5:
                command(port->host, caller, CR_CMD_PURGE, NULL, 0);
                break;
        default:
                if (what % 2)
                        drain(port->host);
                else
                        produce(port->host, caller, (uint8_t)(what / 64 % 4), call);
        }
        return NULL;
}

static void *run_thread(void *number) {
        unsigned seed = (unsigned)(uintptr_t)number;
        for (uint64_t i = 1; i <= STEPS; i++) {
                port_t *port = &ports[(unsigned)rand_r(&seed) % PORTS];
                test_host_t *closed;
                pthread_mutex_lock(&port->lock);
                closed = step(port, 1 + (uintptr_t)number, i * THREADS, (unsigned)rand_r(&seed));
                pthread_mutex_unlock(&port->lock);
                if (closed)
                        test_host_free(closed);
        }
        return NULL;
}

/* Proves that neither commands nor the ends of clients get in each other's way. */
static void threads_share_ports(void **state) {
        pthread_t threads[THREADS];
        (void)state;
        write_open();
        for (int i = 0; i < PORTS; i++) {
                pthread_mutex_init(&ports[i].lock, NULL);
                ports[i].host = open_one();
        }
        for (uintptr_t i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, run_thread, (void *)i), 0);
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        for (int i = 0; i < PORTS; i++) {
                test_host_free(ports[i].host);
                pthread_mutex_destroy(&ports[i].lock);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(threads_share_ports)};
        return cmocka_run_group_tests(tests, start_cluster, stop_cluster);
}
