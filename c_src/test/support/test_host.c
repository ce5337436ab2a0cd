#include "test_host.h"

#include <dirent.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"

#define DEADLINE_MS 30000

struct cr_buf {
        atomic_uint references;
        size_t size;
        unsigned char bytes[];
};

static atomic_long blocks;
static atomic_bool run_out;

void test_blocks_run_out(bool out) {
        atomic_store(&run_out, out);
}

/* No test has a block so large: the core would have believed a size it was told. */
#define LARGEST_BLOCK ((size_t)1 << 28)

static cr_buf_t *buf_new(size_t size) {
        cr_buf_t *buf;
        if (size >= LARGEST_BLOCK)
                abort();
        buf = atomic_load(&run_out) ? NULL : memory_malloc(sizeof(*buf) + size);
        if (!buf)
                return NULL;
        atomic_init(&buf->references, 1);
        buf->size = size;
        atomic_fetch_add(&blocks, 1);
        return buf;
}

static unsigned char *buf_bytes(cr_buf_t *buf) {
        return buf->bytes;
}

static size_t buf_size(const cr_buf_t *buf) {
        return buf->size;
}

static void buf_keep(cr_buf_t *buf) {
        atomic_fetch_add(&buf->references, 1);
}

static void buf_release(cr_buf_t *buf) {
        if (atomic_fetch_sub(&buf->references, 1) != 1)
                return;
        atomic_fetch_sub(&blocks, 1);
        free(buf);
}

int test_threads(void) {
        DIR *threads = opendir("/proc/self/task");
        int count = -2; /* the folder itself, and the one above */
        while (threads && readdir(threads))
                count++;
        if (threads)
                closedir(threads);
        return count;
}

void test_await_threads(int most) {
        const struct timespec pause = {.tv_nsec = 1000000};
        for (int i = 0; i < 5000 && test_threads() > most; i++)
                nanosleep(&pause, NULL);
}

long test_blocks_alive(void) {
        test_await_threads(1);
        return atomic_load(&blocks);
}

static void copy_short(unsigned char *to, size_t room, const unsigned char *from, size_t size,
                       size_t *copied) {
        *copied = size < room ? size : room;
        if (*copied)
                memcpy(to, from, *copied);
}

static void host_send(void *opaque, cr_recipient_t to, const cr_packet_t *packet) {
        test_host_t *host = opaque;
        packet_t *kept = calloc(1, sizeof(*kept));
        kept->kind = packet->kind;
        kept->to = to;
        kept->slot = packet->slot;
        copy_short(kept->tag, sizeof(kept->tag), packet->tag, packet->tag_size, &kept->tag_size);
        copy_short(kept->mask, sizeof(kept->mask), packet->mask, packet->mask_size,
                   &kept->mask_size);
        kept->size = packet->bytes ? packet->size : 0;
        kept->bytes = malloc(kept->size + 1);
        if (packet->bytes)
                memcpy(kept->bytes, buf_bytes(packet->bytes), kept->size);
        pthread_mutex_lock(&host->lock);
        *host->last = kept;
        host->last = &kept->next;
        pthread_cond_broadcast(&host->changed);
        pthread_mutex_unlock(&host->lock);
}

static void host_watch(void *opaque, int fd) {
        ((test_host_t *)opaque)->fd = fd;
}

static void host_alarm(void *opaque, unsigned milliseconds) {
        ((test_host_t *)opaque)->alarm = milliseconds;
}

static void host_gone(void *opaque) {
        test_host_t *host = opaque;
        pthread_mutex_lock(&host->lock);
        host->gone = true;
        pthread_cond_broadcast(&host->changed);
        pthread_mutex_unlock(&host->lock);
}

static const cr_host_ops_t ops = {.buf_new = buf_new,
                                  .buf_bytes = buf_bytes,
                                  .buf_size = buf_size,
                                  .buf_keep = buf_keep,
                                  .buf_release = buf_release,
                                  .send = host_send,
                                  .watch = host_watch,
                                  .alarm = host_alarm,
                                  .gone = host_gone};

const cr_host_ops_t *test_host_ops(void) {
        return &ops;
}

test_host_t *test_host_new(void) {
        test_host_t *host = calloc(1, sizeof(*host));
        pthread_mutex_init(&host->lock, NULL);
        pthread_cond_init(&host->changed, NULL);
        host->last = &host->first;
        host->client = cr_client_new(&ops, host);
        host->gone = !host->client;
        return host;
}

