/* What the walls need of C: system calls by their numbers, the handler of refused ones, and a measure of the address space. */
#ifndef BEAMLIKE_WALLS_H
#define BEAMLIKE_WALLS_H

#include <linux/filter.h>
#include <stdint.h>

/* The result of the system call, or -errno. */
long bl_syscall(long number, uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, uintptr_t e, uintptr_t f);

/* From now on a SIGSYS that a filter raised for numbers[i] ends the OS process with the status first_status + i, and any other SIGSYS
 * with 128 + SIGSYS. Returns 0 or -errno; -EINVAL for more numbers than BL_TRAPS. */
#define BL_TRAPS 64
int bl_trap(const uint32_t *numbers, unsigned count, int first_status);

/* System calls to be made one after the other. BL_RESULT stands for the result of the call before. */
typedef struct {
    long number;
    uintptr_t arguments[6];
} bl_call;
#define BL_RESULT ((uintptr_t)1 << 63)

/* Returns `count`, or the index of the first that was refused, with its errno in *error; no later one is made. Of all this only
 * the stack is written: in a fresh fork each page of Python's that is touched costs more than a system call. */
unsigned bl_make(const bl_call *calls, unsigned count, int *error);

/* Bytes of address space in use, as RLIMIT_AS counts them, or -errno. No other thread may map or unmap meanwhile. */
int64_t bl_address_space(void);

#endif
