#include "transaction.h"

#include "list_offsets.h"
#include "mem.h"

/* One call's bound, and with it a close's. A shorter one would not do: when
 * librdkafka's main thread does not answer the call's first question in time,
 * 2.0.2 takes the late answer for that of another. */
#define TRY_MS 1000

typedef struct transaction_job {
        cr_job_t job;
        cr_tag_t tag;
        uint8_t what;
        uint32_t epoch; /* to begin */
        /* SEND_OFFSETS */
        rd_kafka_topic_partition_list_t *offsets;     /* owned */
        rd_kafka_consumer_group_metadata_t *metadata; /* owned */
        int millis;
        cr_error_t error;
} transaction_job_t;

/* Beside what TRANSACT can ask for. */
#define SEND_OFFSETS UINT8_MAX

bool cr_transaction_new(rd_kafka_t *rk, cr_transaction_t **transaction) {
        size_t size = 0; /* of the value, with its zero byte */
        *transaction = NULL;
        rd_kafka_conf_get(rd_kafka_conf(rk), "transactional.id", NULL, &size);
        if (size <= 1)
                return true;
        *transaction = cr_alloc(sizeof(**transaction));
        return *transaction != NULL;
}

void cr_transaction_destroy(cr_transaction_t *transaction) {
        if (transaction)
                cr_tag_clear(&transaction->first);
        cr_free(transaction);
}

bool cr_transaction_takes(const cr_client_t *client, const cr_produce_t *produce,
                          cr_error_t *error) {
        const cr_transaction_t *transaction = client->transaction;
        if (transaction ? produce->epoch && produce->epoch == transaction->epoch : !produce->epoch)
                return true;
        cr_error_own(error, "stale_transaction",
                     produce->epoch ? "the transaction has ended"
                                    : "this producer produces in transactions only");
        return false;
}

bool cr_transaction_in_use(const cr_client_t *client) {
        return client->transaction && (client->transaction->epoch || client->transaction->jobs);
}

void cr_transaction_refused(cr_client_t *client) {
        if (client->transaction)
                client->transaction->refused = true;
}

/* ---- the first report --------------------------------------------------- */

/* Or there is none to wait for. A message that was refused says nothing of those
 * that are on their way. */
static bool has_first_report(const cr_client_t *client) {
        const cr_delivery_t *delivery = client->delivery;
        return !delivery->messages || delivery->answered != client->transaction->answered;
}

void cr_transaction_serve(cr_client_t *client) {
        cr_transaction_t *transaction = client->transaction;
        if (transaction && transaction->first.size && has_first_report(client))
                cr_reply_ok(client, &transaction->first);
}

void cr_transaction_recipient_gone(cr_client_t *client, cr_recipient_t gone) {
        if (client->transaction && client->transaction->first.to == gone)
                cr_tag_clear(&client->transaction->first);
}

static void wait_first(cr_client_t *client, const cr_input_t *in, cr_text_t tag,
                       cr_reply_t *reply) {
        cr_transaction_t *transaction = client->transaction;
        cr_tag_clear(&transaction->first);
        if (cr_tag_set(&transaction->first, in->caller, tag.bytes, tag.size))
                cr_transaction_serve(client);
        else
                cr_answer_no_memory(client, reply);
}

/* ---- the lane --------------------------------------------------------------- */

static rd_kafka_error_t *attempt(rd_kafka_t *rk, const transaction_job_t *asked, int millis) {
        switch (asked->what) {
        case CR_TRANSACT_INIT:
                return rd_kafka_init_transactions(rk, millis);
        case CR_TRANSACT_BEGIN:
                return rd_kafka_begin_transaction(rk);
        case CR_TRANSACT_COMMIT:
                return rd_kafka_commit_transaction(rk, millis);
        case CR_TRANSACT_ABORT:
                return rd_kafka_abort_transaction(rk, millis);
        default:
                return rd_kafka_send_offsets_to_transaction(rk, asked->offsets, asked->metadata,
                                                            asked->millis);
        }
}

/* What goes on in the background, and is to be asked for again. Offsets are
 * not: they have had the time that the caller gave them. */
static bool is_under_way(const transaction_job_t *asked, const rd_kafka_error_t *failed) {
        return asked->what != SEND_OFFSETS && rd_kafka_error_is_retriable(failed) &&
               rd_kafka_error_code(failed) == RD_KAFKA_RESP_ERR__TIMED_OUT;
}

