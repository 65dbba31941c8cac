/* Both sides of the sleep protocol at the same instant, again and again: at least one has to see the other.

Without its fences a processor looks before its own store is visible, and neither does. Argument: a factor. */
#include "ring_test.h"

#include <pthread.h>
#include <sched.h>

static pair p;
static uint64_t rounds;
static _Atomic uint64_t arrivals;
static int rings, room;

/* Wait for the other thread, as exactly as can be: this is what brings the two looks together. */
static void meet(void) {
    const uint64_t all = (atomic_fetch_add(&arrivals, 1) | 1) + 1;
    for (unsigned spins = 0; atomic_load(&arrivals) < all; spins++)
        if (spins > 1000) sched_yield(); /* the other does not run */
}

/* The two looks are not equally far from where the threads meet: try all distances. */
static void delay(uint64_t steps) {
    for (volatile uint64_t i = steps; i > 0; i--) {}
}

static void *write_all(void *nothing) {
    static const uint8_t payload[400];
    for (uint64_t n = 0; n < rounds; n++) {
        meet();
        rings = bl_write(&p.writer, 1, 0, 0, 0, 0, payload, 8);
        meet();
        while (bl_write(&p.writer, 1, 0, 0, 0, 0, payload, sizeof payload) >= 0) {}
        meet();
        delay(n % 1024);
        room = bl_await_room(&p.writer);
        meet();
    }
    return nothing;
}

static void *read_all(void *nothing) {
    static uint8_t buffer[LONGEST];
    bl_record record;
    for (uint64_t n = 0; n < rounds; n++) {
        while (bl_read(&p.reader, &record, buffer, sizeof buffer) >= 0) {}
        meet();
        delay(n % 128);
        const int is_something = bl_sleep(&p.reader);
        meet();
        CHECK(rings == 1 || is_something == 1);
        bl_wake(&p.reader);
        meet();
        while (bl_read(&p.reader, &record, buffer, sizeof buffer) >= 0) {}
        CHECK(bl_sleep(&p.reader) == 0);
        const int is_wanted = bl_room_wanted(&p.reader);
        meet();
        CHECK(room == 1 || is_wanted == 1);
        bl_wake(&p.reader);
    }
    return nothing;
}

int main(int argc, char **argv) {
    (void)argc;
    rounds = count_of(argv, 50000);
    void *const memory = aligned_alloc(BL_PAGE, bl_pair_size(CAPACITY, CAPACITY));
    memset(memory, 0, bl_pair_size(CAPACITY, CAPACITY));
    open_pair(&p, memory);
    pthread_t writer, reader;
    CHECK(pthread_create(&reader, NULL, read_all, NULL) == 0 && pthread_create(&writer, NULL, write_all, NULL) == 0);
    CHECK(pthread_join(writer, NULL) == 0 && pthread_join(reader, NULL) == 0);
    free(memory);
    printf("%llu rounds\n", (unsigned long long)rounds);
}
