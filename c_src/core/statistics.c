#include "statistics.h"

#include <jansson.h>
#include <string.h>

#include "mem.h"

typedef struct statistics_job {
        cr_job_t job;
        char *json;      /* owned */
        cr_writer_t out; /* of the event; taken by done() */
} statistics_job_t;

static void write_value(cr_writer_t *out, json_t *value);

static void write_object(cr_writer_t *out, json_t *object) {
        const char *key;
        json_t *value;
        cr_write_map(out, (int)json_object_size(object));
        json_object_foreach(object, key, value) {
                cr_write_text(out, key);
                write_value(out, value);
        }
}

static void write_array(cr_writer_t *out, json_t *array) {
        size_t i, size = json_array_size(array);
        cr_write_list(out, (int)size);
        for (i = 0; i < size; i++)
                write_value(out, json_array_get(array, i));
        cr_write_list_end(out);
}

/* The parser bounds how deep this goes. */
static void write_value(cr_writer_t *out, json_t *value) {
        switch (json_typeof(value)) {
        case JSON_OBJECT:
                write_object(out, value);
                break;
        case JSON_ARRAY:
                write_array(out, value);
                break;
        case JSON_STRING:
                cr_write_binary(out, json_string_value(value), json_string_length(value));
                break;
        case JSON_INTEGER:
                cr_write_integer(out, json_integer_value(value));
                break;
        case JSON_REAL:
                cr_write_double(out, json_real_value(value));
                break;
        case JSON_TRUE:
        case JSON_FALSE:
                cr_write_bool(out, json_is_true(value));
                break;
        case JSON_NULL:
                cr_write_atom(out, "undefined");
                break;
        }
}

/* {statistics, Map}. @locality statistics lane */
static void run_statistics(cr_client_t *client, cr_job_t *job) {
        statistics_job_t *statistics = (statistics_job_t *)job;
        json_t *root = json_loads(statistics->json, 0, NULL);
        (void)client;
        statistics->out = cr_writer();
        cr_write_tuple(&statistics->out, 2);
        cr_write_atom(&statistics->out, "statistics");
        if (root)
                write_value(&statistics->out, root);
        else
                statistics->out.failed = true;
        json_decref(root);
}

static void statistics_free(statistics_job_t *statistics) {
        cr_free(statistics->json);
        cr_free(statistics);
}

static void done_statistics(cr_client_t *client, cr_job_t *job) {
        statistics_job_t *statistics = (statistics_job_t *)job;
        client->reading_statistics = false;
        cr_send_event(client, &statistics->out);
        statistics_free(statistics);
}

void cr_statistics_event(cr_client_t *client, const char *json) {
        statistics_job_t *statistics;
        if (!json || client->reading_statistics || !(statistics = cr_alloc(sizeof(*statistics))))
                return;
        statistics->job = (cr_job_t){.run = run_statistics, .done = done_statistics};
        statistics->json = cr_copy(json, strlen(json));
        client->reading_statistics =
                statistics->json && cr_lane_submit(&client->statistics_lane, &statistics->job);
        if (!client->reading_statistics)
                statistics_free(statistics);
}