/* @locality transaction lane */
static void run_transaction(cr_client_t *client, cr_job_t *job) {
        transaction_job_t *asked = (transaction_job_t *)job;
        rd_kafka_error_t *failed;
        int patience = TRY_MS;
        while ((failed = attempt(client->rk, asked, patience)) && is_under_way(asked, failed) &&
               !cr_client_closing(client)) {
                rd_kafka_error_destroy(failed);
                patience = cr_longer(patience);
        }
        cr_error_take(&asked->error, failed);
}

static void job_free(transaction_job_t *asked) {
        if (asked->offsets)
                rd_kafka_topic_partition_list_destroy(asked->offsets);
        if (asked->metadata)
                rd_kafka_consumer_group_metadata_destroy(asked->metadata);
        cr_tag_clear(&asked->tag);
        cr_free(asked);
}

static void begun(cr_client_t *client, uint32_t epoch) {
        cr_transaction_t *transaction = client->transaction;
        if (!client->delivery)
                return; /* the client has come to its end meanwhile */
        transaction->epoch = epoch;
        transaction->refused = false;
        transaction->answered = client->delivery->answered;
}

static void done_transaction(cr_client_t *client, cr_job_t *job) {
        transaction_job_t *asked = (transaction_job_t *)job;
        client->transaction->jobs--;
        if (asked->error.set) {
                cr_reply_error(client, &asked->tag, &asked->error);
        } else {
                if (asked->what == CR_TRANSACT_BEGIN)
                        begun(client, asked->epoch);
                cr_reply_ok(client, &asked->tag);
        }
        job_free(asked);
}

/* NULL when there is no memory. */
static transaction_job_t *job_new(const cr_input_t *in, uint8_t what, cr_text_t tag) {
        transaction_job_t *asked = cr_alloc(sizeof(*asked));
        if (!asked)
                return NULL;
        asked->job = (cr_job_t){.run = run_transaction, .done = done_transaction};
        asked->what = what;
        if (cr_tag_set(&asked->tag, in->caller, tag.bytes, tag.size))
                return asked;
        job_free(asked);
        return NULL;
}

/* False when the job was not taken. */
static bool submit(cr_client_t *client, transaction_job_t *asked) {
        bool taken = cr_lane_submit(&client->transaction_lane, &asked->job);
        client->transaction->jobs += taken;
        return taken;
}

/* As librdkafka does when a message was sent and failed. */
static void refuse_commit(cr_client_t *client, const cr_input_t *in, cr_text_t text) {
        cr_writer_t out = cr_writer();
        cr_error_t error;
        cr_error_code(&error, RD_KAFKA_RESP_ERR__INCONSISTENT,
                      "a message of it was refused: the result of its call says why");
        error.abortable = true;
        cr_write_error(&out, &error);
        cr_reply_to(client, in->caller, text.bytes, text.size, &out);
}

/* ---- the end ----------------------------------------------------------------- */

static rd_kafka_resp_err_t code_of(rd_kafka_error_t *error) {
        rd_kafka_resp_err_t code = rd_kafka_error_code(error);
        if (error)
                rd_kafka_error_destroy(error);
        return code;
}

/* A commit that was asked for bars the abort. After what was purged it fails, and then
 * the abort may be. */
static bool is_left(rd_kafka_t *rk) {
        switch (code_of(rd_kafka_abort_transaction(rk, TRY_MS))) {
        case RD_KAFKA_RESP_ERR_NO_ERROR:
                return true;
        case RD_KAFKA_RESP_ERR__TIMED_OUT:
                /* Refused while the abort is under way, and else waits until
                 * librdkafka's main thread has begun with it. */
                (void)code_of(rd_kafka_begin_transaction(rk));
                return true;
        case RD_KAFKA_RESP_ERR__CONFLICT:
                (void)code_of(rd_kafka_commit_transaction(rk, TRY_MS));
                return false;
        default:
                return false; /* maybe that of an earlier call, see TRY_MS */
        }
}

/* librdkafka (2.15.1 too) counts a request for partitions after it was sent. Once the
 * end is known another thread hands such a request back, and where it is quicker an
 * assertion (txn_req_cnt > 0) ends the process. In a transaction that is being aborted
 * none is sent. */
