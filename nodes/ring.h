/* A pair of rings: what two nodes, or a node and a cell or a unikernel, say to each other through shared memory.

Theory of operation
-------------------
One memory of a fixed size (a sealed memfd) holds a header and two rings, one a direction. A ring has one writer and one
reader; nothing is ever locked, so either may be killed at any instruction and the other goes on. Every shared word has
a single writer.

    page 0          bl_pair_header
    page 1          bl_lines of direction 0 (side 0 writes, side 1 reads)
    ...             data of direction 0, capacity[0] bytes
    the next page   bl_lines of direction 1 (side 1 writes, side 0 reads)
    ...             data of direction 1, capacity[1] bytes

A position counts bytes since the beginning and only grows (64 bit); its index in the data is position & (capacity - 1).
The writer copies a record into free data and then publishes it by storing `tail`: whatever it had not published when it
died is never seen. The reader copies a record out, checks the copy, and gives the room back by storing `head`.

A record is a bl_record and its payload, padded to 8 bytes (what is in the padding means nothing). It lies in one piece:
where it does not fit before the end of the data, a padding record fills the rest (one word: length BL_PADDING, CRC32C of
the position it stands at). No record is longer than an eighth of the ring, so with its padding it fits an empty ring
wherever that stands. A longer message is several records, all but the last with BL_MORE; the reader gives it out when
the last has come, and never if the writer dies before. Nothing else is written between two records of one message.

Trust: the peer may be hostile. An end keeps its own positions, sequence and sizes privately and never reads them back;
what it does read of the other's (a position, a record's header) it fetches once, checks, and only then uses. The CRC
tells accidents ("memory changed behind our back"), not malice. An end that saw a violation is broken for good: after
that nothing can be known about where a record begins. Who sent a record is told by the ring, never by the record.

Sleeping: a reader that will wait publishes the number of its nap and then looks once more; a writer publishes a record
and then looks for a nap that it has not rung for. Between the two steps both have a sequentially consistent fence, so
at least one sees the other. The writer remembers the nap in private instead of clearing the reader's word: one bell a
nap, no shared word with two writers. A writer that dies between looking and ringing is no loss: its death itself wakes
the reader (pidfd). One that hangs there has not returned from the write of that one record, and nothing is behind it in
the ring: that record is late, as if the writer had hung before publishing it, until it goes on, is killed as hung, or
anything else wakes the reader. Hence ring at once after a write that says so. A bell that rings in vain is harmless.
The same with the roles exchanged wakes a writer that waits for room: see bl_await_room.

No part of this needs an operating system, a C library but memcpy, or Python. Errors are negative: -BL_E... */
#ifndef BEAMLIKE_RING_H
#define BEAMLIKE_RING_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Linux's numbers, also where there is no errno.h. */
enum {
    BL_EIO = 5,               /* the CRC is wrong: memory changed behind our back; the end is broken */
    BL_EAGAIN = 11,           /* nothing to read, or no room to write */
    BL_EBUSY = 16,            /* a message is begun: finish it with bl_write_part first */
    BL_EINVAL = 22,           /* the caller's mistake */
    BL_EBADMSG = 74,          /* the peer broke the protocol, or this end is broken since earlier */
    BL_EMSGSIZE = 90,         /* too long: for one record, or for any message */
    BL_EPROTONOSUPPORT = 93,  /* a pair, but of another version */
    BL_ENOBUFS = 105,         /* the reader's buffer is too small; nothing is lost */
};

#define BL_PAIR_MAGIC 0x53474e4952454c42u /* "BLERINGS", read as a little-endian number */
#define BL_PAIR_VERSION 1u
#define BL_PAGE 4096u
#define BL_MIN_CAPACITY 4096u
#define BL_MAX_CAPACITY (1u << 24)

/* 128 bytes, not 64: x86 fetches lines in pairs, and some ARM cores have lines of 128. */
#define BL_LINE 128

#define BL_MORE 0x01u              /* flag of the ring's own: the message goes on in the next record */
#define BL_PADDING UINT32_MAX      /* in place of a length: nothing more before the end of the data */

typedef struct bl_pair_header {
    uint64_t magic;
    uint32_t version;
    uint32_t capacity[2];          /* bytes of data of each direction, a power of two */
    uint32_t reserved;
    uint64_t size;                 /* bytes of everything */
} bl_pair_header;

typedef struct bl_lines {
    _Alignas(BL_LINE) _Atomic uint64_t tail;     /* the writer's: all before it is published */
    _Alignas(BL_LINE) _Atomic uint64_t head;     /* the reader's: all before it is free again */
    /* These two are looked at with every record and seldom written: beside the positions each look would be a cache miss. */
    _Alignas(BL_LINE) _Atomic uint64_t waiting;  /* the writer's: number of its wait for room, 0: does not wait */
    _Alignas(BL_LINE) _Atomic uint64_t sleeping; /* the reader's: number of its nap, 0: awake */
} bl_lines;

