#include "life.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "memory.h"
#include "trial.h"

#define DEADLINE_MS 40000

life_t life_begin(void) {
        life_t life = {.host = NULL};
        void *member;
        if (set_up_member(&member))
                trial_fail("there is no cluster");
        life.member = member;
        return life;
}

void life_end(life_t *life) {
        void *member = life->member;
        if (life->host)
                test_host_free(life->host);
        life->host = NULL;
        if (tear_down_member(&member))
                trial_fail("%ld blocks have leaked", test_blocks_alive());
}

static void must_be_faulty(const char *what, const char *answer) {
        if (trial_is_faultless())
                trial_fail("without a fault %s says %s", what, answer);
}

void life_open(life_t *life, const char *kind, const char *const *properties,
               const test_option_t *options) {
        for (int i = 0; i < 2; i++) {
                const char *answer = "no client";
                life->host = test_host_new();
                if (life->host->client) {
                        answer = test_open_with(life->host, kind, properties, options);
                        if (strcmp(answer, "ok") == 0)
                                return;
                }
                must_be_faulty("the open", answer);
                test_host_free(life->host);
                life->host = NULL;
        }
        trial_fail("after its fault a client still does not open");
}

const char *life_do(life_t *life, unsigned command, const void *data, size_t size,
                    const char *expected) {
        const char *answer = test_command(life->host, command, data, size);
        char what[32];
        if (strcmp(answer, expected) == 0)
                return answer;
        snprintf(what, sizeof(what), "command %u", command);
        must_be_faulty(what, answer);
        return test_command(life->host, command, data, size);
}

/* `ok`, {ok, _} or a packed answer. */
static bool is_ok(const packet_t *packet) {
        cr_reader_t whole = cr_reader(packet->bytes, packet->size), in = whole;
        char name[16];
        if (packet->size && packet->bytes[0] != 131)
                return true;
        cr_read_atom(&whole, name, sizeof(name));
        if (whole.failed) {
                (void)cr_read_tuple(&in, 2);
                cr_read_atom(&in, name, sizeof(name));
        }
        return strcmp(name, "ok") == 0;
}

bool life_ask(life_t *life, unsigned command, const void *data, size_t size, const char *tag) {
        for (int i = 0; i < 2; i++) {
                char what[32];
                const char *answer = test_command(life->host, command, data, size);
                packet_t *reply;
                bool ok;
                snprintf(what, sizeof(what), "command %u", command);
                if (answer[0]) {
                        must_be_faulty(what, answer);
                        continue;
                }
                reply = life_reply(life, tag);
                ok = is_ok(reply);
                packet_free(reply);
                if (ok)
                        return true;
                must_be_faulty(what, "an error");
        }
        return false;
}

cr_writer_t life_writer(void) {
        cr_writer_t out;
        memory_counts(false);
        out = cr_writer();
        return out;
}

cr_writer_t life_term(int arity, const char *text) {
        cr_writer_t out = life_writer();
        cr_write_tuple(&out, arity);
        cr_write_text(&out, text);
        return out;
}

bool life_ask_term(life_t *life, unsigned command, cr_writer_t *term, const char *tag) {
        bool ok;
        memory_counts(true);
        ok = life_ask(life, command, term->x.buff, (size_t)term->x.index, tag);
        cr_writer_discard(term);
        return ok;
}

const char *life_do_term(life_t *life, unsigned command, cr_writer_t *term, const char *expected) {
        const char *answer;
        memory_counts(true);
        answer = life_do(life, command, term->x.buff, (size_t)term->x.index, expected);
        cr_writer_discard(term);
        return answer;
}

static void serve(test_host_t *host, int millis) {
        struct pollfd ready = {.fd = host->fd, .events = POLLIN};
        if (poll(&ready, 1, millis) > 0)
                cr_client_drain(host->client);
        else
                cr_client_sweep(host->client);
}

static bool is_end(const packet_t *packet, const void *with) {
        (void)with;
        return packet->kind == CR_PACKET_EVENT &&
               (!packet->size || memmem(packet->bytes, packet->size, "assign_failed", 13));
}

packet_t *life_packet(life_t *life, packet_match_t match, const void *with, const char *what) {
        int64_t until = cr_now_ms() + DEADLINE_MS;
        packet_t *found;
        while (!(found = test_host_find(life->host, match, with)) && !life->ended) {
                packet_t *end = test_host_find(life->host, is_end, NULL);
                if (end)
                        must_be_faulty(what, "there is no memory");
                life->ended |= end != NULL;
                packet_free(end);
                if (cr_now_ms() > until)
                        trial_fail("there is no %s", what);
                serve(life->host, 20);
        }
        return found;
}

static bool is_reply(const packet_t *packet, const void *with) {
        return packet->kind == CR_PACKET_REPLY && packet->tag_size == strlen(with) &&
               memcmp(packet->tag, with, packet->tag_size) == 0;
}

packet_t *life_reply(life_t *life, const char *tag) {
        bool ended = life->ended;
        packet_t *reply;
        life->ended = false;
        /* What the owner hears of does not change what others are told. */
        while (!(reply = life_packet(life, is_reply, tag, tag)))
                ended = true, life->ended = false;
        life->ended |= ended;
        return reply;
}

static bool is_event(const packet_t *packet, const void *with) {
        return packet->kind == CR_PACKET_EVENT &&
               memmem(packet->bytes, packet->size, with, strlen(with)) != NULL;
}

bool life_event(life_t *life, const char *name) {
        packet_t *packet = life_packet(life, is_event, name, name);
        packet_free(packet);
        return packet != NULL;
}

bool life_has_event(life_t *life, const char *name) {
        const packet_t *packet;
        bool has = false;
        pthread_mutex_lock(&life->host->lock);
        for (packet = life->host->first; packet && !has; packet = packet->next)
                has = is_event(packet, name) || is_end(packet, NULL);
        pthread_mutex_unlock(&life->host->lock);
        return has;
}

void life_settle(life_t *life) {
        struct pollfd ready = {.fd = life->host->fd, .events = POLLIN};
        while (poll(&ready, 1, 50) > 0)
                cr_client_drain(life->host->client);
        cr_client_sweep(life->host->client);
}

void life_close(life_t *life) {
        (void)life_do(life, CR_CMD_CLOSE, "closed", 6, "");
        test_host_close(life->host);
        packet_free(test_host_reply(life->host, "closed"));
        pthread_mutex_lock(&life->host->lock);
        while (!life->host->gone)
                pthread_cond_wait(&life->host->changed, &life->host->lock);
        pthread_mutex_unlock(&life->host->lock);
}

int life_main(const faults_t *faults, int argc, char **argv) {
        static const trial_t lives[] = {
                {"producer", life_of_producer}, {"transactions", life_of_transactions},
                {"consumer", life_of_consumer}, {"reader", life_of_reader},
                {"asker", life_of_asker},       {"cluster", life_of_cluster},
                {"secrets", life_of_secrets},
        };
        return trial_main(lives, sizeof(lives) / sizeof(lives[0]), faults, argc, argv);
}