void test_host_close(test_host_t *host) {
        cr_client_t *client = host->client;
        host->client = NULL;
        cr_client_close(client);
        close(host->fd);
}

void packet_free(packet_t *packet) {
        if (packet)
                free(packet->bytes);
        free(packet);
}

void test_host_free(test_host_t *host) {
        packet_t *packet;
        if (host->client)
                test_host_close(host);
        pthread_mutex_lock(&host->lock);
        while (!host->gone)
                pthread_cond_wait(&host->changed, &host->lock);
        pthread_mutex_unlock(&host->lock);
        while ((packet = host->first)) {
                host->first = packet->next;
                packet_free(packet);
        }
        pthread_cond_destroy(&host->changed);
        pthread_mutex_destroy(&host->lock);
        free(host);
}

static long now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

packet_t *test_host_find(test_host_t *host, packet_match_t match, const void *with) {
        packet_t *found = NULL;
        pthread_mutex_lock(&host->lock);
        for (packet_t **at = &host->first; *at; at = &(*at)->next) {
                if (!match(*at, with))
                        continue;
                found = *at;
                *at = found->next;
                if (!found->next)
                        host->last = at;
                break;
        }
        pthread_mutex_unlock(&host->lock);
        return found;
}

/* An alarm that comes soon; a member's slow one is the test's own. */
static bool is_soon(const test_host_t *host) {
        return host->alarm && host->alarm < CR_SWEEP_MS;
}

/* The reaper wakes nobody's descriptor: without a client this waits in short
 * steps for what it sends. */
static void wait_for_news(test_host_t *host) {
        struct pollfd poll_fd = {.fd = host->client ? host->fd : -1, .events = POLLIN};
        if (poll(&poll_fd, 1, !host->client ? 5 : is_soon(host) ? (int)host->alarm : 200) > 0) {
                cr_client_drain(host->client);
        } else if (host->client && is_soon(host)) {
                host->alarm = 0;
                cr_client_sweep(host->client);
        }
}

static packet_t *await(test_host_t *host, packet_match_t match, const void *with) {
        long until = now_ms() + DEADLINE_MS;
        packet_t *found;
        while (!(found = test_host_find(host, match, with)) && now_ms() < until)
                wait_for_news(host);
        return found;
}

static bool is_kind(const packet_t *packet, const void *with) {
        return packet->kind == *(const cr_packet_kind_t *)with;
}

static bool is_any(const packet_t *packet, const void *with) {
        (void)packet;
        (void)with;
        return true;
}

packet_t *test_host_next(test_host_t *host) {
        return test_host_find(host, is_any, NULL);
}

packet_t *test_host_packet(test_host_t *host, cr_packet_kind_t kind) {
        return await(host, is_kind, &kind);
}

static bool is_reply(const packet_t *packet, const void *with) {
        return packet->kind == CR_PACKET_REPLY && packet->tag_size == strlen(with) &&
               memcmp(packet->tag, with, packet->tag_size) == 0;
}

packet_t *test_host_reply(test_host_t *host, const char *tag) {
        return await(host, is_reply, tag);
}

static bool is_event(const packet_t *packet, const void *with) {
        return packet->kind == CR_PACKET_EVENT &&
               memmem(packet->bytes, packet->size, with, strlen(with)) != NULL;
}

packet_t *test_host_event(test_host_t *host, const char *name) {
        return await(host, is_event, name);
}

/* ---- commands -------------------------------------------------------- */

static char answer_text[64];
static unsigned char answer_bytes[65536];
static size_t answer_size;

/* The atom of an answer, or the name in its error. */
static void read_answer(const unsigned char *bytes, size_t size) {
        cr_reader_t whole = cr_reader(bytes, size), atom = whole, error = whole;
        cr_text_t name;
        cr_read_atom(&atom, answer_text, sizeof(answer_text));
        if (!atom.failed)
                return;
        if (!cr_read_tuple(&error, 2))
                return;
        cr_read_atom(&error, answer_text, sizeof(answer_text));
        if (strcmp(answer_text, "error") != 0 || !cr_read_tuple(&error, 5))
                return;
        name = cr_read_binary(&error);
        snprintf(answer_text, sizeof(answer_text), "%.*s", (int)name.size, name.bytes);
}

