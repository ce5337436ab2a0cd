/*
 * Any command of the table with any bytes, to a client of any kind: it is answered,
 * and the client goes on. Clients live for many inputs, since most of them change
 * nothing; sequences are for fuzz_sequences.c.
 */
#include <stdlib.h>

#include "../core/delivery.h"
#include "clients.h"
#include "fuzz.h"

/* A client is exchanged after so many commands. */
#define FRESH 1000

static test_host_t *hosts[FUZZ_KINDS];
static int used[FUZZ_KINDS];

static void discard(fuzz_kind_t kind) {
        if (hosts[kind])
                test_host_free(hosts[kind]);
        hosts[kind] = NULL;
        used[kind] = 0;
}

static void discard_all(void) {
        for (int kind = 0; kind < FUZZ_KINDS; kind++)
                discard((fuzz_kind_t)kind);
}

/* That it takes no more, or another begins only now, makes a client of no more use. */
static bool is_usable(const cr_client_t *client, fuzz_kind_t kind) {
        return client->state == (kind == FUZZ_NEW ? CR_NEW : CR_OPEN) &&
               !(client->delivery && client->delivery->draining) &&
               (kind != FUZZ_READER || client->reads != CR_READS_ALONE);
}

static test_host_t *client(fuzz_kind_t kind) {
        if (used[kind]++ == FRESH)
                discard(kind);
        if (!hosts[kind])
                hosts[kind] = fuzz_client(kind);
        return hosts[kind];
}

/* Commands that begin with a slot are to meet one now and then. */
static void name_slot(const test_host_t *host, unsigned command, unsigned char *bytes,
                      size_t size) {
        bool behind = command == CR_CMD_GROUP_METADATA;
        unsigned char *at = bytes + (behind ? 4 : 0);
        if (size >= (behind ? 12 : 8) && at[0] == 0)
                cr_put_uint(&at, fuzz_slot(host, at[7]), 8);
}

static bool has_slot(unsigned command) {
        return command == CR_CMD_TAKE || command == CR_CMD_DEMAND || command == CR_CMD_ACK ||
               command == CR_CMD_WAITING || command == CR_CMD_REDELIVER ||
               command == CR_CMD_GROUP_METADATA;
}

static void look_at_answer(void) {
        size_t size;
        const unsigned char *answer = test_answer(&size);
        FUZZ_CHECK(!size || size == 65536 || answer[0] != 131 || is_term(answer, size));
}

/* The kind, the command, its bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static bool registered;
        feed_t feed = {data, size};
        fuzz_kind_t kind = (fuzz_kind_t)(feed_u8(&feed) % FUZZ_KINDS);
        unsigned command = feed_u8(&feed);
        size_t got;
        unsigned char *bytes;
        test_host_t *host;
        if (fuzz_is_forbidden(data, size))
                return 0;
        host = client(kind);
        if (!registered)
                registered = !atexit(discard_all); /* before the cluster, which is older */
        bytes = feed_bytes(&feed, feed.left, &got);
        fuzz_shorten_time(bytes, got);
        if (has_slot(command))
                name_slot(host, command, bytes, got);
        test_command(host, command, bytes, got);
        free(bytes);
        look_at_answer();
        fuzz_serve(host, 0);
        if (!is_usable(host->client, kind) || !fuzz_catch_up(host))
                discard(kind);
        return 0;
}
