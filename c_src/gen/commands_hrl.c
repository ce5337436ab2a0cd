/*
 * Prints the Erlang constants of core/commands.h, and the hash of the table.
 */
#include <stdint.h>
#include <stdio.h>

#include "../core/commands.h"
#include "../core/commands_hash.h"

#define DEFINE_COMMAND(name, number, kinds, form) printf("-define(CMD_%s, %d).\n", #name, number);
#define NAME_COMMAND(name, number, kinds, form)                                                    \
        printf("%s{%d, '%s'}", number == 1 ? "" : ", ", number, #name);
#define DEFINE_CONSTANT(name, number) printf("-define(%s, %d).\n", #name, number);

int main(void) {
        puts("%% Made from c_src/core/commands.h by c_src/gen/commands_hrl.c.");
        CR_COMMANDS(DEFINE_COMMAND)
        CR_CONSTANTS(DEFINE_CONSTANT)
        printf("-define(COMMANDS, [");
        CR_COMMANDS(NAME_COMMAND)
        printf("]).\n-define(COMMANDS_HASH, 16#%016llX).\n",
               (unsigned long long)cr_commands_hash());
        return 0;
}
