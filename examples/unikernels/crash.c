/* Crashes on purpose. Divides, ("divide", 7, 2) -> 3, and does what a program must not: ("null",), ("wild", address), ("illegal",), ("deep",), ("exit", status),
   ("stop", anything), ("hang",). */
#include "uk.h"

static volatile uint32_t sink;

static uint32_t deeper(uint32_t depth) {
    volatile uint8_t room[4096];
    room[depth % sizeof room] = (uint8_t)depth;
    return deeper(depth + 1) + room[0];
}

void uk_main(void) {
    uk_message m;
    uint8_t out[16];
    for (;;) {
        if (uk_receive(&m, UK_FOREVER) != UK_CALL) continue;
        uk_reader r = uk_read_message(&m);
        uk_writer w = uk_write(out, sizeof out);
        uint32_t length;
        uk_read_tuple(&r);
        const char *what = uk_read_str(&r, &length);
        if (r.failed) length = 0;
        if (uk_is(what, length, "null")) *(volatile uint32_t *)0 = 1;
        if (uk_is(what, length, "wild")) *(volatile uint32_t *)(uintptr_t)uk_read_int(&r) = 1;
        if (uk_is(what, length, "illegal")) __builtin_trap();
        if (uk_is(what, length, "deep")) sink = deeper(0);
        if (uk_is(what, length, "exit")) uk_exit((int)uk_read_int(&r));
        if (uk_is(what, length, "stop")) {
            uk_write_tuple(&w, 2);
            uk_write_str(&w, "stopped", 7);
            uk_write_int(&w, uk_read_int(&r));
            uk_stop(out, uk_written(&w));
        }
        while (uk_is(what, length, "hang")) sink++;
        const int64_t dividend = uk_read_int(&r), divisor = uk_read_int(&r);
        if (r.failed)
            uk_write_nil(&w);
        else
            uk_write_int(&w, dividend / divisor); /* nobody has looked whether it is 0 */
        uk_reply(m.call, out, uk_written(&w));
    }
}
