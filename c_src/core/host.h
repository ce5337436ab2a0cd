/*
 * What the core asks of whoever hosts it.
 *
 * The core is a plain C library. It knows neither processes nor ports: a
 * recipient is a 64-bit number that the host hands in with each command, and
 * a packet is a few bytes that the host turns into whatever its side reads.
 *
 * Threads: every function of the core is called under one lock of the host's
 * choosing (the driver: the port's lock), save those marked @locality any.
 * After cr_client_close() the core's own reaper thread takes the host's place
 * and calls `send` and `gone` from there, alone.
 */
#ifndef CREMA_HOST_H
#define CREMA_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A counted block of bytes that belongs to the host (the driver: a binary). */
typedef struct cr_buf cr_buf_t;

/* Who gets a packet; 0 is nobody. */
typedef uint64_t cr_recipient_t;

typedef enum cr_packet_kind {
        CR_PACKET_REPLY,    /* {Tag, Bytes}: the answer to a command with a tag */
        CR_PACKET_REPORTS,  /* {crema_reports, Client, Bytes}: delivery reports */
        CR_PACKET_BATCH,    /* {crema_batch, Slot, Bytes, Mask}: consumed messages */
        CR_PACKET_SLOT_END, /* {crema_slot_end, Slot}: nothing of it follows */
        CR_PACKET_EVENT,    /* {crema_event, Client, Bytes}: for the owner */
        CR_PACKET_LEFT,     /* {crema_left, Caller, Call, Bytes}: for the anchor's owner */
        CR_PACKET_TOLD /* crema_told, to nobody else: a closed client has sent its last report */
} cr_packet_kind_t;

typedef struct cr_packet {
        cr_packet_kind_t kind;
        uint64_t slot;            /* BATCH, SLOT_END; LEFT: the call */
        const unsigned char *tag; /* REPLY: external term of the tag, borrowed */
        size_t tag_size;
        /* Borrowed: the host keeps it if it needs it longer. REPLY, EVENT: NULL where there
         * was no memory, which the host says in its place. REPORTS: NULL is the end. */
        cr_buf_t *bytes;
        size_t size;               /* bytes of it in use; it may have been made larger */
        const unsigned char *mask; /* BATCH: bit set = already acknowledged */
        size_t mask_size;
} cr_packet_t;

typedef struct cr_host_ops {
        /* A new block with one reference, or NULL. @locality any */
        cr_buf_t *(*buf_new)(size_t size);
        unsigned char *(*buf_bytes)(cr_buf_t *buf);
        size_t (*buf_size)(const cr_buf_t *buf);
        void (*buf_keep)(cr_buf_t *buf);
        void (*buf_release)(cr_buf_t *buf);

        /* Sends; a recipient that is gone is no error. */
        void (*send)(void *host, cr_recipient_t to, const cr_packet_t *packet);

        /* Calls cr_client_drain() whenever fd can be read, until the close.
         * From then on the descriptor is the host's, which closes it. */
        void (*watch)(void *host, int fd);

        /* Calls cr_client_sweep() once, about that many milliseconds from now; what was asked
         * for before and has not come is forgotten: a client has one use for it (no client is a
         * producer and a member). After the close nothing comes. @locality also reaper */
        void (*alarm)(void *host, unsigned milliseconds);

        /* The client no longer exists: the last call to this host.
         * @locality reaper, or the caller of cr_client_close() */
        void (*gone)(void *host);
} cr_host_ops_t;

#endif
