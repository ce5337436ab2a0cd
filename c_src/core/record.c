#include "record.h"

#include <stdint.h>
#include <string.h>

/* Its varint is of four bytes, as the size in older formats is. */
#define SIZE_MOST ((size_t)1 << 27)

/* No page of memory is smaller. */
#define PAGE_LEAST 4096

/* A varint of a signed number, as records have them; returns its length. */
static size_t put_size(unsigned char *varint, size_t size) {
        size_t rest = size << 1, length = 0;
        for (; rest > 0x7f; rest >>= 7)
                varint[length++] = (unsigned char)(rest | 0x80);
        varint[length++] = (unsigned char)rest;
        return length;
}

/*
 * In format 2 a varint of the size stands before the value, and behind it the number
 * of headers. The older formats have no headers, and what is behind a value may be
 * behind all that was received: nothing there is read, for before it is the size in
 * four bytes, highest first, which never end as the varint does. One of a single
 * byte is twice the size; the first of more has its highest bit set, and the size in
 * four bytes would be larger than what such a varint holds.
 *
 * librdkafka takes a record that ends with its value for one without headers: of such
 * a one, which only a faulty broker sends, the byte behind it may be behind all that
 * was received, too. Whatever is there, the answer is right; and it can be read, since
 * it is on a page of the value's.
 */
bool cr_record_is_bare(const unsigned char *value, size_t size) {
        unsigned char varint[4];
        size_t length;
        if (!value || !size || size >= SIZE_MOST)
                return false;
        length = put_size(varint, size);
        return !memcmp(value - length, varint, length) && (uintptr_t)(value + size) % PAGE_LEAST &&
               !value[size];
}
