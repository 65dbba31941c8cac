/* What the C programs that test the ring share: a pair in private memory, and messages that tell whether they are whole. */
#pragma once
#define _GNU_SOURCE
#include <stdint.h>

#ifdef STOP_AT_STORES
void stop_at_store(void);
#define BL_STORE_HOOK() stop_at_store()
#endif
#include "ring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY 4096u /* the smallest: it wraps often, and a record takes at most 472 bytes */
#define LONGEST 8192u
#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

typedef struct pair {
    void *memory;
    uint64_t size;
    bl_writer writer, back_writer; /* of side 0, of side 1 */
    bl_reader reader, back_reader; /* of side 1, of side 0 */
} pair;

/* `memory` as bl_pair_format wants it. */
static inline void open_pair(pair *p, void *memory) {
    p->memory = memory;
    p->size = bl_pair_size(CAPACITY, CAPACITY);
    CHECK(bl_pair_format(memory, p->size, CAPACITY, CAPACITY) == 0);
    CHECK(bl_open(memory, p->size, 0, LONGEST, &p->writer, &p->back_reader) == 0);
    CHECK(bl_open(memory, p->size, 1, LONGEST, &p->back_writer, &p->reader) == 0);
}

static inline uint64_t scramble(uint64_t x) { /* splitmix64 */
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Message number n: everything about it follows from n. Every eighth takes several records. */
static inline uint32_t message(uint64_t n, uint8_t payload[LONGEST]) {
    const uint64_t x = scramble(n);
    const uint32_t length = (uint32_t)(x % 8 == 0 ? x / 8 % 3000 : x / 8 % 200);
    for (uint32_t i = 0; i < length; i++) payload[i] = (uint8_t)(n * 31 + i * 7 + (i >> 8));
    return length;
}

/* Write message number n from *offset on. As bl_write_part. */
static inline int write_message(bl_writer *w, uint64_t n, uint32_t *offset) {
    uint8_t payload[LONGEST] = {0};
    const uint32_t length = message(n, payload);
    const int outcome = bl_write_part(w, (uint8_t)(1 + n % 255), (uint8_t)(n % 128 * 2), n, ~n, scramble(n), payload, length, offset);
    return outcome >= 0 && *offset < length ? -BL_EAGAIN : outcome;
}

/* Read a message, which must be number n and whole. 0 or what bl_read returns if it is negative. */
static inline int read_message(bl_reader *r, uint64_t n, uint8_t buffer[LONGEST]) {
    uint8_t expected[LONGEST];
    bl_record record;
    const int64_t length = bl_read(r, &record, buffer, LONGEST);
    if (length < 0) return (int)length;
    CHECK(record.to == n && record.from == ~n && record.ref == scramble(n));
    CHECK(record.kind == 1 + n % 255 && record.flags == n % 128 * 2);
    CHECK((uint32_t)length == message(n, expected) && record.length == length);
    CHECK(memcmp(buffer, expected, (size_t)length) == 0);
    return 0;
}

static inline uint64_t count_of(char **argv, uint64_t normally) { return normally * strtoull(argv[1], NULL, 10); }
