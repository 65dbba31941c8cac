/* What an actor may not touch of ports and memory: its exclusions (`port_io`, `raw_memory`), as C asks them before each access. */
#ifndef BEAMLIKE_VIEW_H
#define BEAMLIKE_VIEW_H

#include <stdint.h>

enum { BL_PORTS = 65536 };

/* `last` is in it, so that a range may end at the top of the address space. */
typedef struct bl_range {
    uint64_t first, last;
} bl_range;

typedef struct bl_view {
    uint8_t refused[BL_PORTS / 8];  /* a bit a port */
    uint32_t count;
    const bl_range *memory;         /* `count` refused ranges, disjoint, ascending */
} bl_view;

/* Refuse the ports from first up to last, inclusive. There is no way to permit them again. */
void bl_refuse_ports(bl_view *view, uint32_t first, uint32_t last);

/* May the whole width be accessed, each port of it? 0, -EACCES if one is refused, -ERANGE if it does not lie in the I/O space or is no width. */
int bl_may_port(const bl_view *view, int64_t port, unsigned width);

/* The same of memory; a length of 0 or a range beyond 2^64 is -ERANGE. */
int bl_may_memory(const bl_view *view, uint64_t address, uint64_t length);

#endif
