/* Ports of this very machine, by the processor's own instructions, as far as the kernel lets the calling thread. */
#ifndef BEAMLIKE_MACHINE_H
#define BEAMLIKE_MACHINE_H

#include <stddef.h>
#include <stdint.h>

/* Let the calling thread make accesses to these ports. 0, or -errno: -EPERM without CAP_SYS_RAWIO or in lockdown, -ENOSYS if the kernel or the
   processor has no such thing. */
int bl_machine_permit(unsigned first, unsigned count);

/* SIGSEGV for a port that is not permitted. */
uint32_t bl_machine_in(unsigned port, unsigned width);
void bl_machine_out(unsigned port, unsigned width, uint32_t value);
void bl_machine_in_block(unsigned port, unsigned width, void *to, size_t units);
void bl_machine_out_block(unsigned port, unsigned width, const void *from, size_t units);

#endif
