#include "machine.h"

#include <errno.h>

#if defined(__x86_64__) || defined(__i386__)
#include <sys/io.h>

enum { IOPERM_END = 0x400 }; /* ioperm(2) */

int bl_machine_permit(unsigned first, unsigned count) {
    const int failed = first + count <= IOPERM_END ? ioperm(first, count, 1) : iopl(3);
    return failed ? -errno : 0;
}

uint32_t bl_machine_in(unsigned port, unsigned width) {
    return width == 1 ? inb((unsigned short)port) : width == 2 ? inw((unsigned short)port) : inl((unsigned short)port);
}

void bl_machine_out(unsigned port, unsigned width, uint32_t value) {
    if (width == 1) outb((unsigned char)value, (unsigned short)port);
    else if (width == 2) outw((unsigned short)value, (unsigned short)port);
    else outl(value, (unsigned short)port);
}

void bl_machine_in_block(unsigned port, unsigned width, void *to, size_t units) {
    if (width == 1) insb((unsigned short)port, to, units);
    else if (width == 2) insw((unsigned short)port, to, units);
    else insl((unsigned short)port, to, units);
}

void bl_machine_out_block(unsigned port, unsigned width, const void *from, size_t units) {
    if (width == 1) outsb((unsigned short)port, from, units);
    else if (width == 2) outsw((unsigned short)port, from, units);
    else outsl((unsigned short)port, from, units);
}
#else
int bl_machine_permit(unsigned first, unsigned count) {
    (void)first, (void)count;
    return -ENOSYS;
}
uint32_t bl_machine_in(unsigned port, unsigned width) { return (void)port, (void)width, UINT32_MAX; }
void bl_machine_out(unsigned port, unsigned width, uint32_t value) { (void)port, (void)width, (void)value; }
void bl_machine_in_block(unsigned port, unsigned width, void *to, size_t units) { (void)port, (void)width, (void)to, (void)units; }
void bl_machine_out_block(unsigned port, unsigned width, const void *from, size_t units) { (void)port, (void)width, (void)from, (void)units; }
#endif
