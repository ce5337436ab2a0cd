/*
 * core/statistics.c: whatever text librdkafka's statistics are, they become one term,
 * or nothing. Its job is run here and not on a lane, which would only make it slower.
 */
#include "../core/statistics.c"

#include <stdlib.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        feed_t feed = {data, size};
        statistics_job_t job = {.json = feed_text(&feed)};
        run_statistics(NULL, &job.job);
        FUZZ_CHECK(job.out.failed || is_term(job.out.x.buff, (size_t)job.out.x.index));
        cr_writer_discard(&job.out);
        free(job.json);
        return 0;
}
