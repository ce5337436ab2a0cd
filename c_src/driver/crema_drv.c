/*
 * The port driver: one port is one client. It hosts the core (core/host.h) in
 * the emulator and knows nothing of Kafka.
 *
 * Ports are locked one by one (ERL_DRV_FLAG_USE_PORT_LOCKING); the core's
 * functions are called under the port's lock. When a port closes, its host_t
 * goes with the client to the reaper, which sends through the anchor: a port
 * of its own that the application keeps open, for a closing port can send
 * nothing any more.
 */
#include <erl_driver.h>
#include <openssl/crypto.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../core/client.h"
#include "../core/intake.h"
#include "../core/mem.h"
#include "recipients.h"

typedef struct host {
        ErlDrvPort port;     /* used under the port's lock only */
        ErlDrvTermData term; /* of the port */
        atomic_bool closed;  /* the port is closing, or gone */
        bool watching;
        cr_client_t *client; /* owned until stop() */
        recipients_t recipients;
} host_t;

/*
 * Ports of another kind have no client, and no data but this: there messages come in for
 * whatever client their key names (core/intake.h). There is one for each scheduler, so that
 * callers do not meet at a port's lock.
 */
static char intake_port;

static bool is_intake(ErlDrvData data) {
        return data == (ErlDrvData)&intake_port;
}

/* The anchor's port term, and its owner; 0 while there is none. */
static atomic_uintptr_t anchor, anchor_owner;

/* ---- blocks are driver binaries -------------------------------------- */

static cr_buf_t *buf_new(size_t size) {
        return (cr_buf_t *)driver_alloc_binary(size);
}
static unsigned char *buf_bytes(cr_buf_t *buf) {
        return (unsigned char *)((ErlDrvBinary *)buf)->orig_bytes;
}
static size_t buf_size(const cr_buf_t *buf) {
        return (size_t)((const ErlDrvBinary *)buf)->orig_size;
}
static void buf_keep(cr_buf_t *buf) {
        driver_binary_inc_refc((ErlDrvBinary *)buf);
}
static void buf_release(cr_buf_t *buf) {
        driver_free_binary((ErlDrvBinary *)buf);
}

/* ---- packets become messages ------------------------------------------ */

/* What is said where there was no memory to say anything else: of a command, and to the
 * owner, whose client it ends. Made before any client. */
static ErlDrvBinary *no_memory, *no_memory_fatal;

static ErlDrvTermData atom_reports, atom_batch, atom_slot_end, atom_event, atom_left, atom_told;

#define TERM_MOST 16

/* Builds the term of a packet; returns its length. */
static int build_term(const host_t *host, const cr_packet_t *packet, ErlDrvTermData to,
                      ErlDrvUInt64 *slot, ErlDrvTermData *term) {
        ErlDrvBinary *instead = packet->kind == CR_PACKET_EVENT ? no_memory_fatal : no_memory;
        ErlDrvBinary *bytes = packet->bytes ? (ErlDrvBinary *)packet->bytes : instead;
        size_t size = packet->bytes ? packet->size : (size_t)instead->orig_size;
        int at = 0;
        if (packet->kind == CR_PACKET_REPORTS && !packet->bytes)
                size = 0; /* the end of them */
        *slot = packet->slot;
#define PUT(value) (term[at++] = (ErlDrvTermData)(value))
#define PUT_BYTES() (PUT(ERL_DRV_BINARY), PUT(bytes), PUT(size), PUT(0))
        switch (packet->kind) {
        case CR_PACKET_REPLY:
                PUT(ERL_DRV_EXT2TERM), PUT(packet->tag), PUT(packet->tag_size);
                PUT_BYTES();
                PUT(ERL_DRV_TUPLE), PUT(2);
                break;
        case CR_PACKET_REPORTS:
        case CR_PACKET_EVENT:
                PUT(ERL_DRV_ATOM);
                PUT(packet->kind == CR_PACKET_EVENT ? atom_event : atom_reports);
                PUT(ERL_DRV_PORT), PUT(host->term);
                PUT_BYTES();
                PUT(ERL_DRV_TUPLE), PUT(3);
                break;
        case CR_PACKET_LEFT:
                PUT(ERL_DRV_ATOM), PUT(atom_left);
                PUT(ERL_DRV_PID), PUT(to);
                PUT(ERL_DRV_UINT64), PUT(slot);
                PUT_BYTES();
                PUT(ERL_DRV_TUPLE), PUT(4);
                break;
        case CR_PACKET_BATCH:
                PUT(ERL_DRV_ATOM), PUT(atom_batch);
                PUT(ERL_DRV_UINT64), PUT(slot);
                PUT_BYTES();
                PUT(ERL_DRV_BUF2BINARY), PUT(packet->mask), PUT(packet->mask_size);
                PUT(ERL_DRV_TUPLE), PUT(4);
                break;
        case CR_PACKET_SLOT_END:
                PUT(ERL_DRV_ATOM), PUT(atom_slot_end);
                PUT(ERL_DRV_UINT64), PUT(slot);
                PUT(ERL_DRV_TUPLE), PUT(2);
                break;
        case CR_PACKET_TOLD:
                PUT(ERL_DRV_ATOM), PUT(atom_told);
                break;
        }
#undef PUT
#undef PUT_BYTES
        return at;
}

