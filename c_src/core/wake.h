/*
 * How news gets from librdkafka's threads to the thread that drains.
 *
 * librdkafka tells of a queue only when it goes from empty to not empty, and
 * holds that queue's lock while it tells. So the telling thread does next to
 * nothing: it puts the queue's source on a list and, if nobody has been
 * roused yet, writes one number to one descriptor. The drain takes sources
 * off the list one by one.
 *
 * Lock order: a librdkafka queue's lock, then cr_wake_t.lock; never the
 * reverse, so nothing of librdkafka is called with the latter held.
 */
#ifndef CREMA_WAKE_H
#define CREMA_WAKE_H

#include <pthread.h>
#include <stdbool.h>

typedef struct cr_wake cr_wake_t;
typedef struct cr_source cr_source_t;

/* Something that may have news. Embedded in what it speaks for. */
struct cr_source {
        cr_wake_t *wake;   /* set once */
        void *of;          /* set once: what it is embedded in */
        cr_source_t *next; /* under wake->lock, as listed */
        bool listed;
};

struct cr_wake {
        pthread_mutex_t lock;
        pthread_cond_t roused; /* for cr_wake_wait() */
        int fd;                /* an eventfd; -1 once taken away */
        bool signalled;        /* written to fd and not yet taken */
        cr_source_t *first;
        cr_source_t **last;
};

/* False when no descriptor can be had. */
bool cr_wake_init(cr_wake_t *wake);
void cr_wake_destroy(cr_wake_t *wake);
void cr_source_init(cr_source_t *source, cr_wake_t *wake, void *of);

/* Puts the source on the list. @locality any */
void cr_source_mark(cr_source_t *source);
/* The same in the form librdkafka calls: opaque is the source. */
void cr_source_event(void *rk, void *opaque);
/* Takes a source off the list that is about to be freed. */
void cr_source_forget(cr_source_t *source);

/* Acknowledges the descriptor; call before taking sources. */
void cr_wake_acknowledge(cr_wake_t *wake);
/* The next source, or NULL. */
cr_source_t *cr_wake_take(cr_wake_t *wake);
/* Rouses again when sources are left over. */
void cr_wake_again(cr_wake_t *wake);

/* No descriptor from now on: the reaper waits for news by cr_wake_wait(). */
void cr_wake_drop_fd(cr_wake_t *wake);
/* Returns when a source is listed, or after that many milliseconds. */
void cr_wake_wait(cr_wake_t *wake, int milliseconds);

#endif
