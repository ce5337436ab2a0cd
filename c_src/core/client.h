/*
 * A client: one rd_kafka_t (or one embedded cluster), its event queue and its
 * lanes. This is also the whole interface of the core to its host.
 *
 * Life: new, opening (rd_kafka_new() runs on a lane), open, retired (a producer
 * that takes nothing more, and is about to be closed), closed. Closing is
 * possible in every state and at once for the host: what is left to do is done
 * by the reaper (reaper.c), which is the client's own life lane.
 *
 * Ownership: the client owns all that hangs on it. Parts that only one kind
 * has (delivery, group, cluster) are NULL for the others.
 */
#ifndef CREMA_CLIENT_H
#define CREMA_CLIENT_H

#include <librdkafka/rdkafka.h>

#include <stdatomic.h>

#include "bytes.h"
#include "commands.h"
#include "error.h"
#include "host.h"
#include "lane.h"
#include "peer.h"
#include "sockets.h"
#include "term.h"
#include "wake.h"

typedef enum cr_kind {
        CR_KIND_NONE,
        CR_KIND_PRODUCER,
        CR_KIND_CONSUMER,
        CR_KIND_READER, /* a consumer without a group */
        CR_KIND_CLUSTER
} cr_kind_t;

typedef enum cr_state { CR_NEW, CR_OPENING, CR_OPEN, CR_RETIRED } cr_state_t;

/* How it reads, from the first time on: where both are tried on one partition an
 * assertion of librdkafka's ends the process. */
typedef enum cr_reads { CR_READS_NOTHING, CR_READS_ASSIGNED, CR_READS_ALONE } cr_reads_t;

/* How an asker recognises the answer that comes later. */
typedef struct cr_tag {
        cr_recipient_t to; /* 0: nobody waits */
        unsigned char *bytes;
        size_t size;
} cr_tag_t;

struct cr_client {
        const cr_host_ops_t *ops; /* set once */
        void *host;               /* set once */
        cr_kind_t kind;
        cr_state_t state;
        cr_reads_t reads;
        cr_recipient_t owner; /* who opened it: gets the events */
        atomic_bool closing;  /* read by lanes between slices */

        rd_kafka_t *rk;          /* NULL unless open; safe on lanes */
        rd_kafka_queue_t *queue; /* main or consumer queue: drained here only */

        cr_wake_t wake;
        cr_source_t news;     /* of queue */
        cr_source_t finished; /* of the jobs below */
        pthread_mutex_t finished_lock;
        cr_job_t *finished_first; /* under finished_lock */
        cr_job_t **finished_last;

        cr_lane_t life;
        cr_lane_t query_lane;
        cr_lane_t group_lane;
        cr_lane_t prefetch_lane;
        cr_lane_t flush_lane;
        cr_lane_t statistics_lane;
        cr_lane_t transaction_lane;

        cr_peer_t peer;       /* its brokers' certificates */
        cr_sockets_t sockets; /* a consumer's */
        int sticky_ms;        /* a producer's: how long messages without a key stay together */

        cr_job_t reap;      /* kept here so that closing cannot fail */
        cr_tag_t close_tag; /* who hears of the end */

        int log_level;          /* lines beyond it are not wanted; set when it opens */
        unsigned logs_in_drain; /* events of one drain, to bound a storm */
        uint64_t logs_dropped;
        bool reading_statistics; /* on their lane */
        bool lists_groups;       /* its brokers do; of the query lane */

        struct cr_delivery *delivery;
        struct cr_transaction *transaction; /* of a producer with a transactional.id */
        struct cr_group *group;
        struct cr_cluster *cluster;
};

/* Bytes that came behind a command, by reference where they have a block. */
typedef struct cr_segment {
        cr_buf_t *buf; /* NULL: must be copied */
        const unsigned char *bytes;
        size_t size;
} cr_segment_t;

typedef struct cr_input {
        cr_recipient_t caller;
        const unsigned char *data;
        size_t size;
        const cr_segment_t *behind;
        size_t behind_count;
} cr_input_t;

/* The answer at once: no block means ok. */
typedef struct cr_reply {
        cr_buf_t *buf; /* owned by the reader */
        size_t size;
        bool failed; /* there was no memory to answer with, which the host says */
} cr_reply_t;

/* ---- for the host -------------------------------------------------- */

/* NULL when there is no memory or no descriptor; host is then not kept. */
cr_client_t *cr_client_new(const cr_host_ops_t *ops, void *host);
/* Carries out a command; whatever the bytes are, the worst is an error. */
void cr_client_command(cr_client_t *client, unsigned command, const cr_input_t *in,
                       cr_reply_t *reply);
