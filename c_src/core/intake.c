#include "intake.h"

#include "mem.h"

/* So many come at a time. Producers beyond them all, a quarter of a million, have none. */
#define CHUNK 64
#define CHUNKS 4096

struct cr_intake {
        pthread_mutex_t lock;
        uint32_t slot;       /* set once */
        uint32_t generation; /* under lock, as all below */
        bool open;
        cr_gathered_t *into;
        void *opaque;
        uint64_t messages, bytes; /* at most */
        cr_intake_t *next_free;   /* under free_lock */
};

static _Atomic(cr_intake_t *) chunks[CHUNKS];

static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
static cr_intake_t *first_free; /* under free_lock, as how many chunks there are */
static uint32_t chunk_count;

/* ---- the table ------------------------------------------------------------ */

/* Held for a copy's time: who meets another waits without going to sleep, where that can be
 * asked for. */
static void init_lock(pthread_mutex_t *lock) {
#ifdef __GLIBC__
        pthread_mutexattr_t spins;
        pthread_mutexattr_init(&spins);
        pthread_mutexattr_settype(&spins, PTHREAD_MUTEX_ADAPTIVE_NP);
        pthread_mutex_init(lock, &spins);
        pthread_mutexattr_destroy(&spins);
#else
        pthread_mutex_init(lock, NULL);
#endif
}

/* @precondition free_lock */
static void add_chunk(void) {
        cr_intake_t *chunk = chunk_count < CHUNKS ? cr_alloc(CHUNK * sizeof(*chunk)) : NULL;
        if (!chunk)
                return;
        for (uint32_t i = 0; i < CHUNK; i++) {
                init_lock(&chunk[i].lock);
                chunk[i].slot = chunk_count * CHUNK + i;
                chunk[i].next_free = first_free;
                first_free = &chunk[i];
        }
        atomic_store(&chunks[chunk_count++], chunk);
}

cr_intake_t *cr_intake_claim(void) {
        cr_intake_t *intake;
        pthread_mutex_lock(&free_lock);
        if (!first_free)
                add_chunk();
        intake = first_free;
        if (intake)
                first_free = intake->next_free;
        pthread_mutex_unlock(&free_lock);
        return intake;
}

void cr_intake_release(cr_intake_t *intake) {
        pthread_mutex_lock(&intake->lock);
        intake->open = false;
        intake->generation++;
        pthread_mutex_unlock(&intake->lock);
        pthread_mutex_lock(&free_lock);
        intake->next_free = first_free;
        first_free = intake;
        pthread_mutex_unlock(&free_lock);
}

/* Only its owner has it renamed: no lock is needed to ask. */
uint64_t cr_intake_key(const cr_intake_t *intake) {
        return (uint64_t)intake->slot << 32 | intake->generation;
}

static cr_intake_t *find(uint64_t key) {
        uint32_t slot = (uint32_t)(key >> 32);
        cr_intake_t *chunk = slot < CHUNK * CHUNKS ? atomic_load(&chunks[slot / CHUNK]) : NULL;
        return chunk ? &chunk[slot % CHUNK] : NULL;
}

/* ---- the client's side ---------------------------------------------------- */

static void *keep(cr_gathered_t *gathered, const unsigned char *from, size_t size) {
        unsigned char *to = &gathered->bytes[gathered->used];
        if (!from)
                return NULL;
        memcpy(to, from, size);
        gathered->used += size;
        return to;
}

void cr_gather(cr_gathered_t *gathered, const cr_message_t *message, void *opaque) {
        rd_kafka_message_t *to = &gathered->messages[gathered->count++];
        gathered->stick = gathered->stick && cr_message_sticks(message);
        cr_batch_put(to, message, opaque);
        to->payload = keep(gathered, message->value, message->value_size);
        to->key = keep(gathered, message->key, message->key_size);
}

bool cr_is_gatherable(const cr_message_t *message) {
        return cr_is_batchable(message) && message->key_size <= CR_INTAKE_LARGEST &&
               message->value_size <= CR_INTAKE_LARGEST - message->key_size;
}

void cr_intake_open(cr_intake_t *intake, cr_gathered_t *into, void *opaque, uint64_t messages,
                    uint64_t bytes) {
        pthread_mutex_lock(&intake->lock);
        intake->open = true;
        intake->into = into;
        intake->opaque = opaque;
        intake->messages = messages < CR_INTAKE_MOST ? messages : CR_INTAKE_MOST;
        intake->bytes = bytes < CR_INTAKE_ROOM ? bytes : CR_INTAKE_ROOM;
        pthread_mutex_unlock(&intake->lock);
}

void cr_intake_close(cr_intake_t *intake) {
        pthread_mutex_lock(&intake->lock);
        intake->open = false;
        pthread_mutex_unlock(&intake->lock);
}

/* ---- the callers' side ---------------------------------------------------- */

/* What produce_decode.c unpacks with a client, of the one form that needs none. */
static bool take_plain(cr_bytes_t *bytes, cr_bytes_t *topic, cr_message_t *message) {
        uint8_t flags = cr_take_u8(bytes);
        if (!(flags & CR_MESSAGE_TOPIC))
                return false;
        topic->size = cr_take_u16(bytes);
        topic->data = cr_take(bytes, topic->size);
        return cr_take_plain(bytes, flags & (uint8_t)~CR_MESSAGE_TOPIC, message) &&
               bytes->at == bytes->size && cr_is_gatherable(message);
}

/* The topic is told by its name. Each of the client's own configuration can be meant. */
static bool is_like(const cr_gathered_t *gathered, const cr_bytes_t *topic,
                    const cr_message_t *message) {
        return gathered->partition == message->partition && !gathered->topic->variant &&
               gathered->topic->size == topic->size &&
               memcmp(gathered->topic->name, topic->data, topic->size) == 0;
}

/* @precondition the intake's lock */
static bool has_room(const cr_intake_t *intake, const cr_message_t *message) {
        const cr_gathered_t *into = intake->into;
        return (uint64_t)into->count < intake->messages &&
               into->used + message->key_size + message->value_size <= intake->bytes;
}

/* @precondition the intake's lock, and that it is open for messages like this one */
static bool add(cr_intake_t *intake, cr_message_t *message) {
        if (!has_room(intake, message))
                return false;
        message->topic = intake->into->topic;
        cr_gather(intake->into, message, intake->opaque);
        return true;
}

bool cr_intake_join(cr_intake_t *intake, cr_message_t *message) {
        bool taken;
        if (!cr_is_gatherable(message))
                return false;
        pthread_mutex_lock(&intake->lock);
        taken = intake->open && intake->into->topic == message->topic &&
                intake->into->partition == message->partition && add(intake, message);
        pthread_mutex_unlock(&intake->lock);
        return taken;
}

bool cr_intake_command(const void *data, size_t size) {
        cr_bytes_t bytes = cr_bytes(data, size), topic = {.failed = false};
        cr_message_t message = {.partition = -1};
        uint64_t key = cr_take_u64(&bytes);
        cr_intake_t *intake = find(key);
        bool taken;
        if (!take_plain(&bytes, &topic, &message) || !intake)
                return false;
        pthread_mutex_lock(&intake->lock);
        taken = intake->generation == (uint32_t)key && intake->open &&
                is_like(intake->into, &topic, &message) && add(intake, &message);
        pthread_mutex_unlock(&intake->lock);
        return taken;
}
