/* core/wake.c, with many threads. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../core/wake.h"

enum { THREADS = 8, ROUNDS = 20000, WAIT_MS = 30000 };

typedef struct teller {
        cr_source_t source;
        atomic_int said; /* raised before each mark */
        int heard;
        pthread_t thread;
} teller_t;

static void *tell(void *arg) {
        teller_t *teller = arg;
        for (int i = 0; i < ROUNDS; i++) {
                atomic_fetch_add(&teller->said, 1);
                cr_source_mark(&teller->source);
        }
        return NULL;
}

/* Proves that no news is lost, however many tell at once: a reader who sleeps
 * until it is roused hears everything that was said. */
static void nothing_is_lost(void **state) {
        static teller_t tellers[THREADS];
        cr_wake_t wake;
        long heard = 0;
        (void)state;
        assert_true(cr_wake_init(&wake));
        for (int i = 0; i < THREADS; i++) {
                cr_source_init(&tellers[i].source, &wake, &tellers[i]);
                assert_int_equal(pthread_create(&tellers[i].thread, NULL, tell, &tellers[i]), 0);
        }
        while (heard < (long)THREADS * ROUNDS) {
                struct pollfd fd = {.fd = wake.fd, .events = POLLIN};
                cr_source_t *source;
                assert_int_equal(poll(&fd, 1, 10000), 1);
                cr_wake_acknowledge(&wake);
                while ((source = cr_wake_take(&wake))) {
                        teller_t *teller = source->of;
                        int said = atomic_load(&teller->said);
                        heard += said - teller->heard;
                        teller->heard = said;
                }
        }
        for (int i = 0; i < THREADS; i++)
                pthread_join(tellers[i].thread, NULL);
        close(wake.fd);
        cr_wake_destroy(&wake);
}

/* Proves that a source that is forgotten is not taken, wherever it stood. */
static void forgotten_is_not_taken(void **state) {
        cr_source_t sources[3];
        cr_wake_t wake;
        (void)state;
        assert_true(cr_wake_init(&wake));
        for (int forget = 0; forget < 3; forget++) {
                for (int i = 0; i < 3; i++) {
                        cr_source_init(&sources[i], &wake, NULL);
                        cr_source_mark(&sources[i]);
                }
                cr_source_forget(&sources[forget]);
                for (int i = 0; i < 3; i++) {
                        if (i != forget)
                                assert_ptr_equal(cr_wake_take(&wake), &sources[i]);
                }
                assert_null(cr_wake_take(&wake));
        }
        close(wake.fd);
        cr_wake_destroy(&wake);
}

/* Proves that without a descriptor a waiter is roused all the same. */
static void waits_without_a_descriptor(void **state) {
        teller_t teller = {.heard = 0};
        struct timespec began, ended;
        cr_wake_t wake;
        int fd;
        (void)state;
        assert_true(cr_wake_init(&wake));
        fd = wake.fd;
        cr_wake_drop_fd(&wake);
        close(fd);
        cr_source_init(&teller.source, &wake, &teller);
        assert_int_equal(pthread_create(&teller.thread, NULL, tell, &teller), 0);
        while (teller.heard < ROUNDS) {
                clock_gettime(CLOCK_MONOTONIC, &began);
                cr_wake_wait(&wake, WAIT_MS);
                clock_gettime(CLOCK_MONOTONIC, &ended);
                /* The wait was not slept out. */
                assert_true(ended.tv_sec - began.tv_sec < WAIT_MS / 1000);
                assert_ptr_equal(cr_wake_take(&wake), &teller.source);
                teller.heard = atomic_load(&teller.said);
        }
        pthread_join(teller.thread, NULL);
        cr_wake_destroy(&wake);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_lost),
                                           cmocka_unit_test(forgotten_is_not_taken),
                                           cmocka_unit_test(waits_without_a_descriptor)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
