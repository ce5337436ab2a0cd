/*
 * What clients go through in their lives (life_*.c), with at most one fault in each: in
 * its place there is an error, and whoever asks again has an answer. See trial.h.
 */
#ifndef CREMA_TEST_LIFE_H
#define CREMA_TEST_LIFE_H

#include "member.h"
#include "test_host.h"
#include "trial.h"

/* Each asserts that all that it was promised comes. */
void life_of_producer(void);
void life_of_transactions(void);
void life_of_consumer(void);
void life_of_reader(void);
void life_of_asker(void);
void life_of_cluster(void);
void life_of_secrets(void);

/* Leads them with faults of that kind, as a program's arguments say; its exit status. */
int life_main(const faults_t *faults, int argc, char **argv);

/* ---- for the lives ----------------------------------------------------------- */

typedef struct life {
        member_t *member; /* the cluster that it is led with */
        test_host_t *host;
        bool ended; /* the owner has heard that there was no memory for what it goes by */
} life_t;

life_t life_begin(void);
/* With all that is left of it; nothing may have leaked. */
void life_end(life_t *life);
void life_open(life_t *life, const char *kind, const char *const *properties,
               const test_option_t *options);

/* Commands until the answer is the expected one, or once more after another. The last
 * answer is returned. */
const char *life_do(life_t *life, unsigned command, const void *data, size_t size,
                    const char *expected);
/* The same of what is answered by a reply to a tag; true when that is `ok` or {ok, _}. */
bool life_ask(life_t *life, unsigned command, const void *data, size_t size, const char *tag);
/* With a term that somebody has written, which is freed. */
bool life_ask_term(life_t *life, unsigned command, cr_writer_t *term, const char *tag);
const char *life_do_term(life_t *life, unsigned command, cr_writer_t *term, const char *expected);
/* A term begins: {Text, */
cr_writer_t life_term(int arity, const char *text);
cr_writer_t life_writer(void);

/* The first packet that matches, waited for and served for; the life fails without. NULL
 * only when the owner hears that it has to begin anew. */
packet_t *life_packet(life_t *life, packet_match_t match, const void *with, const char *what);
/* The same of a reply: never NULL. */
packet_t *life_reply(life_t *life, const char *tag);
/* Whether the event came. */
bool life_event(life_t *life, const char *name);
/* Whether it has come by now; it is not taken. */
bool life_has_event(life_t *life, const char *name);
/* Serves until the client has no more to do for a moment. */
void life_settle(life_t *life);
/* Closes the client, with a tag, and waits for the reaper. */
void life_close(life_t *life);

#endif
