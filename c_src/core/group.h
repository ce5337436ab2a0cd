/*
 * A member of a consumer group: its slots, and its part in rebalances.
 *
 * A rebalance goes: librdkafka tells; what is taken away is drained by the
 * owner's side, which then says RELEASE; a job on the group lane commits and
 * answers librdkafka. What is given is prepared by a job too (start offsets
 * are resolved and committed before the first delivery), and becomes slots
 * when that is done. librdkafka tells of one rebalance at a time.
 */
#ifndef CREMA_GROUP_H
#define CREMA_GROUP_H

#include "client.h"
#include "map.h"
#include "options.h"
#include "retired.h"
#include "slot.h"

typedef enum cr_start {
        CR_START_EARLIEST,
        CR_START_LATEST,
        CR_START_ERROR,
        CR_START_TIME
} cr_start_t;

/* Which topics were there when they were subscribed to. @locality group lane */
typedef struct cr_topics {
        rd_kafka_topic_partition_list_t *subscribed; /* as it was asked for last */
        rd_kafka_topic_partition_list_t *sought;     /* subscribed to, and not yet looked for */
        /* By partition 0. One whose offset is 0 has offsets that are committed. */
        rd_kafka_topic_partition_list_t *there;
        /* The partitions that the member has been given: group_assign.c. */
        rd_kafka_topic_partition_list_t *had;
} cr_topics_t;

typedef struct cr_group {
        cr_options_t options;
        cr_map_t slots;   /* by id */
        cr_start_t start; /* where a partition without a committed offset begins */
        int64_t start_time;
        /* Topics that begin at the earliest in any case; set once, and then read on
         * the lane too. NULL before the first SUBSCRIBE. */
        rd_kafka_topic_partition_list_t *early;
        cr_topics_t topics;
        cr_start_t out_of_range; /* where one begins whose offset is gone */
        bool subscribed;
        bool resubscribed;                        /* more than once */
        rd_kafka_topic_partition_list_t *revoked; /* to be answered, or NULL */
        bool lost;                                /* ... and without a commit */
        rd_kafka_topic_partition_list_t *given;   /* waits for their end, or NULL: group_given.c */
        atomic_bool outdated;                     /* what a job assigns: read by it */
        int32_t generation;     /* that the slots were given in, without the cooperative protocol */
        unsigned answering;     /* jobs out that answer librdkafka */
        bool committing_starts; /* a job is out that does */
        bool placing;           /* ... that asks where partitions begin */
        int place_patience;     /* milliseconds, of its next question, or 0 */
        struct cr_seek *seeks;  /* that wait until none of these is left */
        bool looking;           /* ... that looks for an eviction */
        unsigned rebalances;
        bool assigned;                   /* once at least, be it nothing */
        unsigned lenders;                /* slots whose place others have: prefetch.c */
        unsigned fresh;                  /* slots that were opened, and nothing has come yet */
        unsigned pace;                   /* so many of them may be: prefetch.c */
        bool gates_out;                  /* librdkafka is being told of shut slots: prefetch.c */
        bool release_waits;              /* ... and a release for that, or for memory */
        bool settling;                   /* nothing is delivered any more: group_settle.c */
        cr_tag_t settled;                /* ... and who hears when all is acknowledged */
        cr_retired_t retired;            /* messages that are packed */
        rd_kafka_resp_err_t last_commit; /* of the close. @locality reaper */
} cr_group_t;

cr_group_t *cr_group_new(cr_client_t *client, const cr_options_t *options);
/* @precondition no slots are left: the reaper has taken them */
void cr_group_destroy(cr_group_t *group);

/* librdkafka's rebalance event. */
void cr_group_rebalance(cr_client_t *client, rd_kafka_resp_err_t err,
                        const rd_kafka_topic_partition_list_t *partitions);
/* Not in the middle of a rebalance. */
static inline bool cr_group_is_settled(const cr_group_t *group) {
        return !group->revoked && !group->answering;
}
/* A job that answered librdkafka is done: a revocation that came meanwhile goes
 * on now. Called last, after its event. */
