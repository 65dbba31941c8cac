/* A hash table: calls ("put", key, value), ("get", key), ("delete", key), ("size",). Keys are a str or bytes, values whatever can be sent; what
   was there before is answered, nil if nothing was; "full" if there is no room. Messages of the same do it without an answer. */
#include "uk.h"

enum { SLOTS = 1 << 14, ROOM = 8 << 20 }; /* a power of two; bytes of keys and values together */

/* Where an entry is in `room`: key and value, one behind the other. An empty slot has no key; a deleted one no value. */
typedef struct slot {
    uint32_t at, key, value, is_used;
} slot;

static slot slots[SLOTS];
static uint8_t room[ROOM];
static uint32_t used, held, count; /* bytes of room: up to where, and those that somebody has; entries */
static uint8_t out[70000];

static uint32_t hash(const uint8_t *key, uint32_t length) {
    uint32_t h = 2166136261u; /* FNV-1a */
    for (uint32_t i = 0; i < length; i++) h = (h ^ key[i]) * 16777619u;
    return h;
}

/* The slot that has the key, or the one to put it into; NULL if all are taken. */
static slot *find(const uint8_t *key, uint32_t length) {
    slot *free = NULL;
    for (uint32_t i = hash(key, length), looks = 0; looks < SLOTS; i++, looks++) {
        slot *s = &slots[i & (SLOTS - 1)];
        if (!s->is_used) return free != NULL ? free : s;
        if (s->value == 0 && free == NULL) free = s;
        if (s->value != 0 && s->key == length && memcmp(room + s->at, key, length) == 0) return s;
    }
    return free;
}

/* Move the entries together. */
static void compact(void) {
    static uint8_t copy[ROOM];
    uint32_t to = 0;
    for (slot *s = slots; s < slots + SLOTS; s++) {
        if (s->value == 0) continue;
        memcpy(copy + to, room + s->at, s->key + s->value);
        s->at = to;
        to += s->key + s->value;
    }
    memcpy(room, copy, to);
    used = to;
}

static void forget(slot *s) {
    held -= s->key + s->value;
    s->value = 0;
    count--;
}

static int put(slot *s, const uint8_t *key, uint32_t key_length, const uint8_t *value, uint32_t length) {
    const uint64_t need = (uint64_t)key_length + length, freed = s->value != 0 ? s->key + s->value : 0;
    if (held - freed + need > ROOM) return 0; /* what was there stays */
    if (s->value != 0) forget(s);
    if (used + need > ROOM) compact();
    *s = (slot){used, key_length, length, 1};
    memcpy(room + used, key, key_length);
    memcpy(room + used + key_length, value, length);
    used += (uint32_t)need;
    held += (uint32_t)need;
    count++;
    return 1;
}

/* Do it, and write the answer. */
static void serve(uk_reader *r, uk_writer *w) {
    uint32_t length = 0, key_length = 0;
    const uint32_t items = uk_read_tuple(r);
    const char *what = uk_read_str(r, &length);
    if (!r->failed && uk_is(what, length, "size") && items == 1) {
        uk_write_int(w, count);
        return;
    }
    const uint8_t *key = uk_read_bytes(r, &key_length);
    slot *s = r->failed ? NULL : find(key, key_length);
    const int is_there = s != NULL && s->is_used && s->value != 0;
    if (is_there)
        uk_write_packed(w, room + s->at + s->key, s->value);
    else
        uk_write_nil(w);
    if (!r->failed && items == 3 && uk_is(what, length, "put")) {
        uk_reader value = *r;
        uk_skip(r);
        if (!r->failed && (s == NULL || !put(s, key, key_length, value.at, (uint32_t)(r->at - value.at)))) {
            w->at = w->start;
            uk_write_str(w, "full", 4);
        }
    }
    if (is_there && items == 2 && uk_is(what, length, "delete")) forget(s);
}

void uk_main(void) {
    uk_message m;
    uk_receive(&m, UK_FOREVER); /* the arguments */
    for (;;) {
        const int kind = uk_receive(&m, UK_FOREVER);
        uk_reader r = uk_read_message(&m);
        uk_writer w = uk_write(out, sizeof out);
        serve(&r, &w);
        if (kind == UK_CALL) uk_reply(m.call, out, uk_written(&w));
    }
}
