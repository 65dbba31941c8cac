/* The ring of ring.h, which has the theory; and CRC32C. */
#include "ring.h"

enum { WORDS = sizeof(bl_record) / 8 };

/* A header is moved word by word: each is fetched and stored once. */
typedef union header {
    bl_record record;
    uint64_t words[WORDS];
} header;

/* ---- CRC32C ---- */

/* The table is linear: an entry is the sum of those of its index's bits. */
#define ENTRY(n) (((n) & 0x01 ? 0xf26b8303u : 0) ^ ((n) & 0x02 ? 0xe13b70f7u : 0) ^ ((n) & 0x04 ? 0xc79a971fu : 0) ^ \
                  ((n) & 0x08 ? 0x8ad958cfu : 0) ^ ((n) & 0x10 ? 0x105ec76fu : 0) ^ ((n) & 0x20 ? 0x20bd8edeu : 0) ^ \
                  ((n) & 0x40 ? 0x417b1dbcu : 0) ^ ((n) & 0x80 ? 0x82f63b78u : 0))
#define ENTRIES4(n) ENTRY(n), ENTRY(n + 1), ENTRY(n + 2), ENTRY(n + 3)
#define ENTRIES16(n) ENTRIES4(n), ENTRIES4(n + 4), ENTRIES4(n + 8), ENTRIES4(n + 12)
#define ENTRIES64(n) ENTRIES16(n), ENTRIES16(n + 16), ENTRIES16(n + 32), ENTRIES16(n + 48)

#ifdef BL_SMALL /* half a byte at a time, where size counts more than speed without the instruction */

#define ENTRIES4_HIGH(n) ENTRY(16 * (n)), ENTRY(16 * (n) + 16), ENTRY(16 * (n) + 32), ENTRY(16 * (n) + 48)

static const uint32_t table[16] = {ENTRIES4_HIGH(0), ENTRIES4_HIGH(4), ENTRIES4_HIGH(8), ENTRIES4_HIGH(12)};

static uint32_t by_table(uint32_t crc, const uint8_t *data, size_t length) {
    for (size_t i = 0; i < 2 * length; i++) {
        if (i % 2 == 0) crc ^= data[i / 2];
        crc = (crc >> 4) ^ table[crc & 0xf];
    }
    return crc;
}

#else

static const uint32_t table[256] = {ENTRIES64(0), ENTRIES64(64), ENTRIES64(128), ENTRIES64(192)};

static uint32_t by_table(uint32_t crc, const uint8_t *data, size_t length) {
    for (size_t i = 0; i < length; i++) crc = (crc >> 8) ^ table[(crc ^ data[i]) & 0xff];
    return crc;
}

#endif

#if defined(__x86_64__)

#include <cpuid.h>

static int has_instruction(void) {
    unsigned a, b, c = 0, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_2);
}

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *data, size_t length) {
    uint64_t sum = crc, word;
    for (; length >= 8; data += 8, length -= 8) {
        __builtin_memcpy(&word, data, 8);
        sum = __builtin_ia32_crc32di(sum, word);
    }
    crc = (uint32_t)sum;
    for (; length > 0; data++, length--) crc = __builtin_ia32_crc32qi(crc, *data);
    return crc;
}

#elif defined(__aarch64__)

/* Read at EL1 on bare metal; Linux answers it for programs too. */
static int has_instruction(void) {
    uint64_t features;
    __asm__("mrs %0, ID_AA64ISAR0_EL1" : "=r"(features));
    return ((features >> 16) & 0xf) != 0;
}

static uint32_t by_instruction(uint32_t crc, const uint8_t *data, size_t length) {
    uint64_t word;
    for (; length >= 8; data += 8, length -= 8) {
        __builtin_memcpy(&word, data, 8);
        __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
    }
    for (; length > 0; data++, length--)
        __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)*data));
    return crc;
}

#else

static int has_instruction(void) { return 0; }
static uint32_t by_instruction(uint32_t crc, const uint8_t *data, size_t length) { return by_table(crc, data, length); }

#endif

static uint32_t extend(uint32_t crc, const void *data, size_t length) {
    static _Atomic int instruction = -1; /* asked of the processor once; two threads that ask get the same answer */
    int has = atomic_load_explicit(&instruction, memory_order_relaxed);
    if (has < 0) {
        has = has_instruction();
        atomic_store_explicit(&instruction, has, memory_order_relaxed);
    }
    return has ? by_instruction(crc, data, length) : by_table(crc, data, length);
}

