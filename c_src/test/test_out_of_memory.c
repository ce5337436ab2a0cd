/* Each request for memory in the lives of clients fails in turn: of the core, of ei and
 * of the host's blocks. librdkafka's own end the process, whoever uses it. */
#include "support/life.h"
#include "support/memory.h"

static bool happened(long number) {
        return memory_requests() >= number;
}

int main(int argc, char **argv) {
        static const faults_t faults = {memory_fails_at, happened, NULL};
        return life_main(&faults, argc, argv);
}
