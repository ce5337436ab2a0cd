/*
 * Small numeric options of a client, by name: [{<<"max_messages">>, 100000}].
 * Each kind of client has its own table of them.
 */
#ifndef CREMA_OPTIONS_H
#define CREMA_OPTIONS_H

#include "term.h"

/* What a consumer commits by itself. */
enum cr_commits {
        CR_COMMITS_ACKNOWLEDGED = 1,
        CR_COMMITS_POSITIONS, /* where it begins, by itself or by a seek */
        CR_COMMITS_NEVER
};

typedef struct cr_options {
        int64_t max_messages;   /* producer: accepted and unreported */
        int64_t max_bytes;      /* producer: kept alive by these */
        int64_t max_unclaimed;  /* producer: reports that nobody fetches */
        int64_t tally;          /* producer: 1 when the owner hears of reports */
        int64_t tally_listed;   /* producer: most reports that it hears of one by one */
        int64_t batch_messages; /* consumer: most in one batch */
        int64_t batch_bytes;    /* consumer: most in one batch, but one message */
        int64_t max_in_flight;  /* consumer: most unacknowledged of a partition */
        int64_t commits;        /* consumer: a cr_commits */
        int64_t prefetch;       /* consumer: bytes that all partitions may hold */
        int64_t brokers;        /* cluster */
} cr_options_t;

/* Reads the list over the defaults; false and the reader failed when a name
 * is unknown or a number is not above 0. */
bool cr_options_read(cr_options_t *options, cr_reader_t *in);

#endif
