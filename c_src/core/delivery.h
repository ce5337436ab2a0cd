/*
 * From accepted message to delivery report.
 *
 * A call is what one PRODUCE brought: its messages, in order, and one report
 * for each. The report of a message is made in cr_delivery_report(), from
 * librdkafka's. What then happens to it was fixed when the call was made:
 * dropped, kept until awaited, sent when the call is complete (waiting), or
 * gathered with others for the same caller (or for the client's reporter, see
 * reporter.c) and sent at the end of the drain.
 *
 * Ownership: the delivery owns its calls, callers, waiters and topic handles.
 * A call is freed when its last message is reported and the reports have gone
 * where they belong; a message's librdkafka opaque is its entry in the call.
 *
 * Messages of which nobody hears, and whose values librdkafka has copied, need no
 * entries: their opaque is their call itself, marked. Entries would be out of the
 * processor's caches again by the time of the report. One unheard call takes the
 * messages of many commands, until a flush waits for it.
 */
#ifndef CREMA_DELIVERY_H
#define CREMA_DELIVERY_H

#include <librdkafka/rdkafka.h>

#include <sys/queue.h>

#include "client.h"
#include "confirmed.h"
#include "map.h"
#include "options.h"
#include "sticky.h"

typedef struct cr_call cr_call_t;
typedef struct cr_caller cr_caller_t;

typedef struct cr_entry {
        uint32_t index; /* in its call: leads back to it */
        int32_t partition;
        int64_t offset;
        int64_t timestamp;
        int16_t error;
        uint8_t status;
        uint64_t cost;   /* bytes counted against the limit */
        cr_buf_t *value; /* owned until the report; NULL: librdkafka has a copy */
} cr_entry_t;

struct cr_call {
        TAILQ_ENTRY(cr_call) in_delivery; /* pending or kept */
        LIST_ENTRY(cr_call) in_caller;
        cr_caller_t *caller; /* NULL: nobody hears of it */
        uint64_t id;
        uint64_t sequence; /* of acceptance, for flush */
        uint8_t mode;
        bool kept;    /* complete, in the list of kept ones */
        cr_tag_t tag; /* MODE_WAIT */
        uint32_t count;
        uint32_t left; /* unreported, plus one while some are being enqueued */
        bool unheard;  /* there are no entries */
        uint64_t cost; /* of an unheard call: of what is left of it */
        cr_entry_t entries[];
};

struct cr_caller {
        cr_recipient_t recipient;
        cr_map_t calls; /* by id: those that can be awaited or cancelled */
        LIST_HEAD(, cr_call) all;
        unsigned char *grouped; /* reports to send at the end of the drain */
        size_t grouped_size, grouped_room;
        uint64_t promised; /* reports yet to come, for which there is room */
        bool dirty;
        cr_caller_t *next_dirty;
};

typedef struct cr_topic {
        struct cr_topic *next; /* with the same hash */
        rd_kafka_topic_t *rkt;
        cr_sticky_t sticky; /* freed when no message waits for its topic */
        uint32_t variant;   /* its configuration, from its first use on */
        size_t size;
        char name[];
} cr_topic_t;

/* Topics' configuration beside the client's own. */
typedef struct cr_variant {
        struct cr_variant *next;
        uint32_t number;             /* from 1 on */
        rd_kafka_topic_conf_t *conf; /* owned: each topic is given a copy */
        char *text;                  /* what differs from the client's own */
} cr_variant_t;

TAILQ_HEAD(cr_calls, cr_call);
TAILQ_HEAD(cr_waiters, cr_waiter);

typedef struct cr_flush_waiter {
        LIST_ENTRY(cr_flush_waiter) link;
        cr_tag_t tag;
        uint64_t sequence; /* answered when all calls before it are reported */
} cr_flush_waiter_t;

typedef struct cr_delivery {
        cr_options_t options;
        uint64_t messages, bytes;    /* accepted and unreported */
        uint64_t accepted, reported; /* since the client was opened */
        uint64_t delivered;          /* of those reported */
        uint64_t answered;           /* of those too: what librdkafka did not refuse */
        uint64_t sequence;
        struct cr_calls pending; /* in the order of acceptance */
        struct cr_calls kept;    /* complete and unclaimed, oldest first */
        uint64_t kept_count;     /* reports in them */
        unsigned owed;           /* pending calls whose reports found no memory to be sent in */
        cr_map_t callers;        /* by recipient */
        cr_caller_t reporter;    /* recipient 0: there is none */
        size_t reporter_done;    /* bytes of what is grouped: done with */
        size_t reporter_sent;    /* the same: sent, or done with */
        cr_caller_t *dirty;
        cr_confirmed_t confirmed;
        struct cr_tally *tally;    /* NULL: the owner did not ask for it */
        cr_map_t topics;           /* by hash of the name */
        cr_topic_t *recent;        /* the one of them that was asked for last, or NULL */
        cr_variant_t *variants;    /* newest first */
        struct cr_waiters waiters; /* for a place, in the order of arrival */
        uint64_t waiting;
        LIST_HEAD(, cr_flush_waiter) flushes;
        cr_job_t flush_job; /* set once: the lane may be at it */
        bool flush_running;
        atomic_bool flush_stop; /* read by the flush lane */
        bool draining;          /* nothing more is taken: retire.c */
        bool nudges;            /* the linger is a short one: see nudge.c */
        cr_job_t nudge_job;
        bool nudge_running;
        atomic_bool nudge_wanted;   /* taken by the flush lane */
        struct cr_message *scratch; /* of the command that is being decoded */
        size_t scratch_room;
        rd_kafka_message_t *batch;
        size_t batch_room;
        struct cr_stage *stage; /* NULL: nothing was copied there yet */
} cr_delivery_t;

