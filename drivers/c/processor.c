#include "processor.h"

#include <errno.h>

#ifdef __x86_64__

#include <cpuid.h>

int bl_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t registers[4]) {
    __cpuid_count(leaf, subleaf, registers[0], registers[1], registers[2], registers[3]);
    return 0;
}

int bl_rdtsc(uint64_t *value) {
    __builtin_ia32_lfence(); /* not before what comes before it */
    *value = __builtin_ia32_rdtsc();
    return 0;
}

#else

int bl_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t registers[4]) { return -ENOSYS; }

int bl_rdtsc(uint64_t *value) { return -ENOSYS; }

#endif