static void host_send(void *opaque, cr_recipient_t to, const cr_packet_t *packet) {
        host_t *host = opaque;
        ErlDrvTermData term[TERM_MOST], pid = 0;
        ErlDrvUInt64 slot;
        ErlDrvTermData from = host->term;
        int length;
        if (packet->kind != CR_PACKET_TOLD && !recipients_pid(&host->recipients, to, &pid))
                return;
        if (atomic_load(&host->closed))
                from = (ErlDrvTermData)atomic_load(&anchor);
        length = build_term(host, packet, pid, &slot, term);
        if (packet->kind == CR_PACKET_LEFT || packet->kind == CR_PACKET_TOLD)
                pid = (ErlDrvTermData)atomic_load(&anchor_owner);
        if (from && pid)
                (void)erl_drv_send_term(from, pid, term, length);
}

/* ---- descriptors --------------------------------------------------------- */

/* An event of the emulator is a descriptor here. */
static ErlDrvEvent event_of(int fd) {
        return (ErlDrvEvent)(intptr_t)fd;
}

static void host_watch(void *opaque, int fd) {
        host_t *host = opaque;
        host->watching =
                driver_select(host->port, event_of(fd), ERL_DRV_READ | ERL_DRV_USE, 1) == 0;
}

static void host_alarm(void *opaque, unsigned milliseconds) {
        host_t *host = opaque;
        if (!atomic_load(&host->closed))
                driver_set_timer(host->port, milliseconds);
}

static void drv_stop_select(ErlDrvEvent event, void *reserved) {
        (void)reserved;
        close((int)(intptr_t)event);
}

/* ---- life ------------------------------------------------------------------ */

static void host_gone(void *opaque) {
        host_t *host = opaque;
        recipients_clear(&host->recipients);
        cr_free(host);
}

static const cr_host_ops_t host_ops = {.buf_new = buf_new,
                                       .buf_bytes = buf_bytes,
                                       .buf_size = buf_size,
                                       .buf_keep = buf_keep,
                                       .buf_release = buf_release,
                                       .send = host_send,
                                       .watch = host_watch,
                                       .alarm = host_alarm,
                                       .gone = host_gone};

#ifdef __GLIBC__
/* What others have asked for is left out with it. The emulator has done its part. */
static void leave(int status, void *unused) {
        (void)unused;
        if (!cr_lanes_alive())
                return;
#ifdef __SANITIZE_ADDRESS__
        (void)__lsan_do_recoverable_leak_check(); /* which is left out, too */
#endif
        _exit(status);
}

static void leave_at_exit(void) {
        (void)on_exit(leave, NULL);
}
#endif

/* OpenSSL's clean-up at exit would pull the library from under threads that are still
 * running when the VM halts. Who had OpenSSL first, as crypto mostly has, has let it
 * ask for that; but who asks last is called first. @precondition the driver stays */
static void outlive_openssl(void) {
#ifdef __GLIBC__
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        (void)pthread_once(&once, leave_at_exit);
#endif
}

static ErlDrvBinary *say_no_memory(bool fatal) {
        cr_writer_t out = cr_writer();
        size_t size;
        cr_write_no_memory(&out, fatal);
        return (ErlDrvBinary *)cr_writer_finish(&out, &host_ops, &size);
}

static int drv_init(void) {
        no_memory = say_no_memory(false);
        no_memory_fatal = say_no_memory(true);
        if (!no_memory || !no_memory_fatal)
                return -1;
        OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
        cr_mem_init();
        atom_reports = driver_mk_atom("crema_reports");
        atom_batch = driver_mk_atom("crema_batch");
        atom_slot_end = driver_mk_atom("crema_slot_end");
        atom_event = driver_mk_atom("crema_event");
        atom_left = driver_mk_atom("crema_left");
        atom_told = driver_mk_atom("crema_told");
        return 0;
}

