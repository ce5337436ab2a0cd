/* Each call of the core's that can fail does so in the lives of clients, in turn: see
 * calls/calls.h. */
#include "calls/calls.h"
#include "support/life.h"
#include "support/trial.h"

static long ordered;

static void order(long number) {
        ordered = number;
        calls_fail(number);
}

static bool happened(void) {
        return calls_have(ordered);
}

int main(int argc, char **argv) {
        static const trial_t trials[] = {
                {"producer", life_of_producer, order, happened, calls_name},
                {"transactions", life_of_transactions, order, happened, calls_name},
                {"consumer", life_of_consumer, order, happened, calls_name},
                {"reader", life_of_reader, order, happened, calls_name},
                {"asker", life_of_asker, order, happened, calls_name},
                {"cluster", life_of_cluster, order, happened, calls_name},
                {"secrets", life_of_secrets, order, happened, calls_name},
        };
        calls_begin();
        return trial_main(trials, sizeof(trials) / sizeof(trials[0]), argc, argv);
}
