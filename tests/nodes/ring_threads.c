/* A writer and a reader at once, each of which sleeps until its bell rings. Argument: a factor.

A lost bell is a deadlock: the program hangs, and the test says so. */
#include "ring_test.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

static pair p;
static int reader_bell, writer_bell;
static uint64_t messages, naps, waits;

static void ring(int bell) { CHECK(write(bell, &(uint64_t){1}, 8) == 8); }

static void sleep_until_rung(int bell) {
    uint64_t rings;
    CHECK(read(bell, &rings, 8) == 8);
}

static void *write_all(void *nothing) {
    for (uint64_t n = 0; n < messages; n++) {
        uint8_t payload[LONGEST] = {0};
        const uint32_t length = message(n, payload);
        uint32_t offset = 0;
        for (;;) {
            const int outcome = bl_write_part(&p.writer, (uint8_t)(1 + n % 255), (uint8_t)(n % 128 * 2), n, ~n, scramble(n), payload, length, &offset);
            CHECK(outcome == 0 || outcome == 1 || outcome == -BL_EAGAIN);
            if (outcome == 1) ring(reader_bell);
            if (outcome >= 0 && offset == length) break;
            if (outcome < 0 && bl_await_room(&p.writer) == 0) waits++, sleep_until_rung(writer_bell);
        }
        if (n % 64 == 0) usleep(1); /* so that the reader gets to sleep */
    }
    return nothing;
}

static void *read_all(void *nothing) {
    static uint8_t buffer[LONGEST];
    bl_reader *one[3] = {NULL, &p.reader, NULL};
    bl_set set = {one, 3, 0};
    for (uint64_t n = 0; n < messages;) {
        const int got = read_message(&p.reader, n, buffer);
        if (got == 0) { n++; continue; }
        CHECK(got == -BL_EAGAIN);
        /* By turns alone and as one of a set. */
        const int is_something = n % 2 ? bl_sleep(&p.reader) == 1 : bl_set_sleep(&set) == 1;
        if (bl_room_wanted(&p.reader) == 1) ring(writer_bell);
        if (!is_something) naps++, sleep_until_rung(reader_bell);
        bl_set_wake(&set);
        bl_set_poll(&set, 10);
    }
    return nothing;
}

int main(int argc, char **argv) {
    (void)argc;
    messages = count_of(argv, 20000);
    reader_bell = eventfd(0, 0);
    writer_bell = eventfd(0, 0);
    void *const memory = aligned_alloc(BL_PAGE, bl_pair_size(CAPACITY, CAPACITY));
    memset(memory, 0, bl_pair_size(CAPACITY, CAPACITY));
    open_pair(&p, memory);
    pthread_t writer, reader;
    CHECK(pthread_create(&reader, NULL, read_all, NULL) == 0 && pthread_create(&writer, NULL, write_all, NULL) == 0);
    CHECK(pthread_join(writer, NULL) == 0 && pthread_join(reader, NULL) == 0);
    CHECK(naps > 0 && waits > 0);
    free(memory);
    printf("%llu messages, %llu naps, %llu waits for room\n", (unsigned long long)messages, (unsigned long long)naps, (unsigned long long)waits);
}
