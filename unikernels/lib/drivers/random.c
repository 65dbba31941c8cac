/* Random numbers by RDRAND. */
#include <cpuid.h>

#include "../uk.h"
#include "../uk_drivers.h"

enum { TRIES = 10 }; /* Intel, Digital Random Number Generator Software Implementation Guide, 5.2.1: more fail only if it is broken */

__attribute__((target("rdrnd"))) static int next(uint64_t *word) {
    unsigned long long value;
    for (int tries = 0; tries < TRIES; tries++)
        if (__builtin_ia32_rdrand64_step(&value)) {
            *word = value;
            return 0;
        }
    return -1;
}

int uk_random(void *at, uint32_t length) {
    unsigned a, b, c = 0, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_RDRND)) return -1;
    for (uint32_t done = 0; done < length; done += 8) {
        uint64_t word;
        if (next(&word) < 0) return -1;
        memcpy((uint8_t *)at + done, &word, length - done < 8 ? length - done : 8);
    }
    return 0;
}
