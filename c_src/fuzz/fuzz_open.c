/*
 * OPEN up to the client itself: any term as its argument (kind, properties, options),
 * all of which goes to librdkafka's configuration, and then through the door.
 */
#include "../core/open.c"

#include <stdlib.h>

#include "clients.h"
#include "fuzz.h"

static void pass(open_job_t *open) {
        cr_door_pass(open->conf, &open->faults, &open->warnings);
        FUZZ_CHECK(open->faults.count >= 0 && open->warnings.count >= 0);
}

static void look_at(const cr_options_t *options) {
        FUZZ_CHECK(options->max_messages > 0 && options->max_bytes > 0 && options->brokers > 0 &&
                   options->tally >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const cr_input_t in = {.caller = 1, .data = data, .size = size};
        open_job_t *open;
        if (fuzz_is_forbidden(data, size))
                return 0;
        open = cr_alloc(sizeof(*open));
        open->conf = rd_kafka_conf_new();
        open->faults = cr_faults();
        open->warnings = cr_faults();
        if (read_open(open, &in)) {
                look_at(&open->options);
                if (!open->faults.count)
                        pass(open);
        }
        open_job_free(open);
        return 0;
}