void cr_group_answered(cr_client_t *client);
/* Drains what group->revoked names: at once, or when the slots are made. */
void cr_group_revoke(cr_client_t *client);
/* Tells the owner what is revoked, or, when told again, that it is lost. */
void cr_group_tell_revoked(cr_client_t *client);
/* librdkafka was answered: the partitions that stay go on. Called before what
 * has come becomes slots. */
void cr_group_go_on(cr_client_t *client);
/* An error of one partition, told to the owner. */
void cr_group_partition_error(cr_client_t *client, const cr_slot_t *slot, rd_kafka_resp_err_t err,
                              const char *text);
/* An error of the group that goes on being tried. */
void cr_group_error(cr_client_t *client, rd_kafka_resp_err_t err);
/* What could not be done for want of memory, or in the middle of a rebalance,
 * is tried again. */
void cr_group_sweep(cr_client_t *client);
void cr_group_recipient_gone(cr_client_t *client, cr_recipient_t gone);
/* Destroys all slots, and their queues: part of the end. @locality reaper */
void cr_group_clear(cr_group_t *group);

/* group_assign.c: prepares what was given and answers librdkafka. */
void cr_group_assign(cr_client_t *client, const rd_kafka_topic_partition_list_t *partitions);
/* What cannot be taken ends the member. */
void cr_group_assign_failed(cr_client_t *client, const cr_error_t *error);
/* group_metadata.c: the member's at present, or negative. librdkafka asks its own main
 * thread. @locality a lane */
int32_t cr_generation(rd_kafka_t *rk);
/* group_given.c: not by the cooperative protocol. */
bool cr_group_is_eager(const rd_kafka_t *rk);
/* Whether what is here ends before this is prepared, which is kept. */
bool cr_group_must_end_first(cr_client_t *client,
                             const rd_kafka_topic_partition_list_t *partitions);
/* What is kept is prepared, or the end of what is here begins; false if nothing is.
 * Called when no job is out that answers librdkafka. */
bool cr_group_go_on_given(cr_client_t *client);
/* False if there was nothing. */
bool cr_group_drop_given(cr_group_t *group);
/* group_start.c: where partitions begin, and that this is committed. */
typedef struct cr_begin {
        cr_start_t start;
        int64_t time;
        const rd_kafka_topic_partition_list_t *early; /* the group's */
        cr_topics_t *topics;                          /* likewise */
        int patience;                                 /* milliseconds that a question may take */
} cr_begin_t;
/* As the group is subscribed now. */
cr_begin_t cr_group_begin(cr_group_t *group);
/* Fills in the offsets of those that have none, which are owned by the caller then.
 * @locality group lane */
rd_kafka_resp_err_t cr_find_starts(rd_kafka_t *rk, const cr_begin_t *begin,
                                   rd_kafka_topic_partition_list_t *partitions,
                                   rd_kafka_topic_partition_list_t **fresh, cr_error_t *error);
/* Commits the starts of slots that wait for that, unless there is a rebalance. */
void cr_group_commit_starts(cr_client_t *client);
/* Adds such a slot's start to a list. */
void cr_start_add(cr_client_t *client, const cr_slot_t *slot,
                  rd_kafka_topic_partition_list_t *list);
/* A start's mark, 0 if it has none. */
int32_t cr_start_mark(const rd_kafka_topic_partition_t *at);
void cr_start_set_mark(rd_kafka_t *rk, rd_kafka_topic_partition_t *at, int32_t mark);
/* group_topics.c */
void cr_topics_init(cr_topics_t *topics);
void cr_topics_clear(cr_topics_t *topics);
/* @locality group lane, of these three */
void cr_topics_subscribe(cr_topics_t *topics, const rd_kafka_topic_partition_list_t *asked);
/* Looks for those that were subscribed to since the last look, if there are any. */
rd_kafka_resp_err_t cr_topics_look(cr_client_t *client, int millis);
/* Those that have an offset in the list have one that is committed. */
void cr_topics_begun(cr_topics_t *topics, const rd_kafka_topic_partition_list_t *committed);
/* Looks for what the SUBSCRIBE before asked for, until there is an answer. */
void cr_group_look_for_topics(cr_client_t *client);

