#include "calls.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "../support/trial.h"

/* A call that is made again and again fails as one that is made so often. */
#define MOST 4

#define ERROR_MADE RD_KAFKA_RESP_ERR__FAIL

enum {
#define ROW(name) CALL_##name,
#define CODE ROW
#define ERROR ROW
#define NOTHING ROW
#define MINUS ROW
#define PROPERTY ROW
#define BATCH ROW
#define OWN ROW
#define TAKING ROW
#define NUMBER ROW
#define NEVER ROW
        CALLS NEWER_CALLS COUNT
#undef NEVER
};

static const struct {
        const char *name;
        bool fails;
} rows[] = {
#undef ROW
#define ROW(name) {#name, true},
#define NEVER(name) {#name, false},
#undef OWN
#define OWN(name) {#name, false},
        CALLS NEWER_CALLS
#undef NEVER
#undef ROW
#undef CODE
#undef ERROR
#undef NOTHING
#undef MINUS
#undef PROPERTY
#undef BATCH
#undef TAKING
#undef OWN
#undef NUMBER
};

/* How often each was made, in the life without a fault; all processes have it. */
static atomic_int *met;
static atomic_int made[COUNT]; /* in this process */
static int failing = -1, failing_nth;
static bool counting;
/* What rd_kafka_last_error() is to say in this thread, if a call was made to fail. */
static _Thread_local rd_kafka_resp_err_t last_error;

void calls_begin(void) {
        met = mmap(NULL, COUNT * sizeof(*met), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                   -1, 0);
        if (met == MAP_FAILED)
                trial_fail("there is no shared memory");
}

/* False when there are not so many. */
static bool find(long number, int *which, int *nth) {
        for (*nth = 1; *nth <= MOST; ++*nth) {
                for (*which = 0; *which < COUNT; ++*which) {
                        if (rows[*which].fails && atomic_load(&met[*which]) >= *nth && !--number)
                                return true;
                }
        }
        return false;
}

void calls_fail(long number) {
        int which, nth;
        if (!number) {
                for (int i = 0; i < COUNT; i++)
                        atomic_store(&met[i], 0);
                counting = true;
        } else if (find(number, &which, &nth)) {
                for (int i = 0; i < COUNT; i++)
                        atomic_store(&made[i], 0);
                counting = false;
                failing_nth = nth;
                failing = which;
        }
}

bool calls_have(long number) {
        int which, nth;
        return find(number, &which, &nth);
}

const char *calls_name(long number) {
        static char text[128];
        int which, nth;
        if (!find(number, &which, &nth))
                return "none";
        snprintf(text, sizeof(text), "%s %d", rows[which].name, nth);
        return text;
}

static bool fails(int which) {
        int nth = atomic_fetch_add(&made[which], 1) + 1;
        if (counting)
                atomic_store(&met[which], nth);
        last_error = RD_KAFKA_RESP_ERR_NO_ERROR;
        if (which != failing || nth != failing_nth)
                return false;
        trial_note_place();
        last_error = ERROR_MADE;
        return true;
}

/* So many bytes may a function be given on the stack: those of eight more arguments. */
#define ARGUMENTS 64
/* A function of any type: what it is given is handed on as it came. */
#define DEFINE(function, failure)                                                                  \
        void *call_##function(void);                                                               \
        void *call_##function(void) {                                                              \
                void *given = __builtin_apply_args();                                              \
                if (fails(CALL_##function))                                                        \
                        return failure;                                                            \
                __builtin_return(__builtin_apply((void (*)(void))(function), given, ARGUMENTS));   \
        }
#define VALUE(number) ((void *)(intptr_t)(number))

#define CODE(name) DEFINE(name, VALUE(ERROR_MADE))
#define ERROR(name) DEFINE(name, rd_kafka_error_new(ERROR_MADE, "made to fail"))
#define NOTHING(name) DEFINE(name, NULL)
#define MINUS(name) DEFINE(name, VALUE(-1))
#define PROPERTY(name) DEFINE(name, VALUE(RD_KAFKA_CONF_INVALID))
#define NUMBER(name) DEFINE(name, VALUE(EAGAIN))
#define BATCH(name)
#define OWN(name)
#define TAKING(name)
#define NEVER(name) DEFINE(name, NULL)
CALLS
NEWER_CALLS

int call_rd_kafka_produce_batch(rd_kafka_topic_t *topic, int32_t partition, int flags,
                                rd_kafka_message_t *messages, int count);
int call_rd_kafka_produce_batch(rd_kafka_topic_t *topic, int32_t partition, int flags,
                                rd_kafka_message_t *messages, int count) {
        if (!fails(CALL_rd_kafka_produce_batch))
                return rd_kafka_produce_batch(topic, partition, flags, messages, count);
        for (int i = 0; i < count; i++)
                messages[i].err = ERROR_MADE;
        return 0;
}

rd_kafka_topic_t *call_rd_kafka_topic_new(rd_kafka_t *rk, const char *name,
                                          rd_kafka_topic_conf_t *conf);
rd_kafka_topic_t *call_rd_kafka_topic_new(rd_kafka_t *rk, const char *name,
                                          rd_kafka_topic_conf_t *conf) {
        if (!fails(CALL_rd_kafka_topic_new))
                return rd_kafka_topic_new(rk, name, conf);
        if (conf)
                rd_kafka_topic_conf_destroy(conf);
        return NULL;
}

rd_kafka_resp_err_t call_rd_kafka_last_error(void);
rd_kafka_resp_err_t call_rd_kafka_last_error(void) {
        return last_error ? last_error : rd_kafka_last_error();
}
