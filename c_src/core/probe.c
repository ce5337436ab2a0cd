/*
 * PROBE: who is at the other end of an address. Connects, greets by TLS with the
 * settings that librdkafka would have, makes its requests, and tells all that it
 * has met, in order. It judges nothing; but to a peer whose certificate is not to
 * be trusted it says nothing more.
 *
 * The port that is asked has no client. Its life lane does it, in slices, so that
 * a close waits for one slice at most.
 */
#include <openssl/err.h>

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "mem.h"
#include "probe_tls.h"

#define MAX_ANSWER 65536
#define MAX_REQUESTS 8

typedef struct probe_job {
        cr_job_t job;
        cr_tag_t tag;
        cr_probe_settings_t settings;
        char *address; /* owned, in numbers */
        char *name;    /* owned: the host's, as configured */
        char port[8];
        int millis;
        int request_count;
        unsigned char *requests[MAX_REQUESTS]; /* owned */
        size_t sizes[MAX_REQUESTS];

        /* While it runs. */
        cr_client_t *client;
        int64_t deadline;
        int fd;
        SSL *ssl;
        cr_writer_t out; /* [{Name, Value}] */
} probe_job_t;

static void probe_free(probe_job_t *probe) {
        for (int i = 0; i < probe->request_count; i++)
                cr_free(probe->requests[i]);
        cr_probe_settings_clear(&probe->settings);
        cr_tag_clear(&probe->tag);
        cr_free(probe->address);
        cr_free(probe->name);
        cr_free(probe);
}

static bool tell(probe_job_t *probe, const char *name, const char *atom) {
        cr_probe_tell(&probe->out, name);
        cr_write_atom(&probe->out, atom);
        return false;
}

static bool tell_text(probe_job_t *probe, const char *name, const char *text) {
        cr_probe_tell(&probe->out, name);
        cr_write_text(&probe->out, text);
        return false;
}

static bool tell_system(probe_job_t *probe, int code) {
        char text[128];
        tell(probe, "failed",
             code == ECONNRESET || code == EPIPE || code == 0 ? "closed" : "system");
        return tell_text(probe, "text", strerror_r(code, text, sizeof(text)));
}

static int64_t left_of(const probe_job_t *probe) {
        return cr_client_closing(probe->client) ? 0 : probe->deadline - cr_now_ms();
}

/* Until the socket can be read or written, or the time is over. */
static bool ready(probe_job_t *probe, short events) {
        struct pollfd fd = {.fd = probe->fd, .events = events};
        int64_t left;
        while ((left = left_of(probe)) > 0) {
                int found = poll(&fd, 1, left < CR_SLICE_MS ? (int)left : CR_SLICE_MS);
                if (found > 0)
                        return true;
                if (found < 0 && errno != EINTR)
                        break;
        }
        return tell(probe, "failed", "timed_out");
}

static bool is_connected(probe_job_t *probe, const struct addrinfo *to) {
        int code = 0;
        socklen_t size = sizeof(code);
        if (connect(probe->fd, to->ai_addr, to->ai_addrlen) == 0)
                return true;
        if (errno != EINPROGRESS)
                return tell_system(probe, errno);
        if (!ready(probe, POLLOUT))
                return false;
        if (getsockopt(probe->fd, SOL_SOCKET, SO_ERROR, &code, &size) < 0)
                code = errno;
        return code == 0 || tell_system(probe, code);
}

static bool dial(probe_job_t *probe) {
        struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                                 .ai_socktype = SOCK_STREAM};
        struct addrinfo *to = NULL;
        bool connected;
        if (getaddrinfo(probe->address, probe->port, &hints, &to) != 0)
                return tell(probe, "failed", "address");
        probe->fd = socket(to->ai_family, SOCK_STREAM, 0);
        if (probe->fd < 0 || fcntl(probe->fd, F_SETFD, FD_CLOEXEC) < 0 ||
            fcntl(probe->fd, F_SETFL, O_NONBLOCK) < 0)
                connected = tell_system(probe, errno);
        else
                connected = is_connected(probe, to);
        freeaddrinfo(to);
        return connected;
}

