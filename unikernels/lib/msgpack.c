/* Values: the part of msgpack that beamlike speaks, bounded. What is not canonical is read as well. */
#include "uk.h"

enum { PID = 19, DEEPEST = 64 };
#define OUTSIDE "outside" /* the node of all pids that a program is given */
#define OWN "cell"        /* its own */

/* ---- reading ---- */

/* The next `length` bytes, or NULL. */
static const uint8_t *take(uk_reader *r, uint32_t length) {
    if (r->failed || length > (size_t)(r->end - r->at)) {
        r->failed = 1;
        return NULL;
    }
    r->at += length;
    return r->at - length;
}

static uint64_t number(uk_reader *r, uint32_t bytes) {
    const uint8_t *at = take(r, bytes);
    uint64_t value = 0;
    for (uint32_t i = 0; at != NULL && i < bytes; i++) value = value << 8 | at[i];
    return value;
}

/* What the next value begins with; 0xc1, which msgpack does not use, if there is none. */
static uint8_t peek(const uk_reader *r) { return r->failed || r->at == r->end ? 0xc1 : *r->at; }

/* By the first byte, from 0xc0 on. */
static const uint8_t types[32] = {
    UK_NIL,   UK_NOTHING, UK_BOOL, UK_BOOL, UK_BYTES, UK_BYTES, UK_BYTES, UK_OTHER, UK_OTHER, UK_OTHER, UK_FLOAT, UK_FLOAT,
    UK_INT,   UK_INT,     UK_INT,  UK_INT,  UK_INT,   UK_INT,   UK_INT,   UK_INT,   UK_OTHER, UK_OTHER, UK_OTHER, UK_OTHER,
    UK_OTHER, UK_STR,     UK_STR,  UK_STR,  UK_TUPLE, UK_TUPLE, UK_MAP,   UK_MAP,
};

uk_type uk_next(const uk_reader *r) {
    const uint8_t first = peek(r);
    if (first <= 0x7f || first >= 0xe0) return UK_INT;
    if (first <= 0x8f) return UK_MAP;
    if (first <= 0x9f) return UK_TUPLE;
    if (first <= 0xbf) return UK_STR;
    if (first == 0xc7 && r->end - r->at >= 3 && r->at[2] == PID) return UK_PID;
    return (uk_type)types[first - 0xc0];
}

/* The length that the first byte gives, of `mask` bits beside `fixed`, or that follows it in so many bytes: 1 after `one`, 2 after the next, 4. */
static uint32_t length_of(uk_reader *r, uint8_t fixed, uint8_t mask, uint8_t one, uint8_t two) {
    const uint8_t first = peek(r);
    take(r, 1);
    if (mask && (first & (uint8_t)~mask) == fixed) return first & mask;
    if (one && first == one) return (uint32_t)number(r, 1);
    if (first == two) return (uint32_t)number(r, 2);
    if (first == two + 1) return (uint32_t)number(r, 4);
    r->failed = 1;
    return 0;
}

void uk_read_nil(uk_reader *r) {
    if (peek(r) != 0xc0) r->failed = 1;
    take(r, 1);
}

int uk_read_bool(uk_reader *r) {
    const uint8_t first = peek(r);
    if (first != 0xc2 && first != 0xc3) r->failed = 1;
    take(r, 1);
    return !r->failed && first == 0xc3;
}

int64_t uk_read_int(uk_reader *r) {
    const uint8_t first = peek(r);
    take(r, 1);
    if (first <= 0x7f || first >= 0xe0) return (int8_t)first;
    if (first >= 0xcc && first <= 0xcf) {
        const uint64_t value = number(r, 1u << (first - 0xcc));
        if (value > INT64_MAX) r->failed = 1;
        return r->failed ? 0 : (int64_t)value;
    }
    switch (first) {
        case 0xd0: return (int8_t)number(r, 1);
        case 0xd1: return (int16_t)number(r, 2);
        case 0xd2: return (int32_t)number(r, 4);
        case 0xd3: return (int64_t)number(r, 8);
    }
    r->failed = 1;
    return 0;
}

double uk_read_float(uk_reader *r) {
    union { uint64_t bits; double value; } wide;
    union { uint32_t bits; float value; } narrow;
    switch (peek(r)) {
        case 0xca:
            take(r, 1);
            narrow.bits = (uint32_t)number(r, 4);
            return r->failed ? 0 : (double)narrow.value;
        case 0xcb:
            take(r, 1);
            wide.bits = number(r, 8);
            return r->failed ? 0 : wide.value;
    }
    return (double)uk_read_int(r);
}

static __attribute__((noinline)) const uint8_t *taken(uk_reader *r, uint32_t *length) {
    const uint8_t *at = take(r, *length);
    if (at == NULL) *length = 0;
    return at;
}

const char *uk_read_str(uk_reader *r, uint32_t *length) {
    *length = length_of(r, 0xa0, 0x1f, 0xd9, 0xda);
    return (const char *)taken(r, length);
}

const uint8_t *uk_read_bytes(uk_reader *r, uint32_t *length) {
    if (uk_next(r) == UK_STR) return (const uint8_t *)uk_read_str(r, length);
    *length = length_of(r, 0, 0, 0xc4, 0xc5);
    return taken(r, length);
}

/* There cannot be more values than bytes left. */
static uint32_t items(uk_reader *r, uint32_t count, uint32_t bytes) {
    if (count > (size_t)(r->end - r->at) / bytes) r->failed = 1;
    return r->failed ? 0 : count;
}

uint32_t uk_read_tuple(uk_reader *r) { return items(r, length_of(r, 0x90, 0x0f, 0, 0xdc), 1); }

