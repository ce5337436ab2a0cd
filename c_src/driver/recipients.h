/*
 * Processes as numbers. A process is numbered by its first command to a port,
 * and monitored by that port until it or the port ends.
 *
 * @locks the port's, or the reaper alone after the port has closed
 */
#ifndef CREMA_RECIPIENTS_H
#define CREMA_RECIPIENTS_H

#include <erl_driver.h>

#include "../core/host.h"
#include "../core/map.h"

typedef struct recipients {
        cr_map_t by_pid;
        cr_map_t by_number;
        uint64_t last;
} recipients_t;

/* The number of the process, new if need be; 0 when it is dead or there is no
 * memory. */
cr_recipient_t recipients_number(recipients_t *recipients, ErlDrvPort port, ErlDrvTermData pid);
/* False when there is no such recipient any more. */
bool recipients_pid(const recipients_t *recipients, cr_recipient_t number, ErlDrvTermData *pid);
/* The process is no more: returns what its number was, or 0. */
cr_recipient_t recipients_remove(recipients_t *recipients, ErlDrvTermData pid);
void recipients_clear(recipients_t *recipients);

#endif