const char *test_command_as(test_host_t *host, cr_recipient_t caller, unsigned command,
                            const void *data, size_t size) {
        cr_input_t in = {.caller = caller, .data = data, .size = size};
        cr_reply_t reply;
        cr_client_command(host->client, command, &in, &reply);
        answer_text[0] = '\0';
        answer_size = 0;
        if (reply.failed)
                return "no_memory"; /* which the host says */
        if (!reply.buf)
                return answer_text;
        answer_size = reply.size < sizeof(answer_bytes) ? reply.size : sizeof(answer_bytes);
        memcpy(answer_bytes, buf_bytes(reply.buf), answer_size);
        if (answer_bytes[0] == 131)
                read_answer(answer_bytes, answer_size);
        else
                snprintf(answer_text, sizeof(answer_text), "packed");
        buf_release(reply.buf);
        return answer_text;
}

const char *test_command(test_host_t *host, unsigned command, const void *data, size_t size) {
        return test_command_as(host, 1, command, data, size);
}

const unsigned char *test_answer(size_t *size) {
        *size = answer_size;
        return answer_bytes;
}

const char *test_open(test_host_t *host, const char *kind, const char *const *properties) {
        static const test_option_t none[] = {{NULL, 0}};
        return test_open_with(host, kind, properties, none);
}

const char *test_open_with(test_host_t *host, const char *kind, const char *const *properties,
                           const test_option_t *options) {
        cr_writer_t out;
        const char *answer;
        packet_t *packet;
        int pairs = 0;
        memory_counts(false);
        out = cr_writer();
        cr_write_tuple(&out, 4);
        cr_write_text(&out, "open");
        cr_write_atom(&out, kind);
        while (properties && properties[2 * pairs])
                pairs++;
        cr_write_list(&out, pairs);
        for (; pairs; pairs--, properties += 2) {
                cr_write_tuple(&out, 2);
                cr_write_text(&out, properties[0]);
                cr_write_text(&out, properties[1]);
        }
        cr_write_list_end(&out);
        while (options[pairs].name)
                pairs++;
        cr_write_list(&out, pairs);
        for (; options->name; options++) {
                cr_write_tuple(&out, 2);
                cr_write_text(&out, options->name);
                cr_write_integer(&out, options->value);
        }
        cr_write_list_end(&out);
        memory_counts(true);
        answer = test_command(host, CR_CMD_OPEN, out.x.buff, (size_t)out.x.index);
        cr_writer_discard(&out);
        if (answer[0])
                return answer;
        packet = test_host_reply(host, "open");
        if (!packet)
                return "timeout";
        if (!packet->size) {
                packet_free(packet);
                return "no_memory"; /* which the host says */
        }
        read_answer(packet->bytes, packet->size);
        memcpy(answer_bytes, packet->bytes, packet->size);
        answer_size = packet->size;
        packet_free(packet);
        return answer_text;
}

void put_uint(bytes_t *out, uint64_t value, size_t size) {
        unsigned char *to = out->data + out->size;
        cr_put_uint(&to, value, size);
        out->size += size;
}

void put_text(bytes_t *out, const char *text) {
        memcpy(out->data + out->size, text, strlen(text));
        out->size += strlen(text);
}

void put_plain(bytes_t *out, uint32_t partition, size_t size) {
        put_uint(out, CR_MESSAGE_VALUE | CR_MESSAGE_TOPIC | CR_MESSAGE_PARTITION, 1);
        put_uint(out, 1, 2);
        put_text(out, "t");
        put_uint(out, partition, 4);
        put_uint(out, size, 4);
        memset(out->data + out->size, 'v', size);
        out->size += size;
}

void put_produce(bytes_t *out, uint8_t mode, uint8_t policy, uint64_t call, const char *tag,
                 uint32_t count) {
        put_uint(out, mode, 1);
        put_uint(out, policy, 1);
        put_uint(out, call, 8);
        put_uint(out, strlen(tag), 2);
        put_text(out, tag);
        put_uint(out, count, 4);
        for (uint32_t i = 0; i < count; i++) {
                put_uint(out, CR_MESSAGE_VALUE | (i ? 0 : CR_MESSAGE_TOPIC), 1);
                if (!i) {
                        put_uint(out, 1, 2);
                        put_text(out, "t");
                }
                put_uint(out, 1, 4);
                put_text(out, "v");
        }
}