/* A PRODUCE with values behind it: answered by a packet only, to its tag. */
void cr_client_produce(cr_client_t *client, const cr_input_t *in);
/* That tag in the first bytes of such a command, for a host that has no memory for all
 * of them; NULL when it is not whole there. @locality any */
const unsigned char *cr_produce_tag(const void *bytes, size_t *size);
#define CR_PRODUCE_HEAD 512
/* {error, {no_memory, _}}, which the host says where a packet or an answer has no bytes. */
void cr_write_no_memory(cr_writer_t *out, bool fatal);
/* Serves a bounded amount of what has come; rouses again when more is left. */
void cr_client_drain(cr_client_t *client);
/* What the host's alarm is for. A member of a group must poll librdkafka now and then, or
 * it is put out of its group (max.poll.interval.ms), and partitions that are idle give no
 * occasion: so that is slow, and asks for the next. A producer's is stage.h's. */
void cr_client_sweep(cr_client_t *client);
#define CR_SWEEP_MS 1000
/* The recipient exists no more: nothing is sent to it, what it waited for is
 * dropped. */
void cr_client_recipient_gone(cr_client_t *client, cr_recipient_t gone);
/* Hands the client over to its reaper. Returns at once; the host must not
 * use the client again, and hears of the end by ops->gone(). */
void cr_client_close(cr_client_t *client);

/* ---- for the other files of the core -------------------------------- */

static inline bool cr_client_closing(cr_client_t *client) {
        return atomic_load_explicit(&client->closing, memory_order_relaxed);
}

/* Every command of the table has a function of this shape. */
#define CR_COMMAND_DECLARE(name, number, kinds, form)                                              \
        void cr_do_##name(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply);
CR_COMMANDS(CR_COMMAND_DECLARE)
#undef CR_COMMAND_DECLARE

/* False, and answered, when it reads in the other way. */
bool cr_client_reads(cr_client_t *client, cr_reads_t how, cr_reply_t *reply);
/* Called by a lane when a job has run. @locality lane */
void cr_client_job_done(cr_client_t *client, cr_job_t *job);
/* Calls done() of the jobs that have run. */
void cr_client_serve_finished(cr_client_t *client);
/* Serves events of the main queue; returns what it cost, in messages. */
unsigned cr_client_serve_news(cr_client_t *client, unsigned budget);
/* Frees what hangs on the client, and the client. */
void cr_client_free(cr_client_t *client);
/* reaper.c: there is one more to be waited for. @locality any */
void cr_reaper_count(void);
/* The last job. @locality life lane */
void cr_reaper_run(cr_client_t *client, cr_job_t *job);
/* The number of clients that are being reaped. @locality any */
unsigned cr_reapers_alive(void);
/* Those of them that may have a delivery report to send: CR_PACKET_TOLD says of each that it has
 * none any more. @locality any */
unsigned cr_reapers_telling(void);

/* Copies; false when there is no memory. An empty tag is to nobody. */
bool cr_tag_set(cr_tag_t *tag, cr_recipient_t to, const void *bytes, size_t size);
void cr_tag_clear(cr_tag_t *tag);

/* Answers at once. The writer is consumed. */
void cr_answer(cr_client_t *client, cr_reply_t *reply, cr_writer_t *out);
void cr_answer_error(cr_client_t *client, cr_reply_t *reply, const cr_error_t *error);
void cr_answer_own(cr_client_t *client, cr_reply_t *reply, const char *name, const char *text);
/* The atom wait: what was asked for is not there yet. */
void cr_answer_wait(cr_client_t *client, cr_reply_t *reply);
void cr_answer_malformed(cr_client_t *client, cr_reply_t *reply);
void cr_answer_no_memory(cr_client_t *client, cr_reply_t *reply);

/* Answers later, and clears the tag. */
void cr_reply_ok(cr_client_t *client, cr_tag_t *tag);
void cr_reply_error(cr_client_t *client, cr_tag_t *tag, const cr_error_t *error);
/* Of a job that was refused. */
void cr_error_refused(cr_error_t *error);
void cr_reply_writer(cr_client_t *client, cr_tag_t *tag, cr_writer_t *out);
void cr_reply_buf(cr_client_t *client, cr_tag_t *tag, cr_buf_t *buf, size_t size);

/* The same at once, to a tag that is borrowed. The writer is consumed. */
void cr_reply_to(cr_client_t *client, cr_recipient_t to, const void *tag, size_t size,
                 cr_writer_t *out);

/* Sends an event to the owner; false when there was no memory for it. The writer is
 * consumed. */
bool cr_send_event(cr_client_t *client, cr_writer_t *out);
/* The same of what the owner goes by: where there is no memory it hears that, as a
 * fatal error. */
void cr_tell_owner(cr_client_t *client, cr_writer_t *out);

#endif
