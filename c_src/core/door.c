#include "door.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "credentials.h"
#include "mem.h"
#include "rdkafka_compat.h"

/* A bundle of all authorities of the world has a fifth of it. */
#define MAX_FILE ((off_t)1 << 20)

/* Where each may be given: as text, or as the name of a file. */
static const struct {
        const char *text;
        const char *file; /* NULL: never */
} places[CR_CREDENTIALS] = {
        [CR_CREDENTIAL_CA] = {"ssl.ca.pem", "ssl.ca.location"},
        [CR_CREDENTIAL_CERTIFICATE] = {"ssl.certificate.pem", "ssl.certificate.location"},
        [CR_CREDENTIAL_KEY] = {"ssl.key.pem", "ssl.key.location"},
        [CR_CREDENTIAL_PASSPHRASE] = {"ssl.key.password", NULL},
};

/* With one of these it is decided elsewhere what can be read. */
static const char *const loaders[] = {"ssl.providers", "ssl.engine.location"};

/* Text that may be a secret: its memory is wiped. */
typedef struct value {
        char *text; /* owned; NULL: there is none */
        size_t room;
} value_t;

typedef struct door {
        rd_kafka_conf_t *conf;
        cr_faults_t *faults, *warnings;
        const char *properties[CR_CREDENTIALS]; /* by which each is given */
        value_t values[CR_CREDENTIALS];
        cr_given_t given; /* borrowed from them */
} door_t;

bool cr_door_is_pem(const char *property) {
        size_t size = strlen(property);
        return size > 4 && strcmp(property + size - 4, ".pem") == 0;
}

static void add(cr_faults_t *to, const char *property, const char *text) {
        cr_faults_add(to, (cr_text_t){.bytes = property, .size = strlen(property)}, text);
}

static void forget(value_t *value) {
        cr_wipe(value->text, value->room);
        *value = (value_t){0};
}

static value_t room_for(size_t room) {
        char *text = cr_alloc(room);
        return (value_t){.text = text, .room = text ? room : 0};
}

/* What is set, which may be empty: librdkafka drops blanks before a value. There is
 * none, too, when memory is short, which librdkafka will find. */
static value_t value_of(const rd_kafka_conf_t *conf, const char *property) {
        value_t value = {0};
        size_t room = 0;
        if (rd_kafka_conf_get(conf, property, NULL, &room) != RD_KAFKA_CONF_OK || !room)
                return value;
        value = room_for(room);
        if (value.text && rd_kafka_conf_get(conf, property, value.text, &room) != RD_KAFKA_CONF_OK)
                forget(&value);
        return value;
}

static bool is_set_to(const rd_kafka_conf_t *conf, const char *property, const char *text) {
        value_t value = value_of(conf, property);
        bool is = value.text && (!text || strcmp(value.text, text) == 0);
        forget(&value);
        return is;
}

static bool is_set(const rd_kafka_conf_t *conf, const char *property) {
        return is_set_to(conf, property, NULL);
}

static value_t read_all(int file, size_t size) {
        value_t value = room_for(size + 1);
        size_t got = 0;
        ssize_t more = 1;
        while (value.text && got < size && more > 0) {
                more = read(file, value.text + got, size - got);
                got += more > 0 ? (size_t)more : 0;
        }
        return value;
}

/* Nothing of a folder, which may hold authorities, one a file; nor of a pipe, which
 * can be read only once. */
static value_t contents(door_t *door, const char *property, const char *path) {
        struct stat about;
        value_t value = {0};
        int file = -1, failed = stat(path, &about);
        char text[256];
        if (!failed && (!S_ISREG(about.st_mode) || about.st_size > MAX_FILE))
                return value;
        if (!failed)
                failed = (file = open(path, O_RDONLY | O_CLOEXEC)) < 0;
        if (failed) {
                snprintf(text, sizeof(text), "names a file that cannot be read: %s",
                         strerror(errno));
                add(door->faults, property, text);
                return value;
        }
        value = read_all(file, (size_t)about.st_size);
        close(file);
        return value;
}

/* "probe" is not a file: librdkafka looks for the system's authorities. */
static bool is_file(const value_t *path) {
        return path->text && strcmp(path->text, "probe") != 0;
}

