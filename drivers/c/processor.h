/* This very processor's own instructions, for a machine that has one. -ENOSYS where it is no x86-64. */
#ifndef BEAMLIKE_PROCESSOR_H
#define BEAMLIKE_PROCESSOR_H

#include <stdint.h>

/* EAX, EBX, ECX, EDX. A leaf that the processor does not have gives what it likes: ask for the largest one first. */
int bl_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t registers[4]);
int bl_rdtsc(uint64_t *value);

#endif
