#include <ei.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

void fuzz_fail(const char *file, int line, const char *what) {
        fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
        abort();
}

uint8_t feed_u8(feed_t *feed) {
        if (!feed->left)
                return 0;
        feed->left--;
        return *feed->at++;
}

uint16_t feed_u16(feed_t *feed) {
        unsigned high = feed_u8(feed);
        return (uint16_t)(high << 8 | feed_u8(feed));
}

uint64_t feed_u64(feed_t *feed) {
        uint64_t value = 0;
        for (int i = 0; i < 8; i++)
                value = value << 8 | feed_u8(feed);
        return value;
}

uint32_t feed_below(feed_t *feed, uint32_t end) {
        return (end > UINT8_MAX ? feed_u16(feed) : feed_u8(feed)) % end;
}

uint8_t *feed_bytes(feed_t *feed, size_t size, size_t *got) {
        uint8_t *bytes;
        *got = size < feed->left ? size : feed->left;
        bytes = malloc(*got ? *got : 1);
        if (*got)
                memcpy(bytes, feed->at, *got);
        feed->at += *got;
        feed->left -= *got;
        return bytes;
}

char *feed_text(feed_t *feed) {
        const uint8_t *zero = feed->left ? memchr(feed->at, 0, feed->left) : NULL;
        size_t size = zero ? (size_t)(zero - feed->at) : feed->left;
        char *text = malloc(size + 1);
        if (size)
                memcpy(text, feed->at, size);
        text[size] = '\0';
        feed->at += size;
        feed->left -= size;
        feed_u8(feed); /* the zero */
        return text;
}

bool is_term(const void *bytes, size_t size) {
        int at = 0, version;
        return size > 1 && !ei_decode_version(bytes, &at, &version) && !ei_skip_term(bytes, &at) &&
               (size_t)at == size;
}