static void take(door_t *door, cr_credential_t which) {
        value_t path;
        door->properties[which] = places[which].text;
        door->values[which] = value_of(door->conf, places[which].text);
        if (door->values[which].text || !places[which].file)
                return;
        path = value_of(door->conf, places[which].file);
        if (is_file(&path)) {
                door->properties[which] = places[which].file;
                door->values[which] = contents(door, places[which].file, path.text);
                door->given.unseen[which] = !door->values[which].text;
        }
        forget(&path);
}

static void found(void *to, cr_credential_t about, bool warning, const char *text) {
        door_t *door = to;
        add(warning ? door->warnings : door->faults, door->properties[about], text);
}

/* Without TLS librdkafka reads none of them. */
static bool is_judged(const rd_kafka_conf_t *conf) {
        for (size_t i = 0; i < sizeof(loaders) / sizeof(loaders[0]); i++) {
                if (is_set(conf, loaders[i]))
                        return false;
        }
        return is_set_to(conf, "security.protocol", "ssl") ||
               is_set_to(conf, "security.protocol", "sasl_ssl");
}

static bool has_authority_file(const rd_kafka_conf_t *conf) {
        value_t path = value_of(conf, "ssl.ca.location");
        bool has = is_file(&path);
        forget(&path);
        return has;
}

static void judge(door_t *door) {
        bool verified = !is_set_to(door->conf, "enable.ssl.certificate.verification", "false");
        /* It has both of the client's, and goes before the others. */
        bool keystore = is_set(door->conf, "ssl.keystore.location");
        int already = door->faults->count;
        for (int i = 0; i < CR_CREDENTIALS; i++) {
                if (i == CR_CREDENTIAL_CA || !keystore)
                        take(door, (cr_credential_t)i);
                door->given.text[i] = door->values[i].text;
        }
        door->given.other_authorities =
                !verified || (door->properties[CR_CREDENTIAL_CA] == places[CR_CREDENTIAL_CA].text &&
                              has_authority_file(door->conf));
        if (!verified)
                add(door->warnings, "enable.ssl.certificate.verification",
                    "is false: whoever answers is taken for a broker, and is sent passwords and"
                    " messages");
        if (door->faults->count == already)
                cr_credentials_check(&door->given, time(NULL), found, door);
}

/* Before 2.8 librdkafka sends the first certificate of ssl.certificate.pem only (its
 * issue 4894). What it does not send OpenSSL looks for among the authorities, where
 * those between do no harm: without what has signed them nothing is trusted for
 * them. */
static void complete_chain(door_t *door) {
        static const char property[] = "ssl.certificate.pem";
        char *between, text[256];
        value_t authorities, all = {0};
        if (cr_sends_chain() || !is_set(door->conf, property) ||
            !door->values[CR_CREDENTIAL_CERTIFICATE].text ||
            !(between = cr_credentials_between(door->values[CR_CREDENTIAL_CERTIFICATE].text)))
                return;
        authorities = value_of(door->conf, "ssl.ca.pem");
        if (!authorities.text && !has_authority_file(door->conf)) {
                add(door->warnings, property,
                    "has more certificates, which librdkafka before 2.8.0 sends only where"
                    " ssl.ca.pem or ssl.ca.location is given as well");
        } else {
                all = room_for(authorities.room + strlen(between) + 2);
                snprintf(all.text, all.room, "%s\n%s", authorities.text ? authorities.text : "",
                         between);
                if (!all.text || rd_kafka_conf_set(door->conf, "ssl.ca.pem", all.text, text,
                                                   sizeof(text)) != RD_KAFKA_CONF_OK)
                        add(door->faults, property, all.text ? text : "there is no memory for it");
        }
        forget(&all);
        cr_free(between);
        forget(&authorities);
}

void cr_door_pass(rd_kafka_conf_t *conf, cr_faults_t *faults, cr_faults_t *warnings) {
        door_t door = {.conf = conf, .faults = faults, .warnings = warnings};
        if (!is_judged(conf))
                return;
        judge(&door);
        if (!faults->count)
                complete_chain(&door);
        for (int i = 0; i < CR_CREDENTIALS; i++)
                forget(&door.values[i]);
}
