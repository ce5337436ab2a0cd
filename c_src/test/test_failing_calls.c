/* Each call of the core's that can fail does so in the lives of clients, in turn: see
 * calls/calls.h. */
#include "calls/calls.h"
#include "support/life.h"

int main(int argc, char **argv) {
        static const faults_t faults = {calls_fail, calls_have, calls_name};
        calls_begin();
        return life_main(&faults, argc, argv);
}
