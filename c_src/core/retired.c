#include "retired.h"

#include <string.h>

#include "mem.h"

typedef struct cr_retired_run {
        STAILQ_ENTRY(cr_retired_run) link;
        size_t bytes;
        uint32_t count;
        rd_kafka_message_t *messages[];
} run_t;

void cr_retired_init(cr_retired_t *retired, cr_wake_t *wake, cr_sockets_t *sockets) {
        *retired = (cr_retired_t){.sockets = sockets};
        STAILQ_INIT(&retired->runs);
        cr_source_init(&retired->source, wake, retired);
}

static void destroy(rd_kafka_message_t *const *messages, uint32_t count) {
        for (uint32_t i = 0; i < count; i++) {
                if (messages[i])
                        rd_kafka_message_destroy(messages[i]);
        }
}

static unsigned destroy_oldest(cr_retired_t *retired) {
        run_t *run = STAILQ_FIRST(&retired->runs);
        unsigned count = run->count;
        STAILQ_REMOVE_HEAD(&retired->runs, link);
        destroy(run->messages, count);
        retired->bytes -= run->bytes;
        retired->count--;
        if (retired->due)
                retired->due--;
        cr_free(run);
        return count;
}

void cr_retired_add(cr_retired_t *retired, rd_kafka_message_t *const *messages, uint32_t count,
                    size_t bytes, size_t most) {
        run_t *run = NULL;
        bytes += count * CR_RETIRED_MESSAGE;
        if (count >= CR_RETIRED_FEW && bytes <= most && cr_sockets_tell())
                run = cr_alloc(sizeof(*run) + count * sizeof(*messages));
        if (!run) {
                destroy(messages, count);
                return;
        }
        while (retired->bytes + bytes > most)
                (void)destroy_oldest(retired);
        if (retired->count == retired->due)
                retired->sent = cr_sockets_sent(retired->sockets);
        run->bytes = bytes;
        run->count = count;
        memcpy(run->messages, messages, count * sizeof(*messages));
        STAILQ_INSERT_TAIL(&retired->runs, run, link);
        retired->bytes += bytes;
        retired->count++;
}

unsigned cr_retired_look(cr_retired_t *retired) {
        if (retired->count == retired->due || cr_sockets_sent(retired->sockets) == retired->sent)
                return 0;
        return cr_retired_release(retired);
}

unsigned cr_retired_release(cr_retired_t *retired) {
        retired->due = retired->count;
        return cr_retired_serve(retired);
}

unsigned cr_retired_serve(cr_retired_t *retired) {
        unsigned count = 0;
        while (retired->due && count < CR_RETIRED_AT_ONCE)
                count += destroy_oldest(retired);
        if (retired->due)
                cr_source_mark(&retired->source);
        return count;
}

void cr_retired_clear(cr_retired_t *retired) {
        while (retired->count)
                (void)destroy_oldest(retired);
        cr_source_forget(&retired->source);
}
