/* What a C program can do in a wasm cell, and a small msgpack for its messages.

   Values are packed, as everywhere on the wire: nil, booleans, integers, floats, strings and bytes are msgpack's own, a tuple is an array,
   a dict a map, and a pid an extension. Pids are numbers here, handles: a program can name those that it was given, and BL_SELF.
   Functions that are asked to receive fill a bl_header and a buffer of the caller's. The first message is the tuple of the arguments of
   spawn_cell. */
#ifndef BEAMLIKE_H
#define BEAMLIKE_H

#include <stddef.h>
#include <stdint.h>

typedef int64_t bl_pid;

#define BL_SELF ((bl_pid)-1)
#define BL_FOREVER (-1)  /* timeout_ms */

enum { BL_MESSAGE = 1, BL_CALL = 3, BL_ANSWER = 5, BL_DOWN = 13 };            /* kinds */
enum { BL_TIMED_OUT = -1, BL_TOO_SMALL = -2, BL_TOO_LONG = -3 };              /* results; 0 or a length is good */

typedef struct bl_header {
    uint32_t kind;
    uint32_t length;  /* bytes of the value */
    bl_pid from;      /* 0: not known; a message says itself whom to answer */
    uint64_t call;    /* of a BL_CALL, for bl_reply */
} bl_header;

_Static_assert(sizeof(bl_header) == 24, "as the host writes it");

#define BL_IMPORT(name) __attribute__((import_module("beamlike"), import_name(#name)))
#define BL_EXPORT(name) __attribute__((export_name(#name)))

/* The next message or call. Returns its length; BL_TIMED_OUT; BL_TOO_SMALL: it stays the next, and header says how long it is. */
BL_IMPORT(receive) int32_t bl_receive(bl_header *header, void *buffer, uint32_t capacity, int32_t timeout_ms);

/* Send a message. A pid that this program was not given ends it. Returns 0, or BL_TOO_LONG. */
BL_IMPORT(send) int32_t bl_send(bl_pid to, const void *message, uint32_t length);

/* Answer a BL_CALL, once. Returns 0, or BL_TOO_LONG. */
BL_IMPORT(reply) int32_t bl_reply(uint64_t call, const void *answer, uint32_t length);

/* Ask, and wait for the BL_ANSWER, or the reason that there is none, BL_DOWN. Returns as bl_receive, and BL_TOO_LONG. An answer that is
   BL_TOO_SMALL's comes by the next bl_receive, one that comes after the timeout never. */
BL_IMPORT(call) int32_t bl_call(bl_pid to, const void *request, uint32_t length, bl_header *header, void *buffer, uint32_t capacity,
                                int32_t timeout_ms);

BL_IMPORT(self) bl_pid bl_self(void);
BL_IMPORT(log) void bl_log(const void *text, uint32_t length);   /* to stderr */
BL_IMPORT(now) int64_t bl_now(void);                             /* nanoseconds of a clock that only runs forward */
BL_IMPORT(exit) _Noreturn void bl_exit(int32_t status);          /* 0: normal */

/* --- msgpack ---

   A bl_reader or bl_writer is over a buffer, and has failed for good when something was not there, or had no room: look at `failed` once,
   at the end. Nothing is read or written outside of the buffer. */

typedef struct bl_reader {
    const uint8_t *at, *end;
    int failed;
} bl_reader;

typedef struct bl_writer {
    uint8_t *at, *end;
    uint8_t *start;
    int failed;
} bl_writer;

static inline bl_reader bl_read(const void *buffer, uint32_t length) {
    return (bl_reader){(const uint8_t *)buffer, (const uint8_t *)buffer + length, 0};
}

static inline bl_writer bl_write(void *buffer, uint32_t capacity) {
    return (bl_writer){(uint8_t *)buffer, (uint8_t *)buffer + capacity, (uint8_t *)buffer, 0};
}

static inline uint32_t bl_written(const bl_writer *w) { return (uint32_t)(w->at - w->start); }

/* The next `length` bytes, or NULL. */
static inline const uint8_t *bl_take(bl_reader *r, uint32_t length) {
    if (r->failed || length > (uint32_t)(r->end - r->at)) {
        r->failed = 1;
        return NULL;
    }
    r->at += length;
    return r->at - length;
}

static inline uint64_t bl_big_endian(bl_reader *r, uint32_t bytes) {
    const uint8_t *at = bl_take(r, bytes);
    uint64_t value = 0;
    for (uint32_t i = 0; at && i < bytes; i++) value = value << 8 | at[i];
    return value;
}

/* What the next value is, by its first byte; 0xc1, which msgpack does not use, if there is none. */
static inline uint8_t bl_next(const bl_reader *r) { return r->failed || r->at == r->end ? 0xc1 : *r->at; }

/* The length that the first byte of a value gives or that follows it. `fixed` of `mask` bits are in the byte itself. */
static inline uint32_t bl_length(bl_reader *r, uint8_t fixed, uint8_t mask, uint8_t one, uint8_t two, uint8_t four) {
    uint8_t first = bl_next(r);
    bl_take(r, 1);
    if (mask && (first & (uint8_t)~mask) == fixed) return first & mask;
    if (one && first == one) return (uint32_t)bl_big_endian(r, 1);
    if (first == two) return (uint32_t)bl_big_endian(r, 2);
    if (first == four) return (uint32_t)bl_big_endian(r, 4);
    r->failed = 1;
    return 0;
}