/* What the peer has sent of its own is an alert, in OpenSSL's numbering. */
static bool tell_failure(probe_job_t *probe, int what, int code) {
        unsigned long error = ERR_get_error();
        int reason = ERR_GET_REASON(error);
        ERR_clear_error();
        if (what == SSL_ERROR_ZERO_RETURN || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
                return tell(probe, "failed", "closed");
        if (what == SSL_ERROR_SYSCALL)
                return tell_system(probe, code);
        if (reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256) {
                tell(probe, "failed", "alert");
                cr_probe_tell(&probe->out, "alert");
                cr_write_integer(&probe->out, reason - SSL_AD_REASON_OFFSET);
        } else {
                tell(probe, "failed", reason == SSL_R_WRONG_VERSION_NUMBER ? "not_tls" : "tls");
        }
        return tell_text(probe, "text", ERR_reason_error_string(error));
}

/* What OpenSSL could not do at once: true when it is to be tried again. */
static bool again(probe_job_t *probe, int result) {
        int code = errno;
        int what = SSL_get_error(probe->ssl, result);
        if (left_of(probe) <= 0 || what == SSL_ERROR_WANT_READ)
                return ready(probe, POLLIN);
        if (what == SSL_ERROR_WANT_WRITE)
                return ready(probe, POLLOUT);
        return tell_failure(probe, what, code);
}

/* Only a name is for SNI, not an address. */
static bool is_name(const char *text) {
        return !strchr(text, ':') && strspn(text, "0123456789.") != strlen(text);
}

/* OpenSSL reads on by itself as long as what comes is of TLS only, which a peer may
 * send for ever: after the time nothing is read. */
static long in_time(BIO *bio, int operation, const char *bytes, size_t size, int number, long more,
                    int result, size_t *done) {
        const probe_job_t *probe = (const probe_job_t *)BIO_get_callback_arg(bio);
        (void)bytes, (void)size, (void)number, (void)more, (void)done;
        return operation == BIO_CB_READ && left_of(probe) <= 0 ? -1 : result;
}

static bool greet(probe_job_t *probe) {
        int result;
        if (!SSL_set_fd(probe->ssl, probe->fd) ||
            (is_name(probe->name) && !SSL_set_tlsext_host_name(probe->ssl, probe->name)))
                return tell_failure(probe, SSL_ERROR_SSL, 0);
        BIO_set_callback_ex(SSL_get_rbio(probe->ssl), in_time);
        BIO_set_callback_arg(SSL_get_rbio(probe->ssl), (char *)probe);
        while ((result = SSL_connect(probe->ssl)) != 1) {
                if (!again(probe, result))
                        return false;
        }
        return true;
}

static bool put(probe_job_t *probe, const unsigned char *bytes, size_t size) {
        int result;
        while ((result = SSL_write(probe->ssl, bytes, (int)size)) <= 0) {
                if (!again(probe, result))
                        return false;
        }
        return true;
}

static bool get(probe_job_t *probe, unsigned char *bytes, size_t size) {
        size_t at = 0;
        while (at < size) {
                int result = SSL_read(probe->ssl, bytes + at, (int)(size - at));
                if (result > 0)
                        at += (size_t)result;
                else if (!again(probe, result))
                        return false;
        }
        return true;
}

/* A frame of Kafka's for a frame. */
static bool converse(probe_job_t *probe, int which) {
        unsigned char head[4], *answer;
        cr_bytes_t bytes = cr_bytes(head, sizeof(head));
        uint32_t size;
        bool whole;
        if (!put(probe, probe->requests[which], probe->sizes[which]) ||
            !get(probe, head, sizeof(head)))
                return false;
        size = cr_take_u32(&bytes);
        if (!size || size > MAX_ANSWER || !(answer = cr_alloc(size)))
                return tell(probe, "failed", "no_kafka");
        whole = get(probe, answer, size);
        if (whole) {
                cr_probe_tell(&probe->out, "answer");
                cr_write_binary(&probe->out, answer, size);
        }
        cr_free(answer);
        return whole;
}

static void talk(probe_job_t *probe) {
        if (!dial(probe))
                return;
        tell(probe, "reached", "connected");
        if (!greet(probe)) {
                if (SSL_get_pending_cipher(probe->ssl))
                        tell(probe, "reached", "agreed"); /* on version and cipher */
                return;
        }
        tell(probe, "reached", "greeted");
        if (!cr_probe_describe(&probe->settings, probe->ssl, probe->name, &probe->out))
                return;
        for (int i = 0; i < probe->request_count && converse(probe, i); i++)
                continue;
}

/* @locality life lane */
static void run_probe(cr_client_t *client, cr_job_t *job) {
        probe_job_t *probe = (probe_job_t *)job;
        const char *property;
        SSL_CTX *ctx;
        probe->client = client;
        probe->deadline = cr_now_ms() + probe->millis;
        probe->fd = -1;
        cr_write_tuple(&probe->out, 2);
        cr_write_atom(&probe->out, "ok");
        ERR_clear_error();
        ctx = cr_probe_context(&probe->settings, &property);
        if (!ctx)
                tell_text(probe, "bad_setting", property);
        else if ((probe->ssl = SSL_new(ctx)))
                talk(probe);
        SSL_free(probe->ssl);
        SSL_CTX_free(ctx);
        if (probe->fd >= 0)
                close(probe->fd);
        cr_write_list_end(&probe->out);
}

static void done_probe(cr_client_t *client, cr_job_t *job) {
        probe_job_t *probe = (probe_job_t *)job;
        client->state = CR_NEW;
        cr_reply_writer(client, &probe->tag, &probe->out);
        probe_free(probe);
}

static void read_settings(cr_reader_t *term, cr_probe_settings_t *settings) {
        int count = cr_read_list(term);
        for (int i = 0; i < count && cr_read_tuple(term, 2); i++) {
                cr_text_t property = cr_read_binary(term);
                cr_text_t value = cr_read_binary(term);
                if (!term->failed && !cr_probe_settings_set(settings, property, value))
                        term->failed = true;
        }
        cr_read_list_end(term, count);
}

static void read_requests(cr_reader_t *term, probe_job_t *probe) {
        int count = cr_read_list(term);
        for (int i = 0; i < count && !term->failed; i++) {
                cr_text_t request = cr_read_binary(term);
                if (!request.size || request.size > MAX_ANSWER || i == MAX_REQUESTS ||
                    !(probe->requests[i] = cr_copy(request.bytes, request.size)))
                        term->failed = true;
                else
                        probe->sizes[probe->request_count++] = request.size;
        }
        cr_read_list_end(term, count);
}

static bool read_probe(probe_job_t *probe, const cr_input_t *in) {
        cr_reader_t term = cr_reader(in->data, in->size);
        cr_text_t tag, address, name;
        int64_t port, millis;
        if (!cr_read_tuple(&term, 7))
                return false;
        tag = cr_read_binary(&term);
        address = cr_read_binary(&term);
        port = cr_read_integer(&term);
        name = cr_read_binary(&term);
        read_settings(&term, &probe->settings);
        read_requests(&term, probe);
        millis = cr_read_integer(&term);
        if (!cr_reader_done(&term) || port < 1 || port > 65535 || millis < 0 || millis > INT32_MAX)
                return false;
        probe->millis = (int)millis;
        (void)snprintf(probe->port, sizeof(probe->port), "%u", (unsigned)port);
        return (probe->address = cr_copy(address.bytes, address.size)) &&
               (probe->name = cr_copy(name.bytes, name.size)) &&
               cr_tag_set(&probe->tag, in->caller, tag.bytes, tag.size);
}

void cr_do_PROBE(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        probe_job_t *probe = cr_alloc(sizeof(*probe));
        if (!probe) {
                cr_answer_no_memory(client, reply);
                return;
        }
        probe->job = (cr_job_t){.run = run_probe, .done = done_probe};
        if (!read_probe(probe, in)) {
                cr_answer_malformed(client, reply);
                probe_free(probe);
                return;
        }
        probe->out = cr_writer();
        client->state = CR_OPENING; /* one at a time */
        if (cr_lane_submit(&client->life, &probe->job))
                return;
        client->state = CR_NEW;
        cr_answer_own(client, reply, "no_thread", "the system gave no thread");
        cr_writer_discard(&probe->out);
        probe_free(probe);
}
