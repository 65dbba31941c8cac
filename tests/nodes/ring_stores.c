/* An end stops for ever at each single store into shared memory, one after the other; the other end goes on.

STOP_AT_STORES is defined: the hook leaves by longjmp in the middle of the ring's code, as if the end had been killed. */
#include "ring_test.h"

#include <setjmp.h>

static jmp_buf killed;
static uint64_t stores_left;
static int armed;

void stop_at_store(void) {
    if (armed && stores_left-- == 0) {
        armed = 0;
        longjmp(killed, 1);
    }
}

enum { MESSAGES = 60 };
static uint8_t buffer[LONGEST];

/* Run `body` until its k-th store. Returns 0 if it ended before. */
#define KILL_AT(k, body) \
    (stores_left = (k), armed = 1, setjmp(killed) == 0 ? ((body), armed = 0, 0) : 1)

static void *fresh_memory(void) {
    static void *memory;
    const uint64_t size = bl_pair_size(CAPACITY, CAPACITY);
    if (memory == NULL) memory = aligned_alloc(BL_PAGE, size);
    memset(memory, 0, size);
    return memory;
}

/* A writer that stays behind by `lag` messages: what has not been read yet when it is killed. */
static volatile uint64_t written, received;

static void write_all(pair *p, uint64_t lag) {
    for (written = 0; written < MESSAGES; written++) {
        uint32_t offset = 0;
        for (;;) {
            const int outcome = write_message(&p->writer, written, &offset);
            if (outcome >= 0) break;
            CHECK(outcome == -BL_EAGAIN);
            const int was = armed;
            armed = 0; /* the stores of the reader do not count */
            for (int got; (got = read_message(&p->reader, received, buffer)) != -BL_EAGAIN; received++) CHECK(got == 0);
            armed = was;
        }
        if (written >= received + lag) {
            const int was = armed;
            armed = 0;
            bl_wake(&p->reader);
            if (read_message(&p->reader, received, buffer) == 0) received++;
            bl_sleep(&p->reader);
            armed = was;
        }
    }
}

static uint64_t writer_is_killed(uint64_t lag) {
    for (volatile uint64_t k = 0;; k++) {
        pair p;
        open_pair(&p, fresh_memory());
        received = 0;
        if (!KILL_AT(k, write_all(&p, lag))) return k;
        for (int got; (got = read_message(&p.reader, received, buffer)) != -BL_EAGAIN; received++) CHECK(got == 0);
        /* All writes that returned arrived; the one that it died in arrived or did not. */
        CHECK(received == written || received == written + 1);
        CHECK(bl_sleep(&p.reader) == 0);
        uint32_t offset = 0;
        CHECK(write_message(&p.back_writer, 7, &offset) >= 0 && read_message(&p.back_reader, 7, buffer) == 0);
    }
}

static void read_all(pair *p) {
    for (;;) {
        const int got = read_message(&p->reader, received, buffer);
        if (got == 0) { received++; continue; }
        CHECK(got == -BL_EAGAIN);
        if (bl_sleep(&p->reader) == 0) {
            const int was = armed;
            armed = 0;
            uint32_t offset = 0;
            while (written < MESSAGES && write_message(&p->writer, written, &offset) >= 0) written++, offset = 0;
            /* What is begun has to be finished before the ring is looked at: read on. */
            while (offset > 0) {
                armed = was;
                for (int more; (more = read_message(&p->reader, received, buffer)) == 0; received++) {}
                armed = 0;
                if (write_message(&p->writer, written, &offset) >= 0) written++, offset = 0;
            }
            armed = was;
        }
        bl_wake(&p->reader);
        if (received == MESSAGES) return;
    }
}

static uint64_t reader_is_killed(void) {
    for (volatile uint64_t k = 0;; k++) {
        pair p;
        open_pair(&p, fresh_memory());
        written = received = 0;
        if (!KILL_AT(k, read_all(&p))) return k;
        /* The writer fills the ring up to the last record and is told so, never that the ring is broken. */
        uint32_t offset = (uint32_t)p.writer.written;
        int outcome;
        while ((outcome = write_message(&p.writer, written, &offset)) >= 0) written++, offset = 0;
        CHECK(outcome == -BL_EAGAIN);
        CHECK(bl_await_room(&p.writer) == 0 || p.writer.capacity - (p.writer.tail - p.writer.head) >= CAPACITY / 4);
        CHECK(!p.writer.broken && p.writer.tail - p.writer.head <= CAPACITY);
    }
}

int main(void) {
    uint64_t kills = reader_is_killed();
    CHECK(kills > MESSAGES);
    for (uint64_t lag = 0; lag < 9; lag += 4) {
        const uint64_t more = writer_is_killed(lag);
        CHECK(more > 20 * MESSAGES);
        kills += more;
    }
    printf("%llu kills\n", (unsigned long long)kills);
}
