#include "walls.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 /* si_code: a filter refused the call */
#endif

long bl_syscall(long number, uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, uintptr_t e, uintptr_t f)
{
    long result = syscall(number, a, b, c, d, e, f);
    return result == -1 ? -errno : result;
}

static struct {
    uint32_t numbers[BL_TRAPS];
    unsigned count;
    int first_status;
} traps;

/* The refused call must not be passed over: the program would go on as if it had been answered. */
static void on_sigsys(int number, siginfo_t *info, void *context)
{
    int status = 128 + number;
    (void)context;
    if (info->si_code == SYS_SECCOMP)
        for (unsigned i = 0; i < traps.count; i++)
            if (traps.numbers[i] == (uint32_t)info->si_syscall)
                status = traps.first_status + (int)i;
    for (;;)
        syscall(SYS_exit_group, status);
}

int bl_trap(const uint32_t *numbers, unsigned count, int first_status)
{
    if (count > BL_TRAPS)
        return -EINVAL;
    memcpy(traps.numbers, numbers, count * sizeof *numbers);
    traps.count = count;
    traps.first_status = first_status;
    struct sigaction action = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO};
    sigfillset(&action.sa_mask);
    return sigaction(SIGSYS, &action, NULL) ? -errno : 0;
}

unsigned bl_make(const bl_call *calls, unsigned count, int *error)
{
    long result = 0;
    for (unsigned i = 0; i < count; i++) {
        uintptr_t a[6];
        for (int j = 0; j < 6; j++)
            a[j] = calls[i].arguments[j] == BL_RESULT ? (uintptr_t)result : calls[i].arguments[j];
        result = bl_syscall(calls[i].number, a[0], a[1], a[2], a[3], a[4], a[5]);
        if (result < 0) {
            *error = (int)-result;
            return i;
        }
    }
    return count;
}

/* There may be no /proc, so the kernel is asked by trying: one more page fits exactly where the limit is larger than what is in use. */
int64_t bl_address_space(void)
{
    struct rlimit old, limit;
    volatile char stack[4 * 4096]; /* the stack cannot grow below the limits that are tried: not for a signal's handler either */
    for (unsigned i = 0; i < sizeof stack; i += 4096)
        stack[i] = 0;
    if (getrlimit(RLIMIT_AS, &old))
        return -errno;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), low = 0, high = (uint64_t)1 << 47; /* in use: at least low, less than high */
    if (old.rlim_max < high)
        high = old.rlim_max / page * page + page;
    limit = old;
    while (high - low > page) {
        uint64_t middle = low + (high - low) / 2 / page * page;
        limit.rlim_cur = middle;
        if (setrlimit(RLIMIT_AS, &limit))
            return -errno;
        void *fits = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (fits == MAP_FAILED) {
            low = middle;
        } else {
            munmap(fits, page);
            high = middle;
        }
    }
    return setrlimit(RLIMIT_AS, &old) ? -errno : (int64_t)low;
}
