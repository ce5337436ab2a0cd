/*
 * Trials: a life is led again and again, each time with another fault in it, and each
 * time in a process of its own, which must end well: without a crash, without a leak, and
 * in time.
 *
 *   PROGRAM [LIFE [FAULT]]
 */
#ifndef CREMA_TEST_TRIAL_H
#define CREMA_TEST_TRIAL_H

#include <stdbool.h>
#include <stddef.h>

typedef struct trial {
        const char *name;
        void (*life)(void);
} trial_t;

/* The faults of one kind, numbered from 1 on. */
typedef struct faults {
        /* Orders that one, of the process's own; 0: none. */
        void (*order)(long number);
        /* Whether there was an occasion for it: the first that has none is the last. */
        bool (*happened)(long number);
        const char *(*tell)(long number); /* its name; NULL: it has none */
} faults_t;

/* Ends this process badly. */
_Noreturn void trial_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Leads the lives that a program's arguments name without a fault, and with each: all of
 * them, one, or one with a single fault; the exit status. */
int trial_main(const trial_t *trials, size_t count, const faults_t *faults, int argc, char **argv);
/* Called where a fault happens, so that it can be told where. */
void trial_note_place(void);
/* Whether this life has no fault in it. */
bool trial_is_faultless(void);

#endif