static inline uint32_t bl_read_tuple(bl_reader *r) { return bl_length(r, 0x90, 0x0f, 0, 0xdc, 0xdd); }

static inline const uint8_t *bl_read_str(bl_reader *r, uint32_t *length) {
    *length = bl_length(r, 0xa0, 0x1f, 0xd9, 0xda, 0xdb);
    return bl_take(r, *length);
}

static inline const uint8_t *bl_read_bytes(bl_reader *r, uint32_t *length) {
    *length = bl_length(r, 0, 0, 0xc4, 0xc5, 0xc6);
    return bl_take(r, *length);
}

/* An integer that fits; a larger one fails. */
static inline int64_t bl_read_int(bl_reader *r) {
    uint8_t first = bl_next(r);
    bl_take(r, 1);
    if (first <= 0x7f || first >= 0xe0) return (int8_t)first;
    if (first >= 0xcc && first <= 0xcf) {
        uint64_t value = bl_big_endian(r, 1u << (first - 0xcc));
        if (value > INT64_MAX) r->failed = 1;
        return (int64_t)value;
    }
    if (first == 0xd0) return (int8_t)bl_big_endian(r, 1);
    if (first == 0xd1) return (int16_t)bl_big_endian(r, 2);
    if (first == 0xd2) return (int32_t)bl_big_endian(r, 4);
    if (first == 0xd3) return (int64_t)bl_big_endian(r, 8);
    r->failed = 1;
    return 0;
}

enum { BL_EXT_PID = 19 };
#define BL_OUTSIDE "outside"  /* the node of all pids that a program is given */
#define BL_CELL "cell"        /* its own */

static inline bl_pid bl_read_pid(bl_reader *r) {
    if (bl_next(r) != 0xc7) r->failed = 1;
    bl_take(r, 1);
    uint32_t length = (uint32_t)bl_big_endian(r, 1), code = (uint32_t)bl_big_endian(r, 1);
    bl_big_endian(r, 8);  /* the incarnation */
    bl_pid pid = (bl_pid)bl_big_endian(r, 8);
    if (code != BL_EXT_PID || length < 16) r->failed = 1;
    const uint8_t *node = r->failed ? NULL : bl_take(r, length - 16);
    if (node == NULL) return 0;
    return length == 16 + sizeof BL_CELL - 1 && *node == 'c' ? BL_SELF : pid;
}

static inline void bl_put(bl_writer *w, const void *data, uint32_t length) {
    if (w->failed || length > (uint32_t)(w->end - w->at)) {
        w->failed = 1;
        return;
    }
    for (uint32_t i = 0; i < length; i++) w->at[i] = ((const uint8_t *)data)[i];
    w->at += length;
}

static inline void bl_put_big_endian(bl_writer *w, uint8_t first, uint64_t value, uint32_t bytes) {
    uint8_t out[9] = {first};
    for (uint32_t i = 0; i < bytes; i++) out[bytes - i] = (uint8_t)(value >> 8 * i);
    bl_put(w, out, bytes + 1);
}

static inline void bl_write_nil(bl_writer *w) { bl_put(w, "\xc0", 1); }
static inline void bl_write_bool(bl_writer *w, int value) { bl_put(w, value ? "\xc3" : "\xc2", 1); }

static inline void bl_write_int(bl_writer *w, int64_t value) {
    if (value >= -32 && value <= 127)
        bl_put_big_endian(w, (uint8_t)value, 0, 0);
    else
        bl_put_big_endian(w, 0xd3, (uint64_t)value, 8);
}

static inline void bl_write_tuple(bl_writer *w, uint32_t items) {
    if (items < 16)
        bl_put_big_endian(w, (uint8_t)(0x90 | items), 0, 0);
    else
        bl_put_big_endian(w, 0xdd, items, 4);
}

static inline void bl_write_str(bl_writer *w, const void *text, uint32_t length) {
    bl_put_big_endian(w, 0xdb, length, 4);
    bl_put(w, text, length);
}

static inline void bl_write_bytes(bl_writer *w, const void *data, uint32_t length) {
    bl_put_big_endian(w, 0xc6, length, 4);
    bl_put(w, data, length);
}

static inline void bl_write_pid(bl_writer *w, bl_pid pid) {
    int own = pid == BL_SELF;
    const char *node = own ? BL_CELL : BL_OUTSIDE;
    uint32_t length = own ? sizeof BL_CELL - 1 : sizeof BL_OUTSIDE - 1;
    bl_put_big_endian(w, 0xc7, (uint64_t)(16 + length) << 8 | BL_EXT_PID, 2);
    for (int half = 0; half < 2; half++) {
        uint8_t word[8] = {0};
        uint64_t value = half == 0 || own ? 1 : (uint64_t)pid;
        for (int i = 0; i < 8; i++) word[7 - i] = (uint8_t)(value >> 8 * i);
        bl_put(w, word, 8);
    }
    bl_put(w, node, length);
}

#endif
