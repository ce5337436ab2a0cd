#include "wake.h"

#include <stdint.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

bool cr_wake_init(cr_wake_t *wake) {
        pthread_condattr_t attributes;
        *wake = (cr_wake_t){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
        wake->last = &wake->first;
        if (wake->fd < 0)
                return false;
        pthread_mutex_init(&wake->lock, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&wake->roused, &attributes);
        pthread_condattr_destroy(&attributes);
        return true;
}

void cr_wake_destroy(cr_wake_t *wake) {
        pthread_cond_destroy(&wake->roused);
        pthread_mutex_destroy(&wake->lock);
}

void cr_source_init(cr_source_t *source, cr_wake_t *wake, void *of) {
        *source = (cr_source_t){.wake = wake, .of = of};
}

/* An eventfd's counter cannot overflow from ones: the write never blocks and
 * can only fail if the descriptor is not ours any more, which fd = -1 rules
 * out. @locks wake->lock held */
static void rouse(cr_wake_t *wake) {
        static const uint64_t one = 1;
        if (wake->signalled)
                return;
        wake->signalled = true;
        if (wake->fd >= 0)
                (void)!write(wake->fd, &one, sizeof(one));
        else
                pthread_cond_signal(&wake->roused);
}

void cr_source_mark(cr_source_t *source) {
        cr_wake_t *wake = source->wake;
        pthread_mutex_lock(&wake->lock);
        if (!source->listed) {
                source->listed = true;
                source->next = NULL;
                *wake->last = source;
                wake->last = &source->next;
        }
        rouse(wake);
        pthread_mutex_unlock(&wake->lock);
}

void cr_source_event(void *rk, void *opaque) {
        (void)rk;
        cr_source_mark(opaque);
}

void cr_source_forget(cr_source_t *source) {
        cr_wake_t *wake = source->wake;
        pthread_mutex_lock(&wake->lock);
        for (cr_source_t **at = &wake->first; *at; at = &(*at)->next) {
                if (*at != source)
                        continue;
                *at = source->next;
                if (wake->last == &source->next)
                        wake->last = at;
                break;
        }
        source->listed = false;
        pthread_mutex_unlock(&wake->lock);
}

void cr_wake_acknowledge(cr_wake_t *wake) {
        uint64_t count;
        pthread_mutex_lock(&wake->lock);
        if (wake->fd >= 0)
                (void)!read(wake->fd, &count, sizeof(count));
        wake->signalled = false;
        pthread_mutex_unlock(&wake->lock);
}

cr_source_t *cr_wake_take(cr_wake_t *wake) {
        cr_source_t *source;
        pthread_mutex_lock(&wake->lock);
        source = wake->first;
        if (source) {
                wake->first = source->next;
                if (!wake->first)
                        wake->last = &wake->first;
                source->listed = false;
        }
        pthread_mutex_unlock(&wake->lock);
        return source;
}

void cr_wake_again(cr_wake_t *wake) {
        pthread_mutex_lock(&wake->lock);
        if (wake->first)
                rouse(wake);
        pthread_mutex_unlock(&wake->lock);
}

void cr_wake_drop_fd(cr_wake_t *wake) {
        pthread_mutex_lock(&wake->lock);
        wake->fd = -1;
        wake->signalled = false;
        pthread_mutex_unlock(&wake->lock);
}

void cr_wake_wait(cr_wake_t *wake, int milliseconds) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += milliseconds / 1000;
        until.tv_nsec += (long)(milliseconds % 1000) * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
                until.tv_sec++;
                until.tv_nsec -= 1000000000L;
        }
        pthread_mutex_lock(&wake->lock);
        /* Whoever marked a source that was taken since has left this set: who
         * marks the next one would think us awake. */
        wake->signalled = false;
        while (!wake->first && pthread_cond_timedwait(&wake->roused, &wake->lock, &until) == 0) {
        }
        wake->signalled = false;
        pthread_mutex_unlock(&wake->lock);
}
