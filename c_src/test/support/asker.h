/*
 * A client that reads nothing and is a member of no group, which only asks.
 */
#ifndef CREMA_TEST_ASKER_H
#define CREMA_TEST_ASKER_H

#include "test_host.h"

/* Of a reader, with the address of its cluster. */
#define READER_PROPERTIES(servers)                                                                 \
        {                                                                                          \
                "bootstrap.servers", servers, "log.queue", "true", "enable.partition.eof", "true", \
                        "enable.auto.offset.store", "false", NULL                                  \
        }

/* Owned by the caller. */
test_host_t *reader(const char *bootstrap);
/* One of the questions about a name or, if it is "", about all; what the command says
 * at once. The reply is to "asked". */
const char *ask(test_host_t *host, unsigned command, const char *name, int64_t millis);

#endif