typedef struct bl_record {
    uint32_t length;               /* bytes of payload */
    uint32_t crc;                  /* CRC32C of header and payload, with 0 here */
    uint8_t kind;                  /* 1..255, what it means is above the ring */
    uint8_t flags;                 /* BL_MORE is the ring's, the others mean what is above says */
    uint16_t reserved;             /* 0 */
    uint32_t sequence;             /* counts the records of a direction from 0 and wraps */
    uint64_t to;
    uint64_t from;
    uint64_t ref;
} bl_record;

_Static_assert(sizeof(bl_record) == 40, "a record's header is 40 bytes");
_Static_assert(sizeof(bl_lines) <= BL_PAGE, "the lines fit their page");

/* The private half of a direction at its writer. Only ring.c looks inside. */
typedef struct bl_writer {
    bl_lines *lines;
    uint8_t *data;
    uint64_t tail;                 /* ours; lines->tail is only its publication */
    uint64_t head;                 /* the last of the reader's that was seen and found right */
    uint64_t rung;                 /* the nap that was rung for */
    uint64_t waits;                /* how many waits for room there were */
    uint64_t written;              /* bytes of the message that is begun, 0: none is */
    uint32_t capacity;
    uint32_t longest;              /* bytes of the longest message */
    uint32_t sequence;             /* of the next record */
    int32_t broken;
} bl_writer;

/* The private half of a direction at its reader. Only ring.c looks inside. */
typedef struct bl_reader {
    bl_lines *lines;
    const uint8_t *data;
    uint64_t head;                 /* ours; lines->head is only its publication */
    uint64_t tail;                 /* the last of the writer's that was seen and found right */
    uint64_t naps;                 /* how many naps there were */
    uint64_t told;                 /* the wait for room that was answered */
    uint64_t gathered;             /* bytes of an unfinished message in the caller's buffer, 0: there is none */
    bl_record first;               /* the header of the unfinished message's first record */
    uint32_t capacity;
    uint32_t longest;              /* bytes of the longest message */
    uint32_t sequence;             /* of the next record */
    int32_t broken;
} bl_reader;

/* The readers of one node. The array is the caller's; a NULL in it is a free place. */
typedef struct bl_set {
    bl_reader **readers;
    uint32_t size;
    uint32_t next;                 /* where to look first, so that none starves */
} bl_set;

/* Bytes of a pair with these capacities; 0 if one is no power of two from BL_MIN_CAPACITY to BL_MAX_CAPACITY. */
uint64_t bl_pair_size(uint32_t capacity0, uint32_t capacity1);

/* Make a pair in memory that is all zero, page-aligned, and bl_pair_size bytes. Before the other side can see it.
   Returns 0 or -BL_EINVAL. */
int bl_pair_format(void *memory, uint64_t size, uint32_t capacity0, uint32_t capacity1);

/* Open side 0 (who made the pair) or 1 (the other) of a pair. Once for each side: an end starts at the beginning.
   `longest` is in bytes, the same at both ends: a longer message is refused by the writer and a violation to the reader.
   Returns 0, -BL_EINVAL (side, alignment), -BL_EBADMSG (not a pair, or its sizes do not fit), -BL_EPROTONOSUPPORT. */
int bl_open(void *memory, uint64_t size, unsigned side, uint32_t longest, bl_writer *writer, bl_reader *reader);

/* Bytes of payload that one record of this ring takes at most. */
uint32_t bl_largest(uint32_t capacity);

/* Write a message that fits in one record. Never waits.
   Returns 0; 1: written, and the reader sleeps: ring its bell now; -BL_EAGAIN: full, nothing was written; -BL_EMSGSIZE:
   use bl_write_part; -BL_EBUSY; -BL_EINVAL: kind 0 or flag BL_MORE; -BL_EBADMSG. */
int bl_write(bl_writer *w, uint8_t kind, uint8_t flags, uint64_t to, uint64_t from, uint64_t ref,
             const uint8_t *data, uint32_t length);

/* Write as much as there is room for of a message of any length; *offset, at first 0, is how much of it is written.
   Call again with the same arguments until it returned 0 or 1 and *offset is the length. Nothing else can be written
   meanwhile, and a message that is begun has to be finished.
   Returns 0 or 1 as bl_write if it wrote anything; -BL_EAGAIN: full, nothing was written by this call; -BL_EMSGSIZE:
   longer than `longest`; -BL_EINVAL: also an offset that is not where the message stands; -BL_EBADMSG. */
