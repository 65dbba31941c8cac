/* A unikernel as an OS process of Linux: static, without a C library, locked by seccomp before its first instruction (unikernels/launch.c).

   Descriptors: 3 is the memory, 4 our bell, 5 the node's; both bells are eventfds, which do not block. */
#include "plat.h"
#include "uk.h"

enum { MEMORY = 3, BELL = 4, THEIR_BELL = 5, PAGE = 4096 };
enum { NO_MEMORY = 95 };

#if defined(__x86_64__)

enum { READ = 0, WRITE = 1, LSEEK = 8, MMAP = 9, SIGACTION = 13, SIGALTSTACK = 131, CLOCK_GETTIME = 228, EXIT_GROUP = 231, PPOLL = 271 };

static long call(long number, long a, long b, long c, long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
}

uint64_t plat_ticks(void) { return __builtin_ia32_rdtsc(); }

__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tand $-16, %rsp\n\tcall begin\n\tud2\n");
__asm__("restore:\n\tmov $15, %eax\n\tsyscall\n"); /* rt_sigreturn */
extern void restore(void);

#else
#error "unikernels for Linux are built for x86-64"
#endif

typedef struct { /* the kernel's, from asm/signal.h */
    void (*handler)(int, void *, void *);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
} action;

enum { SA_SIGINFO = 4, SA_RESTORER = 0x04000000, SA_ONSTACK = 0x08000000, SA_RESETHAND = (int)0x80000000 };
enum { SI_CODE = 8, SI_ADDR = 16, SI_SYSCALL = 24, UC_RIP = 168 }; /* offsets in siginfo_t and ucontext_t */
enum { SIGSYS = 31 };

static uk_boot *boot;
static _Alignas(16) uint8_t signal_stack[16 * 1024];

/* Note what happened; then the same instruction is executed again, and the default is the end. */
static void crashed(int number, void *info, void *context) {
    boot->crash.code = *(uint32_t *)((uint8_t *)info + SI_CODE);
    boot->crash.address = *(uint64_t *)((uint8_t *)info + SI_ADDR);
    boot->crash.at = *(uint64_t *)((uint8_t *)context + UC_RIP);
    if (number == SIGSYS) boot->crash.code = *(uint32_t *)((uint8_t *)info + SI_SYSCALL);
    boot->crash.number = (uint32_t)number;
    if (number == SIGSYS) plat_exit(128 + SIGSYS); /* the call would not be made again */
}

static void watch_for_crashes(void) {
    static const uint8_t numbers[] = {4, 7, 8, 11, SIGSYS}; /* SIGILL, SIGBUS, SIGFPE, SIGSEGV */
    const struct { void *at; int flags; size_t size; } stack = {signal_stack, 0, sizeof signal_stack};
    call(SIGALTSTACK, (long)&stack, 0, 0, 0, 0, 0);
    for (unsigned i = 0; i < sizeof numbers; i++) {
        const action on = {crashed, SA_SIGINFO | SA_RESTORER | SA_ONSTACK | (unsigned)SA_RESETHAND, restore, 0};
        call(SIGACTION, numbers[i], (long)&on, 0, sizeof on.mask, 0, 0);
    }
}

void plat_park(int64_t until) {
    struct { int fd; short events, revents; } bell = {BELL, 1 /* POLLIN */, 0};
    struct { int64_t s, ns; } left;
    if (until != INT64_MAX) {
        int64_t ns = until - plat_now();
        if (ns < 0) ns = 0;
        left.s = ns / 1000000000;
        left.ns = ns % 1000000000;
    }
    if (call(PPOLL, (long)&bell, 1, until == INT64_MAX ? 0 : (long)&left, 0, 8, 0) > 0) {
        uint64_t rung;
        call(READ, BELL, (long)&rung, sizeof rung, 0, 0, 0);
    }
}

void plat_ring(void) {
    static const uint64_t one = 1;
    call(WRITE, THEIR_BELL, (long)&one, sizeof one, 0, 0, 0);
}

int64_t plat_now(void) {
    struct { int64_t s, ns; } time;
    call(CLOCK_GETTIME, 1 /* CLOCK_MONOTONIC */, (long)&time, 0, 0, 0, 0);
    return time.s * 1000000000 + time.ns;
}

void plat_exit(int status) {
    for (;;) call(EXIT_GROUP, status, 0, 0, 0, 0, 0);
}

__attribute__((used)) static _Noreturn void begin(void) {
    const long size = call(LSEEK, MEMORY, 0, 2 /* SEEK_END */, 0, 0, 0);
    const long at = call(MMAP, 0, size, 3 /* PROT_READ | PROT_WRITE */, 0x8001 /* MAP_SHARED | MAP_POPULATE */, MEMORY, 0);
    if (size < PAGE || at < 0) plat_exit(NO_MEMORY);
    boot = (uk_boot *)(at + size - PAGE);
    watch_for_crashes();
    uk_begin((void *)at, boot);
}
