/*
 * The door: certificates and keys of a configuration are looked at before
 * librdkafka has them, whose own words for what is wrong name no property, or
 * which finds it only when a broker refuses it.
 */
#ifndef CREMA_DOOR_H
#define CREMA_DOOR_H

#include <librdkafka/rdkafka.h>

#include "faults.h"

/* Whether the value of a property is PEM, in which line ends may be written as \n. */
bool cr_door_is_pem(const char *property);

/* Adds what is wrong, and to warnings what soon will be or may be. May read files.
 * Nothing is wrong of what librdkafka does not look at, or of what cannot be judged
 * here. What passes is made fit for the librdkafka in use. @locality life lane */
void cr_door_pass(rd_kafka_conf_t *conf, cr_faults_t *faults, cr_faults_t *warnings);

#endif
