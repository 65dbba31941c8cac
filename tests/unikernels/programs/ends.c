/* Ends as its first argument says. */
#include "uk.h"

static volatile uint32_t sink;

static uint32_t deeper(uint32_t depth) {
    volatile uint8_t room[4096];
    room[depth % sizeof room] = (uint8_t)depth;
    return deeper(depth + 1) + room[0];
}

void uk_main(void) {
    uk_message m;
    uint32_t length;
    uint8_t out[32];
    uk_receive(&m, UK_FOREVER);
    uk_reader r = uk_read_message(&m);
    uk_read_tuple(&r);
    const char *how = uk_read_str(&r, &length);
    const int64_t number = uk_next(&r) == UK_INT ? uk_read_int(&r) : 0;
    if (uk_is(how, length, "when called")) {
        while (uk_receive(&m, UK_FOREVER) != UK_CALL) {}
        *(volatile uint32_t *)16 = 1;
    }
    if (uk_is(how, length, "answers nonsense")) { /* no value, more than one, half of one, and then a good one */
        static const struct { const char *bytes; uint32_t length; } answers[] = {{"", 0}, {"\1\2", 2}, {"\x92\1", 2}, {"\xc1", 1}, {"\7", 1}};
        for (uint32_t i = 0; i < 5; i++) {
            while (uk_receive(&m, UK_FOREVER) != UK_CALL) {}
            uk_reply(m.call, answers[i].bytes, answers[i].length);
        }
        uk_log("one\x1b[31m\n\n two");
        *(volatile uint32_t *)16 = 1;
    }
    if (uk_is(how, length, "write")) *(volatile uint32_t *)(uintptr_t)number = 1;
    if (uk_is(how, length, "illegal")) __builtin_trap();
    if (uk_is(how, length, "divide")) sink = (uint32_t)(1000 / number);
    if (uk_is(how, length, "stack")) sink = deeper(0);
    if (uk_is(how, length, "exit")) uk_exit((int)number);
    if (uk_is(how, length, "loop"))
        for (;;) sink++;
    if (uk_is(how, length, "beat")) /* a long computation that says that it lives */
        for (const int64_t until = uk_now() + number * 1000000; uk_now() < until;) uk_beat();
    if (uk_is(how, length, "wait")) uk_receive(&m, (int)number);
    if (uk_is(how, length, "stop")) {
        uk_writer w = uk_write(out, sizeof out);
        uk_write_tuple(&w, 2);
        uk_write_str(&w, "had enough", 10);
        uk_write_int(&w, number);
        uk_stop(out, uk_written(&w));
    }
#if defined(__x86_64__)
    if (uk_is(how, length, "scribble")) { /* over all that is shared, by a second mapping of it: over every word when the number is 0, else over one in 16 */
        register long shared __asm__("r10") = 1, memory __asm__("r8") = 3, offset __asm__("r9") = 0;
        long at = 9;
        __asm__ volatile("syscall" : "+a"(at) : "D"(0), "S"(64 * 4096), "d"(3), "r"(shared), "r"(memory), "r"(offset) : "rcx", "r11", "memory");
        uint64_t draw = (uint64_t)number * 2 + 1;
        for (uint32_t *word = (uint32_t *)at; word < (uint32_t *)(at + 64 * 4096); word++) {
            draw = draw * 6364136223846793005u + 1442695040888963407u;
            if (!number || draw >> 60 == 0) *word = (uint32_t)(draw >> 24);
        }
        for (;;) uk_receive(&m, 1);
    }
    if (uk_is(how, length, "execveat")) { /* of what an absolute path names, which makes the kernel ignore the descriptor */
        static const char *const path = "/bin/true", *const nothing[1];
        register long environment __asm__("r10") = (long)nothing, flags __asm__("r8") = 0x1000, nonce __asm__("r9") = number;
        long result = 322;
        __asm__ volatile("syscall" : "+a"(result) : "D"(10), "S"(path), "d"(nothing), "r"(environment), "r"(flags), "r"(nonce) : "rcx", "r11", "memory");
        uk_exit(1);
    }
    if (uk_is(how, length, "system call")) {
        long result = number;
        __asm__ volatile("syscall" : "+a"(result) : "D"(0), "S"(0), "d"(0) : "rcx", "r11", "memory");
    }
#endif
}