static ErlDrvData start_client(ErlDrvPort port, const char *command) {
        host_t *host = cr_alloc(sizeof(*host));
        ErlDrvSizeT unlimited = ERL_DRV_BUSY_MSGQ_DISABLED;
        int fd;
        if (!host) {
                errno = ENOMEM;
                return ERL_DRV_ERROR_ERRNO;
        }
        host->port = port;
        host->term = driver_mk_port(port);
        atomic_init(&host->closed, false);
        host->client = cr_client_new(&host_ops, host);
        if (!host->client || !host->watching) {
                fd = host->client ? host->client->wake.fd : -1;
                if (host->client)
                        cr_client_close(host->client);
                else
                        cr_free(host);
                if (fd >= 0)
                        close(fd);
                errno = EMFILE;
                return ERL_DRV_ERROR_ERRNO;
        }
        /* Threads of a client outlive its port; the code must stay. */
        driver_lock_driver(port);
        outlive_openssl();
        set_port_control_flags(port, PORT_CONTROL_FLAG_BINARY);
        /* A caller that the emulator suspended could keep no deadline. */
        erl_drv_busy_msgq_limits(port, &unlimited, NULL);
        if (strstr(command, " anchor")) {
                atomic_store(&anchor_owner, (uintptr_t)driver_connected(port));
                atomic_store(&anchor, (uintptr_t)host->term);
        }
        return (ErlDrvData)host;
}

static ErlDrvData drv_start(ErlDrvPort port, char *command) {
        return strstr(command, " intake") ? (ErlDrvData)&intake_port : start_client(port, command);
}

static void stop_client(host_t *host) {
        cr_client_t *client = host->client;
        uintptr_t own = (uintptr_t)host->term;
        int fd = client->wake.fd;
        /* First nobody may write to it any more: deselecting closes it. */
        cr_wake_drop_fd(&client->wake);
        driver_select(host->port, event_of(fd), ERL_DRV_READ | ERL_DRV_USE, 0);
        atomic_compare_exchange_strong(&anchor, &own, 0);
        atomic_store(&host->closed, true);
        cr_client_close(client);
}

static void drv_stop(ErlDrvData data) {
        if (!is_intake(data))
                stop_client((host_t *)data);
}

static void drv_ready_input(ErlDrvData data, ErlDrvEvent event) {
        (void)event;
        cr_client_drain(((host_t *)data)->client);
}

static void drv_timeout(ErlDrvData data) {
        cr_client_sweep(((host_t *)data)->client);
}

static void drv_process_exit(ErlDrvData data, ErlDrvMonitor *monitor) {
        host_t *host = (host_t *)data;
        ErlDrvTermData pid = driver_get_monitored_process(host->port, monitor);
        cr_recipient_t gone = recipients_remove(&host->recipients, pid);
        if (gone)
                cr_client_recipient_gone(host->client, gone);
}

/* ---- commands ------------------------------------------------------------- */

static void command(host_t *host, unsigned number, cr_input_t *in, cr_reply_t *reply) {
        in->caller = recipients_number(&host->recipients, host->port, driver_caller(host->port));
        if (in->caller)
                cr_client_command(host->client, number, in, reply);
        else
                *reply = (cr_reply_t){.failed = true};
}

/* Nothing, or the list of a zero when the message was not accepted. */
static ErlDrvSSizeT take_in(const char *bytes, size_t size, char *result) {
        bool accepted = cr_intake_command(bytes, size);
        result[0] = 0;
        return accepted ? 0 : 1;
}

static ErlDrvSSizeT drv_control(ErlDrvData data, unsigned number, char *bytes, ErlDrvSizeT size,
                                char **result, ErlDrvSizeT room) {
        cr_input_t in = {.data = (const unsigned char *)bytes, .size = size};
        cr_reply_t reply;
        (void)room;
        if (is_intake(data))
                return take_in(bytes, size, *result);
        command((host_t *)data, number, &in, &reply);
        if (reply.failed) {
                reply.buf = (cr_buf_t *)no_memory;
                reply.size = (size_t)no_memory->orig_size;
                buf_keep(reply.buf);
        }
        *result = (char *)reply.buf;
        return (ErlDrvSSizeT)reply.size;
}

