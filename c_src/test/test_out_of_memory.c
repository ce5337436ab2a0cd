/* Each request for memory in the lives of clients fails in turn: of the core, of ei and
 * of the host's blocks. librdkafka's own end the process, whoever uses it. */
#include "support/life.h"
#include "support/memory.h"
#include "support/trial.h"

static long ordered;

static void order(long number) {
        ordered = number;
        memory_fails_at(number);
}

static bool happened(void) {
        return memory_requests() >= ordered;
}

int main(int argc, char **argv) {
        static const trial_t trials[] = {
                {"producer", life_of_producer, order, happened, NULL},
                {"transactions", life_of_transactions, order, happened, NULL},
                {"consumer", life_of_consumer, order, happened, NULL},
                {"reader", life_of_reader, order, happened, NULL},
                {"asker", life_of_asker, order, happened, NULL},
                {"cluster", life_of_cluster, order, happened, NULL},
                {"secrets", life_of_secrets, order, happened, NULL},
        };
        return trial_main(trials, sizeof(trials) / sizeof(trials[0]), argc, argv);
}
