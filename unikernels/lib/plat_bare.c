/* A unikernel on the bare machine: a PC with one processor, QEMU's, and nothing else in it.

   The memory is that of an ivshmem device. COM1 is a log of what cannot be said otherwise. The bell is COM2: a byte from the node wakes,
   a byte to it is a ring; what the bytes are does not matter. Interrupts are let in while it waits, and only there: so nothing is lost
   between looking and sleeping, and no handler does anything.

   QEMU ends with the status 2 * (status + 1) + 1 of plat_exit: 3 if all is well, 193 without the memory, 195 if the mailbox broke, 197 after
   a crash, which boot->crash tells. A QEMU that could not start has 1, and one that was reset 0. */
#include "plat.h"
#include "uk.h"
#include "uk_drivers.h"

enum { NO_MEMORY = 95, CRASHED = 97 };
enum { PAGE = 4096, LARGE_PAGE = 2 * 1024 * 1024, PRESENT = 1, WRITABLE = 2, UNCACHED = 0x10, LARGE = 0x80 };
#define NO_CODE (1ull << 63)
#define APIC 0xfee00000ull

/* Of start.S and bare.ld. */
extern uint64_t uk_pages[4 * 512]; /* of 2 MiB, one after the other */
extern uint8_t uk_exceptions[32][8], uk_interrupt[], uk_code_end[], uk_stack_bottom[];
extern volatile uint8_t uk_last_byte; /* of .bss, or of what fills its page up */
_Noreturn void uk_start(void);
_Noreturn void uk_crashed(uint32_t vector, const uint64_t *pushed);

static uk_boot *boot;

/* ---- the end ---- */

static void say(const char *text) {
    while (*text != 0) uk_serial_write(UK_COM1, (uint8_t)*text++);
}

static void say_number(const char *name, uint64_t number) {
    say(name);
    for (int shift = 60; shift >= 0; shift -= 4) uk_serial_write(UK_COM1, (uint8_t)"0123456789abcdef"[number >> shift & 15]);
}

void plat_exit(int status) {
    uk_out8(0xf4, (uint8_t)(status + 1)); /* isa-debug-exit */
    for (;;) __asm__ volatile("cli\n\thlt");
}

enum { HAVE_CODES = 0x60227d00 }; /* exceptions that push an error code: Intel SDM 3A, table 6-1; AMD APM 2, 8.2 */

void uk_crashed(uint32_t vector, const uint64_t *pushed) {
    static int again;
    if (again++) plat_exit(CRASHED);
    uint64_t address;
    __asm__ volatile("mov %%cr2, %0" : "=r"(address));
    if (vector != 14) address = 0; /* page faults have one */
    const uint32_t code = HAVE_CODES >> vector & 1 ? (uint32_t)*pushed++ : 0;
    if (boot != NULL) {
        boot->crash.code = code;
        boot->crash.address = address;
        boot->crash.at = *pushed;
        boot->crash.number = 0x100 + vector;
    }
    say_number("crashed: exception ", vector);
    say_number(", code ", code);
    say_number(", address ", address);
    say_number(", at ", *pushed);
    say("\n");
    plat_exit(CRASHED);
}

/* ---- time ---- */

enum { COUNTER = 0x40, MODE = 0x43, ONE_SHOT = 0x30, READ_BACK = 0xc2, IS_OVER = 0x80, HERTZ = 1193182 }; /* of the 8254 */
enum { CALIBRATION = HERTZ / 200, LONGEST = 50 * 1000 * 1000 /* ns; it counts to 65,536 */ };

/* Interrupt once, after so many ticks. */
static void count_down(uint32_t ticks) {
    uk_out8(MODE, ONE_SHOT);
    uk_out8(COUNTER, (uint8_t)ticks);
    uk_out8(COUNTER, (uint8_t)(ticks >> 8));
}

/* The count, and when that was: of a few tries the quickest, as the host may do something else in the midst of one. 0: it is over. */
static uint64_t when(uint16_t *count) {
    uint64_t at = 0, shortest = UINT64_MAX;
    for (int i = 0; i < 8; i++) {
        const uint64_t before = plat_ticks();
        uk_out8(MODE, READ_BACK);
        const uint64_t took = plat_ticks() - before;
        const uint8_t status = uk_in8(COUNTER), low = uk_in8(COUNTER), high = uk_in8(COUNTER);
        if (status & IS_OVER || took >= shortest) continue;
        shortest = took;
        at = before + took / 2;
        *count = (uint16_t)(high << 8 | low);
    }
    return at;
}

/* Nanoseconds of a tick, times 2^32. */
static uint64_t measured(void) {
    uint16_t first, last;
    uint64_t begun, ended;
    do {
        count_down(0xffff);
        begun = when(&first);
        do ended = when(&last);
        while (ended != 0 && first - last < CALIBRATION);
    } while (begun == 0 || ended == 0);
    return ((uint64_t)(first - last) * 1000000000 / HERTZ << 32) / (ended - begun);
}

uint64_t plat_ticks(void) { return __builtin_ia32_rdtsc(); }

/* The first time takes 5 ms, and not before somebody asks: a program that never does begins so much earlier. */
int64_t plat_now(void) {
    static uint64_t scale;
    if (scale == 0) scale = measured();
    return (int64_t)((unsigned __int128)plat_ticks() * scale >> 32);
}

/* ---- the bell ---- */

static int has_rung(void) {
    int rung = 0;
    while (uk_serial_read(UK_COM2) >= 0) rung = 1;
    return rung;
}

/* What came since the last time still asks for its interrupt, which `hlt` then does not wait for: `sti` lets none in before the next
   instruction. */
