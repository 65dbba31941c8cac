/* AMD64 Architecture Programmer's Manual, volume 3 (24594), "CPUID": a leaf that is not there has zeros (of Intel's it has what the last one
   has). The time stamp counter is invariant, and counts from the beginning. */
#include "bus.h"
#include "cpu.h"

#include <errno.h>
#include <string.h>

enum { LEAVES = 64 };

typedef struct cpu {
    bl_device device;
    uint64_t hertz;
    unsigned count;
    struct { uint32_t leaf, subleaf, registers[4]; } leaves[LEAVES];
} cpu;

static const char NAME[] = "cpu";

static const cpu *first(const bl_bus *bus) {
    for (unsigned i = 0; i < bus->device_count; i++)
        if (bus->devices[i]->name == NAME) return (const cpu *)bus->devices[i];
    return NULL;
}

int bl_cpu_set(bl_device *device, uint32_t leaf, uint32_t subleaf, uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx) {
    cpu *c = (cpu *)device;
    unsigned i = 0;
    while (i < c->count && !(c->leaves[i].leaf == leaf && c->leaves[i].subleaf == subleaf)) i++;
    if (i == LEAVES) return -ENOSPC;
    if (i == c->count) c->count++;
    c->leaves[i].leaf = leaf;
    c->leaves[i].subleaf = subleaf;
    memcpy(c->leaves[i].registers, (uint32_t[4]){eax, ebx, ecx, edx}, sizeof c->leaves[i].registers);
    return 0;
}

int bl_cpu_cpuid(bl_bus *bus, uint32_t leaf, uint32_t subleaf, uint32_t *registers) {
    const cpu *c = first(bus);
    if (c == NULL) return -ENOSYS;
    memset(registers, 0, 4 * sizeof *registers);
    for (unsigned i = 0; i < c->count; i++)
        if (c->leaves[i].leaf == leaf && c->leaves[i].subleaf == subleaf)
            memcpy(registers, c->leaves[i].registers, sizeof c->leaves[i].registers);
    return 0;
}

int bl_cpu_rdtsc(bl_bus *bus, uint64_t *value) {
    const cpu *c = first(bus);
    if (c == NULL) return -ENOSYS;
    *value = bl_ticks(bus->now, c->hertz);
    return 0;
}

bl_device *bl_plug_cpu(bl_bus *bus, uint64_t hertz) {
    if (hertz == 0) return NULL;
    cpu *c = bl_plug(bus, NAME, sizeof *c);
    if (c == NULL) return NULL;
    c->hertz = hertz;
    return &c->device;
}
