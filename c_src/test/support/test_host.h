/*
 * A host in plain C, for tests: blocks are counted, packets are kept in a
 * queue, and the test itself is the thread that drains.
 */
#ifndef CREMA_TEST_HOST_H
#define CREMA_TEST_HOST_H

#include <pthread.h>

#include "../../core/client.h"

typedef struct packet {
        struct packet *next;
        cr_packet_kind_t kind;
        cr_recipient_t to;
        uint64_t slot;
        unsigned char tag[64];
        size_t tag_size;
        unsigned char mask[256];
        size_t mask_size;
        size_t size;
        unsigned char *bytes; /* a copy */
} packet_t;

typedef struct test_host {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        packet_t *first, **last; /* under lock */
        bool gone;
        int fd;
        unsigned alarm;      /* milliseconds that were asked for last; 0: it has come */
        cr_client_t *client; /* NULL once closed */
} test_host_t;

/* What the core is given of it. */
const cr_host_ops_t *test_host_ops(void);
test_host_t *test_host_new(void);
/* Hands the client to its reaper, as the end of a port does. */
void test_host_close(test_host_t *host);
/* Waits for the reaper and frees the host with what packets are left. */
void test_host_free(test_host_t *host);

/* The threads of this process. */
int test_threads(void);
/* Waits until there are no more. A reaper's thread is detached and may end after all
 * that it did: what OpenSSL keeps for a thread goes then, and would look leaked if the
 * program ended first. */
void test_await_threads(int most);
/* Blocks that live: 0 when nothing has leaked. */
long test_blocks_alive(void);
/* From now on there is no memory for a block, or again some. */
void test_blocks_run_out(bool out);

/* The first packet that matches, if there is one. */
typedef bool (*packet_match_t)(const packet_t *packet, const void *with);
packet_t *test_host_find(test_host_t *host, packet_match_t match, const void *with);
/* The next packet, if there is one. */
packet_t *test_host_next(test_host_t *host);
/* The next packet of that kind, drained and waited for; NULL after 10 s. */
packet_t *test_host_packet(test_host_t *host, cr_packet_kind_t kind);
/* The next reply with that tag. */
packet_t *test_host_reply(test_host_t *host, const char *tag);
/* An event whose first element is that atom. */
packet_t *test_host_event(test_host_t *host, const char *name);
void packet_free(packet_t *packet);

/* Commands by recipient 1; a text answer: "" ok, else the first atom or name
 * of the error. The answer stays good until the next command. */
const char *test_command(test_host_t *host, unsigned command, const void *data, size_t size);
const char *test_command_as(test_host_t *host, cr_recipient_t caller, unsigned command,
                            const void *data, size_t size);
/* The bytes of the last answer that was packed. */
const unsigned char *test_answer(size_t *size);

/* Opens a client of that kind with pairs of properties, NULL at the end. */
const char *test_open(test_host_t *host, const char *kind, const char *const *properties);
/* The same with options of its own, NULL at the end. */
typedef struct test_option {
        const char *name;
        int64_t value;
} test_option_t;
const char *test_open_with(test_host_t *host, const char *kind, const char *const *properties,
                           const test_option_t *options);

/* A growing command. */
typedef struct bytes {
        unsigned char data[65536];
        size_t size;
} bytes_t;
void put_uint(bytes_t *out, uint64_t value, size_t size);
void put_text(bytes_t *out, const char *text);
/* A message of so many bytes to topic t. */
void put_plain(bytes_t *out, uint32_t partition, size_t size);
/* PRODUCE of `count` messages "v" to topic t, partition -1. */
void put_produce(bytes_t *out, uint8_t mode, uint8_t policy, uint64_t call, const char *tag,
                 uint32_t count);

#endif