void cr_transaction_leave(const cr_client_t *client) {
        if (client->transaction && !is_left(client->rk))
                (void)is_left(client->rk);
}

/* ---- commands --------------------------------------------------------------- */

static bool is_transactional(cr_client_t *client, cr_reply_t *reply) {
        if (!client->transaction)
                cr_answer_own(client, reply, "not_transactional",
                              "the producer has no transactional.id");
        return client->transaction != NULL;
}

void cr_do_TRANSACT(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_bytes_t bytes = cr_bytes(in->data, in->size);
        uint8_t what = cr_take_u8(&bytes);
        uint32_t epoch = cr_take_u32(&bytes);
        cr_text_t tag = {0};
        transaction_job_t *asked;
        if (bytes.failed || bytes.at == bytes.size || what > CR_TRANSACT_FIRST_REPORT ||
            (what == CR_TRANSACT_BEGIN) != (epoch != 0)) {
                cr_answer_malformed(client, reply);
                return;
        }
        if (!is_transactional(client, reply))
                return;
        tag.bytes = (const char *)in->data + bytes.at;
        tag.size = bytes.size - bytes.at;
        if (what == CR_TRANSACT_BEGIN && client->delivery->draining) {
                cr_answer_own(client, reply, "closed",
                              "another client takes the place of this one");
                return;
        }
        if (what == CR_TRANSACT_FIRST_REPORT) {
                wait_first(client, in, tag, reply);
                return;
        }
        client->transaction->epoch = 0;
        if (what == CR_TRANSACT_COMMIT && client->transaction->refused) {
                refuse_commit(client, in, tag);
                return;
        }
        asked = job_new(in, what, tag);
        if (asked) {
                asked->epoch = epoch;
                if (submit(client, asked))
                        return;
                job_free(asked);
        }
        cr_answer_no_memory(client, reply);
}

/* NULL, with the reader failed, when it is not [{Topic, Partition, Offset}]. */
static rd_kafka_topic_partition_list_t *read_offsets(cr_reader_t *term) {
        int count = cr_read_list(term);
        rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new(count);
        for (int i = 0; i < count && cr_read_tuple(term, 3); i++) {
                cr_text_t text = cr_read_binary(term);
                int64_t partition = cr_read_integer(term);
                int64_t offset = cr_read_integer(term);
                char *topic = cr_copy(text.bytes, text.size);
                if (!topic || strlen(topic) != text.size || partition < 0 ||
                    partition > INT32_MAX || offset < 0)
                        term->failed = true;
                else
                        rd_kafka_topic_partition_list_add(offsets, topic, (int32_t)partition)
                                ->offset = offset;
                cr_free(topic);
        }
        cr_read_list_end(term, count);
        return offsets;
}

static bool read_metadata(transaction_job_t *asked, cr_text_t bytes, cr_error_t *error) {
        rd_kafka_error_t *failed =
                rd_kafka_consumer_group_metadata_read(&asked->metadata, bytes.bytes, bytes.size);
        cr_error_take(error, failed);
        return !failed;
}

void cr_do_SEND_OFFSETS(cr_client_t *client, const cr_input_t *in, cr_reply_t *reply) {
        cr_reader_t term = cr_reader(in->data, in->size);
        transaction_job_t *asked = NULL;
        rd_kafka_topic_partition_list_t *offsets = NULL;
        cr_text_t tag = {0}, metadata = {0};
        cr_error_t error = {0};
        int64_t millis = -1;
        if (cr_read_tuple(&term, 4)) {
                tag = cr_read_binary(&term);
                metadata = cr_read_binary(&term);
                offsets = read_offsets(&term);
                millis = cr_read_integer(&term);
        }
        if (!cr_reader_done(&term) || !tag.size || millis < 0 || millis > INT32_MAX)
                cr_answer_malformed(client, reply);
        else if (!is_transactional(client, reply))
                ;
        else if (!(asked = job_new(in, SEND_OFFSETS, tag)))
                cr_answer_no_memory(client, reply);
        else if (!read_metadata(asked, metadata, &error))
                cr_answer_error(client, reply, &error);
        else {
                asked->offsets = offsets;
                asked->millis = (int)millis;
                if (submit(client, asked))
                        return;
                offsets = NULL;
                cr_answer_no_memory(client, reply);
        }
        if (offsets)
                rd_kafka_topic_partition_list_destroy(offsets);
        if (asked)
                job_free(asked);
}