/* Copies `size` bytes from the front of a vector; false when it is shorter.
 * *at and *within tell where it stopped. */
static bool vector_read(const ErlIOVec *vector, int *at, size_t *within, unsigned char *to,
                        size_t size) {
        while (size) {
                size_t there, part;
                if (*at >= vector->vsize)
                        return false;
                there = vector->iov[*at].iov_len - *within;
                part = there < size ? there : size;
                if (part)
                        memcpy(to, (const char *)vector->iov[*at].iov_base + *within, part);
                to += part;
                size -= part;
                *within += part;
                if (*within == vector->iov[*at].iov_len) {
                        ++*at;
                        *within = 0;
                }
        }
        return true;
}

/* The rest of the vector as segments of the core. */
static size_t vector_rest(const ErlIOVec *vector, int at, size_t within, cr_segment_t *segments) {
        size_t count = 0;
        for (; at < vector->vsize; at++, within = 0) {
                size_t size = vector->iov[at].iov_len - within;
                if (!size)
                        continue;
                segments[count++] = (cr_segment_t){
                        .buf = (cr_buf_t *)vector->binv[at],
                        .bytes = (const unsigned char *)vector->iov[at].iov_base + within,
                        .size = size};
        }
        return count;
}

/* Tells the caller of such a command, of which nothing was kept, that there was no
 * memory for it. */
static void refuse(const host_t *host, const ErlIOVec *vector, size_t size) {
        unsigned char head[4 + CR_PRODUCE_HEAD];
        cr_packet_t packet = {.kind = CR_PACKET_REPLY, .tag_size = size};
        ErlDrvTermData term[TERM_MOST];
        ErlDrvUInt64 slot;
        int at = 0;
        size_t within = 0;
        if (packet.tag_size > CR_PRODUCE_HEAD)
                packet.tag_size = CR_PRODUCE_HEAD;
        (void)vector_read(vector, &at, &within, head, 4 + packet.tag_size);
        packet.tag = cr_produce_tag(head + 4, &packet.tag_size);
        if (packet.tag_size)
                (void)erl_drv_send_term(host->term, driver_caller(host->port), term,
                                        build_term(host, &packet, 0, &slot, term));
}

/*
 * A PRODUCE whose large values come behind it, by reference: Size:32, the
 * command, the values. A command of this kind has no result: the answer is a
 * packet. Bytes of another form are dropped.
 */
static void drv_outputv(ErlDrvData data, ErlIOVec *vector) {
        host_t *host = (host_t *)data;
        unsigned char head[4];
        int at = 0;
        size_t within = 0;
        cr_bytes_t size = cr_bytes(head, sizeof(head));
        cr_input_t in = {0};
        unsigned char *packed = NULL;
        cr_segment_t *segments = NULL;
        if (is_intake(data) || !vector_read(vector, &at, &within, head, sizeof(head)))
                return;
        in.size = cr_take_u32(&size);
        if (in.size > (size_t)vector->size - sizeof(head))
                return;
        packed = cr_alloc(in.size);
        segments = cr_alloc((size_t)vector->vsize * sizeof(*segments));
        if (packed && segments && vector_read(vector, &at, &within, packed, in.size)) {
                in.data = packed;
                in.behind = segments;
                in.behind_count = vector_rest(vector, at, within, segments);
                in.caller =
                        recipients_number(&host->recipients, host->port, driver_caller(host->port));
        }
        if (in.caller)
                cr_client_produce(host->client, &in);
        else
                refuse(host, vector, in.size);
        cr_free(segments);
        cr_free(packed);
}

static ErlDrvEntry entry = {.init = drv_init,
                            .start = drv_start,
                            .stop = drv_stop,
                            .ready_input = drv_ready_input,
                            .driver_name = (char[]){"crema_drv"},
                            .control = drv_control,
                            .timeout = drv_timeout,
                            .outputv = drv_outputv,
                            .extended_marker = (int)ERL_DRV_EXTENDED_MARKER,
                            .major_version = ERL_DRV_EXTENDED_MAJOR_VERSION,
                            .minor_version = ERL_DRV_EXTENDED_MINOR_VERSION,
                            .driver_flags = ERL_DRV_FLAG_USE_PORT_LOCKING,
                            .process_exit = drv_process_exit,
                            .stop_select = drv_stop_select};

DRIVER_INIT(crema_drv) {
        return &entry;
}