cr_delivery_t *cr_delivery_new(rd_kafka_t *rk, const cr_options_t *options);
/* Drops what is left without a report: the reaper has drained before. */
void cr_delivery_destroy(cr_delivery_t *delivery);

/* The caller's record, made if need be; NULL when there is no memory. */
cr_caller_t *cr_delivery_caller(cr_delivery_t *delivery, cr_recipient_t recipient);
/* A call of that many messages, accepted; NULL when there is no memory. */
cr_call_t *cr_call_new(cr_delivery_t *delivery, cr_caller_t *caller, uint8_t mode, uint64_t id,
                       uint32_t count);
/* The same for messages that nobody hears of: with those of an earlier one. */
cr_call_t *cr_call_unheard(cr_delivery_t *delivery, uint32_t count);
/* The opaque of a call's message. */
void *cr_call_opaque(cr_call_t *call, uint32_t index);
/* One place less to wait for; may free the call. */
void cr_call_release(cr_client_t *client, cr_call_t *call);
/* The message with that opaque was refused: it is final. */
void cr_delivery_refuse(cr_client_t *client, rd_kafka_topic_t *rkt, void *opaque,
                        rd_kafka_resp_err_t error, int32_t partition);
/* The message with that opaque is not to be sent, and that is its report. */
void cr_delivery_skip(cr_client_t *client, void *opaque);
/* Packs it at *to, and moves that on. */
void cr_report_put(unsigned char **to, const cr_entry_t *entry);
/* grouped.c */
/* Makes room for so many reports more that are to be sent to the caller; false when there
 * is no memory. */
bool cr_delivery_promise(cr_caller_t *caller, uint64_t count);
/* Adds a report to what is sent to that caller at the end of the drain. @precondition it
 * was promised */
void cr_delivery_group(cr_delivery_t *delivery, cr_caller_t *caller, uint64_t tag,
                       const cr_entry_t *entry);
/* Sends to each caller but the reporter what it has; who it could not be sent to stays
 * dirty. */
void cr_grouped_send(cr_client_t *client);
/* The caller is about to be freed. */
void cr_grouped_forget(cr_delivery_t *delivery, cr_caller_t *caller);
/* Makes the delivery report of a message that librdkafka reports. */
void cr_delivery_report(cr_client_t *client, const rd_kafka_message_t *message);
/* Sends what has been gathered for each caller, at the end of a drain; what finds no
 * memory is tried again at the next. */
void cr_delivery_send_grouped(cr_client_t *client);
/* The same until all of it is sent, or it is hopeless. @locality reaper */
void cr_delivery_send_last(cr_client_t *client);
/* Hands the reports that nobody has awaited yet to the host, which keeps them
 * for callers that do so after the end. @locality reaper */
void cr_delivery_leave_kept(cr_client_t *client);
/* After reports: admits who waits for a place, answers who waits for a flush. */
void cr_delivery_advance(cr_client_t *client);
void cr_delivery_recipient_gone(cr_client_t *client, cr_recipient_t gone);

/* produce_topic.c: the handle of a topic, made once, with that configuration;
 * NULL and *error, also when it was made with another. */
cr_topic_t *cr_topic_get(cr_client_t *client, const char *name, size_t size, uint32_t variant,
                         cr_error_t *error);
/* The same, but whatever configuration it was made with will do. */
cr_topic_t *cr_topic_any(cr_client_t *client, const char *name, size_t size, uint32_t variant,
                         cr_error_t *error);
void cr_topics_destroy(cr_delivery_t *delivery);
/* variant.c: NULL when the number is nobody's, and for 0. */
const cr_variant_t *cr_variant_find(const cr_delivery_t *delivery, uint32_t number);
void cr_variants_destroy(cr_delivery_t *delivery);

/* admission.c: waiters for a place. */
void cr_admission_serve(cr_client_t *client);
void cr_admission_drop(cr_client_t *client, cr_recipient_t gone);
/* True when it was still waiting: then no answer comes. */
bool cr_admission_cancel(cr_client_t *client, const cr_input_t *in, const void *tag, size_t size);
/* Refuses everyone who waits: the client is closing. */
void cr_admission_refuse_all(cr_client_t *client);
/* reporter.c */
/* Reports that the reporter has not done with. */
uint64_t cr_reporter_holds(const cr_delivery_t *delivery);
/* Sends what is not sent yet, for want of memory, that may be from before; false when
 * there still is none. */
bool cr_reporter_send(cr_client_t *client);
void cr_reporter_gone(cr_delivery_t *delivery, cr_recipient_t gone);
/* Tells it that nothing follows. */
void cr_reporter_end(cr_client_t *client);
/* flush.c */
void cr_flush_init(cr_delivery_t *delivery);
void cr_flush_serve(cr_client_t *client);
void cr_flush_drop(cr_client_t *client, cr_recipient_t gone);
void cr_flush_refuse_all(cr_client_t *client);
bool cr_flush_cancel(cr_client_t *client, const cr_input_t *in, const void *tag, size_t size);
/* nudge.c */
void cr_nudge_init(cr_delivery_t *delivery, rd_kafka_t *rk);
/* The first message after a pause was accepted: it shall go at once. */
void cr_nudge(cr_client_t *client);

#endif
