/*
 * What is wrong with properties: all of it, answered together as
 *   {error, [{Key, Text}]}
 */
#ifndef CREMA_FAULTS_H
#define CREMA_FAULTS_H

#include "client.h"

typedef struct cr_faults {
        cr_writer_t list; /* the elements only, counted below */
        int count;
} cr_faults_t;

cr_faults_t cr_faults(void);
void cr_faults_add(cr_faults_t *faults, cr_text_t key, const char *text);
void cr_faults_answer(cr_client_t *client, cr_faults_t *faults, cr_reply_t *reply);
void cr_faults_free(cr_faults_t *faults);

#endif