void plat_park(int64_t until) {
    do {
        if (until != INT64_MAX) {
            int64_t left = until - plat_now();
            if (left > LONGEST) left = LONGEST;
            count_down(left > 0 ? (uint32_t)(left * HERTZ / 1000000000) + 1 : 1);
        }
        __asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
    } while (!has_rung() && (until == INT64_MAX || plat_now() < until));
}

void plat_ring(void) { uk_serial_write(UK_COM2, 1); } /* one that is lost is no loss: thousands before it were not looked at */

/* ---- the beginning ---- */

static struct gate { /* Intel SDM 3A, 6.14.1 */
    uint16_t low, segment;
    uint8_t stack, type;
    uint16_t middle;
    uint64_t high;
} gates[48];

static void enter_by(unsigned vector, const void *at) {
    const uint64_t address = (uint64_t)at;
    gates[vector] = (struct gate){(uint16_t)address, 8, 1, 0x8e, (uint16_t)(address >> 16), address >> 32};
}

/* All on a stack of their own: one that has overflowed is an exception like another, and the red zone of whoever waits stays whole. */
static void watch(void) {
    for (unsigned i = 0; i < 32; i++) enter_by(i, uk_exceptions[i]);
    for (unsigned i = 32; i < 48; i++) enter_by(i, uk_interrupt);
    const struct __attribute__((packed)) { uint16_t limit; const void *at; } table = {sizeof gates - 1, gates};
    __asm__ volatile("lidt %0" : : "m"(table));
}

/* The 8259s: to vectors 32 to 47, nothing is to be acknowledged; let in 0, the timer, and 3, COM2. And the processor's own controller, which
   passes them on only if the BIOS had it so, and SeaBIOS alone does (Intel SDM 3A, 11.4 and 11.5). */
static void let_in(void) {
    static const struct { uint8_t port, value; } words[] = {
        {0x20, 0x11}, {0xa0, 0x11}, {0x21, 32}, {0xa1, 40}, {0x21, 4}, {0xa1, 2}, {0x21, 3}, {0xa1, 3}, {0x21, 0xf6}, {0xa1, 0xff},
    };
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) uk_out8(words[i].port, words[i].value);
    uk_pages[APIC / LARGE_PAGE] = APIC / LARGE_PAGE * LARGE_PAGE | PRESENT | WRITABLE | LARGE | UNCACHED | NO_CODE;
    *(volatile uint32_t *)(APIC + 0x0f0) = 0x12f; /* on; what was nothing is vector 47 */
    *(volatile uint32_t *)(APIC + 0x350) = 0x700; /* LINT0 is the 8259s' */
    count_down(1);                                /* the BIOS has it tick */
    uk_serial_open(UK_COM1);
    uk_serial_open(UK_COM2);
    uk_out8(UK_COM2 + 1, 1);
}

/* In the first 2 MiB nothing is below the stack, the code is read-only, and all else is no code: nor is what follows, if the code ends there. */
static void protect(void) {
    static _Alignas(PAGE) uint64_t small[512];
    for (uint64_t i = (uint64_t)uk_stack_bottom / PAGE; i < 512; i++) {
        const uint64_t at = i * PAGE;
        small[i] = at | PRESENT | (at >= 0x100000 && at < (uint64_t)uk_code_end ? 0 : WRITABLE | NO_CODE);
    }
    uk_pages[0] = (uint64_t)small | PRESENT | WRITABLE;
    for (uint64_t i = ((uint64_t)uk_code_end + LARGE_PAGE - 1) / LARGE_PAGE; uk_pages[i] != 0; i++) uk_pages[i] |= NO_CODE;
    __asm__ volatile("mov %%cr3, %%rax\n\tmov %%rax, %%cr3" : : : "rax", "memory");
}

enum { BAR2 = 0x18, BAR3 = 0x1c, COMMAND = 0x04, MEMORY_ON = 2 };
#define FREE 0xc0000000u

/* The memory of the ivshmem device (QEMU, docs/specs/ivshmem-spec.txt), where the BIOS has put it, or where nothing is. */
static uint8_t *shared(uint64_t *size) {
    const int function = uk_pci_find(0x1af4, 0x1110);
    if (function < 0) return NULL;
    uint32_t at = uk_pci_read(function, BAR2) & ~15u;
    if (at == 0 || uk_pci_read(function, BAR3) != 0) at = FREE;
    uk_pci_write(function, BAR2, UINT32_MAX);
    *size = -(uk_pci_read(function, BAR2) & ~15u);
    uk_pci_write(function, BAR2, at);
    uk_pci_write(function, BAR3, 0);
    uk_pci_write(function, COMMAND, uk_pci_read(function, COMMAND) | MEMORY_ON);
    for (uint64_t page = at / LARGE_PAGE; page * LARGE_PAGE < at + *size; page++)
        uk_pages[page] = page * LARGE_PAGE | PRESENT | WRITABLE | LARGE | NO_CODE;
    return (uint8_t *)(uint64_t)at;
}

static _Noreturn void lack(const char *what) {
    say(what);
    plat_exit(NO_MEMORY);
}

void uk_start(void) {
    uint64_t size = 0;
    let_in();
    uk_last_byte = 1; /* what is needed until here is at the beginning of .bss */
    if (uk_last_byte != 1) lack("there is too little memory for the program\n");
    uk_last_byte = 0;
    watch();
    protect();
    uint8_t *const memory = shared(&size);
    if (memory == NULL || size < PAGE) lack("there is no ivshmem device\n");
    boot = (uk_boot *)(memory + size - PAGE);
    uk_begin(memory, boot);
}
