/* A hash (FNV-1a) of the command table as text: names, numbers, kinds, forms. */
#ifndef CREMA_COMMANDS_HASH_H
#define CREMA_COMMANDS_HASH_H

#include <stdint.h>

#include "commands.h"

#define CR_HASH_TEXT(name, number, kinds, form) #name "=" #number ":" #kinds ":" #form ";"
#define CR_HASH_CONSTANT(name, number) #name "=" #number ";"
#define CR_HASH_STRING(x) #x
#define CR_HASH_REVISION(x) CR_HASH_STRING(x)

static inline uint64_t cr_commands_hash(void) {
        static const char text[] = CR_COMMANDS(CR_HASH_TEXT) CR_CONSTANTS(CR_HASH_CONSTANT)
                CR_HASH_REVISION(CR_PROTOCOL_REVISION);
        uint64_t hash = UINT64_C(0xCBF29CE484222325);
        for (const char *c = text; *c; c++)
                hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001B3);
        return hash;
}

#endif
