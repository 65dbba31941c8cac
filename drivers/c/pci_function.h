/* What a model needs to be a function of the PCI bus, which `models/pci.c` is: configuration space, base addresses that move, interrupt. */
#ifndef BEAMLIKE_PCI_FUNCTION_H
#define BEAMLIKE_PCI_FUNCTION_H

#include "bus.h"

enum { BL_BARS = 6, BL_MOST_PORTS = 256 };
enum bl_bar_kind { BL_BAR_NONE, BL_BAR_PORTS, BL_BAR_MEMORY, BL_BAR_MEMORY_64 /* prefetchable; it takes the next one, too */ };

typedef struct bl_bar {
    enum bl_bar_kind kind;
    uint32_t size;      /* a power of 2 */
    int is_on;          /* it answers at `base` now */
    uint64_t base;
    uint8_t below[BL_MOST_PORTS]; /* who answered at these ports before, and will again */
} bl_bar;

/* A model that is one has this as its first member. `device.in` and `out` get ports as they are: `port - bars[i].base` is the register. */
typedef struct bl_pci_function bl_pci_function;
struct bl_pci_function {
    bl_device device;
    bl_pci_function *bridge; /* it is behind; NULL: on bus 0 */
    uint8_t slot, number;
    int level;               /* of its interrupt pin */
    bl_bar bars[BL_BARS];
    uint8_t config[256];
    uint8_t writable[256];   /* bits of `config` that a program may change */
    void (*moved)(bl_pci_function *); /* a program has written to `config`: bars may be elsewhere. May be NULL */
};

/* A function in the next free slot of the bus of the model `pci`, with interrupt pin A; a model may set another slot and number, as one that
   is in a chip with others does. NULL: no room, or no such model is there yet.
   `ids` and `classes` are the double words at 0 and 8 of configuration space: device << 16 | vendor, class << 16 | … | revision. */
void *bl_pci_plug(bl_bus *bus, const char *name, size_t size, uint32_t ids, uint32_t classes);
void bl_pci_bar(bl_pci_function *function, unsigned index, enum bl_bar_kind kind, uint32_t size);
/* A capability at this place in `config`, before all that are there. */
void bl_pci_capability(bl_pci_function *function, unsigned at, uint8_t id);
void bl_pci_irq(bl_pci_function *function, int level);
/* RAM as this function sees it: NULL if it does not all lie there, or the function may not be a bus master. */
uint8_t *bl_pci_ram(bl_pci_function *function, uint64_t address, uint64_t size);

#endif