int bl_write_part(bl_writer *w, uint8_t kind, uint8_t flags, uint64_t to, uint64_t from, uint64_t ref,
                  const uint8_t *data, uint32_t length, uint32_t *offset);

/* Say that this writer is going to wait for room. Returns 1 if there is some for a record of any size: do not wait; 0:
   the reader will ring this side's bell; -BL_EBADMSG. */
int bl_await_room(bl_writer *w);

/* Read the next message: copied, then checked, then handed out. The buffer keeps the beginning of a message of several
   records from call to call: pass it again with its content. `gathered` says how much there is in it.
   Returns the payload's length in bytes and fills *record (length and sequence are those of the whole and of the last
   record); -BL_EAGAIN: the ring is empty, and no message whole; -BL_ENOBUFS: pass a buffer of at least record->length bytes; -BL_EIO and
   -BL_EBADMSG: this end is broken. A writer that keeps up can make one call last for one message of `longest` bytes. */
int64_t bl_read(bl_reader *r, bl_record *record, uint8_t *buffer, size_t capacity);

/* Say that this reader is going to sleep. Returns 1 if there is something to read: do not sleep; 0; -BL_EBADMSG. Call
   bl_wake when it is awake again, in all cases. */
int bl_sleep(bl_reader *r);
void bl_wake(bl_reader *r);

/* Whether the writer waits for room and was not answered yet: ring its bell. To be asked when bl_read found nothing (then
   there is room), and always after bl_sleep and before sleeping: its fence makes the answer certain. */
int bl_room_wanted(bl_reader *r);

/* The place of a reader of the set with something to read, or -1 after 1 + spins looks at all of them. Broken readers
   are passed over. */
int bl_set_poll(bl_set *set, uint32_t spins);

/* bl_sleep for all readers with one fence. Returns the place of one with something to read, or -1. */
int bl_set_sleep(bl_set *set);
void bl_set_wake(bl_set *set);

/* CRC32C (Castagnoli; check value of "123456789": 0xE3069283), by the processor's instruction where it has one. */
uint32_t bl_crc32c(const void *data, size_t length);
uint32_t bl_crc32c_table(const void *data, size_t length);

/* All accesses to shared words. A test build defines BL_STORE_HOOK() to stop the program at each single store. */
#ifdef BL_STORE_HOOK
#define BL_STORES_ARE_WATCHED 1
#else
#define BL_STORES_ARE_WATCHED 0
#define BL_STORE_HOOK() ((void)0)
#endif

/* Acquire: what the peer did before it published this position is visible to us after. */
static inline uint64_t bl_load_position(_Atomic uint64_t *position) {
    return atomic_load_explicit(position, memory_order_acquire);
}

/* Release: our copy into (out of) the data is done before the peer can see that it may read (overwrite) it. */
static inline void bl_publish(_Atomic uint64_t *position, uint64_t value) {
    BL_STORE_HOOK();
    atomic_store_explicit(position, value, memory_order_release);
    BL_STORE_HOOK();
}

/* Relaxed: a flag orders nothing by itself; bl_fence does where it must. */
static inline uint64_t bl_peek(_Atomic uint64_t *word) { return atomic_load_explicit(word, memory_order_relaxed); }

static inline void bl_set_flag(_Atomic uint64_t *flag, uint64_t value) {
    BL_STORE_HOOK();
    atomic_store_explicit(flag, value, memory_order_relaxed);
    BL_STORE_HOOK();
}

/* One word of the data, fetched exactly once: the compiler must not read it again after it was checked. */
static inline uint64_t bl_load_word(const uint8_t *at) {
    return atomic_load_explicit((const _Atomic uint64_t *)(const void *)at, memory_order_relaxed);
}

static inline void bl_store_word(uint8_t *at, uint64_t value) {
    BL_STORE_HOOK();
    atomic_store_explicit((_Atomic uint64_t *)(void *)at, value, memory_order_relaxed);
    BL_STORE_HOOK();
}

static inline void bl_fence(void) { atomic_thread_fence(memory_order_seq_cst); }

/* What was copied is what is used: nothing is fetched again from where it came. */
static inline void bl_copied(void) { atomic_signal_fence(memory_order_seq_cst); }

/* Tell the processor that this is a loop that waits. On ARM `isb`, because `yield` does nothing on most cores. */
static inline void bl_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* Whether there is something to look at: a record, or a violation. */
static inline int bl_has_record(bl_reader *r) {
    return !r->broken && (r->head != r->tail || bl_peek(&r->lines->tail) != r->head);
}

#endif
