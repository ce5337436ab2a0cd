/*
 * What is wrong with properties: all of it, answered together as
 *   {error, [{Key, Text}]}
 * Warnings have the same form, and are told by an event.
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
/* Answers later, and clears the tag. */
void cr_faults_reply(cr_client_t *client, cr_faults_t *faults, cr_tag_t *tag);
/* {What, [{Key, Text}]} for the owner, unless there are none. */
void cr_faults_send(cr_client_t *client, cr_faults_t *faults, const char *what);
void cr_faults_free(cr_faults_t *faults);

#endif
