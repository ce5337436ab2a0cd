#include "recipients.h"

#include "../core/mem.h"

typedef struct recipient {
        cr_recipient_t number;
        ErlDrvTermData pid;
        ErlDrvMonitor monitor;
} recipient_t;

cr_recipient_t recipients_number(recipients_t *recipients, ErlDrvPort port, ErlDrvTermData pid) {
        recipient_t *recipient = cr_map_get(&recipients->by_pid, pid);
        if (recipient)
                return recipient->number;
        recipient = cr_alloc(sizeof(*recipient));
        if (!recipient)
                return 0;
        recipient->pid = pid;
        recipient->number = ++recipients->last;
        if (!cr_map_put(&recipients->by_pid, pid, recipient)) {
                cr_free(recipient);
                return 0;
        }
        if (!cr_map_put(&recipients->by_number, recipient->number, recipient) ||
            driver_monitor_process(port, recipient->pid, &recipient->monitor) != 0) {
                recipients_remove(recipients, pid);
                return 0;
        }
        return recipient->number;
}

bool recipients_pid(const recipients_t *recipients, cr_recipient_t number, ErlDrvTermData *pid) {
        const recipient_t *recipient = cr_map_get(&recipients->by_number, number);
        if (recipient)
                *pid = recipient->pid;
        return recipient != NULL;
}

cr_recipient_t recipients_remove(recipients_t *recipients, ErlDrvTermData pid) {
        recipient_t *recipient = cr_map_remove(&recipients->by_pid, pid);
        cr_recipient_t number;
        if (!recipient)
                return 0;
        number = recipient->number;
        cr_map_remove(&recipients->by_number, number);
        cr_free(recipient);
        return number;
}

void recipients_clear(recipients_t *recipients) {
        recipient_t *recipient;
        size_t at = 0;
        while ((recipient = cr_map_next(&recipients->by_pid, &at)))
                cr_free(recipient);
        cr_map_clear(&recipients->by_pid);
        cr_map_clear(&recipients->by_number);
}