uint32_t bl_crc32c(const void *data, size_t length) { return ~extend(UINT32_MAX, data, length); }

uint32_t bl_crc32c_table(const void *data, size_t length) { return ~by_table(UINT32_MAX, data, length); }

static uint32_t checksum(const header *h, const uint8_t *payload) {
    header without = *h;
    without.record.crc = 0;
    return ~extend(extend(UINT32_MAX, &without, sizeof without), payload, h->record.length);
}

/* What a padding record at this position is. */
static uint64_t padding_at(uint64_t position) {
    return (uint64_t)bl_crc32c(&position, sizeof position) << 32 | BL_PADDING;
}

/* ---- the pair ---- */

static int is_capacity(uint32_t capacity) {
    return capacity >= BL_MIN_CAPACITY && capacity <= BL_MAX_CAPACITY && (capacity & (capacity - 1)) == 0;
}

uint64_t bl_pair_size(uint32_t capacity0, uint32_t capacity1) {
    if (!is_capacity(capacity0) || !is_capacity(capacity1)) return 0;
    return 3 * (uint64_t)BL_PAGE + capacity0 + capacity1;
}

static int is_pair_memory(const void *memory, uint64_t size) {
    return memory != NULL && (uintptr_t)memory % BL_PAGE == 0 && size >= BL_PAGE;
}

int bl_pair_format(void *memory, uint64_t size, uint32_t capacity0, uint32_t capacity1) {
    bl_pair_header *pair = memory;
    if (!is_pair_memory(memory, size) || size != bl_pair_size(capacity0, capacity1)) return -BL_EINVAL;
    *pair = (bl_pair_header){BL_PAIR_MAGIC, BL_PAIR_VERSION, {capacity0, capacity1}, 0, size};
    return 0;
}

int bl_open(void *memory, uint64_t size, unsigned side, uint32_t longest, bl_writer *writer, bl_reader *reader) {
    if (side > 1 || !is_pair_memory(memory, size)) return -BL_EINVAL;
    bl_pair_header pair;
    __builtin_memcpy(&pair, memory, sizeof pair);
    bl_copied(); /* the peer may be at it: what is checked is what is used */
    if (pair.magic != BL_PAIR_MAGIC) return -BL_EBADMSG;
    if (pair.version != BL_PAIR_VERSION) return -BL_EPROTONOSUPPORT;
    if (pair.size != size || bl_pair_size(pair.capacity[0], pair.capacity[1]) != size) return -BL_EBADMSG;
    uint8_t *const direction[2] = {(uint8_t *)memory + BL_PAGE, (uint8_t *)memory + 2 * BL_PAGE + pair.capacity[0]};
    uint8_t *const ours = direction[side], *const theirs = direction[1 - side];
    *writer = (bl_writer){.lines = (bl_lines *)(void *)ours, .data = ours + BL_PAGE, .capacity = pair.capacity[side], .longest = longest};
    *reader = (bl_reader){.lines = (bl_lines *)(void *)theirs, .data = theirs + BL_PAGE, .capacity = pair.capacity[1 - side], .longest = longest};
    return 0;
}

static uint64_t room_for(uint32_t length) { return sizeof(bl_record) + (((uint64_t)length + 7) & ~7ull); }

uint32_t bl_largest(uint32_t capacity) { return capacity / 8 - sizeof(bl_record); }

/* ---- writing ---- */

/* Look how far the reader is. Its position only grows, by whole words, and never past ours. */
static int look_at_head(bl_writer *w) {
    const uint64_t head = bl_load_position(&w->lines->head);
    if (w->tail - head > w->tail - w->head || head % 8 != 0) {
        w->broken = 1;
        return -BL_EBADMSG;
    }
    w->head = head;
    return 0;
}

static void copy_in(uint8_t *at, const uint8_t *data, uint32_t length) {
    if (!BL_STORES_ARE_WATCHED) {
        if (length > 0) __builtin_memcpy(at, data, length);
        return;
    }
    for (uint32_t i = 0; i < length; i++) {
        if (i % 8 == 0) BL_STORE_HOOK();
        at[i] = data[i];
    }
    BL_STORE_HOOK();
}

