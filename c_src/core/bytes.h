/*
 * Reading and writing the packed formats: big-endian numbers behind a checked
 * position. A reader that has met the end stays failed and reads zeroes, so a
 * caller may read a whole record and ask once.
 */
#ifndef CREMA_BYTES_H
#define CREMA_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct cr_bytes {
        const unsigned char *data;
        size_t size;
        size_t at;
        bool failed;
} cr_bytes_t;

static inline cr_bytes_t cr_bytes(const void *data, size_t size) {
        return (cr_bytes_t){.data = data, .size = size};
}

static inline const unsigned char *cr_take(cr_bytes_t *in, size_t size) {
        const unsigned char *from = in->data + in->at;
        if (in->failed || size > in->size - in->at) {
                in->failed = true;
                return NULL;
        }
        in->at += size;
        return from;
}

/* Written out, it is one load. */
static inline uint32_t cr_read_u32(const unsigned char *from) {
        return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 |
               (uint32_t)from[3];
}

static inline uint8_t cr_take_u8(cr_bytes_t *in) {
        const unsigned char *from = cr_take(in, 1);
        return from ? *from : 0;
}
static inline uint16_t cr_take_u16(cr_bytes_t *in) {
        const unsigned char *from = cr_take(in, 2);
        return (uint16_t)(from ? from[0] << 8 | from[1] : 0);
}
static inline uint32_t cr_take_u32(cr_bytes_t *in) {
        const unsigned char *from = cr_take(in, 4);
        return from ? cr_read_u32(from) : 0;
}
static inline int32_t cr_take_i32(cr_bytes_t *in) {
        return (int32_t)cr_take_u32(in);
}
static inline uint64_t cr_take_u64(cr_bytes_t *in) {
        const unsigned char *from = cr_take(in, 8);
        return from ? (uint64_t)cr_read_u32(from) << 32 | cr_read_u32(from + 4) : 0;
}
static inline int64_t cr_take_i64(cr_bytes_t *in) {
        return (int64_t)cr_take_u64(in);
}

/* Writers move *to on; the caller has made the room. */
static inline void cr_put_uint(unsigned char **to, uint64_t value, size_t size) {
        for (size_t i = 0; i < size; i++)
                (*to)[i] = (unsigned char)(value >> (8 * (size - 1 - i)));
        *to += size;
}

static inline void cr_put_bytes(unsigned char **to, const void *bytes, size_t size) {
        if (size)
                memcpy(*to, bytes, size);
        *to += size;
}

#endif