uint32_t uk_read_map(uk_reader *r) { return items(r, length_of(r, 0x80, 0x0f, 0, 0xde), 2); }

uk_pid uk_read_pid(uk_reader *r) {
    if (uk_next(r) != UK_PID) r->failed = 1;
    take(r, 1);
    const uint32_t length = (uint32_t)number(r, 1);
    take(r, 1);
    number(r, 8); /* the incarnation */
    const uk_pid serial = (uk_pid)number(r, 8);
    if (length < 16 || serial <= 0) r->failed = 1;
    const uint8_t *node = r->failed ? NULL : take(r, length - 16);
    if (node == NULL) return 0;
    return length == 16 + sizeof OWN - 1 && memcmp(node, OWN, sizeof OWN - 1) == 0 ? -serial : serial;
}

void uk_skip(uk_reader *r) {
    uint32_t left[DEEPEST]; /* values that follow, at each depth */
    uint32_t depth = 0, length;
    left[0] = 1;
    for (;;) {
        while (left[depth] == 0) {
            if (depth-- == 0) return;
        }
        left[depth]--;
        uint32_t inner = 0;
        switch (uk_next(r)) {
            case UK_NIL: uk_read_nil(r); break;
            case UK_BOOL: uk_read_bool(r); break;
            case UK_FLOAT: uk_read_float(r); break;
            case UK_STR: case UK_BYTES: uk_read_bytes(r, &length); break;
            case UK_TUPLE: inner = uk_read_tuple(r); break;
            case UK_MAP: inner = 2 * uk_read_map(r); break;
            case UK_INT: /* of 64 bits as well, whatever they are */
                take(r, peek(r) >= 0xcc && peek(r) <= 0xd3 ? 1 + (1u << (peek(r) & 3)) : 1);
                break;
            case UK_PID: case UK_OTHER: {
                const uint8_t first = peek(r);
                take(r, 1);
                length = first >= 0xd4 ? 1u << (first - 0xd4) : (uint32_t)number(r, 1u << (first - 0xc7));
                take(r, 1);
                take(r, length);
                break;
            }
            default: r->failed = 1;
        }
        if (r->failed) return;
        if (inner > 0) {
            if (++depth == DEEPEST) {
                r->failed = 1;
                return;
            }
            left[depth] = inner;
        }
    }
}

/* ---- writing ---- */

static void put(uk_writer *w, const void *data, uint32_t length) {
    if (w->failed || length > (size_t)(w->end - w->at)) {
        w->failed = 1;
        return;
    }
    memcpy(w->at, data, length);
    w->at += length;
}

/* A first byte, and a number after it. */
static void head(uk_writer *w, uint8_t first, uint64_t value, uint32_t bytes) {
    uint8_t out[9];
    out[0] = first;
    for (uint32_t i = 0; i < bytes; i++) out[bytes - i] = (uint8_t)(value >> 8 * i);
    put(w, out, bytes + 1);
}

/* A length in the first byte, if it is less than `fewer`, or after it in 1, 2 or 4 bytes. `one` 0: not in 1. */
static void size(uk_writer *w, uint32_t length, uint8_t fixed, uint32_t fewer, uint8_t one, uint8_t two) {
    if (length < fewer)
        head(w, (uint8_t)(fixed | length), 0, 0);
    else if (one && length <= UINT8_MAX)
        head(w, one, length, 1);
    else if (length <= UINT16_MAX)
        head(w, two, length, 2);
    else
        head(w, two + 1, length, 4);
}

void uk_write_nil(uk_writer *w) { head(w, 0xc0, 0, 0); }
void uk_write_bool(uk_writer *w, int value) { head(w, value ? 0xc3 : 0xc2, 0, 0); }

void uk_write_int(uk_writer *w, int64_t value) {
    if (value >= -32 && value <= 127)
        head(w, (uint8_t)value, 0, 0);
    else if (value >= 0 && value <= UINT32_MAX)
        head(w, 0xce, (uint64_t)value, 4);
    else
        head(w, 0xd3, (uint64_t)value, 8);
}

void uk_write_float(uk_writer *w, double value) {
    union { double value; uint64_t bits; } wide = {value};
    head(w, 0xcb, wide.bits, 8);
}

void uk_write_str(uk_writer *w, const char *text, uint32_t length) {
    size(w, length, 0xa0, 32, 0xd9, 0xda);
    put(w, text, length);
}

void uk_write_bytes(uk_writer *w, const void *data, uint32_t length) {
    size(w, length, 0, 0, 0xc4, 0xc5);
    put(w, data, length);
}

void uk_write_tuple(uk_writer *w, uint32_t items) { size(w, items, 0x90, 16, 0, 0xdc); }
void uk_write_map(uk_writer *w, uint32_t pairs) { size(w, pairs, 0x80, 16, 0, 0xde); }

void uk_write_pid(uk_writer *w, uk_pid pid) {
    const char *const node = pid < 0 ? OWN : OUTSIDE;
    const uint32_t length = pid < 0 ? sizeof OWN - 1 : sizeof OUTSIDE - 1;
    const uint64_t serial = pid < 0 ? -(uint64_t)pid : (uint64_t)pid;
    const uint8_t begin[] = {0xc7, (uint8_t)(16 + length), PID, 0, 0, 0, 0, 0, 0, 0};
    put(w, begin, sizeof begin);
    head(w, 1, serial, 8); /* the incarnation's last byte, and the serial */
    put(w, node, length);
}

void uk_write_packed(uk_writer *w, const void *value, uint32_t length) { put(w, value, length); }