/* Write and publish one record, whose header lacks but length, sequence and CRC. 0, -BL_EAGAIN or -BL_EBADMSG. */
static int put(bl_writer *w, header *h, const uint8_t *data, uint32_t length) {
    const uint64_t index = w->tail & (w->capacity - 1), rest = w->capacity - index, need = room_for(length);
    const uint64_t skipped = rest < need ? rest : 0;
    if (w->tail + skipped + need - w->head > w->capacity) {
        if (look_at_head(w) < 0) return -BL_EBADMSG;
        if (w->tail + skipped + need - w->head > w->capacity) return -BL_EAGAIN;
    }
    h->record.length = length;
    h->record.sequence = w->sequence++;
    h->record.crc = checksum(h, data);
    if (skipped > 0) bl_store_word(w->data + index, padding_at(w->tail));
    uint8_t *const at = w->data + (skipped > 0 ? 0 : index);
    for (int i = 0; i < WORDS; i++) bl_store_word(at + 8 * i, h->words[i]);
    copy_in(at + sizeof *h, data, length);
    w->tail += skipped + need;
    bl_publish(&w->lines->tail, w->tail); /* the padding and the record at once */
    return 0;
}

/* After publishing: does the reader sleep, and was it not rung for yet? */
static int bell(bl_writer *w) {
    bl_fence(); /* `tail` is visible before we look at `sleeping`; pairs with bl_sleep */
    const uint64_t nap = bl_peek(&w->lines->sleeping);
    if (nap == 0 || nap == w->rung) return 0;
    w->rung = nap;
    return 1;
}

int bl_write(bl_writer *w, uint8_t kind, uint8_t flags, uint64_t to, uint64_t from, uint64_t ref,
             const uint8_t *data, uint32_t length) {
    if (w->broken) return -BL_EBADMSG;
    if (kind == 0 || (flags & BL_MORE)) return -BL_EINVAL;
    if (length > w->longest || length > bl_largest(w->capacity)) return -BL_EMSGSIZE;
    if (w->written > 0) return -BL_EBUSY;
    header h = {.record = {.kind = kind, .flags = flags, .to = to, .from = from, .ref = ref}};
    const int error = put(w, &h, data, length);
    return error < 0 ? error : bell(w);
}

int bl_write_part(bl_writer *w, uint8_t kind, uint8_t flags, uint64_t to, uint64_t from, uint64_t ref,
                  const uint8_t *data, uint32_t length, uint32_t *offset) {
    if (w->broken) return -BL_EBADMSG;
    if (kind == 0 || (flags & BL_MORE) || *offset != w->written || *offset > length) return -BL_EINVAL;
    if (length > w->longest) return -BL_EMSGSIZE;
    const uint32_t largest = bl_largest(w->capacity), before = *offset;
    for (;;) {
        const uint32_t left = length - *offset;
        const int more = left > largest;
        header h = {.record = {.kind = kind, .flags = flags | (more ? BL_MORE : 0), .to = to, .from = from, .ref = ref}};
        const int error = put(w, &h, data + *offset, more ? largest : left);
        if (error == -BL_EAGAIN && *offset > before) return bell(w);
        if (error < 0) return error;
        *offset += more ? largest : left;
        w->written = more ? *offset : 0;
        if (!more) return bell(w);
    }
}

int bl_await_room(bl_writer *w) {
    if (w->broken) return -BL_EBADMSG;
    bl_set_flag(&w->lines->waiting, ++w->waits);
    bl_fence(); /* `waiting` is visible before we look at `head`; pairs with bl_sleep */
    if (look_at_head(w) < 0) return -BL_EBADMSG;
    if (w->capacity - (w->tail - w->head) < w->capacity / 4) return 0; /* the largest record, with the padding before it */
    bl_set_flag(&w->lines->waiting, 0);
    return 1;
}

/* ---- reading ---- */

static int64_t broken(bl_reader *r, int error) {
    r->broken = 1;
    return -error;
}

/* Copy the record at `head` out, check it, give its room back. The payload's length, -BL_ENOBUFS or what breaks the end.
   There are at least 8 bytes before `tail`. */
