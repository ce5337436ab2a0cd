/* librdkafka's statistics, from its JSON to an event of numbers. */
#ifndef CREMA_STATISTICS_H
#define CREMA_STATISTICS_H

#include "client.h"

/* Sends {statistics, [{Name, Integer}]} to the owner; JSON that is not
 * understood is passed over. */
void cr_statistics_event(cr_client_t *client, const char *json);

#endif