/* group_place.c: asks where one of the slots begins of which that is not known. */
void cr_group_place(cr_client_t *client);
/* group_release.c: commits, answers librdkafka. Takes group->revoked. */
void cr_group_release(cr_client_t *client);
/* group_settle.c: answers SETTLE, if there is nothing to wait for. */
void cr_group_settle(cr_client_t *client);
/* group_evict.c: what is being drained, if anything is, is lost. */
void cr_group_evicted(cr_client_t *client);
/* Looks whether it is. */
void cr_group_look(cr_client_t *client);
/* Whether an error says that the member has been put out of its group. */
bool cr_is_evicted(rd_kafka_resp_err_t err);
/* group_reset.c: the slot's offset is out of range. */
void cr_group_reset(cr_client_t *client, cr_slot_t *slot);

/* Begins the slot's fetching anew at an offset, where librdkafka has stopped. */
void cr_group_start_again(cr_client_t *client, const cr_slot_t *slot, int64_t offset,
                          cr_error_t *error);
/* Restarts the slot, and lists it under its new number. */
void cr_group_renew(cr_client_t *client, cr_slot_t *slot, int64_t offset);
/* group_seek.c: goes on with the seeks that wait, or answers them. */
void cr_group_seeks(cr_client_t *client);
/* librdkafka does not fetch the slot's partition: that is begun anew, when it can be. */
void cr_group_unstall(cr_client_t *client, cr_slot_t *slot);

/* The slot of a partition that is not being revoked, or NULL. */
cr_slot_t *cr_group_find(const cr_group_t *group, const char *topic, int32_t partition);

/* group_offsets.c: what commands about offsets share. A list of partitions; all
 * that are assigned when it is empty. */
rd_kafka_topic_partition_list_t *cr_read_partitions(cr_reader_t *term, const cr_group_t *group,
                                                    bool *all);
/* Where to: an offset, or something to be asked for as in list_offsets.h. */
int64_t cr_read_where(cr_reader_t *term, bool *is_offset);
/* Asks until there is an answer, a final refusal, or no time. @locality a lane */
rd_kafka_resp_err_t cr_ask_positions(cr_client_t *client, rd_kafka_topic_partition_list_t *list,
                                     int64_t which, int64_t deadline);
/* {ok, {not_assigned, Topic, Partition}} */
void cr_write_not_assigned(cr_writer_t *out, const rd_kafka_topic_partition_t *at);
/* {ok, [{Topic, Partition, Offset}]} */
void cr_write_offsets(cr_writer_t *out, const rd_kafka_topic_partition_list_t *list);
/* Of a commit that nobody waits for. */
void cr_group_commit_failed(cr_client_t *client, rd_kafka_resp_err_t err,
                            const rd_kafka_topic_partition_list_t *list);

/* group_jobs.c, for the jobs above. @locality group lane */
/* Whether an answer is still of use. */
bool cr_group_goes_on(cr_client_t *client);
/* After a question that failed: the milliseconds that the next try may take.
 * Waits a slice where the failure came back at once. */
int cr_group_patience(cr_client_t *client, rd_kafka_resp_err_t err, int millis);
/* Why a commit is refused in the middle of a rebalance, or of a member that has
 * been put out of its group: it is made another time, or by nobody. */
bool cr_is_of_rebalance(rd_kafka_resp_err_t err);
/* Commits and waits for the result, in slices, which is that of each partition
 * in the list too. Tries again with the member's new epoch. */
rd_kafka_resp_err_t cr_commit_wait(cr_client_t *client, rd_kafka_topic_partition_list_t *offsets,
                                   int millis);
/* Whether that is the protocol in force: librdkafka asks its own main thread. */
bool cr_is_cooperative(rd_kafka_t *rk);
/* assign() or incremental_assign(), as the protocol demands. */
void cr_answer_assign(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *partitions,
                      cr_error_t *error);
void cr_answer_revoke(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *partitions,
                      cr_error_t *error);

#endif