static int64_t take(bl_reader *r, header *h, uint8_t *buffer, size_t capacity) {
    uint64_t index = r->head & (r->capacity - 1);
    h->words[0] = bl_load_word(r->data + index);
    if (h->record.length == BL_PADDING) {
        const uint64_t rest = r->capacity - index;
        /* A padding is published at once with the record after it: one alone, or two in a row, cannot be. */
        if (rest >= r->tail - r->head || h->words[0] != padding_at(r->head)) return broken(r, BL_EBADMSG);
        r->head += rest;
        index = 0;
        h->words[0] = bl_load_word(r->data);
    }
    const uint64_t length = h->record.length;
    if (length > bl_largest(r->capacity)) return broken(r, BL_EBADMSG);
    const uint64_t need = room_for((uint32_t)length);
    if (need > r->tail - r->head || need > r->capacity - index) return broken(r, BL_EBADMSG);
    if (r->gathered + length > r->longest) return broken(r, BL_EBADMSG);
    if (r->gathered + length > capacity) return -BL_ENOBUFS;
    for (int i = 1; i < WORDS; i++) h->words[i] = bl_load_word(r->data + index + 8 * i);
    uint8_t *const copy = buffer + r->gathered;
    if (length > 0) __builtin_memcpy(copy, r->data + index + sizeof *h, length);
    bl_copied(); /* from here on only the copy is looked at */
    if (checksum(h, copy) != h->record.crc) return broken(r, BL_EIO);
    if (h->record.sequence != r->sequence || h->record.kind == 0 || h->record.reserved != 0) return broken(r, BL_EBADMSG);
    r->sequence++;
    r->head += need;
    bl_publish(&r->lines->head, r->head);
    return (int64_t)length;
}

/* Whether a record can be the next one of the message whose first is known. */
static int belongs(const bl_record *first, const bl_record *next) {
    return first->kind == next->kind && (first->flags | BL_MORE) == (next->flags | BL_MORE) && first->to == next->to &&
           first->from == next->from && first->ref == next->ref;
}

int64_t bl_read(bl_reader *r, bl_record *record, uint8_t *buffer, size_t capacity) {
    if (r->broken) return -BL_EBADMSG;
    for (;;) {
        if (r->head == r->tail) {
            const uint64_t tail = bl_load_position(&r->lines->tail);
            if (tail - r->head > r->capacity || tail % 8 != 0) return broken(r, BL_EBADMSG);
            if (tail == r->head) return -BL_EAGAIN;
            r->tail = tail;
        }
        header h;
        const int64_t length = take(r, &h, buffer, capacity);
        if (length == -BL_ENOBUFS) record->length = (uint32_t)(r->gathered + h.record.length);
        if (length < 0) return length;
        if (r->gathered > 0 && !belongs(&r->first, &h.record)) return broken(r, BL_EBADMSG);
        if (h.record.flags & BL_MORE) {
            if (length == 0) return broken(r, BL_EBADMSG); /* it would never end */
            if (r->gathered == 0) r->first = h.record;
            r->gathered += (uint64_t)length;
            continue;
        }
        const uint64_t whole = r->gathered + (uint64_t)length;
        r->gathered = 0;
        *record = h.record;
        record->length = (uint32_t)whole;
        return (int64_t)whole;
    }
}

int bl_sleep(bl_reader *r) {
    if (r->broken) return -BL_EBADMSG;
    bl_set_flag(&r->lines->sleeping, ++r->naps);
    bl_fence(); /* `sleeping` is visible before we look at `tail`; pairs with bell. `head` before `waiting`: bl_await_room */
    return bl_has_record(r);
}

void bl_wake(bl_reader *r) {
    if (!r->broken) bl_set_flag(&r->lines->sleeping, 0);
}

int bl_room_wanted(bl_reader *r) {
    if (r->broken) return -BL_EBADMSG;
    const uint64_t wait = bl_peek(&r->lines->waiting);
    if (wait == 0 || wait == r->told) return 0;
    r->told = wait;
    return 1;
}

/* ---- a node's readers ---- */

static int look_at_all(bl_set *set) {
    for (uint32_t looks = 0, place = set->next; looks < set->size; looks++, place++) {
        if (place >= set->size) place = 0;
        if (set->readers[place] != NULL && bl_has_record(set->readers[place])) {
            set->next = place + 1;
            return (int)place;
        }
    }
    return -1;
}

int bl_set_poll(bl_set *set, uint32_t spins) {
    for (;; bl_pause()) {
        const int place = look_at_all(set);
        if (place >= 0 || spins-- == 0) return place;
    }
}

int bl_set_sleep(bl_set *set) {
    for (uint32_t i = 0; i < set->size; i++) {
        bl_reader *const r = set->readers[i];
        if (r != NULL && !r->broken) bl_set_flag(&r->lines->sleeping, ++r->naps);
    }
    bl_fence(); /* as in bl_sleep */
    return look_at_all(set);
}

void bl_set_wake(bl_set *set) {
    for (uint32_t i = 0; i < set->size; i++)
        if (set->readers[i] != NULL) bl_wake(set->readers[i]);
}
