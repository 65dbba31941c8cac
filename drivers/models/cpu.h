/* A processor, of which there is nothing but what CPUID says and a time stamp counter of so many hertz. NULL also for 0 of them. */
bl_device *bl_plug_cpu(bl_bus *bus, uint64_t hertz);
/* What a leaf says from now on. 0 or -ENOSPC. */
int bl_cpu_set(bl_device *cpu, uint32_t leaf, uint32_t subleaf, uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx);
/* What the machine's first processor says: EAX, EBX, ECX, EDX; zeros of a leaf that was not set. -ENOSYS: there is none. */
int bl_cpu_cpuid(bl_bus *bus, uint32_t leaf, uint32_t subleaf, uint32_t *registers);
int bl_cpu_rdtsc(bl_bus *bus, uint64_t *value);
